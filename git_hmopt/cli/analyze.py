# SPDX-License-Identifier: Apache-2.0
"""Derive a run's hotspots and call graph once more from the captures it stored, and print them.

Nothing is built, run or recorded. Every profile the run took is shown: that of the base, and that of each new best.
Percentages are shares of the whole profile.

With --runtime captures are counted, those of runs and files: events by name, samples, the time they cover, KPIs, the
size of the call graph, what ranks first by each ranker, and how many of these functions the structure of the source
has.

With --static no run is looked at: the structure of the source is brought up to date, as `git hmopt graph` does it, and
how much there is of everything is printed. Exit code 1: nothing was built, so there is nothing to count.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from git_hmopt.cli.building import add_build_options, wish_of
from git_hmopt.cli.number import count
from git_hmopt.cli.story import named_run
from git_hmopt.cli.symbols import add_symbols, symbol_files
from git_hmopt.errors import ExitCode, UsageError
from git_hmopt.loop.analysis import Analysis, Edge, Spot, analyses
from git_hmopt.report.wording import UNKNOWN, fit, plain
from git_hmopt.store.repository import Repository

INTERMIXED = True
"""Options may stand between arguments, as with git: `analyze A --runtime B`."""
_NEIGHBOURS = 3
_SYMBOLS = 8


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument(
        "captures", nargs="*", metavar="RUN|PATH",
        help="a run, or a part of its name or UUID (default: the latest); of --runtime also files, and several",
    )  # fmt: skip
    parser.add_argument("-n", type=count, metavar="N", help=f"the first N symbols (default: {_SYMBOLS})")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    side = parser.add_mutually_exclusive_group()
    side.add_argument("--static", action="store_true", help="count what the structure of the source has, instead")
    side.add_argument("--runtime", action="store_true", help="count what captures have, instead")
    add_build_options(parser)
    add_symbols(parser)


def run(options: argparse.Namespace) -> ExitCode:
    """Print the analyses."""
    _refuse_what_excludes(options)
    limit = _SYMBOLS if options.n is None else options.n
    if options.runtime:
        from git_hmopt.cli.measured import counted as captures_counted

        symbols = symbol_files(options)
        return captures_counted(
            options.captures, build=options.build, symbols=symbols, limit=limit, as_json=options.json
        )
    repository = Repository.open(Path())
    if options.static:
        # A run's analysis does not pay for libclang.
        from git_hmopt.cli.static import counted

        return counted(repository, wish_of(options), as_json=options.json)
    name = named_run(repository, next(iter(options.captures), None))
    found = analyses(repository, name, limit=limit)
    if options.json:
        print(json.dumps({"v": 1, "run": name, "profiles": [asdict(one) for one in found]}))
        return ExitCode.OK
    print(f"run {name}")
    for one in found:
        print("\n".join(["", *_told(one)]))
    return ExitCode.OK


def _refuse_what_excludes(options: argparse.Namespace) -> None:
    """Raise UsageError where options ask for a run and for the source."""
    if options.static and (options.captures or options.n is not None):
        what = "a RUN" if options.captures else "-n"
        raise UsageError(f"analyze: {what} and --static exclude each other", next_step="leave one of them out")
    if not options.static and (options.provisional or options.again):
        raise UsageError(
            "analyze: --provisional and --again are only for --static", next_step="see: git hmopt analyze -h"
        )
    if not options.static and not options.runtime and options.build is not None:
        raise UsageError("analyze: --build is only for --static and --runtime", next_step="see: git hmopt analyze -h")
    if not options.runtime and (options.symbols or options.symfs is not None):
        raise UsageError("analyze: --symbols and --symfs are only for --runtime", next_step="see: git hmopt analyze -h")
    if not options.runtime and len(options.captures) > 1:
        raise UsageError(
            "analyze: one RUN is analysed at a time", next_step="captures are counted together with --runtime"
        )


def _told(one: Analysis) -> Iterator[str]:
    where = f"best after iteration {one.iteration}" if one.iteration else "base"
    yield f"{where} {one.commit[:12]}: {one.total} {one.unit}, captured by {', '.join(one.captures)}"
    yield f"  {plain(one.basis)}"
    if one.as_recorded is False:
        yield "  the run itself recorded another order: it was ranked by another version of git-hmopt"
    yield f"  {'score':>7} {'self':>7} {'total':>7}  symbol"
    for spot in one.spots:
        yield from _spot(spot, stacks=one.has_stacks)
    if not one.spots:
        yield "  no symbol has a share worth looking at"
    for reason, number in one.skipped.items():
        yield f"  not used: {number} x {plain(reason)}"


def _spot(spot: Spot, *, stacks: bool) -> Iterator[str]:
    shares = " ".join(_share(value) for value in (spot.score, spot.self_share, spot.inclusive_share))
    place = f"{spot.file}:{spot.line}" if spot.file and spot.line else spot.file or f"{UNKNOWN} place"
    yield f"  {shares}  {fit(spot.symbol, 40)}  {plain(place)}"
    if stacks:
        for word, edges in (("from", spot.callers), ("calls", spot.callees)):
            if edges:
                yield f"{'':>28}{word} {_neighbours(edges)}"


def _neighbours(edges: Sequence[Edge]) -> str:
    shown = [f"{fit(edge.symbol, 30)} {100 * edge.share:.1f} %" for edge in edges[:_NEIGHBOURS]]
    more = len(edges) - _NEIGHBOURS
    return ", ".join([*shown, *([f"and {more} more"] if more > 0 else [])])


def _share(value: float | None) -> str:
    return f"{'?':>7}" if value is None else f"{100 * value:>5.1f} %"
