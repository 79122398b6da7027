# SPDX-License-Identifier: Apache-2.0
"""What stands around a function in the whole build, as the structure graph has it: beyond its own unit."""

from __future__ import annotations

from collections.abc import Iterator

from git_hmopt.evidence.structure import FunctionNode
from git_hmopt.psg.facts import Relation
from git_hmopt.psg.queries import Direction, Structure
from git_hmopt.psg.text import symbol_of
from git_hmopt.records.evidence import Neighbour
from git_hmopt.store.graph import name_of


def identity(structure: Structure, function: FunctionNode) -> str:
    """Return how the graph calls a function: with its file in front where it is static."""
    static = symbol_of(function.file, function.symbol, static=True)
    return static if structure.places(static) else function.symbol


def around(structure: Structure, function: FunctionNode) -> Iterator[Neighbour]:
    """Yield a function's callers in any unit, the tables it is called through, and the knobs that it hangs on."""
    symbol = identity(structure, function)
    for link in structure.links(symbol, Direction.IN, (Relation.CALL_STATIC,)):
        yield Neighbour(symbol=name_of(link.source), relation="caller", file=link.file, line=link.line)
    for field, callers in structure.callers_through(symbol).items():
        # Shown as C writes it: who calls through the pointer may reach this function, and others.
        for caller in callers:
            place = next(iter(structure.places(caller)), None)
            yield Neighbour(
                symbol=f"{name_of(caller)} (*{field})", relation="caller",
                file=place.file if place else None, line=place.first_line if place else None,
            )  # fmt: skip
    for guard in structure.knobs_of(symbol):
        yield Neighbour(symbol=guard.knob, relation="config", file=guard.file, line=guard.first_line or None)
