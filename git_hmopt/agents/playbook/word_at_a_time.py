# SPDX-License-Identifier: Apache-2.0
"""Byte-wise scan of a counted buffer -> whole words skipped.

The shape: a counted loop over a buffer whose turn does nothing but compare the byte with a value that does not change
(or with the byte of a second buffer), leave on the first (un)equal one, and move on. In front of that turn goes a loop
that skips aligned words in which no byte can be the one searched; where a word can, the bytes are looked at as before,
so the position found does not depend on the byte order. Only whole aligned words before the last byte are read: no read
leaves the page of a byte that the old loop could have reached (memchr(s, c, SIZE_MAX) stays good).
The test for a zero byte is Mycroft's (1987): exact as to whether there is one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from git_hmopt.agents.playbook.loops import (
    Count,
    CountUp,
    Loop,
    carried,
    count_moves,
    declared,
    loops,
    moves,
    run_condition,
)
from git_hmopt.agents.playbook.placement import above, include_edits, indent_of, unconditional
from git_hmopt.agents.playbook.strategy import Miss, Rewrite, View
from git_hmopt.agents.playbook.symbolic import ZERO, Address, Machine, Opaque, Word, convert, variables_of
from git_hmopt.psg.edit import Edit, replace
from git_hmopt.psg.syntax import Node, bare, definition

HELPER = """/* Say whether any byte of @word is @byte (Mycroft's test for a zero byte). */
static inline bool word_has_byte(unsigned long word, u8 byte)
{
	unsigned long diff = word ^ REPEAT_BYTE(byte);

	return (diff - REPEAT_BYTE(0x01)) & ~diff & REPEAT_BYTE(0x80);
}
"""
_EXITS = ("RETURN_STMT", "BREAK_STMT", "GOTO_STMT")
_WORD = "sizeof(long)"
_REST_OF_LINE = re.compile(rb"[ \t]*(?:/\*[^\n]*\*/[ \t]*|//[^\n]*)?\n")
_PLAIN = re.compile(r"'.+'|\w+")


@dataclass(frozen=True)
class Hit:
    """What ends the scan."""

    equal: bool
    """Whether the byte that is searched equals the value, or differs from it."""
    first: Address
    second: Address | None
    """The other buffer's byte, when two are compared."""
    value: str
    """The C text of the value, of type u8; empty when two buffers are compared."""


@dataclass(frozen=True)
class Scan:
    """One loop that scans bytes."""

    loop: Loop
    count: Count
    hits: tuple[Hit, ...]
    """One for each branch that leaves the loop; all look at the same bytes."""
    moved: tuple[tuple[str, int], ...]
    signed_count: str
    """The count's type where it is signed, else empty."""


class WordAtATime:
    """Skip whole words in a byte-wise scan."""

    name = "word-at-a-time"
    classes: tuple[str, ...] = ("cpu-bound-loop", "unknown")
    summary = "byte-wise scan of a counted buffer -> aligned words that cannot hold a hit are skipped"
    prior = 0.3
    prior_source = "real gains on Linux 6.1 lib/ code began at 1.4x in time: 29 % of it"

    def match(self, view: View) -> Scan | Miss:
        """Find a loop that scans; the first of them when there are several."""
        reasons = []
        for loop in loops(view.tree):
            try:
                return _scan(view, loop)
            except Opaque as error:
                reasons.append(str(error))
        return Miss(f"no byte scan ({'; '.join(dict.fromkeys(reasons)) or 'the function has no counted loop'})")

    def rewrite(self, view: View, match: Scan) -> Rewrite:
        """Put the loop that skips words at the top of the scan's body."""
        text = view.text
        edits = include_edits(text, _headers(view), view.source)
        if any(_needs_helper(hit) for hit in match.hits):
            edits += _helper(view)
        edits += _insert(match, text)
        return Rewrite(
            edits={view.function.file: replace(text, edits)},
            summary=f"skip whole words in {view.function.symbol}()",
            paragraphs=_words(view, match),
        )


