# SPDX-License-Identifier: Apache-2.0
"""Answers about the structure of the source, as lines for a terminal.

Names and places stay whole, so that they can be copied into the next command or an editor; types are cut to the width.
A symbol whose file stands beside it is shown without it.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from git_hmopt.psg.ask import Basis, Grounds
from git_hmopt.psg.facts import Kind, Relation
from git_hmopt.psg.impact import Impact
from git_hmopt.psg.queries import Direction, Guarded, KnobPlace, Link, Place, Structure
from git_hmopt.report.wording import fit, plain

if TYPE_CHECKING:
    import networkx as nx

COLUMNS = 100
"""Where there is no terminal."""
NARROWEST = 40
_LEAST_SUBSYSTEM = 12
"""Characters of a subsystem's name below which it says nothing."""

_CALLS = (Relation.CALL_STATIC, Relation.CALL_INDIRECT)
_SECTIONS = (
    ("called by", _CALLS, Direction.IN),
    ("calls", _CALLS, Direction.OUT),
    ("used by", (Relation.REF,), Direction.IN),
    ("uses", (Relation.REF,), Direction.OUT),
    ("has", (Relation.HASMEMBER,), Direction.OUT),
    ("belongs to", (Relation.HASMEMBER,), Direction.IN),
    ("embeds, implements", (Relation.INHERITANCE,), Direction.OUT),
    ("embedded or implemented by", (Relation.INHERITANCE,), Direction.IN),
)
_SENSES = {
    "if": "when set", "else": "when not set", "asked": "asks for it", "object": "built when set",
    "folder": "entered when set", "depends": "depends on it", "selects": "selected by it",
}  # fmt: skip


@dataclass(frozen=True)
class Row:
    """A line of a list: a symbol, where, and what else is said of it."""

    name: str
    place: str = ""
    more: str = ""


def rows_as_lines(rows: Sequence[Row], columns: int, indent: int = 0) -> Iterator[str]:
    """Yield rows with their places below each other, and their words where all of that fits into the columns.

    A name that leaves no room for its place has a line of its own.
    """
    room = max(columns, NARROWEST) - indent
    names = [len(row.name) for row in rows if len(row.name) + 2 + len(row.place) <= room]
    width = max(names, default=0)
    widest = max((len(row.place) for row in rows if row.more), default=0)
    words = max((len(row.more) for row in rows), default=0)
    padded = widest if width + 2 + widest + 2 + words <= room else 0
    for row in rows:
        name, place = plain(row.name), plain(row.place)
        rest = f"{place:<{padded}}  {plain(row.more)}" if place else plain(row.more)
        rest = rest.rstrip() if row.more else place
        if len(name) > width and rest:
            yield f"{' ' * indent}{name}"
            yield f"{' ' * indent}    {rest}"
        else:
            # A row that is too long with its words moves its place to the name.
            fitting = width if width + 2 + len(rest) <= room else 0
            yield f"{' ' * indent}{name:<{fitting}}  {rest}".rstrip()


def section(title: str, rows: Sequence[Row], shown: int, columns: int) -> Iterator[str]:
    """Yield a titled list with its count, cut after `shown` rows."""
    if not rows:
        return
    yield f"  {title} ({len(rows)})"
    yield from rows_as_lines(rows[:shown], columns, 4)
    if len(rows) > shown:
        yield f"    and {len(rows) - shown} more"


# -- a symbol ---------------------------------------------------------------------------------------------------------


def symbols_told(grounds: Grounds, symbols: Sequence[str], *, shown: int, columns: int) -> list[str]:
    """Return what stands around each symbol."""
    lines: list[str] = []
    for number, symbol in enumerate(symbols):
        if number:
            lines.append("")
        if number >= shown:
            lines.append(f"and {len(symbols) - number} more symbols of this name")
            break
        lines += _one(grounds, symbol, shown, columns)
    return lines


