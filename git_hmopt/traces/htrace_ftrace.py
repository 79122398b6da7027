# SPDX-License-Identifier: Apache-2.0
"""Read what OpenHarmony's ftrace plugin writes: TracePluginResult, the kernel's events taken apart into messages."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from mmap import mmap

import numpy as np
import numpy.typing as npt
import polars as pl

from git_hmopt.traces import htrace_events, protobuf
from git_hmopt.traces.capture import BATCH, EVENTS, LOST_EVENTS, Losses
from git_hmopt.traces.event_names import category_of
from git_hmopt.traces.htrace_events import Known
from git_hmopt.traces.kernel_events import markers
from git_hmopt.traces.ring_buffer import BAD_TIME, LOST_RECORDS
from git_hmopt.traces.wire_columns import Block, fields_of, walk

BAD_EVENT = "ftrace messages that are cut or no message"
NO_EVENT = "ftrace messages without an event"

_EVENT_KEY = 2 << 3 | 2
_COMMON, _TID, _PAYLOAD = 50, 4, 2
_FIRST_EVENT = 100
_MOST_BYTES = 4 << 20
"""Of messages that are read at once; an event has a few hundred."""
_MOST_TIME, _MOST_LOST = (1 << 63) - 1, (1 << 40) - 1
_MOST_ID = (1 << 31) - 1


@dataclass
class Ftrace:
    """What the packets say of all events, and where those of each CPU are."""

    details: dict[int, list[tuple[int, int]]] = field(default_factory=lambda: defaultdict(list))
    symbols: dict[int, str] = field(default_factory=dict)
    comms: dict[int, str] = field(default_factory=dict)

    def add(self, content: mmap, begin: int, end: int) -> None:
        """Take one TracePluginResult; WireError when it is none."""
        for one in protobuf.fields(content, begin, end):
            if one.number == 2:
                self.details[_cpu(content, one)].append((one.begin, one.end))
            elif one.number in (5, 8):
                key, name = 0, ""
                for part in protobuf.fields(content, one.begin, one.end):
                    if part.number == 1:
                        key = part.value
                    elif part.number == 2:
                        name = content[part.begin : min(part.end, part.begin + 256)].decode(errors="replace")
                (self.symbols if one.number == 5 else self.comms)[key] = name


def _cpu(content: mmap, detail: protobuf.Field) -> int:
    # CPU 0 is not written, as protocol buffers leave out what is zero.
    first = next(protobuf.fields(content, detail.begin, detail.end), None)
    return first.value & 0x7FFF if first is not None and first.number == 1 else 0


def events(content: mmap, found: Ftrace, cpu: int, losses: Losses) -> Iterator[pl.DataFrame]:
    """Yield the events of one CPU, with the columns of EVENTS."""
    known = Known(found.symbols, found.comms)
    most = max(1000, BATCH // max(1, len(found.details)))
    messages = _Messages(cpu)
    for begin, end in found.details[cpu]:
        for piece in _pieces(content, begin, end):
            messages.add(piece, losses)
            if messages.events >= most or messages.size >= _MOST_BYTES:
                yield messages.frame(known, losses)
                messages = _Messages(cpu)
    yield messages.frame(known, losses)


@dataclass
class _Piece:
    """Whole events of one message, and what else it says."""

    data: bytes = b""
    begins: list[int] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)
    lost: int = 0
    damaged: bool = False


def _pieces(content: mmap, begin: int, end: int) -> Iterator[_Piece]:
    """Cut a CPU's message into its events; one of more than some MiB comes in pieces."""
    while begin < end:
        data = content[begin : min(end, begin + _MOST_BYTES)]
        piece, read = _events_in(data, whole=begin + len(data) == end)
        piece.data = data
        yield piece
        if piece.damaged or not read:
            return
        begin += read


