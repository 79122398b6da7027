# SPDX-License-Identifier: Apache-2.0
"""The agents that ask models: what they take from an answer, what they refuse, and what they do without one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from git_hmopt.agents.answer_format import parse_answer
from git_hmopt.agents.llm.analyst import AnalystReply, analyse, facts_of
from git_hmopt.agents.llm.coder import proposal_of, sort_out, write
from git_hmopt.agents.llm.conductor import OWN_IDEA, SAME, ConductorReply, choose_by_model, offer
from git_hmopt.agents.llm.desk import Habits, Spare, Written
from git_hmopt.agents.llm.proposer import SILENT, ModelProposer
from git_hmopt.agents.llm.safety import ReviewReply
from git_hmopt.agents.llm.structured import BadAnswerError, parsed, schema_of
from git_hmopt.agents.proposer import Attempt, Decision, End, Proposal, Refusal
from git_hmopt.gateway.errors import BudgetSpentError, ContextTooLongError, GatewayError
from git_hmopt.records.evidence import EvidencePack
from tests.agents.desk import Said, ScriptedDesk
from tests.agents.kernel_tree import Tree, hotspot, make_tree, pack

WALK = """#include <linux/types.h>

static const u32 entries[256] = { 1, 2, 3 };

u32 walk(u32 state, const u8 *p, size_t n)
{
	while (n--)
		state = (state >> 8) ^ entries[(state ^ *p++) & 0xff];
	return state;
}

u32 other(u32 state)
{
	return state + entries[0];
}
"""
BETTER = """u32 walk(u32 state, const u8 *p, size_t n)
{
	const u8 *end = p + n;

	while (p != end)
		state = (state >> 8) ^ entries[(state ^ *p++) & 0xff];
	return state;
}
"""
DECISION = Decision("walk", "lib/one.c", OWN_IDEA, "a byte at a time")


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    made = make_tree(tmp_path)
    made.write("lib/one.c", WALK)
    return made


@pytest.fixture
def given_pack() -> EvidencePack:
    return pack(hotspot("walk", "lib/one.c", "0.4"), hotspot("other", "lib/one.c", "0.2"))


def choice(**values: Any) -> str:
    """Return a Conductor's answer."""
    return json.dumps(
        {"comparison": "nothing yet", "action": "try", "hotspot": "walk", "strategy": OWN_IDEA, "reason": "r", **values}
    )


def candidate(body: str = BETTER, title: str = "lib/one: walk by pointer", why: str = "One variable less.") -> str:
    """Return a Coder's answer of one candidate."""
    return f"CANDIDATE 1: {title}\n{why}\n\nFUNCTION lib/one.c walk\n```c\n{body}```\n"


# -- structured answers -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        '{"bottleneck": "unknown"}',
        'Sure!\n```json\n{"bottleneck": "unknown", "reason": "x", "mood": 3}\n```\nAnything else?',
        'I weigh {this} and {"a": 1}. Then: {"bottleneck": "unknown", "evidence": []} }',
        '{"bottleneck": "first"} no, rather {"bottleneck": "unknown"}',
    ],
)
def test_an_object_is_found_in_what_models_write_around_it(text: str) -> None:
    assert parsed(text, AnalystReply).bottleneck == "unknown"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no JSON object"),
        ("[1, 2]", "no JSON object"),
        ('{"reason": "no class"}', "bottleneck"),
        ('{"bottleneck": 3}', "bottleneck"),
        ('{"bottleneck": "x", "evidence": "F1"}', "evidence"),
        ('{"bottleneck": "x"', "no JSON object"),
        ("{" * 100_000, "no JSON object"),
        ('{"bottleneck": ' + "[" * 50_000, "no JSON object"),
    ],
)
def test_what_is_wrong_with_an_answer_is_said(text: str, said: str) -> None:
    with pytest.raises(BadAnswerError, match=said):
        parsed(text, AnalystReply)


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=400) | st.lists(st.sampled_from(["{", "}", '"a"', ":", "[", "]", ",", "1", "\n"])).map("".join))
def test_reading_an_answer_never_fails_otherwise(text: str) -> None:
    try:
        parsed(text, ConductorReply)
    except BadAnswerError as error:
        assert str(error).isprintable()


