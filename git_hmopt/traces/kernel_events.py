# SPDX-License-Identifier: Apache-2.0
"""Turn the records of a ring buffer into the events of the table, by the formats that the capture brings with it."""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import polars as pl

from git_hmopt.traces import event_text
from git_hmopt.traces.capture import BATCH, EVENTS, LOST_EVENTS, Losses
from git_hmopt.traces.event_formats import EventFormat, Formats
from git_hmopt.traces.event_names import category_of
from git_hmopt.traces.event_text import Rows, Symbols
from git_hmopt.traces.markers import MARKER_EVENTS, marker_columns
from git_hmopt.traces.ring_buffer import Records
from git_hmopt.traces.text_columns import PAD, TextColumns

UNKNOWN_EVENT = "records of events whose format the capture does not have"
SHORT_RECORD = "records shorter than the format of their event"
NO_NUMBER = "marker without its id or value"
BAD_THREAD = "lines of thread names or process numbers that were not understood"

Places = npt.NDArray[np.int64]
_SYNC = "trace_event_clock_sync"
_MOST_PID = 1 << 31
_LITE = "_lite"
"""HongMeng's events without thread names, `sched_switch_lite`, print the same text as the others."""


@dataclass
class Kernel:
    """What a capture says of the kernel that wrote it."""

    formats: Formats = field(default_factory=Formats)
    comms: dict[int, str] = field(default_factory=dict)
    """Names of threads by tid (saved_cmdlines)."""
    tgids: dict[int, int] = field(default_factory=dict)
    """Processes by tid (saved_tgids)."""
    symbols: Symbols = field(default_factory=Symbols)
    long_size: int = 8

    def add_formats(self, text: str, losses: Losses) -> None:
        """Add the events of one or many tracefs `format` files; what is known already stays."""
        self.formats.add(text, losses)

    def add_symbols(self, text: str) -> None:
        """Take the kernel's symbols from the lines of /proc/kallsyms."""
        self.symbols = Symbols(text)

    def add_comms(self, text: str, losses: Losses) -> None:
        """Add the lines `tid name` of saved_cmdlines."""
        self.comms.update(_numbered(text, losses))

    def add_tgids(self, text: str, losses: Losses) -> None:
        """Add the lines `tid tgid` of saved_tgids."""
        for tid, tgid in _numbered(text, losses):
            if tgid.isdecimal() and len(tgid) <= 10 and int(tgid) < _MOST_PID:
                self.tgids[tid] = int(tgid)
            else:
                losses[BAD_THREAD] += 1


def _numbered(text: str, losses: Losses) -> Iterator[tuple[int, str]]:
    for line in text.replace("\0", "").splitlines():
        found = re.match(r"\s*(\d{1,10})\s(.*)$", line)
        if found and int(found[1]) < _MOST_PID:
            yield int(found[1]), found[2]
        elif line.strip():
            losses[BAD_THREAD] += 1


def events(records: Records, kernel: Kernel, losses: Losses) -> pl.DataFrame:
    """Return the events of the records in order of time, with the columns of EVENTS."""
    columns = _Columns(len(records))
    for group in _by_event(records, losses):
        begin = int(records.begin[group[0]])
        event = kernel.formats.get(int.from_bytes(records.content[begin : begin + 2].tobytes(), "little"), losses)
        if event is None:
            losses[UNKNOWN_EVENT] += len(group)
        else:
            _one_event(event, records, group, kernel, columns, losses)
    frame = columns.frame(records, kernel.tgids)
    if records.lost:
        frame = pl.concat([_lost(records), frame])
    return frame if frame["ts_ns"].is_sorted() else frame.sort("ts_ns", maintain_order=True)


def _by_event(records: Records, losses: Losses) -> Iterator[Places]:
    """Yield which of the records are of the same event."""
    short = records.size < 2
    if short.any():
        losses[SHORT_RECORD] += int(short.sum())
    places = np.flatnonzero(~short)
    begin = records.begin[places]
    numbers = records.content[begin].astype(np.int32) | records.content[begin + 1].astype(np.int32) << 8
    order = np.argsort(numbers, kind="stable")
    if len(order):
        yield from np.split(places[order], np.flatnonzero(np.diff(numbers[order])) + 1)


class _Columns:
    """What is known of each record; those without a name are none of the table."""

    def __init__(self, records: int) -> None:
        self.category = np.empty(records, dtype=object)
        self.name = np.empty(records, dtype=object)
        self.args = np.empty(records, dtype=object)
        self.tid = np.full(records, -1, dtype=np.int64)

    def frame(self, records: Records, tgids: Mapping[int, int]) -> pl.DataFrame:
        """Return the table of the records that have a name."""
        used = np.flatnonzero(self.name.astype(bool) | (self.category == "marker"))
        tids = self.tid[used].tolist()
        pids = {tid: tgids.get(tid) for tid in set(tids)}
        return pl.DataFrame(
            {
                "ts_ns": records.ts[used],
                "category": pl.Series(self.category[used].tolist(), dtype=pl.String),
                "name": pl.Series(self.name[used].tolist(), dtype=pl.String),
                "dur_ns": pl.Series([None], dtype=pl.Int64).new_from_index(0, len(used)),
                "pid": pl.Series([pids[tid] for tid in tids], dtype=pl.Int32),
                "tid": pl.Series([tid if tid >= 0 else None for tid in tids], dtype=pl.Int32),
                "cpu": records.cpu[used],
                "args": pl.Series(self.args[used].tolist(), dtype=pl.String),
            },
            schema=EVENTS,
        )


