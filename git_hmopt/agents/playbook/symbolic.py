# SPDX-License-Identifier: Apache-2.0
"""Run straight-line C on symbols, bit by bit and exactly: a rewrite depends on what code does, not on its spelling.

A bit is an XOR of atoms: a bit of a variable as it was at the start, of a byte read from memory, of a table entry, or
the constant one. A variable that only moved by a constant stays `Moved`. Whatever does not fit raises `Opaque`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from git_hmopt.psg.syntax import Node, bare

Atom = tuple[str, object, int]
"""(kind, what, bit): kind is `variable` (its name), `byte` (its address), `table` (a lookup's number) or `one`."""
Bit = frozenset[Atom]

ZERO: Bit = frozenset()
ONE: Bit = frozenset({("one", "", 0)})
_DEPTH = 3
"""How deep calls are followed: kernel headers wrap a step in a helper, rarely a helper in two."""
_CHARS = frozenset(("char", "unsigned char", "signed char", "void"))


class Opaque(Exception):
    """The code does something that is not modelled; the text says what."""


@dataclass(frozen=True)
class Word:
    """An integer value, lowest bit first."""

    bits: tuple[Bit, ...]
    signed: bool

    @property
    def constant(self) -> int | None:
        """Return the value when it is constant (unsigned), else None."""
        if any(bit not in (ZERO, ONE) for bit in self.bits):
            return None
        return sum(1 << place for place, bit in enumerate(self.bits) if bit == ONE)


@dataclass(frozen=True)
class Moved:
    """The sum of variables as they were at the start, plus `by` (bytes for pointers)."""

    variables: tuple[str, ...]
    by: int
    size: int
    signed: bool | None
    """None for pointers."""


Value = Word | Moved
Address = tuple[tuple[str, ...], int]


@dataclass(frozen=True)
class Lookup:
    """One read of a global array of constants."""

    table: str
    index: Word
    node: Node
    """The array's reference."""


@dataclass
class Machine:
    """The state: what each variable holds, and what was read."""

    define: Callable[[str], Node | None]
    """Gives a called function's syntax."""
    values: dict[str, Value] = field(default_factory=dict)
    lookups: list[Lookup] = field(default_factory=list)
    reads: list[Address] = field(default_factory=list)
    depth: int = 0

    def run(self, statement: Node) -> None:
        """Run one statement; Opaque for loops, branches and jumps."""
        if statement.kind == "COMPOUND_STMT":
            for child in statement.children:
                self.run(child)
        elif statement.kind == "DECL_STMT":
            for child in statement.children:
                self._declare(child)
        elif statement.kind not in ("NULL_STMT", "MISSING"):
            self.value(statement)

    def value(self, node: Node) -> Value:
        """Evaluate an expression, with its side effects."""
        if node.value is not None and node.signed is not None:
            return constant(node.value, node.size, node.signed)
        evaluate = _EXPRESSIONS.get(node.kind)
        if evaluate is None:
            raise Opaque(f"{node.kind.lower()} is not modelled")
        return evaluate(self, node)

    def word(self, node: Node) -> Word:
        """Evaluate an integer expression to its bits."""
        return as_word(self.value(node))

    def _declare(self, node: Node) -> None:
        initial = [
            child for child in node.children if child.kind not in ("TYPE_REF",) and not child.kind.endswith("_ATTR")
        ]
        if node.scope == "static":
            raise Opaque(f"'{node.name}' outlives the call")
        if node.kind != "VAR_DECL" or "[" in node.type or len(initial) > 1:
            raise Opaque(f"the declaration of '{node.name}' is not modelled")
        if initial:
            self.values[node.name] = _fit(self.value(initial[0]), node)

    def reference(self, node: Node) -> Value:
        """Return what a variable holds now."""
        if node.scope not in ("local", "parameter"):
            raise Opaque(f"'{node.name}' is not a local variable")
        return self.values.get(node.name, Moved((node.name,), 0, node.size, node.signed))

    def assign(self, node: Node) -> Value:
        """Run an assignment, plain or compound."""
        target, source = bare(node.children[0]), node.children[1]
        if target.kind != "DECL_REF_EXPR" or target.scope not in ("local", "parameter"):
            raise Opaque("it stores to something that is not a local variable")
        value = self.value(source) if node.operator == "=" else self._compound(node, target, source)
        self.values[target.name] = _fit(value, target)
        return self.values[target.name]

    def _compound(self, node: Node, target: Node, source: Node) -> Value:
        sign = node.operator[:-1]
        before, change = self.reference(target), self.value(source)
        if sign in "+-":
            return _sum(before, change, -1 if sign == "-" else 1, target)
        # C computes in the promoted type and truncates; for these operators that is the same as the target's own type.
        wide = replace(target, size=max(4, target.size), signed=target.signed if target.size >= 4 else True)
        return _bitwise(sign, as_word(before), as_word(change), wide)

    def binary(self, node: Node) -> Value:
        """Evaluate a binary operator."""
        if node.operator == "=":
            return self.assign(node)
        left, right = self.value(node.children[0]), self.value(node.children[1])
        if node.operator == ",":
            return right
        if node.operator in ("+", "-"):
            return _sum(left, right, -1 if node.operator == "-" else 1, node)
        return _bitwise(node.operator, as_word(left), as_word(right), node)

    def unary(self, node: Node) -> Value:
        """Evaluate a unary operator."""
        operand = bare(node.children[0])
        if node.operator in ("++", "--", "++post", "--post"):
            if operand.kind != "DECL_REF_EXPR" or _is_truth(operand):
                raise Opaque("it counts something that is not a number")
            before = self.reference(operand)
            step = constant(1, 4, True)
            after = _sum(before, step, 1 if node.operator.startswith("++") else -1, operand)
            self.values[operand.name] = after
            return before if node.operator.endswith("post") else after
        if node.operator == "*":
            return self._load(self.value(operand), node)
        if node.operator == "~":
            bits = convert(self.word(operand), node.size, bool(node.signed)).bits
            return Word(tuple(bit ^ ONE for bit in bits), bool(node.signed))
        raise Opaque(f"operator '{node.operator}' is not modelled")

    def subscript(self, node: Node) -> Value:
        """Evaluate `array[index]`: a byte of a buffer, or an entry of a global table."""
        base, index = bare(node.children[0]), node.children[1]
        if base.kind == "DECL_REF_EXPR" and base.scope == "global" and node.signed is not None:
            self.lookups.append(Lookup(base.name, self.word(index), base))
            number = len(self.lookups) - 1
            bits = tuple(frozenset({("table", number, bit)}) for bit in range(8 * node.size))
            return Word(bits, node.signed)
        return self._load(_sum(self.value(base), self.value(index), 1, base), node)

    def _load(self, address: Value, node: Node) -> Word:
        if not isinstance(address, Moved) or node.size != 1 or node.signed is None:
            raise Opaque("it reads memory that is not a byte of a buffer")
        if "volatile" in node.type:
            raise Opaque("it reads volatile memory")
        where = (address.variables, address.by)
        self.reads.append(where)
        return Word(tuple(frozenset({("byte", where, bit)}) for bit in range(8)), node.signed)

    def call(self, node: Node) -> Value:
        """Evaluate a call of a function whose body is straight-line, in its own scope."""
        body = self.define(node.name) if node.scope == "function" else None
        if body is None:
            raise Opaque(f"it calls '{node.name or 'a pointer'}', whose body is not in this unit")
        if self.depth >= _DEPTH:
            raise Opaque("its calls nest too deep")
        parameters = [child for child in body.children if child.kind == "PARM_DECL"]
        arguments = node.children[1:]
        if len(parameters) != len(arguments):
            raise Opaque(f"it calls '{node.name}' with another number of arguments")
        scope = {name.name: _fit(self.value(given), name) for name, given in zip(parameters, arguments, strict=True)}
        inner = Machine(self.define, scope, self.lookups, self.reads, self.depth + 1)
        result = inner.returned(body.children[-1])
        if node.signed is None:
            raise Opaque(f"'{node.name}' returns no integer")
        return _fit(as_word(result), node)

    def returned(self, body: Node) -> Value:
        """Run a function's body and return what it returns."""
        if body.kind != "COMPOUND_STMT" or not body.children or body.children[-1].kind != "RETURN_STMT":
            raise Opaque("it calls a function that does not end in a return")
        if not body.children[-1].children:
            raise Opaque("it calls a function that returns nothing")
        for statement in body.children[:-1]:
            self.run(statement)
        return self.value(body.children[-1].children[0])


def _cast(machine: Machine, node: Node) -> Value:
    value = machine.value(node.children[-1])
    if node.signed is None and isinstance(value, Moved):
        return value  # pointer to pointer: what is read through it is checked where it is read
    return _fit(value, node)


_EXPRESSIONS: Mapping[str, Callable[[Machine, Node], Value]] = {
    "PAREN_EXPR": lambda machine, node: machine.value(node.children[0]),
    "DECL_REF_EXPR": Machine.reference,
    "CSTYLE_CAST_EXPR": _cast,
    "BINARY_OPERATOR": Machine.binary,
    "COMPOUND_ASSIGNMENT_OPERATOR": Machine.assign,
    "UNARY_OPERATOR": Machine.unary,
    "ARRAY_SUBSCRIPT_EXPR": Machine.subscript,
    "CALL_EXPR": Machine.call,
}


def constant(value: int, size: int, signed: bool) -> Word:
    """Return a constant of `size` bytes."""
    return Word(tuple(ONE if value >> bit & 1 else ZERO for bit in range(8 * size)), signed)


def convert(word: Word, size: int, signed: bool) -> Word:
    """Convert between integer types as C does: cut, or extend by the source's signedness."""
    width = 8 * size
    fill = word.bits[-1] if word.signed else ZERO
    return Word((word.bits + (fill,) * width)[:width], signed)


def as_word(value: Value) -> Word:
    """Return a value's bits; Opaque for pointers and for sums of variables."""
    if isinstance(value, Word):
        return value
    if value.signed is None or value.by or len(value.variables) != 1:
        raise Opaque("it computes with a pointer or a sum")
    name = value.variables[0]
    return Word(tuple(frozenset({("variable", name, bit)}) for bit in range(8 * value.size)), value.signed)


def variables_of(value: Value) -> set[str]:
    """Return the variables whose values at the start a value depends on, by itself or by where it was read."""
    if isinstance(value, Moved):
        return set(value.variables)
    found: set[str] = set()
    for kind, what, _ in (atom for bit in value.bits for atom in bit):
        if kind == "variable":
            found.add(str(what))
        elif kind == "byte":
            assert isinstance(what, tuple)
            found.update(what[0])
    return found


def _is_truth(node: Node) -> bool:
    return node.type.split()[-1:] in (["_Bool"], ["bool"])


def _fit(value: Value, target: Node) -> Value:
    """Convert a value to the type of what it is stored in."""
    if _is_truth(target) and any(bit != ZERO for bit in as_word(value).bits[1:]):
        # Converting to _Bool asks whether the value is zero; it cuts nothing off.
        raise Opaque("it turns an integer into a truth value")
    if isinstance(value, Moved) and (value.size, value.signed) == (target.size, target.signed):
        return value
    if target.signed is None:
        raise Opaque("it stores an integer in a pointer")
    return convert(as_word(value), target.size, target.signed)


def _sum(left: Value, right: Value, sign: int, node: Node) -> Value:
    """Add: constants and variables to what moved. `node` has the type of the result."""
    if isinstance(right, Moved) and isinstance(left, Moved) and sign == 1:
        pointer, index = (left, right) if left.signed is None else (right, left)
        if pointer.signed is None and index.signed is not None and _counts_bytes(node):
            return replace(pointer, variables=tuple(sorted(left.variables + right.variables)), by=left.by + right.by)
    amount = right.constant if isinstance(right, Word) else None
    if isinstance(right, Word) and amount is not None and right.signed and right.bits[-1] == ONE:
        amount -= 1 << len(right.bits)
    if isinstance(left, Moved) and amount is not None and (left.signed is not None or _counts_bytes(node)):
        return replace(left, by=left.by + sign * amount)
    raise Opaque("its arithmetic is not modelled")


def _counts_bytes(node: Node) -> bool:
    """Say whether adding one to a pointer of this type moves it by one byte (void as GNU C has it)."""
    pointee = node.type.rpartition("*")[0] if "*" in node.type else node.type.partition("[")[0]
    return " ".join(word for word in pointee.split() if word not in ("const", "volatile")) in _CHARS


def _bitwise(sign: str, left: Word, right: Word, node: Node) -> Word:
    if node.signed is None:
        raise Opaque(f"operator '{sign}' is not modelled here")
    wide = convert(left, node.size, node.signed)
    if sign in ("<<", ">>"):
        return _shift(sign, wide, right.constant)
    other = convert(right, node.size, node.signed)
    if sign not in _BITS:
        raise Opaque(f"operator '{sign}' is not modelled")
    return Word(tuple(_BITS[sign](a, b) for a, b in zip(wide.bits, other.bits, strict=True)), node.signed)


def _shift(sign: str, word: Word, amount: int | None) -> Word:
    width = len(word.bits)
    if amount is None or amount >= width:
        raise Opaque("it shifts by something that is not a constant within the type")
    if sign == "<<":
        return Word(((ZERO,) * amount + word.bits)[:width], word.signed)
    fill = word.bits[-1] if word.signed else ZERO
    return Word(word.bits[amount:] + (fill,) * amount, word.signed)


def _and(left: Bit, right: Bit) -> Bit:
    if ZERO in (left, right):
        return ZERO
    if left == right or right == ONE:
        return left
    if left == ONE:
        return right
    raise Opaque("it ands two unknown values")


def _or(left: Bit, right: Bit) -> Bit:
    if ZERO in (left, right):
        return left ^ right
    if left in (right, ONE):
        return left
    if right == ONE:
        return right
    raise Opaque("it ors two unknown values")


_BITS: Mapping[str, Callable[[Bit, Bit], Bit]] = {"^": lambda a, b: a ^ b, "&": _and, "|": _or}