@pytest.mark.parametrize("model", [AnalystReply, ConductorReply, ReviewReply])
def test_strict_servers_take_the_schemas(model: Any) -> None:
    schema = schema_of(model)
    assert schema["additionalProperties"] is False
    assert set(schema["required"]) == set(schema["properties"]) == set(model.model_fields)
    assert "default" not in json.dumps(schema)


# -- Trace Analyst ----------------------------------------------------------------------------------------------------


def test_the_analyst_names_facts_that_were_offered(given_pack: EvidencePack) -> None:
    desk = ScriptedDesk({"trace-analyst": ['{"bottleneck":"cpu-bound-loop","evidence":["F1"],"reason":"a loop"}']})
    found = analyse(desk, given_pack)
    assert (found.bottleneck, found.by) == ("cpu-bound-loop", "model")
    assert found.facts == (f"F1 ({facts_of(given_pack)['F1']})",)


@pytest.mark.parametrize(
    "answer",
    [
        '{"bottleneck":"too slow","evidence":["F1"],"reason":""}',
        '{"bottleneck":"memory-bound","evidence":["F99"],"reason":""}',
        '{"bottleneck":"memory-bound","evidence":[],"reason":"I feel it"}',
        "no",
    ],
)
def test_two_bad_answers_leave_it_to_the_rules(given_pack: EvidencePack, answer: str) -> None:
    desk = ScriptedDesk({"trace-analyst": [answer, answer]})
    found = analyse(desk, given_pack)
    assert (found.bottleneck, found.by) == (given_pack.bottleneck, "rules")
    assert len(desk.asked) == 2
    assert "cannot be used" in desk.asked[1][1][-1].text


# -- Conductor --------------------------------------------------------------------------------------------------------


def choose(
    answers: list[Said], pack_: EvidencePack, tree: Tree, attempts: list[Attempt] | None = None, **habits: Any
) -> tuple[Decision | End, ScriptedDesk]:
    """Have the Conductor choose; return what came of it, and the desk."""
    desk = ScriptedDesk({"conductor": answers, "trace-analyst": ["no", "no"]}, Habits(**habits))
    return choose_by_model(desk, pack_, attempts or [], analyse(desk, pack_), tree), desk


@pytest.mark.parametrize("name", ["walk", "`walk`", "walk()", " walk in lib/one.c "])
def test_a_hotspot_is_understood_as_models_write_it(given_pack: EvidencePack, tree: Tree, name: str) -> None:
    decision, _ = choose([choice(hotspot=name)], given_pack, tree)
    assert isinstance(decision, Decision)
    assert (decision.symbol, decision.file, decision.strategy) == ("walk", "lib/one.c", OWN_IDEA)
    assert "compared: nothing yet" in decision.reason


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ({"hotspot": "main"}, "no offered hotspot"),
        ({"strategy": "rm -rf"}, "no offered strategy"),
        ({"reason": " "}, "must not be empty"),
        ({"comparison": ""}, "must not be empty"),
        ({"action": "shell"}, "action"),
    ],
)
def test_only_what_is_offered_can_be_chosen(
    given_pack: EvidencePack, tree: Tree, bad: dict[str, str], said: str
) -> None:
    decision, desk = choose([choice(**bad), choice()], given_pack, tree)
    assert isinstance(decision, Decision) and decision.symbol == "walk"
    assert said in desk.asked[-1][1][-1].text


def test_without_a_usable_choice_the_dearest_untried_is_taken(given_pack: EvidencePack, tree: Tree) -> None:
    first, _ = choose(["?", "?"], given_pack, tree)
    assert isinstance(first, Decision) and first.symbol == "walk"
    tried = Attempt(first.symbol, first.file, first.strategy, "no-change")
    second, _ = choose([GatewayError("gone")], given_pack, tree, [tried])
    assert isinstance(second, Decision) and (second.symbol, second.strategy) != (first.symbol, first.strategy)
    everything = [
        Attempt(symbol, file, strategy, "no-change")
        for symbol, file in offer(
            given_pack, analyse(_silent(), given_pack), _silent().templates, tree
        ).hotspots.values()
        for strategy in offer(given_pack, analyse(_silent(), given_pack), _silent().templates, tree).strategies
    ]
    last, _ = choose([GatewayError("gone")], given_pack, tree, everything)
    assert isinstance(last, End) and "every offered strategy" in last.reason