def _events_in(data: bytes, *, whole: bool) -> tuple[_Piece, int]:
    """Find the events in the fields of a message, as far as it is here; return how far that is."""
    piece, at, length = _Piece(), 0, len(data)
    begins, ends = piece.begins, piece.ends
    while at < length:
        start = at
        try:
            if data[at] == _EVENT_KEY:
                size, at = data[at + 1], at + 2
                if size > 0x7F:
                    size, at = size & 0x7F | data[at] << 7, at + 1
                    if size > 0x3FFF:
                        # Longer than events are: the slow way says what it is.
                        raise _Unusual
                if at + size > length:
                    raise _Unusual
                begins.append(at)
                at += size
                ends.append(at)
                continue
        except (IndexError, _Unusual):
            at = start
        try:
            one = next(protobuf.fields(data, at, length))
        except protobuf.WireError:
            # What does not end here may end in what follows, unless nothing does or it is longer than a piece.
            piece.damaged = whole or not at
            return piece, at
        if one.number == 2 and one.is_bytes:
            begins.append(one.begin)
            ends.append(one.end)
        elif one.number == 3 and not one.is_bytes:
            piece.lost = one.value & _MOST_LOST
        at = one.end
    return piece, at


class _Unusual(Exception):
    """A field is not written as those of almost all events are."""


class _Messages:
    """Events of a CPU, until there are enough of them for a batch."""

    def __init__(self, cpu: int) -> None:
        self._cpu = cpu
        self._pieces: list[_Piece] = []
        self.events = self.size = 0

    def add(self, piece: _Piece, losses: Losses) -> None:
        """Take a piece of a message."""
        if piece.damaged:
            losses[BAD_EVENT] += 1
        if piece.lost:
            losses[LOST_RECORDS] += piece.lost
        self._pieces.append(piece)
        self.events += len(piece.begins)
        self.size += len(piece.data)

    def frame(self, known: Known, losses: Losses) -> pl.DataFrame:
        """Return the events in order of time."""
        block = Block(b"".join(piece.data for piece in self._pieces))
        starts = np.cumsum([0, *(len(piece.data) for piece in self._pieces)])
        count = [len(piece.begins) for piece in self._pieces]
        shift = np.repeat(starts[:-1], count)
        begin = shift + np.fromiter(itertools.chain.from_iterable(one.begins for one in self._pieces), np.int64)
        end = shift + np.fromiter(itertools.chain.from_iterable(one.ends for one in self._pieces), np.int64)
        heads = _Heads.of(block, begin, end, losses)
        parts = [one.with_columns(cpu=pl.lit(self._cpu, pl.Int16)) for one in _printed(block, heads, known, losses)]
        parts.append(self._lost(heads, np.cumsum([0, *count])))
        table = pl.concat([_TABLE.to_frame(), *parts]).sort("ts_ns", "row")
        nothing = pl.lit(None, pl.Int64).alias("dur_ns")
        return table.with_columns(nothing).select(EVENTS.names())

    def _lost(self, heads: _Heads, first: npt.NDArray[np.int64]) -> pl.DataFrame:
        """Say before the first event of each message that the kernel has lost some, if it has one."""
        rows = []
        for piece, begin, end in zip(self._pieces, first[:-1].tolist(), first[1:].tolist(), strict=True):
            fine = np.flatnonzero(heads.fine[begin:end])
            if piece.lost and len(fine):
                row = begin + int(fine[0])
                rows.append((2 * row - 1, int(heads.ts[row]), "other", LOST_EVENTS, None, None, f"count={piece.lost}"))
        frame = pl.DataFrame(rows, schema=_SAID, orient="row")
        return frame.with_columns(cpu=pl.lit(self._cpu, pl.Int16)).select(_TABLE.names())