def _scan(view: View, loop: Loop) -> Scan:
    machine = Machine(lambda symbol: definition(view.unit, symbol))
    count = run_condition(loop, machine, view.text)
    compared: list[Compared] = []
    for statement in _statements(loop.body):
        if statement.kind == "IF_STMT":
            compared.append(_compared(statement, machine))
        else:
            machine.run(statement)
    if loop.step is not None:
        machine.run(loop.step)
    if not compared:
        raise Opaque("a turn of the loop has no branch")
    moved = moves(machine)
    hits = tuple(_hit(view, machine, branch) for branch in compared)
    addresses = {(hit.first, hit.second) for hit in hits}
    if machine.lookups or len(addresses) != 1 or set(machine.reads) - {hits[0].first, hits[0].second}:
        raise Opaque("a turn of the loop reads more than the bytes it compares")
    _check_carried(machine, count, hits[0])
    _check_moves(view, count, hits[0], moved)
    if any(_needs_helper(hit) for hit in hits) and _taken(view):
        raise Opaque("the file has another 'word_has_byte'")
    if any(_initialised(statement) for statement in _leading(loop.body)):
        raise Opaque("the loop's body declares a variable with a value")
    _top(loop, view.text)
    return Scan(loop, count, hits, tuple(sorted(moved.items())), _signed(view, count))


def _needs_helper(hit: Hit) -> bool:
    return hit.second is None and hit.equal


def _taken(view: View) -> bool:
    """Say whether the helper's name means something else here."""
    return view.text.replace(HELPER.encode(), b"").count(b"bool word_has_byte(") > 0


def _helper(view: View) -> list[Edit]:
    """Return the edits that put the helper above the function, moving one that stands below."""
    text, helper = view.text, f"{HELPER}\n".encode()
    found = text.find(helper)
    place = unconditional(text, above(text, view.function))
    if found < 0:
        return [Edit(place, place, helper)]
    if found < place:
        return []
    return [Edit(place, place, helper), Edit(found, found + len(helper), b"")]


def _statements(body: Node) -> Sequence[Node]:
    return body.children if body.kind == "COMPOUND_STMT" else (body,)


def _leading(body: Node) -> list[Node]:
    found = []
    for statement in _statements(body):
        if statement.kind != "DECL_STMT":
            break
        found.append(statement)
    return found


def _initialised(statement: Node) -> bool:
    return any(child.kind != "TYPE_REF" for variable in statement.children for child in variable.children)


@dataclass(frozen=True)
class Compared:
    """What an `if` compares, with the C text of either side (None: it is the implied zero)."""

    equal: bool
    left: Word
    right: Word
    left_node: Node
    right_node: Node | None
    hidden: bool
    """Whether the comparison is written in a macro: then its sides have no text of their own."""


def _compared(branch: Node, machine: Machine) -> Compared:
    """Run the condition of an `if` that leaves the loop."""
    if len(branch.children) != 2 or branch.in_macro or not _leaves(branch.children[1]):
        raise Opaque("its branch does not just leave the loop")
    condition = bare(branch.children[0])
    if condition.kind == "BINARY_OPERATOR" and condition.operator in ("==", "!="):
        left, right = condition.children
        equal, words = condition.operator == "==", (machine.word(left), machine.word(right))
        return Compared(equal, *words, left, right, condition.in_macro)
    negated = condition.kind == "UNARY_OPERATOR" and condition.operator == "!"
    node = bare(condition.children[0]) if negated else condition
    return Compared(negated, machine.word(node), Word((ZERO,) * 32, True), node, None, condition.in_macro)


def _leaves(node: Node) -> bool:
    last = node.children[-1] if node.kind == "COMPOUND_STMT" and node.children else node
    return last.kind in _EXITS and not any(inner.kind == "CONTINUE_STMT" for inner in node.walk())


def _hit(view: View, machine: Machine, compared: Compared) -> Hit:
    first, second = _byte(compared.left), _byte(compared.right)
    if first is not None and second is not None:
        if compared.equal or first == second:
            raise Opaque("it searches the first byte that two buffers share")
        if _extended(compared.left) != _extended(compared.right):
            raise Opaque("the two buffers' bytes are not of one type")  # 0x80 and -128 are one byte and two numbers
        return Hit(False, first, second, "")
    if first is not None:
        byte, word, other, node = first, compared.left, compared.right, compared.right_node
    elif second is not None:
        byte, word, other, node = second, compared.right, compared.left, compared.left_node
    else:
        raise Opaque("its branch compares no byte of a buffer")
    _check_value(machine, other, signed=_extended(word))
    return Hit(compared.equal, byte, None, _as_byte(machine, node, view.text, compared.hidden) if node else "0")


