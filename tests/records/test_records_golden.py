# SPDX-License-Identifier: Apache-2.0
"""Every version of a record that was ever written is read, and written again as the same bytes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import get_args

import pytest
from pydantic import ValidationError

from git_hmopt.records.base import Record
from git_hmopt.records.evidence import EvidencePack
from git_hmopt.records.operation import Operation
from git_hmopt.records.run import (
    AgentMessage,
    ArtifactRecord,
    CarriedRecord,
    CutoffRecord,
    EvaluationRecord,
    GraphRecord,
    HotspotRecord,
    KpisRecord,
    MetricRecord,
    NodeRecord,
    Objective,
    PatchRecord,
    RetractionRecord,
    RunRecord,
)
from git_hmopt.records.windows import TraceWindows
from git_hmopt.records.words import Verdict

GOLDEN = Path(__file__).parent / "golden"
KINDS: dict[str, type[Record]] = {
    "run": RunRecord,
    "artifact": ArtifactRecord,
    "objective": Objective,
    "metric": MetricRecord,
    "hotspot": HotspotRecord,
    "graph": GraphRecord,
    "patch": PatchRecord,
    "evaluation": EvaluationRecord,
    "agent-message": AgentMessage,
    "operation": Operation,
    "evidence-pack": EvidencePack,
    "retraction": RetractionRecord,
    "carried": CarriedRecord,
    "cutoff": CutoffRecord,
    "kpis": KpisRecord,
    "trace-windows": TraceWindows,
    "node": NodeRecord,
}
FILES = sorted(GOLDEN.glob("*.json"))


def kind_of(path: Path) -> type[Record]:
    """Return the record a golden file holds, by its name `<kind>-v<version>[-with-what came later].json`."""
    return KINDS[path.stem.rsplit("-v", 1)[0]]


def versions(kind: type[Record]) -> tuple[int, ...]:
    """Return the versions of a record that are read."""
    return get_args(kind.model_fields["v"].annotation)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_golden_record_is_read_and_written_as_the_same_bytes(path: Path) -> None:
    stored = path.read_bytes()
    record = kind_of(path).model_validate_json(stored)
    assert record.canonical().encode() + b"\n" == stored
    # Reading through Python values, as the journal does, gives the same record.
    assert kind_of(path).model_validate(json.loads(stored)) == record


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_record_is_one_line_and_refuses_what_it_does_not_know(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) == 1
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        kind_of(path).model_validate({**json.loads(text), "unknown": 1})
    with pytest.raises(ValidationError):
        kind_of(path).model_validate({**json.loads(text), "v": 99})


def test_every_versioned_record_has_a_golden_file_of_each_version() -> None:
    versioned = {kind for kind in Record.__subclasses__() if "v" in kind.model_fields and "records" in kind.__module__}
    assert versioned == set(KINDS.values())
    present = {path.stem.partition("-with-")[0] for path in FILES}
    assert present == {f"{name}-v{version}" for name, kind in KINDS.items() for version in versions(kind)}
    # What is written now is the newest.
    assert all(kind.model_fields["v"].default == max(versions(kind)) for kind in KINDS.values())


def test_golden_files_hold_every_field() -> None:
    """A field that stands at its default in every golden file is not really read back."""
    for path in FILES:
        stored = json.loads(path.read_bytes())
        if stored["v"] != kind_of(path).model_fields["v"].default:
            continue
        assert stored.keys() == kind_of(path).model_fields.keys(), path.name


def test_what_a_golden_evaluation_says_is_understood() -> None:
    read = EvaluationRecord.model_validate_json((GOLDEN / "evaluation-v1.json").read_bytes())
    assert read.verdict is Verdict.IMPROVED_COUNT
    assert [(delta.metric, delta.low) for delta in read.deltas] == [("time", "-0.018"), ("instructions", "-0.1315")]
    assert [check.passed for check in read.checks] == [True, False]


def test_a_patch_that_was_recorded_before_its_touches_were_is_written_as_it_was() -> None:
    stored = json.loads((GOLDEN / "patch-v1.json").read_bytes())
    del stored["touches"]
    before = json.dumps(stored, sort_keys=True, separators=(",", ":"))
    read = PatchRecord.model_validate_json(before)
    assert (read.touches, read.canonical()) == ((), before)


def test_a_pack_of_version_1_holds_nothing_of_version_2() -> None:
    first, second = (json.loads((GOLDEN / f"evidence-pack-v{v}.json").read_bytes()) for v in (1, 2))
    for name in ("bottlenecks", "undecided", "hotspots"):
        with pytest.raises(ValidationError, match="a pack of version 1 has no"):
            EvidencePack.model_validate({**first, name: second[name]})


@pytest.mark.parametrize("version", [1, 2])
def test_an_older_pack_holds_nothing_of_version_3(version: int) -> None:
    old, third = (json.loads((GOLDEN / f"evidence-pack-v{v}.json").read_bytes()) for v in (version, 3))
    spot = {**old["hotspots"][0], "joins": third["hotspots"][0]["joins"]}
    parts = {name: third[name] for name in ("windows", "joins", "system", "changes")}
    for name, part in {**parts, "hotspots": [spot]}.items():
        with pytest.raises(ValidationError, match=f"a pack of version {version} has no"):
            EvidencePack.model_validate({**old, name: part})


def test_a_hotspot_of_the_first_version_has_a_score_and_one_of_the_second_may_have_none() -> None:
    first, second = (json.loads((GOLDEN / f"hotspot-v{v}.json").read_bytes()) for v in (1, 2))
    for changed in ({"score": None}, {"distance": 1}):
        with pytest.raises(ValidationError, match="a hotspot of version 1 has a score"):
            HotspotRecord.model_validate({**first, **changed})
    read = HotspotRecord.model_validate(second)
    assert (read.score, read.distance) == (None, 2)
    # Nobody asked how far away it is: that is left out, and no 0.
    measured = HotspotRecord.model_validate({**first, "v": 2})
    assert (measured.distance, "distance" in json.loads(measured.canonical())) == (None, False)
    with pytest.raises(ValidationError, match="Field required"):
        HotspotRecord.model_validate({key: value for key, value in second.items() if key != "score"})
