# SPDX-License-Identifier: Apache-2.0
"""What a file's directives say, read as text: which lines a config knob guards, and the macros it defines.

The parser sees one side of each `#if`; here both are seen, and nothing is expanded. A condition's knobs are those whose
names stand in it, so `#if defined(A) && B > 2` is guarded by A and by B.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

_COMMENT_OR_STRING = re.compile(
    rb'/\*.*?(?:\*/|\Z)|//(?:\\\r?\n|[^\n])*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.DOTALL
)
_DIRECTIVE = re.compile(
    rb"^[ \t]*#[ \t]*(if|ifdef|ifndef|elif|elifdef|elifndef|else|endif|define)\b((?:\\\r?\n|[^\n])*)", re.MULTILINE
)
_KNOB = re.compile(rb"\b(CONFIG_[A-Z0-9_]\w*)")
# include/linux/kconfig.h.
_ASKED = re.compile(rb"\bIS_(?:ENABLED|BUILTIN|MODULE|REACHABLE)\s*\(\s*(CONFIG_\w+)\s*\)")
_NAME = re.compile(rb"[ \t]*([A-Za-z_]\w*)(\()?")


@dataclass(frozen=True, slots=True)
class Guard:
    """Lines that a knob decides about, both ends inclusive."""

    knob: str
    first_line: int
    last_line: int
    sense: str
    """`if`: built when the condition holds; `else`: when it does not; `asked`: IS_ENABLED in an expression."""


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

    first_line: int
    knobs: tuple[str, ...]
    sense: str
    before: tuple[str, ...] = field(default=())
    """The knobs of the branches above this one: they decide about it too, the other way round."""


def directives(source: bytes) -> Directives:
    """Return a file's guards and macros."""
    text = _blanked(source)
    lines = _Lines(text)
    guards: list[Guard] = []
    macros: list[Macro] = []
    stack: list[_Open] = []
    unbalanced = 0
    for match in _DIRECTIVE.finditer(text):
        word, rest = match[1].decode(), match[2]
        line = lines.of(match.start())
        if word == "define":
            macros += _macro(match, lines)
        elif word in ("if", "ifdef", "ifndef"):
            stack.append(_Open(line, _knobs(rest), "else" if _negated(word, rest) else "if"))
        elif not stack:
            unbalanced += 1
        else:
            top = stack.pop()
            guards += _closed(top, line - 1)
            if word != "endif":
                stack.append(_next(top, word, rest, line))
    for top in stack:
        unbalanced += 1
        guards += _closed(top, lines.last)
    for asked in _ASKED.finditer(text):
        line = lines.of(asked.start())
        guards.append(Guard(asked[1].decode(), line, line, "asked"))
    return Directives(tuple(sorted(set(guards), key=_order)), tuple(macros), unbalanced)


def _order(guard: Guard) -> tuple[int, int, str, str]:
    return (guard.first_line, guard.last_line, guard.knob, guard.sense)


def _closed(top: _Open, last_line: int) -> Iterator[Guard]:
    """Yield the guards of a branch that has at least one line."""
    if last_line > top.first_line:
        for knob in dict.fromkeys(top.knobs):
            yield Guard(knob, top.first_line + 1, last_line, top.sense)
        for knob in dict.fromkeys(top.before):
            if knob not in top.knobs:
                yield Guard(knob, top.first_line + 1, last_line, "else")


def _next(top: _Open, word: str, rest: bytes, line: int) -> _Open:
    if word == "else":
        turned = "if" if top.sense == "else" else "else"
        return _Open(line, top.knobs, turned, top.before)
    return _Open(line, _knobs(rest), "else" if _negated(word, rest) else "if", (*top.before, *top.knobs))


def _negated(word: str, rest: bytes) -> bool:
    """Say whether a condition asks for one knob's absence and nothing else."""
    condition = rest.strip()
    if word in ("ifndef", "elifndef"):
        return True
    return condition.startswith(b"!") and b"&&" not in condition and b"||" not in condition


def _knobs(condition: bytes) -> tuple[str, ...]:
    found = (name.decode() for name in _KNOB.findall(condition))
    # A tristate that is a module is the same knob (include/linux/kconfig.h).
    return tuple(dict.fromkeys(name.removesuffix("_MODULE") for name in found))


def _macro(match: re.Match[bytes], lines: _Lines) -> Iterator[Macro]:
    named = _NAME.match(match[2])
    if named is not None:
        first, last = lines.of(match.start()), lines.of(match.end())
        yield Macro(named[1].decode(), first, last, match.start(), match.end(), named[2] is not None)


def _blanked(source: bytes) -> bytes:
    """Return the source with comments and strings overwritten by spaces, every byte and line in its place."""
    return _COMMENT_OR_STRING.sub(lambda match: re.sub(rb"[^\n\\]", b" ", match[0]), source)


def without_comments(source: bytes) -> bytes:
    """Return the source with comments overwritten by spaces, every line in its place; strings stay."""
    return _COMMENT_OR_STRING.sub(
        lambda match: match[0] if match[0][:1] in (b'"', b"'") else re.sub(rb"[^\n]", b" ", match[0]), source
    )


class _Lines:
    """Line numbers of ascending offsets."""

    def __init__(self, text: bytes) -> None:
        self._text = text
        self._at, self._line = 0, 1
        self.last = text.count(b"\n") + (not text.endswith(b"\n"))

    def of(self, offset: int) -> int:
        """Return the line, from 1, of an offset; the fastest when offsets ascend."""
        if offset < self._at:
            self._at, self._line = 0, 1
        self._line += self._text.count(b"\n", self._at, offset)
        self._at = offset
        return self._line
