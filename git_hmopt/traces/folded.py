# SPDX-License-Identifier: Apache-2.0
"""Parse folded stacks, one `root;caller;leaf weight` a line, as stack collapsers write them."""

from __future__ import annotations

import re
from collections.abc import Iterable

from git_hmopt.traces.capture import Capture, of_tables
from git_hmopt.traces.source import Source
from git_hmopt.traces.stacks import SampleRows
from git_hmopt.traces.tables import UNKNOWN, Frame, Samples, TraceFormatError

NO_WEIGHT = "line without a whole weight"
NO_STACK = "line without a stack"
EMPTY = "empty file"

_LINE = re.compile(rb"[^;\t][^\t]* [0-9]+")


def parse(lines: Iterable[bytes]) -> Samples:
    """Return one row a line, in unit samples; time, process and CPU are unknown in this format.

    Raises TraceFormatError when there are lines but none ends in a whole number.
    """
    rows = SampleRows()
    seen = 0
    taken = 0
    for raw in lines:
        text = raw.decode(errors="replace").strip()
        if not text or text.startswith("#"):
            continue
        seen += 1
        stack, _, weight = text.rpartition(" ")
        if not (weight.isascii() and weight.isdigit()):
            rows.skipped[NO_WEIGHT] += 1
        elif not stack.strip():
            rows.skipped[NO_STACK] += 1
        else:
            taken += 1
            rows.add([rows.intern(Frame(name.strip() or UNKNOWN)) for name in stack.split(";")], int(weight))
    if seen and not taken:
        raise TraceFormatError(
            f"these are no folded stacks: none of {seen} lines reads 'frame;frame weight'",
            next_step="make them with a stack collapser such as stackcollapse-perf",
        )
    if not seen:
        rows.skipped[EMPTY] += 1
    return rows.table(event="folded", unit="samples")


class Folded:
    """Folded stacks."""

    name = "folded"

    def recognise(self, head: bytes, name: str) -> bool:
        """Say whether its first lines end in a blank and a whole number, and one of them has several frames.

        `name 12` alone is what /proc/vmstat says, too.
        """
        lines = [line for line in head.splitlines()[:20] if line.strip() and not line.startswith(b"#")]
        # The last line of the head may be cut.
        alike = bool(lines) and all(_LINE.fullmatch(line.strip()) for line in lines[:-1] or lines)
        return alike and (b";" in head or name.endswith((".folded", ".collapsed")))

    def read(self, source: Source) -> Capture:
        """Return the capture; it has samples alone."""
        return of_tables(self.name, source, samples=parse)


FORMAT = Folded()