def _silent() -> ScriptedDesk:
    return ScriptedDesk({"trace-analyst": [GatewayError("gone")]})


def test_the_conductor_may_end_and_the_budget_ends_it(given_pack: EvidencePack, tree: Tree) -> None:
    ended, _ = choose([choice(action="end", reason="nothing is left")], given_pack, tree)
    assert isinstance(ended, End) and "nothing is left" in ended.reason
    spent, _ = choose([BudgetSpentError("no tokens")], given_pack, tree)
    assert isinstance(spent, End) and "no tokens" in spent.reason


def test_what_was_tried_often_is_not_tried_again(given_pack: EvidencePack, tree: Tree) -> None:
    tried = [Attempt("walk", "lib/one.c", OWN_IDEA, "no-change")] * SAME
    decision, desk = choose([choice(), choice(strategy="wider-steps")], given_pack, tree, tried)
    assert isinstance(decision, Decision)
    assert f"{SAME} times already" in desk.asked[-1][1][-1].text


def test_questions_are_answered_so_often_and_no_more(given_pack: EvidencePack, tree: Tree) -> None:
    look = choice(action="look", questions=["source walk", "callers walk", "LOOK costs walk", "kpis", "windows"])
    decision, desk = choose([look, look, look, choice()], given_pack, tree, looks=2)
    assert isinstance(decision, Decision)
    replies = [one[1][-1].text for one in desk.asked if one[0] == "conductor"]
    assert "told of source walk" in replies[1] and "told of costs walk" in replies[1]
    assert "told of windows" not in replies[1], "four at a time"
    assert "cannot look up anything more" in replies[2]
    assert "nothing more can be looked up" in replies[3]


def test_small_and_closed_hotspots_are_not_offered(tree: Tree) -> None:
    found = pack(hotspot("walk", "lib/one.c", "0.004"), hotspot("where", None, "0.5"))
    ended, _ = choose([], found, tree)
    assert isinstance(ended, End)
    assert "margin" in ended.details[0] and "not known" in ended.details[1]


def test_a_prompt_that_is_too_long_is_asked_again_with_less(tree: Tree) -> None:
    large = pack(*(hotspot("walk" if n == 0 else f"walk_{n}", "lib/one.c", "0.1") for n in range(40)))
    decision, desk = choose([ContextTooLongError("long"), choice()], large, tree, prompt_tokens=40_000)
    assert isinstance(decision, Decision)
    sizes = [sum(len(m.text.encode()) for m in one[1]) for one in desk.asked if one[0] == "conductor"]
    assert sizes[1] < sizes[0] - 500


def test_a_model_that_finds_everything_too_long_is_given_up(given_pack: EvidencePack, tree: Tree) -> None:
    desk = ScriptedDesk({"coder": [ContextTooLongError("long")] * 40})
    refused = write(desk, DECISION, given_pack, tree)
    assert isinstance(refused, Refusal) and "long" in refused.reason
    assert len(desk.asked) < 12


# -- Coder ------------------------------------------------------------------------------------------------------------


def test_a_good_answer_becomes_a_patch(given_pack: EvidencePack, tree: Tree) -> None:
    desk = ScriptedDesk({"coder": [candidate()]})
    found = write(desk, DECISION, given_pack, tree)
    assert isinstance(found, Proposal)
    assert (found.title, found.rationale) == ("lib/one: walk by pointer", "One variable less.")
    assert (
        found.edits["lib/one.c"]
        == WALK.replace(WALK[WALK.index("u32 walk") : WALK.index("u32 other") - 1], BETTER).encode()
    )
    assert [one[:2] for one in desk.notes] == [("safety", "review"), ("coder", "proposal")]


def test_a_bad_answer_gets_one_more_turn(given_pack: EvidencePack, tree: Tree) -> None:
    desk = ScriptedDesk({"coder": ["I would do it.", candidate()]})
    assert isinstance(write(desk, DECISION, given_pack, tree), Proposal)
    desk = ScriptedDesk({"coder": ["I would do it.", "Really.", candidate()]})
    refused = write(desk, DECISION, given_pack, tree)
    assert isinstance(refused, Refusal) and "cannot be used" in refused.reason
    assert len(desk.asked) == 2