def _one(grounds: Grounds, symbol: str, shown: int, columns: int) -> Iterator[str]:
    structure = grounds.structure
    yield plain(symbol)
    yield from _where(grounds, symbol, shown, columns)
    for title, relations, side in _SECTIONS:
        links = structure.links(symbol, side, relations)
        yield from section(title, [_end(link, side) for link in links], shown, columns)
    for title, reached in (
        ("may be called through", structure.callers_through(symbol)),
        ("may reach through", structure.candidates(symbol)),
    ):
        for field, found in reached.items():
            rows = [_with_place(structure, one) for one in found]
            yield from section(f"{title} {plain(field)}", rows, shown, columns)
    yield from section("built only when", [_condition(one) for one in structure.knobs_of(symbol)], shown, columns)
    if symbol.startswith("CONFIG_"):
        rows = [_guarded(one) for one in structure.guarded(symbol)]
        yield from section("decides about", rows, shown, columns)


def _where(grounds: Grounds, symbol: str, shown: int, columns: int) -> Iterator[str]:
    knobs = grounds.structure.knobs(symbol) if symbol.startswith("CONFIG_") else []
    # Kconfig says more of a knob than where it is.
    places = [place for place in grounds.structure.places(symbol) if place.kind is not Kind.CONFIG]
    for place in places[:shown]:
        yield f"  {_place(grounds, place, columns - 2)}"
        if place.type and place.kind is not Kind.MACRO:
            yield f"    {fit(place.type, max(columns, NARROWEST) - 4)}"
    if len(places) > shown:
        yield f"  and {len(places) - shown} more places"
    for knob in knobs:
        yield from (f"  {line}" for line in _knob(knob))
    if not places and not knobs and not symbol.startswith(("file ", "CONFIG_")):
        text = grounds.basis is Basis.APPROXIMATE
        yield f"  defined in no {'file that was read' if text else 'unit of this build'}"


def _place(grounds: Grounds, place: Place, columns: int) -> str:
    linkage = place.linkage if place.kind in (Kind.FUNCTION, Kind.VARIABLE) else ""
    words = [place.kind.value, linkage, "inline" if place.is_inline else "", *place.attributes]
    said = " ".join(word for word in words if word)
    if place.approximate:
        said += ", not in this build" if grounds.basis is Basis.EXACT else ", read as text"
    where = plain(f"{place.file}:{_lines(place.first_line, place.last_line)}  {said}")
    subsystem, room = grounds.structure.subsystem(place.file), columns - len(where) - len("  []")
    return f"{where}  [{fit(subsystem, room)}]" if subsystem and room >= _LEAST_SUBSYSTEM else where


def _lines(first: int, last: int) -> str:
    return f"{first}" if first == last else f"{first}-{last}"


def _end(link: Link, side: Direction) -> Row:
    other = link.source if side is Direction.IN else link.target
    return Row(_named(other, link.file), f"{link.file}:{link.line}", _said(link.relation, link.detail, link.count))


def _said(relation: Relation, detail: str, count: int) -> str:
    word = detail or ("indirect" if relation is Relation.CALL_INDIRECT else "")
    if relation not in (*_CALLS, Relation.HASMEMBER) and not word:
        word = relation.value
    return " ".join(part for part in (word, f"x{count}" if count > 1 else "") if part)


def _named(symbol: str, file: str) -> str:
    """Return a symbol without its file where that stands beside it."""
    return symbol.removeprefix(f"{file}:")


def _with_place(structure: Structure, symbol: str) -> Row:
    place = next(iter(structure.places(symbol)), None)
    return Row(_named(symbol, place.file), f"{place.file}:{place.first_line}") if place else Row(symbol)


# -- distances --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Step:
    """An edge of a tree, from the symbol above to the one below."""

    end: str
    link: Link
    goes_out: bool
    """Whether the edge points from the symbol above to the one below."""


