# SPDX-License-Identifier: Apache-2.0
"""What the Trace Analyst, the Conductor, the Coder and the reviewer say in a run, and what is made of it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.loop.replayed import STRATEGIES, replayed_project, scan_byte
from tests.loop.scripted import (
    ANALYST,
    CODER,
    CONDUCTOR,
    SAFETY,
    Scripted,
    analyst,
    asked,
    candidate,
    coder,
    conductor,
    ends,
    function,
    reviewer,
)


def whole(pointer: str, number: int = 1) -> str:
    return candidate(function(scan_byte(pointer)), number=number, title=f"lib/scan: the {pointer} way")


def decisions(scripted: Scripted) -> list[dict[str, Any]]:
    return [one["decision"] for one in scripted.run.named("decision.made")]


LOOK = "LOOK source scan_byte\n"
QUESTIONS = [f"source function_{number}" for number in range(6)]


@pytest.fixture(scope="module")
def erring(tmp_path_factory: pytest.TempPathFactory) -> Scripted:
    """Return a run whose agents make every mistake that is theirs."""
    turns = [
        analyst("cpu-bound-loop", ["F99"]),
        analyst("cpu-bound-loop", ["F1"]),
        conductor(answer="I would unroll it."),
        conductor(answer='{"action": "try", "hotspot": '),
        coder(whole("wrong") + whole("same", 2)),
        conductor("own-idea", "kfree"),
        conductor("own-idea", "`scan_byte()`"),
        *[coder(LOOK)] * 4,
        coder(whole("same")),
        *[conductor("teleport", "scan_byte")] * 2,
        coder(whole("broken") + whole("broken", 2) + whole("faster", 3)),
        conductor("", "", action="look", questions=QUESTIONS),
        *[conductor("", "", action="look", questions=["callers scan_byte"])] * 3,
        ends("every way was tried"),
    ]
    return asked(replayed_project(tmp_path_factory.mktemp("erring")), turns)


def test_a_run_outlives_every_mistake_and_tells_its_end(erring: Scripted) -> None:
    assert erring.said.returncode == 1, erring.said.stderr
    assert erring.fates() == ["incorrect", "no-change", "no-change", "rejected(build)", "rejected(build)"]
    assert erring.ended() == "the conductor ends the run: every way was tried (compared: as before)"
    assert erring.run.trees()[0] == erring.run.project.git("rev-parse", "main^{tree}")


def test_an_analyst_that_names_no_fact_is_told_and_asked_again(erring: Scripted) -> None:
    first, second = erring.of(ANALYST)
    assert second.texts[:2] == first.texts
    assert "there is no fact 'F99'; there are F1, F2" in second.texts[3]
    said = erring.messages("trace-analyst")
    assert [one["text"].partition(":")[0] for one in said] == ["not usable", "cpu-bound-loop, by F1"]
    # What the analyst said is what the conductor reads.
    assert "cpu-bound-loop: so it is It rests on: F1 (" in erring.of(CONDUCTOR)[0].texts[1]


def test_a_conductor_that_says_nothing_is_replaced_by_a_rule(erring: Scripted) -> None:
    texts = [one["text"] for one in erring.messages("conductor", 1)]
    assert texts == [
        "not usable: it holds no JSON object",
        "not usable: it holds no JSON object; chosen by rule instead",
    ]
    first = decisions(erring)[0]
    assert first["reason"].startswith("chosen by rule, since no model gave a usable choice")
    assert (first["symbol"], first["strategy"] in STRATEGIES) == ("scan_byte", True)


def test_a_second_candidate_is_the_next_iteration_and_nobody_is_asked(erring: Scripted) -> None:
    second = decisions(erring)[1]
    assert (second["candidate"], second["strategy"]) == ("1.2", decisions(erring)[0]["strategy"])
    assert second["reason"] == "candidate 2 of the coder's answer in iteration 1"
    assert [one["role"] for one in erring.messages(iteration=2)] == ["review", "proposal"]
    titles = [one["patch"]["title"] for one in erring.run.named("patch.applied")]
    assert titles == [f"lib/scan: the {pointer} way" for pointer in ("wrong", "same", "same", "broken", "broken")]


def test_more_candidates_than_were_asked_for_are_left(erring: Scripted) -> None:
    assert "up to 2 different ways" in erring.of(CODER)[0].texts[0]
    assert [one.get("candidate") for one in decisions(erring)] == [None, "1.2", None, None, "4.2"]


def test_only_what_is_offered_can_be_chosen(erring: Scripted) -> None:
    hotspot, strategy = erring.messages("conductor", 3), erring.messages("conductor", 4)
    assert hotspot[0]["text"] == "not usable: 'kfree' is no offered hotspot; offered are scan_byte, crc32c_update"
    assert hotspot[1]["text"] == "tries own-idea on scan_byte"
    assert all(one["text"].startswith("not usable: 'teleport' is no offered strategy; offered") for one in strategy)
    assert strategy[1]["text"].endswith("; chosen by rule instead")
    told = [one.texts[3] for one in erring.of(CONDUCTOR) if len(one.texts) == 4]
    assert "'kfree' is no offered hotspot" in told[1]


def test_questions_are_answered_and_bounded(erring: Scripted) -> None:
    said = [one["text"].partition(" ")[0] for one in erring.messages("coder", 3) if one["role"] == "answer"]
    assert said == ["looks", "looks", "looks", "not", ""]
    turns = [one.texts for one in erring.of(CODER) if len(one.texts) > 3]
    assert [len(one) for one in turns[:4]] == [4, 6, 8, 10]
    assert [one[-1].rstrip().splitlines()[-1] for one in turns[:3]] == [
        "You may look things up 2 more times.",
        "You may look things up 1 more times.",
        "Answer now; you cannot look up anything more.",
    ]
    assert "it has no block" in turns[3][-1]
    # Four of six questions are looked up, and the model is told so.
    (looked, *later) = [one.texts for one in erring.of(CONDUCTOR) if "function_0" in one.texts[-1]]
    assert [looked[-1].count(f" source function_{number}>") for number in range(6)] == [1, 1, 1, 1, 0, 0]
    assert "2 more were not looked up" in looked[-1] and later == []
    texts = [one["text"] for one in erring.messages("conductor", 6)]
    assert [one.partition(" ")[0] for one in texts] == ["looks", "looks", "looks", "not", "ends:"]
    assert "nothing more can be looked up" in texts[3]


@pytest.fixture(scope="module")
def reviewed(tmp_path_factory: pytest.TempPathFactory) -> Scripted:
    """Return a run in which a model reviews each patch."""
    turns = [
        analyst(),
        *[conductor(one) for one in ("own-idea", "own-idea", "own-idea", "one-pointer")],
        coder(whole("faster") + whole("same", 2)),
        *[coder(whole("same"))] * 3,
        reviewer("unsafe", "line 9 reads beyond the buffer"),
        reviewer("safe"),
        reviewer("unsafe", "it sleeps", "it \x1b[31mleaks"),
        *[reviewer("perhaps")] * 2,
        reviewer("unsafe"),
        reviewer("unsafe", "n may be zero"),
        ends(),
    ]
    return asked(replayed_project(tmp_path_factory.mktemp("reviewed")), turns, review="true")


def test_a_reviewer_can_only_refuse(reviewed: Scripted) -> None:
    assert reviewed.said.returncode == 1, reviewed.said.stderr
    # Of two candidates the second was let pass; a review that is none is no objection; one without a reason neither.
    assert reviewed.fates() == ["no-change", "refused", "no-change", "refused"]
    assert reviewed.refusal(2) == r"safety: candidate 1: it sleeps; it \x1b[31mleaks"
    assert reviewed.refusal(4) == "safety: candidate 1: n may be zero"
    assert reviewed.ended().startswith("the conductor ends the run: enough")


def test_a_review_is_on_record(reviewed: Scripted) -> None:
    reviews = [(one["role"], one["text"]) for one in reviewed.messages("safety")]
    assert reviews[:4] == [
        ("answer", "unsafe: line 9 reads beyond the buffer"),
        ("review", "line 9 reads beyond the buffer"),
        ("answer", "safe"),
        ("review", "nothing against candidate 2"),
    ]
    assert [role for role, _ in reviews[6:9]] == ["answer", "answer", "review"]
    assert "no review" in reviews[7][1] and reviews[8][1] == "nothing against candidate 1"
    (proposal,) = [one for one in reviewed.messages("coder", 1) if one["role"] == "proposal"]
    assert (proposal["data"]["candidate"], proposal["data"]["refused"]) == ("2", "1")
    shown = reviewed.of(SAFETY)[0].texts[1]
    assert "-\tconst unsigned char *p = start;" in shown and "+\tconst unsigned char *faster = start;" in shown


@pytest.mark.slow
def test_a_model_that_holds_no_schema_is_read_all_the_same(tmp_path_factory: pytest.TempPathFactory) -> None:
    refusal = {"status": 400, "error": {"message": "response_format json_schema is not supported"}}
    thought = '<think>{"action": "end"}</think>Let me see {x}.\n```json\n'
    turns = [
        {**analyst(), **refusal},
        analyst(),
        conductor(answer=f"{thought}{conductor()['answer']}\n```\nThat is my choice."),
        coder(whole("same")),
        ends(),
    ]
    run = asked(replayed_project(tmp_path_factory.mktemp("plain")), turns)
    assert (run.fates(), run.ended().partition(" (")[0]) == (["no-change"], "the conductor ends the run: enough")
    answers = [one["data"] for one in run.messages() if one["role"] == "answer"]
    assert not any("structured" in one for one in answers)
    assert "it takes no schema" in answers[0]["failed"]
    thinking = next(one for one in answers if "thinking" in one)
    assert json.loads(run.artifact(thinking["thinking"])) == {"action": "end"}
