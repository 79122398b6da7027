# SPDX-License-Identifier: Apache-2.0
"""Byte-at-a-time table CRC -> slicing by 8.

The shape, whatever its spelling: a loop over the bytes of a buffer that turns the state into
`T[low byte ^ byte] ^ (state >> 8)` (reflected) or `T[high byte ^ byte] ^ (state << 8)`, with T a global constant table
of 256. Each byte waits for the lookup of the one before it. The effect of a byte followed by k zero bytes is another
table of 256, so eight bytes can be folded in with eight lookups that do not wait for each other
(M. Kounavis and F. Berry, "A systematic approach to building high performance software-based CRC generators", 2005;
lib/crc32.c does it for CRC-32). The tables are derived from T at boot; until then, and for the last bytes, the loop
stays as it was.
"""

from __future__ import annotations

import re

from git_hmopt.agents.playbook.crc_code import ENTRIES, Host, TableCrc, definitions, fast_loop
from git_hmopt.agents.playbook.loops import (
    Count,
    Countdown,
    CountUp,
    Loop,
    carried,
    count_moves,
    declared,
    loops,
    mentioned_after,
    moves,
    run_condition,
)
from git_hmopt.agents.playbook.placement import above, include_edits, indent_of, initcalls, unaligned_header
from git_hmopt.agents.playbook.strategy import Miss, Rewrite, View
from git_hmopt.agents.playbook.symbolic import ZERO, Bit, Lookup, Machine, Opaque, Word, convert
from git_hmopt.psg.compile_database import defines
from git_hmopt.psg.edit import Edit, replace
from git_hmopt.psg.syntax import Node, bare, definition
from git_hmopt.psg.unit import Function, line_of

_FINAL_RETURN = re.compile(rb"\n[ \t]*return 0;\s*\}\Z")


class CrcSlicing:
    """Fold eight bytes into a table CRC at once."""

    name = "crc-slicing"
    classes: tuple[str, ...] = ("cpu-bound-loop", "unknown")
    summary = "byte-at-a-time table CRC -> eight bytes at once with derived tables (slicing by 8)"
    prior = 0.75
    prior_source = "slicing by 4 took 76.5 % off such a loop over randomised layouts on Linux 6.1 under UML"

    def match(self, view: View) -> TableCrc | Miss:
        """Find the loop and check that the file can carry the tables."""
        reasons = []
        for loop in loops(view.tree):
            try:
                return self._checked(view, loop)
            except Opaque as error:
                reasons.append(str(error))
        return Miss(f"no table CRC loop ({'; '.join(dict.fromkeys(reasons)) or 'the function has no counted loop'})")

    def _checked(self, view: View, loop: Loop) -> TableCrc:
        machine = Machine(lambda symbol: definition(view.unit, symbol))
        count = run_condition(loop, machine, view.text)
        machine.run(loop.body)
        if loop.step is not None:
            machine.run(loop.step)
        if len(machine.lookups) != 1:
            raise Opaque(f"it reads {len(machine.lookups) or 'no'} tables a turn")
        lookup = machine.lookups[0]
        _check_table(lookup)
        state = _state(machine)
        high_first = _direction(machine.values[state], lookup, state)
        pointer = _pointer(view, machine, loop, count)
        _check_place(view, loop)
        host, loadable = _file(view, lookup.table)
        variable = declared(view.tree, state)
        return TableCrc(
            loop=loop,
            count=count,
            state=state,
            state_type=_plain(variable.written_type),
            bits=8 * variable.size,
            table=lookup.table,
            slice_type=_slice_type(lookup.node, variable, high_first),
            high_first=high_first,
            pointer=pointer,
            host=host,
            loadable=loadable,
        )

    def rewrite(self, view: View, match: TableCrc) -> Rewrite:
        """Add the derived tables, the boot-time code that fills them, and a loop that uses them before the old one."""
        text = view.text
        wanted = ["linux/cache.h", "linux/init.h", unaligned_header(view.source)]
        edits = include_edits(text, wanted, view.source)
        place = _place(view, match)
        edits.append(Edit(place, place, definitions(match).encode()))
        if match.host is not None:
            edits.append(
                Edit(match.host.before_return, match.host.before_return, f"\n\t{match.table}_fill_slices();".encode())
            )
        start = text.rfind(b"\n", 0, match.loop.node.start) + 1
        indent = indent_of(text, match.loop.node.start).decode()
        edits.append(Edit(start, start, fast_loop(match, indent).encode()))
        return Rewrite(
            edits={view.function.file: replace(text, edits)},
            summary=f"fold in eight bytes at a time in {view.function.symbol}()",
            paragraphs=_words(view, match),
        )


