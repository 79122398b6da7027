# SPDX-License-Identifier: Apache-2.0
"""Sections of threads, from their begin and end markers: nested per thread, across batches.

A begin and its end belong to the thread of their rows. The pid of their payloads is of the writer's own namespace: on
phones that run Android programs in a container it is another in half of the markers.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from git_hmopt.runtime.batches import Integers
from git_hmopt.runtime.pairing import Pairing, Spans, by_key, last_of_key
from git_hmopt.traces.text_columns import Mask

_LEVEL_BITS = 12
TOO_DEEP = f"marker nested deeper than {1 << _LEVEL_BITS}"
NO_BEGIN = "end of a section that began before the capture, or never"
NO_END = "section that had not ended when the capture did"
_FAR = 1 << 30


@dataclass(frozen=True)
class _Depths:
    """Of some threads, sorted: how many sections are open, and after how many losses."""

    tid: Integers
    depth: Integers
    epoch: Integers


class Sections:
    """Matches ends to begins."""

    def __init__(self, losses: Counter[str]) -> None:
        self._losses = losses
        self._pairing = Pairing(losses, first=False)
        none = np.zeros(0, np.int64)
        self._depths = _Depths(none, none, none)

    def feed(self, tid: Integers, begins: Mask, ts: Integers, epoch: Integers, value: Integers) -> Spans:
        """Take begins and ends in order; return the sections that ended, their `value` that of their begin.

        The key of a section is its thread.
        """
        if not len(tid):
            return self._pairing.feed(tid, begins, ts, epoch, value)
        order = by_key(tid)
        tid, begins, ts, epoch, value = tid[order], begins[order], ts[order], epoch[order], value[order]
        depth = self._depth(tid, begins, epoch)
        level = depth - begins
        fine = level < 1 << _LEVEL_BITS
        if not fine.all():
            self._losses[TOO_DEEP] += int((~fine).sum())
        key = (tid[fine] << _LEVEL_BITS) | level[fine]
        spans = self._pairing.feed(key, begins[fine], ts[fine], epoch[fine], value[fine])
        return Spans(spans.key >> _LEVEL_BITS, spans.start, spans.end, spans.value)

    def _depth(self, tid: Integers, begins: Mask, epoch: Integers) -> Integers:
        """Return how many sections are open behind each point; an end without a begin leaves none open."""
        new = np.ones(len(tid), np.bool_)
        new[1:] = (tid[1:] != tid[:-1]) | (epoch[1:] != epoch[:-1])
        segment = np.cumsum(new) - 1
        starts = np.flatnonzero(new)
        steps = np.where(begins, 1, -1)
        summed = np.cumsum(steps)
        before = (summed - steps)[starts]
        raw = summed - before[segment] + self._carried(tid[starts], epoch[starts])[segment]
        # Later segments lie lower than all before them, so each has a minimum of its own.
        lowest = np.minimum.accumulate(raw - segment * _FAR) + segment * _FAR
        depth: Integers = raw - np.minimum(lowest, 0)
        last = last_of_key(tid)
        self._keep(_Depths(tid[last], depth[last], epoch[last]))
        return depth

    def _carried(self, tid: Integers, epoch: Integers) -> Integers:
        known = self._depths
        if not len(known.tid):
            return np.zeros(len(tid), np.int64)
        at = np.minimum(np.searchsorted(known.tid, tid), len(known.tid) - 1)
        return np.where((known.tid[at] == tid) & (known.epoch[at] == epoch), known.depth[at], 0)

    def _keep(self, new: _Depths) -> None:
        old = ~np.isin(self._depths.tid, new.tid, assume_unique=True)
        tid, depth, epoch = (
            np.concatenate([getattr(self._depths, column)[old], getattr(new, column)])
            for column in ("tid", "depth", "epoch")
        )
        order = np.argsort(tid)
        self._depths = _Depths(tid[order], depth[order], epoch[order])

    def unmatched(self) -> dict[str, int]:
        """Return how many ends and begins have no other half, by reason."""
        found = {NO_BEGIN: self._pairing.unopened, NO_END: self._pairing.unclosed}
        return {reason: count for reason, count in found.items() if count}
