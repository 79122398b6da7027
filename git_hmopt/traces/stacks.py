# SPDX-License-Identifier: Apache-2.0
"""Collect samples row by row into a `Samples` table, interning frames and stacks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import polars as pl

from git_hmopt.traces.tables import SAMPLES, Frame, Samples

OUT_OF_RANGE = "sample with a number that is out of range"
MOST_WEIGHT = 2**63 - 1
_MOST = {"ts_ns": 2**63 - 1, "pid": 2**31 - 1, "tid": 2**31 - 1, "cpu": 2**15 - 1}
_CLOCK_EVENTS = ("cpu-clock", "task-clock")


def unit_of(event: str, *, weighted: bool) -> str:
    """Return the unit of an event's weights: ns of the clock events, the event's name, or samples when unweighted."""
    # `cycles:u` is perf's cycles with a modifier, `sw-cpu-clock` hiperf's cpu-clock.
    name = event.split(":", 1)[0]
    if not event or not weighted:
        return "samples"
    return "ns" if name.removeprefix("sw-") in _CLOCK_EVENTS else name


class SampleRows:
    """Rows of a `Samples` table under construction."""

    def __init__(self) -> None:
        self.skipped: Counter[str] = Counter()
        self._frames: dict[Frame, int] = {}
        self._stacks: dict[tuple[int, ...], int] = {}
        self._columns: dict[str, list[int | None]] = {name: [] for name in SAMPLES}

    @property
    def distinct(self) -> int:
        """Return how many stacks there are that differ."""
        return len(self._stacks)

    def intern(self, frame: Frame) -> int:
        """Return the frame's index, giving it one when it is new."""
        return self._frames.setdefault(frame, len(self._frames))

    def intern_stack(self, stack: Sequence[int]) -> int:
        """Return the index of a stack of frame indices, root to leaf, giving it one when it is new."""
        return self._stacks.setdefault(tuple(stack), len(self._stacks))

    def add(
        self,
        stack: Sequence[int],
        weight: int,
        *,
        ts_ns: int | None = None,
        pid: int | None = None,
        tid: int | None = None,
        cpu: int | None = None,
    ) -> None:
        """Add one sample; `stack` holds frame indices from root to leaf. One with an absurd number is counted."""
        known = {"ts_ns": ts_ns, "pid": pid, "tid": tid, "cpu": cpu}
        absurd = any(value is not None and abs(value) > _MOST[name] for name, value in known.items())
        if absurd or abs(weight) > MOST_WEIGHT:
            self.skipped[OUT_OF_RANGE] += 1
            return
        row = {**known, "stack": self.intern_stack(stack), "weight": weight}
        for name, values in self._columns.items():
            values.append(row[name])

    def table(self, *, event: str, unit: str, threads: Mapping[int, str] | None = None) -> Samples:
        """Return the finished table."""
        return self.table_of(pl.DataFrame(self._columns, schema=SAMPLES), event=event, unit=unit, threads=threads)

    def table_of(
        self, rows: pl.DataFrame, *, event: str, unit: str, threads: Mapping[int, str] | None = None
    ) -> Samples:
        """Return a table of `rows`, whose stacks and frames were interned here."""
        return Samples(
            event=event,
            unit=unit,
            frames=tuple(self._frames),
            stacks=tuple(self._stacks),
            rows=rows,
            skipped=dict(sorted(self.skipped.items())),
            threads=dict(threads or {}),
        )
