# SPDX-License-Identifier: Apache-2.0
"""How long each CPU ran at each frequency and stayed in each idle state, from cpu_frequency and cpu_idle events."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from git_hmopt.runtime.batches import Batch
from git_hmopt.runtime.kpi import Kpi, kpi, share
from git_hmopt.runtime.pairing import Holding, Spans, Sums
from git_hmopt.runtime.sched import IDLE_EXIT

_VALUE_BITS = 40
FREQUENCY_RULE = "time between cpu_frequency events, the last until the capture's end; before the first it is unknown"
IDLE_RULE = "time from cpu_idle's enter to the CPU's next cpu_idle event"


class _States:
    """What the CPUs held: their sums by CPU and state."""

    def __init__(self, losses: Counter[str], event: str) -> None:
        self._event = event
        self._holding = Holding(losses)
        self._sums = Sums()

    def feed(self, batch: Batch) -> None:
        rows, args = batch.rows(self._event), batch.args(self._event)
        cpu, state = args.number("cpu_id"), args.number("state")
        fine = (cpu >= 0) & (cpu < 1 << 15) & (state >= 0) & (state < 1 << _VALUE_BITS)
        self._add(self._holding.feed(cpu[fine], state[fine], batch.ts[rows[fine]], batch.epoch[rows[fine]]))

    def _add(self, spans: Spans) -> None:
        self._sums.add((spans.key << _VALUE_BITS) | spans.value, spans.length)

    def by_cpu(self, end: int | None = None) -> dict[int, dict[int, int]]:
        """Return nanoseconds by state by CPU, with what is held at the capture's end when that is given."""
        found = Sums()
        found.total.update(self._sums.total)
        if end is not None:
            spans = self._holding.until(end)
            found.add((spans.key << _VALUE_BITS) | spans.value, spans.length)
        cpus: dict[int, dict[int, int]] = {}
        for key, total in sorted(found.total.items()):
            cpus.setdefault(key >> _VALUE_BITS, {})[key & ((1 << _VALUE_BITS) - 1)] = total
        return cpus


class Power:
    """Accumulates frequencies and idle states."""

    def __init__(self, losses: Counter[str]) -> None:
        self._frequency = _States(losses, "cpu_frequency")
        self._idle = _States(losses, "cpu_idle")

    def feed(self, batch: Batch) -> None:
        """Take the next batch."""
        self._frequency.feed(batch)
        self._idle.feed(batch)

    def results(self, end: int) -> Iterator[Kpi]:
        """Yield the KPIs; `end` is the time of the capture's last event."""
        frequencies = self._frequency.by_cpu(end)
        if not frequencies:
            yield kpi("cpu_frequency_avg", None, "kHz", 0, "there is no cpu_frequency event")
        for cpu, states in frequencies.items():
            covered = sum(states.values())
            weighted = sum(frequency * held for frequency, held in states.items())
            yield kpi(
                "cpu_frequency_avg", share(weighted, covered), "kHz", len(states),
                f"mean over time; {FREQUENCY_RULE}", scope="cpu", who=f"cpu{cpu}",
            )  # fmt: skip
            for frequency, held in states.items():
                yield kpi(
                    "frequency_residency", share(held, covered), "1", 1, FREQUENCY_RULE, scope="cpu",
                    who=f"cpu{cpu} at {frequency} kHz",
                )  # fmt: skip
        for cpu, states in self._idle.by_cpu().items():
            covered = sum(states.values())
            for state, held in states.items():
                if state != IDLE_EXIT:
                    yield kpi(
                        "idle_residency", share(held, covered), "1", 1, IDLE_RULE, scope="cpu",
                        who=f"cpu{cpu} in state {state}",
                    )  # fmt: skip
