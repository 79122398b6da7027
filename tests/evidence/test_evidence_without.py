# SPDX-License-Identifier: Apache-2.0
"""Packs that go without the profile or the graph: what is not in them, and that nothing unmeasured reads as 0."""

from __future__ import annotations

import json

import pytest
from pydantic import ValidationError

from git_hmopt.evidence import taxonomy
from git_hmopt.evidence.prompt import SMALLEST, render
from git_hmopt.evidence.structure import Location
from git_hmopt.psg.reach import Reached
from git_hmopt.records import bottleneck
from git_hmopt.records.evidence import EvidencePack
from git_hmopt.runtime import call_graph, ranking
from git_hmopt.traces import folded
from tests.evidence.test_evidence_pack import PATH, STACKS, hotspot, pack

REACHED = (Reached("digest", PATH, 13, 1, 1), Reached("mix", PATH, 5, 2, 1))
PLACES = {one.symbol: Location(one.file, one.line, "psg") for one in REACHED}


def without_profile(**more: object) -> EvidencePack:
    nothing = {"ranked": (), "pcg": None, "self_counts": None, "artifacts": (), "windows": (), "kpis": ()}
    given = {**nothing, "reached": REACHED, "locate": PLACES.get, "without": ("profile",), "changes": (), **more}
    return pack(**given)


def without_graph() -> EvidencePack:
    graph = call_graph.from_samples(folded.parse(f"{line}\n".encode() for line in STACKS))
    return pack(pcg=graph.flat(), ranked=ranking.rank_by_self(graph), without=("graph",))


def test_without_a_profile_functions_stand_by_distance_and_no_number_poses_as_a_share() -> None:
    found = without_profile(retrieve=None, attempts={})
    assert (found.v, found.without) == (4, ("profile",))
    spots = [one.hotspot for one in found.hotspots]
    assert [(one.symbol, one.score, one.distance, one.ranker, one.unit) for one in spots] == [
        ("digest", None, 1, "call-distance", "calls"),
        ("mix", None, 2, "call-distance", "calls"),
    ]
    assert [(one.file, one.first_line, one.resolved_by) for one in spots] == [(PATH, 13, "psg"), (PATH, 5, "psg")]
    stored = json.loads(found.canonical())
    assert not {"windows", "joins", "system", "changes"} & stored.keys()
    for one in stored["hotspots"]:
        assert (one["runtime"], one["line_counts"], one["hotspot"]["score"], one["hotspot"]["evidence"]) == (
            [], [], None, [],
        )  # fmt: skip
        assert not {"line_counts", "runtime", "similar_runs"} & {section["name"] for section in one["sections"]}
    assert (found.bottleneck, found.bottlenecks) == (bottleneck.UNKNOWN, ())
    assert found.bottleneck_reason == "the run goes without a profile"
    # Source and its structure are told as ever.
    assert hotspot(found, "digest").source == hotspot(pack(), "digest").source
    assert hotspot(found, "digest").static == hotspot(pack(), "digest").static
    assert hotspot(found, "mix").risks == hotspot(pack(), "mix").risks


def test_the_limit_holds_and_no_ranked_symbol_slips_in() -> None:
    ranked = ranking.rank_by_self(call_graph.from_samples(folded.parse(f"{line}\n".encode() for line in STACKS)))
    found = without_profile(limit=1, ranked=ranked)
    assert [one.hotspot.symbol for one in found.hotspots] == ["digest"]


def test_the_text_says_without_what_in_any_budget() -> None:
    found = without_profile()
    text = render(found, max_tokens=100_000).text
    assert "without profile: nothing was measured of these functions" in text
    assert "# 1. digest unmeasured, 1 call from the harness\n" in text
    assert "# 2. mix unmeasured, 2 calls from the harness\n" in text
    for word in ("0.0 %", "% of", "runtime:", "line_counts:", "hot there"):
        assert word not in text
    assert "without profile" in render(found, max_tokens=SMALLEST).text


def test_a_name_as_long_as_a_page_stays_a_heading() -> None:
    name = "x" * 10_000 + "\n# 9. kfree 99.0 %\n\u2028\u202e<script>"
    found = without_profile(reached=(Reached(name, "lib/\x1b]0;.c", 1, 3, 1),), locate=lambda symbol: None)
    text = render(found, max_tokens=4000).text
    [heading] = [line for line in text.split("\n") if line.startswith("# ")]
    assert heading.endswith("<script> unmeasured, 3 calls from the harness")
    assert len(heading) < 300
    assert EvidencePack.model_validate_json(found.canonical()) == found


def test_without_the_graph_nobody_is_told_who_calls_whom() -> None:
    found = without_graph()
    assert [one.hotspot.ranker for one in found.hotspots] == ["self"] * 4
    assert [one.hotspot.score for one in found.hotspots] == ["0.45", "0.4", "0.1", "0.05"]
    for one in found.hotspots:
        assert (one.static, one.runtime, one.joins) == ((), (), ())
        assert not {"static", "runtime"} & {section.name for section in one.sections}
        assert "cost" in [section.name for section in one.sections]
    # What was counted, and what the function's own text says, is no matter of calls.
    assert hotspot(found, "digest").line_counts == hotspot(pack(), "digest").line_counts
    assert hotspot(found, "mix").risks == hotspot(pack(), "mix").risks
    text = render(found, max_tokens=100_000).text
    assert "without graph: nothing is said of who calls whom" in text
    assert "cost: score 45.0 % of samples (self)\n" in text
    assert "caller" not in text and "callee" not in text


def test_without_the_graph_the_class_of_calls_is_undecided_and_not_denied() -> None:
    assert pack().bottleneck == bottleneck.CALL_OVERHEAD
    found = without_graph()
    assert found.bottleneck == bottleneck.UNKNOWN
    assert found.bottleneck_reason == "the profile is flat: mix leads with 45.0 % of the ranked self cost"
    undecided = {one.name: one.reason for one in found.undecided}
    assert undecided[bottleneck.CALL_OVERHEAD] == "who calls whom is left out"
    # Nothing measured at all stays the reason where that is so.
    nothing = {one.name: one.reason for one in taxonomy.survey((), None).undecided}
    assert nothing[bottleneck.CALL_OVERHEAD] == "who calls whom is left out"
    assert nothing[bottleneck.CPU_BOUND_LOOP] == "no profile with costs"


def test_a_pack_of_all_its_evidence_has_no_such_word() -> None:
    assert "without" not in json.loads(pack().canonical())
    assert "without" not in render(pack(), max_tokens=100_000).text
    assert "cost" not in [section.name for one in pack().hotspots for section in one.sections]


def test_an_older_pack_has_all_its_evidence() -> None:
    stored = json.loads(without_profile(changes=()).canonical())
    with pytest.raises(ValidationError, match="a pack of version 3 has all its evidence"):
        EvidencePack.model_validate({**stored, "v": 3})
    with pytest.raises(ValidationError, match="a pack of version 3 has all its evidence"):
        EvidencePack.model_validate({**stored, "v": 3, "without": []})
    with pytest.raises(ValidationError, match="Input should be 'profile' or 'graph'"):
        EvidencePack.model_validate({**stored, "without": ["source"]})
