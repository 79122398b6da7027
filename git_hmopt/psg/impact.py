# SPDX-License-Identifier: Apache-2.0
"""What a change of source touches, by its text, and who reaches that, by the graph.

The text of both sides is held against each other function by function, declaration by declaration, without comments and
spacing: nothing has to be built to know it, so a candidate can be asked about before its first compilation.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from git_hmopt.psg.chunks import Declaration, declarations, functions
from git_hmopt.psg.directives import directives, without_comments
from git_hmopt.psg.facts import Kind
from git_hmopt.psg.queries import Structure
from git_hmopt.psg.text import is_static, symbol_of

How = Literal["changed", "added", "removed"]
_KINDS = {
    "struct": Kind.STRUCT, "union": Kind.UNION, "enum": Kind.ENUM, "typedef": Kind.TYPEDEF, "variable": Kind.VARIABLE,
}  # fmt: skip
_STATIC = re.compile(r"(?:\w+(?:\s*\([^()]*\))?\s+)*?static\b")
_STRING_OR_SPACE = re.compile(r"""("(?:\\.|[^"\\\n])*+"?|'(?:\\.|[^'\\\n])*+'?)|(?:\s|\\\r?\n)+""", re.DOTALL)

_SPLICE = re.compile(r"\\[ \t]*\r?\n")


@dataclass(frozen=True)
class Touch:
    """Something that a change touches; lines are those of the new text, of the old one for what was removed."""

    symbol: str
    """Its identity in the graph."""
    kind: Kind
    file: str
    how: How
    first_line: int
    last_line: int


@dataclass(frozen=True)
class Impact:
    """A touch, and the functions that reach it: (symbol, calls away), nearest first."""

    touch: Touch
    reached_by: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class _Piece:
    kind: Kind
    first_line: int
    last_line: int
    text: str


def touches(path: str, before: bytes | None, after: bytes | None) -> list[Touch]:
    """Return what differs between two texts of a C file or header, in the order of the new text.

    What stands in no function or declaration (an include, a macro's use at the top) is the file itself.
    """
    old, new = _pieces(path, before or b""), _pieces(path, after or b"")
    found = []
    for symbol in dict.fromkeys([*new, *old]):
        was, now = old.get(symbol, []), new.get(symbol, [])
        if [piece.text for piece in was] != [piece.text for piece in now]:
            how: How = "added" if not was else "removed" if not now else "changed"
            older = {piece.text for piece in was}
            shown = next((piece for piece in now if piece.text not in older), (now or was)[0])
            found.append(Touch(symbol, shown.kind, path, how, shown.first_line, shown.last_line))
    return found


def all_touches(changes: Mapping[str, tuple[bytes | None, bytes | None]]) -> list[Touch]:
    """Return what changed C files touch; `changes` has both sides of each file, None for one that is not there."""
    among = (path for path in sorted(changes) if path.endswith((".c", ".h")))
    return [touch for path in among for touch in touches(path, *changes[path])]


def same_code(before: bytes, after: bytes) -> bool:
    """Say whether two texts differ in comments and spacing alone: the same tokens in the same order.

    A directive ends with its line, so it is compared as one. `touches` finds nothing in definitions that only changed
    places; this does.
    """
    return _code(before) == _code(after)


def same_lines(before: bytes, after: bytes) -> bool:
    """Say whether every token stands on the line that it stood on, so that `__LINE__` is what it was."""
    old, new = (without_comments(text).decode("utf-8", "replace").rstrip().split("\n") for text in (before, after))
    return len(old) == len(new) and all(_plain(one) == _plain(other) for one, other in zip(old, new, strict=True))


def _code(source: bytes) -> list[str]:
    """Return a text's directives, and the code between them, each without comments and spacing."""
    text = _SPLICE.sub("", without_comments(source).decode("utf-8", "replace"))
    found = [""]
    for line in text.split("\n"):
        if line.lstrip().startswith("#"):
            found += [line, ""]
        else:
            found[-1] += f"{line}\n"
    return [plain for one in found if (plain := _plain(one))]


def impact(structure: Structure, touched: Iterable[Touch], *, reach: int = 3, most: int = 50) -> list[Impact]:
    """Return each touch with who reaches it within `reach` calls, at most `most` of them."""
    return [Impact(touch, structure.reached_by(touch.symbol, reach, most)) for touch in touched]


def _pieces(path: str, source: bytes) -> dict[str, list[_Piece]]:
    """Return a file's named pieces by symbol; both sides of an `#if` may define one, in order."""
    found: dict[str, list[_Piece]] = {}

    plain: dict[str, str] = {}  # of a declaration that gives many names, once

    def add(symbol: str, kind: Kind, first: int, last: int, text: str) -> None:
        if text not in plain:
            plain[text] = _plain(text)
        found.setdefault(symbol, []).append(_Piece(kind, first, last, plain[text]))

    for chunk in functions(source):
        symbol = symbol_of(path, chunk.symbol, static=is_static(chunk))
        add(symbol, Kind.FUNCTION, chunk.first_line, chunk.last_line, chunk.code)
    for one in declarations(source):
        add(_declared(path, one), _KINDS[one.kind], one.first_line, one.last_line, one.text)
    for macro in directives(source).macros:
        text = source[macro.start : macro.end].decode("utf-8", "replace")
        add(f"macro {macro.name}", Kind.MACRO, macro.first_line, macro.last_line, text)
    rest = _outside(source, [piece for pieces in found.values() for piece in pieces])
    if rest:
        found[f"file {path}"] = [_Piece(Kind.FILE, 1, 1, rest)]
    return found


def _declared(path: str, one: Declaration) -> str:
    if one.kind == "variable":
        return symbol_of(path, one.name, static=_STATIC.match(one.text) is not None)
    named = f"{one.kind} {one.name}"
    return f"{path}:{named}" if path.endswith(".c") else named


def _plain(text: str) -> str:
    """Return a text without comments, every run of white space outside of strings as one blank."""
    raw = without_comments(text.encode("utf-8", "replace")).decode("utf-8", "replace")
    return _STRING_OR_SPACE.sub(lambda match: match[1] or " ", raw).strip()


def _outside(source: bytes, pieces: Sequence[_Piece]) -> str:
    lines = without_comments(source).decode("utf-8", "replace").split("\n")
    for first, last in {(piece.first_line, piece.last_line) for piece in pieces}:
        for number in range(first - 1, min(last, len(lines))):
            lines[number] = ""
    return _plain("\n".join(lines))
