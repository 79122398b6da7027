# SPDX-License-Identifier: Apache-2.0
"""When a capture suffered: its worst late frames, waits for a CPU, interrupt storms and stalls of allocations.

A symptom is a time and what was lost in it. Each kind has a rule of its own; nanoseconds of two kinds are compared only
to put what lost most time first.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from git_hmopt.runtime.batches import Integers
from git_hmopt.runtime.frames import JankWindow
from git_hmopt.runtime.irq import NUMBER_BITS, InterruptSpans
from git_hmopt.runtime.pairing import Disjoint, Spans
from git_hmopt.runtime.reclaim import Stalls
from git_hmopt.runtime.sched import Sched, SchedSpans

Kind = Literal["late-frame", "wakeup-wait", "preempted-wait", "interrupts", "reclaim", "compaction"]
OF_A_KIND = 8
"""Symptoms of a kind that are kept while a capture is read: the worst."""
MOST = 12
"""Symptoms of a capture that are told."""
LEAST_WAIT = 1_000_000
"""Nanoseconds; a tick of the fastest clock that schedulers have (CONFIG_HZ=1000): a shorter wait is no spike."""
BUCKET = 10_000_000
"""Nanoseconds that are looked at for interrupts at once; a frame at 100 Hz."""
STORM = 0.5
"""The share of a CPU's time from which interrupts are called a storm, as the kernel's watchdog does
(HARDIRQ_PERCENT_THRESH of kernel/watchdog.c, since 6.10)."""
_BUCKETS = 1 << 16
_KEPT_BUCKETS = 1 << 12
_BUCKET_BITS = 40

WOKEN_RULE = "the longest times from a wakeup until the thread was switched in, of 1 ms and more"
PREEMPTED_RULE = "the longest times from a switch out while runnable until the thread was switched in, of 1 ms and more"
STORM_RULE = "times in which handlers of interrupts and softirqs had at least half of a CPU, in steps of 10 ms"
RECLAIM_RULE = "the longest direct reclaims: an allocation frees memory itself before it goes on"
COMPACTION_RULE = "the longest compactions by a thread that allocates"


@dataclass(frozen=True)
class Symptom:
    """A time of a capture in which something was slow; both ends are of the capture's own clock."""

    kind: Kind
    start_ns: int
    end_ns: int
    lost_ns: int
    """How late a frame was, how long a thread waited, how long handlers ran, how long an allocation stood still."""
    tid: int | None
    cpu: int | None
    who: str
    """The thread, or the CPU."""
    rule: str


class _Worst:
    """The longest spans; of equal ones the earlier, so that batches of any size keep the same."""

    def __init__(self) -> None:
        none = np.zeros(0, np.int64)
        self.spans = Spans(none, none, none, none)

    def add(self, spans: Spans) -> None:
        known = self.spans
        if len(known.key) == OF_A_KIND:
            spans = spans.at(spans.length >= known.length[-1])
        if not len(spans.key):
            return
        both = Spans(*(np.concatenate([getattr(known, one), getattr(spans, one)]) for one in Spans.__annotations__))
        self.spans = both.at(np.lexsort((both.key, both.start, -both.length))[:OF_A_KIND])