@dataclass(frozen=True)
class _Heads:
    """What every event has: its time, thread and kind, and where its own fields are."""

    fine: npt.NDArray[np.bool_]
    ts: npt.NDArray[np.int64]
    pid: npt.NDArray[np.int64]
    tid: npt.NDArray[np.int64]
    """-1 of either is unknown."""
    kind: npt.NDArray[np.int64]
    begin: npt.NDArray[np.int64]
    end: npt.NDArray[np.int64]

    @classmethod
    def of(cls, block: Block, begin: npt.NDArray[np.int64], end: npt.NDArray[np.int64], losses: Losses) -> _Heads:
        """Read the fields of FtraceEvents; what is none is counted."""
        rows = len(begin)
        ts, tgid = np.zeros(rows, np.uint64), np.zeros(rows, np.uint64)
        kind, own_begin, own_end, common_begin, common_end = (np.zeros(rows, np.int64) for _ in range(5))
        bad = np.zeros(rows, np.bool_)
        for step in walk(block, begin, end, bad):
            for number, column in ((1, ts), (2, tgid)):
                same = (step.number == number) & ~step.is_bytes
                column[step.row[same]] = step.value[same]
            same = (step.number == _COMMON) & step.is_bytes
            common_begin[step.row[same]], common_end[step.row[same]] = step.begin[same], step.end[same]
            same = (step.number >= _FIRST_EVENT) & step.is_bytes
            row = step.row[same]
            kind[row], own_begin[row], own_end[row] = step.number[same], step.begin[same], step.end[same]
        common = fields_of(block, common_begin, common_end, (_TID,), bad)
        late = ts > _MOST_TIME
        for what, lost in ((BAD_EVENT, bad), (NO_EVENT, ~bad & (kind == 0)), (BAD_TIME, ~bad & (kind > 0) & late)):
            if lost.any():
                losses[what] += int(lost.sum())
        # What is 0 is not written, so a process that is not known reads like that of the idle threads.
        pid = np.where((tgid > 0) & (tgid <= _MOST_ID), tgid, 0).astype(np.int64)
        tid = common.unsigned(_TID)
        return cls(
            ~bad & (kind > 0) & ~late, np.where(late, 0, ts).astype(np.int64), np.where(pid > 0, pid, -1),
            np.where(tid <= _MOST_ID, tid.astype(np.int64), -1), kind, own_begin, own_end,
        )  # fmt: skip


_SAID = pl.Schema(
    {
        "row": pl.Int64(), "ts_ns": pl.Int64(), "category": pl.String(), "name": pl.String(), "pid": pl.Int32(),
        "tid": pl.Int32(), "args": pl.String(),
    }
)  # fmt: skip
_TABLE = pl.Schema({**_SAID, "cpu": pl.Int16()})


def _printed(block: Block, heads: _Heads, known: Known, losses: Losses) -> Iterator[pl.DataFrame]:
    """Yield the events of each kind; `row` has twice the place of each, so that something fits between."""
    fine = np.flatnonzero(heads.fine)
    order = fine[np.argsort(heads.kind[fine], kind="stable")]
    for rows in np.split(order, np.flatnonzero(np.diff(heads.kind[order])) + 1) if len(order) else ():
        kind = int(heads.kind[rows[0]])
        bad = np.zeros(len(rows), np.bool_)
        begin, end = heads.begin[rows], heads.end[rows]
        if kind == htrace_events.PRINT:
            payloads = fields_of(block, begin, end, (_PAYLOAD,), bad).texts(_PAYLOAD).str.strip_chars_end(" \t\r\n")
            category, name, args = markers(payloads.to_list(), losses)
        elif kind in htrace_events.KNOWN:
            called, args = htrace_events.printed(kind, block, begin, end, known, bad)
            category, name = (pl.repeat(one, len(rows), eager=True) for one in (category_of(called), called))
        else:
            called, args = f"event_{kind}", pl.Series(_unknown(block.raw, begin, end, bad), dtype=pl.String)
            category, name = (pl.repeat(one, len(rows), eager=True) for one in (category_of(called), called))
        frame = pl.DataFrame(
            {
                "row": 2 * rows,
                "ts_ns": heads.ts[rows],
                "category": category,
                "name": name,
                "pid": _ids(heads.pid[rows]),
                "tid": _ids(heads.tid[rows]),
                "args": args,
            },
            schema=_SAID,
        )
        if bad.any():
            losses[BAD_EVENT] += int(bad.sum())
            frame = frame.filter(~bad)
        yield frame


def _ids(values: npt.NDArray[np.int64]) -> pl.Series:
    found = pl.Series(values)
    return found if not (values < 0).any() else pl.select(pl.when(found >= 0).then(found))[:, 0]


def _unknown(
    raw: bytes, begin: npt.NDArray[np.int64], end: npt.NDArray[np.int64], bad: npt.NDArray[np.bool_]
) -> Iterator[str]:
    """Print the fields of an event that is not known here, called by their numbers."""
    for at, (first, last) in enumerate(zip(begin.tolist(), end.tolist(), strict=True)):
        try:
            yield htrace_events.unnamed(raw, first, last)
        except protobuf.WireError:
            bad[at] = True
            yield ""