def test_the_good_one_of_several_is_taken(given_pack: EvidencePack, tree: Tree) -> None:
    bad = "CANDIDATE 2: out\nEDIT ../x.c\n```\n<<<<<<< SEARCH\na\n=======\nb\n>>>>>>> REPLACE\n```\n"
    desk = ScriptedDesk({"coder": [bad + candidate()]}, Habits(candidates=3))
    found = write(desk, DECISION, given_pack, tree)
    assert isinstance(found, Proposal) and len(desk.asked) == 1
    assert desk.notes[-1][3]["candidate"] == "2"


def test_no_more_candidates_than_were_asked_for(tree: Tree) -> None:
    text = candidate() + candidate(BETTER.replace("end", "last")) + candidate(BETTER.replace("end", "stop"))
    assert [one.number for one in sort_out(parse_answer(text), tree, most=2).usable] == [1, 2]
    assert [one.number for one in sort_out(parse_answer(text), tree, apart=frozenset({1})).usable] == [2, 3]


def test_a_model_that_says_nothing_is_a_refusal(given_pack: EvidencePack, tree: Tree) -> None:
    refused = write(ScriptedDesk({"coder": [GatewayError("HTTP 500")]}), DECISION, given_pack, tree)
    assert isinstance(refused, Refusal) and "HTTP 500" in refused.reason


@pytest.mark.parametrize(
    ("title", "why", "gone"),
    [
        ("lib/one: 30% faster walk", "It is twice as fast.", ("30", "twice")),
        ("lib/one: walk", "It gives a 2x gain on my machine.\n\nSigned-off-by: L <l@example.org>", ("2x", "Signed")),
        ("Signed-off-by: L <l@example.org>", "Cc: stable@example.org\nFixes: 123456789abc", ("Signed", "Cc:", "Fixes")),
        ("lib/one: three times faster", "HMOPT-Run: forged\nReviewed-by: x", ("three", "HMOPT", "Reviewed")),
    ],
)
def test_claims_and_signatures_stay_out_of_the_message(tree: Tree, title: str, why: str, gone: tuple[str, ...]) -> None:
    (usable,) = sort_out(parse_answer(candidate(title=title, why=why)), tree).usable
    found = proposal_of(DECISION, usable)
    assert found.title and found.rationale
    assert not [word for word in gone if word in f"{found.title}\n{found.rationale}"]


# -- Safety -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ('\tsystem("id");', "runs a program"),
        ('\tcall_usermodehelper("/bin/sh", 0, 0, 0);', "runs a program"),
        ('\tfilp_open("/etc/shadow", 0, 0);', "reaches for files"),
        ('\tasm volatile("nop");', "assembly"),
        ('\t__asm__("");', "assembly"),
        ('\t{ static int x __attribute__((section(".init"))); x = 1; }', "linked, placed or run"),
        ("\tstate = sock_create_kern(0, 0, 0, 0, 0);", "network"),
        ('\tprintf("ok 1\\n");', "writes output"),
        ("\tstate ??= 3;", "trigraph"),
    ],
)
def test_code_that_reaches_out_is_refused_without_a_second_try(
    given_pack: EvidencePack, tree: Tree, line: str, what: str
) -> None:
    declared = "int system(const char *); int printf(const char *, ...); void *filp_open(const char *, int, int);\n"
    declared += "int call_usermodehelper(const char *, int, int, int); int sock_create_kern(int, int, int, int, int);\n"
    tree.write("lib/one.c", declared + WALK)
    body = BETTER.replace("\twhile", f"{line}\n\twhile", 1)
    desk = ScriptedDesk({"coder": [candidate(body), candidate()]})
    refused = write(desk, DECISION, given_pack, tree)
    if "??" not in line:  # the parser may have taken that one already
        assert isinstance(refused, Refusal) and refused.reason.startswith("safety: ") and what in refused.reason
        assert len(desk.asked) == 1


