# SPDX-License-Identifier: Apache-2.0
"""The tables every parser yields: frozen, columnar, with what was not understood counted by reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property

import polars as pl

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


_LONGEST_OBJECT = 255
"""Characters of an object's path in the symbol of a frame: a capture has millions of such frames of one object."""


def unnamed(object_: str, offset: int) -> Frame:
    """Return the frame of an instruction whose function is not known: it is called by its object and the offset there.

    Of a path that is longer than any file's name the end stands in the symbol.
    """
    called = object_ if len(object_) <= _LONGEST_OBJECT else "…" + object_[1 - _LONGEST_OBJECT :]
    return Frame(f"{called}+0x{offset:x}", object_)


SAMPLES = pl.Schema(
    {
        "ts_ns": pl.Int64(),
        "stack": pl.UInt32(),
        "weight": pl.Int64(),
        "pid": pl.Int32(),
        "tid": pl.Int32(),
        "cpu": pl.Int16(),
    }
)
"""The columns of samples; null where the capture does not say (no time, no CPU)."""


@dataclass(frozen=True)
class Samples:
    """Weighted call stacks of one event, one row a sample.

    `rows` has the columns of SAMPLES. Its `stack` indexes `stacks`; a stack is a tuple of indices into `frames`, from
    root to leaf.
    """

    event: str
    unit: str
    """Unit of `weight`: ns, the event's name (cycles, ...), or samples."""
    frames: tuple[Frame, ...]
    stacks: Sequence[tuple[int, ...]]
    rows: pl.DataFrame
    skipped: Mapping[str, int]
    threads: Mapping[int, str] = field(default_factory=dict)
    """What threads are called, by tid, where the capture says."""

    def __post_init__(self) -> None:
        if self.rows.schema != SAMPLES:
            raise ValueError(f"samples have the columns {dict(SAMPLES)}, not {dict(self.rows.schema)}")

    def __len__(self) -> int:
        return self.rows.height

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Samples):
            return NotImplemented
        mine, theirs = ({**vars(one), "rows": None, "stacks": tuple(one.stacks)} for one in (self, other))
        return mine == theirs and self.rows.equals(other.rows)

    __hash__ = None  # type: ignore[assignment] # a table of millions of rows is no key

    @property
    def ts_ns(self) -> tuple[int | None, ...]:
        """Return every sample's time, in ns of the capture's clock."""
        return tuple(self.rows["ts_ns"])

    @property
    def stack(self) -> tuple[int, ...]:
        """Return every sample's index into `stacks`."""
        return tuple(self.rows["stack"])

    @property
    def weight(self) -> tuple[int, ...]:
        """Return every sample's weight."""
        return tuple(self.rows["weight"])

    @property
    def pid(self) -> tuple[int | None, ...]:
        """Return every sample's process."""
        return tuple(self.rows["pid"])

    @property
    def tid(self) -> tuple[int | None, ...]:
        """Return every sample's thread."""
        return tuple(self.rows["tid"])

    @property
    def cpu(self) -> tuple[int | None, ...]:
        """Return every sample's CPU."""
        return tuple(self.rows["cpu"])

    def total(self) -> int:
        """Return the summed weight of all samples."""
        # Periods may be any 64 bits: two of them need not fit in 64.
        return int(self.rows["weight"].cast(pl.Int128()).sum())

    def weight_by_index(self) -> dict[int, int]:
        """Return the summed weight of every stack that was sampled, by its index, in the order of the indices."""
        summed = self.rows.group_by("stack").agg(pl.col("weight").cast(pl.Int128()).sum()).sort("stack")
        return dict(summed.iter_rows())

    def weight_by_stack(self) -> Counter[tuple[int, ...]]:
        """Return the summed weight of every distinct stack."""
        total: Counter[tuple[int, ...]] = Counter()
        for index, weight in self.weight_by_index().items():
            total[self.stacks[index]] += weight
        return total


def first_event(tables: Sequence[Samples]) -> Samples:
    """Return the first of one or more events' samples: weights of two cannot be added. Those of others are counted."""
    first, *others = tables
    left_out = {f"sample of another event ({other.event})": len(other) for other in others if len(other)}
    return replace(first, skipped={**first.skipped, **left_out}) if left_out else first


@dataclass(frozen=True)
class SelfCounts:
    """Exact counts by source line: instructions executed there, and how often its most executed one ran.

    A file of another program may count something else in place of instructions: `unit` says what.
    """

    symbol: tuple[str, ...]
    file: tuple[str | None, ...]
    line: tuple[int | None, ...]
    instructions: tuple[int, ...]
    executions: tuple[int, ...]
    skipped: Mapping[str, int]
    unit: str = "instructions"

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
        return tuple(sorted(self._places.get(symbol, ()), key=lambda place: (place[0], place[1] or 0)))

    @cached_property
    def _places(self) -> Mapping[str, set[tuple[str, int | None]]]:
        """By symbol: a ranking asks for every symbol that was sampled, and a kernel has 100,000 rows."""
        found: dict[str, set[tuple[str, int | None]]] = {}
        for name, file, line in zip(self.symbol, self.file, self.line, strict=True):
            if file is not None:
                found.setdefault(name, set()).add((file, line))
        return found


Table = Samples | SelfCounts | Symbols


def _same_length(table: SelfCounts | Symbols, columns: tuple[str, ...]) -> None:
    assert set(columns) <= {field.name for field in fields(table)}
    lengths = {name: len(getattr(table, name)) for name in columns}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"columns of {type(table).__name__} differ in length: {lengths}")
