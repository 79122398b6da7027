# SPDX-License-Identifier: Apache-2.0
"""From points in time to spans, for all keys of a batch at once; what is open at its end is carried into the next."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from git_hmopt.runtime.batches import Integers
from git_hmopt.traces.text_columns import Mask

MOST_OPEN = 1_000_000
"""Spans that are kept open at once; a capture of begins without ends may not fill the memory."""
BACKWARD = "span whose time goes back"
NEVER_ENDED = "span dropped while open: too many are"
_ROW_BITS = 24
_MOST_KEY = 1 << (63 - _ROW_BITS)


def by_key(key: Integers) -> NDArray[np.int64]:
    """Return the order that sorts by key and keeps that of equal keys."""
    if len(key) < 1 << _ROW_BITS and len(key) and int(key.max()) < _MOST_KEY and int(key.min()) >= 0:
        # Integers sort several times faster than a stable order is found.
        return np.sort((key << _ROW_BITS) | np.arange(len(key))) & ((1 << _ROW_BITS) - 1)
    return np.argsort(key, kind="stable")


def same_as_before(key: Integers) -> Mask:
    """Say of sorted keys which equal the one before."""
    same = np.zeros(len(key), np.bool_)
    same[1:] = key[1:] == key[:-1]
    return same


def last_of_key(key: Integers) -> Mask:
    """Say of sorted keys which are the last of their like."""
    last = np.ones(len(key), np.bool_)
    last[:-1] = key[1:] != key[:-1]
    return last


@dataclass(frozen=True)
class Spans:
    """Spans that ended in a batch, in the order of their ends' keys."""

    key: Integers
    start: Integers
    end: Integers
    value: Integers
    """What the opening said."""

    @property
    def length(self) -> Integers:
        """Nanoseconds of each."""
        return self.end - self.start

    def at(self, chosen: Mask | Integers) -> Spans:
        """Return some of them."""
        return Spans(self.key[chosen], self.start[chosen], self.end[chosen], self.value[chosen])

    def within(self, start: int, end: int) -> Spans:
        """Return the parts of them that lie in a time; what only touches it is left out."""
        begin, stop = np.maximum(self.start, start), np.minimum(self.end, end)
        inside = begin < stop
        return Spans(self.key[inside], begin[inside], stop[inside], self.value[inside])


