# SPDX-License-Identifier: Apache-2.0
"""All KPIs of a capture in one pass over its events, and which of them are worse than a baseline's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from git_hmopt.records.base import decimal_text
from git_hmopt.runtime import counters
from git_hmopt.runtime.batches import Batch, batches, gathered
from git_hmopt.runtime.frames import FrameTimeline, JankWindow
from git_hmopt.runtime.irq import Interrupts
from git_hmopt.runtime.kpi import Kpi, kpi, same_rule
from git_hmopt.runtime.power import Power
from git_hmopt.runtime.reclaim import Reclaim
from git_hmopt.runtime.sched import Sched
from git_hmopt.runtime.snapshots import levels, rates, snapshots
from git_hmopt.runtime.symptoms import Symptom, Symptoms
from git_hmopt.runtime.timeline import timeline_kpis, worst_janks
from git_hmopt.traces.capture import Capture, Losses

MARGIN = 0.05
"""A relative change that is worth a flag: one capture against one tells no less."""

_BETTER_HIGH = ("fps_avg", "device_fps", "reclaim_efficiency")
_BETTER_LOW = (
    "frame_drop_rate", "frames_lost", "hitch_ms_per_s", "jank_", "stall_rate", "severe_stalls", "sched_latency",
    "wakeup_latency", "waking_latency", "cpu_util_avg", "context_switch_rate", "preemption_ratio", "blocked_",
    "irq_", "softirq_", "direct_reclaim_", "kswapd_active_time", "memory_kills",
)  # fmt: skip


@dataclass(frozen=True)
class Kpis:
    """What a capture tells of how the system ran."""

    records: tuple[Kpi, ...]
    windows: tuple[JankWindow, ...]
    """The worst late frames, the worst first."""
    start_ns: int | None
    end_ns: int | None
    """Times of the first and the last event, by the capture's own clock."""
    events: int
    losses: Mapping[str, int]
    """What was not used, by the reason in words."""
    symptoms: tuple[Symptom, ...] = ()
    """When it was slow, what lost most time first; of a trace alone, and not recorded."""

    def find(self, name: str, who: str = "all") -> Kpi | None:
        """Return one of the records."""
        return next((one for one in self.records if one.name == name and one.who == who), None)


class _Accumulators:
    """Everything that is fed batch by batch."""

    def __init__(self, losses: Counter[str]) -> None:
        self.sched = Sched(losses)
        self.irq = Interrupts(losses)
        self.power = Power(losses)
        self.reclaim = Reclaim(losses, self.sched)
        self.frames = FrameTimeline(losses, self.sched)
        self.symptoms = Symptoms(self.sched)

    def feed(self, batch: Batch) -> None:
        self.symptoms.feed(self.sched.feed(batch), self.irq.feed(batch), self.reclaim.feed(batch))
        self.power.feed(batch)
        self.frames.feed(batch)

    def results(self, start: int, end: int) -> tuple[tuple[Kpi, ...], tuple[JankWindow, ...]]:
        span = end - start
        records, windows = self.frames.results()
        records += self.sched.results(span)
        records += self.irq.results(span)
        records += self.power.results(end)
        records += self.reclaim.results(span)
        return tuple(records), windows


def kpis_of(frames: Iterable[pl.DataFrame], losses: Losses) -> Kpis:
    """Return the KPIs of batches of events; what their reader leaves out is counted in `losses` beside ours."""
    found: Counter[str] = Counter()
    accumulators = _Accumulators(found)
    first = last = None
    events = 0
    for batch in batches(frames):
        if not len(batch):
            continue
        accumulators.feed(batch)
        events += len(batch)
        known = batch.ts[batch.ts >= 0]
        if len(known):
            lowest, highest = int(known.min()), int(known.max())
            first = lowest if first is None else min(first, lowest)
            last = highest if last is None else max(last, highest)
    records, windows = accumulators.results(first or 0, last or 0)
    found.update(accumulators.frames.unmatched())
    told = dict(sorted((losses + found).items()))
    return Kpis(records, windows, first, last, events, told, accumulators.symptoms.results(windows))


def kpis(capture: Capture) -> Kpis:
    """Return the KPIs of a capture's events; of one without events none are known.

    What they are of depends on the format: a trace's are of its events, those of dumps of /proc of the levels of the
    last and the rates from the first to the last, those of counters and frame timelines of what stands there.
    """
    losses: Losses = Losses()
    frames = capture.read_events(losses) if capture.read_events is not None else iter(())
    return kpis_read(capture.format, frames, losses)


