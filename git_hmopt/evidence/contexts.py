# SPDX-License-Identifier: Apache-2.0
"""What the rest of the build makes dangerous about an edit: who calls a function with what held, and who reaches it.

The structure graph says who calls; that something is held at a call is read from the caller's text, line by line and
without its branches, so every such note says so.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from git_hmopt.evidence.graph import identity
from git_hmopt.evidence.risks import code_only
from git_hmopt.evidence.structure import FunctionNode
from git_hmopt.psg.facts import Kind, Relation
from git_hmopt.psg.queries import Direction, Structure
from git_hmopt.store.graph import name_of

Read = Callable[[str], tuple[str, bytes] | None]

_SHOWN = 3
_MOST_CALLERS = 32
_INIT = "__init"


@dataclass(frozen=True)
class _Held:
    name: str
    consequence: str
    takes: re.Pattern[str]
    gives: re.Pattern[str]


_HELD = (
    _Held(
        "a spinlock",
        "it must not sleep, and what the lock protects is relied on",
        re.compile(r"\b(?:raw_)?(?:spin|read|write)_lock(?:_irq|_irqsave|_bh|_nested)*\s*\("),
        re.compile(r"\b(?:raw_)?(?:spin|read|write)_unlock(?:_irq|_irqrestore|_bh)?\s*\("),
    ),
    _Held(
        "interrupts off",
        "it must not sleep, and every instruction delays interrupts",
        re.compile(r"\b(?:local_irq_(?:save|disable)|\w+_lock_irq(?:save)?(?:_nested)?)\s*\("),
        re.compile(r"\b(?:local_irq_(?:restore|enable)|\w+_unlock_irq(?:restore)?)\s*\("),
    ),
    _Held(
        "an RCU read section",
        "it must not sleep, and pointers it returns may live no longer than the section",
        re.compile(r"\brcu_read_lock(?:_bh|_sched)?\s*\("),
        re.compile(r"\brcu_read_unlock(?:_bh|_sched)?\s*\("),
    ),
    _Held(
        "a mutex",
        "what the lock protects is relied on",
        re.compile(r"\bmutex_lock(?:_nested|_interruptible|_killable)?\s*\("),
        re.compile(r"\bmutex_unlock\s*\("),
    ),
)
# What is given back on the way out is still held below: `if (bad) { spin_unlock(&l); return; }`.
_LEAVES = re.compile(r"[^{}]*\b(?:return|goto)\b[^{}]*\}")


def context_notes(structure: Structure, function: FunctionNode, read: Read) -> tuple[str, ...]:
    """Return one line a risk that the function's own text does not show, in a fixed order."""
    asked = _Asked(structure, read)
    symbol = identity(structure, function)
    return (*_held_notes(asked, symbol), *_reached_notes(structure, symbol))


@dataclass(frozen=True)
class _Asked:
    structure: Structure
    read: Read
    texts: dict[str, str | None] = field(default_factory=dict)

    def callers(self, symbol: str) -> list[str]:
        return self.structure.callers(symbol)[:_MOST_CALLERS]

    def text(self, symbol: str) -> str | None:
        """Return a function's text without comments and literals; None where it is not known."""
        if symbol not in self.texts:
            self.texts[symbol] = self._text(symbol)
        return self.texts[symbol]

    def _text(self, symbol: str) -> str | None:
        place = next((one for one in self.structure.places(symbol) if one.kind is Kind.FUNCTION), None)
        blob = self.read(place.file) if place else None
        if place is None or blob is None:
            return None
        lines = blob[1].decode(errors="replace").split("\n")
        return code_only("\n".join(lines[place.first_line - 1 : place.last_line]))


def _held_notes(asked: _Asked, symbol: str) -> Iterator[str]:
    callers, known = asked.callers(symbol), len(asked.structure.callers(symbol))
    looked_at = f"the first {len(callers)} of {known} callers" if known > len(callers) else f"{known} callers"
    for held in _HELD:
        found = _holding(asked, symbol, callers, held)
        if found:
            shown = ", ".join(found[:_SHOWN]) + (f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else "")
            whose = "all its callers" if len(found) == known else f"{len(found)} of {looked_at}"
            yield f"called with {held.name}: by {whose}, as their text reads ({shown}): {held.consequence}"


def _holding(asked: _Asked, symbol: str, callers: list[str], held: _Held) -> list[str]:
    """Return the callers that hold it at a call, or are themselves called so."""
    found = []
    for caller in callers:
        if _holds_at_call(asked.text(caller), name_of(symbol), held):
            found.append(name_of(caller))
            continue
        above = (one for one in asked.callers(caller) if one != symbol)
        through = next((one for one in above if _holds_at_call(asked.text(one), name_of(caller), held)), None)
        if through is not None:
            found.append(f"{name_of(caller)} from {name_of(through)}")
    return found


def _holds_at_call(text: str | None, callee: str, held: _Held) -> bool:
    body = (text or "").partition("{")[2]
    return any(_taken(body[: call.start()], held) > 0 for call in re.finditer(rf"\b{re.escape(callee)}\s*\(", body))


def _taken(before: str, held: _Held) -> int:
    given = sum(1 for one in held.gives.finditer(before) if not _LEAVES.match(before, one.end()))
    return len(held.takes.findall(before)) - given


def _reached_notes(structure: Structure, symbol: str) -> Iterator[str]:
    links = structure.links(symbol, Direction.OUT, (Relation.INHERITANCE,))
    fields = sorted({link.target for link in links if link.detail == "implements"})
    if fields:
        through = sum(len(callers) for callers in structure.callers_through(symbol).values())
        known = f"{through} known callers of the pointer" if through != 1 else "1 known caller of the pointer"
        yield f"in a table: {_some(fields)}: {known}, any context that they have; the signature is the table's"
    taken = structure.links(symbol, Direction.IN, (Relation.REF,))
    takers = sorted({name_of(link.source) for link in taken if link.detail == "address"})
    if takers and not fields:
        yield f"address taken: by {_some(takers)}: it may be called from where no call names it"
    callers = structure.callers(symbol)
    if callers and all(_is_init(structure, caller) for caller in callers):
        yield f"called at boot only: all callers are {_INIT} ({_some([name_of(one) for one in callers])})"


def _is_init(structure: Structure, symbol: str) -> bool:
    places = structure.places(symbol)
    return bool(places) and all(_INIT in place.attributes for place in places)


def _some(names: list[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
