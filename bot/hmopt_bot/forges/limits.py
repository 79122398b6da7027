# SPDX-License-Identifier: Apache-2.0
"""How much a forge takes, and texts cut to it at a line, with a word about what is missing.

What GitHub counts differs by field, and its error messages do not say it:

* bodies of pull requests: 65,536 code points (github.com/dead-claudia/github-limits, pull request 13);
* comments: 262,144 bytes of UTF-8 (measured in github.com/objectstack-ai/objectstack, issue 18826), though the error
  says 65,536 characters; 65,536 code points are never more bytes than that, so one bound serves both;
* a check run's summary and text: 65,535 bytes, not characters as documented (github.com/github/docs, issue 35252).

Nowhere are UTF-16 units counted. Gitee and GitCode publish no numbers; they get GitHub's.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum

from git_hmopt.report.wording import fit
from hmopt_bot.forges.values import Annotation

ANNOTATIONS = 50
"""Annotations that one request may have."""


class Unit(Enum):
    """What is counted."""

    CODE_POINTS = "characters"
    BYTES = "bytes"


@dataclass(frozen=True)
class Bound:
    """How much a field takes."""

    most: int
    unit: Unit

    def size(self, text: str) -> int:
        """Return how much a text is."""
        return len(text) if self.unit is Unit.CODE_POINTS else len(text.encode("utf-8", "surrogatepass"))

    def start(self, text: str, room: int) -> str:
        """Return the start of a text that fits into `room`, in whole code points."""
        if self.unit is Unit.CODE_POINTS:
            return text[: max(room, 0)]
        return text.encode("utf-8", "surrogatepass")[: max(room, 0)].decode("utf-8", "ignore")


BODY = Bound(65_536, Unit.CODE_POINTS)
"""A comment, a review, a pull request's text."""
CHECK_TEXT = Bound(65_535, Unit.BYTES)
"""A check run's summary, and its text."""
MESSAGE = Bound(65_535, Unit.BYTES)
"""An annotation's message: 64 KB."""
TITLE = Bound(255, Unit.CODE_POINTS)
STATUS = Bound(140, Unit.CODE_POINTS)


def line(text: str, bound: Bound) -> str:
    """Return a title on one line, cut with a mark; never empty, which forges refuse."""
    return fit(text.encode("utf-8", "replace").decode(), bound.most) or "-"


def batches(annotations: Sequence[Annotation]) -> tuple[tuple[Annotation, ...], ...]:
    """Return annotations as requests may have them."""
    return tuple(tuple(annotations[start : start + ANNOTATIONS]) for start in range(0, len(annotations), ANNOTATIONS))


def cut(text: str, bound: Bound) -> str:
    """Return Markdown that fits: itself, or as many whole lines as do, closed, and what is missing.

    A fence that is open at the cut is closed, and so are HTML elements; a comment or a tag is left out whole. A line
    that is longer than a quarter of the bound is cut within.
    """
    text = text.encode("utf-8", "replace").decode().replace("\r\n", "\n").replace("\0", "\ufffd")
    if bound.size(text) <= bound.most:
        return text
    lines = text.split("\n")
    whole = bound.size(text)
    room = bound.most - bound.size(_notice(whole, whole, len(lines), bound))
    kept, used, state = _whole_lines(lines, room, bound)
    shown = lines[:kept]
    if room - used > bound.most // 4:
        part, state = _part_of_line(lines[kept], room - used, state, bound)
        shown += [part] if part else []
    told = "\n".join(shown)
    return told + state.closing() + _notice(bound.size(told), whole, len(lines) - kept, bound)


def _notice(shown: int, whole: int, lines: int, bound: Bound) -> str:
    return (
        f"\n\n*Cut to fit: {shown:,} of {whole:,} {bound.unit.value} are shown;"
        f" the rest ({lines:,} {'line' if lines == 1 else 'lines'}) is left out.*"
    )


