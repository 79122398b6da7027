# SPDX-License-Identifier: Apache-2.0
"""A batch of events as numpy columns, with what is asked of it more than once found once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from functools import cached_property

import numpy as np
import polars as pl
from numpy.typing import NDArray

from git_hmopt.traces.capture import LOST_EVENTS
from git_hmopt.traces.text_columns import Mask, Places, TextColumns

Integers = NDArray[np.int64]
AT_ONCE = 200_000
"""Rows of a batch, about: with fewer a tenth of the time goes to the number of operations, not to the rows."""
UNKNOWN = -1
"""A number that is not there; no time, id or size of a trace is negative."""


class Args:
    """The `key=value` texts of some events; the values of a key are found for all of them at once."""

    def __init__(self, texts: pl.Series) -> None:
        self.texts = texts
        # A key is behind a blank or, as the first one, behind a line end.
        self._text = TextColumns(texts.str.join("\n").item().encode() if len(texts) else b"")
        sizes = texts.str.len_bytes().to_numpy().astype(np.int64)
        ends = np.cumsum(sizes + 1) - 1
        self._starts: Places = ends - sizes + self._text.begin
        self._ends = ends + self._text.begin
        self._places: dict[str, Places] = {}
        self._numbers: dict[str, Integers] = {}

    @cached_property
    def _equals(self) -> tuple[Places, Places, NDArray[np.uint64]]:
        """Where equal signs are, of which event they are, and the eight bytes before them."""
        at = self._text.all("=")
        return at, np.searchsorted(self._starts, at, side="right") - 1, self._text.eights(at - 8)

    def places(self, key: str) -> Places:
        """Return where the key's values begin, UNKNOWN where it is not among the pairs; of several the first."""
        if key not in self._places:
            self._places[key] = self._find(key)
        return self._places[key]

    def _find(self, key: str) -> Places:
        found = np.full(len(self._starts), UNKNOWN, np.int64)
        if not len(found):
            return found
        at, event, before = self._equals
        known = key[-8:].encode()
        shift = np.uint64(8 * (8 - len(known)))
        hits = np.flatnonzero((before >> shift) == np.uint64(int.from_bytes(known, "little")))
        for back, character in enumerate(reversed(key[:-8]), start=9):
            hits = hits[self._text.is_at(at[hits] - back, character)]
        hits = hits[self._text.is_at(at[hits] - len(key) - 1, " \n")]
        # The last one written stays, so the first of an event is written last.
        found[event[hits[::-1]]] = at[hits[::-1]] + 1
        return found

    def number(self, key: str) -> Integers:
        """Return the key's values, UNKNOWN where there is none."""
        if key not in self._numbers:
            self._numbers[key] = self._number(self.places(key))
        return self._numbers[key].copy()

    def cut(self, key: str, ends: str) -> pl.Series:
        """Return the texts from `key=` to the first of some characters or to the event's end; empty without the key."""
        at = self.places(key)
        start = np.maximum(at, 0)
        until = self._ends
        for character in ends:
            all_of_them = np.append(self._text.all(character), len(self._text.raw))
            until = np.minimum(until, all_of_them[np.searchsorted(all_of_them[:-1], start)])
        return self._text.cut(start, np.where(at >= 0, until, start))

    def begins(self, key: str, word: str) -> Mask:
        """Say where the key's value begins with a word of at most eight bytes."""
        at = self.places(key)
        wanted, shift = word.encode(), np.uint64(8 * (8 - len(word)))
        eights = self._text.eights(np.maximum(at, 0)) << shift
        same: Mask = eights == np.uint64(int.from_bytes(wanted, "little")) << shift
        return same & (at >= 0)

    def number_behind(self, literal: str) -> Integers:
        """Return the numbers behind a text and blanks, `now: 12`; UNKNOWN where there is none."""
        if not len(self.texts):
            return self._starts
        found = self.texts.str.find(literal, literal=True).fill_null(UNKNOWN).to_numpy().astype(np.int64)
        at = np.where(found >= 0, self._starts + found + len(literal), UNKNOWN)
        return self._number(np.where(at >= 0, self._text.skip(np.maximum(at, 0), " ", most=4), UNKNOWN))

    def _number(self, at: Places) -> Integers:
        if not len(at):
            return at
        start = np.maximum(at, 0)
        value, end = self._text.number(start, self._ends)
        # Digits that go on behind those that were read: no number of a trace is that large.
        whole = (end == self._ends) | ~self._text.is_at(end, "0123456789")
        return np.where((at >= 0) & (end > start) & whole, value, UNKNOWN)

    def letter(self, key: str) -> NDArray[np.uint8]:
        """Return the first byte of the key's values, 0 where there is none."""
        at = self.places(key)
        return np.where(at >= 0, self._text.bytes[np.maximum(at, 0)], 0).astype(np.uint8)

    def words(self, rows: Places, key: str, following: str) -> list[str]:
        """Return the texts from `key=` to ` following=` of some rows, for names that may hold blanks."""
        starts = self.places(key)[rows].tolist()
        ends = (self.places(following)[rows] - len(following) - 2).tolist()
        raw = self._text.raw
        return [raw[start:end].decode() if 0 <= start <= end else "" for start, end in zip(starts, ends, strict=True)]


