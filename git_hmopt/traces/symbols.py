# SPDX-License-Identifier: Apache-2.0
"""Parse the list of where sampled symbols are defined, which the perf adapter writes from addr2line.

Header `hmopt-symbols 1`, then rows `symbol TAB file TAB line`; file and line may be empty or `?`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from git_hmopt.traces import headed
from git_hmopt.traces.capture import Capture, of_tables
from git_hmopt.traces.source import Source
from git_hmopt.traces.tables import Symbols

HEADER = "hmopt-symbols 1"


def parse(lines: Iterable[bytes]) -> Symbols:
    """Return the rows in file order. Raises TraceFormatError on another header."""
    skipped: Counter[str] = Counter()
    kept: list[tuple[str, str | None, int | None]] = []
    for symbol, file, line in headed.rows(lines, header=HEADER, columns=3, skipped=skipped):
        try:
            kept.append((symbol, *headed.place(file, line)))
        except ValueError:
            skipped[headed.BAD_NUMBER] += 1
    return Symbols(
        symbol=tuple(row[0] for row in kept),
        file=tuple(row[1] for row in kept),
        line=tuple(row[2] for row in kept),
        skipped=dict(sorted(skipped.items())),
    )


class SymbolsText:
    """Our own list of where symbols are defined."""

    name = "symbols"

    def recognise(self, head: bytes, name: str) -> bool:
        """Say whether it begins with the header."""
        return head.startswith(f"{HEADER}\n".encode())

    def read(self, source: Source) -> Capture:
        """Return the capture; it has lines alone."""
        return of_tables(self.name, source, lines=parse)


FORMAT = SymbolsText()
