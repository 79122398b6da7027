# SPDX-License-Identifier: Apache-2.0
"""Answers to agents as text: cleaned line by line, whole lines as far as the bound allows, and what was left out.

What is told comes from source, traces and other people's records. Nothing of it moves a terminal's cursor, reorders
what is shown or makes a line of its own; who puts an answer into a prompt fences it as data.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from git_hmopt.agents.tools import ANSWER_BYTES
from git_hmopt.config.document import printable

LINE = 500
"""Characters that are shown of a line."""
NAME = 120
"""Characters that are shown of a name."""
_WORD = 200
"""Characters of a word that others are held against: difflib takes its time."""
_MOST_COMPARED = 20_000
_MOST_PLACES = 12


def cleaned(line: str) -> str:
    """Return a line as it may be shown: its tabs kept, other control characters as escapes, its end cut if it is long.

    Every character of the result has at most four bytes of UTF-8, and there are at most LINE and a few of them.
    """
    # Before it is escaped as well: a line may have megabytes.
    start = line[: LINE + 1]
    shown = "\t".join(map(printable, start.removesuffix("\r").split("\t")))
    if len(shown) <= LINE and len(line) <= LINE + 1:
        return shown
    return f"{shown[:LINE]}... [the line has {len(line)} characters]"


def named(text: str) -> str:
    """Return a name as it stands within a line."""
    shown = printable(" ".join(text[: 4 * NAME].split()))
    return shown if len(shown) <= NAME else f"{shown[: NAME - 3]}..."


def answered(lines: Iterable[str], *, less: str) -> str:
    """Return lines as an answer within the bound; one that does not hold all says `less`, how to ask for less.

    A line break within a line is shown as an escape: a file's name may have one, and makes no line with it.
    """
    every = list(lines)
    return _fitted(every, lambda kept: f"[{len(every) - kept} more lines left out; {less}]")


def _fitted(lines: Sequence[str], closing: Callable[[int], str]) -> str:
    """Return as many lines as fit, and what `closing` says of so many where not all do."""
    kept: list[str] = []
    used = 0
    for line in lines:
        shown = cleaned(line)
        used += len(shown.encode()) + 1
        if used > ANSWER_BYTES + 1:
            break
        kept.append(shown)
    if len(kept) == len(lines):
        return "\n".join(kept)
    end = cleaned(closing(len(kept)))
    while kept and len("\n".join([*kept, end]).encode()) > ANSWER_BYTES:
        kept.pop()
        end = cleaned(closing(len(kept)))
    return "\n".join([*kept, end])


# -- what is not there ----------------------------------------------------------------------------------------------


def nearest(word: str, known: Iterable[str], *, most: int = 3) -> list[str]:
    """Return the known names that look most like a word; of very many those with its beginning or its end alone."""
    short = word[:_WORD]
    names = [name[:_WORD] for name in dict.fromkeys(known)]
    if len(names) > _MOST_COMPARED:
        names = [name for name in names if name[:3] == short[:3] or name[-3:] == short[-3:]][:_MOST_COMPARED]
    return difflib.get_close_matches(short, sorted(names), n=most, cutoff=0.6)


def did_you_mean(near: Sequence[str]) -> str:
    """Return the nearest names as a question behind a refusal; nothing where none is near."""
    return f"; did you mean {', '.join(repr(named(one)) for one in near)}?" if near else ""


# -- source ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Excerpt:
    """Lines of a file of the commit that is asked about; both ends count, from 1."""

    path: str
    first: int
    last: int
    what: str = ""
    """What stands there: `function do_swap`."""


def excerpted(excerpt: Excerpt, data: bytes) -> str:
    """Return the lines of a file's bytes, with how to ask for those that did not fit."""
    lines = lines_of(data)
    last = min(excerpt.last, len(lines))
    what = f", {excerpt.what}" if excerpt.what else ""
    end = f" of {len(lines)}" if not excerpt.what else ""
    head = f"{named(excerpt.path)}:{excerpt.first}-{last}{end}{what}:"
    # What follows the head stands as it is in the file, so that an edit can quote it.
    shown = [line.decode(errors="replace") for line in lines[excerpt.first - 1 : last]]

    def left(kept: int) -> str:
        following = excerpt.first + max(kept - 1, 0)
        return (
            f"[lines {following}-{last} left out: this answer is full; ask for them:"
            f" source {excerpt.path}:{following}-{last}]"
        )

    return _fitted([head, *shown], left)


def lines_of(data: bytes) -> list[bytes]:
    """Return a file's lines; the end of the last one makes no further line."""
    lines = data.split(b"\n")
    return lines[:-1] if len(lines) > 1 and not lines[-1] else lines


def several_places(symbol: str, places: Sequence[Excerpt], hot: Excerpt | None) -> str:
    """Return where a name is defined several times, and which of those the profile shows, where that is known."""
    lines = [f"'{named(symbol)}' is defined in {len(places)} places; ask for one of them:"]
    for one in places[:_MOST_PLACES]:
        mark = " - the hotspot of the profile" if hot is not None and _same(one, hot) else ""
        lines.append(f"source {one.path}:{one.first}-{one.last} ({one.what}){mark}")
    if len(places) > _MOST_PLACES:
        lines.append(f"and {len(places) - _MOST_PLACES} more")
    return answered(lines, less="ask with its file: source PATH:FIRST-LAST")


def _same(one: Excerpt, other: Excerpt) -> bool:
    return one.path == other.path and one.first <= other.last and other.first <= one.last
