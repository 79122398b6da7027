# SPDX-License-Identifier: Apache-2.0
"""The conductor and the playbook proposer: order, memory, thresholds, reasons, and the commit message."""

from __future__ import annotations

from pathlib import Path

import pytest

from git_hmopt.agents.playbook.proposer import PlaybookProposer
from git_hmopt.agents.playbook.registry import STRATEGIES, by_class
from git_hmopt.agents.proposer import Attempt, Decision, End, Proposal, Refusal
from git_hmopt.psg.unit import Unit
from git_hmopt.records.evidence import HotspotEvidence
from tests.agents.kernel_tree import Tree, hotspot, make_tree, pack

SCAN = """#include <linux/types.h>

static const u32 entries[256] = { 1, 2, 3 };

u32 walk(u32 state, const u8 *p, size_t n)
{
	while (n--)
		state = (state >> 8) ^ entries[(state ^ *p++) & 0xff];
	return state;
}

static size_t inner(const u8 *p, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++)
		if (!p[i])
			break;
	return i;
}

size_t outer(const u8 *p, size_t n)
{
	return inner(p, n) + 1;
}
"""


class Counting(Tree):
    """A tree that remembers what was parsed."""

    parsed: list[str]

    def unit(self, path: str) -> Unit:
        self.parsed.append(path)
        return super().unit(path)


@pytest.fixture
def tree(tmp_path: Path) -> Counting:
    counting = Counting(make_tree(tmp_path).root)
    object.__setattr__(counting, "parsed", [])
    counting.write("lib/one.c", SCAN)
    return counting


def attempt(decision: Decision, outcome: str = "no-change") -> Attempt:
    return Attempt(decision.symbol, decision.file, decision.strategy, outcome)


def unmeasured(symbol: str, file: str, distance: int = 1) -> HotspotEvidence:
    """Return a hotspot that the structure alone chose."""
    known = hotspot(symbol, file)
    changed = {"score": None, "distance": distance, "ranker": "call-distance", "unit": "calls"}
    return known.model_copy(update={"hotspot": known.hotspot.model_copy(update=changed)})


def test_greatest_headroom_first_then_the_next_then_the_end(tree: Counting) -> None:
    given = pack(hotspot("outer", "lib/one.c", "0.4"), hotspot("walk", "lib/one.c", "0.3"))
    proposer = PlaybookProposer()
    first = proposer.decide(given, [], tree)
    assert isinstance(first, Decision)
    # 0.3 x 0.75 before 0.4 x 0.3
    assert (first.symbol, first.strategy) == ("walk", "crc-slicing")
    assert "30.0%" in first.reason and "22.5%" in first.reason
    second = proposer.decide(given, [attempt(first)], tree)
    assert isinstance(second, Decision)
    assert (second.symbol, second.strategy) == ("outer", "word-at-a-time")  # found in the callee that was inlined
    end = proposer.decide(given, [attempt(first), attempt(second, "refused")], tree)
    assert isinstance(end, End)
    assert "2 attempts" in end.reason
    assert len(end.details) == 2 * len(STRATEGIES)
    assert "walk, crc-slicing: tried: no-change" in end.details
    assert any(line.startswith("walk, word-at-a-time: no byte scan") for line in end.details)


def test_the_same_inputs_give_the_same_decision_whatever_the_order(tree: Counting) -> None:
    one, two = hotspot("outer", "lib/one.c", "0.4"), hotspot("walk", "lib/one.c", "0.3")
    proposer = PlaybookProposer()
    assert proposer.decide(pack(one, two), [], tree) == proposer.decide(pack(two, one), [], tree)


def test_cold_hotspots_are_passed_over_without_parsing(tree: Counting) -> None:
    end = PlaybookProposer().decide(pack(hotspot("walk", "lib/one.c", "0.009")), [], tree)
    assert isinstance(end, End)
    assert tree.parsed == []
    assert end.details == ("walk: 0.90% of the profile is below the objective's margin of 1.00%",)


def test_a_hotspot_where_no_candidate_may_touch_the_file_is_passed_over_without_parsing(tree: Counting) -> None:
    tree.write("bench/one.c", SCAN)
    end = PlaybookProposer().decide(pack(hotspot("walk", "bench/one.c", "0.9")), [], tree)
    assert isinstance(end, End)
    assert tree.parsed == []
    assert end.details == ("walk: the policy keeps it as it is: it is the workload",)


def test_margin_is_the_workloads(tree: Counting) -> None:
    cold = hotspot("walk", "lib/one.c", "0.009")
    assert isinstance(PlaybookProposer().decide(pack(cold, margin="0.005"), [], tree), Decision)


def test_what_was_not_measured_is_tried_by_what_strategies_state_and_then_as_the_pack_has_it(tree: Counting) -> None:
    tree.write("lib/two.c", SCAN.replace("walk", "stroll").replace("outer", "around"))
    spots = [
        unmeasured("outer", "lib/one.c"),
        unmeasured("stroll", "lib/two.c"),
        unmeasured("walk", "lib/one.c", 2),
    ]
    proposer, made = PlaybookProposer(), list[Decision]()
    # No margin can hold it up: nobody knows that it costs less.
    given = pack(*spots, margin="0.9").model_copy(update={"without": ("profile",)})
    while isinstance(decision := proposer.decide(given, [attempt(one) for one in made], tree), Decision):
        made.append(decision)
    assert [(one.strategy, one.symbol) for one in made] == [
        ("crc-slicing", "stroll"), ("crc-slicing", "walk"), ("word-at-a-time", "outer"),
    ]  # fmt: skip
    assert "what it costs was not measured, expected headroom 75.0% of that" in made[0].reason
    assert "of the profile" not in made[0].reason
    assert isinstance(decision, End)
    reasons = {line.split(": ", 1)[0]: line.split(": ", 1)[1] for line in decision.details}
    assert reasons["walk, branch-hints"] == "which way its branches go is not known without a profile"
    assert reasons["walk, forced-inline"] == "whether it and its callers are hot is not known without a profile"


