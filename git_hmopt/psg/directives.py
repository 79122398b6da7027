# SPDX-License-Identifier: Apache-2.0
"""What a file's directives say, read as text: which lines a config knob guards, and the macros it defines.

The parser sees one side of each `#if`; here both are seen, and nothing is expanded. A condition's knobs are those whose
names stand in it, so `#if defined(A) && B > 2` is guarded by A and by B.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

# A string without an end goes to the end of its line, as GCC's lexer has it; the apostrophe of an #error does too.
_COMMENT_OR_STRING = re.compile(
    rb"""/\*.*?(?:\*/|\Z)|//(?:\\[ \t]*\r?\n|[^\n])*+|"(?:\\\r?.|[^"\\\n])*+"?|'(?:\\\r?.|[^'\\\n])*+'?""", re.DOTALL
)
_DIRECTIVE = re.compile(
    rb"^[ \t\f\v]*#[ \t]*(if|ifdef|ifndef|elif|elifdef|elifndef|else|endif|define)\b"
    rb"((?:\\[ \t]*\r?\n|[^\r\n]|\r(?!\n))*+)",
    re.MULTILINE,
)
_KNOB = re.compile(rb"CONFIG_[A-Z0-9_]\w*")
_WORD = re.compile(rb"\w+")
_TOKEN = re.compile(rb"\w+|!=|[^\w\s]")
# include/linux/kconfig.h.
_ASKED = re.compile(rb"\bIS_(?:ENABLED|BUILTIN|MODULE|REACHABLE)\s*\(\s*(CONFIG_\w+)\s*\)")
_NAME = re.compile(rb"[\s\\]*([A-Za-z_]\w*)(\()?")

_Senses = dict[str, str]
"""By knob: `if` or `else`."""


@dataclass(frozen=True, slots=True)
class Guard:
    """Lines that a knob decides about, both ends inclusive."""

    knob: str
    first_line: int
    last_line: int
    sense: str
    """`if`: that the knob is set speaks for them; `else`: it speaks against them, as with one under a `!` or the lines
    after an #else; other knobs may have a say as well. `asked`: IS_ENABLED in an expression."""


@dataclass(frozen=True, slots=True)
class Macro:
    """A macro definition, its lines and its bytes, the end exclusive."""

    name: str
    first_line: int
    last_line: int
    start: int
    end: int
    has_parameters: bool


@dataclass(frozen=True)
class Directives:
    """What a file says."""

    guards: tuple[Guard, ...]
    macros: tuple[Macro, ...]
    unbalanced: int
    """Conditions without an end, and ends without one."""


@dataclass
class _Open:
    """A condition that is being read."""

    directive: int
    """The last line of the #if, #elif or #else of the branch that is being read."""
    senses: _Senses
    """Of that branch."""
    above: list[tuple[int, _Senses]] = field(default_factory=list)
    """Of the branches above it: they decide about all that follows them, the other way round."""


def directives(source: bytes) -> Directives:
    """Return a file's guards and macros."""
    text = blanked(source)
    lines = _Lines(source)
    guards: list[Guard] = []
    macros: list[Macro] = []
    stack: list[_Open] = []
    conditions: set[int] = set()
    unbalanced = 0
    for match in _DIRECTIVE.finditer(text):
        word, line, last = match[1].decode(), lines.of(match.start()), lines.of(match.end())
        if word == "define":
            macros += _macro(match, line, last)
            continue
        conditions.update(range(line, last + 1))
        if word in ("if", "ifdef", "ifndef"):
            stack.append(_Open(last, _senses(word, match[2])))
        elif not stack:
            unbalanced += 1
        elif word == "endif":
            guards += _closed(stack.pop(), line - 1)
        else:
            guards += _next(stack[-1], line, last, _senses(word, match[2]))
    for left in stack:
        unbalanced += 1
        guards += _closed(left, lines.last)
    guards += _asked(text, lines, conditions)
    return Directives(tuple(sorted(set(guards), key=_order)), tuple(macros), unbalanced)


def _order(guard: Guard) -> tuple[int, int, str, str]:
    return (guard.first_line, guard.last_line, guard.knob, guard.sense)


def _closed(condition: _Open, last_line: int) -> Iterator[Guard]:
    """Yield the guards of a condition's last branch, and of what follows each branch above it."""
    yield from _guards(condition.senses, condition.directive, last_line)
    for line, senses in condition.above:
        yield from _guards(senses, line, last_line)


def _next(condition: _Open, line: int, last: int, senses: _Senses) -> Iterator[Guard]:
    """Turn to the branch of an #elif or #else, and yield the guards of the one before."""
    yield from _guards(condition.senses, condition.directive, line - 1)
    turned = {knob: "else" if sense == "if" else "if" for knob, sense in condition.senses.items()}
    condition.above.append((last, turned))
    condition.directive, condition.senses = last, senses


def _guards(senses: _Senses, directive: int, last_line: int) -> Iterator[Guard]:
    """Yield the guards of the lines after a directive, if there are any."""
    if last_line > directive:
        for knob, sense in senses.items():
            yield Guard(knob, directive + 1, last_line, sense)


def _senses(word: str, condition: bytes) -> _Senses:
    """Return a condition's knobs, each with its sense where it stands first."""
    found: _Senses = {}
    turned, inside = word in ("ifndef", "elifndef"), False
    around: list[bool] = []
    for token in _TOKEN.findall(condition):
        if token == b"!":
            inside = not inside
        elif token == b"(":
            around.append(turned)
            turned, inside = turned != inside, False
        elif _KNOB.fullmatch(token):
            # A tristate that is a module is the same knob (include/linux/kconfig.h).
            found.setdefault(token.decode().removesuffix("_MODULE"), "else" if turned != inside else "if")
        elif not _WORD.fullmatch(token):  # a `!` reaches over `defined` and the name of a macro
            inside = False
            turned = around.pop() if token == b")" and around else turned
    return found


def _macro(match: re.Match[bytes], first: int, last: int) -> Iterator[Macro]:
    named = _NAME.match(match[2])
    if named is not None:
        yield Macro(named[1].decode(), first, last, match.start(), match.end(), named[2] is not None)


def _asked(text: bytes, lines: _Lines, conditions: set[int]) -> Iterator[Guard]:
    """Yield the knobs that expressions ask for; a directive's lines are no expressions."""
    for asked in _ASKED.finditer(text):
        line = lines.of(asked.start())
        if line not in conditions:
            yield Guard(asked[1].decode(), line, line, "asked")


def blanked(source: bytes) -> bytes:
    """Return the source with comments and strings overwritten by spaces, every byte in its place.

    A directive goes on after a comment that ends on another line, so the line ends inside are overwritten as well.
    """
    return _COMMENT_OR_STRING.sub(lambda match: b" " * len(match[0]), source)


def without_comments(source: bytes) -> bytes:
    """Return the source with comments overwritten by spaces, every line in its place; strings stay."""
    return _COMMENT_OR_STRING.sub(
        lambda match: match[0] if match[0][:1] in (b'"', b"'") else re.sub(rb"[^\n]", b" ", match[0]), source
    )


class _Lines:
    """Line numbers of offsets; the fastest when they ascend."""

    def __init__(self, source: bytes) -> None:
        self._source = source
        self._at, self._line = 0, 1
        self.last = source.count(b"\n") + (not source.endswith(b"\n"))

    def of(self, offset: int) -> int:
        """Return the line, from 1, of an offset."""
        if offset < self._at:
            self._at, self._line = 0, 1
        self._line += self._source.count(b"\n", self._at, offset)
        self._at = offset
        return self._line