def tree_told(
    graph: nx.MultiDiGraph, symbols: Sequence[str], direction: Direction, *, shown: int, columns: int
) -> list[str]:
    """Return a neighbourhood as a tree: each symbol once, below the first that leads to it, with where it does."""
    steps = _steps(graph)
    lines: list[str] = []
    for symbol in symbols:
        node = graph.nodes[symbol]
        lines.append(plain(f"{symbol}  {node['file']}:{node['line']}" if node["file"] else symbol))
        lines += _branches(steps, symbol, shown, columns, depth=1, arrows=direction is Direction.BOTH)
    if not graph.number_of_edges():
        lines.append("  nothing that is known")
    if graph.graph["left_out"]:
        lines.append(f"and {graph.graph['left_out']} more edges, which were not followed")
    return lines


def _steps(graph: nx.MultiDiGraph) -> Mapping[str, list[_Step]]:
    """Return, by symbol, those one step farther that it leads to first."""
    found: dict[str, list[_Step]] = {symbol: [] for symbol in graph}
    taken: set[str] = set()
    for symbol in sorted(graph, key=lambda one: (graph.nodes[one]["depth"], one)):
        steps = [_step(symbol, end, edge, goes_out=True) for _, end, edge in graph.out_edges(symbol, data=True)]
        steps += [_step(symbol, end, edge, goes_out=False) for end, _, edge in graph.in_edges(symbol, data=True)]
        for step in sorted(steps, key=lambda one: (one.link.file, one.link.line, one.end)):
            if step.end not in taken and graph.nodes[step.end]["depth"] == graph.nodes[symbol]["depth"] + 1:
                taken.add(step.end)
                found[symbol].append(step)
    return found


def _step(symbol: str, end: str, edge: Mapping[str, Any], *, goes_out: bool) -> _Step:
    source, target = (symbol, end) if goes_out else (end, symbol)
    relation = Relation(edge["relation"])
    return _Step(
        end, Link(source, target, relation, edge["detail"], edge["file"], edge["line"], edge["count"]), goes_out
    )


def _branches(
    steps: Mapping[str, list[_Step]], symbol: str, shown: int, columns: int, *, depth: int, arrows: bool
) -> Iterator[str]:
    for step in steps[symbol][:shown]:
        row = _end(step.link, Direction.OUT if step.goes_out else Direction.IN)
        arrow = ("-> " if step.goes_out else "<- ") if arrows else ""
        yield from rows_as_lines([replace(row, name=f"{arrow}{row.name}")], columns, 2 * depth)
        yield from _branches(steps, step.end, shown, columns, depth=depth + 1, arrows=arrows)
    if len(steps[symbol]) > shown:
        yield f"{'  ' * depth}and {len(steps[symbol]) - shown} more"


# -- lists ------------------------------------------------------------------------------------------------------------


def implementers_told(
    structure: Structure, found: Mapping[str, Sequence[str]], *, shown: int | None, columns: int
) -> list[str]:
    """Return the functions that stand in each field; no `shown` means all."""
    lines: list[str] = []
    for field, functions in found.items():
        rows = [_with_place(structure, one) for one in functions[:shown]]
        lines += [f"{plain(field)} ({len(functions)})", *rows_as_lines(rows, columns, 2)]
        if len(functions) > len(rows):
            lines.append(f"  and {len(functions) - len(rows)} more")
    return lines


def guards_told(
    structure: Structure, knob: str, found: Sequence[Guarded], *, shown: int | None, columns: int
) -> list[str]:
    """Return a knob's own blocks and what it decides about; no `shown` means all."""
    lines = [f"{plain(knob)} ({len(found)})"]
    lines += [f"  {line}" for block in structure.knobs(knob) for line in _knob(block)]
    lines += rows_as_lines([_guarded(one) for one in found[:shown]], columns, 2)
    if shown is not None and len(found) > shown:
        lines.append(f"  and {len(found) - shown} more")
    return lines