def _byte(word: Word) -> Address | None:
    """Return the address of the byte that a value is, extended in whatever way, else None."""
    atoms = [next(iter(bit)) if len(bit) == 1 else None for bit in word.bits[:8]]
    if atoms[0] is None or atoms[0][0] != "byte":
        return None
    address = atoms[0][1]
    if any(atom != ("byte", address, number) for number, atom in enumerate(atoms)):
        return None
    above_byte = set(convert(word, 8, False).bits[8:])
    if above_byte not in ({ZERO}, {word.bits[7]}):
        return None
    assert isinstance(address, tuple)
    variables, by = address
    return (tuple(variables), int(by))


def _extended(word: Word) -> bool:
    """Say whether a byte's value is sign-extended."""
    return convert(word, 8, word.signed).bits[8] != ZERO


def _check_value(machine: Machine, value: Word, *, signed: bool) -> None:
    wide = convert(value, 8, value.signed)
    fill = wide.bits[7] if signed else ZERO
    if any(bit != fill for bit in wide.bits[8:]):
        raise Opaque("the value it compares with need not fit in a byte")
    for kind, what, _ in (atom for bit in wide.bits for atom in bit):
        if kind not in ("variable", "one") or (kind == "variable" and what in machine.values):
            raise Opaque("the value it compares with changes in the loop")


def _as_byte(machine: Machine, node: Node, text: bytes, hidden: bool) -> str:
    """Return the C text of the value as a u8, good at the top of the loop's body."""
    node = bare(node)
    written = node.text(text).decode(errors="replace")
    if node.value is not None:
        # REPEAT_BYTE multiplies, so the value must be the byte itself: -1 and '\\xff' are not.
        plain = not hidden and 0 <= node.value <= 0xFF and _PLAIN.fullmatch(written)
        return written if plain else f"{node.value & 0xFF:#04x}"
    for inner in node.walk():
        if inner.in_macro:
            raise Opaque("the value it searches stands in a macro")
        if inner.kind in ("CALL_EXPR", "MEMBER_REF_EXPR") or (
            inner.kind == "DECL_REF_EXPR" and inner.name in machine.values
        ):
            raise Opaque("the value it searches is not a plain, unchanging one")
    if node.size == 1 and node.signed is False:
        return written
    return f"(u8){written}" if node.kind in ("DECL_REF_EXPR", "CSTYLE_CAST_EXPR") else f"(u8)({written})"


def _addresses(hit: Hit) -> list[Address]:
    return [address for address in (hit.first, hit.second) if address is not None]


def _check_carried(machine: Machine, count: Count, hit: Hit) -> None:
    """Check that a turn needs nothing of the turn before but where it is: skipped turns leave nothing else."""
    used = {name for variables, _ in _addresses(hit) for name in variables}
    used.update(*(variables_of(value) for value in machine.values.values()))
    if isinstance(count, CountUp):
        used.add(count.bound_name)
    for name in sorted(used & carried(machine)):
        raise Opaque(f"'{name}' goes from turn to turn")


def _check_moves(view: View, count: Count, hit: Hit, moved: dict[str, int]) -> None:
    counter, step = count_moves(count)
    if moved.get(counter) != step:
        raise Opaque("the loop's count does not move by one")
    if isinstance(count, CountUp) and count.bound_name in moved:
        raise Opaque("the loop's bound moves")
    for variables, by in _addresses(hit):
        if by or sum(moved.get(name, 0) for name in variables) != 1:
            raise Opaque("it does not go over the buffer byte by byte")
    for name, change in moved.items():
        if abs(change) != 1:
            raise Opaque(f"'{name}' moves by more than one")
    if any(_narrow(view, name) for name in moved):
        raise Opaque("something moves that may wrap around")


def _narrow(view: View, name: str) -> bool:
    """Say whether a counter is too small to be moved by a word without wrapping where single steps would as well."""
    return declared(view.tree, name).size < 4


def _signed(view: View, count: Count) -> str:
    if isinstance(count, CountUp):
        return ""
    variable = declared(view.tree, count.variable)
    return variable.written_type if variable.signed else ""


