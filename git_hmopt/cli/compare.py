# SPDX-License-Identifier: Apache-2.0
"""Compare two captures: what each function costs before (A) and after (B), largest change first.

Two captures are never equally long. By samples, the default, costs are shares of each capture's own total: of those one
can only grow as another shrinks. By duration they are costs a second, from the first to the last sample of each; that
needs captures with times. By work they stand as they were counted: both captures are of the same work. --folded writes
two numbers a stack, before scaled to after, as programs that draw differences read them; --html a flame graph as wide
as after, redder where it grew and bluer where it shrank.

A and B are files of any known format, or runs.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

from git_hmopt.cli.captured import add_event, captures_named, repository_here, run_or_file, write
from git_hmopt.cli.number import positive
from git_hmopt.cli.symbols import add_symbols, symbol_files
from git_hmopt.errors import ExitCode
from git_hmopt.loop.book import Book, without_of
from git_hmopt.loop.captures import only, samples_named
from git_hmopt.report.flame import differential
from git_hmopt.report.table import aligned
from git_hmopt.report.wording import fit, plain
from git_hmopt.runtime.difference import By, Difference, Pair, Side, compare
from git_hmopt.store.journal import Journal
from git_hmopt.store.repository import Repository

_SHOWN = 20
_WIDTH = 48
_STACK_WIDTH = 100
_STACKS = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("before", metavar="A", help="the capture before, or a run")
    parser.add_argument("after", metavar="B", help="the capture after, or a run")
    parser.add_argument(
        "--by", choices=get_args(By), default="samples",
        help="what costs are set against: all samples, the duration, or equal work (default: samples)",
    )  # fmt: skip
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print one JSON object, with every function and stack")
    form.add_argument("--folded", action="store_true", help="write folded stacks with two numbers")
    form.add_argument("--html", action="store_true", help="write a differential flame graph")
    parser.add_argument("-o", dest="output", type=Path, metavar="FILE", help="write there, not to standard output")
    parser.add_argument("-n", type=positive, metavar="N", help=f"the first N functions (default: {_SHOWN})")
    add_event(parser)
    add_symbols(parser)


def run(options: argparse.Namespace) -> ExitCode:
    """Compare, and write the answer."""
    repository = repository_here()
    symbols = symbol_files(options)
    without = [_without(repository, text) for text in (options.before, options.after)]
    captures = [only(captures_named(repository, text, symbols)) for text in (options.before, options.after)]
    tables = [samples_named(one, options.event) for one in captures]
    found = compare(*tables, names=(captures[0].name, captures[1].name), by=options.by)
    if options.json:
        text = json.dumps({**_as_json(found), "without": without}) + "\n"
    elif options.folded:
        text = found.folded()
    elif options.html:
        text = differential(found, title=f"{captures[0].name} and {captures[1].name}")
    else:
        text = "\n".join([*_switches(*without), *_lines(found, options.n or _SHOWN)]) + "\n"
    write(options.output, text)
    return ExitCode.OK


def _without(repository: Repository | None, text: str) -> list[str]:
    """Return what evidence the run that is meant went without; a file has no such thing."""
    here, run = run_or_file(repository, text)
    return [] if run is None or here is None else list(without_of(Book(Journal(here), run)))


def _switches(before: list[str], after: list[str]) -> list[str]:
    if before == after:
        return []
    each = [f"{label} goes without {plain(', '.join(one))}" for label, one in (("A", before), ("B", after)) if one]
    return [f"the runs differ by a switch: {', '.join(each)}"]


def _as_json(found: Difference) -> dict[str, Any]:
    return {
        "v": 1,
        "by": found.by,
        "measure": found.measure,
        "scale": float(found.scale),
        "before": asdict(found.before),
        "after": asdict(found.after),
        "functions": [
            {"symbol": one.symbol, "own": _pair(one.own), "inclusive": _pair(one.inclusive) if one.inclusive else None}
            for one in found.functions
        ],
        "stacks": [{"stack": one.stack, **_pair(one.cost)} for one in found.stacks],
    }


def _pair(pair: Pair) -> dict[str, Any]:
    return {**asdict(pair), "change": pair.change, "ratio": pair.ratio}


def _lines(found: Difference, shown: int) -> Iterator[str]:
    yield _side(found.before)
    yield _side(found.after)
    yield f"by {found.by}: {plain(found.measure)}{' (%)' if found.by == 'samples' else ''}"
    yield ""
    heads = ("change", "before", "after", "total before", "total after", "function")
    rows = []
    for one in found.functions[:shown]:
        total = ("?", "?") if one.inclusive is None else _sides(found, one.inclusive)
        rows.append((_change(found, one.own), *_sides(found, one.own), *total, fit(one.symbol, _WIDTH)))
    yield from aligned(heads, rows)
    if len(found.functions) > shown:
        yield f"and {len(found.functions) - shown} more functions"
    yield ""
    stacks = found.stacks[:_STACKS]
    costs = [(_change(found, one.cost), *_sides(found, one.cost), _stack(one.stack)) for one in stacks]
    yield from aligned(("change", "before", "after", "stack"), costs)
    if len(found.stacks) > _STACKS:
        yield f"and {len(found.stacks) - _STACKS} more stacks"


def _side(side: Side) -> str:
    lasted = "" if side.duration_ns is None else f" in {side.duration_ns / 1e9:.3f} s"
    return f"{side.label}: {plain(side.name)}: {side.total} {plain(side.unit)} of {plain(side.event)}{lasted}"


def _sides(found: Difference, pair: Pair) -> tuple[str, str]:
    return _number(found, pair.before_rate), _number(found, pair.after_rate)


def _change(found: Difference, pair: Pair) -> str:
    text = _number(found, pair.change)
    return text if text.startswith("-") else f"+{text}"


def _number(found: Difference, value: float) -> str:
    return f"{100 * value:.2f}" if found.by == "samples" else f"{value:.1f}"


def _stack(stack: tuple[str, ...]) -> str:
    """Return a stack that fits on a line; its leaf says most."""
    text = plain(";".join(stack))
    return text if len(text) <= _STACK_WIDTH else f"…{text[1 - _STACK_WIDTH :]}"
