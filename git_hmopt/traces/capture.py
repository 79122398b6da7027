# SPDX-License-Identifier: Apache-2.0
"""What every format yields: a table of events in batches, tables of samples, and what was lost on the way.

A trace may be larger than memory, so events come in batches of rows and are read as often as they are asked for;
samples are few against them and come whole.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import BinaryIO, Protocol

import polars as pl

from git_hmopt.traces.source import Source
from git_hmopt.traces.tables import Samples, SelfCounts, Symbols, TraceFormatError

EVENTS = pl.Schema(
    {
        "ts_ns": pl.Int64(),
        "category": pl.String(),
        "name": pl.String(),
        "dur_ns": pl.Int64(),
        "pid": pl.Int32(),
        "tid": pl.Int32(),
        "cpu": pl.Int16(),
        "args": pl.String(),
    }
)
"""The columns of events. Time is integer nanoseconds of the capture's own clock; null is unknown, never 0.

`category` is one of CATEGORIES; `name` is the event's (`sched_switch`), or what a marker, counter or log line is
called; `dur_ns` is null where the capture has no duration; `args` are `key=value` pairs with a blank between them, in
the order and the spelling of the kernel's own text (`prev_comm=a b prev_pid=3 ...`), so that every format of the same
event reads alike. Of markers they begin with `phase=B|E|S|F|C|I` (begin, end, start and finish of what crosses
threads, counter, instant), then `pid=` of the payload where it has one, `id=`, `value=`, `level=`.
"""
CATEGORIES = (
    "sched", "irq", "softirq", "power", "reclaim", "memory", "io", "workqueue", "binder", "sync", "marker", "frame",
    "log", "proc", "other",
)  # fmt: skip
BATCH = 200_000
"""Rows of a batch, about."""
_LONGEST_LINE = 16 << 20

LOST_EVENTS = "lost_events"
"""The name of the event, of category `other`, that says: events of its `cpu` are missing before here. It is no event of
the kernel's; its time may be unknown, its `args` are `count=` where the trace says how many. What is open on that CPU,
and a thread that waits for one, has an unknown end."""

Losses = Counter[str]
"""How many lines, records or bytes were not used, by the reason in words."""


@dataclass
class Capture:
    """One capture that was recognised; nothing of it has been read but its head."""

    format: str
    """The name of its format."""
    read_events: Callable[[Losses], Iterator[pl.DataFrame]] | None = None
    """Yields batches with the columns of EVENTS, counting what it leaves out; None when the format has no events."""
    read_samples: Callable[[Losses], Sequence[Samples]] | None = None
    """Returns one table for each event that was sampled; None when the format has no samples."""
    read_lines: Callable[[Losses], SelfCounts | Symbols] | None = None
    """Returns what was counted or located by source line; None when the format has nothing of the kind."""
    read_definitions: Callable[[Sequence[str]], Symbols] | None = None
    """Returns where functions of the samples are defined, once those were read: as debug information of the objects
    that were measured says. None when the format does not lead to any."""
    samples_behind: Callable[[], int | None] | None = None
    """Returns what the clock of the samples is behind that of the events, in nanoseconds; None where the capture does
    not tell. None when it has not both."""
    facts: Mapping[str, str] = field(default_factory=dict)
    """What the capture says of itself, as far as its head tells: `clock`, `tracer`, `cpus`, `host`, `command`, ..."""


class Format(Protocol):
    """One format; a module of this room, or of another package by the entry point group `git_hmopt.traces`."""

    name: str
    """As people and configurations name it: `ftrace`, `perf-data`, `folded`, ..."""

    def recognise(self, head: bytes, name: str) -> bool:
        """Say whether a file begins like this format; `head` are its first 64 KiB unwrapped, `name` its file name."""
        ...

    def read(self, source: Source) -> Capture:
        """Return the capture. Raises TraceFormatError when the bytes are of another format after all."""
        ...


def of_tables(
    name: str,
    source: Source,
    *,
    samples: Callable[[Iterable[bytes]], Samples] | None = None,
    lines: Callable[[Iterable[bytes]], SelfCounts | Symbols] | None = None,
) -> Capture:
    """Return the capture of a text whose parsers take its lines and count what they skip in their tables."""

    def read_samples(losses: Losses) -> Sequence[Samples]:
        assert samples is not None
        with source.open() as stream:
            table = samples(_bounded_lines(stream, source))
        losses.update(table.skipped)
        return [table]

    def read_lines(losses: Losses) -> SelfCounts | Symbols:
        assert lines is not None
        with source.open() as stream:
            table = lines(_bounded_lines(stream, source))
        losses.update(table.skipped)
        return table

    return Capture(name, read_samples=read_samples if samples else None, read_lines=read_lines if lines else None)


def _bounded_lines(stream: BinaryIO, source: Source) -> Iterator[bytes]:
    while line := stream.readline(_LONGEST_LINE):
        if len(line) == _LONGEST_LINE:
            raise TraceFormatError(f"{source.path}: a line of more than {_LONGEST_LINE >> 20} MiB")
        yield line
