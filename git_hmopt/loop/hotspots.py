# SPDX-License-Identifier: Apache-2.0
"""The hotspots of captures, with where each is defined and how that is known."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from git_hmopt.errors import MeasurementError
from git_hmopt.loop.captures import Opened, samples_named
from git_hmopt.runtime.call_graph import CallGraph, from_samples, from_self_counts
from git_hmopt.runtime.ranking import RankerName, Ranking, rank
from git_hmopt.runtime.window import within
from git_hmopt.traces.tables import SelfCounts, Symbols

DEBUG_INFORMATION = "dwarf"
UNRESOLVED = "unresolved"


@dataclass(frozen=True)
class Place:
    """Where a symbol is defined; lines are None where only the file is known."""

    file: str | None
    first_line: int | None
    last_line: int | None
    resolved_by: str
    """psg (the structure graph), text (files that name it), dwarf (debug information), or unresolved."""
    others: int = 0
    """How many more definitions the name has, when it is not known which one ran."""


Locate = Callable[[Sequence[str]], Mapping[str, Place]]
"""Finds out where symbols are defined; those that it does not know are left out."""
NOWHERE = Place(None, None, None, UNRESOLVED)


@dataclass(frozen=True)
class Hotspot:
    """A ranked symbol; shares are of the whole profile, 0..1, and None is unmeasured."""

    symbol: str
    place: Place
    score: float
    self_share: float | None
    inclusive_share: float | None


@dataclass(frozen=True)
class Hotspots:
    """What one capture says."""

    capture: str
    format: str
    event: str
    unit: str
    total: int
    ranker: str
    basis: str
    spots: tuple[Hotspot, ...]
    skipped: Mapping[str, int]


def nowhere(symbols: Sequence[str]) -> Mapping[str, Place]:
    """Know of no symbol where it is defined."""
    return {}


def hotspots(
    captures: Sequence[Opened],
    *,
    ranker: RankerName,
    limit: int,
    event: str | None = None,
    window: tuple[int, int] | None = None,
    locate: Locate = nowhere,
    root: Path | None = None,
) -> list[Hotspots]:
    """Return the hotspots of every capture that has costs.

    A capture that only says where symbols are defined says it for all, and so do the objects that were measured.
    Files below `root` are told as they are called there. MeasurementError when none has costs.
    """
    costly = [one for one in captures if one.samples or isinstance(one.lines, SelfCounts)]
    if not costly:
        found = ", ".join(f"'{one.name}' ({one.format})" for one in captures)
        raise MeasurementError(f"nothing to rank: no samples and no counts are in {found}")
    ranked = [(one, _ranking(one, ranker, event, window)) for one in costly]
    tables = [_below(one.lines, root) for one in captures if one.lines is not None]
    chosen = tuple(dict.fromkeys(item.symbol for _, ranking in ranked for item in ranking.ranked[:limit]))
    # Debug information of the measured objects is read for what is shown alone: a kernel's is large.
    tables += [_below(one.definitions(chosen), root) for one in captures if one.definitions is not None]
    places = located(chosen, tables, locate)
    return [_told(one, ranking, limit, places, event) for one, ranking in ranked]


def _ranking(capture: Opened, ranker: RankerName, event: str | None, window: tuple[int, int] | None) -> Ranking:
    counts = from_self_counts(capture.lines) if isinstance(capture.lines, SelfCounts) else None
    if not capture.samples and counts is not None and window is None:
        return rank(None, counts, ranker=ranker)
    samples = samples_named(capture, event)
    if window is not None and len(samples) and samples.rows["ts_ns"].null_count() == len(samples):
        raise MeasurementError(
            f"'{capture.name}' has no times, so no window can be cut out of it", next_step="leave out --window"
        )
    time = from_samples(samples if window is None else within(samples, [window]))
    if window is not None and not time.total:
        raise MeasurementError(f"'{capture.name}' has no sample in this window", next_step=_reach(capture, event))
    return rank(time, None if window else counts, ranker=ranker)


def _reach(capture: Opened, event: str | None) -> str:
    times = [stamp for stamp in samples_named(capture, event).ts_ns if stamp is not None]
    return f"its samples lie in {seconds(min(times))}..{seconds(max(times))}" if times else "it has none at all"


def seconds(stamp: int) -> str:
    """Return a time in ns as seconds, all digits kept."""
    whole, rest = divmod(stamp, 1_000_000_000)
    return f"{whole}.{rest:09d}".rstrip("0").rstrip(".")


def _told(capture: Opened, ranking: Ranking, limit: int, places: Mapping[str, Place], event: str | None) -> Hotspots:
    graph: CallGraph = ranking.graph
    spots = tuple(
        Hotspot(one.symbol, places.get(one.symbol, NOWHERE), one.score, one.self_share, one.inclusive_share)
        for one in ranking.ranked[:limit]
    )
    ranker = ranking.ranked[0].ranker if ranking.ranked else "none"
    sampled = samples_named(capture, event).event if capture.samples else graph.unit
    skipped = {**capture.skipped, **graph.skipped}
    return Hotspots(
        capture.name, capture.format, sampled, graph.unit, graph.total, ranker, ranking.basis, spots, skipped
    )


# -- where they are defined -----------------------------------------------------------------------------------------


def located(symbols: Sequence[str], tables: Sequence[SelfCounts | Symbols], locate: Locate) -> dict[str, Place]:
    """Return where symbols are defined: as debug information says, else as `locate` does."""
    found = {symbol: place for symbol in symbols if (place := _by_debug_information(symbol, tables))}
    missing = [symbol for symbol in symbols if symbol not in found]
    return {**locate(missing), **found} if missing else found


def _below(table: SelfCounts | Symbols, root: Path | None) -> SelfCounts | Symbols:
    """Return places with the files that lie below a directory named from there."""
    if root is None:
        return table
    heads = {f"{root}/", f"{root.resolve()}/"}
    files = [
        next((file[len(head) :] for head in heads if file is not None and file.startswith(head)), file)
        for file in table.file
    ]
    return replace(table, file=tuple(files))


def _by_debug_information(symbol: str, tables: Sequence[SelfCounts | Symbols]) -> Place | None:
    """Return the only definition that is known, or the file that has most of a symbol's instructions."""
    for table in tables:
        if isinstance(table, Symbols):
            known = table.definitions(symbol)
            if known:
                file, line = known[0]
                return Place(file, line, None, DEBUG_INFORMATION, len(known) - 1)
    for table in tables:
        if isinstance(table, SelfCounts) and (place := _counted(symbol, table)):
            return place
    return None


def _counted(symbol: str, table: SelfCounts) -> Place | None:
    cost: dict[str, int] = {}
    lines: dict[str, list[int]] = {}
    for name, file, line, instructions in zip(table.symbol, table.file, table.line, table.instructions, strict=True):
        if name == symbol and file is not None:
            cost[file] = cost.get(file, 0) + instructions
            lines.setdefault(file, []).extend([line] if line else [])
    if not cost:
        return None
    # Inlined lines are of other files, most often of headers.
    file = max(cost, key=lambda one: (not one.endswith(".h"), cost[one], one))
    numbers = lines[file]
    return Place(file, min(numbers, default=None), max(numbers, default=None), DEBUG_INFORMATION)
