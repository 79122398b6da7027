# SPDX-License-Identifier: Apache-2.0
"""What `list` asks the cache, and a run's name from the part of it that was typed."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass, fields

import apsw

from git_hmopt.errors import UsageError
from git_hmopt.records.words import Oid, RunId


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
    without: tuple[str, ...]
    """What evidence it went without."""
    iterations: int
    """How many candidates got a verdict."""
    accepted: int


ALIVE = "NOT EXISTS (SELECT 1 FROM cutoffs AS c WHERE c.of_run = runs.name AND c.before >= runs.created)"
"""Whether a run is not expired."""

_RUNS = f"""
SELECT {", ".join(field.name for field in fields(RunRow))} FROM (
    SELECT runs.*, coalesce(environment ->> '$.without', '') AS without,
        coalesce(judged.iterations, 0) AS iterations, coalesce(judged.accepted, 0) AS accepted
    FROM runs LEFT JOIN (
        SELECT run, count(DISTINCT iteration) AS iterations, sum(accepted AND NOT EXISTS (
            SELECT 1 FROM retractions AS r WHERE r.run = e.run AND coalesce(r.of_iteration, e.iteration) = e.iteration
        )) AS accepted FROM evaluations AS e GROUP BY run
    ) AS judged ON judged.run = runs.name
    WHERE {ALIVE}
)
"""


def list_runs(
    database: apsw.Connection,
    *,
    workload: str | None = None,
    verdict: str | None = None,
    since: str | None = None,
    bases: Collection[Oid] | None = None,
    limit: int | None = None,
) -> list[RunRow]:
    """Return the runs for which all that is given holds, newest first.

    `verdict`: one of its candidates got it, and it was not retracted; `since`: created then or later, a time as records
    write it; `bases`: its base commit is one of them.
    """
    holds: dict[str, str | None] = {
        "workload = ?": workload,
        "EXISTS (SELECT 1 FROM verdicts AS v WHERE v.run = name AND v.verdict = ? AND NOT v.retracted)": verdict,
        "created >= ?": since,
        "base_commit IN (SELECT value FROM json_each(?))": None if bases is None else json.dumps(sorted(bases)),
    }
    asked = {condition: value for condition, value in holds.items() if value is not None}
    statement = f"{_RUNS} WHERE {' AND '.join(asked) or 'true'} ORDER BY created DESC, name DESC LIMIT ?"
    values = (*asked.values(), -1 if limit is None else limit)
    names = [one.name for one in fields(RunRow)]
    rows = (dict(zip(names, line, strict=True)) for line in database.execute(statement, values))
    return [RunRow(**{**row, "without": tuple(filter(None, row["without"].split(", ")))}) for row in rows]


def latest_profiled(database: apsw.Connection, workload: str) -> RunId | None:
    """Return the newest run of a workload that measured what is hot; None when none did, or all were retracted."""
    statement = f"""SELECT name FROM runs WHERE {ALIVE} AND workload = ?
        AND EXISTS (SELECT 1 FROM hotspots AS h WHERE h.run = runs.name AND h.score IS NOT NULL)
        AND NOT EXISTS (SELECT 1 FROM retractions AS r WHERE r.run = runs.name AND r.of_iteration IS NULL)
        ORDER BY created DESC, name DESC LIMIT 1"""
    found = database.execute(statement, (workload,)).get
    return None if found is None else RunId(str(found))


def skipped_in_all(database: apsw.Connection) -> dict[str, int]:
    """Return what was not understood in any journal, by reason."""
    return dict(database.execute("SELECT reason, sum(count) FROM skipped GROUP BY reason ORDER BY reason"))


def find_run(database: apsw.Connection, text: str | None = None) -> RunId:
    """Return the run whose name is, begins or ends with `text`, else whose UUID begins with it; no text is the newest.

    UsageError when there is none, with the nearest name, or when there are several.
    """
    newest = database.execute(f"SELECT name FROM runs WHERE {ALIVE} ORDER BY created DESC, name DESC LIMIT 1").get
    if newest is None and text is None:
        raise UsageError("there is no run here yet", next_step="start one: git hmopt optimize --workload NAME")
    if text is None:
        return RunId(str(newest))
    uuids = dict(database.execute(f"SELECT name, uuid FROM runs WHERE {ALIVE} ORDER BY name"))
    names = list(uuids)
    if text in names:
        return RunId(text)
    found = [name for name in names if text and (name.startswith(text) or name.endswith(text))]
    # A name goes before a UUID: six digits that end the one may begin the other.
    found = found or [name for name in names if text and uuids[name].startswith(text.lower())]
    if len(found) == 1:
        return RunId(found[0])
    if found:
        shown = ", ".join(found[:4]) + (", ..." if len(found) > 4 else "")
        raise UsageError(f"'{text}' is {len(found)} runs ({shown})", next_step="give more of the name")
    expired = dict(database.execute("SELECT of_run, 'since ' || max(before) || ': ' || reason FROM cutoffs GROUP BY 1"))
    gone = [name for name in expired if text and (name.startswith(text) or name.endswith(text))]
    if len(gone) == 1:
        raise UsageError(f"run {gone[0]} is expired {expired[gone[0]]}", next_step="see: git hmopt list")
    if newest is None:
        raise UsageError("there is no run here yet", next_step="start one: git hmopt optimize --workload NAME")
    import difflib

    near = difflib.get_close_matches(text, names, n=1, cutoff=0.4)
    step = f"did you mean '{near[0]}'?" if near else "see: git hmopt list"
    raise UsageError(f"no run is called '{text}'", next_step=step)


def retracted(database: apsw.Connection) -> frozenset[tuple[RunId, int | None]]:
    """Return the verdicts that were taken back, by run and iteration; no iteration is the whole run."""
    return frozenset(database.execute("SELECT run, of_iteration FROM retractions"))


def devices(database: apsw.Connection) -> dict[RunId, str]:
    """Return the host that each run measured on."""
    return dict(database.execute("SELECT name, device FROM runs"))


def prompt_counts(database: apsw.Connection, *, runs: int, model: str | None = None) -> list[tuple[str, str]]:
    """Return bytes and tokens of each prompt that a server counted, as texts: of the newest runs that have some.

    Answers that were replayed are left out: their figures stand in the run that got them. Expired runs are, too.
    """
    counted = """
        m.role IN ('answer', 'no-answer') AND m.data ->> '$.counted_by' = 'server' AND m.data ->> '$.replayed' IS NULL
        AND m.data ->> '$.prompt_bytes' IS NOT NULL AND m.data ->> '$.prompt_tokens' IS NOT NULL
        AND coalesce(m.data ->> '$.model' = :model, :model IS NULL)
    """
    statement = f"""SELECT m.data ->> '$.prompt_bytes', m.data ->> '$.prompt_tokens' FROM agent_messages AS m
        WHERE {counted} AND m.run IN (
            SELECT name FROM runs WHERE {ALIVE} AND EXISTS (
                SELECT 1 FROM agent_messages AS m WHERE m.run = runs.name AND {counted}
            ) ORDER BY created DESC, name DESC LIMIT :runs
        ) ORDER BY m.run, m.lamport, m.writer, m.place"""
    found = database.execute(statement, {"model": model, "runs": runs})
    return [(str(size), str(tokens)) for size, tokens in found]


@dataclass(frozen=True)
class TraceRow:
    """What a run's profile showed."""

    run: RunId
    commit: Oid
    """The run's base."""
    workload: str
    device: str
    symbols: tuple[str, ...]
    """Hotspots, the dearest first."""
    files: tuple[str, ...]
    messages: tuple[str, ...]
    """What agents decided on it."""
    packs: tuple[str, ...]
    """sha256 of its evidence packs."""