def _guarded(one: Guarded) -> Row:
    part = "" if one.whole or one.sense == "asked" or one.symbol == f"file {one.file}" else ", in part"
    text = " (text)" if one.approximate else ""
    place = f"{one.file}:{_lines(one.first_line, one.last_line)}" if one.first_line else one.file
    name = "these lines" if one.symbol == f"file {one.file}" and one.first_line else _named(one.symbol, one.file)
    return Row(name, place if name != f"file {place}" else "", f"{_SENSES[one.sense]}{part}{text}")


def _condition(one: Guarded) -> Row:
    if not one.first_line:
        return Row(one.knob, one.file, "set")
    said = {"asked": "asked", "else": "not set"}.get(one.sense, "set")
    part = "" if one.whole or one.sense == "asked" else ", in part"
    return Row(one.knob, f"{one.file}:{_lines(one.first_line, one.last_line)}", f"{said}{part}")


def _knob(knob: KnobPlace) -> Iterator[str]:
    prompt = f" {json.dumps(knob.prompt, ensure_ascii=False)}" if knob.prompt else ""
    yield plain(f"{knob.file}:{knob.first_line}  {knob.type}{prompt}")
    lists = (
        ("default", knob.defaults), ("depends on", knob.depends), ("selects", knob.selects), ("implies", knob.implies),
    )  # fmt: skip
    for title, values in lists:
        for value in values:
            yield f"  {title} {plain(value)}"


# -- changes ----------------------------------------------------------------------------------------------------------


def impact_told(one: Impact, most: int, *, shown: int, columns: int) -> Iterator[str]:
    """Yield what is touched and who reaches it, by distance; `most` is how many were looked for."""
    touch = one.touch
    place = touch.file if touch.symbol == f"file {touch.file}" else f"{touch.file}:{touch.first_line}"
    name = "outside of all functions" if touch.symbol == f"file {touch.file}" else _named(touch.symbol, touch.file)
    if touch.symbol != f"file {touch.file}" and touch.last_line != touch.first_line:
        place += f"-{touch.last_line}"
    yield from rows_as_lines([Row(name, place, f"{touch.kind.value} {touch.how}")], columns)
    near: dict[int, list[str]] = {}
    for symbol, away in one.reached_by:
        near.setdefault(away, []).append(plain(symbol))
    for away, symbols in near.items():
        more = [f"and {len(symbols) - shown} more"] if len(symbols) > shown else []
        said = f"{away} step{'s' if away > 1 else ''} away ({len(symbols)}): {', '.join([*symbols[:shown], *more])}"
        yield from textwrap.wrap(
            said, max(columns, NARROWEST), initial_indent="  ", subsequent_indent="    ", break_long_words=False,
            break_on_hyphens=False,
        )  # fmt: skip
    if len(one.reached_by) >= most:
        yield f"  at least {most} functions reach it; no more were looked for"


# -- numbers ----------------------------------------------------------------------------------------------------------


def statistics_told(statistics: Mapping[str, int]) -> list[str]:
    """Return the counts of a graph, numbers below each other; kinds of symbols as those that are defined."""
    rows: list[tuple[str, int]] = []
    totals = {"edges": sum(count for what, count in statistics.items() if what.startswith("edges "))}
    kinds = {kind.value for kind in Kind}
    for what, count in statistics.items():
        head, _, rest = what.partition(" ")
        if head == "edges" and ("edges", totals["edges"]) not in rows:
            rows.append(("edges", totals["edges"]))
        rows.append((f"  {rest}" if rest else _PLURALS.get(what, f"{what}s") if what in kinds else what, count))
    width = max(len(what) for what, _ in rows)
    digits = max(len(f"{count:,}") for _, count in rows)
    return [f"{what:<{width}}  {count:>{digits},}" for what, count in rows]


_PLURALS = {"config": "config knobs", "typedef": "typedefs"}
