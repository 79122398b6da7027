# SPDX-License-Identifier: Apache-2.0
"""Find the lines that a SEARCH means, layer by layer, and only where it can mean one place.

1. The lines as they are. 2. But for spaces at their ends and blank lines around. 3. But for an indentation that is
off by the same everywhere; the replacement is moved alike. 4. With lines of `...` that stand for lines left out, which
stay as they are. The first layer that finds a place decides; where it finds two, nothing is done.
"""

from __future__ import annotations

import difflib
import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

from git_hmopt.agents.complaints import Complaint, Excerpt, excerpt
from git_hmopt.agents.lines import TAB, aligned, columns, indent_of, indentation, line_end, split
from git_hmopt.psg.edit import Edit

_MOST_PLACES = 4
"""Places of an ambiguous SEARCH that are shown."""
_COMMON = 40
"""A line that stands in a file more often tells nothing of a place."""
_ELLIPSIS = re.compile(rb"(?://|/\*)? *(?:\.\.\.|\xe2\x80\xa6)(?: *\*/)?")

Lines = Sequence[bytes]


@dataclass(frozen=True)
class Place:
    """Where lines stand, by index, and what is to stand there."""

    first: int
    search: Lines
    replace: Lines
    new: Lines
    """The replacement, moved as the place is."""

    @property
    def last(self) -> int:
        """Return the index of the line behind."""
        return self.first + len(self.search)


@dataclass(frozen=True)
class Found:
    """The edits of one block and the layer that found its place."""

    edits: tuple[Edit, ...]
    layer: str