def _check_table(lookup: Lookup) -> None:
    node = lookup.node
    if f"[{ENTRIES}]" not in node.type or node.type.count("[") != 1 or "const" not in node.type.split():
        raise Opaque(f"'{node.name}' is not a constant table of {ENTRIES} integers")
    if any(bit != ZERO for bit in convert(lookup.index, 8, lookup.index.signed).bits[8:]):
        raise Opaque(f"the index of '{node.name}' is not always below {ENTRIES}")


def _state(machine: Machine) -> str:
    """Return the variable that a lookup's result ends up in and that the index depends on."""
    used = {str(what) for bit in machine.lookups[0].index.bits for kind, what, _ in bit if kind == "variable"}
    kept = [
        name
        for name, value in machine.values.items()
        if isinstance(value, Word) and name in used and any(kind == "table" for bit in value.bits for kind, _, _ in bit)
    ]
    if len(kept) != 1 or len(used) != 1:
        raise Opaque("the looked-up value does not become the next index")
    return kept[0]


def _direction(value: object, lookup: Lookup, state: str) -> bool:
    """Return whether the state is shifted towards its high end; Opaque when it is no CRC step."""
    assert isinstance(value, Word)
    if value.signed:
        raise Opaque(f"'{state}' is signed")
    width, entry = len(value.bits), 8 * lookup.node.size // ENTRIES
    for high_first in (False, True):
        byte_at = width - 8 if high_first else 0
        if _index(state, byte_at) != tuple(_without_bytes(bit) for bit in lookup.index.bits[:8]):
            continue
        if _step(state, width, min(entry, width), high_first) == value.bits:
            return high_first
    raise Opaque(f"'{state}' does not change as a CRC's state does")


def _index(state: str, byte_at: int) -> tuple[Bit, ...]:
    return tuple(frozenset({("variable", state, byte_at + bit)}) for bit in range(8))


def _without_bytes(bit: Bit) -> Bit:
    return frozenset(atom for atom in bit if atom[0] != "byte")


def _step(state: str, width: int, entry: int, high_first: bool) -> tuple[Bit, ...]:
    """Return the bits of `table ^ (state shifted by a byte)`."""
    bits = []
    for place in range(width):
        source = place - 8 if high_first else place + 8
        shifted = frozenset({("variable", state, source)}) if 0 <= source < width else ZERO
        bits.append(shifted ^ (frozenset({("table", 0, place)}) if place < entry else ZERO))
    return tuple(bits)


def _pointer(view: View, machine: Machine, loop: Loop, count: Count) -> str:
    """Return the pointer to the next byte, and check that nothing but it and the count moves."""
    lookup = machine.lookups[0]
    addresses = {what for bit in lookup.index.bits for kind, what, _ in bit if kind == "byte"}
    if len(addresses) != 1 or len(machine.reads) != 1:
        raise Opaque("it does not read one byte a turn")
    (address,) = addresses
    assert isinstance(address, tuple)
    variables, by = address
    for number, bit in enumerate(lookup.index.bits[:8]):
        if bit - _without_bytes(bit) != {("byte", address, number)}:
            raise Opaque("the byte's bits are not the index's bits")
    moved = moves(machine)
    pointers = [name for name in variables if declared(view.tree, name).signed is None]
    counter, step = count_moves(count)
    declared(view.tree, counter)
    if by or len(pointers) != 1 or sum(moved.get(name, 0) for name in variables) != 1:
        raise Opaque("it does not go over the buffer byte by byte")
    if moved.pop(counter, 0) != step or set(moved) - set(variables):
        raise Opaque("something else moves in the loop")
    bound = {count.bound_name} if isinstance(count, CountUp) else set()
    for name in sorted((set(variables) | bound) & carried(machine)):
        raise Opaque(f"'{name}' goes from turn to turn")
    _check_reach(view, loop, count, pointers[0], set(variables) - {pointers[0]})
    _check_temporaries(view, machine, loop)
    return str(pointers[0])


def _check_reach(view: View, loop: Loop, count: Count, pointer: str, indexes: set[str]) -> None:
    """Check that the count and the pointer may be moved ahead before the loop."""
    if _constant(view, pointer) or "[" in declared(view.tree, pointer).type:
        raise Opaque(f"'{pointer}' cannot be moved")
    if indexes and mentioned_after(view.tree, pointer, after=loop.node):
        raise Opaque(f"'{pointer}' is used after the loop")
    if isinstance(count, Countdown) and indexes:
        raise Opaque("it counts down and indexes")
    if isinstance(count, Countdown) or count.pointer:
        if loop.initial is not None and loop.initial.kind != "MISSING":
            raise Opaque("its variables get their values in the loop's head")
        if isinstance(count, CountUp) and count.variable != pointer:
            raise Opaque("the loop's condition compares another pointer")
        if indexes:
            raise Opaque("the bytes lie at a distance from the pointer that is compared")
        return
    if not _starts_at_zero(loop.initial, count.variable) or indexes - {count.variable}:
        raise Opaque("its counter does not start at zero in the loop's head")
    after = [name for name in (count.bound_name, count.variable) if mentioned_after(view.tree, name, after=loop.node)]
    if not count.bound_name or _constant(view, count.bound_name) or after:
        raise Opaque("the counter or its bound is used after the loop or cannot be changed")