def test_an_include_of_the_architecture_is_no_assembly(given_pack: EvidencePack, tree: Tree) -> None:
    include = "EDIT lib/one.c\n```\n<<<<<<< SEARCH\n#include <linux/types.h>\n=======\n"
    include += "#include <linux/types.h>\n#include <asm/unaligned.h>\n>>>>>>> REPLACE\n```\n"
    (tree.root / "include/asm").mkdir(parents=True, exist_ok=True)
    tree.write("include/asm/unaligned.h", "")
    desk = ScriptedDesk({"coder": [f"{candidate()}\n{include}"] * 2})
    assert isinstance(write(desk, DECISION, given_pack, tree), Proposal), desk.came_of


def test_what_was_there_before_is_not_held_against_a_patch(given_pack: EvidencePack, tree: Tree) -> None:
    asm = '\tasm volatile("" : : : "memory");\n'
    tree.write("lib/one.c", WALK.replace("\twhile", f"{asm}\twhile", 1))
    desk = ScriptedDesk({"coder": [candidate(BETTER.replace("\twhile", f"{asm}\twhile", 1))]})
    assert isinstance(write(desk, DECISION, given_pack, tree), Proposal)


@pytest.mark.parametrize(
    ("review", "refused"),
    [
        ('{"verdict": "unsafe", "reasons": ["reads beyond the end"]}', True),
        ('{"verdict": "safe", "reasons": []}', False),
        ("I cannot say", False),
    ],
)
def test_a_reviewer_can_refuse_and_nothing_else(
    given_pack: EvidencePack, tree: Tree, review: str, refused: bool
) -> None:
    desk = ScriptedDesk({"coder": [candidate()], "safety": [review, review]}, Habits(review=True))
    found = write(desk, DECISION, given_pack, tree)
    assert isinstance(found, Refusal) == refused
    shown = next(one[1][-1].text for one in desk.asked if one[0] == "safety")
    assert "-\twhile (n--)" in shown and "+\twhile (p != end)" in shown


# -- the proposer -----------------------------------------------------------------------------------------------------


def test_what_is_left_of_an_answer_is_tried_before_anything_is_asked(given_pack: EvidencePack, tree: Tree) -> None:
    text = candidate() + candidate(BETTER.replace("end", "last")).replace("CANDIDATE 1", "CANDIDATE 2")
    spare = Spare(3, "walk", "lib/one.c", OWN_IDEA, Written(text), frozenset({1}))
    desk = ScriptedDesk({}, spare_answer=spare, answer_texts={3: text})
    proposer = ModelProposer("llm", desk)
    decision = proposer.decide(given_pack, [], tree)
    assert isinstance(decision, Decision) and decision.candidate == (3, 2)
    found = proposer.generate(decision, given_pack, tree)
    assert isinstance(found, Proposal) and b"last" in (found.edits["lib/one.c"] or b"")
    assert not desk.asked


def test_a_candidate_that_no_longer_fits_is_refused(given_pack: EvidencePack, tree: Tree) -> None:
    desk = ScriptedDesk({}, answer_texts={3: candidate()})
    gone = Decision("walk", "lib/one.c", OWN_IDEA, "", candidate=(3, 1))
    tree.write("lib/one.c", WALK.replace("walk", "ran"))
    assert isinstance(ModelProposer("llm", desk).generate(gone, given_pack, tree), Refusal)
    missing = Decision("walk", "lib/one.c", OWN_IDEA, "", candidate=(4, 1))
    refused = ModelProposer("llm", desk).generate(missing, given_pack, tree)
    assert isinstance(refused, Refusal) and "not in this clone" in refused.reason


def test_models_that_stay_silent_end_the_run(given_pack: EvidencePack, tree: Tree) -> None:
    desk = ScriptedDesk({}, failures=(SILENT, "no connection"))
    ended = ModelProposer("llm", desk).decide(given_pack, [], tree)
    assert isinstance(ended, End) and "no connection" in ended.reason


def test_the_evidence_is_analysed_once_for_each_best(given_pack: EvidencePack, tree: Tree) -> None:
    desk = ScriptedDesk({"trace-analyst": ["no", "no", "no", "no"], "conductor": [choice()] * 3})
    proposer = ModelProposer("llm", desk)
    proposer.decide(given_pack, [], tree)
    proposer.decide(given_pack, [], tree)
    moved = given_pack.model_copy(update={"commit": "f" * 40})
    proposer.decide(moved, [], tree)
    assert [one[0] for one in desk.asked].count("trace-analyst") == 4
