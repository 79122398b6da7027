# SPDX-License-Identifier: Apache-2.0
"""Parse a trace event's `print fmt:`, which is C: a format string and the expressions that it prints.

The kernel compiles this text into its own output, so an event printed by it reads as in the kernel's text whatever
the kernel's version. What of C the kernels' descriptions use is understood: operators, casts, the fields `REC->x`, and
the calls of include/trace/stages/stage3_trace_output.h. Anything else raises UnsupportedFormat.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_MOST_TEXT = 64 << 10
_MOST_DEPTH = 80
"""Of what is nested; the kernel's descriptions have twenty."""
_MOST_CONVERSIONS = 128
_CONVERSION = re.compile(
    r"%(?P<flags>[-+ #0]*)(?P<width>\d{1,3}|\*)?(?:\.(?P<precision>\d{1,3}|\*))?(?P<length>hh|h|ll|l|L|z|t|j)?"
    r"(?P<kind>[a-zA-Z%])"
)
_TOKEN = re.compile(
    r"""\s*(?:
      (?P<number>0[xX][0-9a-fA-F]+|\d+)[uUlL]*
    | (?P<word>[A-Za-z_]\w*)
    | "(?P<text>(?:[^"\\]|\\.)*)"
    | '(?P<char>[^'\\]|\\.)'
    | (?P<sign>->|<<|>>|<=|>=|==|!=|&&|\|\||[-+*/%&|^~!<>?:(){}\[\],.])
    )""",
    re.VERBOSE | re.DOTALL,
)
_BINARY = {
    "||": 1, "&&": 2, "|": 3, "^": 4, "&": 5, "==": 6, "!=": 6, "<": 7, ">": 7, "<=": 7, ">=": 7, "<<": 8, ">>": 8,
    "+": 9, "-": 9, "*": 10, "/": 10, "%": 10,
}  # fmt: skip
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "0": "\0"}


class UnsupportedFormat(ValueError):
    """The print format uses something that is not understood; the event can still be shown field by field."""


@dataclass(frozen=True)
class Number:
    """A constant."""

    value: int


@dataclass(frozen=True)
class Text:
    """A string constant."""

    value: str


@dataclass(frozen=True)
class Unknown:
    """A constant that only the kernel's source tells."""

    name: str


@dataclass(frozen=True)
class Record:
    """`REC`, the record itself, as HongMeng's descriptions use it: `(char *)REC + (REC->__data_loc_name & 0xffff)`."""


@dataclass(frozen=True)
class FieldOf:
    """`REC->name`."""

    name: str


@dataclass(frozen=True)
class Unary:
    """One of `- + ~ !` before an operand."""

    sign: str
    operand: Expression


@dataclass(frozen=True)
class Binary:
    """Two operands."""

    sign: str
    left: Expression
    right: Expression


@dataclass(frozen=True)
class Choice:
    """`condition ? yes : no`."""

    condition: Expression
    yes: Expression
    no: Expression


@dataclass(frozen=True)
class Cast:
    """`(type)operand`."""

    type: str
    operand: Expression


@dataclass(frozen=True)
class Index:
    """`array[index]`."""

    array: Expression
    index: Expression


@dataclass(frozen=True)
class Call:
    """A macro of the trace headers. Those that name a field have it as a Text among `arguments`."""

    name: str
    arguments: tuple[Expression, ...]
    table: tuple[tuple[Expression, Expression], ...] = ()
    """The `{ value, "name" }` pairs of __print_symbolic and __print_flags."""


Expression = Number | Text | Unknown | Record | FieldOf | Unary | Binary | Choice | Cast | Index | Call


@dataclass(frozen=True)
class Conversion:
    """One `%...` of the format string, with what it prints."""

    flags: str
    width: int
    precision: int | Expression | None
    length: str
    kind: str
    """The letter; of `%p` with the letters after it, as `pS`."""
    value: Expression


def parse(text: str) -> tuple[str | Conversion, ...]:
    """Return the literal pieces and the conversions in order. Raises UnsupportedFormat."""
    reader = _Reader(text)
    template = reader.template()
    arguments = reader.arguments()
    return tuple(_pieces(template, arguments))


