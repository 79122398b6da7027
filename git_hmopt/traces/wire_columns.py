# SPDX-License-Identifier: Apache-2.0
"""Read many small protocol buffer messages at once, by columns: field number n of each of them in one step.

A message of an event has a few fields, and there are millions of such messages: a step costs some dozens of operations
over all of them, where one after another costs some dozens of Python's each.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

Places = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint64]
Mask = npt.NDArray[np.bool_]

_PAD = bytes(16)
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_LOW_SEVEN, _TOP = np.uint64(0x7F7F7F7F7F7F7F7F), np.uint64(0x8080808080808080)
_ONES = np.uint64(0x0101010101010101)
_PAIRS = (
    (np.uint64(0x007F007F007F007F), np.uint64(0x7F007F007F007F00), np.uint64(1)),
    (np.uint64(0x00003FFF00003FFF), np.uint64(0x3FFF00003FFF0000), np.uint64(2)),
    (np.uint64(0x000000000FFFFFFF), np.uint64(0x0FFFFFFF00000000), np.uint64(4)),
)
"""What joins groups of seven bits: those that stay, those that move, and by how much."""
_MOST_FIELDS = 1000
"""Of a message; an event has a dozen. A step costs the same for one message as for thousands."""
_ONE, _SEVEN = np.uint64(1), np.uint64(7)


@dataclass(frozen=True)
class Step:
    """The next field of every message that has one more."""

    row: Places
    """Which messages."""
    number: Places
    value: Words
    """Of a varint or a fixed number."""
    begin: Places
    """Of bytes, where they begin and end."""
    end: Places
    is_bytes: Mask


class Block:
    """Bytes that hold messages."""

    def __init__(self, raw: bytes) -> None:
        self.raw = raw + _PAD
        self.bytes = np.frombuffer(self.raw, np.uint8)
        self._eights = np.ndarray((len(self.raw) - 7,), np.dtype("<u8"), buffer=self.raw, strides=(1,))
        self._column: pl.Series | None = None

    def varint(self, at: Places, end: Places) -> tuple[Words, Places, Mask]:
        """Return the number at each place, where it ends, and whether it does before `end`."""
        # A place behind its message is bad whatever stands there.
        word = self._eights[np.minimum(at, len(self._eights) - 1)]
        stop = ~word & _TOP
        lowest = stop & (~stop + _ONE)
        size = (((lowest - _ONE) & _ONES) * _ONES >> np.uint64(56)).astype(np.int64)
        value = word & _LOW_SEVEN & ((lowest << _ONE) - _ONE)
        for stays, moves, by in _PAIRS:
            value = (value & stays) | ((value & moves) >> by)
        fine = np.ones(len(at), np.bool_)
        if not stop.all():
            self._long(at, np.flatnonzero(stop == 0), value, size, fine)
        stopped = at + size
        fine &= stopped <= end
        return value, stopped, fine

    def _long(self, at: Places, rows: Places, value: Words, size: Places, fine: Mask) -> None:
        """Finish numbers of nine and ten bytes; one of more is none."""
        here = np.minimum(at[rows], len(self.bytes) - 10)
        ninth, tenth = self.bytes[here + 8].astype(np.uint64), self.bytes[here + 9].astype(np.uint64)
        goes_on = ninth > 0x7F
        value[rows] |= (ninth & np.uint64(0x7F)) << np.uint64(56) | np.where(goes_on, tenth & _ONE, 0) << np.uint64(63)
        size[rows] = 9 + goes_on
        fine[rows] = ~(goes_on & (tenth > 0x7F))

    def texts(self, begin: Places, end: Places) -> pl.Series:
        """Return the texts between the places; bytes that are no UTF-8 as U+FFFD."""
        if self._column is None or len(self._column) < len(begin):
            whole = pl.Series("raw", [self.raw], dtype=pl.Binary) if self._column is None else self._column
            self._column = whole.new_from_index(0, max(len(begin), 1))
        table = pl.DataFrame(
            {"raw": self._column.head(len(begin)), "at": pl.Series(begin), "size": pl.Series(end - begin)}
        )
        found = table.select(pl.col("raw").bin.slice(pl.col("at"), pl.col("size")))["raw"]
        try:
            return found.cast(pl.String)
        except pl.exceptions.ComputeError:
            return pl.Series([piece.decode(errors="replace") for piece in found.to_list()], dtype=pl.String)


def walk(block: Block, begin: Places, end: Places, bad: Mask) -> Iterator[Step]:
    """Yield the fields of messages in step; those that are no message are marked in `bad`, and end there.

    So are those of more fields than a message of the kernel could have.
    """
    row = np.flatnonzero(begin < end)
    at = begin[row]
    with np.errstate(over="ignore"):
        for _ in range(_MOST_FIELDS):
            if not len(row):
                return
            stop = end[row]
            key, at, fine = block.varint(at, stop)
            kind = (key & _SEVEN).astype(np.int64)
            number = (key >> np.uint64(3)).astype(np.int64)
            fine &= number > 0
            value, after, told = block.varint(at, stop)
            is_bytes = kind == _BYTES
            small = (kind == _VARINT) | is_bytes
            fine &= told | ~small
            if not small.all():
                value, after, fine = _fixed(block, kind, at, stop, small, value, after, fine)
            # A length is compared before it is added: it may be any 64 bits.
            room = np.maximum(stop - after, 0).astype(np.uint64)
            fine &= ~is_bytes | (value <= room)
            if not fine.all():
                bad[row[~fine]] = True
                row, number, value = row[fine], number[fine], value[fine]
                after, is_bytes = after[fine], is_bytes[fine]
            at = np.where(is_bytes, after + value.astype(np.int64), after)
            yield Step(row, number, value, after, at, is_bytes)
            more = at < end[row]
            row, at = row[more], at[more]
    bad[row] = True


def _fixed(
    block: Block, kind: Places, at: Places, stop: Places, small: Mask, value: Words, after: Places, fine: Mask
) -> tuple[Words, Places, Mask]:
    """Read the fixed numbers among the fields; what is of another kind is none."""
    size = np.where(kind == _FIXED64, 8, np.where(kind == _FIXED32, 4, 0))
    word = block._eights[np.minimum(at, len(block._eights) - 1)]
    word = np.where(size == 4, word & np.uint64(0xFFFFFFFF), word)
    fine = fine & (small | ((size > 0) & (at + size <= stop)))
    return np.where(small, value, word), np.where(small, after, at + size), fine


@dataclass(frozen=True)
class Fields:
    """Fields of many messages; one that a message does not have is 0 and empty. Of a repeated field the last counts."""

    rows: int
    block: Block
    numbers: dict[int, Words]
    begins: dict[int, Places]
    ends: dict[int, Places]

    def unsigned(self, number: int) -> Words:
        """Return a number as it was written."""
        return self.numbers.get(number, np.zeros(self.rows, np.uint64))

    def texts(self, number: int) -> pl.Series:
        """Return a text."""
        if number not in self.begins:
            return pl.repeat("", self.rows, dtype=pl.String, eager=True)
        return self.block.texts(self.begins[number], self.ends[number])


def fields_of(block: Block, begin: Places, end: Places, wanted: Collection[int], bad: Mask) -> Fields:
    """Return the wanted fields of messages; those that are none are marked in `bad`."""
    found = Fields(len(begin), block, {}, {}, {})
    for step in walk(block, begin, end, bad):
        for number in wanted:
            same = step.number == number
            if not same.any():
                continue
            _keep(found, number, step, same & ~step.is_bytes, same & step.is_bytes)
    return found


def _keep(found: Fields, number: int, step: Step, numeric: Mask, textual: Mask) -> None:
    if numeric.any():
        column = found.numbers.setdefault(number, np.zeros(found.rows, np.uint64))
        column[step.row[numeric]] = step.value[numeric]
    if textual.any():
        begins = found.begins.setdefault(number, np.zeros(found.rows, np.int64))
        ends = found.ends.setdefault(number, np.zeros(found.rows, np.int64))
        begins[step.row[textual]], ends[step.row[textual]] = step.begin[textual], step.end[textual]
