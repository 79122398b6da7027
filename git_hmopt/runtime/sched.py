# SPDX-License-Identifier: Apache-2.0
"""Scheduling from sched_* events: how long threads wait for a CPU, what CPUs are used for, why threads sleep.

A thread becomes runnable at its sched_wakeup (not sched_waking, which hitrace does not record; the rule is SmartPerf's)
or when it is switched out while it could run on; its latency ends where it is switched in. A wait is dropped when the
thread is seen running or events were lost meanwhile.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl

from git_hmopt.runtime.batches import UNKNOWN, Args, Batch, Integers
from git_hmopt.runtime.distribution import Distribution, Percentiles
from git_hmopt.runtime.kpi import CROSS_CHECK, Kpi, Scope, kpi, per_second, share
from git_hmopt.runtime.pairing import Holding, Pairing, Spans, Sums, by_key, last_of_key, same_as_before
from git_hmopt.runtime.waits import IN, OUT_ASLEEP, OUT_BLOCKED, OUT_RUNNABLE, SEEN, WAKE, Waited, Waits, Wakers
from git_hmopt.traces.text_columns import Mask

WAKEUPS = ("sched_wakeup", "sched_wakeup_new")
IDLE_EXIT = 4294967295
"""The state of the cpu_idle event that ends idling: -1 as the kernel prints it."""
_UNINTERRUPTIBLE = 2
"""TASK_UNINTERRUPTIBLE of include/linux/sched.h."""
_AGREES = 0.02
"""A difference of the two idle ratios that is none."""

UNNAMED = "[unknown]"
_MOST_DELAY = 1 << 40
"""Microseconds, twelve days: beyond that it is no delay, and sums of a batch stay whole numbers."""
_IDLE_NAMES = ("swapper", "tppmgr-i")
"""How names of idle threads begin: of Linux, and `tppmgr-idle-` of HongMeng."""

SCHED_RULE = "runnable (sched_wakeup, or switched out while runnable) until switched in"
WAKING_RULE = "sched_waking until sched_wakeup of the thread; hitrace does not record the former"
WAKEUP_RULE = "sched_wakeup until switched in, without waits after a preemption"
SWITCH_IDLE_RULE = "time in the idle thread between a CPU's first and last sched_switch"
EVENT_IDLE_RULE = "time between cpu_idle's enter and exit, from a CPU's first to its last such event"


@dataclass(frozen=True)
class Switches:
    """The sched_switch events of a batch; idle threads are thread 0."""

    row: Integers
    cpu: Integers
    ts: Integers
    prev: Integers
    next: Integers
    runnable: Mask
    """Whether the previous thread could have run on."""
    blocked: Mask
    """Whether it sleeps uninterruptibly."""


def switches(batch: Batch) -> Switches:
    """Return a batch's switches; those without readable threads are left out."""
    rows, args = batch.rows("sched_switch"), batch.args("sched_switch")
    prev, following = args.number("prev_pid"), args.number("next_pid")
    prev[_idle(args, "prev_comm")] = 0
    following[_idle(args, "next_comm")] = 0
    fine = (prev >= 0) & (following >= 0)
    runnable, blocked = _states(args)
    kept = rows[fine]
    return Switches(kept, batch.cpu[kept], batch.ts[kept], prev[fine], following[fine], runnable[fine], blocked[fine])


def _idle(args: Args, key: str) -> Mask:
    return args.begins(key, _IDLE_NAMES[0]) | args.begins(key, _IDLE_NAMES[1])


def _states(args: Args) -> tuple[Mask, Mask]:
    """Say where the previous thread stayed runnable, and where it sleeps uninterruptibly.

    The former is R or R+, or as a number 0 or only the bit of a preemption; the latter D, or the bit 2.
    """
    letter = args.letter("prev_state")
    runnable: Mask = letter == ord("R")
    blocked: Mask = letter == ord("D")
    numeric = np.flatnonzero((letter >= ord("0")) & (letter <= ord("9")))
    if len(numeric):
        states = args.texts.gather(numeric).str.extract(r"prev_state=(0x[0-9a-fA-F]{1,8}|\d{1,9})\b", 1).to_list()
        # The low byte holds the states of include/linux/sched.h; those above say how a thread came to be switched out.
        runnable[numeric] = [state is not None and int(state, 0) & 0xFF == 0 for state in states]
        blocked[numeric] = [state is not None and int(state, 0) & _UNINTERRUPTIBLE != 0 for state in states]
    return runnable, blocked


@dataclass(frozen=True)
class SchedSpans:
    """What a batch ended."""

    running: Spans
    """Which thread a CPU ran: the key is the CPU, the value the thread, 0 for an idle one."""
    waited: Waited


