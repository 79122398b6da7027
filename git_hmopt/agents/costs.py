# SPDX-License-Identifier: Apache-2.0
"""What a function costs by the profiles of a run: its shares, its rank, and its dearest lines."""

from __future__ import annotations

import posixpath
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from git_hmopt.agents.answers import answered, named
from git_hmopt.evidence.rule import percent
from git_hmopt.runtime.call_graph import CallGraph
from git_hmopt.runtime.ranking import Ranking
from git_hmopt.traces.tables import SelfCounts

_LINES = 20

TextOf = Callable[[str, int], str | None]
"""Returns the text of a file's line; None where it is not what was measured, or not there."""


@dataclass(frozen=True)
class LineCost:
    """What a line of source cost inside a function."""

    file: str
    line: int
    cost: int
    """In the unit of the counts; 0 where only executions were counted."""
    executions: int


def line_costs(counts: SelfCounts | None, symbols: Sequence[str]) -> list[LineCost]:
    """Return the lines of a function and of what was inlined into it, the dearest first."""
    cost: Counter[tuple[str, int]] = Counter()
    executions: Counter[tuple[str, int]] = Counter()
    rows = (
        zip(counts.symbol, counts.file, counts.line, counts.instructions, counts.executions, strict=True)
        if counts
        else ()
    )
    for symbol, file, line, spent, ran in rows:
        if symbol in symbols and file is not None and line:
            place = posixpath.normpath(file), line
            cost[place] += spent
            executions[place] += ran
    found = [LineCost(*place, cost[place], executions[place]) for place in cost]
    return sorted(found, key=lambda one: (-one.cost, -one.executions, one.file, one.line))


@dataclass(frozen=True)
class Measured:
    """What a run's profiles say: the one that ranks, and exact counts by symbol and by line where there are any."""

    ranking: Ranking
    counts: CallGraph | None
    lines: SelfCounts | None


def costs_told(name: str, symbols: Sequence[str], measured: Measured, text: TextOf, note: str) -> str:
    """Return an answer; `symbols` are the names that profiles have for the function, `text` gives its lines."""
    ranking, counts = measured.ranking, measured.counts
    said = [f"costs of {named(name)}, by {ranking.basis}:"]
    for symbol in symbols:
        said += [f"- {part}" for part in _shares(symbol, ranking.graph)]
        said += _rank(symbol, ranking)
        if counts is not None and counts is not ranking.graph:
            said += [f"- by exact counts: {part}" for part in _shares(symbol, counts)]
    dearest = line_costs(measured.lines, symbols)
    said += _lines(dearest, measured.lines, text) or [
        "its lines are not measured: no profile of this run counts by line"
    ]
    said += [note] if note else []
    return answered(said, less="the dearest lines came first; the text around one: source PATH:FIRST-LAST")


def _shares(symbol: str, graph: CallGraph) -> Iterator[str]:
    own, inclusive = graph.self_share(symbol), graph.inclusive_share(symbol)
    if own is None and inclusive is None:
        return
    of = f"of {graph.total} {graph.unit}"
    below = (
        f"{percent(inclusive)} with callees" if inclusive is not None else "with callees not measured: no call stacks"
    )
    yield f"{named(symbol)}: {percent(own or 0.0)} self, {below}, {of}"


def _rank(symbol: str, ranking: Ranking) -> list[str]:
    for number, one in enumerate(ranking.ranked, start=1):
        if one.symbol == symbol:
            return [f"- hotspot {number} of {len(ranking.ranked)}, score {percent(one.score)} ({one.ranker})"]
    return ["- it is no hotspot: too small a share, or part of the workload's harness"]


def _lines(dearest: Sequence[LineCost], counts: SelfCounts | None, text: TextOf) -> list[str]:
    if counts is None or not dearest:
        return []
    total = sum(counts.instructions)
    said = ["dearest lines, with their shares of the profile:"]
    for one in dearest[:_LINES]:
        share = f"{percent(one.cost / total)} ({one.cost} {counts.unit}), " if one.cost and total else ""
        line = (text(one.file, one.line) or "").strip()
        said.append(f"- {named(one.file)}:{one.line}: {share}ran {one.executions} times{': ' if line else ''}{line}")
    if len(dearest) > _LINES:
        said.append(f"and {len(dearest) - _LINES} more lines")
    return said