_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})([^\n]*)")
# Code spans first: what they hold is no tag.
_MARKUP = re.compile(r"(?<!`)(`+)(?!`).*?(?<!`)\1(?!`)|<!--|<(/?)([A-Za-z][A-Za-z0-9]*)(?:\s[^<>]*|/)?>")
_HALF_TAG = re.compile(r"<[A-Za-z/!][^<>]*$")
# Those of GitHub's allowed elements that stay open until they are closed.
_PAIRED = re.compile(
    "a|b|blockquote|code|details|div|em|h[1-6]|i|kbd|li|ol|p|pre|s|small|span|strong|sub|summary|sup|table|tbody|td|th|"
    "thead|tr|ul",
    re.IGNORECASE,
)
_Open = tuple[str, "_Open"] | None


@dataclass(frozen=True)
class _State:
    """What is open after a line: a fence, a comment, a tag whose end is to come, elements (a linked stack)."""

    fence: str = ""
    hidden: str = ""
    open: _Open = None
    size: int = 0

    def closing(self) -> str:
        """Return what closes all of it."""
        if self.fence:
            return f"\n{self.fence}{self._elements()}"
        return self._elements()

    def closing_size(self) -> int:
        return self.size + (len(self.fence) + 1 if self.fence else 0)

    def _elements(self) -> str:
        told, left = [], self.open
        while left:
            told.append(f"</{left[0]}>")
            left = left[1]
        return "\n" + "".join(told) if told else ""

    def after(self, line: str) -> _State:
        """Return what is open after one more line."""
        if self.fence:
            # A fence is closed by as many of the same, alone.
            closing = _FENCE.fullmatch(line)
            ends = closing and closing[1].startswith(self.fence) and not closing[2].strip()
            return replace(self, fence="") if ends else self
        if self.hidden:
            _, end, rest = line.partition(self.hidden)
            return replace(self, hidden="").after(rest) if end else self
        begins = _FENCE.match(line)
        if begins and not (begins[1][0] == "`" and "`" in begins[2]):
            return replace(self, fence=begins[1])
        return self._after_markup(line)

    def _after_markup(self, line: str) -> _State:
        state, place = self, 0
        while found := _MARKUP.search(line, place):
            place = found.end()
            if found[0] == "<!--":
                end = line.find("-->", place)
                if end < 0:
                    return replace(state, hidden="-->")
                place = end + len("-->")
            elif found[3] and _PAIRED.fullmatch(found[3]):
                state = state._closed(found[3].lower()) if found[2] else state._opened(found[3].lower())
        return replace(state, hidden=">") if _HALF_TAG.search(line, place) else state

    def _opened(self, tag: str) -> _State:
        # The first of them brings a line break along.
        return replace(self, open=(tag, self.open), size=self.size + len(tag) + 3 + (self.open is None))

    def _closed(self, tag: str) -> _State:
        # Only the innermost: what is closed out of order would have to be found again in a hostile stack each time.
        if not self.open or self.open[0] != tag:
            return self
        return replace(self, open=self.open[1], size=self.size - len(tag) - 3 - (self.open[1] is None))


def _whole_lines(lines: Sequence[str], room: int, bound: Bound) -> tuple[int, int, _State]:
    """Return how many lines fit with what closes them, their size, and what is open after them."""
    best, used, state = (0, 0, _State()), 0, _State()
    for number, text in enumerate(lines, start=1):
        used += bound.size(text) + (number > 1)
        if used > room:
            break
        state = state.after(text)
        if not state.hidden and used + state.closing_size() <= room:
            best = (number, used, state)
    return best


def _part_of_line(text: str, room: int, before: _State, bound: Bound) -> tuple[str, _State]:
    """Return the start of a line, up to a word's end, and what is open after it."""
    if not before.fence and (fence := _FENCE.match(text)) and "`" not in fence[2]:
        # The start of a fence with more on its line than fits is none that we can close.
        return "", before
    part = bound.start(text, room - before.closing_size() - 1)
    if " " in part[-200:]:
        part = part[: part.rfind(" ")]
    state = before.after(part)
    if state.hidden:
        # Before the tag, or comment, that does not end.
        part = part[: part.rfind("<")]
        state = before.after(part)
    # By halves: elements that are opened cost as much again, and a comment may hold thousands of tags.
    while part and (state.hidden or bound.size(part) + 1 + state.closing_size() > room):
        part = part[: len(part) // 2]
        state = before.after(part)
    return part, state if part else before