def _pieces(template: str, arguments: list[Expression]) -> list[str | Conversion]:
    if len(_CONVERSION.findall(template)) > _MOST_CONVERSIONS:
        raise UnsupportedFormat(f"more than {_MOST_CONVERSIONS} conversions")
    pieces: list[str | Conversion] = []
    left, position = iter(arguments), 0
    try:
        for found in _CONVERSION.finditer(template):
            pieces.append(template[position : found.start()])
            position = found.end()
            if found["kind"] == "%":
                pieces.append("%")
                continue
            suffix = re.match(r"[A-Za-z0-9]*", template[position:]) if found["kind"] == "p" else None
            kind = found["kind"] + _pointer_suffix(suffix[0] if suffix else "")
            position += len(kind) - 1
            if found["width"] == "*":
                raise UnsupportedFormat(f"width from an argument in {found[0]!r}")
            precision: int | Expression | None = None
            if found["precision"] == "*":
                precision = next(left)
            elif found["precision"]:
                precision = int(found["precision"])
            width = int(found["width"] or 0)
            pieces.append(Conversion(found["flags"], width, precision, found["length"] or "", kind, next(left)))
    except StopIteration:
        raise UnsupportedFormat("fewer arguments than conversions") from None
    pieces.append(template[position:])
    return [one for one in pieces if one]


def _pointer_suffix(letters: str) -> str:
    """Return how much of what follows `%p` belongs to it (Documentation/core-api/printk-formats.rst)."""
    for known in ("I6c", "ISpc", "I4", "I6", "SR", "UB", "UL", "Ub", "Ul", "S", "s", "F", "f", "B", "M", "U", "x", "K"):
        if letters.startswith(known):
            return known
    return ""


