# SPDX-License-Identifier: Apache-2.0
"""Who calls a function and whom it calls: as the structure graph has it, each with what the profile measured of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from git_hmopt.agents.answers import answered, named
from git_hmopt.evidence.rule import percent
from git_hmopt.evidence.structure import source_name
from git_hmopt.psg.facts import Relation
from git_hmopt.psg.queries import Direction, Structure
from git_hmopt.records.evidence import Neighbour
from git_hmopt.runtime.call_graph import CallGraph
from git_hmopt.store.graph import name_of


class Side(StrEnum):
    """Which way calls are followed."""

    CALLERS = "callers"
    CALLEES = "callees"

    @property
    def relation(self) -> str:
        """Return what one of them is called."""
        return self.value.removesuffix("s")


_NONE = {Side.CALLERS: "nobody calls it by its name or through a known pointer", Side.CALLEES: "it calls nothing"}
FUNCTIONS = 4
"""Functions of one name whose calls are told."""


@dataclass(frozen=True)
class Call:
    """A function at the other end of a call."""

    symbol: str
    where: str
    """Where the call stands, or the function; empty where that is not known."""
    how: str = ""
    """In words, where it is no call by name."""


def calls_in(structure: Structure, node: str, side: Side) -> list[Call]:
    """Return what the graph says of a function: calls by name, and those that a pointer may make."""
    found = [*_by_name(structure, node, side), *_by_pointer(structure, node, side)]
    return list({(one.symbol, one.how): one for one in reversed(found)}.values())[::-1]


def _by_name(structure: Structure, node: str, side: Side) -> Iterator[Call]:
    direction = Direction.IN if side is Side.CALLERS else Direction.OUT
    for link in structure.links(node, direction, (Relation.CALL_STATIC,)):
        other = link.source if side is Side.CALLERS else link.target
        times = f" (x{link.count})" if link.count > 1 else ""
        yield Call(name_of(other), f"at {link.file}:{link.line}{times}")


def _by_pointer(structure: Structure, node: str, side: Side) -> Iterator[Call]:
    if side is Side.CALLERS:
        for field, callers in structure.callers_through(node).items():
            for caller in callers:
                yield Call(name_of(caller), _place(structure, caller), f"may, through {field}")
        for link in structure.links(node, Direction.IN, (Relation.REF,)):
            if link.detail == "address":
                yield Call(name_of(link.source), f"at {link.file}:{link.line}", "takes its address")
        return
    known = structure.candidates(node)
    for field, functions in known.items():
        for function in functions:
            yield Call(name_of(function), _place(structure, function), f"may, through {field}")
    for link in structure.links(node, Direction.OUT, (Relation.CALL_INDIRECT,)):
        if link.target not in known:
            yield Call(f"(*{link.target})", f"at {link.file}:{link.line}", "nothing is known to stand in this pointer")


def _place(structure: Structure, symbol: str) -> str:
    place = next(iter(structure.places(symbol)), None)
    return f"{place.file}:{place.first_line}" if place else ""


def calls_noted(neighbours: Sequence[Neighbour], side: Side) -> list[Call]:
    """Return the calls of a hotspot that its pack has: of its own unit alone where there was no graph."""
    return [
        Call(one.symbol, f"at {one.file}:{one.line}" if one.file else "")
        for one in neighbours
        if one.relation == side.relation
    ]


def measured_calls(graph: CallGraph | None, symbols: Sequence[str], side: Side) -> dict[str, float]:
    """Return the share of the profile on the way from each caller or to each callee of a function, by their names in
    the source; `symbols` are the function and the copies that the compiler made of it."""
    found: dict[str, float] = {}
    for symbol in symbols if graph is not None and graph.total else ():
        assert graph is not None
        edges = graph.callers(symbol) if side is Side.CALLERS else graph.callees(symbol)
        for other, cost in edges.items():
            found[source_name(other)] = found.get(source_name(other), 0.0) + cost / graph.total
    return found


def calls_told(
    name: str,
    side: Side,
    known: Sequence[tuple[str, Sequence[Call]]],
    measured: dict[str, float],
    note: str = "",
    *,
    more: int = 0,
) -> str:
    """Return an answer; `known` are a name's functions, each with its calls, `more` how many further
    ones it has, `note` what a reader must know of it all.

    Calls with the greatest cost come first. What the profile saw and the source does not say is told as that: calls
    through pointers look so, and those of what was inlined.
    """
    lines = [f"{side} of {named(name)}:"] if not known else []
    told: set[str] = set()
    for place, calls in known:
        lines.append(f"{side} of {place}:")
        ordered = sorted(calls, key=lambda one: (-measured.get(one.symbol, 0.0), bool(one.how), one.symbol))
        lines += [_line(one, measured) for one in ordered] or [f"- none: {_NONE[side]}, in the units of this build"]
        told |= {one.symbol for one in calls}
    lines += [f"and {more} more functions of this name: ask for one with its file, PATH:SYMBOL"] if more else []
    alone = sorted((-share, symbol) for symbol, share in measured.items() if symbol not in told)
    lines += [
        f"- {named(symbol)}: {percent(-share)} of the profile, seen by the profile alone" for share, symbol in alone
    ]
    if not known:
        lines.append("the structure graph has no function of this name" if measured else "- none known")
    lines += [note] if note else []
    return answered(
        lines, less=f"those with the greatest cost came first; of one of them: costs {side.relation.upper()}"
    )


def _line(one: Call, measured: dict[str, float]) -> str:
    where = f" ({one.where})" if one.where else ""
    how = f", {one.how}" if one.how else ""
    share = measured.get(one.symbol)
    cost = f": {percent(share)} of the profile" if share is not None else ""
    return f"- {named(one.symbol)}{where}{how}{cost}"
