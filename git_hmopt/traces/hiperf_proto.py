# SPDX-License-Identifier: Apache-2.0
"""Read what `hiperf report --proto` writes: samples with times, threads and whole stacks, one message each.

    "HIPERF_PB_" | u16 version 1 | { u32 size, HiperfRecord } | u32 0

The message is that of proto/report_sample.proto of OpenHarmony's developtools_hiperf; names of functions and threads
may come before the samples that use them or after.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from mmap import mmap

import numpy as np
import polars as pl

from git_hmopt.traces import protobuf
from git_hmopt.traces.capture import Capture, Losses
from git_hmopt.traces.mapped import mapped
from git_hmopt.traces.source import Source
from git_hmopt.traces.stacks import MOST_WEIGHT, OUT_OF_RANGE, SampleRows, unit_of
from git_hmopt.traces.tables import SAMPLES, UNKNOWN, Frame, Samples, TraceFormatError, unnamed

MAGIC = b"HIPERF_PB_"

BAD_RECORD = "record that cannot be read"
NO_EVENT = "sample of an event that the report does not name"
NO_STACK = "sample without a stack"
NO_FILE = "frame of a file that the report does not name"
NO_FUNCTION = "frame whose function is not in the report"
UNSYMBOLISED = "frame named by object and offset: no symbol"
LOST = "lost by hiperf"
MISSING = "samples that are said to be in the report, and are not"
CUT = "report without its end"

_SAMPLE, _STATISTIC, _FILE, _THREAD, _INFO = 1, 2, 3, 4, 5
_MOST_BYTES = 512 << 20
_MOST_SAMPLES, _MOST_NAMES, _MOST_IN_STACKS = 10_000_000, 16_000_000, 50_000_000
_MOST_FRAMES, _MOST_EVENTS = 4_000_000, 1000
_MOST_SAMPLE = 4 << 20
"""Bytes of one."""


class HiperfProto:
    """The format, by its name `hiperf-proto`."""

    name = "hiperf-proto"

    def recognise(self, head: bytes, name: str) -> bool:
        """Say whether the file begins with the report's magic."""
        return head.startswith(MAGIC)

    def read(self, source: Source) -> Capture:
        """Return the capture. Raises TraceFormatError for another version."""
        head = source.head()
        version = int.from_bytes(head[len(MAGIC) : len(MAGIC) + 2], "little")
        if not head.startswith(MAGIC) or version != 1:
            raise TraceFormatError(
                f"{source.path}: no report of hiperf in protocol buffers, version 1",
                next_step="write it with: hiperf report --proto",
            )

        def samples(losses: Losses) -> list[Samples]:
            with mapped(source) as content:
                tables = _Tables(_contents(content, source)).read()
            for table in tables:
                losses.update(table.skipped)
            return tables

        return Capture(self.name, read_samples=samples)


FORMAT = HiperfProto()


@dataclass
class _File:
    path: str = UNKNOWN
    names: array[int] = field(default_factory=lambda: array("Q"))
    """Where the name of each function begins and ends."""


@dataclass
class _Contents:
    """A report whose samples have been found and not yet read."""

    content: mmap
    losses: Losses = field(default_factory=Losses)
    samples: array[int] = field(default_factory=lambda: array("Q"))
    files: dict[int, _File] = field(default_factory=dict)
    processes: dict[int, int] = field(default_factory=dict)
    threads: dict[int, str] = field(default_factory=dict)
    events: list[str] = field(default_factory=list)
    said: int | None = None
    names: int = 0

    def named(self) -> None:
        """Count a name, of which there are not too many."""
        self.names += 1
        if self.names > _MOST_NAMES or len(self.events) > _MOST_EVENTS:
            raise TraceFormatError(f"a report of hiperf of more than {min(self.names, _MOST_NAMES)} names is not read")


def _contents(content: mmap, source: Source) -> _Contents:
    """Find everything in a report. Raises TraceFormatError where it is larger than can be kept."""
    if len(content) > _MOST_BYTES:
        raise TraceFormatError(f"{source.path}: a report of more than {_MOST_BYTES >> 20} MiB is not read")
    found = _Contents(content)
    for begin, end in _records(content, found.losses):
        try:
            for one in protobuf.fields(content, begin, end):
                if one.is_bytes:
                    _take(found, one)
        except protobuf.WireError:
            found.losses[BAD_RECORD] += 1
        if len(found.samples) > 2 * _MOST_SAMPLES:
            raise TraceFormatError(f"{source.path}: a report of more than {_MOST_SAMPLES} samples is not read")
    return found


def _records(content: mmap, losses: Losses) -> Iterator[tuple[int, int]]:
    at = len(MAGIC) + 2
    while at + 4 <= len(content):
        (size,) = struct.unpack_from("<I", content, at)
        at += 4
        if not size:
            return
        if size > len(content) - at:
            break
        yield at, at + size
        at += size
    losses[CUT] += 1


def _take(found: _Contents, one: protobuf.Field) -> None:
    content = found.content
    if one.number == _SAMPLE:
        found.samples.extend((one.begin, one.end))
    elif one.number == _FILE:
        _take_file(found, one)
    elif one.number == _STATISTIC:
        numbers, _ = protobuf.flat(content[one.begin : one.end], 0, one.end - one.begin)
        found.said = numbers.get(1, 0)
        if lost := numbers.get(2, 0):
            found.losses[LOST] += lost
    elif one.number == _THREAD:
        numbers, places = protobuf.flat(piece := content[one.begin : one.end], 0, one.end - one.begin)
        tid, pid = numbers.get(1, 0), numbers.get(2, -1)
        found.named()
        if 0 <= tid < 1 << 31:
            found.processes[tid] = pid if 0 <= pid < 1 << 31 else -1
            begin, end = places.get(3, (0, 0))
            found.threads[tid] = piece[begin:end].decode(errors="replace")
    elif one.number == _INFO:
        for part in protobuf.fields(content, one.begin, one.end):
            if part.number == 1 and part.is_bytes:
                found.events.append(content[part.begin : part.end].decode(errors="replace"))
                found.named()


