# SPDX-License-Identifier: Apache-2.0
"""The dataset: one canonical line a judged candidate, from real stories, with what is missing named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from git_hmopt.dataset.export import Read, export_lines
from git_hmopt.report.story import fold

PACK, DIFF = "e" * 64, "d" * 64
STORED = {PACK: b'{"v":1,"hotspots":[]}', DIFF: "--- a/x\n+++ b/x\n+ü\n".encode()}


def operation(lamport: int, iteration: int, data: dict[str, Any]) -> dict[str, Any]:
    return {"v": 1, "op": f"o{lamport}", "run": "r", "writer": "w", "iter": iteration, "lamport": lamport, "data": data}


def operations() -> list[dict[str, Any]]:
    run = {
        "name": "20260131-digest-0a1b2c", "uuid": "u", "workload": "digest", "base_commit": "b" * 40,
        "base_tree": "7" * 40, "proposer": "playbook", "device": "uml", "toolchain": {}, "environment": {},
        "repository": {"uri": "x", "revision": "v6.1", "dirty": False}, "seed": 1, "created": "2026-01-31T12:00:00Z",
    }  # fmt: skip
    pack = {"sha256": PACK, "size": 1, "media_type": "application/json", "kind": "evidence-pack", "name": "evidence"}
    patch = {
        "parent": "b" * 40, "commit": "1" * 40, "title": "t", "rationale": "r", "strategy": "word-at-a-time",
        "proposer": "playbook", "symbol": "digest", "files": ["lib/digest.c"], "diff": DIFF,
    }  # fmt: skip
    delta = {
        "metric": "time", "kind": "time", "against": "best", "estimate": "-0.5", "low": "-0.6", "high": "-0.4",
        "layouts": 12, "boots": 10, "layout_controlled": True,
    }  # fmt: skip
    evaluation = {
        "verdict": "improved", "reason": "clear", "accepted": True, "deltas": [delta], "checks": [],
        "text_bytes": 16, "commit": "1" * 40, "baseline": "b" * 40, "best": "b" * 40,
    }  # fmt: skip
    metric = {
        "commit": "1" * 40, "tree": "7" * 40, "workload": "digest", "name": "time", "value": "5", "unit": "ns", "n": 3,
    }  # fmt: skip
    return [
        operation(1, 0, {"run": run}),
        operation(2, 1, {"artifact": pack}),
        operation(3, 1, {"patch": patch}),
        operation(4, 1, {"evaluation": evaluation, "metrics": [metric]}),
        operation(5, 2, {"patch": patch}),
        operation(6, 3, {"evaluation": {**evaluation, "verdict": "rejected", "rule": "paths", "accepted": False}}),
    ]


def examples(read: Read) -> list[dict[str, Any]]:
    lines = list(export_lines(fold(operations()), read))
    assert all(line.endswith("\n") and line.count("\n") == 1 for line in lines)
    return [json.loads(line) for line in lines]


def test_a_judged_candidate_is_one_example() -> None:
    first, second = examples(STORED.get)
    assert (first["evidence"], first["diff"]) == ({"v": 1, "hotspots": []}, STORED[DIFF].decode())
    assert (first["verdict"], first["accepted"], first["text_bytes"], first["missing"]) == ("improved", True, 16, [])
    assert first["deltas"][0]["estimate"] == "-0.5"
    assert first["metrics"][0]["value"] == "5"
    assert (first["v"], first["run"], first["iteration"]) == (1, "20260131-digest-0a1b2c", 1)
    assert (second["iteration"], second["verdict"], second["rule"], second["strategy"]) == (
        3,
        "rejected",
        "paths",
        None,
    )
    assert second["missing"] == ["diff: none was recorded"]


def test_the_same_story_gives_the_same_bytes() -> None:
    story = fold(operations())
    assert list(export_lines(story, STORED.get)) == list(export_lines(fold(reversed(operations())), STORED.get))


def test_exchanges_with_models_change_no_example() -> None:
    golden = Path(__file__).parents[1] / "records/golden/agent-message-v1-with-exchange.json"
    told = json.loads(golden.read_bytes())
    asked = [operation(7 + n, n, {"message": {**told, "iteration": n}}) for n in range(4)]
    story = fold([*operations(), *asked])
    assert len(story.said) == 4 and story.skipped == {}
    assert list(export_lines(story, STORED.get)) == list(export_lines(fold(operations()), STORED.get))


def test_bytes_that_are_gone_are_null_and_named() -> None:
    first = examples(lambda sha256: None)[0]
    assert (first["evidence"], first["diff"]) == (None, None)
    assert first["missing"] == [f"evidence: {PACK} is no longer stored", f"diff: {DIFF} is no longer stored"]


@pytest.mark.parametrize("damaged", [b"", b"not json", b'{"cut":', b'{"a":0.5}', b"\xff\xfe"])
def test_an_evidence_pack_that_cannot_be_read_is_said_to_be_none(damaged: bytes) -> None:
    first = examples({**STORED, PACK: damaged}.get)[0]
    assert first["evidence"] is None
    assert first["missing"][0].startswith(f"evidence: {PACK} is no evidence pack: ")


def test_a_run_without_candidates_gives_no_line() -> None:
    assert list(export_lines(fold(operations()[:1]), STORED.get)) == []
