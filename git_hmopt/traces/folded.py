# SPDX-License-Identifier: Apache-2.0
"""Read folded stacks, one `root;caller;leaf weight` a line, as stack collapsers write them.

Weights may have decimals, as flamegraph.pl takes them: then all are counted in the smallest part that one of them has,
a millionth at the least, and the unit says so (`0.001 samples`). A file of two numbers a stack is a difference of two
captures, and refused.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

import polars as pl

from git_hmopt.traces.capture import Capture, Losses
from git_hmopt.traces.source import Source, lines_of
from git_hmopt.traces.stacks import MOST_WEIGHT, OUT_OF_RANGE
from git_hmopt.traces.tables import SAMPLES, UNKNOWN, Frame, Samples, TraceFormatError

NO_WEIGHT = "line without a weight"
ROUNDED = "weight of less than a millionth: rounded"
NO_STACK = "line without a stack"
EMPTY = "empty file"

_LOOKED_AT = 50
_WEIGHT = re.compile(rb"\d+(?:\.\d*)?")
_TWO = re.compile(rb".*\s\d+(?:\.\d*)?", re.DOTALL)
_MOST_DECIMALS = 6
_DIGITS = 18
"""A number of fewer digits fits in 64 bits."""


class Folded:
    """The format, by its name `folded`."""

    name = "folded"

    def recognise(self, head: bytes, name: str) -> bool:
        """Say whether the first lines that are no comment end in a number, and one of them has two frames.

        `name 12` alone is what /proc/vmstat says, too, unless the file's name says otherwise.
        """
        lines = [line.strip() for line in head.splitlines()[:_LOOKED_AT]]
        pairs = [line.rpartition(b" ") for line in lines if line and not line.startswith(b"#")]
        # The last line of the head may be cut.
        alike = bool(pairs) and all(stack and _WEIGHT.fullmatch(weight) for stack, _, weight in pairs[:-1] or pairs)
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
    if not _WEIGHT.fullmatch(weight):
        return NO_WEIGHT
    if not stack.strip():
        return NO_STACK
    return OUT_OF_RANGE if int(weight.partition(b".")[0][:100]) > MOST_WEIGHT else None


def _scaled(weights: Sequence[bytes], skipped: Counter[str]) -> tuple[list[int | None], int]:
    """Return weights in the smallest part that one of them has, None where that is too many, and its decimals."""
    parts = [weight.partition(b".")[::2] for weight in weights]
    decimals = min(_MOST_DECIMALS, max((len(part.rstrip(b"0")) for _, part in parts), default=0))
    scaled: list[int | None] = []
    for whole, part in parts:
        kept, rest = part[:decimals].ljust(decimals, b"0"), part[decimals:]
        value = int(whole + kept) + (rest[:1] >= b"5")
        skipped[ROUNDED] += bool(rest.strip(b"0"))
        skipped[OUT_OF_RANGE] += value > MOST_WEIGHT
        scaled.append(value if value <= MOST_WEIGHT else None)
    return scaled, decimals


def _refuse_differences(stacks: Iterable[bytes]) -> None:
    """Raise TraceFormatError when every stack ends in a number of its own: before, and the weight is after."""
    seen = list(stacks)
    if seen and all(map(_TWO.fullmatch, seen)) and any(b";" in stack for stack in seen):
        raise TraceFormatError(
            "these are differences of two captures, two numbers a stack, and no stacks of one",
            next_step="give both captures themselves: git hmopt compare BEFORE AFTER",
        )


def parse(lines: Iterable[bytes]) -> Samples:
    """Return one row a line, in unit samples or a part of it; time, process and CPU are unknown in this format.

    Raises TraceFormatError when there are lines but none ends in a number, or all in two.
    """
    skipped: Counter[str] = Counter()
    stacks: dict[bytes, int] = {}
    rows: list[int] = []
    weights: list[bytes] = []
    has_decimals = False
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
            has_decimals = has_decimals or b"." in weight
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
    _refuse_differences(stacks)
    values, decimals = _scaled(weights, skipped) if has_decimals else (list(map(int, weights)), 0)
    frames = _Numbers()
    of_stack = [tuple(map(frames.__getitem__, stack.split(b";"))) for stack in stacks]
    columns = {
        "stack": pl.Series(rows, dtype=pl.UInt32()),
        "weight": pl.Series(values, dtype=pl.Int64()),
    }
    empty = {name: pl.repeat(None, len(rows), dtype=kind, eager=True) for name, kind in SAMPLES.items()}
    return Samples(
        event="folded",
        unit=f"{10**-decimals:.{decimals}f} samples" if decimals else "samples",
        frames=tuple(Frame(name.decode(errors="replace").strip() or UNKNOWN) for name in frames),
        stacks=of_stack,
        rows=pl.DataFrame({**empty, **columns}, schema=SAMPLES).filter(pl.col("weight").is_not_null()),
        skipped=dict(sorted((+skipped).items())),
    )