def _take_file(found: _Contents, message: protobuf.Field) -> None:
    file, number = _File(), 0
    for one in protobuf.fields(found.content, message.begin, message.end):
        if one.number == 1:
            number = one.value
        elif one.number == 2 and one.is_bytes:
            file.path = found.content[one.begin : one.end].decode(errors="replace") or UNKNOWN
        elif one.number == 3 and one.is_bytes:
            file.names.extend((one.begin, one.end))
            found.named()
    found.named()
    found.files[number] = file


@dataclass
class _Event:
    """The columns of one event's samples; -1 is a process that is not known."""

    stack: array[int] = field(default_factory=lambda: array("q"))
    ts_ns: array[int] = field(default_factory=lambda: array("q"))
    tid: array[int] = field(default_factory=lambda: array("q"))
    pid: array[int] = field(default_factory=lambda: array("q"))
    weight: array[int] = field(default_factory=lambda: array("q"))


class _Tables:
    """Makes tables of a report, one for each event."""

    def __init__(self, found: _Contents) -> None:
        self.found = found
        self.rows = SampleRows()
        self.room = _MOST_IN_STACKS
        self._frames: dict[bytes, int] = {}
        self._names: dict[int, str] = {}
        self._events: dict[int, _Event] = {number: _Event() for number in range(len(found.events))}

    def read(self) -> list[Samples]:
        found = self.found
        places = found.samples
        for at in range(0, len(places), 2):
            begin, end = places[at : at + 2]
            try:
                if end - begin > _MOST_SAMPLE:
                    raise protobuf.WireError(f"a sample of {end - begin} bytes")
                self._add(found.content[begin:end])
            except protobuf.WireError:
                found.losses[BAD_RECORD] += 1
        if found.said is not None and found.said > len(places) // 2:
            found.losses[MISSING] += found.said - len(places) // 2
        tables = [self._of_event(number, event) for number, event in self._events.items()]
        if not tables:
            raise TraceFormatError("a report of hiperf that names no event", next_step="hiperf report --proto anew")
        # What was lost of all of them is told once.
        tables[0] = self._table(self._frame(self._events[0]), found.events[0], dict(sorted(found.losses.items())))
        return tables

    def _add(self, message: bytes) -> None:
        losses = self.found.losses
        numbers: dict[int, int] = {}
        frames: list[int] = []
        for number, value, content in protobuf.listed(message):
            if content is None:
                numbers[number] = value
            elif number == 3:
                frames.append(self._frames[content] if content in self._frames else self._made(content))
        event = self._events.get(numbers.get(5, 0))
        time, weight, tid = numbers.get(1, 0), numbers.get(4, 0), numbers.get(2, 0)
        if event is None:
            losses[NO_EVENT] += 1
        elif not frames:
            losses[NO_STACK] += 1
        elif time > 2**63 - 1 or weight > MOST_WEIGHT or tid >= 1 << 31:
            losses[OUT_OF_RANGE] += 1
        else:
            known = self.rows.distinct
            event.stack.append(self.rows.intern_stack(frames[::-1]))
            self.room -= len(frames) if self.rows.distinct > known else 0
            event.ts_ns.append(time)
            event.tid.append(tid)
            event.pid.append(self.found.processes.get(tid, -1))
            event.weight.append(weight)
        if self.room < 0:
            raise TraceFormatError(f"the stacks of this report have more than {_MOST_IN_STACKS} frames")

    def _made(self, content: bytes) -> int:
        """Return the frame of a message that was not seen before."""
        if len(self._frames) >= _MOST_FRAMES:
            raise TraceFormatError(f"a report of more than {_MOST_FRAMES} frames is not read")
        numbers, _ = protobuf.flat(content, 0, len(content))
        file = self.found.files.get(numbers.get(2, -1))
        function = protobuf.signed(numbers.get(3, 2**64 - 1))
        if file is None:
            self.found.losses[NO_FILE] += 1
            frame = Frame(UNKNOWN)
        elif 0 <= function < len(file.names) // 2:
            frame = Frame(self._name(*file.names[2 * function : 2 * function + 2]), file.path)
        else:
            self.found.losses[UNSYMBOLISED if function < 0 else NO_FUNCTION] += 1
            frame = unnamed(file.path, numbers.get(1, 0))
        index = self._frames[content] = self.rows.intern(frame)
        return index

    def _name(self, begin: int, end: int) -> str:
        """Return a function's name, made once: a long one may be that of any number of frames."""
        if begin not in self._names:
            self._names[begin] = self.found.content[begin:end].decode(errors="replace") or UNKNOWN
        return self._names[begin]

    def _of_event(self, number: int, event: _Event) -> Samples:
        return self._table(self._frame(event), self.found.events[number], {})

    def _frame(self, event: _Event) -> pl.DataFrame:
        columns = {name: np.array(values, dtype=np.int64) for name, values in vars(event).items()}
        frame = pl.DataFrame(columns).with_columns(pid=pl.when(pl.col("pid") >= 0).then(pl.col("pid")), cpu=None)
        return frame.select(SAMPLES.names()).cast(SAMPLES)

    def _table(self, frame: pl.DataFrame, event: str, skipped: dict[str, int]) -> Samples:
        self.rows.skipped.clear()
        self.rows.skipped.update(skipped)
        return self.rows.table_of(frame, event=event, unit=unit_of(event, weighted=True), threads=self.found.threads)
