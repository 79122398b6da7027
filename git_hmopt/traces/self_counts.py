# SPDX-License-Identifier: Apache-2.0
"""Parse the exact self profile that our QEMU profiler writes.

Header `hmopt-self-counts 1`, then rows `symbol TAB file TAB line TAB instructions TAB executions`; file and line may
be empty or `?`. `instructions` were executed on that line inside the symbol, `executions` is how often the line's
most executed instruction ran: 0 for a line of a hot function that never ran.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from git_hmopt.traces import headed
from git_hmopt.traces.capture import Capture, of_tables
from git_hmopt.traces.source import Source
from git_hmopt.traces.tables import SelfCounts

HEADER = "hmopt-self-counts 1"


def parse(lines: Iterable[bytes]) -> SelfCounts:
    """Return the rows in file order. Raises TraceFormatError on another header."""
    skipped: Counter[str] = Counter()
    kept: list[tuple[str, str | None, int | None, int, int]] = []
    for symbol, file, line, instructions, executions in headed.rows(lines, header=HEADER, columns=5, skipped=skipped):
        try:
            path, number = headed.place(file, line)
            counts = int(instructions), int(executions)
        except ValueError:
            skipped[headed.BAD_NUMBER] += 1
            continue
        if min(counts) < 0:
            skipped[headed.BAD_NUMBER] += 1
            continue
        kept.append((symbol, path, number, *counts))
    return SelfCounts(
        symbol=tuple(row[0] for row in kept),
        file=tuple(row[1] for row in kept),
        line=tuple(row[2] for row in kept),
        instructions=tuple(row[3] for row in kept),
        executions=tuple(row[4] for row in kept),
        skipped=dict(sorted(skipped.items())),
    )


class SelfCountsText:
    """Our own exact self profile."""

    name = "self-counts"

    def recognise(self, head: bytes, name: str) -> bool:
        """Say whether it begins with the header."""
        return head.startswith(f"{HEADER}\n".encode())

    def read(self, source: Source) -> Capture:
        """Return the capture; it has lines alone."""
        return of_tables(self.name, source, lines=parse)


FORMAT = SelfCountsText()
