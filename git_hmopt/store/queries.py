# SPDX-License-Identifier: Apache-2.0
"""What `list` asks the cache, and a run's name from the part of it that was typed."""

from __future__ import annotations

import json
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


RUNS = """
SELECT runs.*, coalesce(judged.iterations, 0) AS iterations, coalesce(judged.accepted, 0) AS accepted
FROM runs LEFT JOIN (
    SELECT run, count(DISTINCT iteration) AS iterations, sum(accepted) AS accepted FROM evaluations {where} GROUP BY run
) AS judged ON judged.run = runs.name
"""


def list_runs(database: apsw.Connection, *, workload: str | None = None, limit: int | None = None) -> list[RunRow]:
    """Return the runs, newest first."""
    statement = RUNS.format(where="") + " WHERE ?1 IS NULL OR workload = ?1 ORDER BY created DESC, name DESC LIMIT ?2"
    return rows_of(database, RunRow, statement, (workload, -1 if limit is None else limit))


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
    import difflib

    near = difflib.get_close_matches(text, names, n=1, cutoff=0.4)
    step = f"did you mean '{near[0]}'?" if near else "see: git hmopt list"
    raise UsageError(f"no run is called '{text}'", next_step=step)


def rows_of(database: apsw.Connection, row: type[R], statement: str, bindings: tuple[Any, ...]) -> list[R]:
    """Return what a statement selects as dataclasses whose fields are named like its columns."""
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
