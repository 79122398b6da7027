# SPDX-License-Identifier: Apache-2.0
"""Percentiles by key of more values than fit into memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from git_hmopt.runtime.batches import Integers

PERCENTS = (50, 95, 99)
MOST = 2_000_000
"""Different values, over all keys, that are kept exactly; traces in microseconds have a few thousand a thread."""
_KEPT_BITS = 10
_PENDING = 500_000


@dataclass(frozen=True)
class Percentiles:
    """Of one key: how many values, and by the nearest rank the value that so many percent do not exceed."""

    n: int
    at: Mapping[int, int]


class Distribution:
    """How often each key had each value, none of them negative."""

    def __init__(self) -> None:
        self.exact = True
        """Whether percentiles are values that occurred; else they are rounded down by less than 0.2 %."""
        self._merged = (np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.int64))
        self._new: list[tuple[Integers, Integers]] = []
        self._waiting = 0

    def add(self, key: Integers, value: Integers) -> None:
        """Add a batch's values."""
        if len(key):
            self._new.append((key, value))
            self._waiting += len(key)
        if self._waiting > _PENDING:
            self._merge()

    def _merge(self) -> None:
        key, value, count = (
            np.concatenate(parts)
            for parts in (
                (self._merged[0], *(key for key, _ in self._new)),
                (self._merged[1], *(value for _, value in self._new)),
                (self._merged[2], np.ones(self._waiting, np.int64)),
            )
        )
        self._new, self._waiting = [], 0
        self._merged = _grouped(key, value if self.exact else _rounded(value), count)
        if self.exact and len(self._merged[0]) > MOST:
            self.exact = False
            self._merged = _grouped(self._merged[0], _rounded(self._merged[1]), self._merged[2])

    def percentiles(self, groups: Mapping[int, int] | None = None) -> dict[int, Percentiles]:
        """Return them by key, or by what `groups` calls a key; keys that it does not know are left out."""
        if self._waiting:
            self._merge()
        key, value, count = self._merged
        if groups is not None:
            unique, inverse = np.unique(key, return_inverse=True)
            named = np.array([groups.get(one, -1) for one in unique.tolist()], np.int64)
            key = named[inverse] if len(key) else key
            known = key >= 0
            key, value, count = _grouped(key[known], value[known], count[known])
        if not len(key):
            return {}
        starts = np.flatnonzero(np.append(True, key[1:] != key[:-1]))
        upto = np.cumsum(count)
        before = np.append(0, upto[starts[1:] - 1])
        n = np.add.reduceat(count, starts)
        ranks = {percent: value[np.searchsorted(upto, before - (-n * percent // 100))] for percent in PERCENTS}
        return {
            one: Percentiles(int(n[index]), {percent: int(ranks[percent][index]) for percent in PERCENTS})
            for index, one in enumerate(key[starts].tolist())
        }

    def overall(self) -> Percentiles | None:
        """Return those of all keys together; None when there was no value."""
        if self._waiting:
            self._merge()
        return self.percentiles(dict.fromkeys(np.unique(self._merged[0]).tolist(), 0)).get(0)


def _rounded(value: Integers) -> Integers:
    size = np.maximum(np.floor(np.log2(np.maximum(value, 1))).astype(np.int64) - _KEPT_BITS, 0)
    return (value >> size) << size


def _grouped(key: Integers, value: Integers, count: Integers) -> tuple[Integers, Integers, Integers]:
    """Return the counts of equal pairs, sorted by key, then value."""
    if not len(key):
        return key, value, count
    order = np.lexsort((value, key))
    key, value, count = key[order], value[order], count[order]
    starts = np.flatnonzero(np.append(True, (key[1:] != key[:-1]) | (value[1:] != value[:-1])))
    return key[starts], value[starts], np.add.reduceat(count, starts)
