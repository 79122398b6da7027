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


class Folded:
    """The format, by its name `folded`."""

    name = "folded"

    def recognise(self, head: bytes, name: str) -> bool:
        """Say whether the first lines that are no comment read `stack weight`, and one of them has two frames."""
        whole = head.rpartition(b"\n")[0] if len(head) > 4096 else head
        lines = [line.strip() for line in whole.splitlines()[:_LOOKED_AT]]
        pairs = [line.rpartition(b" ") for line in lines if line and not line.startswith(b"#")]
        return bool(pairs) and all(stack and weight.isdigit() for stack, _, weight in pairs) and b";" in pairs[0][0]

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


def parse(lines: Iterable[bytes]) -> Samples:
    """Return one row a line, in unit samples; time, process and CPU are unknown in this format.

    Raises TraceFormatError when there are lines but none ends in a whole number.
    """
    skipped: Counter[str] = Counter()
    frames, stacks = _Numbers(), _Numbers()
    rows: list[int] = []
    weights: list[int] = []
    seen = 0
    for raw in lines:
        text = raw.strip()
        if not text or text.startswith(b"#"):
            continue
        seen += 1
        stack, _, weight = text.rpartition(b" ")
        if not weight.isdigit():
            skipped[NO_WEIGHT] += 1
        elif not stack.strip():
            skipped[NO_STACK] += 1
        elif len(weight) > 18 and int(weight) > MOST_WEIGHT:
            skipped[OUT_OF_RANGE] += 1
        else:
            rows.append(stacks[stack])
            weights.append(int(weight))
    if seen and skipped[NO_WEIGHT] + skipped[NO_STACK] == seen:
        raise TraceFormatError(
            f"these are no folded stacks: none of {seen} lines reads 'frame;frame weight'",
            next_step="make them with a stack collapser such as stackcollapse-perf",
        )
    if not seen:
        skipped[EMPTY] += 1
    of_stack = [tuple(map(frames.__getitem__, stack.split(b";"))) for stack in stacks]
    columns = {"stack": pl.Series(rows, dtype=pl.UInt32()), "weight": pl.Series(weights, dtype=pl.Int64())}
    empty = {name: pl.repeat(None, len(rows), dtype=kind, eager=True) for name, kind in SAMPLES.items()}
    return Samples(
        event="folded",
        unit="samples",
        frames=tuple(Frame(name.decode(errors="replace").strip() or UNKNOWN) for name in frames),
        stacks=of_stack,
        rows=pl.DataFrame({**empty, **columns}, schema=SAMPLES),
        skipped=dict(sorted((+skipped).items())),
    )
