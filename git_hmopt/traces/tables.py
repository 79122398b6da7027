# SPDX-License-Identifier: Apache-2.0
"""The tables every parser yields: frozen, columnar, with what was not understood counted by reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, fields

from git_hmopt.errors import MeasurementError

UNKNOWN = "[unknown]"
"""What perf prints where it found no name, kept as a word of its own."""


class TraceFormatError(MeasurementError):
    """The bytes are not of the format they were said to be; `str()` names the format and the first bad thing."""


@dataclass(frozen=True)
class Frame:
    """One function of a call stack: its symbol and the object (program, library) that it stands in."""

    symbol: str
    object: str = UNKNOWN

    @property
    def label(self) -> str:
        """Return the symbol, or `[object]` when there is none, as stack collapsers name such frames."""
        if self.symbol != UNKNOWN or self.object == UNKNOWN:
            return self.symbol
        return f"[{self.object.rsplit('/', 1)[-1].strip('[]')}]"


@dataclass(frozen=True)
class Samples:
    """Weighted call stacks of one event, one row a sample.

    `stack` indexes `stacks`; a stack is a tuple of indices into `frames`, from root to leaf. A column's entry is None
    where the capture does not say (no time, no CPU).
    """

    event: str
    unit: str
    """Unit of `weight`: ns, the event's name (cycles, ...), or samples."""
    frames: tuple[Frame, ...]
    stacks: tuple[tuple[int, ...], ...]
    ts_ns: tuple[int | None, ...]
    stack: tuple[int, ...]
    weight: tuple[int, ...]
    pid: tuple[int | None, ...]
    tid: tuple[int | None, ...]
    cpu: tuple[int | None, ...]
    skipped: Mapping[str, int]

    def __post_init__(self) -> None:
        _same_length(self, ("ts_ns", "stack", "weight", "pid", "tid", "cpu"))

    def __len__(self) -> int:
        return len(self.stack)

    def weight_by_stack(self) -> Counter[tuple[int, ...]]:
        """Return the summed weight of every distinct stack."""
        total: Counter[tuple[int, ...]] = Counter()
        for index, weight in zip(self.stack, self.weight, strict=True):
            total[self.stacks[index]] += weight
        return total


@dataclass(frozen=True)
class SelfCounts:
    """Exact counts by source line: instructions executed there, and how often its most executed one ran."""

    symbol: tuple[str, ...]
    file: tuple[str | None, ...]
    line: tuple[int | None, ...]
    instructions: tuple[int, ...]
    executions: tuple[int, ...]
    skipped: Mapping[str, int]

    def __post_init__(self) -> None:
        _same_length(self, ("symbol", "file", "line", "instructions", "executions"))

    def __len__(self) -> int:
        return len(self.symbol)


@dataclass(frozen=True)
class Symbols:
    """Where symbols are defined. One name may stand in several rows: static functions share names."""

    symbol: tuple[str, ...]
    file: tuple[str | None, ...]
    line: tuple[int | None, ...]
    skipped: Mapping[str, int]

    def __post_init__(self) -> None:
        _same_length(self, ("symbol", "file", "line"))

    def __len__(self) -> int:
        return len(self.symbol)

    def definitions(self, symbol: str) -> tuple[tuple[str, int | None], ...]:
        """Return every known (file, line) of `symbol`, sorted; empty when none is known, several when ambiguous."""
        rows = zip(self.symbol, self.file, self.line, strict=True)
        found = {(file, line) for name, file, line in rows if name == symbol and file is not None}
        return tuple(sorted(found, key=lambda place: (place[0], place[1] or 0)))


Table = Samples | SelfCounts | Symbols


def _same_length(table: Table, columns: tuple[str, ...]) -> None:
    assert set(columns) <= {field.name for field in fields(table)}
    lengths = {name: len(getattr(table, name)) for name in columns}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"columns of {type(table).__name__} differ in length: {lengths}")
