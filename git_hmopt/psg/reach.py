# SPDX-License-Identifier: Apache-2.0
"""The functions that some files reach, nearest first: what a workload may run, as far as its source alone tells."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from git_hmopt.psg.facts import Kind, Relation
from git_hmopt.psg.queries import Direction, Structure
from git_hmopt.store.graph import name_of

MOST_WALKED = 20_000
"""Functions that are looked at: beyond them whatever is left is far away, and a whole kernel takes minutes."""


@dataclass(frozen=True)
class Reached:
    """A function and how many calls away it is."""

    symbol: str
    """Its name, as a profile would have it."""
    file: str
    line: int
    distance: int
    """Calls from the nearest entry, at least 1."""
    users: int
    """How many functions and variables call it or name it."""


def reached(
    structure: Structure, entries: Iterable[str], *, limit: int, usable: Callable[[str], bool] = lambda file: True
) -> tuple[Reached, ...]:
    """Return the `limit` functions that the code of the `entries` files reaches in the fewest calls.

    Nearest first; of equally near ones those that the fewest others use, since what everybody calls (printing,
    allocation) is seldom what a harness is about; then by file and name. Listed is what is defined in a file that is
    `usable`; what is not is walked through, and so are inline functions and those in headers, which are copied
    into their callers and have no cost of their own in most profiles. Of several functions with one name the first is
    listed, since a name is all that a profile would have of them. None where the entries reach nothing, or are not in
    the graph.
    """
    files = set(entries)
    edge = sorted({symbol for file in files for symbol in structure.code_of(file)})
    known, found, names = set(edge), list[Reached](), set[str]()
    distance = 0
    while edge and len(found) < limit and len(known) < MOST_WALKED:
        distance += 1
        edge = sorted({target for symbol in edge for target in _steps(structure, symbol)} - known)
        known.update(edge)
        level = [one for symbol in edge for one in _listed(structure, symbol, distance, files, usable)]
        for one in sorted(level, key=lambda one: (one.users, one.file, one.symbol, one.line)):
            if one.symbol not in names:
                names.add(one.symbol)
                found.append(one)
    return tuple(found[:limit])


def _steps(structure: Structure, symbol: str) -> set[str]:
    """Return what a function or variable reaches in one step: the way back from `Structure.reached_by`.

    It calls it, calls through a table's field that it stands in, or takes its address, as a table of functions does.
    """
    links = structure.links(symbol, Direction.OUT, (Relation.CALL_STATIC, Relation.CALL_INDIRECT, Relation.REF))
    found = {link.target for link in links if link.relation is Relation.CALL_STATIC}
    found |= {link.target for link in links if link.relation is Relation.REF and link.detail == "address"}
    fields = {link.target for link in links if link.relation is Relation.CALL_INDIRECT}
    return found.union(*(structure.implementers(field) for field in fields))


def _listed(
    structure: Structure, symbol: str, distance: int, entries: set[str], usable: Callable[[str], bool]
) -> list[Reached]:
    places = [one for one in structure.places(symbol) if one.kind is Kind.FUNCTION and not one.approximate]
    if not places:
        return []
    place = places[0]
    if place.file in entries or place.is_inline or place.file.endswith(".h") or not usable(place.file):
        return []
    users = {link.source for link in structure.links(symbol, Direction.IN, (Relation.CALL_STATIC, Relation.REF))}
    return [Reached(name_of(symbol), place.file, place.first_line, distance, len(users))]
