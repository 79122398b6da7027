# SPDX-License-Identifier: Apache-2.0
"""Ask the structure of the source: who calls a function, what it uses, who implements an operation, what a knob guards.

The graph is that of a build: one named with --build, else a compile database or kbuild's records in this tree, else the
tree that the last run built. It is brought up to date first, by parsing what changed; a change that many units see is
answered from its text at first. Without any build the files that name the symbol are read as text, and the answer is
approximate. Exit code 1: nothing was found.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from git_hmopt.cli.building import add_build_options, progress, tell_notes, wish_of
from git_hmopt.cli.number import positive
from git_hmopt.cli.paths import from_the_top
from git_hmopt.errors import ExitCode, UsageError
from git_hmopt.process.runner import Limits, find_program
from git_hmopt.process.runner import run as run_program
from git_hmopt.psg.approximate import written
from git_hmopt.psg.ask import About, Grounds, structure_of
from git_hmopt.psg.export import as_dot, as_graphml, as_json
from git_hmopt.psg.facts import Relation
from git_hmopt.psg.impact import all_touches, impact
from git_hmopt.psg.queries import Direction, knob_named
from git_hmopt.records.words import Oid
from git_hmopt.report.structure import (
    COLUMNS,
    guards_told,
    impact_told,
    implementers_told,
    symbols_told,
    tree_told,
)
from git_hmopt.report.wording import plain
from git_hmopt.store.graph import name_of
from git_hmopt.store.repository import Repository

FORMATS = ("text", "json", "dot", "svg", "graphml")
_SHOWN = 12
"""Lines of a list, when `-n` does not say."""
_REACH = 3
_MOST_REACHING = 500
_CALLS = (Relation.CALL_STATIC, Relation.CALL_INDIRECT)
_NO_GRAPHVIZ = {"lost": "no SVG can be drawn", "install": "apt-get install graphviz"}

Answer = Callable[[Grounds, argparse.Namespace], ExitCode]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument(
        "symbol", nargs="?", metavar="SYMBOL", help="a function, variable, type, field, macro or config knob"
    )
    asked = parser.add_mutually_exclusive_group()
    asked.add_argument("--callers", action="store_true", help="only who calls it")
    asked.add_argument("--callees", action="store_true", help="only whom it calls")
    asked.add_argument(
        "--implementers", action="store_true", help="only the functions that stand in the field, or record, SYMBOL"
    )
    asked.add_argument("--guards", action="store_true", help="what the config knob SYMBOL decides about")
    asked.add_argument("--touched", metavar="A..B", help="what a change touches, and who reaches that")
    parser.add_argument("--below", metavar="PATH", help="of --guards: only in this file or directory")
    parser.add_argument("--depth", type=positive, metavar="N", help=f"how far away (default: 1; --touched: {_REACH})")
    relations = [one.value for one in Relation]
    parser.add_argument(
        "--relation", choices=relations, action="append", metavar="KIND",
        help=f"follow only edges of this kind, or of several: {', '.join(relations)}",
    )  # fmt: skip
    parser.add_argument("--format", choices=FORMATS, default="text", help="what to print (default: text)")
    parser.add_argument("--json", action="store_const", const="json", dest="format", help="print one JSON object")
    parser.add_argument("-o", dest="output", type=Path, metavar="FILE", help="write there, not to standard output")
    parser.add_argument(
        "-n", type=positive, metavar="N", help=f"lines of a list (default: {_SHOWN}; --implementers, --guards: all)"
    )
    add_build_options(parser)


def run(options: argparse.Namespace) -> ExitCode:
    """Ask, and print the answer."""
    _refuse_what_excludes(options)
    repository = Repository.open(Path())
    if options.format == "svg":
        # Before anything is parsed.
        find_program("dot", **_NO_GRAPHVIZ)
    if options.touched is not None:
        return _touched(repository, options)
    options.symbol = written(options.symbol)
    if options.guards:
        options.below = from_the_top(repository, options.below) if options.below else ""
        return _asked(repository, options, About((knob_named(options.symbol),), below=options.below), _guards)
    about = About((name_of(options.symbol),), depth=options.depth or 1, direction=_direction(options))
    return _asked(repository, options, about, _implementers if options.implementers else _around)


def _refuse_what_excludes(options: argparse.Namespace) -> None:
    """Raise UsageError where options ask for what the answer has not."""
    is_list = options.implementers or options.guards or options.touched is not None
    if options.touched is not None and options.symbol is not None:
        raise UsageError("graph: SYMBOL and --touched exclude each other", next_step="leave one of them out")
    if options.touched is None and options.symbol is None:
        raise UsageError("graph: name a SYMBOL", next_step="'git hmopt analyze --static' tells what the graph has")
    if is_list and options.format not in ("text", "json"):
        raise UsageError(f"graph: this answer is a list, which cannot be written as {options.format}")
    if is_list and options.relation:
        raise UsageError("graph: --relation is not for this answer", next_step="leave it out")
    if options.depth and (options.implementers or options.guards):
        raise UsageError("graph: --depth is not for this answer", next_step="leave it out")
    if options.below is not None and not options.guards:
        raise UsageError("graph: --below is only for --guards", next_step="see: git hmopt graph -h")


def _direction(options: argparse.Namespace) -> Direction:
    return Direction.IN if options.callers else Direction.OUT if options.callees else Direction.BOTH


def _asked(repository: Repository, options: argparse.Namespace, about: About, answer: Answer) -> ExitCode:
    """Answer from the graph; first provisionally where that takes a while and somebody is watching."""

    def first(grounds: Grounds) -> None:
        tell_notes(grounds)
        try:
            answer(grounds, options)
        except UsageError:
            # A name that is not there yet: parsing may find it.
            return
        print("-- provisional so far; parsing --", file=sys.stderr, flush=True)

    watched = sys.stdout.isatty() and options.format == "text" and options.output is None
    with (
        progress() as say,
        structure_of(repository, about, wish_of(options), first=first if watched else None, say=say) as grounds,
    ):
        tell_notes(grounds)
        return answer(grounds, options)


# -- output ---------------------------------------------------------------------------------------------------------


def _columns() -> int:
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else COLUMNS


def _write(options: argparse.Namespace, answer: str | bytes) -> None:
    data = answer if isinstance(answer, bytes) else answer.encode("utf-8", "backslashreplace")
    if options.output is None:
        print(data.decode("utf-8"), end="")
        return
    try:
        options.output.write_bytes(data)
    except OSError as error:
        raise UsageError(
            f"cannot write '{options.output}': {error.strerror}", next_step="name another file with -o"
        ) from error


def _write_lines(options: argparse.Namespace, grounds: Grounds, lines: Iterable[str]) -> None:
    _write(options, "\n".join([*lines, plain(grounds.told)]) + "\n")


def _write_json(options: argparse.Namespace, grounds: Grounds, told: dict[str, Any]) -> None:
    head = {"v": 1, "basis": grounds.basis.value, "build": grounds.described, "notes": list(grounds.notes)}
    _write(options, json.dumps({**head, **told}) + "\n")


# -- answers --------------------------------------------------------------------------------------------------------


def _around(grounds: Grounds, options: argparse.Namespace) -> ExitCode:
    """Tell a symbol and what stands around it."""
    symbols, shown = grounds.symbols(options.symbol), options.n or _SHOWN
    direction = _direction(options)
    wanted = [Relation(one) for one in options.relation or ()]
    if not wanted and not options.depth and direction is Direction.BOTH and options.format == "text":
        _write_lines(options, grounds, symbols_told(grounds, symbols, shown=shown, columns=_columns()))
        return ExitCode.OK
    only_calls = not wanted and direction is not Direction.BOTH
    graph = grounds.structure.neighbourhood(
        symbols, options.depth or 1, direction=direction, through_tables=only_calls,
        relations=_CALLS if only_calls else wanted or None,
    )  # fmt: skip
    if options.format == "text":
        _write_lines(options, grounds, tree_told(graph, symbols, direction, shown=shown, columns=_columns()))
    elif options.format == "json":
        places = [asdict(place) for symbol in symbols for place in grounds.structure.places(symbol)]
        _write_json(options, grounds, {"symbols": symbols, "definitions": places, **as_json(graph)})
    elif options.format == "graphml":
        _write(options, as_graphml(graph))
    else:
        _write(options, _drawn(as_dot(graph)) if options.format == "svg" else as_dot(graph))
    return ExitCode.OK if graph.number_of_edges() else ExitCode.NO


def _drawn(dot: str) -> bytes:
    program = find_program("dot", **_NO_GRAPHVIZ)
    limits = Limits(wall_s=120)
    return run_program([program, "-Tsvg"], stdin=dot.encode(), limits=limits, split_errors=True, check=True).output


def _implementers(grounds: Grounds, options: argparse.Namespace) -> ExitCode:
    """Tell who stands in a field, or in each field of a record."""
    structure = grounds.structure
    symbols = grounds.symbols(options.symbol)
    fields = [field for symbol in symbols for field in (symbol, *structure.fields(symbol))]
    found = {field: functions for field in fields if (functions := structure.implementers(field))}
    if options.format == "json":
        _write_json(options, grounds, {"implementers": found})
    else:
        lines = implementers_told(structure, found, shown=options.n, columns=_columns())
        _write_lines(options, grounds, lines or [f"no function stands in {plain(options.symbol)}"])
    return ExitCode.OK if found else ExitCode.NO


def _guards(grounds: Grounds, options: argparse.Namespace) -> ExitCode:
    """Tell what a knob decides about."""
    knob = grounds.knob(options.symbol)
    found = grounds.structure.guarded(knob, below=options.below)
    if options.format == "json":
        blocks = [asdict(one) for one in grounds.structure.knobs(knob)]
        _write_json(options, grounds, {"knob": knob, "blocks": blocks, "guarded": [asdict(one) for one in found]})
    else:
        lines = guards_told(grounds.structure, knob, found, shown=options.n, columns=_columns())
        _write_lines(options, grounds, lines if found else [*lines, "  nothing that is known"])
    return ExitCode.OK if found else ExitCode.NO


def _touched(repository: Repository, options: argparse.Namespace) -> ExitCode:
    """Tell what a change touches."""
    base, head = _sides(repository, options.touched)
    changed = [change.path for change in repository.changed_paths(base, head)]
    sides = {
        written(path): (repository.read_path(base, path), repository.read_path(head, path))
        for path in changed if path.endswith((".c", ".h"))
    }  # fmt: skip
    touched = all_touches(sides)
    others = [written(path) for path in changed if written(path) not in sides]

    def answer(grounds: Grounds, options: argparse.Namespace) -> ExitCode:
        found = impact(grounds.structure, touched, reach=options.depth or _REACH, most=_MOST_REACHING)
        if options.format == "json":
            told = {"touched": [asdict(one) for one in found], "at_most": _MOST_REACHING, "other_files": others}
            _write_json(options, grounds, {"base": base, "head": head, **told})
            return ExitCode.OK if found else ExitCode.NO
        shown, columns = options.n or _SHOWN, _columns()
        lines = [line for one in found for line in impact_told(one, _MOST_REACHING, shown=shown, columns=columns)]
        lines = lines or ["no function, type or macro is touched"]
        _write_lines(options, grounds, [*lines, *(f"{plain(path)}: no C, not looked into" for path in others)])
        return ExitCode.OK if found else ExitCode.NO

    names = tuple(name_of(one.symbol) for one in touched if not one.symbol.startswith("file "))
    about = About(names, tuple(changed), options.depth or _REACH, Direction.IN)
    return _asked(repository, options, about, answer)


def _sides(repository: Repository, text: str) -> tuple[Oid, Oid]:
    before, dots, after = text.partition("..")
    if not dots or after.startswith("."):
        raise UsageError(f"graph: '{text}' names no change", next_step="write A..B, or A.. for all since A")
    return repository.resolve(before or "HEAD"), repository.resolve(after or "HEAD")
