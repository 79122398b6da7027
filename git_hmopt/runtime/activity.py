# SPDX-License-Identifier: Apache-2.0
"""What ran in a few times of a capture: threads on CPUs, wakeups, waits, interrupts, stalls, and a piece of the trace.

A second pass over the capture's events by the accumulators that find its KPIs, whose spans are cut to the times asked
for: nothing is kept but sums by thread, caller or interrupt, and a few lines of text for each.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from git_hmopt.runtime.batches import UNKNOWN, Batch, Integers, batches, gathered
from git_hmopt.runtime.irq import NUMBER_BITS, Interrupts, InterruptSpans
from git_hmopt.runtime.pairing import Disjoint, Pairing, Spans
from git_hmopt.runtime.reclaim import Reclaim, Stalls
from git_hmopt.runtime.sched import UNNAMED, WAKEUPS, Sched, SchedSpans
from git_hmopt.runtime.symptoms import Symptom
from git_hmopt.traces.capture import LOST_EVENTS, Capture, Losses
from git_hmopt.traces.text_columns import Mask

LINES = 6
"""Lines of the trace that are kept from the beginning of a time, and as many from its end."""
MOST = 4096
"""Threads, pairs, callers or interrupts of a time that are told apart; the rest counts as one more of each."""
MOST_LOCKS = 65536
"""Locks of a capture that are told apart."""
_LONGEST = 160
_CONTENTION = ("contention_begin", "contention_end")
_MOST_DELAY = 1 << 40


@dataclass(frozen=True)
class Ran:
    """A thread on a CPU; thread 0 is the idle one."""

    cpu: int
    tid: int
    who: str
    ns: int


@dataclass(frozen=True)
class Woke:
    """How often a thread woke another, and how long that one then waited for a CPU.

    The waker is what sched_waking says, else the row of sched_wakeup; an interrupt wakes in the name of the thread
    that it interrupts.
    """

    waker: str
    wakee: str
    count: int
    total_ns: int
    worst_ns: int


@dataclass(frozen=True)
class Blocked:
    """Waits of a thread that ended in the time, or had a part in it, by the function that it waited in."""

    who: str
    caller: str
    iowait: bool
    count: int
    ns: int | None
    """The part of the waits that lies in the time; None where this kernel does not say how long they were."""


@dataclass(frozen=True)
class Contended:
    """Waits of a thread for a lock that another one held, spinning or asleep; kernels tell of it since 5.19."""

    who: str
    lock: str
    """Its address and its kind, as the event has them: `00000000c2a1ff04 (flags=MUTEX)`."""
    count: int
    ns: int


@dataclass(frozen=True)
class Handled:
    """An interrupt or softirq; the time of a softirq includes the interrupts in it."""

    kind: str
    """`irq`, `softirq`, or `others` beyond MOST."""
    name: str
    count: int
    ns: int


@dataclass(frozen=True)
class Stalled:
    """Allocations of a thread that stood still."""

    kind: str
    """`reclaim` or `compaction`."""
    who: str
    ns: int


@dataclass(frozen=True)
class Spent:
    """How the thread of a symptom spent its time; what the trace does not tell is unknown."""

    running_ns: int
    runnable_ns: int
    blocked_ns: int
    """Asleep uninterruptibly: for a lock, for I/O, for memory."""
    asleep_ns: int
    unknown_ns: int


@dataclass(frozen=True)
class Activity:
    """What ran while something was slow. Lists are sorted, what took most first."""

    symptom: Symptom
    events: int
    lost: int
    """How often events were lost meanwhile: the sums then say less than there was."""
    known_ns: tuple[tuple[int, int], ...]
    """Of each CPU, how much of the time it is known what it ran."""
    ran: tuple[Ran, ...]
    woke: tuple[Woke, ...]
    blocked: tuple[Blocked, ...]
    contended: tuple[Contended, ...]
    handled: tuple[Handled, ...]
    interrupted_ns: tuple[tuple[int, int], ...]
    """Of each CPU, how long it ran handlers, of both kinds together."""
    stalled: tuple[Stalled, ...]
    uninterruptible: tuple[tuple[str, int], ...]
    """Threads that slept so, with the nanoseconds."""
    spent: Spent | None
    """None for a symptom without a thread."""
    excerpt: tuple[str, ...]
    """The first and the last lines by the symptom's thread or about it, on its CPU, or of all where it has neither."""
    left_out: int
    """Lines between them."""


