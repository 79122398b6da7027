# SPDX-License-Identifier: Apache-2.0
"""Turn an operation into rows of the cache: a pure function over plain JSON, whatever the operation is called.

The key under which a record stands in an operation's `data` says what it is. Imports no pydantic, since `list` folds
what is new before it answers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from git_hmopt.store.chain import MALFORMED, UNKNOWN_VERSION, ChainEntry

Value = str | int | None


@dataclass(frozen=True)
class Table:
    """A table, the key its records stand under, and its columns by the records' keys."""

    name: str
    key: str
    columns: tuple[str, ...]
    many: bool = False
    """Whether the key holds a list of records."""
    versions: tuple[int, ...] = (1,)
    """What its records say of their version; a part of a record has none of its own."""


TABLES = (
    Table("artifacts", "artifact", ("sha256", "size", "media_type", "kind", "name", "uris", "redacted")),
    Table("artifacts", "artifacts", ("sha256", "size", "media_type", "kind", "name", "uris", "redacted"), many=True),
    Table(
        "metrics",
        "metrics",
        (
            *("commit", "tree", "patch_id", "scope", "workload", "name", "value", "unit", "n", "low", "high"),
            *("layouts", "samples", "tags"),
        ),
        many=True,
    ),
    Table(
        "hotspots",
        "hotspots",
        ("symbol", "file", "first_line", "last_line", "score", "distance", "ranker", "unit", "evidence", "resolved_by"),
        many=True,
        versions=(1, 2),
    ),
    Table("graphs", "graph", ("kind", "artifact", "nodes", "edges", "skipped")),
    Table(
        "patches",
        "patch",
        (
            *("parent", "commit", "tree", "patch_id", "title", "rationale", "strategy", "proposer", "symbol"),
            *("files", "diff", "touches"),
        ),
    ),
    Table(
        "evaluations",
        "evaluation",
        (
            *("workload", "commit", "tree", "patch_id", "baseline", "best", "verdict", "rule", "reason"),
            *("smallest_detectable", "accepted", "deltas", "checks", "text_bytes", "samples"),
        ),
    ),
    Table(
        "confirmations",
        "confirmation",
        (
            *("metric", "kind", "against", "estimate", "low", "high", "layouts", "boots", "layout_controlled"),
            *("confidence", "floor", "layout_sd", "boot_sd", "ratios"),
        ),
        versions=(),
    ),
    Table("agent_messages", "message", ("agent", "role", "text", "data")),
    Table("node_times", "took", ("node", "iteration", "outcome", "wall_s", "cpu_s")),
    Table("retractions", "retract", ("of_iteration", "reason")),
    Table("cutoffs", "cutoff", ("of_run", "before", "reason"), many=True),
)

RUN_COLUMNS = (
    *("uuid", "workload", "base_commit", "base_tree", "proposer", "device", "toolchain", "configuration"),
    *("environment", "repository", "seed", "parent", "status", "created"),
)

_NESTED: dict[str, type] = {
    **dict.fromkeys(("uris", "evidence", "files", "deltas", "checks", "touches", "ratios"), list),
    **dict.fromkeys(("redacted", "tags", "skipped", "data", "toolchain", "environment", "repository"), dict),
}

# What records of version 1 gained: left out where there is nothing, and in all that was written before.
_WITHOUT: dict[str, Any] = {"touches": [], "ratios": []}

# `commit` is a word of SQL.
_RENAMED = {"commit": "commit_oid"}


@dataclass(frozen=True)
class Row:
    """A row to insert; `key` names the record it came from."""

    table: str
    key: str
    values: Mapping[str, Value]


@dataclass(frozen=True)
class Folded:
    """What one operation says: the run it describes, the status it sets, its rows, and what was not understood."""

    status: str | None
    reason: str | None
    """Why it sets the status."""
    run: Mapping[str, Value] | None
    rows: tuple[Row, ...]
    skipped: tuple[str, ...]


def fold(entry: ChainEntry) -> Folded:
    """Return the rows of an operation."""
    fields = entry.fields
    data = fields["data"]
    rows: list[Row] = []
    skipped: list[str] = []
    for table in TABLES:
        if table.key not in data:
            continue
        records = data[table.key] if table.many else [data[table.key]]
        if not isinstance(records, list):
            skipped.append(f"{MALFORMED} {table.key}")
            continue
        for record in records:
            values = _values(table.columns, record, versions=table.versions)
            if isinstance(values, str):
                skipped.append(f"{values} {table.key}")
                continue
            place = sum(1 for row in rows if row.table == table.name)
            rows.append(Row(table.name, table.key, {**_origin(fields), "place": place, **values}))
    run = _run(fields, skipped)
    status = data.get("status")
    if status is not None and not isinstance(status, str):
        skipped.append(f"{MALFORMED} status")
        status = None
    if status is None and run is not None and isinstance(run["status"], str):
        status = run["status"]
    reason = data.get("reason") if status is not None else None
    return Folded(status, reason if isinstance(reason, str) else None, run, tuple(rows), tuple(skipped))


def _origin(fields: Mapping[str, Any]) -> dict[str, Value]:
    return {
        "run": fields["run"],
        "writer": fields["writer"],
        "lamport": fields["lamport"],
        "iteration": fields["iter"],
        "node": fields["node"],
    }


def _run(fields: Mapping[str, Any], skipped: list[str]) -> dict[str, Value] | None:
    record = fields["data"].get("run")
    if record is None:
        return None
    values = _values(RUN_COLUMNS, record)
    if not isinstance(values, str) and record.get("name") != fields["run"]:
        values = MALFORMED
    if isinstance(values, str):
        skipped.append(f"{values} run")
        return None
    return {"name": fields["run"], "writer": fields["writer"], "lamport": fields["lamport"], **values}


def _values(columns: tuple[str, ...], record: Any, *, versions: tuple[int, ...] = (1,)) -> dict[str, Value] | str:
    """Return a record's columns, nested values as canonical JSON, or why it is no record of these versions."""
    if not isinstance(record, dict):
        return MALFORMED
    if versions and record.get("v") not in versions:
        return UNKNOWN_VERSION if type(record.get("v")) is int else MALFORMED
    values: dict[str, Value] = {}
    for column in columns:
        value = record.get(column, _WITHOUT.get(column))
        nested = _NESTED.get(column)
        if isinstance(value, dict | list) if nested is None else not isinstance(value, nested):
            return MALFORMED
        values[_RENAMED.get(column, column)] = _column(value)
    return values


def _column(value: Any) -> Value:
    if isinstance(value, bool):
        return int(value)
    if value is None or isinstance(value, str | int):
        return value
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
