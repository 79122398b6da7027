# SPDX-License-Identifier: Apache-2.0
"""The loop's state: ids only, since the data is in git; and the JSON in which a checkpoint stands in the journal."""

from __future__ import annotations

from typing import Any, Literal, TypedDict, cast

from pydantic import BaseModel, ConfigDict

NODES = (
    "init_run",
    "snapshot_repo",
    "static_analysis_psg",
    "baseline_build_test",
    "baseline_profile",
    "runtime_analysis_pcg_hotspots",
    "build_evidence_pack",
    "conductor_decide",
    "coder_generate_patch",
    "apply_patch",
    "verify_build_test",
    "profile_candidate",
    "evaluate_delta_and_update_best",
    "stop_or_continue",
    "generate_report",
    "export_dataset",
)


class RunState(TypedDict, total=False):
    """What travels from node to node."""

    run_id: str
    iteration: int
    baseline_run_id: str | None
    best: str
    """The commit of the best so far; at first the base."""
    current_patch_id: str | None
    """The candidate commit under judgement."""
    selected_hotspots: list[str]
    evidence_pack_id: str | None
    stop_reason: str | None
    budget_remaining: int
    """Seconds of wall time left."""
    regressions: int
    no_gain: int
    verdict: str | None
    """How this iteration's candidate ended, once it is known."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class StateRecord(_Strict):
    """RunState as it stands in a checkpoint; every value is checked on the way back in."""

    run_id: str
    iteration: int
    baseline_run_id: str | None = None
    best: str
    current_patch_id: str | None = None
    selected_hotspots: list[str] = []
    evidence_pack_id: str | None = None
    stop_reason: str | None = None
    budget_remaining: int
    regressions: int = 0
    no_gain: int = 0
    verdict: str | None = None


class CheckpointRecord(_Strict):
    """A point a run can go on from.

    LangGraph's own serializer can run code from the bytes it reads, and these bytes are fetched from others; so this
    is plain JSON of plain values, and what is not in this schema is refused.
    """

    v: Literal[1] = 1
    id: str
    ts: str
    step: int
    state: StateRecord
    next: list[str]
    """Nodes that are due, by LangGraph's channels `branch:to:<node>`."""
    versions: dict[str, int]
    seen: dict[str, dict[str, int]]
    updated: list[str] | None = None
    engine: int
    """LangGraph's checkpoint format."""


def state_of(record: StateRecord) -> RunState:
    """Return the state a checkpoint holds."""
    values: dict[str, Any] = record.model_dump()
    return cast(RunState, values)