class _Reader:
    """A recursive descent over the tokens."""

    def __init__(self, text: str) -> None:
        if len(text) > _MOST_TEXT:
            raise UnsupportedFormat("longer than any kernel's")
        self._tokens: list[tuple[str, str]] = []
        position = 0
        text = text.strip()
        while position < len(text):
            found = _TOKEN.match(text, position)
            if found is None or found.lastgroup is None:
                raise UnsupportedFormat(f"not understood: {text[position : position + 20]!r}")
            self._tokens.append((found.lastgroup, found[found.lastgroup]))
            position = found.end()
        self._at = 0
        self._depth = 0
        self._heights: dict[int, tuple[int, Expression]] = {}

    def template(self) -> str:
        kind, _ = self._peek()
        if kind != "text":
            raise UnsupportedFormat("does not begin with a string")
        return self._strings()

    def arguments(self) -> list[Expression]:
        found = []
        while self._at < len(self._tokens):
            self._expect(",")
            found.append(self._expression())
        return found

    def _peek(self, ahead: int = 0) -> tuple[str, str]:
        at = self._at + ahead
        return self._tokens[at] if at < len(self._tokens) else ("end", "")

    def _take(self) -> tuple[str, str]:
        token = self._peek()
        self._at += 1
        return token

    def _is(self, sign: str) -> bool:
        return self._peek() == ("sign", sign)

    def _accept(self, sign: str) -> bool:
        if self._is(sign):
            self._at += 1
            return True
        return False

    def _expect(self, sign: str) -> None:
        if not self._accept(sign):
            raise UnsupportedFormat(f"'{sign}' expected before {self._peek()[1]!r}")

    def _made(self, whole: Expression, *parts: Expression) -> Expression:
        """Return `whole`, made of parts that are not nested too deeply to be evaluated one in another."""
        height = 1 + max(self._heights.get(id(part), (0, part))[0] for part in parts)
        if height > _MOST_DEPTH:
            raise UnsupportedFormat("nested too deeply")
        # The expression is kept with its height, so that its id stays its own.
        self._heights[id(whole)] = (height, whole)
        return whole

    def _strings(self) -> str:
        parts = []
        while self._peek()[0] == "text":
            parts.append(_unescaped(self._take()[1]))
        return "".join(parts)

    def _expression(self) -> Expression:
        self._depth += 1
        if self._depth > _MOST_DEPTH:
            raise UnsupportedFormat("nested too deeply")
        condition = self._binary(1)
        if self._accept("?"):
            yes = self._expression()
            self._expect(":")
            no = self._expression()
            condition = self._made(Choice(condition, yes, no), condition, yes, no)
        self._depth -= 1
        return condition

    def _binary(self, least: int) -> Expression:
        left = self._unary()
        while True:
            kind, sign = self._peek()
            rank = _BINARY.get(sign, 0) if kind == "sign" else 0
            if rank < least or rank == 0:
                return left
            self._take()
            right = self._binary(rank + 1)
            left = self._made(_pointed(Binary(sign, left, right)), left, right)

    def _unary(self) -> Expression:
        kind, sign = self._peek()
        if kind == "sign" and sign in "-+~!":
            self._take()
            operand = self._operand()
            return self._made(Unary(sign, operand), operand)
        if kind == "sign" and sign == "(" and (cast := self._cast()) is not None:
            operand = self._operand()
            return self._made(Cast(cast, operand), operand)
        return self._postfix()

    def _operand(self) -> Expression:
        self._depth += 1
        if self._depth > _MOST_DEPTH:
            raise UnsupportedFormat("nested too deeply")
        operand = self._unary()
        self._depth -= 1
        return operand

    def _cast(self) -> str | None:
        """Take `(type)` when it stands here before an operand, and return the type."""
        ahead = 1
        words: list[str] = []
        while (token := self._peek(ahead))[0] == "word" or (words and token == ("sign", "*")):
            words.append(token[1])
            ahead += 1
        after = self._peek(ahead + 1)
        begins_operand = after[0] in ("word", "number", "text", "char") or after in (("sign", "("), ("sign", "~"))
        if not words or words[0] == "REC" or token != ("sign", ")") or not (begins_operand or "*" in words):
            return None
        self._at += ahead + 1
        return " ".join(words)

    def _postfix(self) -> Expression:
        found = self._primary()
        while True:
            if self._accept("["):
                index = self._expression()
                self._expect("]")
                found = self._made(Index(found, index), found, index)
            elif isinstance(found, Record) and self._accept("->"):
                found = FieldOf(self._take()[1])
            else:
                return found

    def _primary(self) -> Expression:
        kind, text = self._peek()
        if kind == "text":
            return Text(self._strings())
        self._take()
        if kind == "number":
            return _number(text)
        if kind == "char":
            return Number(ord(_unescaped(text)[0]))
        if kind == "word":
            return self._word(text)
        if (kind, text) == ("sign", "("):
            inner = self._expression()
            self._expect(")")
            return inner
        raise UnsupportedFormat(f"an operand expected before {text!r}")

    def _word(self, word: str) -> Expression:
        if word == "REC":
            return Record()
        if word in ("true", "false"):
            return Number(int(word == "true"))
        if self._accept("("):
            return self._call(word)
        return Unknown(word)

    def _call(self, name: str) -> Expression:
        if name in ("__get_str", "__get_dynamic_array", "__get_dynamic_array_len", "__get_rel_str", "sizeof"):
            words: list[str] = []
            while not self._is(")") and self._peek()[0] != "end":
                words.append(self._take()[1])
            self._expect(")")
            return Call(name, (Text(" ".join(words)),))
        arguments: list[Expression] = []
        table: list[tuple[Expression, Expression]] = []
        while not self._is(")"):
            if self._accept("{"):
                value = self._expression()
                self._expect(",")
                table.append((value, self._expression()))
                self._expect("}")
            else:
                arguments.append(self._expression())
            if not self._accept(","):
                break
        self._expect(")")
        values = [value for value, _ in table]
        return self._made(Call(name, tuple(arguments), tuple(table)), Number(0), *arguments, *values)


def _number(text: str) -> Number:
    base = 16 if text[:2] in ("0x", "0X") else 8 if text[0] == "0" else 10
    try:
        return Number(int(text, base))
    except ValueError:
        raise UnsupportedFormat(f"no number: {text[:20]}") from None


def _pointed(one: Binary) -> Expression:
    """Return `__get_str(x)` for HongMeng's spelling of it, `(char *)REC + (REC->__data_loc_x & 0xffff)`."""
    base, where = one.left, one.right
    while isinstance(base, Cast):
        base = base.operand
    if not isinstance(base, Record) or not isinstance(where, Binary) or not isinstance(where.left, FieldOf):
        return one
    return Call("__get_str", (Text(where.left.name.removeprefix("__data_loc_")),))


def _unescaped(text: str) -> str:
    return re.sub(r"\\(.)", lambda found: _ESCAPES.get(found[1], found[1]), text, flags=re.DOTALL)
