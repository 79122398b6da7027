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
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import networkx as nx

from git_hmopt.cli.number import positive
from git_hmopt.errors import ExitCode, UsageError
from git_hmopt.process.runner import Limits, find_program
from git_hmopt.process.runner import run as run_program
from git_hmopt.psg.ask import Grounds, Wish, structure_of
from git_hmopt.psg.export import as_dot, as_graphml, as_json
from git_hmopt.psg.facts import Relation
from git_hmopt.psg.impact import Impact, all_touches, impact
from git_hmopt.psg.queries import Direction, Guarded, KnobPlace, Link, Place, Structure
from git_hmopt.records.words import Oid
from git_hmopt.report.wording import plain
from git_hmopt.store.graph import name_of
from git_hmopt.store.repository import Repository

FORMATS = ("text", "json", "dot", "svg", "graphml")
_SHOWN = 12
"""Lines of a list, when `-n` does not say."""
_CALLS = (Relation.CALL_STATIC, Relation.CALL_INDIRECT)

Answer = Callable[[Grounds], ExitCode]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument(
        "symbol", nargs="?", metavar="SYMBOL", help="a function, variable, type, field, macro or config knob"
    )
    asked = parser.add_mutually_exclusive_group()
    asked.add_argument("--callers", action="store_true", help="only who calls it")
    asked.add_argument("--callees", action="store_true", help="only whom it calls")
    asked.add_argument("--implementers", action="store_true", help="only the functions that stand in the field SYMBOL")
    asked.add_argument("--guards", action="store_true", help="what the config knob SYMBOL decides about")
    asked.add_argument("--touched", metavar="A..B", help="what a change touches, and who reaches that")
    parser.add_argument("--below", metavar="PATH", default="", help="of --guards: only in this file or directory")
    parser.add_argument("--depth", type=positive, metavar="N", help="how far away (default: 1; of --touched: 3)")
    parser.add_argument(
        "--relation", choices=[one.value for one in Relation], action="append", help="follow only edges of this kind"
    )
    parser.add_argument("--format", choices=FORMATS, default="text", help="what to print (default: text)")
    parser.add_argument("--json", action="store_const", const="json", dest="format", help="print one JSON object")
    parser.add_argument("-o", dest="output", type=Path, metavar="FILE", help="write there, not to standard output")
    parser.add_argument("-n", type=positive, metavar="N", default=_SHOWN, help=f"lines of a list (default: {_SHOWN})")
    add_build_options(parser)


def add_build_options(parser: argparse.ArgumentParser) -> None:
    """Declare which build is asked, and how."""
    parser.add_argument("--build", type=Path, metavar="PATH", help="a compile_commands.json, or a build's directory")
    parser.add_argument("--provisional", action="store_true", help="parse nothing: read what changed as text")
    parser.add_argument("--again", action="store_true", help="parse units once more that crashed or hung the parser")


def wish_of(options: argparse.Namespace) -> Wish:
    """Return what `add_build_options` was given."""
    return Wish(options.build, options.provisional, options.again)


def say(what: str, done: int, of: int) -> None:
    """Show how far parsing is, to a person at a terminal."""
    if of and sys.stderr.isatty():
        line = f"parsing {done} of {of}: {what}"
        print(f"\r\x1b[K{line[:78]}", end="" if done < of else "\r\x1b[K", file=sys.stderr, flush=True)


def tell_notes(grounds: Grounds) -> None:
    """Print what is missing from an answer."""
    for note in grounds.notes:
        print(f"git hmopt: note: {plain(note)}", file=sys.stderr)


