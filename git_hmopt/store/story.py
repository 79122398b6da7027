# SPDX-License-Identifier: Apache-2.0
"""What `show` asks the cache: everything recorded about one run, as frozen rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import apsw

from git_hmopt.errors import UsageError
from git_hmopt.records.words import RunId
from git_hmopt.store.queries import RUNS, R, RunRow, find_run, rows_of


@dataclass(frozen=True)
class OperationRow:
    """One step as it was recorded."""

    lamport: int
    writer: str
    iteration: int
    node: str
    attempt: int
    op: str
    at: str
    commit_oid: str


@dataclass(frozen=True)
class ArtifactRow:
    """A manifest line; whether the bytes are here is the artifact store's answer."""

    iteration: int
    node: str
    sha256: str
    size: int
    media_type: str
    kind: str
    name: str
    redacted: Mapping[str, int]


@dataclass(frozen=True)
class MetricRow:
    """A measured number (text, as recorded)."""

    iteration: int
    commit_oid: str
    tree: str
    patch_id: str | None
    scope: str
    workload: str
    name: str
    value: str
    unit: str
    n: int
    low: str | None
    high: str | None
    layouts: int | None
    samples: str | None
    tags: Mapping[str, str]


@dataclass(frozen=True)
class HotspotRow:
    """A symbol worth looking at."""

    iteration: int
    symbol: str
    file: str | None
    first_line: int | None
    last_line: int | None
    score: str
    ranker: str
    unit: str
    resolved_by: str


@dataclass(frozen=True)
class GraphRow:
    """A graph that stands in an artifact."""

    kind: str
    artifact: str
    nodes: int
    edges: int
    skipped: Mapping[str, int]


@dataclass(frozen=True)
class PatchRow:
    """A proposed change."""

    iteration: int
    parent: str
    commit_oid: str | None
    tree: str | None
    patch_id: str | None
    title: str
    rationale: str
    strategy: str
    proposer: str
    symbol: str | None
    files: tuple[str, ...]
    diff: str | None


@dataclass(frozen=True)
class EvaluationRow:
    """A verdict; `deltas` and `checks` are the records' own keys (records.run.Delta, CheckRecord)."""

    iteration: int
    workload: str
    commit_oid: str | None
    tree: str | None
    patch_id: str | None
    baseline: str
    best: str
    verdict: str
    rule: str | None
    reason: str
    smallest_detectable: str | None
    accepted: bool
    deltas: tuple[Mapping[str, Any], ...]
    checks: tuple[Mapping[str, Any], ...]
    text_bytes: int | None
    samples: str | None


@dataclass(frozen=True)
class MessageRow:
    """Something a proposer or conductor said."""

    iteration: int
    agent: str
    role: str
    text: str
    data: Mapping[str, str]


@dataclass(frozen=True)
class _Surroundings:
    toolchain: Mapping[str, str]
    environment: Mapping[str, str]
    repository: Mapping[str, Any]


@dataclass(frozen=True)
class RunStory:
    """Everything recorded about one run, each part in the order it was recorded."""

    run: RunRow
    toolchain: Mapping[str, str]
    environment: Mapping[str, str]
    repository: Mapping[str, Any]
    operations: tuple[OperationRow, ...]
    artifacts: tuple[ArtifactRow, ...]
    metrics: tuple[MetricRow, ...]
    hotspots: tuple[HotspotRow, ...]
    graphs: tuple[GraphRow, ...]
    patches: tuple[PatchRow, ...]
    evaluations: tuple[EvaluationRow, ...]
    messages: tuple[MessageRow, ...]
    skipped: Mapping[str, int]
    """What of the run's journals was not understood, by reason."""


def show_run(database: apsw.Connection, name: RunId) -> RunStory:
    """Return everything recorded about a run; UsageError when nobody knows it."""
    runs = rows_of(database, RunRow, RUNS.format(where="WHERE run = ?1") + " WHERE name = ?1", (name,))
    if not runs:
        find_run(database, name)
        raise UsageError(f"no run is called '{name}'", next_step="see: git hmopt list")

    def part(row: type[R], table: str) -> tuple[R, ...]:
        place = ", place" if table != "operations" else ""
        statement = f"SELECT * FROM {table} WHERE run = ? ORDER BY lamport, writer{place}"
        return tuple(rows_of(database, row, statement, (name,)))

    nested = rows_of(database, _Surroundings, "SELECT * FROM runs WHERE name = ?", (name,))[0]
    skipped = database.execute(
        "SELECT reason, sum(count) FROM skipped WHERE run = ? GROUP BY reason ORDER BY reason", (name,)
    )
    return RunStory(
        run=runs[0],
        toolchain=nested.toolchain,
        environment=nested.environment,
        repository=nested.repository,
        operations=part(OperationRow, "operations"),
        artifacts=part(ArtifactRow, "artifacts"),
        metrics=part(MetricRow, "metrics"),
        hotspots=part(HotspotRow, "hotspots"),
        graphs=part(GraphRow, "graphs"),
        patches=part(PatchRow, "patches"),
        evaluations=part(EvaluationRow, "evaluations"),
        messages=part(MessageRow, "agent_messages"),
        skipped=dict(skipped),
    )
