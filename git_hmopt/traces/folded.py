# SPDX-License-Identifier: Apache-2.0
"""Read folded stacks, one `root;caller;leaf weight` a line, as stack collapsers write them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import polars as pl

from git_hmopt.traces.capture import Capture, Losses
from git_hmopt.traces.source import Source, lines_of
from git_hmopt.traces.stacks import MOST_WEIGHT, OUT_OF_RANGE
from git_hmopt.traces.tables import SAMPLES, UNKNOWN, Frame, Samples, TraceFormatError

NO_WEIGHT = "line without a whole weight"
NO_STACK = "line without a stack"
EMPTY = "empty file"

_LOOKED_AT = 50
_DIGITS = 18
"""A number of fewer digits fits in 64 bits."""


class Folded:
    """The format, by its name `folded`."""

    name = "folded"

    def recognise(self, head: bytes, name: str) -> bool:
        """Say whether the first lines that are no comment end in a whole number, and one of them has two frames.

        `name 12` alone is what /proc/vmstat says, too, unless the file's name says otherwise.
        """
        lines = [line.strip() for line in head.splitlines()[:_LOOKED_AT]]
        pairs = [line.rpartition(b" ") for line in lines if line and not line.startswith(b"#")]
        # The last line of the head may be cut.
        alike = bool(pairs) and all(stack and weight.isdigit() for stack, _, weight in pairs[:-1] or pairs)
        return alike and (any(b";" in stack for stack, _, _ in pairs) or name.endswith((".folded", ".collapsed")))

    def read(self, source: Source) -> Capture:
        """Return the capture."""

        def samples(losses: Losses) -> list[Samples]:
            with source.open() as stream:
                table = parse(lines_of(stream, losses))
            losses.update(table.skipped)
            return [table]

        return Capture(self.name, read_samples=samples)


FORMAT = Folded()


class _Numbers(dict[bytes, int]):
    """Numbers of names, in the order in which they were first asked for."""

    def __missing__(self, name: bytes) -> int:
        number = self[name] = len(self)
        return number


def _unusable(stack: bytes, weight: bytes) -> str | None:
    if not weight.isdigit():
        return NO_WEIGHT
    if not stack.strip():
        return NO_STACK
    return OUT_OF_RANGE if int(weight[:100]) > MOST_WEIGHT else None


def parse(lines: Iterable[bytes]) -> Samples:
    """Return one row a line, in unit samples; time, process and CPU are unknown in this format.

    Raises TraceFormatError when there are lines but none ends in a whole number.
    """
    skipped: Counter[str] = Counter()
    stacks: dict[bytes, int] = {}
    rows: list[int] = []
    weights: list[bytes] = []
    seen = 0
    for raw in lines:
        stack, _, weight = raw.rpartition(b" ")
        weight = weight.rstrip()
        if not (weight.isdigit() and stack and len(weight) < _DIGITS) or raw[0] in b"# \t":
            # What is out of the ordinary, down to blanks at the end, is looked at again and slowly.
            text = raw.strip()
            if not text or text.startswith(b"#"):
                continue
            stack, _, weight = text.rpartition(b" ")
            if reason := _unusable(stack, weight):
                seen += 1
                skipped[reason] += 1
                continue
        rows.append(stacks.setdefault(stack, len(stacks)))
        weights.append(weight)
    seen += len(rows)
    if seen and not rows and not skipped[OUT_OF_RANGE]:
        raise TraceFormatError(
            f"these are no folded stacks: none of {seen} lines reads 'frame;frame weight'",
            next_step="make them with a stack collapser such as stackcollapse-perf",
        )
    if not seen:
        skipped[EMPTY] += 1
    frames = _Numbers()
    of_stack = [tuple(map(frames.__getitem__, stack.split(b";"))) for stack in stacks]
    columns = {
        "stack": pl.Series(rows, dtype=pl.UInt32()),
        "weight": pl.Series(list(map(int, weights)), dtype=pl.Int64()),
    }
    empty = {name: pl.repeat(None, len(rows), dtype=kind, eager=True) for name, kind in SAMPLES.items()}
    return Samples(
        event="folded",
        unit="samples",
        frames=tuple(Frame(name.decode(errors="replace").strip() or UNKNOWN) for name in frames),
        stacks=of_stack,
        rows=pl.DataFrame({**empty, **columns}, schema=SAMPLES),
        skipped=dict(sorted((+skipped).items())),
    )
