# SPDX-License-Identifier: Apache-2.0
"""What `list` and `show` ask the cache: frozen rows, and a run's name from the part of it that was typed."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, TypeVar, get_type_hints

import apsw

from git_hmopt.errors import UsageError
from git_hmopt.records.words import RunId

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

R = TypeVar("R", bound="DataclassInstance")


@dataclass(frozen=True)
class RunRow:
    """One line of `git hmopt list`."""

    name: RunId
    workload: str
    status: str
    created: str
    base_commit: str
    proposer: str
    device: str
    seed: int
    uuid: str
    base_tree: str
    configuration: str
    parent: str | None
    iterations: int
    """How many candidates got a verdict."""
    accepted: int


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


_RUNS = """
SELECT runs.*, coalesce(judged.iterations, 0) AS iterations, coalesce(judged.accepted, 0) AS accepted
FROM runs LEFT JOIN (
    SELECT run, count(DISTINCT iteration) AS iterations, sum(accepted) AS accepted FROM evaluations {where} GROUP BY run
) AS judged ON judged.run = runs.name
"""


def list_runs(database: apsw.Connection, *, workload: str | None = None, limit: int | None = None) -> list[RunRow]:
    """Return the runs, newest first."""
    statement = _RUNS.format(where="") + " WHERE ?1 IS NULL OR workload = ?1 ORDER BY created DESC, name DESC LIMIT ?2"
    return _rows(database, RunRow, statement, (workload, -1 if limit is None else limit))


def skipped_in_all(database: apsw.Connection) -> dict[str, int]:
    """Return what was not understood in any journal, by reason."""
    return dict(database.execute("SELECT reason, sum(count) FROM skipped GROUP BY reason ORDER BY reason"))


def find_run(database: apsw.Connection, text: str | None = None) -> RunId:
    """Return the run whose name is, begins or ends with `text`; the newest when there is no text.

    UsageError when there is none, with the nearest name, or when there are several.
    """
    if text is None:
        newest = database.execute("SELECT name FROM runs ORDER BY created DESC, name DESC LIMIT 1").get
        if newest is None:
            raise UsageError("there is no run here yet", next_step="start one: git hmopt optimize --workload NAME")
        return RunId(newest)
    names = [name for (name,) in database.execute("SELECT name FROM runs ORDER BY name")]
    if text in names:
        return RunId(text)
    found = [name for name in names if text and (name.startswith(text) or name.endswith(text))]
    if len(found) == 1:
        return RunId(found[0])
    if found:
        shown = ", ".join(found[:4]) + (", ..." if len(found) > 4 else "")
        raise UsageError(f"'{text}' is {len(found)} runs ({shown})", next_step="give more of the name")
    near = difflib.get_close_matches(text, names, n=1, cutoff=0.4)
    step = f"did you mean '{near[0]}'?" if near else "see: git hmopt list"
    raise UsageError(f"no run is called '{text}'", next_step=step)


def show_run(database: apsw.Connection, name: RunId) -> RunStory:
    """Return everything recorded about a run; UsageError when nobody knows it."""
    runs = _rows(database, RunRow, _RUNS.format(where="WHERE run = ?1") + " WHERE name = ?1", (name,))
    if not runs:
        find_run(database, name)
        raise UsageError(f"no run is called '{name}'", next_step="see: git hmopt list")

    def part(row: type[R], table: str) -> tuple[R, ...]:
        place = ", place" if table != "operations" else ""
        statement = f"SELECT * FROM {table} WHERE run = ? ORDER BY lamport, writer{place}"
        return tuple(_rows(database, row, statement, (name,)))

    nested = _rows(database, _Surroundings, "SELECT * FROM runs WHERE name = ?", (name,))[0]
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


def _rows(database: apsw.Connection, row: type[R], statement: str, bindings: tuple[Any, ...]) -> list[R]:
    cursor = database.execute(statement, bindings)
    try:
        columns = {column[0]: index for index, column in enumerate(cursor.get_description())}
    except apsw.ExecutionCompleteError:
        return []
    hints = get_type_hints(row)
    wanted = [(field.name, columns[field.name], _reader(hints[field.name])) for field in fields(row)]
    return [row(**{name: read(line[index]) for name, index, read in wanted}) for line in cursor]


def _reader(hint: Any) -> Any:
    """Return what turns a column into a field of that type."""
    text = str(hint)
    if text.startswith("collections.abc.Mapping"):
        return json.loads
    if text.startswith("tuple"):
        return lambda value: tuple(json.loads(value))
    return bool if hint is bool else _same


def _same(value: Any) -> Any:
    return value
