# SPDX-License-Identifier: Apache-2.0
"""The static impact of a pull request: what it touches, how hot that was, who reaches it, which knobs guard it.

Everything comes from what is known here already: the latest profiles, the structure graph as it stands, and the text of
both sides of the change. What is missing is said, and nothing is guessed in its place.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from git_hmopt.errors import StoreError
from git_hmopt.loop.structure import Changes
from git_hmopt.psg.approximate import written
from git_hmopt.psg.directives import Guard, directives
from git_hmopt.psg.facts import Kind
from git_hmopt.psg.impact import How, Touch, touches
from git_hmopt.records.words import Oid
from git_hmopt.store.graph import name_of
from git_hmopt.store.repository import Repository
from hmopt_bot.pulls.graphs import AGAIN, Graphs, GraphState, graphs_here
from hmopt_bot.pulls.heat import HOT, Heat, Heats, Profile, profiles
from hmopt_bot.pulls.sides import Aside, Reading, Sides, sides_of, untouched

MOST_ASKED = 300
"""Touches whose callers are looked up, the hot ones first: those of a struct that everybody uses take a tenth of a
second."""
MOST_CALLERS = 12
"""Callers that are kept of one touch: the hot ones, then the nearest."""


@dataclass(frozen=True)
class Caller:
    """A function that reaches a touched symbol, so many calls away, and how hot it is itself."""

    symbol: str
    distance: int
    heat: tuple[Heat, ...] = ()


@dataclass(frozen=True)
class Knob:
    """A config knob that decides about a touched symbol or a file."""

    name: str
    sense: str
    """`if`, `else` or `asked`, as the directive has it; `object` or `folder`, as kbuild does."""
    is_set: bool | None
    """Whether the build sets it; None where that is not known, or builds differ."""


@dataclass(frozen=True)
class Touched:
    """Something that the change touches; lines are head's, or base's of what was removed."""

    symbol: str
    """Its identity in the graph."""
    kind: Kind
    how: How
    file: str
    first_line: int
    last_line: int
    line: int
    """Its first line that base has not, else its first."""
    heat: tuple[Heat, ...] = ()
    callers: tuple[Caller, ...] | None = None
    """Some of those that reach it; None where they are not known."""
    callers_all: int = 0
    knobs: tuple[Knob, ...] = ()
    left_out: bool = False
    """Whether the builds that are known leave it out."""

    @property
    def share(self) -> float:
        """Return the largest of its shares, 0 where no profile names it."""
        return max((one.share for one in self.heat), default=0.0)

    @property
    def is_hot(self) -> bool:
        """Say whether it is hot itself."""
        return self.share >= HOT

    @property
    def share_above(self) -> float:
        """Return the largest share of those that reach it."""
        return max((one.share for caller in self.callers or () for one in caller.heat), default=0.0)


@dataclass(frozen=True)
class FileAside:
    """A file of which nothing stands among what is touched, and why; with the knobs that decide whether it is built."""

    path: str
    why: Aside
    before_path: str = ""
    """Where it was renamed: what it was called."""
    touches: int = 0
    """How much it touches, of a file that no unit includes."""
    knobs: tuple[Knob, ...] = ()


@dataclass(frozen=True)
class StaticImpact:
    """All of it; symbols and paths are as they are written, whatever stands in them."""

    base: Oid
    head: Oid
    files: int
    """Files that differ."""
    touched: tuple[Touched, ...]
    """The hottest first, then what the hottest reach, then the rest."""
    aside: tuple[FileAside, ...]
    profiles: tuple[Profile, ...]
    """One a configured workload."""
    graphs: tuple[GraphState, ...]
    """Those that were asked; none where there is none."""
    without_graph: tuple[str, ...] = ()
    """Builds of the same tree that have none, in words: what they alone compile is not known."""
    not_asked: int = 0
    """Touches whose callers nobody looked for, since there are so many."""
    notes: tuple[str, ...] = ()
    """What a reader must know, as Markdown of our own."""

    @property
    def hot(self) -> tuple[Touched, ...]:
        """Return what is hot itself."""
        return tuple(one for one in self.touched if one.is_hot)

    @property
    def measured(self) -> bool:
        """Say whether any workload has a profile."""
        return any(one.run for one in self.profiles)

    @property
    def changes_nothing_built(self) -> bool:
        """Say whether it is certain that no built object can be another for it, `__LINE__` left aside."""
        sure = all(one.why.changes_nothing_built for one in self.aside) and all(one.left_out for one in self.touched)
        rests_on_graph = bool(self.touched) or any(one.why is Aside.UNBUILT for one in self.aside)
        whole = not self.without_graph and all(one.at_base and not one.flawed for one in self.graphs)
        return sure and (whole or not rests_on_graph)


def static_impact(repository: Repository, changes: Changes, *, base: Oid, head: Oid) -> StaticImpact:
    """Return what a change from `base` to `head` touches, by what is known in `repository`.

    `repository` is the served one: its runs, its trusted configuration, its structure graphs as they stand (those of
    the builds in it nearest to `base`). `changes` has both sides of every file that differs, None for one that is not
    there or no plain file. Nothing is built, parsed by a compiler or run. Raises StoreError when the runs of the
    repository cannot be read; a graph that cannot be is a note.
    """
    listed, heats, notes = profiles(repository)
    try:
        with graphs_here(repository, changes, base) as (graphs, wrong):
            return _Asking(changes, graphs, heats).impact(base, head, listed, (*notes, *wrong))
    except StoreError:
        wrong = (f"a structure graph is damaged: {AGAIN}",)
    return _Asking(changes, Graphs(()), heats).impact(base, head, listed, (*notes, *wrong))


@dataclass(frozen=True)
class _Found:
    """A touch as the graph is asked about it: under the name that its file has in base."""

    touch: Touch
    sides: Sides
    heat: tuple[Heat, ...]


class _Asking:
    def __init__(self, changes: Changes, graphs: Graphs, heats: Heats) -> None:
        self._changes, self._graphs, self._heats = changes, graphs, heats
        self._uncertain: dict[str, None] = {}

    def impact(
        self, base: Oid, head: Oid, listed: tuple[Profile, ...], notes: tuple[str, ...]
    ) -> StaticImpact:  # fmt: skip
        aside: list[FileAside] = []
        touched: list[tuple[Touch, Sides]] = []
        reading = Reading()
        sides = sides_of(self._changes)
        for one in sides:
            why = reading.aside(one)
            found = touches(written(one.before_path), one.before, one.after) if why is None else []
            if why is None and not found:
                why = untouched(one)
            if why in (None, Aside.COMMENTS, Aside.COMMENTS_AND_LINES, Aside.ORDER) and self._is_unbuilt(one, found):
                why = Aside.UNBUILT
            if why is None:
                touched += [(touch, one) for touch in found]
            else:
                aside.append(self._aside(one, why, len(found)))
        told = self._touched(touched)
        if self._uncertain:
            some = len(self._uncertain)
            what = "a function has a hot one's name" if some == 1 else f"{some} functions have hot ones' names"
            notes = (*notes, f"{what}, and the profile does not say of which file: no share is told")
        return StaticImpact(
            base, head, len(sides), tuple(told), tuple(aside), listed, self._graphs.states,
            self._graphs.lacking, max(0, len(touched) - MOST_ASKED) if self._graphs else 0, notes,
        )  # fmt: skip

    # -- files ------------------------------------------------------------------------------------------------------

    def _is_unbuilt(self, one: Sides, found: Sequence[Touch]) -> bool:
        """Say whether a file was there and no unit opened it; of a new one the graph cannot know.

        What a profile names was built, by a build that has no graph.
        """
        new = one.is_renamed or one.before is None
        known = bool(self._graphs) and not new and not self._graphs.includes(written(one.before_path))
        return known and not any(self._heat_of_touch(touch, {}) for touch in found)

    def _aside(self, one: Sides, why: Aside, found: int) -> FileAside:
        before = written(one.before_path) if one.is_renamed else ""
        return FileAside(written(one.path), why, before, found, self._knobs_of_file(one))

    def _knobs_of_file(self, one: Sides) -> tuple[Knob, ...]:
        knobs = self._graphs.knobs_of_file(written(one.before_path))
        return tuple(Knob(knob.knob, knob.sense, self._graphs.is_set(knob.knob)) for knob in knobs)

    # -- what is touched --------------------------------------------------------------------------------------------

    def _touched(self, touched: Sequence[tuple[Touch, Sides]]) -> list[Touched]:
        removed = {name_of(touch.symbol): touch for touch, _ in touched if touch.how == "removed"}
        found = [_Found(touch, sides, self._heat_of_touch(touch, removed)) for touch, sides in touched]
        found.sort(key=lambda one: (-_hottest(one.heat), one.touch.kind is not Kind.FUNCTION))
        told = []
        by_file: dict[str, _File] = {}
        for number, one in enumerate(found):
            file = by_file.get(one.sides.path)
            if file is None:
                file = by_file[one.sides.path] = _File(one.sides, self._knobs_of_file(one.sides))
            told.append(self._told(one, file, asked=number < MOST_ASKED))
        return sorted(told, key=_order)

    def _heat_of_touch(self, touch: Touch, removed: dict[str, Touch]) -> tuple[Heat, ...]:
        """Return how hot a function was in base; one that moved there from another file is what it was."""
        name = name_of(touch.symbol)
        if touch.kind is not Kind.FUNCTION or (touch.how == "added" and name not in removed):
            return ()
        was = removed[name] if touch.how == "added" else touch
        return self._heat(self._graphs.defined_as(was.symbol, was.file) or was.symbol, was.file)

    def _heat(self, symbol: str, file: str) -> tuple[Heat, ...]:
        name = name_of(symbol)
        alone = self._graphs.named(name) == {symbol}
        if not alone and self._heats.uncertain(name):
            self._uncertain[name] = None
        return self._heats.of(name, file, alone=alone)

    def _told(self, one: _Found, file: _File, *, asked: bool) -> Touched:
        touch = one.touch
        symbol = self._graphs.defined_as(touch.symbol, touch.file) if asked else None
        reaching = self._graphs.reached(symbol) if symbol is not None else ()
        text = (one.sides.before if touch.how == "removed" else one.sides.after) or b""
        around = tuple(self._knobs_around(file.guards(text), touch))
        return Touched(
            symbol=touch.symbol,
            kind=touch.kind,
            how=touch.how,
            file=written(one.sides.before_path if touch.how == "removed" else one.sides.path),
            first_line=touch.first_line,
            last_line=touch.last_line,
            line=file.first_new(touch) if touch.how != "removed" else touch.first_line,
            heat=one.heat,
            callers=self._callers(reaching) if symbol is not None else None,
            callers_all=len(reaching),
            knobs=(*around, *file.knobs),
            left_out=symbol is not None and self._is_left_out(symbol, touch, around, file.line(text, touch.first_line)),
        )

    def _is_left_out(self, symbol: str, touch: Touch, around: Iterable[Knob], head: bytes) -> bool:
        """Say whether the builds leave a function out: only its text is known, and a knob around it speaks against it.

        What a macro defines, `BPF_CALL_1(name, ...)`, units know under a name of the macro's making.
        """
        against = any(knob.is_set is not None and (knob.sense == "if") != knob.is_set for knob in around)
        made = re.match(rb"\s*\w+\s*\(\s*" + re.escape(name_of(touch.symbol).encode()) + rb"\s*[,)]", head)
        return touch.how != "added" and against and not made and self._graphs.only_text(symbol, touch.file)

    def _callers(self, reaching: Iterable[tuple[str, int]]) -> tuple[Caller, ...]:
        """Return the nearest hot ones, then the nearest."""
        found = [Caller(symbol, away, self._caller_heat(symbol)) for symbol, away in reaching]
        found.sort(key=lambda one: (_hottest(one.heat) < HOT, one.distance, -_hottest(one.heat), one.symbol))
        return tuple(found[:MOST_CALLERS])

    def _caller_heat(self, symbol: str) -> tuple[Heat, ...]:
        if not self._heats.names(name_of(symbol)):
            return ()
        file, _, _ = symbol.rpartition(":")
        return self._heat(symbol, file)

    def _knobs_around(self, guards: Iterable[Guard], touch: Touch) -> Iterator[Knob]:
        """Yield the knobs whose conditions stand around all of a touch."""
        if touch.kind is Kind.FILE:
            return
        around = {
            (one.knob, one.sense): None
            for one in guards
            if one.sense != "asked" and one.first_line <= touch.first_line and touch.last_line <= one.last_line
        }
        for knob, sense in around:
            yield Knob(knob, sense, self._graphs.is_set(knob))


class _File:
    """What is found out once of a file of which something is touched."""

    def __init__(self, sides: Sides, knobs: tuple[Knob, ...]) -> None:
        self.knobs = knobs
        self._before = frozenset((sides.before or b"").split(b"\n"))
        self._after = (sides.after or b"").split(b"\n")
        self._guards: dict[bytes, tuple[Guard, ...]] = {}

    def first_new(self, touch: Touch) -> int:
        """Return the first line of a touch that the old text has nowhere, else the touch's first."""
        lines = range(touch.first_line, min(touch.last_line, len(self._after)) + 1)
        new = (line for line in lines if self._after[line - 1] not in self._before)
        return min(next(new, touch.first_line), len(self._after))

    @staticmethod
    def line(text: bytes, number: int) -> bytes:
        """Return a line of a side."""
        lines = text.split(b"\n", number)
        return lines[number - 1] if number <= len(lines) else b""

    def guards(self, text: bytes) -> tuple[Guard, ...]:
        """Return the guards of one side."""
        if text not in self._guards:
            self._guards[text] = directives(text).guards
        return self._guards[text]


def _hottest(heat: Sequence[Heat]) -> float:
    return max((one.share for one in heat), default=0.0)


def _order(one: Touched) -> tuple[bool, float, float, bool, bool, str, int, str]:
    """Order what is touched: the hot, what hot ones reach, what is built, functions, by place."""
    place = (one.file, one.first_line, one.symbol)
    return (not one.is_hot, -one.share, -one.share_above, one.left_out, one.kind is not Kind.FUNCTION, *place)
