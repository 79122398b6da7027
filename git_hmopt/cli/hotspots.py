# SPDX-License-Identifier: Apache-2.0
"""Rank the functions of captures: files of any known format, or all that a run has, and say where each is defined.

What a capture is, its content tells. A place comes from debug information, in a capture or of the programs that a
perf.data measured, else from the structure graph of this repository (nothing is parsed for it), else from the text of
files that name the function; which one it was is said. Functions in a perf.data are named by files of the same build
id on this machine; --symbols and --symfs say where more of them are.

A run's captures are those that were ingested into it, or where there are none those of its last profile.

Times of --window are the capture's own clock, in seconds; its end is not in it.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import get_args

from git_hmopt.cli.captured import (
    Locator,
    add_event,
    captures_named,
    repository_here,
    tell_skipped,
    worktree,
)
from git_hmopt.cli.number import positive
from git_hmopt.cli.symbols import add_symbols, symbol_files
from git_hmopt.errors import ExitCode
from git_hmopt.loop.hotspots import Hotspot, Hotspots, hotspots
from git_hmopt.report.table import aligned
from git_hmopt.report.wording import UNKNOWN, fit, fit_end, plain
from git_hmopt.runtime.ranking import RankerName

INTERMIXED = True
"""Options may stand between arguments, as with git: `a.svg --ranker self b.svg`."""
_SYMBOLS = 10
_WIDTH = 48
_FILE_WIDTH = 40
_WINDOW = re.compile(r"([0-9]{1,9})(?:\.([0-9]{1,9}))?\.\.([0-9]{1,9})(?:\.([0-9]{1,9}))?")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("captures", nargs="*", metavar="RUN|PATH", help="captures, or runs (default: the latest run)")
    parser.add_argument(
        "--ranker", choices=get_args(RankerName), default="funcrank",
        help="by own cost, or by FuncRank, which hands importance on to callers (default: funcrank)",
    )  # fmt: skip
    parser.add_argument("-n", type=positive, metavar="N", help=f"the first N functions (default: {_SYMBOLS})")
    parser.add_argument("--window", type=window, metavar="START..END", help="only samples between two times")
    add_event(parser)
    add_symbols(parser)
    parser.add_argument("--build", type=Path, metavar="PATH", help="a compile_commands.json, or a build's directory")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def window(text: str) -> tuple[int, int]:
    """Return two times in ns from `START..END` in seconds."""
    match = _WINDOW.fullmatch(text)
    if match is None:
        raise argparse.ArgumentTypeError(f"'{text}' is no START..END in seconds, such as 12.5..13")
    start, end = (int(match[at]) * 1_000_000_000 + int((match[at + 1] or "").ljust(9, "0")) for at in (1, 3))
    if start >= end:
        raise argparse.ArgumentTypeError(f"'{text}' ends before it begins")
    return start, end


def run(options: argparse.Namespace) -> ExitCode:
    """Print the hotspots."""
    repository = repository_here()
    symbols = symbol_files(options)
    captures = [one for text in options.captures or [None] for one in captures_named(repository, text, symbols)]
    locate = Locator(repository, options.build)
    found = hotspots(
        captures, ranker=options.ranker, limit=options.n or _SYMBOLS, event=options.event, window=options.window,
        locate=locate, root=worktree(repository),
    )  # fmt: skip
    if options.json:
        print(json.dumps({"v": 1, "structure": locate.basis, "hotspots": [asdict(one) for one in found]}))
        return ExitCode.OK
    print("\n\n".join("\n".join(_told(one)) for one in found))
    if locate.basis:
        print(f"structure: {plain(locate.basis)}")
    return ExitCode.OK


def _told(one: Hotspots) -> Iterator[str]:
    yield f"{plain(one.capture)} ({one.format}): {one.total} {plain(one.unit)} of {plain(one.event)}"
    yield f"  {plain(one.basis)}"
    heads = ("score %", "self %", "total %", "function", "defined in", "known from")
    rows = [
        (_share(spot.score), _share(spot.self_share), _share(spot.inclusive_share), fit(spot.symbol, _WIDTH),
         _place(spot), spot.place.resolved_by)
        for spot in one.spots
    ]  # fmt: skip
    yield from (f"  {line}" for line in aligned(heads, rows))
    yield from tell_skipped(one.skipped)


def _place(spot: Hotspot) -> str:
    place = spot.place
    if place.file is None:
        return UNKNOWN
    lines = "" if place.first_line is None else f":{place.first_line}"
    if lines and place.last_line not in (None, place.first_line):
        lines += f"-{place.last_line}"
    return fit_end(place.file, _FILE_WIDTH) + lines + (f" and {place.others} more" if place.others else "")


def _share(value: float | None) -> str:
    return "?" if value is None else f"{100 * value:.1f}"