def trace_rows(database: apsw.Connection) -> list[TraceRow]:
    """Return the runs that have measured hotspots and are not expired, by name."""
    symbols = _by_run(
        database,
        "SELECT run, symbol FROM hotspots WHERE score IS NOT NULL"
        " GROUP BY run, symbol ORDER BY run, max(CAST(score AS REAL)) DESC, symbol",
    )
    files = _by_run(database, "SELECT DISTINCT run, file FROM hotspots WHERE file IS NOT NULL ORDER BY run, file")
    messages = _by_run(
        database,
        "SELECT DISTINCT run, text FROM agent_messages WHERE role NOT IN ('answer', 'no-answer') ORDER BY run, text",
    )
    packs = _by_run(
        database, "SELECT DISTINCT run, sha256 FROM artifacts WHERE kind = 'evidence-pack' ORDER BY run, sha256"
    )
    runs = database.execute(f"SELECT name, base_commit, workload, device FROM runs WHERE {ALIVE} ORDER BY name")
    return [
        TraceRow(
            RunId(run), Oid(commit), workload, device,
            *(tuple(found.get(run, ())) for found in (symbols, files, messages, packs)),
        )
        for run, commit, workload, device in runs
        if run in symbols
    ]  # fmt: skip


def _by_run(database: apsw.Connection, statement: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for run, value in database.execute(statement):
        found.setdefault(run, []).append(value)
    return found


@dataclass(frozen=True)
class FixRow:
    """A change and the verdict on it."""

    run: RunId
    source: str
    """Writer, place in the journal and in the operation: which evaluation of the run it is."""
    iteration: int
    commit: Oid | None
    """The candidate; None when its edit did not apply."""
    title: str
    rationale: str
    strategy: str
    symbol: str | None
    verdict: str
    reason: str
    deltas: str
    """A JSON list."""
    retracted: int


_FIXES = f"""
SELECT e.run, e.writer || ' ' || e.lamport || ' ' || e.place, e.iteration, e.commit_oid,
    coalesce(p.title, ''), coalesce(p.rationale, ''), coalesce(p.strategy, ''), p.symbol,
    e.verdict, e.reason, e.deltas,
    EXISTS (SELECT 1 FROM retractions AS r WHERE r.run = e.run AND coalesce(r.of_iteration, e.iteration) = e.iteration)
FROM evaluations AS e
JOIN runs ON runs.name = e.run
LEFT JOIN patches AS p ON p.run = e.run AND p.iteration = e.iteration AND NOT EXISTS (
    SELECT 1 FROM patches AS later WHERE later.run = p.run AND later.iteration = p.iteration
    AND (later.lamport, later.writer, later.place) > (p.lamport, p.writer, p.place)
)
WHERE {ALIVE} ORDER BY e.run, e.lamport, e.writer, e.place
"""


def fix_rows(database: apsw.Connection) -> list[FixRow]:
    """Return what was judged in runs that are not expired, with the iteration's change."""
    return [FixRow(*line) for line in database.execute(_FIXES)]
