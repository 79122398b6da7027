# SPDX-License-Identifier: Apache-2.0
"""What threads do between switches: when they became runnable and by whom, and how long they slept."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from git_hmopt.runtime.batches import Integers
from git_hmopt.runtime.pairing import Spans, by_key, last_of_key, same_as_before
from git_hmopt.traces.text_columns import Mask

WAKE, IN, OUT_RUNNABLE, OUT_ASLEEP, OUT_BLOCKED, SEEN = range(6)
"""What a point of a thread says: woken, switched in, switched out while runnable, asleep or uninterruptible, and that
some row shows it running."""


@dataclass(frozen=True)
class Waited:
    """What ended in a batch, by thread."""

    waits: Spans
    """From when it was runnable to when it was switched in; the value is who woke it, 0 after a preemption."""
    woken: Mask
    """Which of the waits a wakeup began."""
    asleep: Spans
    """From a switch out to the wakeup, or to where it is seen running; the value is 1 for an uninterruptible sleep."""


class Waits:
    """The state of every thread between batches: its last point, and who woke it."""

    def __init__(self) -> None:
        self._carried = tuple(np.zeros(0, np.int64) for _ in range(5))

    def feed(self, tid: Integers, kind: Integers, ts: Integers, epoch: Integers, waker: Integers) -> Waited:
        """Take threads' points in order, `waker` for those that are wakeups; return what they end."""
        tid, kind, ts, epoch, waker = (
            np.concatenate(pair) for pair in zip(self._carried, (tid, kind, ts, epoch, waker), strict=True)
        )
        order = by_key(tid)
        tid, kind, ts, epoch, waker = tid[order], kind[order], ts[order], epoch[order], waker[order]
        # A wakeup counts for a thread that is asleep or of which nothing is known, once.
        follows = same_as_before(tid)
        follows[1:] &= epoch[1:] == epoch[:-1]
        idle_wakeup = (kind == WAKE) & follows
        idle_wakeup[1:] &= ~_asleep(kind[:-1])
        kept = ~idle_wakeup
        tid, kind, ts, epoch, waker = tid[kept], kind[kept], ts[kept], epoch[kept], waker[kept]
        follows = same_as_before(tid)
        follows[1:] &= epoch[1:] == epoch[:-1]
        before = np.concatenate([np.full(1, SEEN), kind[:-1]])[: len(kind)]
        waited = np.flatnonzero(follows & (kind == IN) & ((before == WAKE) | (before == OUT_RUNNABLE)))
        slept = np.flatnonzero(follows & _asleep(before))
        last = last_of_key(tid)
        self._carried = (tid[last], kind[last], ts[last], epoch[last], waker[last])
        return Waited(
            Spans(tid[waited], ts[waited - 1], ts[waited], waker[waited - 1]),
            before[waited] == WAKE,
            Spans(tid[slept], ts[slept - 1], ts[slept], (before[slept] == OUT_BLOCKED).astype(np.int64)),
        )


def _asleep(kind: Integers) -> Mask:
    asleep: Mask = (kind == OUT_ASLEEP) | (kind == OUT_BLOCKED)
    return asleep


class Wakers:
    """Who asked for a wakeup: the thread of the sched_waking before it, where that is recorded.

    A sched_wakeup may run on the CPU that the thread is woken on, in whatever thread an interrupt meets there.
    """

    def __init__(self) -> None:
        self._asked = tuple(np.zeros(0, np.int64) for _ in range(2))

    @property
    def known(self) -> bool:
        """Say whether any sched_waking was seen."""
        return len(self._asked[0]) > 0

    def feed(self, waking: Integers, by: Integers, asked_at: Integers, woken: Integers, rows: Integers) -> Integers:
        """Return who woke each of `woken`, at `rows`; -1 where no sched_waking tells.

        `waking` are those that somebody (`by`) woke, at the rows `asked_at`.
        """
        known, asker = self._asked
        tid = np.concatenate([known, waking, woken])
        who = np.concatenate([asker, by, np.full(len(woken), -1)])
        row = np.concatenate([np.full(len(known), -1), asked_at, rows])
        order = np.lexsort((row, tid))
        tid, who, row = tid[order], who[order], row[order]
        asks = who >= 0
        found = np.full(len(tid), -1)
        follows = np.flatnonzero(same_as_before(tid) & ~asks)
        # Each is for one wakeup: -1 where another wakeup stands between.
        found[follows] = who[follows - 1]
        last = last_of_key(tid) & asks & (tid > 0)
        self._asked = (tid[last], who[last])
        result = np.empty(len(tid), np.int64)
        result[order] = found
        return result[len(tid) - len(woken) :]