def activities(capture: Capture, symptoms: Sequence[Symptom]) -> tuple[Activity, ...]:
    """Return what ran in each of the times, in their order; nothing of a capture without events."""
    if capture.read_events is None or not symptoms:
        return ()
    return activities_in(capture.read_events(Losses()), symptoms)


def activities_in(frames: Iterable[pl.DataFrame], symptoms: Sequence[Symptom]) -> tuple[Activity, ...]:
    """Return the same of batches of events."""
    found = _Pass(symptoms)
    for batch in batches(gathered(frames)):
        found.feed(batch)
    return found.results()


class _Pass:
    """The accumulators, and the windows that get their spans."""

    def __init__(self, symptoms: Sequence[Symptom]) -> None:
        losses: Counter[str] = Counter()
        self._sched, self._irq = Sched(losses), Interrupts(losses)
        self._reclaim = Reclaim(losses, self._sched)
        self._on_cpu, self._in_handlers = Disjoint(), Disjoint()
        self._contention = Pairing(losses, first=True)
        self._callers: dict[str, int] = {}
        self._locks: dict[str, int] = {}
        self._windows = [_Window(one) for one in symptoms]
        self._lost: Counter[int] = Counter()
        self._end = UNKNOWN

    def feed(self, batch: Batch) -> None:
        sched, irq, stalls = self._sched.feed(batch), self._irq.feed(batch), self._reclaim.feed(batch)
        running = SchedSpans(self._on_cpu.cut(sched.running), sched.waited)
        both = Spans(*(np.concatenate([getattr(one, name) for one in (irq.hard, irq.soft)])
                       for name in Spans.__annotations__))  # fmt: skip
        handlers = self._in_handlers.cut(Spans(both.key >> NUMBER_BITS, both.start, both.end, both.value))
        blocked, contended = self._blocked(batch), self._contended(batch)
        for window in self._windows:
            window.feed(running, irq, handlers, stalls, blocked)
            window.contend(contended)
            window.lines(batch)
        self._lost.update(batch.cpu[batch.rows(LOST_EVENTS)].tolist())
        if len(batch):
            self._end = max(self._end, int(batch.ts.max()))

    def _blocked(self, batch: Batch) -> _Reasons:
        """Return the sched_blocked_reason events: a wait ends where it is told."""
        rows, args = batch.rows("sched_blocked_reason"), batch.args("sched_blocked_reason")
        callers = args.cut("caller", "+ [").to_list()
        numbers = [self._callers.setdefault(one or UNNAMED, len(self._callers)) for one in callers]
        delay = args.number("delay")
        # Microseconds.
        delay = np.where((delay >= 0) & (delay < _MOST_DELAY), delay * 1000, UNKNOWN)
        return _Reasons(
            batch.ts[rows], args.number("pid"), np.array(numbers, np.int64), args.number("iowait") == 1, delay
        )

    def _contended(self, batch: Batch) -> Spans:
        """Return the times that threads waited for locks; a mutex says again that it is waited for when it spins."""
        rows = batch.rows(*_CONTENTION)
        begins = batch.are(_CONTENTION[0])[rows]
        locks = zip(batch.args(*_CONTENTION).texts.to_list(), begins.tolist(), strict=True)
        numbers = [self._number(lock) if begin else UNKNOWN for lock, begin in locks]
        tid = batch.tid[rows]
        known = tid > 0
        rows, tid, begins = rows[known], tid[known], begins[known]
        value = np.array(numbers, np.int64)[known]
        return self._contention.feed(tid, begins, batch.ts[rows], batch.epoch[rows], value)

    def _number(self, lock: str) -> int:
        if len(self._locks) < MOST_LOCKS:
            return self._locks.setdefault(lock, len(self._locks))
        return self._locks.get(lock, UNKNOWN)

    def results(self) -> tuple[Activity, ...]:
        rest = self._on_cpu.cut(self._sched.still_running(self._end, self._lost))
        callers, locks = list(self._callers), list(self._locks)
        for window in self._windows:
            window.run(rest)
        return tuple(window.result(self._sched, self._irq, callers, locks) for window in self._windows)


@dataclass(frozen=True)
class _Reasons:
    ts: Integers
    tid: Integers
    caller: Integers
    iowait: Mask
    delay: Integers
    """Nanoseconds, UNKNOWN where the event does not say."""


