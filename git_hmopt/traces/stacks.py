# SPDX-License-Identifier: Apache-2.0
"""Collect samples row by row into a `Samples` table, interning frames and stacks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from git_hmopt.traces.tables import Frame, Samples


class SampleRows:
    """Rows of a `Samples` table under construction."""

    def __init__(self) -> None:
        self.skipped: Counter[str] = Counter()
        self._frames: dict[Frame, int] = {}
        self._stacks: dict[tuple[int, ...], int] = {}
        self._rows: list[tuple[int | None, int, int, int | None, int | None, int | None]] = []

    def intern(self, frame: Frame) -> int:
        """Return the frame's index, giving it one when it is new."""
        return self._frames.setdefault(frame, len(self._frames))

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
        """Add one sample; `stack` holds frame indices from root to leaf."""
        key = tuple(stack)
        index = self._stacks.setdefault(key, len(self._stacks))
        self._rows.append((ts_ns, index, weight, pid, tid, cpu))

    def table(self, *, event: str, unit: str) -> Samples:
        """Return the finished table."""
        rows = self._rows
        return Samples(
            event=event,
            unit=unit,
            frames=tuple(self._frames),
            stacks=tuple(self._stacks),
            ts_ns=tuple(row[0] for row in rows),
            stack=tuple(row[1] for row in rows),
            weight=tuple(row[2] for row in rows),
            pid=tuple(row[3] for row in rows),
            tid=tuple(row[4] for row in rows),
            cpu=tuple(row[5] for row in rows),
            skipped=dict(sorted(self.skipped.items())),
        )