class Sched:
    """Accumulates what sched_* and cpu_idle events tell."""

    def __init__(self, losses: Counter[str]) -> None:
        self.names: dict[int, str] = {}
        self.process_of: dict[int, int] = {}
        self._losses = losses
        self._waits, self._wakers = Waits(), Wakers()
        self._running, self._idling = Holding(losses), Holding(losses)
        self._on_cpu: dict[int, int] = {}
        self._waking = Pairing(losses, first=True)
        self.sched_latency, self.wakeup_latency, self.waking_latency = Distribution(), Distribution(), Distribution()
        self.run, self.covered, self.idle = Sums(), Sums(), Sums()
        self.idle_event_covered, self.idle_event = Sums(), Sums()
        self.switched, self.preempted = Sums(), Sums()
        self.switches = Sums()
        self.blocked, self.blocked_delay = Sums(), Sums()
        self._callers: dict[str, int] = {}
        self._iowait = 0

    def feed(self, batch: Batch) -> SchedSpans:
        """Take the next batch; return what it ends."""
        found = switches(batch)
        self._remember_names(batch)
        waited = self._follow_threads(batch, found)
        running = self._follow_cpus(batch, found)
        self._follow_waking(batch)
        self._follow_idle(batch)
        self._follow_blocked(batch)
        return SchedSpans(running, waited)

    def still_running(self, end: int, lost: Mapping[int, int]) -> Spans:
        """Return what CPUs have been running since their last switch; `lost` counts losses of events by CPU."""
        return self._running.until(end, lost)

    def _remember_names(self, batch: Batch) -> None:
        pairs = np.unique((batch.tid[batch.pid >= 0] << 31) | batch.pid[batch.pid >= 0])
        for tid, pid in zip((pairs >> 31).tolist(), (pairs & (2**31 - 1)).tolist(), strict=True):
            # An id that was given twice: whichever is taken, all batches have to take the same.
            self.process_of[tid] = max(pid, self.process_of.get(tid, 0))
        switched, woken = batch.args("sched_switch"), batch.args(*WAKEUPS)
        sources = (
            (switched, "prev_comm", "prev_pid", 2 * batch.rows("sched_switch")),
            (switched, "next_comm", "next_pid", 2 * batch.rows("sched_switch") + 1),
            (woken, "comm", "pid", 2 * batch.rows(*WAKEUPS)),
        )
        last: dict[int, tuple[int, str]] = {}
        for args, name, key, place in sources:
            tid = args.number(key)
            order = by_key(tid)
            rows = order[last_of_key(tid[order])]
            said = zip(tid[rows].tolist(), place[rows].tolist(), args.words(rows, name, key), strict=True)
            for one, where, word in said:
                # A thread may be renamed, so its last name counts.
                if one > 0 and word not in ("", "<...>") and where >= last.get(one, (0, ""))[0]:
                    last[one] = (where, word)
        self.names.update((one, word) for one, (_, word) in last.items())

    def _follow_threads(self, batch: Batch, found: Switches) -> Waited:
        rows = batch.rows(*WAKEUPS)
        woken = batch.args(*WAKEUPS).number("pid")
        seen = self._changed(batch, found)
        # A switch is two points: out, then in.
        out = np.where(found.runnable, OUT_RUNNABLE, np.where(found.blocked, OUT_BLOCKED, OUT_ASLEEP))
        nobody = np.zeros(len(found.row), np.int64)
        parts = (
            (2 * seen, batch.tid[seen], np.full(len(seen), SEEN), np.zeros(len(seen), np.int64)),
            (2 * rows + 1, woken, np.full(len(rows), WAKE), self._woken_by(batch, rows, woken)),
            (2 * found.row, found.prev, out, nobody),
            (2 * found.row + 1, found.next, np.full(len(found.row), IN), nobody),
        )
        place, tid, kind, waker = (np.concatenate([part[column] for part in parts]) for column in range(4))
        of_thread = tid > 0
        place, tid, kind, waker = place[of_thread], tid[of_thread], kind[of_thread], waker[of_thread]
        order = np.argsort(place, kind="stable")
        row = place[order] >> 1
        waited = self._waits.feed(tid[order], kind[order], batch.ts[row], batch.epoch[row], waker[order])
        spans, woken_first = waited.waits, waited.woken
        fine = spans.length >= 0
        if not fine.all():
            self._losses["wait of a thread whose time goes back"] += int((~fine).sum())
            spans, woken_first = spans.at(fine), woken_first[fine]
        self.sched_latency.add(spans.key, spans.length)
        self.wakeup_latency.add(spans.key[woken_first], spans.length[woken_first])
        return Waited(spans, woken_first, waited.asleep.at(waited.asleep.length >= 0))

    def _woken_by(self, batch: Batch, rows: Integers, woken: Integers) -> Integers:
        """Return who woke the threads, 0 where the capture does not tell."""
        by: Integers = np.maximum(batch.tid[rows], 0)
        waking = batch.rows("sched_waking")
        if not len(waking) and not self._wakers.known:
            return by
        asked = self._wakers.feed(
            batch.args("sched_waking").number("pid"), np.maximum(batch.tid[waking], 0), waking, woken, rows
        )
        known: Integers = np.where(asked >= 0, asked, by)
        return known

    def _changed(self, batch: Batch, found: Switches) -> Integers:
        """Return the rows whose thread was not yet known to run on their CPU."""
        after = batch.tid.copy()
        after[found.row] = found.next
        rows = np.flatnonzero((batch.cpu >= 0) & (batch.tid >= 0))
        order = rows[by_key(batch.cpu[rows])]
        cpu = batch.cpu[order]
        before = np.empty(len(order), np.int64)
        before[1:] = after[order[:-1]]
        first = ~same_as_before(cpu)
        before[first] = [self._on_cpu.get(one, UNKNOWN) for one in cpu[first].tolist()]
        last = last_of_key(cpu)
        self._on_cpu.update(zip(cpu[last].tolist(), after[order[last]].tolist(), strict=True))
        changed = np.sort(order[before != batch.tid[order]])
        # A switch itself says more of its thread than that it ran.
        return np.setdiff1d(changed, found.row, assume_unique=True)

    def _follow_cpus(self, batch: Batch, found: Switches) -> Spans:
        self.switches.add(found.cpu)
        self.switched.add(found.prev)
        self.preempted.add(found.prev[found.runnable])
        spans = self._running.feed(found.cpu, found.next, found.ts, batch.cpu_epoch[found.row], found.prev)
        self.covered.add(spans.key, spans.length)
        idle = spans.value == 0
        self.idle.add(spans.key[idle], spans.length[idle])
        self.run.add(spans.value[~idle], spans.length[~idle])
        return spans

    def _follow_waking(self, batch: Batch) -> None:
        waking = batch.rows("sched_waking")
        if not len(waking) and not self._waking.unclosed:
            return
        woken = batch.rows(*WAKEUPS)
        rows = np.concatenate([waking, woken])
        tid = np.concatenate([batch.args("sched_waking").number("pid"), batch.args(*WAKEUPS).number("pid")])
        order = np.argsort(rows)
        order = order[tid[order] > 0]
        opens = order < len(waking)
        rows = rows[order]
        spans = self._waking.feed(tid[order], opens, batch.ts[rows], batch.epoch[rows])
        self.waking_latency.add(spans.key, spans.length)

    def _follow_idle(self, batch: Batch) -> None:
        rows, args = batch.rows("cpu_idle"), batch.args("cpu_idle")
        cpu, state = args.number("cpu_id"), args.number("state")
        fine = (cpu >= 0) & (state >= 0)
        spans = self._idling.feed(cpu[fine], state[fine], batch.ts[rows[fine]], batch.epoch[rows[fine]])
        self.idle_event_covered.add(spans.key, spans.length)
        idle = spans.value != IDLE_EXIT
        self.idle_event.add(spans.key[idle], spans.length[idle])

    def _follow_blocked(self, batch: Batch) -> None:
        args = batch.args("sched_blocked_reason")
        if not len(args.texts):
            return
        callers = args.cut("caller", "+ [")
        found = callers.unique(maintain_order=True).to_list()
        numbers = np.array([self._callers.setdefault(caller or UNNAMED, len(self._callers)) for caller in found])
        ids = numbers[callers.cast(pl.Enum(found)).to_physical().to_numpy()]
        delay = args.number("delay")
        self.blocked.add(ids)
        known = (delay >= 0) & (delay < _MOST_DELAY)
        self.blocked_delay.add(ids[known], delay[known])
        self._iowait += int((args.number("iowait") == 1).sum())

    def results(self, span: int) -> Iterator[Kpi]:
        """Yield the KPIs; `span` is the capture's length in nanoseconds."""
        yield from self._latencies()
        yield from self._cpus()
        yield from self._switching(span)
        yield from self._using(span)
        yield from self._blocking()

    def who(self, tid: int) -> str:
        """Return a thread as people read it."""
        return f"{self.names.get(tid, '?')}-{tid}"

    def _latencies(self) -> Iterator[Kpi]:
        for name, found, rule in (
            ("sched_latency", self.sched_latency, SCHED_RULE),
            ("wakeup_latency", self.wakeup_latency, WAKEUP_RULE),
            ("waking_latency", self.waking_latency, WAKING_RULE),
        ):
            said = rule if found.exact else f"{rule}; rounded down by less than 0.2 %"
            yield from percentile_kpis(name, found.overall(), said)
            for tid, one in found.percentiles(self.process_of).items():
                yield from percentile_kpis(name, one, said, scope="process", who=self.who(tid))
            for tid, one in found.percentiles().items():
                yield from percentile_kpis(name, one, said, scope="thread", who=self.who(tid))

    def _cpus(self) -> Iterator[Kpi]:
        switched, evented = self.covered.total.total(), self.idle_event_covered.total.total()
        by_switch, by_event = share(self.idle.total.total(), switched), share(self.idle_event.total.total(), evented)
        rule = SWITCH_IDLE_RULE if by_switch is not None else EVENT_IDLE_RULE
        used = by_switch if by_switch is not None else by_event
        if by_switch is not None and by_event is not None:
            verdict = "agrees" if abs(by_switch - by_event) <= _AGREES else "differs"
            rule += f"{CROSS_CHECK}cpu_idle {verdict}, {by_event:.4f}"
        elif used is not None:
            rule += f"{CROSS_CHECK}none, there is one kind of these events"
        chosen = (self.idle, self.covered) if by_switch is not None else (self.idle_event, self.idle_event_covered)
        idle, covered = chosen
        n = covered.count.total()
        yield kpi("cpu_idle_ratio", used, "1", n, rule)
        yield kpi("cpu_util_avg", None if used is None else 1 - used, "1", n, f"1 - idle; {rule}")
        for cpu in sorted(covered.total):
            one = share(idle.total[cpu], covered.total[cpu])
            count, who = covered.count[cpu], f"cpu{cpu}"
            yield kpi("cpu_idle_ratio", one, "1", count, rule, scope="cpu", who=who)
            yield kpi(
                "cpu_util_avg", None if one is None else 1 - one, "1", count, f"1 - idle; {rule}", scope="cpu", who=who
            )

    def _switching(self, span: int) -> Iterator[Kpi]:
        count = self.switches.count.total()
        rule = "sched_switch events a second of the capture"
        rate = per_second(count, span) if count else None
        yield kpi("context_switch_rate", rate, "1/s", count, rule)
        preempted = share(self.preempted.count.total() - self.preempted.count[0], count - self.switched.count[0])
        yield kpi(
            "preemption_ratio", preempted, "1", count - self.switched.count[0],
            "threads, idle ones apart, that were switched out while runnable",
        )  # fmt: skip
        for cpu, number in sorted(self.switches.count.items()):
            yield kpi(
                "context_switch_rate", per_second(number, span), "1/s", number, rule, scope="cpu", who=f"cpu{cpu}"
            )
        out = "times it was switched out a second of the capture"
        for scope, who, number in self._by_thread_and_process(self.switched.count):
            yield kpi("context_switch_rate", per_second(number, span), "1/s", number, out, scope=scope, who=who)

    def _using(self, span: int) -> Iterator[Kpi]:
        rule = "time on a CPU over the capture's length, in CPUs"
        counts = {who: number for _, who, number in self._by_thread_and_process(self.run.count)}
        for scope, who, total in self._by_thread_and_process(self.run.total):
            yield kpi("cpu_util_avg", share(total, span), "1", counts.get(who, 0), rule, scope=scope, who=who)

    def _by_thread_and_process(self, values: Counter[int]) -> Iterator[tuple[Scope, str, int]]:
        processes: defaultdict[int, int] = defaultdict(int)
        for tid, value in sorted(values.items()):
            if tid > 0:
                yield "thread", self.who(tid), value
                if tid in self.process_of:
                    processes[self.process_of[tid]] += value
        for pid, value in sorted(processes.items()):
            yield "process", self.who(pid), value

    def _blocking(self) -> Iterator[Kpi]:
        count = self.blocked.count.total()
        yield kpi(
            "blocked_iowait_ratio", share(self._iowait, count), "1", count, "sched_blocked_reason events with iowait=1"
        )
        rule = "sum of delay= of sched_blocked_reason by caller"
        for caller, number in self._callers.items():
            known = self.blocked_delay.count[number]
            value = self.blocked_delay.total[number] * 1000 if known else None
            said = rule if known else "sched_blocked_reason by caller; this kernel does not say how long"
            yield kpi("blocked_time", value, "ns", self.blocked.count[number], said, who=caller)


def percentile_kpis(
    name: str, found: Percentiles | None, rule: str, *, scope: Scope = "system", who: str = "all"
) -> Iterator[Kpi]:
    """Yield the median, the 95th and the 99th percentile."""
    said: Callable[[int], int | None] = (lambda _: None) if found is None else found.at.__getitem__
    for percent in (50, 95, 99):
        yield kpi(
            f"{name}_p{percent}", said(percent), "ns", found.n if found else 0, f"{rule}; nearest rank", scope=scope,
            who=who,
        )  # fmt: skip