class Batch:
    """Some events in the capture's order. Times, ids and CPUs are UNKNOWN where the capture does not tell."""

    def __init__(self, frame: pl.DataFrame, lost: Counter[int], lost_before: int) -> None:
        self.frame = frame
        numbers = frame.select(pl.col("ts_ns", "cpu", "tid", "pid").cast(pl.Int64).fill_null(UNKNOWN))
        self.ts, self.cpu, self.tid, self.pid = (column.to_numpy() for column in numbers)
        self.names = frame["name"].fill_null("")
        self._lost, self._lost_before = lost, lost_before
        self._rows: dict[tuple[str, ...], Places] = {}
        self._args: dict[tuple[str, ...], Args] = {}

    def __len__(self) -> int:
        return len(self.frame)

    def rows(self, *names: str) -> Places:
        """Return which rows are kernel events of one of the names, in order."""
        if names not in self._rows:
            found = [self._by_name[name] for name in names if name in self._by_name]
            self._rows[names] = np.sort(np.concatenate(found)) if found else np.zeros(0, np.int64)
        return self._rows[names]

    def are(self, name: str) -> Mask:
        """Say of all rows which are kernel events of the name."""
        found = np.zeros(len(self), np.bool_)
        found[self.rows(name)] = True
        return found

    @cached_property
    def _by_name(self) -> dict[str, Places]:
        # A program may call its section what the kernel calls an event.
        kernel = pl.DataFrame({"name": self.names, "row": np.arange(len(self))}).filter(~self._is_marker)
        groups = kernel.group_by("name").agg(pl.col("row"))
        return {name: rows.to_numpy() for name, rows in zip(groups["name"].to_list(), groups["row"], strict=True)}

    def args(self, *names: str) -> Args:
        """Return the arguments of the rows that `rows` returns."""
        if names not in self._args:
            self._args[names] = Args(self.frame["args"].gather(self.rows(*names)).fill_null(""))
        return self._args[names]

    @cached_property
    def _is_marker(self) -> pl.Series:
        return (self.frame["category"] == "marker").fill_null(False)

    def markers(self, opens: str = "B", closes: str = "E") -> tuple[Places, Mask]:
        """Return which rows open or close a section, by their phases, in order, and which of them open one."""
        marked = np.flatnonzero(self._is_marker.to_numpy())
        args = self.frame["args"].gather(marked)
        opening = args.str.starts_with(f"phase={opens}").fill_null(False).to_numpy()
        chosen = opening | args.str.starts_with(f"phase={closes}").fill_null(False).to_numpy()
        chosen &= self.tid[marked] >= 0
        return marked[chosen], opening[chosen]

    @cached_property
    def epoch(self) -> Integers:
        """How often events were lost anywhere before each row: what spans a loss has an unknown course."""
        steps = np.zeros(len(self), np.int64)
        steps[self.rows(LOST_EVENTS)] = 1
        return np.cumsum(steps) + self._lost_before

    @cached_property
    def cpu_epoch(self) -> Integers:
        """How often events of the row's own CPU were lost before it."""
        counted = np.zeros(len(self), np.int64)
        for cpu, count in self._lost.items():
            counted[self.cpu == cpu] = count
        for row in self.rows(LOST_EVENTS).tolist():
            counted[row:] += self.cpu[row:] == self.cpu[row]
        return counted


def gathered(frames: Iterable[pl.DataFrame]) -> Iterator[pl.DataFrame]:
    """Yield the frames put together to such as are worth an operation; what is large enough stays as it is."""
    waiting: list[pl.DataFrame] = []
    rows = 0
    for frame in frames:
        if len(frame):
            waiting.append(frame)
            rows += len(frame)
        if rows >= AT_ONCE:
            yield _together(waiting)
            waiting, rows = [], 0
    if waiting:
        yield _together(waiting)


def _together(frames: list[pl.DataFrame]) -> pl.DataFrame:
    return frames[0] if len(frames) == 1 else pl.concat(frames, rechunk=True)


def batches(frames: Iterable[pl.DataFrame]) -> Iterator[Batch]:
    """Yield the frames as batches that know what was lost in those before."""
    lost: Counter[int] = Counter()
    for frame in frames:
        batch = Batch(frame, lost.copy(), lost.total())
        yield batch
        lost.update(batch.cpu[batch.rows(LOST_EVENTS)].tolist())