class _Storms:
    """Time in handlers by CPU and step of time; old steps that are no storm are forgotten."""

    def __init__(self) -> None:
        self._disjoint = Disjoint()
        self._taken: Counter[int] = Counter()
        self._long = _Worst()

    def add(self, found: InterruptSpans) -> None:
        parts = (found.hard, found.soft)
        spans = Spans(*(np.concatenate([getattr(one, name) for one in parts]) for name in Spans.__annotations__))
        if not len(spans.key):
            return
        spans = self._disjoint.cut(Spans(spans.key >> NUMBER_BITS, spans.start, spans.end, spans.value))
        long = spans.length >= BUCKET
        self._long.add(spans.at(long))
        spans = spans.at(~long)
        first, last = spans.start // BUCKET, (spans.end - 1) // BUCKET
        in_first = np.minimum(spans.end, (first + 1) * BUCKET) - spans.start
        self._count(spans.key, first, in_first)
        over = last > first
        self._count(spans.key[over], last[over], (spans.length - in_first)[over])
        if len(self._taken) > _BUCKETS:
            self._forget()

    def _count(self, cpu: Integers, bucket: Integers, taken: Integers) -> None:
        keys, inverse = np.unique((cpu << _BUCKET_BITS) | bucket, return_inverse=True)
        sums = np.zeros(len(keys), np.int64)
        np.add.at(sums, inverse, taken)
        self._taken.update(dict(zip(keys.tolist(), sums.tolist(), strict=True)))

    def _forget(self) -> None:
        newest = sorted(self._taken, key=lambda key: -_bucket(key))[:_KEPT_BUCKETS]
        hot = sorted(self._hot(), key=lambda key: (-self._taken[key], key))[:_KEPT_BUCKETS]
        self._taken = Counter({key: self._taken[key] for key in (*newest, *hot)})

    def _hot(self) -> list[int]:
        return [key for key, taken in self._taken.items() if taken >= STORM * BUCKET]

    def results(self) -> Iterator[Symptom]:
        """Yield the storms; steps that follow each other are one."""
        for cpu, start, end in zip(*(one.tolist() for one in _columns(self._long.spans)), strict=True):
            yield _storm(cpu, start, end, end - start)
        runs: list[list[int]] = []
        for key in sorted(self._hot()):
            if runs and key == runs[-1][-1] + 1:
                runs[-1].append(key)
            else:
                runs.append([key])
        for run in runs:
            start = _bucket(run[0]) * BUCKET
            taken = sum(self._taken[key] for key in run)
            yield _storm(run[0] >> _BUCKET_BITS, start, start + len(run) * BUCKET, taken)


def _columns(spans: Spans) -> tuple[Integers, Integers, Integers]:
    return spans.key, spans.start, spans.end


def _bucket(key: int) -> int:
    return key & ((1 << _BUCKET_BITS) - 1)


def _storm(cpu: int, start: int, end: int, taken: int) -> Symptom:
    return Symptom("interrupts", start, end, taken, None, cpu, f"cpu{cpu}", STORM_RULE)


class Symptoms:
    """Keeps the worst of what the accumulators of KPIs find on their way."""

    def __init__(self, sched: Sched) -> None:
        self._sched = sched
        self._woken, self._preempted = _Worst(), _Worst()
        self._reclaim, self._compaction = _Worst(), _Worst()
        self._storms = _Storms()

    def feed(self, sched: SchedSpans, interrupts: InterruptSpans, stalls: Stalls) -> None:
        """Take what a batch ended."""
        long = sched.waited.waits.length >= LEAST_WAIT
        waits, woken = sched.waited.waits.at(long), sched.waited.woken[long]
        self._woken.add(waits.at(woken))
        self._preempted.add(waits.at(~woken))
        self._reclaim.add(stalls.reclaim)
        self._compaction.add(stalls.compaction)
        self._storms.add(interrupts)

    def results(self, janks: Sequence[JankWindow]) -> tuple[Symptom, ...]:
        """Return the worst of each kind in turn, those that lost most time first; with the frames that were late."""
        frames = [
            Symptom("late-frame", one.start_ns, one.end_ns, one.late_ns, one.tid, None, one.who, one.rule)
            for one in janks
        ]
        kinds = [
            _worst(frames),
            _worst(self._of_threads("reclaim", self._reclaim, RECLAIM_RULE)),
            _worst(self._storms.results()),
            _worst(self._of_threads("wakeup-wait", self._woken, WOKEN_RULE)),
            _worst(self._of_threads("compaction", self._compaction, COMPACTION_RULE)),
            _worst(self._of_threads("preempted-wait", self._preempted, PREEMPTED_RULE)),
        ]
        in_turn = [one for turn in itertools.zip_longest(*kinds) for one in turn if one is not None]
        return tuple(sorted(in_turn[:MOST], key=_by_loss))

    def _of_threads(self, kind: Kind, found: _Worst, rule: str) -> Iterator[Symptom]:
        for tid, start, end in zip(*(one.tolist() for one in _columns(found.spans)), strict=True):
            yield Symptom(kind, start, end, end - start, tid, None, self._sched.who(tid), rule)


def _worst(found: Iterator[Symptom] | list[Symptom]) -> list[Symptom]:
    return sorted((one for one in found if one.start_ns < one.end_ns), key=_by_loss)[:OF_A_KIND]


def _by_loss(one: Symptom) -> tuple[int, int, str, str]:
    return -one.lost_ns, one.start_ns, one.kind, one.who