def run(options: argparse.Namespace) -> ExitCode:
    """Ask, and print the answer."""
    repository = Repository.open(Path())
    if options.touched is not None:
        return _touched(repository, options)
    if options.symbol is None:
        raise UsageError("graph: name a SYMBOL", next_step="'git hmopt analyze --static' tells what the graph has")
    plain_answer = options.guards or options.implementers
    if plain_answer and options.format not in ("text", "json"):
        raise UsageError(f"graph: this answer is a list, which cannot be written as {options.format}")
    answer: Callable[[Grounds, argparse.Namespace], ExitCode]
    answer = _guards if options.guards else _implementers if options.implementers else _around
    return _asked(repository, options, [name_of(options.symbol)], lambda grounds: answer(grounds, options))


def _asked(
    repository: Repository, options: argparse.Namespace, names: Sequence[str], answer: Answer, files: Sequence[str] = ()
) -> ExitCode:
    """Answer from the graph; first provisionally where that takes a while and somebody is watching."""

    def first(grounds: Grounds) -> None:
        tell_notes(grounds)
        answer(grounds)
        print("-- provisional so far; parsing --", file=sys.stderr)

    watched = sys.stdout.isatty() and options.format == "text" and options.output is None
    depth = options.depth or (3 if options.touched is not None else 1)
    with structure_of(
        repository, names, wish_of(options), files=files, depth=depth, first=first if watched else None, say=say
    ) as grounds:
        tell_notes(grounds)
        return answer(grounds)


def _written(options: argparse.Namespace, text: str | bytes) -> None:
    data = text.encode() if isinstance(text, str) else text
    if options.output is not None:
        options.output.write_bytes(data)
    else:
        sys.stdout.write(data.decode("utf-8", "replace"))


def _json(grounds: Grounds, told: dict[str, Any]) -> str:
    head = {"v": 1, "basis": grounds.basis.value, "build": grounds.described, "notes": list(grounds.notes)}
    return json.dumps({**head, **told}) + "\n"


def _basis(grounds: Grounds) -> str:
    return f"{grounds.basis.value}: {grounds.described}"


# -- a symbol and what stands around it -----------------------------------------------------------------------------


def _around(grounds: Grounds, options: argparse.Namespace) -> ExitCode:
    structure = grounds.structure
    symbols = structure.resolve(options.symbol)
    direction = Direction.IN if options.callers else Direction.OUT if options.callees else Direction.BOTH
    relations = [Relation(one) for one in options.relation] if options.relation else None
    if relations is None and direction is not Direction.BOTH:
        relations = list(_CALLS)
    depth = options.depth or 1
    if options.format == "text" and depth == 1 and direction is Direction.BOTH and relations is None:
        _written(options, "\n".join(_told(structure, symbols, options.n)) + f"\n{_basis(grounds)}\n")
        return ExitCode.OK
    graph = structure.neighbourhood(symbols, depth, direction=direction, relations=relations)
    _written(options, _formatted(grounds, graph, symbols, options.format))
    return ExitCode.OK if graph.number_of_edges() else ExitCode.NO


def _formatted(grounds: Grounds, graph: nx.MultiDiGraph, symbols: Sequence[str], how: str) -> str | bytes:
    if how == "json":
        return _json(grounds, {"symbols": list(symbols), **as_json(graph)})
    if how == "graphml":
        return as_graphml(graph)
    if how == "dot":
        return as_dot(graph)
    if how == "svg":
        dot = find_program("dot", lost="no SVG can be drawn", install="apt-get install graphviz")
        return run_program([dot, "-Tsvg"], stdin=as_dot(graph).encode(), limits=Limits(wall_s=120), check=True).output
    return "\n".join([*_levels(graph), _basis(grounds)]) + "\n"


def _levels(graph: nx.MultiDiGraph) -> Iterator[str]:
    """Yield the nodes by their distance."""
    for symbol in sorted(graph, key=lambda one: (graph.nodes[one]["depth"], one)):
        node = graph.nodes[symbol]
        place = f"  {node['file']}:{node['line']}" if node["file"] else ""
        yield f"{node['depth']:>2}  {plain(symbol)}{place}"
    if graph.graph["left_out"]:
        yield f"    and {graph.graph['left_out']} more edges, which were not followed"