def _starts_at_zero(initial: Node | None, counter: str) -> bool:
    if initial is None or len(initial.children) not in (1, 2):
        return False
    if initial.kind == "DECL_STMT":
        own = initial.children[0]
        return own.name == counter and bool(own.children) and own.children[-1].value == 0
    target, value = bare(initial.children[0]), initial.children[-1]
    return initial.operator == "=" and target.name == counter and value.value == 0


def _check_temporaries(view: View, machine: Machine, loop: Loop) -> None:
    """Check that only the state is used after the loop: the byte loop may have no turn left to set another."""
    for name in sorted(carried(machine) - {_state(machine)}):
        if mentioned_after(view.tree, name, after=loop.node):
            raise Opaque(f"'{name}' is used after the loop")


def _check_place(view: View, loop: Loop) -> None:
    """Check that what is put on the lines before the loop runs whenever the loop does, and once."""
    if loop.nested or any(node.kind == "LABEL_STMT" for node in view.tree.walk()):
        raise Opaque("the CRC loop can be entered again")
    if not loop.in_block:
        raise Opaque("the CRC loop is no statement of a block")
    start = loop.node.start
    if view.text[view.text.rfind(b"\n", 0, start) + 1 : start].strip():
        raise Opaque("the CRC loop begins in the middle of a line")


def _constant(view: View, name: str) -> bool:
    written = declared(view.tree, name).type
    return written.rpartition("*")[2].split()[:1] == ["const"] if "*" in written else "const" in written.split()


def _plain(written: str) -> str:
    return " ".join(word for word in written.split() if word not in ("const", "volatile", "register"))


def _slice_type(table: Node, state: Node, high_first: bool) -> str:
    """Return the type of the derived tables: shifted up, an entry can outgrow its own."""
    entry = table.size // ENTRIES
    return _plain(state.written_type if high_first and state.size > entry else table.written_type.partition("[")[0])


def _place(view: View, match: TableCrc) -> int:
    """Return where the tables go: above the function, and above the init function that is to call the filling one."""
    functions = [view.function] if match.host is None else [view.function, match.host.function]
    return min(above(view.text, function) for function in functions)


def _file(view: View, table: str) -> tuple[Host | None, bool]:
    """Return the init function that can take one more call, if any, and whether the file can be a module."""
    text = view.text
    for name in (f"{table}_slices", f"{table}_sliced", f"{table}_fold8", f"{table}_fill_slices"):
        if name.encode() in text:
            raise Opaque(f"the file has a '{name}' already")
    if "__attribute_const__" in view.function.attributes:
        raise Opaque("the function is declared to depend on its arguments alone")
    macros = defines(view.unit.command.arguments)
    loadable = b"MODULE_LICENSE(" in text
    if macros.get("KBUILD_BASENAME") != macros.get("KBUILD_MODNAME"):
        raise Opaque("the file is one of several objects of a module, which may have one init function")
    found = initcalls(text)
    if not found:
        return None, loadable and b"module_exit(" not in text
    if len(found) == 1 and found[0][0] == "early_initcall":
        host = _host(view, table, found[0][1])
        if host is not None:
            return host, False
    raise Opaque("the file has an initcall of its own")


def _host(view: View, table: str, offset: int) -> Host | None:
    """Return the early init function if its only return is a final `return 0;` and the table is known above it."""
    text = view.text
    name = text[text.index(b"(", offset) + 1 : text.index(b")", offset)].strip().decode()
    function = view.unit.function(name)
    if function is None or function.file != view.function.file:
        return None
    body = text[function.body_start : function.body_end]
    found = _FINAL_RETURN.search(body)
    if found is None or body.count(b"return") != 1 or not _known_above(view, table, function):
        return None
    return Host(function, function.body_start + found.start())


def _known_above(view: View, table: str, function: Function) -> bool:
    """Say whether the table is declared before an init function (a header's is)."""
    uses = [use for other in view.unit.functions for use in other.references if use.name == table]
    limit = line_of(view.text, above(view.text, function))
    return all(use.file != function.file or use.line is None or use.line < limit for use in uses)


def _words(view: View, match: TableCrc) -> list[str]:
    return [
        f"{view.function.symbol}() looks up {match.table} once for each byte, and every lookup waits for the result of "
        "the one before it, so the loop runs at the latency of a dependent load.",
        "Derive seven more tables from it at boot and fold in eight bytes at a time: eight independent lookups, joined "
        "by XOR (slicing by 8, as CRC-32 has it). The byte loop stays for the last bytes, for short buffers, and for "
        "callers that come before the tables are filled. The tables are read-only after init.",
    ]
