# SPDX-License-Identifier: Apache-2.0
"""Interrupts from irq_handler_* and softirq_* events: how many, how long, and how evenly over the CPUs."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from git_hmopt.runtime.batches import Batch
from git_hmopt.runtime.distribution import Distribution
from git_hmopt.runtime.kpi import Kpi, kpi, per_second
from git_hmopt.runtime.pairing import Pairing, Spans, Sums
from git_hmopt.runtime.sched import percentile_kpis

NUMBER_BITS = 20
"""Of a key: a CPU above, the number of an interrupt or the vector of a softirq below."""
# include/linux/interrupt.h: softirqs in the order of their vectors.
_VECTORS = ("HI", "TIMER", "NET_TX", "NET_RX", "BLOCK", "IRQ_POLL", "TASKLET", "SCHED", "HRTIMER", "RCU")


class _Handled:
    """One kind of interrupt: its number's key, what raises, enters and leaves it."""

    def __init__(self, losses: Counter[str], key: str, entry: str, leave: str, raised: str | None) -> None:
        self._key, self._raise = key, raised
        self.events = (entry, leave) if raised is None else (entry, leave, raised)
        self._inside, self._waiting = Pairing(losses, first=False), Pairing(losses, first=True)
        self.duration, self.latency = Distribution(), Distribution()
        self.count = Sums()

    def feed(self, batch: Batch) -> Spans:
        events = self.events
        rows, number = batch.rows(*events), batch.args(*events).number(self._key)
        fine = (number >= 0) & (number < 1 << NUMBER_BITS) & (batch.cpu[rows] >= 0)
        rows = rows[fine]
        key = (batch.cpu[rows] << NUMBER_BITS) | number[fine]
        entry, leave = (batch.are(event)[rows] for event in events[:2])
        ts, epoch = batch.ts[rows], batch.cpu_epoch[rows]
        self.count.add(key[entry])
        within = entry | leave
        inside = self._inside.feed(key[within], entry[within], ts[within], epoch[within])
        self.duration.add(inside.key & ((1 << NUMBER_BITS) - 1), inside.length)
        if self._raise is not None:
            before = ~leave
            spans = self._waiting.feed(key[before], ~entry[before], ts[before], epoch[before])
            self.latency.add(spans.key & ((1 << NUMBER_BITS) - 1), spans.length)
        return inside


@dataclass(frozen=True)
class InterruptSpans:
    """What a batch ended, by `CPU << NUMBER_BITS | number`; softirqs have hard interrupts inside them."""

    hard: Spans
    soft: Spans


class Interrupts:
    """Accumulates hard and soft interrupts."""

    def __init__(self, losses: Counter[str]) -> None:
        self._hard = _Handled(losses, "irq", "irq_handler_entry", "irq_handler_exit", None)
        self._soft = _Handled(losses, "vec", "softirq_entry", "softirq_exit", "softirq_raise")
        self._names: dict[int, str] = {}
        self.cpus: set[int] = set()

    def feed(self, batch: Batch) -> InterruptSpans:
        """Take the next batch; return what it ends."""
        found = InterruptSpans(self._hard.feed(batch), self._soft.feed(batch))
        self.cpus.update(np.unique(batch.cpu[batch.cpu >= 0]).tolist())
        rows, args = batch.rows(*self._hard.events), batch.args(*self._hard.events)
        entries = np.flatnonzero(batch.are("irq_handler_entry")[rows])
        unique, first = np.unique(args.number("irq")[entries], return_index=True)
        new = [
            (irq, row) for irq, row in zip(unique.tolist(), entries[first].tolist(), strict=True)
            if irq >= 0 and irq not in self._names
        ]  # fmt: skip
        if new:
            names = args.texts.gather([row for _, row in new]).str.extract(r"name=(.*)$", 1).fill_null("?")
            self._names.update((irq, name) for (irq, _), name in zip(new, names.to_list(), strict=True))
        return found

    def called(self, number: int, *, hard: bool) -> str:
        """Return an interrupt, or a softirq's vector, as people read it."""
        return f"{number} {self._names.get(number, '?')}" if hard else _vector(number)

    def results(self, span: int) -> Iterator[Kpi]:
        """Yield the KPIs; `span` is the capture's length in nanoseconds."""
        yield from self._of("irq", self._hard, span, lambda irq: self.called(irq, hard=True))
        yield from self._of("softirq", self._soft, span, _vector)
        rule = "softirq_raise until softirq_entry on the same CPU"
        yield from percentile_kpis("softirq_latency", self._soft.latency.overall(), rule)
        for number, found in self._soft.latency.percentiles().items():
            yield from percentile_kpis("softirq_latency", found, rule, who=_vector(number))

    def _of(self, name: str, handled: _Handled, span: int, who: Callable[[int], str]) -> Iterator[Kpi]:
        by_cpu: Counter[int] = Counter()
        by_number: defaultdict[int, Counter[int]] = defaultdict(Counter)
        for key, count in handled.count.count.items():
            by_cpu[key >> NUMBER_BITS] += count
            by_number[key & ((1 << NUMBER_BITS) - 1)][key >> NUMBER_BITS] += count
        total = by_cpu.total()
        rate, duration = "entries a second of the capture", "from its entry to its exit on the same CPU"
        yield kpi(f"{name}_rate", per_second(total, span) if total else None, "1/s", total, rate)
        yield from percentile_kpis(f"{name}_time", handled.duration.overall(), duration)
        yield from self._imbalance(name, by_cpu, "all")
        for cpu, count in sorted(by_cpu.items()):
            yield kpi(f"{name}_rate", per_second(count, span), "1/s", count, rate, scope="cpu", who=f"cpu{cpu}")
        durations = handled.duration.percentiles()
        for number, counts in sorted(by_number.items()):
            count = counts.total()
            yield kpi(f"{name}_rate", per_second(count, span), "1/s", count, rate, who=who(number))
            yield from percentile_kpis(f"{name}_time", durations.get(number), duration, who=who(number))
            yield from self._imbalance(name, counts, who(number))

    def _imbalance(self, name: str, counts: Counter[int], who: str) -> Iterator[Kpi]:
        """Yield how unevenly the CPUs that have any event in the capture take the interrupts."""
        total, cpus = counts.total(), len(self.cpus)
        largest = max(counts.values(), default=0) / total if total else None
        yield kpi(f"{name}_max_cpu_share", largest, "1", total, "share of the CPU that took most", who=who)
        variation = None
        if total and cpus > 1:
            mean = total / cpus
            squares = sum((counts[cpu] - mean) ** 2 for cpu in self.cpus)
            variation = math.sqrt(squares / cpus) / mean
        rule = f"coefficient of variation of the counts of the {cpus} CPUs that have events"
        yield kpi(f"{name}_imbalance", variation, "1", total, rule, who=who)


def _vector(number: int) -> str:
    return f"{number} {_VECTORS[number] if number < len(_VECTORS) else '?'}"