def test_what_was_measured_comes_before_what_was_not(tree: Counting) -> None:
    given = pack(unmeasured("walk", "lib/one.c"), hotspot("outer", "lib/one.c", "0.02"))
    first = PlaybookProposer().decide(given, [], tree)
    assert isinstance(first, Decision)
    assert (first.symbol, first.strategy) == ("outer", "word-at-a-time")


@pytest.mark.parametrize(
    ("symbol", "file", "reason"),
    [
        ("walk", None, "source file is not known"),
        ("memcpy", "arch/um/memcpy.S", "no C file"),
        ("walk", "include/linux/walk.h", "no C file"),
        ("walk", "lib/missing.c", "cannot read"),
        ("absent", "lib/one.c", "does not define it"),
        ("broken", "lib/broken.c", "the parser finds errors in lib/broken.c, the first at lib/broken.c:1: "),
        ("lossy", "lib/lossy.c", "the first at lib/lossy.c:7: use of undeclared identifier 'nonsense'"),
    ],
)
def test_hotspots_that_cannot_be_looked_at_say_why(tree: Counting, symbol: str, file: str | None, reason: str) -> None:
    tree.write("lib/broken.c", "int missing_type_here(nonsense x);\n")
    # The statement that is not understood is left out of the parser's tree: what is left of the loop is a scan.
    tree.write(
        "lib/lossy.c",
        "#include <linux/types.h>\nconst u8 *lossy(const u8 *p, size_t n)\n{\n"
        "\tfor (; n; n--, p++) {\n\t\tif (*p == 'x')\n\t\t\treturn p;\n\t\tnonsense;\n\t}\n\treturn p;\n}\n",
    )
    end = PlaybookProposer().decide(pack(hotspot(symbol, file)), [], tree)
    assert isinstance(end, End)
    assert all(reason in line for line in end.details)
    assert end.details


def test_a_file_is_parsed_once_for_all_strategies_and_hotspots(tree: Counting) -> None:
    given = pack(hotspot("outer", "lib/one.c"), hotspot("inner", "lib/one.c"), hotspot("gone", "lib/one.c"))
    PlaybookProposer().decide(given, [], tree)
    assert tree.parsed == ["lib/one.c"]


def test_proposal_reads_like_a_kernel_commit(tree: Counting) -> None:
    given = pack(hotspot("walk", "lib/one.c"))
    proposer = PlaybookProposer()
    decision = proposer.decide(given, [], tree)
    assert isinstance(decision, Decision)
    proposal = proposer.generate(decision, given, tree)
    assert isinstance(proposal, Proposal)
    assert proposal.title == "lib/one: fold in eight bytes at a time in walk()"
    assert list(proposal.edits) == ["lib/one.c"]
    assert proposal.diff is None and proposal.author is None and proposal.symbol == "walk"
    assert max(len(line) for line in proposal.rationale.splitlines()) <= 75
    assert not any(character.isdigit() for character in proposal.rationale.replace("CRC-32", "").replace("by 8", ""))
    tree.write("lib/one.c", proposal.edits["lib/one.c"] or b"")
    again = proposer.generate(decision, given, tree)
    assert isinstance(again, Refusal)
    assert "no longer fits walk" in again.reason


def test_long_names_stay_out_of_the_title(tree: Counting) -> None:
    name = "walk_" + "x" * 60
    tree.write("lib/one.c", SCAN.replace("walk", name))
    given = pack(hotspot(name, "lib/one.c"))
    decision = PlaybookProposer().decide(given, [], tree)
    assert isinstance(decision, Decision)
    proposal = PlaybookProposer().generate(decision, given, tree)
    assert isinstance(proposal, Proposal)
    assert proposal.title == "lib/one: fold in eight bytes at a time"
    assert name in proposal.rationale


def test_decisions_that_make_no_sense_are_refused(tree: Counting) -> None:
    given = pack(hotspot("walk", "lib/one.c"))
    proposer = PlaybookProposer()
    unknown = proposer.generate(Decision("walk", "lib/one.c", "magic", ""), given, tree)
    stranger = proposer.generate(Decision("nobody", "lib/one.c", "crc-slicing", ""), given, tree)
    assert unknown == Refusal("the playbook has no strategy 'magic'")
    assert stranger == Refusal("nobody: the pack has no such hotspot")


def test_every_strategy_is_documented_and_serves_a_class() -> None:
    names = [strategy.name for strategy in STRATEGIES]
    assert len(set(names)) == len(names) == 4
    assert all(0 < strategy.prior < 1 and strategy.prior_source and strategy.summary for strategy in STRATEGIES)
    assert set(by_class()) == {"call-overhead", "cpu-bound-loop", "unknown"}
    assert by_class()["call-overhead"] == ("forced-inline",)
