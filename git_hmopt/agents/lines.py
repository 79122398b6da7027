# SPDX-License-Identifier: Apache-2.0
"""A file's text as lines that are put back byte for byte: encoding, line ends, indentation.

Nothing is decoded to be written again: a model's text is brought into the file's encoding, line ends and indentation,
and every line that it leaves as it was keeps the file's own bytes.
"""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

from git_hmopt.psg.directives import blanked

TAB = 8
"""Columns of a tab (Documentation/process/coding-style.rst, "Indentation")."""
_MOST_COMPARED = 1_000_000
"""Pairs of lines that are aligned; difflib needs time for each pair where lines repeat."""


@dataclass(frozen=True)
class TextFile:
    """A file that is to be edited."""

    path: str
    data: bytes

    @property
    def encoding(self) -> str:
        """Return `utf-8`, or `latin-1` for a file that is not: each byte is then a character, and stays what it is."""
        try:
            self.data.decode("utf-8")
        except UnicodeDecodeError:
            return "latin-1"
        return "utf-8"

    def encoded(self, text: str) -> bytes | None:
        """Return a model's text in the file's encoding; None when that has no such character."""
        try:
            return text.encode(self.encoding)
        except UnicodeEncodeError:
            return None


def split(text: bytes) -> tuple[list[bytes], list[bytes]]:
    """Return a text's lines and their line ends, as many; the last may have none."""
    lines, ends = [], []
    for line in text.split(b"\n"):
        bare = line.removesuffix(b"\r")
        lines.append(bare)
        ends.append(line[len(bare) :] + b"\n")
    ends[-1] = ends[-1][:-1]
    if ends[-1]:  # a carriage return at the end of the file ends no line
        lines[-1], ends[-1] = lines[-1] + ends[-1], b""
    return lines, ends


def line_end(ends: Sequence[bytes]) -> bytes:
    """Return the line end that most lines have."""
    crlf = sum(end == b"\r\n" for end in ends)
    return b"\r\n" if 2 * crlf > sum(bool(end) for end in ends) else b"\n"


def rewritten(old: bytes, new: bytes, *, end: bytes, style: Style | None) -> bytes:
    """Return `new`, which has plain line ends, for the place of `old`: indented as `style` says, its lines ending in
    `end`, and each line that is one of `old`'s but for spaces with the file's own bytes. The last gets no line end."""
    moved = restyled(new, style)
    keys = _loose_keys if moved != new else _keys
    (lines, ends), added = split(old), moved.split(b"\n")
    kept = dict(aligned(keys(old), keys(moved)))
    pieces = []
    for number, line in enumerate(added):
        at = kept.get(number)
        pieces.append(line if at is None else lines[at])
        if number + 1 < len(added):
            pieces.append(end if at is None or not ends[at] else ends[at])
    return b"".join(pieces)


def _keys(text: bytes) -> list[Hashable]:
    """Return of each line what must be equal for two to be the same: all but the spaces at its end."""
    return [line.rstrip() for line in text.split(b"\n")]


def _loose_keys(text: bytes) -> list[Hashable]:
    """Return the same for a text whose tabs were blanks: how a line is spaced says nothing, what it stands in does."""
    return [
        line.strip()
        if b'"' in line or not line.strip()
        else (None if depth is None else columns(indent_of(line)), *line.split())
        for line, depth in _levels(text)
    ]


def aligned(old: Sequence[Hashable], new: Sequence[Hashable]) -> list[tuple[int, int]]:
    """Return (index in `new`, index in `old`) of the lines that are common to both, in order."""
    head = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(old, new, strict=False)))
    rest = min(len(old), len(new)) - head
    ends = zip(reversed(old), reversed(new), strict=False)
    tail = min(rest, sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], ends)))
    pairs = [(at, at) for at in range(head)]
    inner_old, inner_new = old[head : len(old) - tail], new[head : len(new) - tail]
    if inner_old and inner_new and len(inner_old) * len(inner_new) <= _MOST_COMPARED:
        for block in SequenceMatcher(None, inner_old, inner_new, autojunk=False).get_matching_blocks():
            pairs += [(head + block.b + at, head + block.a + at) for at in range(block.size)]
    return pairs + [(len(new) - at, len(old) - at) for at in range(tail, 0, -1)]


_GOES_ON = tuple(bytes((sign,)) for sign in b"+-*/%&|^<>=?!~,")
"""What a line ends with where the next one goes on; parentheses are counted."""


# -- indentation ------------------------------------------------------------------------------------------------------


def indent_of(line: bytes) -> bytes:
    """Return the blanks and tabs that a line begins with."""
    return line[: len(line) - len(line.lstrip(b" \t"))]


def columns(indent: bytes) -> int:
    """Return how wide an indentation is."""
    return len(indent.expandtabs(TAB))


def indentation(width: int, *, tabs: bool) -> bytes:
    """Return an indentation of so many columns."""
    return b"\t" * (width // TAB) + b" " * (width % TAB) if tabs else b" " * width


@dataclass(frozen=True)
class Style:
    """How a piece of C is indented: with tabs, or with so many blanks for each level."""

    tabs: bool
    unit: int


def style_of(text: bytes) -> Style | None:
    """Return how a piece of C is indented, by its first lines inside braces; None when nothing tells."""
    tabs = spaces = 0
    unit = 0
    for line, depth in _levels(text):
        indent = indent_of(line)
        if not indent or not line.strip() or depth is None:
            continue
        tabs, spaces = tabs + (indent[:1] == b"\t"), spaces + (indent[:1] == b" ")
        if depth == 1 and not unit:
            unit = columns(indent)
    if not tabs and not spaces:
        return None
    return Style(tabs > spaces, TAB if tabs > spaces else unit or TAB)


def restyled(text: bytes, target: Style | None) -> bytes:
    """Return a piece of C as `target` indents, where it is indented wholly in the other way; else as it is.

    A statement keeps its level; what goes on from the line before, in parentheses or a comment, its distance from it.
    """
    own = style_of(text)
    if own is None or target is None or own.tabs == target.tabs or not own.unit:
        return text
    letter = b"\t" if target.tabs else b" "
    if any(indent_of(line)[:1] == letter for line, depth in _levels(text) if depth is not None):
        return text
    lines, before, after = [], 0, 0
    for line, depth in _levels(text):
        width = columns(indent_of(line))
        if depth is not None:
            before, after = width, width // own.unit * target.unit + width % own.unit
        moved = max(0, after + width - before)
        lines.append(indentation(moved, tabs=target.tabs) + line.lstrip(b" \t") if line.strip() else line)
    return b"\n".join(lines)


def _levels(text: bytes) -> list[tuple[bytes, int | None]]:
    """Return each line with the number of braces it stands in; None where it goes on from the line before."""
    code = blanked(text)
    found: list[tuple[bytes, int | None]] = []
    braces = round_ = at = 0
    in_comment = goes_on = False
    for line in text.split(b"\n"):
        part = code[at : at + len(line) + 1]
        at += len(line) + 1
        found.append((line, None if in_comment or goes_on or round_ > 0 else braces - line.lstrip().startswith(b"}")))
        braces += part.count(b"{") - part.count(b"}")
        round_ += part.count(b"(") - part.count(b")")
        in_comment = part[-1:] != b"\n"  # a line's end inside a comment is overwritten
        said = part.strip()
        if said:
            goes_on = said[-1:] in _GOES_ON or (said[-1:] == b":" and (goes_on or b"?" in said))
    return found