class Document:
    """A file's lines, ready to be searched more than once."""

    def __init__(self, path: str, data: bytes) -> None:
        self.path = path
        self.lines, self.ends = split(data)
        if self.lines[-1] == b"" and len(self.lines) > 1:  # the last line end ends a line, it begins none
            self.lines.pop()
            self.ends.pop()
        self._starts = [0, *accumulate(len(line) + len(end) for line, end in zip(self.lines, self.ends, strict=True))]
        self._keys: dict[str, tuple[bytes, list[int]]] = {}

    def replaced(self, search: Lines, replace: Lines, *, where: str) -> Found | Complaint:
        """Return the edits that put `replace` in the place of `search`, or what hinders them."""
        if not any(line.strip() for line in search):
            return Complaint(where, "the SEARCH is empty; to add lines, search for one beside them and repeat it")
        for layer in (self._exact, self._trimmed, self._moved):
            found = layer(search, replace)
            if found:
                return self._only(found, search, where, layer.__name__.strip("_"))
        if any(_ELLIPSIS.fullmatch(line.strip()) for line in search):
            return self._elided(search, replace, where)
        return Complaint(where, _missing(search, self.lines), self._closest(search))

    # -- layers -----------------------------------------------------------------------------------------------------

    def _exact(self, search: Lines, replace: Lines) -> list[Place]:
        return [Place(at, search, replace, replace) for at in self._all("exact", bytes, search)]

    def _trimmed(self, search: Lines, replace: Lines) -> list[Place]:
        search, replace = _without_blank_ends(search, replace)
        return [Place(at, search, replace, replace) for at in self._all("trimmed", bytes.rstrip, search)]

    def _moved(self, search: Lines, replace: Lines) -> list[Place]:
        search, replace = _without_blank_ends(search, replace)
        places = []
        for at in self._all("moved", bytes.strip, search):
            there = self.lines[at : at + len(search)]
            move = _move(search, there, replace)
            if move is not None:
                places.append(Place(at, search, replace, [move(line) for line in replace]))
        return places

    def _elided(self, search: Lines, replace: Lines, where: str) -> Found | Complaint:
        """Match what stands between the `...` piece by piece; each must stand in one place, one after the other."""
        old, new = _pieces(search), _pieces(replace)
        if len(old) != len(new):
            what = f"the SEARCH leaves lines out {len(old) - 1} times (...), the REPLACE {len(new) - 1} times"
            return Complaint(where, what, self._closest(search))
        edits: list[Edit] = []
        for before, after in zip(old, new, strict=True):
            if not any(line.strip() for line in before):
                if any(line.strip() for line in after):
                    return Complaint(where, "the REPLACE has lines beside a ... where the SEARCH has none")
                continue
            found = self.replaced(before, after, where=where)
            if isinstance(found, Complaint):
                return found
            if edits and found.edits and found.edits[0].start < edits[-1].end:
                return Complaint(where, "the parts between the ... stand in another order in the file")
            edits += found.edits
        return Found(tuple(edits), "elided")

    # -- places -----------------------------------------------------------------------------------------------------

    def _all(self, name: str, key: Callable[[bytes], bytes], search: Lines) -> list[int]:
        """Return the indices at which the lines stand, compared by `key`; a few suffice where there are many."""
        if name not in self._keys:
            keys = [key(line) for line in self.lines]
            self._keys[name] = (b"\n" + b"\n".join(keys) + b"\n", [0, *accumulate(len(one) + 1 for one in keys)])
        text, starts = self._keys[name]
        wanted = b"\n" + b"\n".join(key(line) for line in search) + b"\n"
        found: list[int] = []
        at = text.find(wanted)
        while at >= 0 and len(found) < 1000:
            found.append(bisect_right(starts, at) - 1)
            at = text.find(wanted, at + 1)
        return found

    def _only(self, places: list[Place], search: Lines, where: str, layer: str) -> Found | Complaint:
        if len(places) > 1:
            what = f"the SEARCH fits {len(places)} places; add lines before or after it until it fits only one"
            shown = tuple(self._excerpt(one.first, one.last) for one in places[:_MOST_PLACES])
            return Complaint(where, what, shown)
        return Found(self._edits(places[0]), layer)

    def _edits(self, place: Place) -> tuple[Edit, ...]:
        """Return the edits that change a place's lines; those that the block keeps are not touched."""
        new = place.new
        end = line_end(self.ends[place.first : place.last] if any(self.ends[place.first : place.last]) else self.ends)
        pairs = [(-1, -1), *aligned(place.search, place.replace), (len(new), len(place.search))]
        edits = []
        for (new_before, old_before), (new_next, old_next) in pairwise(pairs):
            added = new[new_before + 1 : new_next]
            if not added and old_before + 1 == old_next:
                continue
            first, last = place.first + old_before + 1, place.first + old_next
            text = b"".join(line + end for line in added)
            start, stop = self._starts[first], self._starts[last]
            if last == len(self.lines) and not self.ends[-1]:  # the file's last line has no end, and gets none
                if added:
                    text = text[: -len(end)]
                    if first == last:
                        text = end + text
                elif first > 0:
                    start -= len(self.ends[first - 1])
            edits.append(Edit(start, stop, text))
        return tuple(edits)

    # -- what is near -----------------------------------------------------------------------------------------------

    def _excerpt(self, first: int, last: int) -> Excerpt:
        return excerpt(self.path, self.lines, first, last)

    def _closest(self, search: Lines) -> tuple[Excerpt, ...]:
        """Return the region that has most of the lines searched for; else that of the likest line; else nothing."""
        at = self._most_alike(search)
        return () if at is None else (self._excerpt(max(0, at), min(len(self.lines), max(0, at) + len(search))),)

    def _most_alike(self, search: Lines) -> int | None:
        where: dict[bytes, list[int]] = {}
        for number, line in enumerate(self.lines):
            where.setdefault(line.strip(), []).append(number)
        votes: Counter[int] = Counter()
        for number, line in enumerate(search):
            places = where.get(line.strip(), [])
            if len(line.strip()) > 1 and len(places) <= _COMMON:
                for place in places:
                    votes[place - number] += 1000 // len(places)
        if votes:
            return max(sorted(votes), key=lambda at: votes[at])
        longest = sorted(enumerate(search), key=lambda pair: -len(pair[1].strip()))[:3]
        for number, line in longest:  # a part of a line
            at = next(
                (at for at, there in enumerate(self.lines) if len(line.strip()) > 3 and line.strip() in there), None
            )
            if at is not None:
                return at - number
        texts = {line.decode("latin-1"): places[0] for line, places in where.items() if len(line) > 1}
        for number, line in longest:
            near = difflib.get_close_matches(line.strip().decode("latin-1")[:200], _short(texts), n=1, cutoff=0.5)
            if near:
                return texts[near[0]] - number
        return None