def _headers(view: View) -> list[str]:
    """Return what declares REPEAT_BYTE, IS_ALIGNED and read_word_at_a_time in this tree."""
    # Newer trees have the first two in headers of their own; asked of the tree, not of its version.
    wordpart = view.source.read("include/linux/wordpart.h") or b""
    align = view.source.read("include/linux/align.h")
    return [
        "linux/wordpart.h" if b"define REPEAT_BYTE" in wordpart else "linux/kernel.h",
        "linux/align.h" if align is not None else "linux/kernel.h",
        "linux/compiler.h",
    ]


def _top(loop: Loop, text: bytes) -> int:
    """Return the place of the body's first statement; Opaque when it shares a line with what must stay before it."""
    if loop.body.kind != "COMPOUND_STMT":
        head = len(text[: loop.body.start].rstrip())
        if b"//" not in text[text.rfind(b"\n", 0, head) + 1 : head]:
            return head
    else:
        leading = _leading(loop.body)
        rest = _REST_OF_LINE.match(text, leading[-1].end if leading else loop.body.start + 1)
        if rest:
            return rest.end()
    raise Opaque("the loop's body begins on the line of its brace or of a declaration")


def _insert(match: Scan, text: bytes) -> list[Edit]:
    body, head = match.loop.body, _top(match.loop, text)
    indent = indent_of(text, match.loop.node.start).decode()
    skip = _skip(match, indent + "\t")
    if body.kind == "COMPOUND_STMT":
        return [Edit(head, head, (f"\n{skip}" if _leading(body) else skip).encode())]
    end = body.end if text[body.end - 1 : body.end] == b"}" else text.index(b";", body.end - 1) + 1
    return [
        Edit(head, body.start, f" {{\n{skip}{indent}\t".encode()),
        Edit(end, end, f"\n{indent}}}".encode()),
    ]


def _skip(match: Scan, indent: str) -> str:
    hit = match.hits[0]
    pointer = _expression(hit.first)
    aligned = f"(unsigned long){pointer}"
    if hit.second is not None:
        aligned += f" | (unsigned long){_expression(hit.second)}"
    conditions = [_left(match), f"IS_ALIGNED({aligned}, {_WORD})", *(_test(hit) for hit in match.hits)]
    lines = [
        "/* Skip the words that cannot end the scan. */",
        f"while ({conditions[0]} &&",
        *(f"       {condition} &&" for condition in conditions[1:-1]),
        f"       {conditions[-1]}) {{",
        *(f"\t{name} {'+' if change > 0 else '-'}= {_WORD};" for name, change in match.moved),
        "}",
    ]
    return "".join(f"{indent}{line}\n" for line in lines) + "\n"


def _test(hit: Hit) -> str:
    """Return the C condition under which a word does not end the scan."""
    word = f"read_word_at_a_time({_expression(hit.first).strip('()')})"
    if hit.second is not None:
        return f"{word} == read_word_at_a_time({_expression(hit.second).strip('()')})"
    return f"!word_has_byte({word}, {hit.value})" if hit.equal else f"{word} == REPEAT_BYTE({hit.value})"


def _left(match: Scan) -> str:
    """Return the condition under which a word and at least one byte more are left."""
    count = match.count
    if isinstance(count, CountUp):
        return f"{count.bound} - {count.variable} > {_WORD}"
    word = f"({match.signed_count}){_WORD}" if match.signed_count else _WORD
    return f"{count.variable} {'>=' if count.in_condition else '>'} {word}"


def _expression(address: Address) -> str:
    variables, _ = address
    return variables[0] if len(variables) == 1 else f"({' + '.join(variables)})"


def _words(view: View, match: Scan) -> list[str]:
    what = "two buffers" if match.hits[0].second else "a buffer"
    return [
        f"{view.function.symbol}() compares {what} byte by byte, with a branch and a count for each.",
        "Skip aligned words in which no byte can end the scan, and look at single bytes only before the first aligned "
        "word, in the word that ends the scan, and behind the last whole one. Which byte of a word it was is not asked "
        "of the word, so this holds for either byte order; words are aligned, so no read crosses into a page that "
        "the scan would not have reached.",
    ]
