# SPDX-License-Identifier: Apache-2.0
"""How `git hmopt analyze --runtime` counts what captures hold."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from git_hmopt.cli.captured import Locator, captures_named, repository_here, tell_skipped
from git_hmopt.errors import ExitCode
from git_hmopt.loop.hotspots import seconds
from git_hmopt.loop.statistics import CaptureStatistics, Join, statistics
from git_hmopt.report.table import aligned
from git_hmopt.report.wording import UNKNOWN, fit, plain
from git_hmopt.runtime.statistics import EventStatistics, GraphStatistics
from git_hmopt.traces.symbol_files import SymbolFiles

_NAMES = 12
_WIDTH = 48


def counted(texts: Sequence[str], *, build: Path | None, symbols: SymbolFiles, limit: int, as_json: bool) -> ExitCode:
    """Print the statistics of files and runs; of the latest run without a name."""
    repository = repository_here()
    named: Sequence[str | None] = texts or [None]
    captures = [one for text in named for one in captures_named(repository, text, symbols)]
    locate = Locator(repository, build)
    found, join = statistics(captures, limit=limit, locate=locate)
    if as_json:
        print(json.dumps({"v": 1, "captures": [asdict(one) for one in found], "structure": locate.basis,
                          "join": asdict(join)}))  # fmt: skip
        return ExitCode.OK
    print("\n\n".join("\n".join(_told(one)) for one in found))
    print("\n".join(_joined(join, locate.basis)))
    return ExitCode.OK


def _told(one: CaptureStatistics) -> Iterator[str]:
    facts = ", ".join(f"{plain(name)} {fit(value, _WIDTH)}" for name, value in one.facts.items() if value)
    yield f"{plain(one.name)}: {one.format}{f' ({facts})' if facts else ''}"
    if one.events is not None:
        yield from _events(one.events)
    for graph in one.graphs:
        yield from _graph(graph)
    if one.symbols is not None:
        yield f"  {one.symbols} places of symbols"
    if one.events is None and not one.graphs and one.symbols is None:
        yield "  nothing that can be counted"
    yield from tell_skipped(one.losses)


def _events(one: EventStatistics) -> Iterator[str]:
    yield f"  {one.count} events of {len(one.by_name)} names{_span(one.start_ns, one.end_ns)}"
    shown = list(one.by_name.items())[:_NAMES]
    yield from (
        f"    {line}" for line in aligned(("count", "event"), [(str(n), fit(name, _WIDTH)) for name, n in shown])
    )
    if len(one.by_name) > len(shown):
        yield f"    and {sum(one.by_name.values()) - sum(n for _, n in shown)} of {len(one.by_name) - len(shown)} more"
    records = one.kpis.records
    known = [kpi for kpi in records if kpi.value is not None]
    whole = [kpi for kpi in known if kpi.who == "all"]
    yield f"  {len(known)} KPIs, {len(records) - len(known)} unknown"
    numbers = [(kpi.name, kpi.value or UNKNOWN, kpi.unit, str(kpi.n)) for kpi in whole]
    if numbers:
        yield from (f"    {line}" for line in aligned(("of the system", "value", "unit", "n"), numbers))
    yield from tell_skipped(one.losses)


def _graph(one: GraphStatistics) -> Iterator[str]:
    # Without times nobody knows how many samples a row was put together from.
    rows = "samples" if one.start_ns is not None else "weighted stacks"
    what = f"{one.samples} {rows}" if one.samples is not None else "exact counts"
    yield f"  {what} of {plain(one.event)}, {one.cost} {plain(one.unit)}{_span(one.start_ns, one.end_ns)}"
    calls = f"{UNKNOWN}, there are no call stacks" if one.calls is None else str(one.calls)
    threads = UNKNOWN if one.threads is None else str(one.threads)
    yield f"    call graph: {one.functions} functions, calls {calls}; threads {threads}"
    yield f"    {one.stacks} stacks, the deepest of {one.deepest} frames"
    for ranker, ranked in one.ranked.items():
        first = ", ".join(f"{fit(spot.symbol, _WIDTH)} {100 * spot.score:.1f} %" for spot in ranked)
        yield f"    by {ranker}: {first or 'no symbol has a share'}"


def _span(start: int | None, end: int | None) -> str:
    if start is None or end is None:
        return ", at times that are unknown"
    return f", {seconds(start)}..{seconds(end)} s ({seconds(end - start)} s)"


def _joined(join: Join, basis: str | None) -> Iterator[str]:
    if not join.hot:
        return
    yield ""
    yield f"structure: {plain(basis) if basis else 'not asked'}"
    parts = [f"{join.in_structure} of {join.hot} hot functions are in the graph"]
    parts += [f"{number} in {where}" for number, where in (
        (join.in_text, "text alone"), (join.in_debug_information, "debug information alone"),
        (len(join.missing), "neither"), (join.ambiguous, "several places"),
    ) if number]  # fmt: skip
    yield f"  {', '.join(parts)}"
    if join.missing:
        shown = ", ".join(fit(symbol, _WIDTH) for symbol in join.missing[:_NAMES])
        more = f" and {len(join.missing) - _NAMES} more" if len(join.missing) > _NAMES else ""
        yield f"  not found: {shown}{more}"
