# SPDX-License-Identifier: Apache-2.0
"""Journal operations of a small run, made of real records, for the tests of reports and of the dataset."""

from __future__ import annotations

import json
from typing import Any, Literal

from git_hmopt.records.operation import Operation
from git_hmopt.records.run import (
    AgentMessage,
    ArtifactRecord,
    CheckRecord,
    Delta,
    EvaluationRecord,
    GraphRecord,
    HotspotRecord,
    MetricRecord,
    PatchRecord,
    RepositoryState,
    RunRecord,
)
from git_hmopt.records.words import Verdict

RUN = "20260131-digest-0a1b2c"
BASE = "b" * 40
Data = dict[str, Any]


def nothing_here(sha256: str) -> bytes | None:
    """Read no artifact: all are elsewhere."""
    return None


class Journal:
    """Appends operations as the loop would write them; `operations` are what is read back from JSON."""

    def __init__(self) -> None:
        self.operations: list[Data] = []

    def add(self, node: str, data: Data, *, iteration: int = 0, op: str | None = None) -> Journal:
        """Append one operation."""
        lamport = len(self.operations) + 1
        operation = Operation(
            op=op or f"{node}.{lamport}",
            run=RUN,
            writer="w1",
            iter=iteration,
            node=node,
            lamport=lamport,
            at=f"2026-01-31T12:00:{lamport % 60:02d}Z",
            data=json.loads(json.dumps(data)),
        )
        self.operations.append(json.loads(operation.canonical()))
        return self


def run_data(**changed: Any) -> Data:
    """Return the data of a run's first operation."""
    record = RunRecord(
        uuid="0190-uuid",
        name=RUN,
        workload="digest",
        base_commit=BASE,
        base_tree="7" * 40,
        proposer="playbook",
        device="uml",
        toolchain={"cc": "gcc 12.2"},
        configuration="0" * 64,
        environment={"cpus": "2"},
        repository=RepositoryState(uri="https://example.org/linux.git", revision="v6.1", dirty=False),
        seed=42,
        created="2026-01-31T12:00:00Z",
    )
    return {"run": record.model_copy(update=changed).model_dump(mode="json")}


def hotspot_data(*symbols: str) -> Data:
    """Return hotspots with falling shares."""
    records = [
        HotspotRecord(
            symbol=symbol,
            file="lib/digest.c",
            first_line=13,
            last_line=20,
            score=str(0.5 / (number + 1)),
            ranker="funcrank",
            unit="ns",
            resolved_by="psg",
        )
        for number, symbol in enumerate(symbols)
    ]
    return {"hotspots": [record.model_dump(mode="json") for record in records]}


def delta(
    estimate: str,
    low: str,
    high: str,
    *,
    kind: str = "time",
    against: str = "best",
    controlled: bool = True,
    confidence: str | None = "0.95",
    ratios: tuple[str, ...] = (),
) -> Delta:
    """Return a delta as the gate records it."""
    return Delta.model_validate(
        {
            "metric": kind,
            "kind": kind,
            "against": against,
            "estimate": estimate,
            "low": low,
            "high": high,
            "layouts": 12,
            "boots": 10,
            "layout_controlled": controlled,
            "confidence": None if low == high else confidence,
            "floor": "0.004",
            "layout_sd": "0.011",
            "boot_sd": "0.017",
            "ratios": ratios,
        }
    )


def patch_data(iteration: int, **changed: Any) -> Data:
    """Return a proposed patch."""
    record = PatchRecord(
        iteration=iteration,
        parent=BASE,
        commit=f"{iteration:x}" * 40,
        tree="7" * 40,
        patch_id="9" * 40,
        title="lib/digest: read a word at a time",
        rationale="The loop reads single bytes.",
        strategy="word-at-a-time",
        proposer="playbook",
        symbol="digest",
        files=("lib/digest.c",),
        diff="d" * 64,
    )
    return {"patch": record.model_copy(update=changed).model_dump(mode="json")}


