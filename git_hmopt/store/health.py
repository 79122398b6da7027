# SPDX-License-Identifier: Apache-2.0
"""What `stats` asks the cache: counts and numbers of many runs, not yet judged. Imports neither pydantic nor pygit2.

What a journal says is somebody's text: a value that is no number is counted as such, and never taken for 0.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

import apsw

from git_hmopt.records.words import RESUMED, RunId, is_run_id
from git_hmopt.store.chain import UNKNOWN_VERSION
from git_hmopt.store.queries import ALIVE


@dataclass(frozen=True)
class RunEnd:
    """How one run stands."""

    name: RunId
    workload: str
    status: str
    reason: str | None
    """Why it ended, where that is recorded."""
    parent: str | None
    """The run of another clone that it goes on with."""
    resumed: int
    """How often its own clone went on with it after a kill."""


@dataclass(frozen=True)
class NodeTimes:
    """What one node took each time it ended."""

    node: str
    wall_s: tuple[float, ...]
    cpu_s: tuple[float, ...]
    """Of the tool itself, without the programs it ran; as many as of the wall clock."""
    failed: int
    """How often it did not end well."""


@dataclass(frozen=True)
class GateCount:
    """How many candidates came to a gate, and how many went through it."""

    gate: str
    passed: int
    tried: int


@dataclass(frozen=True)
class VerdictCount:
    """How often candidates of a workload got a verdict."""

    workload: str
    verdict: str
    rule: str | None
    accepted: bool
    retracted: bool
    count: int


@dataclass(frozen=True)
class Changes:
    """The measured changes of one metric, as ratios minus one."""

    workload: str
    metric: str
    kind: str
    claimed: bool
    """Whether they are best against base, measured afresh; else each candidate against the best before it."""
    estimates: tuple[float, ...]


@dataclass(frozen=True)
class Recorded:
    """All that is asked of the runs that are wanted."""

    runs: tuple[RunEnd, ...]
    nodes: tuple[NodeTimes, ...]
    timed: frozenset[RunId]
    """Runs that say what their nodes took."""
    gates: tuple[GateCount, ...]
    verdicts: tuple[VerdictCount, ...]
    changes: tuple[Changes, ...]
    """Of candidates that were accepted, and of claims; what was retracted is in neither."""
    tokens: tuple[int, ...]
    """Of every iteration whose messages say how many a model read and wrote."""
    iterations: int
    """How many there are in all."""
    no_numbers: int
    """Values that should have been numbers and are none."""
    newer: dict[RunId, dict[str, int]]
    """Records of versions that are not known here, by run and reason; of a run whose begin is one nothing is known."""
    skipped: dict[str, int]
    """Everything else that was not understood, by reason."""


def recorded(database: apsw.Connection, *, workload: str | None = None, since: str | None = None) -> Recorded:
    """Return what the cache has of the runs of a workload begun at a time or later, expired ones aside.

    `since` is a time as records write it.
    """
    asked = _Asked(database, workload, since)
    nodes, timed = asked.nodes()
    newer, skipped = asked.not_understood()
    return Recorded(
        runs=asked.runs(),
        nodes=nodes,
        timed=timed,
        gates=asked.gates(),
        verdicts=asked.verdicts(),
        changes=asked.changes(),
        tokens=asked.tokens(),
        iterations=asked.iterations(),
        no_numbers=asked.no_numbers,
        newer=newer,
        skipped=skipped,
    )


_WANTED = f"""
SELECT name FROM runs
WHERE {ALIVE} AND coalesce(workload = :workload, true) AND coalesce(created >= :since, true)
"""
_STANDS = """
NOT EXISTS (SELECT 1 FROM retractions AS r WHERE r.run = e.run AND coalesce(r.of_iteration, e.iteration) = e.iteration)
"""
# A claim falls with its run, or with any change that is in it.
_CLAIM_STANDS = """
NOT EXISTS (
    SELECT 1 FROM retractions AS r WHERE r.run = c.run AND (r.of_iteration IS NULL OR EXISTS (
        SELECT 1 FROM evaluations AS e WHERE e.run = r.run AND e.iteration = r.of_iteration AND e.accepted
    ))
)
"""
_WHOLE = re.compile(r"[0-9]{1,15}")


class _Asked:
    """One reading of the cache; counts what is no number on the way."""

    def __init__(self, database: apsw.Connection, workload: str | None, since: str | None) -> None:
        self._database = database
        self._values = {"workload": workload, "since": since}
        self.no_numbers = 0

    def _rows(self, statement: str) -> Iterable[tuple[apsw.SQLiteValue, ...]]:
        wanted = {name: value for name, value in self._values.items() if f":{name}" in statement}
        return self._database.execute(statement, wanted)

    def runs(self) -> tuple[RunEnd, ...]:
        reasons: dict[object, object] = {}
        resumed: dict[object, int] = defaultdict(int)
        said = f"""SELECT run, op, status, reason FROM operations
            WHERE status IS NOT NULL OR op = '{RESUMED}' ORDER BY lamport, writer"""
        for run, op, status, reason in self._rows(said):
            if status is not None:
                reasons[run] = reason
            resumed[run] += op == RESUMED
        found = self._database.execute(
            f"SELECT name, workload, status, parent FROM runs WHERE name IN ({_WANTED}) ORDER BY created, name",
            self._values,
        )
        return tuple(
            RunEnd(RunId(name), of, status, _text(reasons.get(name)), parent, resumed[name])
            for name, of, status, parent in found
        )

    def nodes(self) -> tuple[tuple[NodeTimes, ...], frozenset[RunId]]:
        found: dict[str, list[tuple[float, float]]] = defaultdict(list)
        failed: dict[str, int] = defaultdict(int)
        # One text a node: a row each would take longer to hand over than to read.
        times = f"""SELECT node, outcome, json_group_array(wall_s), json_group_array(cpu_s) FROM node_times
            WHERE run IN ({_WANTED}) GROUP BY node, outcome ORDER BY node, outcome"""
        for node, outcome, walls, cpus in self._rows(times):
            pairs = zip(self._numbers(walls), self._numbers(cpus), strict=True)
            good = [(wall, cpu) for wall, cpu in pairs if wall is not None and cpu is not None]
            found[str(node)] += good
            failed[str(node)] += len(good) if outcome != "ok" else 0
        nodes = tuple(
            NodeTimes(node, tuple(wall for wall, _ in each), tuple(cpu for _, cpu in each), failed[node])
            for node, each in found.items()
            if each
        )
        timed = self._rows(f"SELECT DISTINCT run FROM node_times WHERE run IN ({_WANTED})")
        return nodes, frozenset(RunId(str(run)) for (run,) in timed)

    def gates(self) -> tuple[GateCount, ...]:
        # Both at once: of 300,000 checks each is read once, which is most of the time of all of this.
        counted = f"""SELECT json_extract(c.value, '$.name', '$.passed'), count(*)
            FROM evaluations AS e, json_each(e.checks) AS c
            WHERE e.run IN ({_WANTED}) AND c.type = 'object' GROUP BY 1 ORDER BY 1"""
        found: dict[str, Counter[bool]] = defaultdict(Counter)
        for both, count in self._rows(counted):
            name, passed = json.loads(str(both))
            # What has no name or no outcome is no check.
            if isinstance(name, str) and isinstance(passed, bool):
                found[name][passed] += int(str(count))
        return tuple(GateCount(gate, counts[True], counts.total()) for gate, counts in found.items())

    def verdicts(self) -> tuple[VerdictCount, ...]:
        counted = f"""SELECT e.workload, e.verdict, e.rule, e.accepted <> 0, NOT {_STANDS} AS retracted, count(*)
            FROM evaluations AS e WHERE e.run IN ({_WANTED}) GROUP BY 1, 2, 3, 4, 5 ORDER BY 1, 2, 3, 4, 5"""
        return tuple(
            VerdictCount(str(of), str(verdict), _text(rule), bool(accepted), bool(retracted), int(str(count)))
            for of, verdict, rule, accepted, retracted, count in self._rows(counted)
        )

    def changes(self) -> tuple[Changes, ...]:
        accepted = f"""SELECT workload, metric, kind, json_group_array(estimate) FROM (
                SELECT e.workload, d.value ->> '$.metric' AS metric, d.value ->> '$.kind' AS kind,
                    d.value ->> '$.estimate' AS estimate
                FROM evaluations AS e, json_each(e.deltas) AS d
                WHERE e.run IN ({_WANTED}) AND e.accepted AND {_STANDS} AND d.type = 'object'
                AND d.value ->> '$.against' = 'best'
                AND json_type(d.value, '$.metric') = 'text' AND json_type(d.value, '$.kind') = 'text'
            ) GROUP BY 1, 2, 3 ORDER BY 1, 2, 3"""
        claimed = f"""SELECT runs.workload, c.metric, c.kind, json_group_array(c.estimate)
            FROM confirmations AS c JOIN runs ON runs.name = c.run
            WHERE c.run IN ({_WANTED}) AND {_CLAIM_STANDS} GROUP BY 1, 2, 3 ORDER BY 1, 2, 3"""
        found = []
        for is_claim, statement in ((True, claimed), (False, accepted)):
            for of, metric, kind, estimates in self._rows(statement):
                numbers = tuple(one for one in self._numbers(estimates) if one is not None)
                if numbers:
                    found.append(Changes(str(of), str(metric), str(kind), is_claim, numbers))
        return tuple(found)

    def tokens(self) -> tuple[int, ...]:
        """Return them by iteration; the names are those of the usage that OpenAI-compatible servers report."""
        said = f"""SELECT run, iteration, data ->> '$.prompt_tokens', data ->> '$.completion_tokens'
            FROM agent_messages WHERE run IN ({_WANTED}) AND data LIKE '%_tokens%' ORDER BY run, iteration"""
        found: dict[tuple[object, object], list[int | None]] = defaultdict(list)
        for run, iteration, *both in self._rows(said):
            if any(one is not None for one in both):
                found[run, iteration] += [int(str(one)) if _WHOLE.fullmatch(str(one)) else None for one in both]
        self.no_numbers += sum(each.count(None) for each in found.values())
        # A part of what was used is not all of it.
        whole = ([one for one in each if one is not None] for each in found.values() if None not in each)
        return tuple(map(sum, whole))

    def iterations(self) -> int:
        (count,) = next(
            iter(
                self._rows(
                    f"""SELECT count(*) FROM (
                        SELECT run, iteration FROM evaluations WHERE run IN ({_WANTED})
                        UNION SELECT run, iteration FROM agent_messages WHERE run IN ({_WANTED}) AND role <> 'end'
                    )"""
                )
            )
        )
        return int(str(count))

    def not_understood(self) -> tuple[dict[RunId, dict[str, int]], dict[str, int]]:
        newer: dict[RunId, dict[str, int]] = defaultdict(dict)
        skipped: dict[str, int] = defaultdict(int)
        # A run that has no row is of a version, workload and time that nobody here knows: it may be one of those.
        said = f"""SELECT run, reason, sum(count) FROM skipped
            WHERE run IN ({_WANTED}) OR run NOT IN (SELECT name FROM runs) GROUP BY 1, 2 ORDER BY 1, 2"""
        for run, reason, count in self._rows(said):
            if str(reason).startswith(UNKNOWN_VERSION) and is_run_id(str(run)):
                newer[RunId(str(run))][str(reason)] = int(str(count))
            else:
                skipped[str(reason)] += int(str(count))
        return dict(newer), dict(skipped)

    def _numbers(self, listed: apsw.SQLiteValue) -> list[float | None]:
        """Return the numbers of a JSON list of texts, None for what is none."""
        numbers = [_number(one) for one in json.loads(str(listed))]
        self.no_numbers += numbers.count(None)
        return numbers


def _number(text: object) -> float | None:
    try:
        value = float(str(text))
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _text(value: object) -> str | None:
    return None if value is None else str(value)