def _lost(records: Records) -> pl.DataFrame:
    rows = [
        (ts, "other", LOST_EVENTS, None, None, None, cpu, "" if count is None else f"count={count}")
        for ts, cpu, count in records.lost
    ]
    return pl.DataFrame(rows, schema=EVENTS, orient="row")


def _one_event(
    event: EventFormat, records: Records, places: Places, kernel: Kernel, columns: _Columns, losses: Losses
) -> None:
    """Fill the columns of the records of one event."""
    short = records.size[places] < event.least_size
    if short.any():
        losses[SHORT_RECORD] += int(short.sum())
        places = places[~short]
    if not len(places):
        return
    rows = Rows(
        event, records.content, records.begin[places], records.size[places], kernel.long_size, kernel.symbols,
        kernel.comms,
    )  # fmt: skip
    task = event.by_name.get("common_pid")
    if task is not None and not task.is_array and task.size == 4:
        columns.tid[places] = rows.ints(task).astype(np.int32)
    name = event.name.removesuffix(_LITE) if event.name.startswith("sched_") else event.name
    if name in MARKER_EVENTS:
        found = markers(_payloads(event, rows), losses)
        columns.category[places], columns.name[places], columns.args[places] = (one.to_list() for one in found)
    else:
        columns.category[places], columns.name[places] = category_of(name), name
        columns.args[places] = [text.rstrip() for text in event_text.printed(rows)]


def _payloads(event: EventFormat, rows: Rows) -> list[str]:
    """Return what programs wrote: the field `buf` of `print`, `buffer` of HongMeng's `tracing_mark_write`.

    A `tracing_mark_write` of a driver has the payload's parts as fields, which its format puts together.
    """
    for name in ("buf", "buffer"):
        one = event.by_name.get(name)
        if one is not None and one.is_array:
            return [text.rstrip(" \t\r\n") for text in rows.texts(one)]
    return [text.rstrip() for text in event_text.printed(rows)]


def markers(payloads: Sequence[str], losses: Losses) -> tuple[pl.Series, pl.Series, pl.Series]:
    """Return categories, names and arguments of what programs wrote into the trace."""
    encoded = [payload.encode() for payload in payloads]
    lengths = np.array([len(one) for one in encoded], dtype=np.int64)
    starts = PAD + np.concatenate([[0], np.cumsum(lengths + 1)[:-1]]).astype(np.int64)
    text = TextColumns(b"\n".join(encoded))
    found = marker_columns(text, starts, starts + lengths)
    if found.without_number:
        losses[NO_NUMBER] += found.without_number
    names, args = text.cut(found.name_start, found.name_end), found.args
    categories = pl.Series(["marker"]).new_from_index(0, len(payloads))
    is_sync = pl.Series([payload.startswith(f"{_SYNC}: ") for payload in payloads])
    if not is_sync.any():
        return categories, names, args
    table = pl.DataFrame({"category": categories, "name": names, "args": args, "payload": list(payloads)})
    table = table.with_columns(
        pl.when(is_sync).then(pl.lit("other")).otherwise("category").alias("category"),
        pl.when(is_sync).then(pl.lit(_SYNC)).otherwise("name").alias("name"),
        pl.when(is_sync).then(pl.col("payload").str.slice(len(_SYNC) + 2)).otherwise("args").alias("args"),
    )
    return table["category"], table["name"], table["args"]


def merged(streams: Iterable[Iterator[pl.DataFrame]]) -> Iterator[pl.DataFrame]:
    """Yield the rows of streams that are each in order of time, of all in order of time, in batches.

    Of each stream one frame is held: what is not later than the earliest end of those can be yielded.
    """
    waiting: dict[int, tuple[Iterator[pl.DataFrame], pl.DataFrame]] = {}
    begins: list[tuple[int, int]] = []
    ends: list[tuple[int, int]] = []

    def wait(number: int, stream: Iterator[pl.DataFrame], frame: pl.DataFrame | None) -> None:
        if frame is not None:
            waiting[number] = (stream, frame)
            heapq.heappush(begins, (int(frame["ts_ns"][0]), number))
            heapq.heappush(ends, (int(frame["ts_ns"][-1]), number))

    for number, stream in enumerate(streams):
        wait(number, stream, _next(stream))
    ready: list[pl.DataFrame] = []
    while ends:
        until, _ = ends[0]
        ripe = []
        while begins and begins[0][0] <= until:
            ripe.append(heapq.heappop(begins)[1])
        while ends and ends[0][0] <= until:
            heapq.heappop(ends)
        for number in sorted(ripe):
            stream, frame = waiting.pop(number)
            cut = int(frame["ts_ns"].search_sorted(until, side="right"))
            ready.append(frame.head(cut))
            if cut == len(frame):
                wait(number, stream, _next(stream))
            else:
                waiting[number] = (stream, frame.slice(cut))
                heapq.heappush(begins, (int(frame["ts_ns"][cut]), number))
        if sum(map(len, ready)) >= BATCH or not ends:
            yield pl.concat(ready).sort("ts_ns", maintain_order=True)
            ready = []


def _next(stream: Iterator[pl.DataFrame]) -> pl.DataFrame | None:
    return next((frame for frame in stream if len(frame)), None)