def _short(texts: dict[str, int]) -> list[str]:
    """Return the lines worth comparing letter by letter: difflib's time grows with the product of the lengths."""
    return [text for text in texts if len(text) <= 200][:20_000]


def _missing(search: Lines, lines: Lines) -> str:
    known = {line.strip() for line in lines}
    first = next((line for line in search if line.strip() and line.strip() not in known), None)
    if first is None:
        return "the SEARCH fits nowhere: each of its lines is in the file, but not these lines one below the other"
    return (
        "the SEARCH fits nowhere; copy the lines from the file. The first one that the file does not have: "
        f"{first.strip().decode('utf-8', 'replace')[:160]}"
    )


def _without_blank_ends(search: Lines, replace: Lines) -> tuple[Lines, Lines]:
    """Return both without the blank lines that both begin with or both end with."""
    begin, end = 0, 0
    shortest = min(len(search), len(replace))
    while begin < shortest and not search[begin].strip() and not replace[begin].strip():
        begin += 1
    while end < shortest - begin and not search[-1 - end].strip() and not replace[-1 - end].strip():
        end += 1
    return search[begin : len(search) - end], replace[begin : len(replace) - end]


def _pieces(lines: Lines) -> list[list[bytes]]:
    pieces: list[list[bytes]] = [[]]
    for line in lines:
        if _ELLIPSIS.fullmatch(line.strip()):
            pieces.append([])
        else:
            pieces[-1].append(line)
    return pieces


def _move(search: Lines, there: Lines, replace: Lines) -> Callable[[bytes], bytes] | None:
    """Return what moves a line as the file's lines are moved against the SEARCH; None when they are not moved alike.

    An indentation of the SEARCH must stand for one indentation of the file. One that only the replacement has is
    counted from the nearest smaller one that is known, at the scale that the known ones show.
    """
    known: dict[bytes, bytes] = {}
    for mine, theirs in zip(search, there, strict=True):
        if mine.strip() and known.setdefault(indent_of(mine), indent_of(theirs)) != indent_of(theirs):
            return None
    widths = sorted({columns(mine): theirs for mine, theirs in known.items()}.items())
    steps = [(columns(after[1]) - columns(before[1])) / (after[0] - before[0]) for before, after in pairwise(widths)]
    if any(step <= 0 for step in steps):
        return None
    tabs = any(theirs[:1] == b"\t" for theirs in known.values())
    scale = steps[0] if steps else _scale([*search, *replace], tabs=tabs)

    def moved(line: bytes) -> bytes:
        mine = indent_of(line)
        if not line.strip():
            return line
        if mine in known:
            return known[mine] + line[len(mine) :]
        width = columns(mine)
        base, theirs = next((pair for pair in reversed(widths) if pair[0] <= width), widths[0])
        target = max(0, columns(theirs) + round((width - base) * scale))
        return indentation(target, tabs=tabs) + line[len(mine) :]

    return moved


def _scale(lines: Lines, *, tabs: bool) -> float:
    """Return how many of the file's columns one of the block's is worth, where no two known indentations tell."""
    indents = {indent_of(line) for line in lines if line.strip()}
    if not tabs or any(b"\t" in indent for indent in indents):
        return 1.0
    widths = sorted(columns(indent) for indent in indents)
    step = min((after - before for before, after in pairwise(widths)), default=widths[0])
    return TAB / step if step in (2, 3, 4) else 1.0
