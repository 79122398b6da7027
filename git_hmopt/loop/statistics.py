# SPDX-License-Identifier: Apache-2.0
"""Statistics of the runtime side: what captures hold, and how much of what is hot the structure graph knows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from git_hmopt.loop.captures import Opened
from git_hmopt.loop.hotspots import DEBUG_INFORMATION, Locate, located, nowhere
from git_hmopt.runtime.statistics import (
    EventStatistics,
    GraphStatistics,
    count_statistics,
    event_statistics,
    sample_statistics,
)
from git_hmopt.traces.sniff import open_capture
from git_hmopt.traces.tables import SelfCounts, Symbols

PSG = "psg"


@dataclass(frozen=True)
class CaptureStatistics:
    """One capture."""

    name: str
    format: str
    facts: dict[str, str]
    """What it says of itself: clock, CPUs, host, ..."""
    events: EventStatistics | None
    graphs: tuple[GraphStatistics, ...]
    """One for each event that was sampled, or for exact counts."""
    symbols: int | None
    """How many places of symbols it tells; None when it is no such table."""
    losses: dict[str, int]
    """What of its samples, counts or symbols was not used, by reason."""


@dataclass(frozen=True)
class Join:
    """How the functions that rank first in any capture are known."""

    hot: int
    in_structure: int
    """Found in the structure graph."""
    in_text: int
    """Found in files that name them, nothing having been built."""
    in_debug_information: int
    """Found in neither, and in debug information of a capture or of what it measured."""
    ambiguous: int
    """Of those that are found, the ones with more definitions than one."""
    missing: tuple[str, ...]


def statistics(captures: Sequence[Opened], *, limit: int, locate: Locate) -> tuple[list[CaptureStatistics], Join]:
    """Return what captures hold and how their hot functions, `limit` a ranker, join with the structure graph."""
    found = [_of_capture(one, limit) for one in captures]
    hot = [
        symbol.symbol
        for one in found
        for graph in one.graphs
        for ranked in graph.ranked.values()
        for symbol in ranked
    ]  # fmt: skip
    return found, _joined(tuple(dict.fromkeys(hot)), captures, locate)


def _of_capture(one: Opened, limit: int) -> CaptureStatistics:
    capture = open_capture(one.path) if one.path is not None else None
    graphs = [sample_statistics(table, limit=limit) for table in one.samples]
    if isinstance(one.lines, SelfCounts) and not graphs:
        graphs.append(count_statistics(one.lines, limit=limit))
    return CaptureStatistics(
        name=one.name,
        format=one.format,
        facts=dict(capture.facts) if capture is not None else {},
        events=event_statistics(capture) if capture is not None else None,
        graphs=tuple(graphs),
        symbols=len(one.lines) if isinstance(one.lines, Symbols) else None,
        losses=dict(one.skipped),
    )


def _joined(hot: Sequence[str], captures: Sequence[Opened], locate: Locate) -> Join:
    # The question is what the structure knows: it is asked first, and of everything.
    places = dict(locate(hot)) if hot else {}
    rest = [symbol for symbol in hot if symbol not in places]
    tables = [one.lines for one in captures if one.lines is not None]
    tables += [one.definitions(rest) for one in captures if one.definitions is not None]
    places |= located(rest, tables, nowhere)
    by = [places[symbol].resolved_by for symbol in hot if symbol in places]
    return Join(
        hot=len(hot),
        in_structure=by.count(PSG),
        in_text=by.count("text"),
        in_debug_information=by.count(DEBUG_INFORMATION),
        ambiguous=sum(1 for symbol in hot if symbol in places and places[symbol].others),
        missing=tuple(symbol for symbol in hot if symbol not in places),
    )