def kpis_read(form: str, frames: Iterable[pl.DataFrame], losses: Losses) -> Kpis:
    """Return the KPIs of batches of events of a format, whose reader counts what it leaves out in `losses`."""
    whole = _WHOLE.get(form)
    if whole is None:
        return kpis_of(gathered(frames), losses)
    read = list(frames)
    records, windows = whole(read)
    times = [time for batch in read for time in (batch["ts_ns"].min(), batch["ts_ns"].max()) if isinstance(time, int)]
    events = sum(len(batch) for batch in read)
    return Kpis(
        records, windows, min(times, default=None), max(times, default=None), events, dict(sorted(losses.items()))
    )


_Found = tuple[tuple[Kpi, ...], tuple[JankWindow, ...]]


def _of_snapshots(events: Sequence[pl.DataFrame]) -> _Found:
    found = snapshots(events)
    levelled = levels(found[-1]) if found else ()
    return (*levelled, *(rates(found[0], found[-1]) if len(found) > 1 else ())), ()


def _of_timeline(events: Sequence[pl.DataFrame]) -> _Found:
    windows = (
        JankWindow(one.start_ns, one.end_ns, one.late_ns, one.name, f"{one.frames} late frames in a row")
        for one in worst_janks(events)
    )
    return timeline_kpis(events), tuple(windows)


def _of_counters(events: Sequence[pl.DataFrame]) -> _Found:
    counted = counters.totals(events)
    told = counters.rates(counted)
    return tuple(
        kpi(name, getattr(told, name), "ratio", len(counted), f"counters of the capture: {rule}")
        for name, rule in _COUNTED.items()
    ), ()


_COUNTED = {
    "ipc": "instructions / cycles",
    "branch_miss_rate": "branch misses / branches",
    "cache_miss_rate": "cache misses / cache references",
}
_WHOLE: Mapping[str, Callable[[Sequence[pl.DataFrame]], _Found]] = {
    "proc": _of_snapshots, "frame-timeline": _of_timeline, "perf-stat": _of_counters,
}  # fmt: skip


@dataclass(frozen=True)
class Flag:
    """A KPI that is worse than its baseline."""

    kpi: Kpi
    baseline: Kpi
    change: str | None
    """The relative change, 0.1 is a tenth more; None where the baseline is 0."""


def regression_flags(now: Kpis, baseline: Kpis, *, margin: float = MARGIN) -> tuple[Flag, ...]:
    """Return what became worse by more than `margin`, the worst first.

    Only numbers that both captures know, by the same rule, are compared. One capture against another has no interval:
    a flag says where to look, not what is proven.
    """
    before = {(one.name, one.scope, one.who): one for one in baseline.records}
    found = []
    for one in now.records:
        other = before.get((one.name, one.scope, one.who))
        worse = _worse(one, other) if other is not None and same_rule(one, other) else None
        if other is not None and worse is not None and worse > margin:
            change = (
                (float(one.value or 0) - float(other.value or 0)) / float(other.value or 0) if worse < _ALL else None
            )
            found.append((worse, Flag(one, other, None if change is None else decimal_text(change))))
    found.sort(key=lambda pair: (-pair[0], pair[1].kpi.name, pair[1].kpi.who))
    return tuple(flag for _, flag in found)


def not_compared(now: Kpis, baseline: Kpis) -> Mapping[str, tuple[str, ...]]:
    """Return which KPIs of the whole system nobody can say are worse or not, by the reason in words.

    Of those that have a better and a worse, and that one of the captures knows.
    """
    found: dict[str, list[str]] = {}
    sides = [
        {(one.name, one.scope): one for one in side.records if one.who == "all" and _sign(one.name)}
        for side in (now, baseline)
    ]
    for key in dict.fromkeys([*sides[0], *sides[1]]):
        here, there = (side.get(key) for side in sides)
        known = [one is not None and one.value is not None for one in (here, there)]
        if any(known) and not all(known):
            found.setdefault("unknown here" if not known[0] else "unknown in the baseline", []).append(key[0])
        elif here is not None and there is not None and all(known) and not same_rule(here, there):
            found.setdefault("found by another rule in the baseline", []).append(key[0])
    return {reason: tuple(names) for reason, names in found.items()}


_ALL = float("inf")


def _sign(name: str) -> int:
    """Return 1 where more is worse, -1 where less is, and 0 where neither is known to be."""
    return -1 if name in _BETTER_HIGH else 1 if name.startswith(_BETTER_LOW) else 0


def _worse(now: Kpi, before: Kpi) -> float | None:
    """Return by what share of the baseline a number is worse; None where nobody can say."""
    if now.value is None or before.value is None:
        return None
    sign = _sign(now.name)
    grown = sign * (float(now.value) - float(before.value))
    if grown <= 0:
        return 0.0 if sign else None
    return grown / float(before.value) if float(before.value) else _ALL
