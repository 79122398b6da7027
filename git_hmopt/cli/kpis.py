# SPDX-License-Identifier: Apache-2.0
"""Say how the system ran during a trace: frames, scheduling, interrupts, power and memory reclaim.

Every number says on how many observations it rests and by which rule it was found; what the trace does not tell is
unknown, which is not 0. Where a run's trace is not in this clone, its KPIs are those that were recorded when it was
ingested. With --against, what is worse than in another trace by more than a twentieth is told first: one
trace against one shows where to look and proves nothing. Exit code 1: something is worse.
"""

from __future__ import annotations

import argparse
import json
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict

from git_hmopt.cli.captured import Locator, repository_here, run_or_file, tell_skipped
from git_hmopt.errors import ExitCode, UsageError
from git_hmopt.loop.hotspots import seconds
from git_hmopt.loop.kpis import Told, kpis_named, slow_times
from git_hmopt.report.table import aligned
from git_hmopt.report.windows import window_lines
from git_hmopt.report.wording import UNKNOWN, fit, plain
from git_hmopt.runtime.kpis import Flag, not_compared, regression_flags
from git_hmopt.store.repository import Repository

_WHO_WIDTH = 32
_COLUMNS = 96


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("capture", nargs="?", metavar="RUN|PATH", help="a trace, or a run (default: the latest run)")
    parser.add_argument("--against", metavar="RUN|PATH", help="the trace, or run, of before")
    parser.add_argument(
        "--all", action="store_true", help="also what is unknown, and numbers of single processes, threads and CPUs"
    )
    parser.add_argument(
        "--windows", action="store_true", help="the times in which it was slow and what ran then, instead"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object, with every number")


def run(options: argparse.Namespace) -> ExitCode:
    """Print the KPIs."""
    repository = repository_here()
    if options.windows and (options.against is not None or options.all):
        other = "--against" if options.against is not None else "--all"
        raise UsageError(f"kpis: --windows and {other} exclude each other", next_step="leave one of them out")
    told = _named(repository, options.capture)
    if options.windows:
        return _windows(told, repository, as_json=options.json)
    flags: Sequence[Flag] = ()
    unsaid: Mapping[str, Sequence[str]] = {}
    if options.against is not None:
        before = _named(repository, options.against).kpis
        flags, unsaid = regression_flags(told.kpis, before), not_compared(told.kpis, before)
    if options.json:
        head = {"v": 1, "capture": told.name, "recorded": told.partial, "left_out": told.left_out}
        print(
            json.dumps(
                {**head, **asdict(told.kpis), "regressions": [asdict(one) for one in flags], "not_compared": unsaid}
            )
        )
    else:
        print("\n".join(_told(told, flags, unsaid, all_of_them=options.all)))
    return ExitCode.NO if flags else ExitCode.OK


def _named(repository: Repository | None, text: str | None) -> Told:
    here, run_id = run_or_file(repository, text)
    return kpis_named(here, text or "", run_id)


def _windows(told: Told, repository: Repository | None, *, as_json: bool) -> ExitCode:
    locator = Locator(repository, None)
    found = slow_times(told, locator)
    if as_json:
        shown = [one.model_dump(mode="json") for one in found]
        print(json.dumps({"v": 1, "capture": told.name, "places": locator.basis, "slow_times": shown}))
        return ExitCode.OK
    if told.path is None and not found:
        print(f"{_head(told)}\n  the capture is not in this clone, and no slow times are stored of it")
        return ExitCode.OK
    print("\n".join([_head(told), *window_lines([window for one in found for window in one.windows])]))
    if locator.basis is not None:
        print(f"  places of functions: {plain(locator.basis)}")
    return ExitCode.OK


def _head(told: Told) -> str:
    found = told.kpis
    span = "" if found.start_ns is None or found.end_ns is None else (
        f", {seconds(found.start_ns)}..{seconds(found.end_ns)} s"
    )  # fmt: skip
    return f"{plain(told.name)}: {found.events} events{span}"


def _told(
    told: Told, flags: Sequence[Flag], unsaid: Mapping[str, Sequence[str]], *, all_of_them: bool
) -> Iterator[str]:
    found = told.kpis
    yield _head(told)
    if told.partial is not None:
        yield f"  as recorded, the capture is not in this clone: {plain(told.partial)}"
        yield f"  {told.left_out} numbers more stand in the capture alone"
    for flag in flags:
        change = "from 0" if flag.change is None else f"{100 * float(flag.change):+.1f} %"
        was, now = flag.baseline.value, flag.kpi.value
        yield f"  worse: {flag.kpi.name} of {fit(flag.kpi.who, _WHO_WIDTH)}: {was} -> {now} {flag.kpi.unit} ({change})"
    for reason, names in unsaid.items():
        yield from _listed(f"not compared, {reason}", names)
    wide = [one for one in found.records if all_of_them or one.scope in ("system", "frame")]
    shown = [one for one in wide if all_of_them or one.value is not None]
    heads = ("name", "of", "value", "unit", "n", "rule")
    rows = [
        (one.name, fit(one.who, _WHO_WIDTH), one.value or UNKNOWN, one.unit, str(one.n), plain(one.rule))
        for one in shown
    ]
    if rows:
        yield from (f"  {line}" for line in aligned(heads, rows))
    else:
        yield "  no KPI is told by it" + (" as a whole" if any(one.value is not None for one in found.records) else "")
    if len(shown) < len(wide):
        yield from _listed("unknown", [one.name for one in wide if one.value is None])
    if len(wide) < len(found.records):
        yield f"  and {len(found.records) - len(wide)} of single processes, threads and CPUs (--all)"
    for window in found.windows:
        where = f"{seconds(window.start_ns)}..{seconds(window.end_ns)}"
        yield f"  late frame: {where} s, {window.late_ns / 1e6:.1f} ms late, {plain(window.who)} ({plain(window.rule)})"
    if found.symptoms:
        times = "one time" if len(found.symptoms) == 1 else f"{len(found.symptoms)} times"
        yield f"  it was slow at {times}; what ran then: --windows"
    yield from tell_skipped(found.losses)


def _listed(head: str, names: Sequence[str]) -> list[str]:
    """Return names under a head in lines that fit a terminal."""
    return textwrap.wrap(
        f"{head}: {', '.join(names)}", _COLUMNS, initial_indent="  ", subsequent_indent="    ",
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip
