# SPDX-License-Identifier: Apache-2.0
"""What `stats` asks the cache: counts and numbers of many runs, not yet judged. Imports neither pydantic nor pygit2.

What a journal says is somebody's text: a value that is no number is counted as such, and never taken for 0.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
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
class ModelCount:
    """How often a model was asked, and what came of it; answers that were replayed from another run are not here."""

    model: str | None
    """None where the record does not say."""
    asked: int
    answered: int
    seconds: tuple[float, ...]
    """What those answers took that say so."""


@dataclass(frozen=True)
class RunSpent:
    """What a run that asked models used, and what came of it."""

    run: RunId
    workload: str
    tokens: int | None
    """In and out; None where some exchange does not say."""
    at_most: bool
    """Whether a bound is among them, because a server told nothing."""
    claims: tuple[Mapping[str, object], ...]
    """Best against base as records of changes, the last of each metric; none where they were taken back."""
    accepted: tuple[Mapping[str, object], ...]
    """The changes of the candidates on best, as records."""


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
    """Of every iteration whose messages all say how many a model read and wrote."""
    iterations: int
    """How many there are in all."""
    models: tuple[ModelCount, ...]
    spent: tuple[RunSpent, ...]
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
    tokens, bounds = asked.tokens()
    newer, skipped = asked.not_understood()
    return Recorded(
        runs=asked.runs(),
        nodes=nodes,
        timed=timed,
        gates=asked.gates(),
        verdicts=asked.verdicts(),
        changes=asked.changes(),
        tokens=tuple(sum(each) for each in map(_whole, tokens.values()) if each is not None),
        iterations=asked.iterations(),
        models=asked.models(),
        spent=asked.spent(tokens, bounds),
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
# No model was asked for an answer that was replayed, nor where the question was refused before a request was made.
_ASKED = """
m.data ->> '$.replayed' IS NULL AND NOT (m.role = 'no-answer' AND coalesce(m.data ->> '$.attempts', '') = '0')
"""
_EXCHANGES = "m.role IN ('answer', 'no-answer')"
_WHOLE = re.compile(r"[0-9]{1,15}")
Tokens = dict[tuple[str, int], list[int | None]]
"""By run and iteration what each message says of prompt and completion; None where it says nothing that can be."""


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

    def tokens(self) -> tuple[Tokens, frozenset[str]]:
        """Return them, and the runs among whose are bounds; the names are those that OpenAI-compatible servers use."""
        said = f"""SELECT m.run, m.iteration, {_EXCHANGES},
                {_EXCHANGES} AND coalesce(m.data ->> '$.counted_by', '') <> 'server',
                m.data ->> '$.prompt_tokens', m.data ->> '$.completion_tokens'
            FROM agent_messages AS m WHERE m.run IN ({_WANTED}) AND ({_EXCHANGES} OR m.data LIKE '%_tokens%')
            AND {_ASKED} ORDER BY m.run, m.iteration"""
        found: Tokens = defaultdict(list)
        bounds: set[str] = set()
        for run, iteration, exchange, bound, *both in self._rows(said):
            if exchange or any(one is not None for one in both):
                found[str(run), int(str(iteration))] += map(_count, both)
                self.no_numbers += sum(one is not None and _count(one) is None for one in both)
                bounds |= {str(run)} if bound else set()
        return found, frozenset(bounds)

    def models(self) -> tuple[ModelCount, ...]:
        counted = f"""SELECT m.data ->> '$.model', m.role = 'answer', count(*), json_group_array(m.data ->> '$.seconds')
                FILTER (WHERE m.role = 'answer' AND m.data ->> '$.seconds' IS NOT NULL)
            FROM agent_messages AS m WHERE m.run IN ({_WANTED}) AND {_EXCHANGES} AND {_ASKED}
            GROUP BY 1, 2 ORDER BY 1, 2"""
        counts: dict[str | None, Counter[bool]] = defaultdict(Counter)
        seconds: dict[str | None, tuple[float, ...]] = defaultdict(tuple)
        for model, answered, count, listed in self._rows(counted):
            name = _text(model)
            counts[name][bool(answered)] += int(str(count))
            seconds[name] += tuple(one for one in self._numbers(listed) if one is not None and one >= 0)
        return tuple(ModelCount(name, each.total(), each[True], seconds[name]) for name, each in counts.items())

    def spent(self, tokens: Tokens, bounds: frozenset[str]) -> tuple[RunSpent, ...]:
        """Return the runs that asked models."""
        asked = f"""SELECT DISTINCT m.run, runs.workload FROM agent_messages AS m JOIN runs ON runs.name = m.run
            WHERE m.run IN ({_WANTED}) AND {_EXCHANGES} AND {_ASKED} ORDER BY m.run"""
        each: dict[str, list[int | None]] = defaultdict(list)
        for (run, _), told in tokens.items():
            each[run] += told
        found = []
        for name, workload in list(self._rows(asked)):
            of = RunId(str(name))
            whole = _whole(each[of])
            known = None if whole is None else sum(whole)
            found.append(RunSpent(of, str(workload), known, of in bounds, self._claims(of), self._accepted(of)))
        return tuple(found)

    def _claims(self, run: str) -> tuple[Mapping[str, object], ...]:
        columns = ("metric", "kind", "against", "estimate", "low", "high", "layouts", "boots", "floor")
        said = f"""SELECT {", ".join(columns)}, layout_controlled FROM confirmations AS c
            WHERE c.run = ? AND {_CLAIM_STANDS} ORDER BY lamport, writer, place"""
        last: dict[object, Mapping[str, object]] = {}
        for *values, controlled in self._database.execute(said, (run,)):
            last[values[0]] = {**dict(zip(columns, values, strict=True)), "layout_controlled": bool(controlled)}
        return tuple(last.values())

    def _accepted(self, run: str) -> tuple[Mapping[str, object], ...]:
        said = f"SELECT deltas FROM evaluations AS e WHERE e.run = ? AND e.accepted AND {_STANDS} ORDER BY iteration"
        listed = (json.loads(str(deltas)) for (deltas,) in self._database.execute(said, (run,)))
        return tuple(one for deltas in listed for one in deltas if isinstance(one, dict))

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


def _count(value: object) -> int | None:
    return int(str(value)) if _WHOLE.fullmatch(str(value)) else None


def _whole(told: Sequence[int | None]) -> list[int] | None:
    """Return what is told, None when some of it is not: a part of what was used is not all of it."""
    known = [one for one in told if one is not None]
    return known if len(known) == len(told) else None


def _number(text: object) -> float | None:
    try:
        value = float(str(text))
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _text(value: object) -> str | None:
    return None if value is None else str(value)