def _told(structure: Structure, symbols: Sequence[str], shown: int) -> Iterator[str]:
    for number, symbol in enumerate(symbols):
        if number:
            yield ""
        if number >= shown:
            yield f"and {len(symbols) - number} more symbols of this name"
            return
        yield from _one(structure, symbol, shown)


def _one(structure: Structure, symbol: str, shown: int) -> Iterator[str]:
    places = structure.places(symbol)
    yield f"{plain(symbol)}{'' if places else ': declared only, defined in no unit of this build'}"
    for place in places[:shown]:
        yield f"  {_place(structure, place)}"
    for knob in structure.knobs(symbol):
        yield from (f"  {line}" for line in _knob(knob))
    for title, relations, side in _SECTIONS:
        links = structure.links(symbol, side, relations)
        yield from _section(title, [_end(structure, link, side) for link in links], shown)
    for field, found in structure.candidates(symbol).items():
        yield from _section(f"may reach through {field}", found, shown)
    yield from _section("built only when", [_guard(one) for one in structure.knobs_of(symbol)], shown)


_SECTIONS = (
    ("called by", (Relation.CALL_STATIC, Relation.CALL_INDIRECT), Direction.IN),
    ("calls", (Relation.CALL_STATIC, Relation.CALL_INDIRECT), Direction.OUT),
    ("used by", (Relation.REF,), Direction.IN),
    ("uses", (Relation.REF,), Direction.OUT),
    ("has", (Relation.HASMEMBER,), Direction.OUT),
    ("belongs to", (Relation.HASMEMBER,), Direction.IN),
    ("embeds, implements", (Relation.INHERITANCE,), Direction.OUT),
    ("embedded or implemented by", (Relation.INHERITANCE,), Direction.IN),
)


def _place(structure: Structure, place: Place) -> str:
    words = [place.kind.value, place.linkage, "inline" if place.is_inline else "", *place.attributes]
    said = " ".join(word for word in words if word)
    where = f"{place.file}:{place.first_line}-{place.last_line}"
    subsystem = structure.subsystem(place.file)
    parts = [where, said, place.type, f"[{subsystem}]" if subsystem else ""]
    text = ", read as text: this build leaves it out" if place.approximate else ""
    return plain("  ".join(part for part in parts if part) + text)


def _end(structure: Structure, link: Link, side: Direction) -> str:
    other = link.source if side is Direction.IN else link.target
    detail = f" ({link.detail})" if link.detail else " (indirect)" if link.relation is Relation.CALL_INDIRECT else ""
    times = f" x{link.count}" if link.count > 1 else ""
    return f"{other}{detail}{times}  {link.file}:{link.line}"


def _section(title: str, lines: Sequence[str], shown: int) -> Iterator[str]:
    if not lines:
        return
    yield f"  {title} ({len(lines)})"
    yield from (f"    {plain(line)}" for line in lines[:shown])
    if len(lines) > shown:
        yield f"    and {len(lines) - shown} more"


def _guard(one: Guarded) -> str:
    if not one.first_line:
        return f"{one.knob} is set, for {one.file}"
    lines = f"{one.file}:{one.first_line}-{one.last_line}"
    if one.sense == "asked":
        return f"{one.knob} is asked, {lines}"
    return f"{one.knob} is {'not ' if one.sense == 'else' else ''}set, {lines}{'' if one.whole else ', a part of it'}"


def _knob(knob: KnobPlace) -> Iterator[str]:
    yield plain(f"{knob.file}:{knob.first_line}  {knob.type} {json.dumps(knob.prompt)}")
    for title, values in (("default", knob.defaults), ("depends on", knob.depends), ("selects", knob.selects)):
        for value in values:
            yield plain(f"  {title} {value}")


# -- lists ----------------------------------------------------------------------------------------------------------