def evaluation_data(iteration: int, verdict: Verdict, *deltas: Delta, **changed: Any) -> Data:
    """Return a judgement; accepted exactly when improved, unless said otherwise."""
    record = EvaluationRecord(
        run=RUN,
        iteration=iteration,
        workload="digest",
        commit=f"{iteration:x}" * 40,
        tree="7" * 40,
        patch_id="9" * 40,
        baseline=BASE,
        best=BASE,
        verdict=verdict,
        reason="because of the numbers",
        accepted=verdict == Verdict.IMPROVED,
        deltas=deltas,
        checks=(CheckRecord(name="build", passed=True, detail="no new warnings"),),
        text_bytes=4096,
    )
    return {"evaluation": record.model_copy(update=changed).model_dump(mode="json")}


def artifact_data(kind: str, sha256: str) -> Data:
    """Return an artifact."""
    record = ArtifactRecord(sha256=sha256, size=12, media_type="application/json", kind=kind, name=f"{kind}.json")
    return {"artifact": record.model_dump(mode="json")}


def metric_data(value: str) -> Data:
    """Return one metric of the base."""
    record = MetricRecord(
        run=RUN, commit=BASE, tree="7" * 40, workload="digest", name="time", value=value, unit="ns", n=120
    )
    return {"metrics": [record.model_dump(mode="json")]}


def graph_data() -> Data:
    """Return a runtime graph."""
    graph = GraphRecord(kind="pcg", artifact="a" * 64, nodes=3, edges=2, skipped={"unresolved frame": 7})
    return {"graph": graph.model_dump(mode="json")}


def message_data(role: Literal["refusal", "end"], text: str) -> Data:
    """Return a proposer's word."""
    return {"message": AgentMessage(iteration=4, agent="playbook", role=role, text=text).model_dump(mode="json")}


def good_run() -> Journal:
    """Return a finished run: one improvement, one count-only, one rejection; confirmed afresh."""
    journal = Journal()
    journal.add("init_run", run_data()).add("init_run", {"notes": ["bwrap is not installed: programs run unconfined"]})
    journal.add(
        "baseline_build_test", {"floor": {"value": "0.004", "sources": ["A/A over 12 layouts", "2 null patches"]}}
    )
    journal.add("baseline_profile", {**hotspot_data("digest", "mix"), **metric_data("123456")}).add("pcg", graph_data())
    journal.add("build_evidence_pack", artifact_data("evidence-pack", "e" * 64))
    journal.add("conductor_decide", {"decision": {"strategy": "word-at-a-time", "symbol": "digest"}}, iteration=1)
    journal.add("coder_generate_patch", patch_data(1), iteration=1)
    counted = delta("-0.7012", "-0.7012", "-0.7012", kind="count")
    improved = evaluation_data(1, Verdict.IMPROVED, delta("-0.7649", "-0.766", "-0.7641", confidence="0.9975"), counted)
    journal.add("evaluate", improved, iteration=1)
    journal.add("coder_generate_patch", patch_data(2, strategy="forced-inline"), iteration=2)
    counted = delta("-0.1315", "-0.1315", "-0.1315", kind="count")
    undecided = evaluation_data(
        2, Verdict.IMPROVED_COUNT, delta("0.0025", "-0.018", "0.023", confidence="0.9675"), counted
    )
    journal.add("evaluate", undecided, iteration=2)
    journal.add("coder_generate_patch", patch_data(3, strategy="flags"), iteration=3)
    refused = evaluation_data(3, Verdict.REJECTED, rule="build-flags", text_bytes=None)
    journal.add("evaluate", refused, iteration=3)
    journal.add("conductor_decide", message_data("end", "nothing more to try"), iteration=4)
    fresh = delta("-0.7651", "-0.766", "-0.7643", against="baseline").model_dump(mode="json")
    journal.add("confirm", {"confirmation": {**fresh, "samples": "5" * 64}})
    return journal.add("close", {"status": "succeeded", "reason": "the playbook is exhausted"})
