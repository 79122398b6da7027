# SPDX-License-Identifier: Apache-2.0
"""Read what OpenHarmony's ftrace plugin writes: TracePluginResult, the kernel's events taken apart into messages."""

from __future__ import annotations

import bisect
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from mmap import mmap

import polars as pl

from git_hmopt.traces import htrace_events, protobuf
from git_hmopt.traces.capture import BATCH, EVENTS, LOST_EVENTS, Losses
from git_hmopt.traces.event_names import category_of
from git_hmopt.traces.htrace_events import Values
from git_hmopt.traces.kernel_events import markers
from git_hmopt.traces.ring_buffer import BAD_TIME, LOST_RECORDS

BAD_EVENT = "ftrace messages that are cut or no message"
NO_EVENT = "ftrace messages without an event"

_COMMON = 50
_FIRST_EVENT = 100
_MOST_TIME, _MOST_LOST = (1 << 63) - 1, (1 << 40) - 1
_MOST_ID = (1 << 31) - 1
_category_of = lru_cache(maxsize=1024)(category_of)


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
    addresses = sorted(found.symbols)

    def symbol(address: int) -> str | None:
        at = bisect.bisect_right(addresses, address) - 1
        return found.symbols[addresses[at]] if at >= 0 else None

    most = max(1000, BATCH // max(1, len(found.details)))
    rows = _Rows(cpu, found.comms, symbol)
    for begin, end in found.details[cpu]:
        rows.begin_detail()
        data = content[begin:end]
        try:
            for one in protobuf.fields(data, 0, len(data)):
                if one.number == 2:
                    rows.add(data[one.begin : one.end], losses)
                elif one.number == 3 and one.value:
                    rows.lose(one.value & _MOST_LOST, losses)
        except protobuf.WireError:
            losses[BAD_EVENT] += 1
        if len(rows) >= most:
            yield rows.frame(losses)
            rows = _Rows(cpu, found.comms, symbol)
    yield rows.frame(losses)


class _Rows:
    """Events of a CPU, until there are enough of them for a batch."""

    def __init__(self, cpu: int, comms: Mapping[int, str], symbol: Callable[[int], str | None]) -> None:
        self._cpu, self._comms, self._symbol = cpu, comms, symbol
        self._rows: list[tuple[int, str, str, int | None, int, str]] = []
        self._marked: list[int] = []
        self._payloads: list[str] = []
        self._detail = 0

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, message: bytes, losses: Losses) -> None:
        """Add the event of an FtraceEvent; WireError when it is none."""
        head, places = protobuf.flat(message, 0, len(message))
        number = next((one for one in reversed(places) if one >= _FIRST_EVENT), 0)
        ts = head.get(1, 0)
        if number == 0 or ts > _MOST_TIME:
            losses[BAD_TIME if number else NO_EVENT] += 1
            return
        begin, end = places.get(_COMMON, (0, 0))
        tid = _id(protobuf.flat(message, begin, end)[0].get(4, 0))
        tgid = _id(head.get(2, 0))
        # What is 0 is not written, so a process that is not known reads like that of the idle threads.
        pid = tgid if tgid > 0 else None
        numbers, places = protobuf.flat(message, *places[number])
        texts = {key: message[begin:end].decode(errors="replace") for key, (begin, end) in places.items()}
        if number == htrace_events.PRINT:
            self._marked.append(len(self._rows))
            self._payloads.append(texts.get(2, "").rstrip(" \t\r\n"))
            self._rows.append((ts, "", "", pid, tid, ""))
            return
        name, args = htrace_events.printed(number, Values(numbers, texts, self._symbol, self._comms))
        self._rows.append((ts, _category_of(name), name, pid, tid, args))

    def begin_detail(self) -> None:
        """Note that the events of another message follow."""
        self._detail = len(self._rows)

    def lose(self, count: int, losses: Losses) -> None:
        """Say before the first event of the message that the kernel has lost some."""
        losses[LOST_RECORDS] += count
        if self._detail < len(self._rows):
            ts = self._rows[self._detail][0]
            self._rows.insert(self._detail, (ts, "other", LOST_EVENTS, None, -1, f"count={count}"))
            self._marked = [at + (at >= self._detail) for at in self._marked]

    def frame(self, losses: Losses) -> pl.DataFrame:
        """Return the events in order of time."""
        columns = list(zip(*self._rows, strict=True)) or [()] * 6
        ts, category, name, pid, tid, args = (list(column) for column in columns)
        if self._marked:
            marked = (series.to_list() for series in markers(self._payloads, losses))
            for at, kind, called, told in zip(self._marked, *marked, strict=True):
                category[at], name[at], args[at] = kind, called, told
        frame = pl.DataFrame(
            {
                "ts_ns": pl.Series(ts, dtype=pl.Int64),
                "category": pl.Series(category, dtype=pl.String),
                "name": pl.Series(name, dtype=pl.String),
                "dur_ns": pl.Series([None] * len(ts), dtype=pl.Int64),
                "pid": pl.Series(pid, dtype=pl.Int32),
                "tid": pl.Series(tid, dtype=pl.Int32),
                "cpu": pl.Series([self._cpu] * len(ts), dtype=pl.Int16),
                "args": pl.Series(args, dtype=pl.String),
            },
            schema=EVENTS,
        )
        unknown = pl.when(pl.col("tid") >= 0).then("tid")
        return frame.with_columns(unknown).sort("ts_ns", maintain_order=True)


def _id(value: int) -> int:
    """Return a pid as it was before it was written as 64 bits; -1 for what is none."""
    return value if value <= _MOST_ID else -1