def _implementers(grounds: Grounds, options: argparse.Namespace) -> ExitCode:
    structure = grounds.structure
    found = {field: structure.implementers(field) for field in structure.resolve(options.symbol)}
    found = {field: functions for field, functions in found.items() if functions}
    if options.format == "json":
        _written(options, _json(grounds, {"implementers": found}))
    else:
        lines = []
        for field, functions in found.items():
            lines += [plain(field), *(f"  {plain(_with_place(structure, one))}" for one in functions)]
        _written(options, "\n".join([*(lines or ["nothing stands in it"]), _basis(grounds)]) + "\n")
    return ExitCode.OK if found else ExitCode.NO


def _with_place(structure: Structure, symbol: str) -> str:
    place = next(iter(structure.places(symbol)), None)
    return f"{symbol}  {place.file}:{place.first_line}" if place else symbol


def _guards(grounds: Grounds, options: argparse.Namespace) -> ExitCode:
    structure = grounds.structure
    found = structure.guarded(options.symbol, below=options.below)
    if options.format == "json":
        _written(options, _json(grounds, {"guarded": [asdict(one) for one in found]}))
    else:
        head = [line for knob in structure.knobs(options.symbol) for line in _knob(knob)]
        lines = [_guarded(one) for one in found]
        _written(options, "\n".join([*head, *(lines or ["nothing that is known"]), _basis(grounds)]) + "\n")
    return ExitCode.OK if found else ExitCode.NO


def _guarded(one: Guarded) -> str:
    part = "" if one.whole or one.sense == "asked" else ", a part"
    place = f"{one.file}:{one.first_line}-{one.last_line}" if one.first_line else one.file
    text = ", read as text" if one.approximate else ""
    return plain(f"  {one.symbol}  {place}  {_SENSES[one.sense]}{part}{text}")


_SENSES = {
    "if": "when set", "else": "when not set", "asked": "asks for it", "object": "built when set",
    "folder": "entered when set", "depends": "depends on it", "selects": "selected by it",
}  # fmt: skip


# -- what a change touches ------------------------------------------------------------------------------------------


def _touched(repository: Repository, options: argparse.Namespace) -> ExitCode:
    base, head = _sides(repository, options.touched)
    changed = [change.path for change in repository.changed_paths(base, head)]
    sides = {path: (repository.read_path(base, path), repository.read_path(head, path)) for path in changed}
    touched = all_touches(sides)
    others = [path for path in changed if not path.endswith((".c", ".h"))]

    def answer(grounds: Grounds) -> ExitCode:
        found = impact(grounds.structure, touched, reach=options.depth or 3)
        if options.format == "json":
            told = {"touched": [asdict(one) for one in found], "other_files": others}
            _written(options, _json(grounds, {"base": base, "head": head, **told}))
        else:
            lines = [line for one in found for line in _impact(one, options.n)]
            lines += [f"{plain(path)}: no C, not looked into" for path in others]
            _written(options, "\n".join([*(lines or ["no C is touched"]), _basis(grounds)]) + "\n")
        return ExitCode.OK if found else ExitCode.NO

    names = [name_of(one.symbol) for one in touched if not one.symbol.startswith("file ")]
    return _asked(repository, options, names, answer, files=changed)


def _sides(repository: Repository, text: str) -> tuple[Oid, Oid]:
    before, dots, after = text.partition("..")
    if not dots:
        raise UsageError(f"graph: '{text}' names no change", next_step="write A..B, or A.. for all since A")
    return repository.resolve(before or "HEAD"), repository.resolve(after.lstrip(".") or "HEAD")


def _impact(one: Impact, shown: int) -> Iterator[str]:
    touch = one.touch
    yield plain(f"{touch.symbol}  {touch.file}:{touch.first_line}-{touch.last_line}  {touch.kind.value} {touch.how}")
    for symbol, away in one.reached_by[:shown]:
        yield f"    {away:>2}  {plain(symbol)}"
    if len(one.reached_by) > shown:
        yield f"        and {len(one.reached_by) - shown} more"