class Pairing:
    """Pairs what opens a key with what closes it.

    Of several openings in a row the first counts, or the last: a thing asked for twice has waited since the first, a
    thing begun twice has lost an end between. A pair needs the same `epoch`: no events lost between its ends.
    """

    def __init__(self, losses: Counter[str], *, first: bool) -> None:
        self._losses, self._first = losses, first
        self._open = tuple(np.zeros(0, np.int64) for _ in range(4))
        self.unopened = 0

    def feed(self, key: Integers, opens: Mask, ts: Integers, epoch: Integers, value: Integers | None = None) -> Spans:
        """Take a batch's points in order and return what they close."""
        said = np.zeros(len(key), np.int64) if value is None else value
        carried = self._open
        key, ts, epoch, said = (np.concatenate(pair) for pair in zip(carried, (key, ts, epoch, said), strict=True))
        opens = np.concatenate([np.ones(len(carried[0]), np.bool_), opens])
        order = by_key(key)
        key, ts, epoch, said, opens = key[order], ts[order], epoch[order], said[order], opens[order]
        if self._first:
            again = same_as_before(key) & opens
            again[1:] &= opens[:-1] & (epoch[1:] == epoch[:-1])
            kept = ~again
            key, ts, epoch, said, opens = key[kept], ts[kept], epoch[kept], said[kept], opens[kept]
        follows = same_as_before(key)
        follows[1:] &= opens[:-1] & (epoch[1:] == epoch[:-1])
        at = np.flatnonzero(follows & ~opens)
        self.unopened += int((~opens).sum()) - len(at)
        kept = last_of_key(key) & opens
        self._open = self._bounded(key[kept], ts[kept], epoch[kept], said[kept])
        return _forward(Spans(key[at], ts[at - 1], ts[at], said[at - 1]), self._losses)

    @property
    def unclosed(self) -> int:
        """How many are open."""
        return len(self._open[0])

    def _bounded(self, *columns: Integers) -> tuple[Integers, ...]:
        count = len(columns[0])
        if count <= MOST_OPEN:
            return columns
        self._losses[NEVER_ENDED] += count - MOST_OPEN // 2
        # The youngest stay: what has been open longest has most likely lost its end.
        youngest = np.sort(np.argsort(columns[1], kind="stable")[-(MOST_OPEN // 2) :])
        return tuple(column[youngest] for column in columns)


class Holding:
    """Follows keys that hold one value until they hold the next: a CPU its thread, its frequency, its idle state."""

    def __init__(self, losses: Counter[str]) -> None:
        self._losses = losses
        self._held = tuple(np.zeros(0, np.int64) for _ in range(4))

    def feed(
        self, key: Integers, value: Integers, ts: Integers, epoch: Integers, before: Integers | None = None
    ) -> Spans:
        """Return how long the values were held that were replaced.

        `before` is what each point says was held until it: where the point before it said otherwise, one is missing.
        """
        carried = self._held
        left = value if before is None else before
        key, value, ts, epoch = (np.concatenate(pair) for pair in zip(carried, (key, value, ts, epoch), strict=True))
        left = np.concatenate([carried[1], left])
        order = by_key(key)
        key, value, ts, epoch, left = key[order], value[order], ts[order], epoch[order], left[order]
        follows = same_as_before(key)
        follows[1:] &= epoch[1:] == epoch[:-1]
        if before is not None:
            follows[1:] &= value[:-1] == left[1:]
        at = np.flatnonzero(follows)
        kept = last_of_key(key)
        self._held = (key[kept], value[kept], ts[kept], epoch[kept])
        return _forward(Spans(key[at], ts[at - 1], ts[at], value[at - 1]), self._losses)

    def until(self, end: int, lost: Mapping[int, int] | None = None) -> Spans:
        """Return how long what is held now has been when the capture ends.

        With `lost`, how often events of each key were lost, only that of which none were since.
        """
        key, value, ts, epoch = self._held
        fine = ts <= end
        if lost is not None:
            fine &= epoch == np.array([lost.get(one, 0) for one in key.tolist()], np.int64)
        return Spans(key[fine], ts[fine], np.full(int(fine.sum()), end, np.int64), value[fine])


def _forward(spans: Spans, losses: Counter[str]) -> Spans:
    wrong = spans.end < spans.start
    if not wrong.any():
        return spans
    losses[BACKWARD] += int(wrong.sum())
    return spans.at(~wrong)


class Disjoint:
    """Cuts spans so that no two of one key lie over each other, whatever came in which batch.

    Of two that do, the part of the one that ends later, or comes later, is left out: no time counts twice, and where
    one lies around another that came in an earlier batch some of its time counts not at all.
    """

    def __init__(self) -> None:
        self._upto: dict[int, int] = {}

    def cut(self, spans: Spans) -> Spans:
        """Return what is left of a batch's spans, by key and start."""
        order = np.lexsort((spans.start, spans.key))
        spans = spans.at(order)
        start = spans.start.copy()
        bounds = np.flatnonzero(np.append(~same_as_before(spans.key), True)).tolist()
        for first, behind in itertools.pairwise(bounds):
            key = int(spans.key[first])
            ends = np.maximum.accumulate(np.append(self._upto.get(key, 0), spans.end[first:behind]))
            start[first:behind] = np.maximum(start[first:behind], ends[:-1])
            self._upto[key] = int(ends[-1])
        left = start < spans.end
        return Spans(spans.key[left], start[left], spans.end[left], spans.value[left])


class Sums:
    """Counts and sums by key."""

    def __init__(self) -> None:
        self.total: Counter[int] = Counter()
        self.count: Counter[int] = Counter()

    def add(self, key: Integers, value: Integers | None = None) -> None:
        """Add a batch's values, of those that have none the count alone."""
        if not len(key):
            return
        order = np.argsort(key)
        ordered = key[order]
        starts = np.flatnonzero(~same_as_before(ordered))
        keys = ordered[starts].tolist()
        counts = np.diff(np.append(starts, len(ordered))).tolist()
        self.count.update(dict(zip(keys, counts, strict=True)))
        if value is not None:
            totals = np.add.reduceat(value[order], starts).tolist()
            self.total.update(dict(zip(keys, totals, strict=True)))