class _Sums:
    """Sums and counts by key, of bounded many."""

    def __init__(self) -> None:
        self.ns: Counter[tuple[int, ...]] = Counter()
        self.count: Counter[tuple[int, ...]] = Counter()
        self.worst: Counter[tuple[int, ...]] = Counter()

    def add(self, keys: Sequence[Integers], ns: Integers) -> None:
        for *key, value in zip(*(one.tolist() for one in keys), ns.tolist(), strict=True):
            named = tuple(key)
            if named not in self.count and len(self.count) >= MOST:
                named = (UNKNOWN,) * len(named)
            self.ns[named] += value
            self.count[named] += 1
            self.worst[named] = max(self.worst[named], value)

    def ordered(self) -> Iterator[tuple[tuple[int, ...], int]]:
        return iter(sorted(self.ns.items(), key=lambda pair: (-pair[1], -self.count[pair[0]], pair[0])))


class _Window:
    """One time of the capture."""

    def __init__(self, symptom: Symptom) -> None:
        self._symptom = symptom
        self._start, self._end = symptom.start_ns, symptom.end_ns
        self._ran, self._woke, self._blocked, self._handled = _Sums(), _Sums(), _Sums(), _Sums()
        self._interrupted, self._stalled, self._slept, self._runnable = _Sums(), _Sums(), _Sums(), _Sums()
        self._contended = _Sums()
        self._untimed: Counter[tuple[int, ...]] = Counter()
        self._events = self._lost = self._lines = 0
        self._head: list[str] = []
        self._tail: list[str] = []

    def feed(self, sched: SchedSpans, irq: InterruptSpans, handlers: Spans, stalls: Stalls, blocked: _Reasons) -> None:
        self.run(sched.running)
        self._wakeups(sched.waited.waits.at(sched.waited.woken))
        inside = sched.waited.waits.within(self._start, self._end)
        self._runnable.add([inside.key], inside.length)
        inside = sched.waited.asleep.within(self._start, self._end)
        self._slept.add([inside.key, inside.value], inside.length)
        for kind, spans in enumerate((irq.hard, irq.soft)):
            inside = spans.within(self._start, self._end)
            number = inside.key & ((1 << NUMBER_BITS) - 1)
            self._handled.add([np.full(len(number), kind), number], inside.length)
        inside = handlers.within(self._start, self._end)
        self._interrupted.add([inside.key], inside.length)
        for kind, spans in enumerate((stalls.reclaim, stalls.compaction)):
            inside = spans.within(self._start, self._end)
            self._stalled.add([np.full(len(inside.key), kind), inside.key], inside.length)
        self._reasons(blocked)

    def run(self, running: Spans) -> None:
        """Take what CPUs ran."""
        inside = running.within(self._start, self._end)
        self._ran.add([inside.key, inside.value], inside.length)

    def contend(self, waits: Spans) -> None:
        """Take waits for locks."""
        inside = waits.within(self._start, self._end)
        self._contended.add([inside.key, inside.value], inside.length)

    def _wakeups(self, waits: Spans) -> None:
        """Take those that a wakeup in this time began, with the whole of the wait, which may end behind it."""
        chosen = waits.at((waits.start >= self._start) & (waits.start < self._end))
        self._woke.add([chosen.value, chosen.key], chosen.length)

    def _reasons(self, told: _Reasons) -> None:
        timed = told.delay >= 0
        start = np.where(timed, np.maximum(told.ts - told.delay, 0), told.ts)
        part = np.minimum(told.ts, self._end) - np.maximum(start, self._start)
        touches = np.where(timed, part > 0, (told.ts >= self._start) & (told.ts <= self._end))
        keys = [one[touches] for one in (told.tid, told.caller, told.iowait.astype(np.int64))]
        self._blocked.add(keys, np.where(timed, part, 0)[touches])
        untimed = zip(*(one[~timed[touches]].tolist() for one in keys), strict=True)
        self._untimed.update(tuple(key) for key in untimed)

    def lines(self, batch: Batch) -> None:
        """Keep the batch's part of the excerpt."""
        inside = (batch.ts >= self._start) & (batch.ts <= self._end)
        if not inside.any():
            return
        self._events += int(inside.sum())
        self._lost += int(inside[batch.rows(LOST_EVENTS)].sum())
        rows = np.flatnonzero(inside & self._concerned(batch))
        self._lines += len(rows)
        taken = rows[: LINES - len(self._head)]
        self._head += [_line(batch, row) for row in taken.tolist()]
        self._tail = (self._tail + [_line(batch, row) for row in rows[len(taken) :][-LINES:].tolist()])[-LINES:]

    def _concerned(self, batch: Batch) -> Mask:
        """Say which rows are by the symptom's thread or about it, or on its CPU."""
        tid, cpu = self._symptom.tid, self._symptom.cpu
        if tid is None:
            return np.ones(len(batch), np.bool_) if cpu is None else batch.cpu == cpu
        about: Mask = batch.tid == tid
        for names, keys in ((("sched_switch",), ("prev_pid", "next_pid")), ((*WAKEUPS, "sched_waking"), ("pid",)),
                            (("sched_blocked_reason",), ("pid",))):  # fmt: skip
            rows, args = batch.rows(*names), batch.args(*names)
            for key in keys:
                about[rows] |= args.number(key) == tid
        return about

    def result(self, sched: Sched, irq: Interrupts, callers: Sequence[str], locks: Sequence[str]) -> Activity:
        known: defaultdict[int, int] = defaultdict(int)
        for (cpu, _), ns in self._ran.ns.items():
            known[cpu] += ns
        return Activity(
            symptom=self._symptom,
            events=self._events,
            lost=self._lost,
            known_ns=tuple(sorted(known.items())),
            ran=tuple(Ran(cpu, tid, _named(sched, tid), ns) for (cpu, tid), ns in self._ran.ordered()),
            woke=tuple(
                Woke(_named(sched, key[0]), _named(sched, key[1]), self._woke.count[key], ns, self._woke.worst[key])
                for key, ns in self._woke.ordered()
            ),
            blocked=tuple(
                Blocked(
                    _named(sched, key[0]), callers[key[1]] if key[1] >= 0 else UNNAMED, key[2] == 1,
                    self._blocked.count[key], None if self._untimed[key] == self._blocked.count[key] else ns,
                )
                for key, ns in self._blocked.ordered()
            ),
            contended=tuple(
                Contended(_named(sched, key[0]), _lock(locks, key[1]), self._contended.count[key], ns)
                for key, ns in self._contended.ordered()
            ),
            handled=tuple(
                Handled(
                    ("irq", "softirq", "others")[kind], "" if kind < 0 else irq.called(number, hard=kind == 0),
                    self._handled.count[kind, number], ns,
                )
                for (kind, number), ns in self._handled.ordered()
            ),
            interrupted_ns=tuple(sorted((cpu, ns) for (cpu,), ns in self._interrupted.ns.items())),
            stalled=tuple(
                Stalled(("reclaim", "compaction")[kind], _named(sched, tid), ns)
                for (kind, tid), ns in self._stalled.ordered()
            ),
            uninterruptible=tuple(
                (_named(sched, tid), ns) for (tid, blocked), ns in self._slept.ordered() if blocked == 1
            ),
            spent=self._spent(),
            excerpt=(*self._head, *self._tail),
            left_out=self._lines - len(self._head) - len(self._tail),
        )  # fmt: skip

    def _spent(self) -> Spent | None:
        tid = self._symptom.tid
        if tid is None:
            return None
        running = sum(ns for (_, one), ns in self._ran.ns.items() if one == tid)
        runnable = self._runnable.ns[tid,]
        blocked, asleep = self._slept.ns[tid, 1], self._slept.ns[tid, 0]
        known = running + runnable + blocked + asleep
        return Spent(running, runnable, blocked, asleep, max(self._end - self._start - known, 0))


def _named(sched: Sched, tid: int) -> str:
    """Return a thread as people read it; more threads than are told apart are others."""
    return "idle" if tid == 0 else "others" if tid < 0 else sched.who(tid)


def _lock(locks: Sequence[str], number: int) -> str:
    return locks[number] if number >= 0 else "one of many locks"


def _line(batch: Batch, row: int) -> str:
    """Return a row as ftrace prints it, without the flags; a long one is cut."""
    one = batch.frame.row(row, named=True)
    stamp = f"{batch.ts[row] // 10**9}.{batch.ts[row] % 10**9 // 1000:06}"
    cpu = "[???]" if one["cpu"] is None else f"[{one['cpu']:03}]"
    tid = "?" if one["tid"] is None else one["tid"]
    text = f"{stamp} {cpu} {tid} {one['name'] or '?'}: {one['args'] or ''}".rstrip()
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
