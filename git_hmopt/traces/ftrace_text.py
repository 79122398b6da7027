# SPDX-License-Identifier: Apache-2.0
"""Read ftrace and hitrace text: Linux and HongMeng dialects, with or without header, TGID and flags.

A line is `TASK-PID (TGID) [CPU] FLAGS SECONDS.FRACTION: EVENT: ARGUMENTS` (kernel/trace/trace_output.c); TGID and flags
may be missing, flags are four to eight characters, a task's name may hold anything. So a line is found from its `[CPU]`
outwards: what follows it up to the time's colon is checked whole, then what stands before it is read backwards.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
import polars as pl
from numpy.typing import NDArray

from git_hmopt.traces.capture import EVENTS, LOST_EVENTS, Capture, Losses
from git_hmopt.traces.event_names import category_of
from git_hmopt.traces.markers import MARKER_EVENTS, marker_columns
from git_hmopt.traces.source import Source
from git_hmopt.traces.tables import TraceFormatError
from git_hmopt.traces.text_columns import Mask, Places, TextColumns, allowed_bytes

BLOCK = 8 << 20
"""Bytes that are read at once."""
LONGEST = 1 << 20
"""Bytes of a line: the kernel's own pages are smaller."""
_AHEAD = 4
"""Blocks that are read while those before them are used, of which two or three are at once."""

NO_EVENT = "line that is no event of ftrace"
NO_EVENT_NAME = "line without an event's name, as function tracers write them"
TOO_LONG = "line longer than 1 MiB"
LOST = "events that the kernel itself lost"
NO_NUMBER = "marker without its id or value"

_LINE = re.compile(
    rb".{0,64}?-\d{1,10}\s+(?:\(?\s*(?:\d+|-+)\)?\s+)?\[\d{1,5}\]\s+(?:[A-Za-z0-9.#]{3,9}\s+)?\d+\.\d{1,9}:\s+[^\s:]+:"
)
_HEADER = re.compile(rb"#\s*tracer:|#\s*TRACE", re.IGNORECASE)
_FLAGS = allowed_bytes("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.# ")
_MOST_BETWEEN = 24
_MOST_NAME = 96
_MOST_SECONDS = 9_000_000_000
_SYNC = "trace_event_clock_sync"
# What a trace-cmd report begins with, and what follows a header that a pager broke.
_NOT_COUNTED = r"^\s*(?:#|version = |cpus=|CPU \d+ is empty|TRACE:|$)"
_LOSS = r"^\s*#* ?CPU:?\s?(\d+) (?:\[LOST (\d+) EVENTS\]|buffer started)"


@dataclass(frozen=True)
class _Rows:
    """Lines that are events, as positions and numbers."""

    line: Places
    ts_ns: NDArray[np.int64]
    tgid: NDArray[np.int64]
    """-1 where it is unknown."""
    tid: NDArray[np.int64]
    cpu: NDArray[np.int64]
    name_start: Places
    name_end: Places
    end: Places
    next_colon: Places
    """The first colon behind the name's own."""

    def at(self, chosen: Places | Mask) -> _Rows:
        """Return some of the rows."""
        return _Rows(*(getattr(self, column)[chosen] for column in self.__dataclass_fields__))


def parse_block(block: bytes) -> tuple[pl.DataFrame, Losses]:
    """Return the events of some whole lines, with the columns of `EVENTS`, and what was not used."""
    losses: Losses = Losses()
    text = TextColumns(block)
    starts, ends = text.lines()
    if not len(starts):
        return pl.DataFrame(schema=EVENTS), losses
    ends = text.skip_back(ends, " \r\t")
    continued = text.is_at(ends - 1, "\\")
    if continued.any():
        # An old systrace holds its lines in a script's string, each with the escaped end and a continuation.
        escaped = continued & text.is_at(ends - 2, "n") & text.is_at(ends - 3, "\\")
        ends = text.skip_back(ends - 3 * escaped, " \r\t")
    ends = np.maximum(ends, starts)
    rows = _rows(text, starts, ends)
    frame, used = _frame(text, rows, losses)
    other = np.ones(len(starts), np.bool_)
    other[rows.line[used]] = False
    other[ends - starts < 2] = False
    if other.any():
        frame = _with_losses(
            frame, rows.line[used], np.flatnonzero(other), text.cut(starts[other], ends[other]), losses
        )
    return frame, losses


def _rows(text: TextColumns, starts: Places, ends: Places) -> _Rows:
    """Return the lines that have a task, a CPU, a time and something that may be an event's name."""
    brackets = text.all("]")
    brackets = brackets[(text.bytes[brackets - 1] - np.uint8(48) < 10) & text.is_at(brackets + 1, " \t")]
    line = np.searchsorted(starts, brackets, side="right") - 1
    inside = line >= 0
    brackets, line = brackets[inside], line[inside]
    colons = np.append(text.all(":"), [len(text.bytes) - 1] * 3)
    colon = np.searchsorted(colons, brackets)
    time_end = colons[colon]
    near = (time_end < ends[line]) & (time_end - brackets < _MOST_BETWEEN + 24) & (brackets < ends[line])
    brackets, line, colon, time_end = brackets[near], line[near], colon[near], time_end[near]
    ts_ns, time_start, fine = _time(text, time_end)
    fine &= text.only(brackets + 1, time_start, _FLAGS, _MOST_BETWEEN) & text.is_at(time_start - 1, " \t")
    cpu, cpu_start = text.number_before(brackets)
    fine &= text.is_at(cpu_start - 1, "[") & (cpu <= np.iinfo(np.int16).max)
    tid, tgid, task = _task(text, cpu_start - 1, starts[line])
    fine &= task
    name_start = text.skip(time_end + 1, " ")
    name_end = colons[colon + 1]
    fine &= (name_start > time_end + 1) & (name_end > name_start) & (name_end - name_start < _MOST_NAME)
    fine &= name_end < ends[line]
    rows = _Rows(line, ts_ns, tgid, tid, cpu, name_start, name_end, ends[line], colons[colon + 2])
    chosen = np.flatnonzero(fine)
    # A task's name and a marker may look like the place of a CPU too: the first that fits whole is it.
    first = np.ones(len(chosen), np.bool_)
    first[1:] = line[chosen[1:]] != line[chosen[:-1]]
    chosen = chosen[first]
    return rows if len(chosen) == len(line) else rows.at(chosen)


def _time(text: TextColumns, end: Places) -> tuple[NDArray[np.int64], Places, Mask]:
    """Return nanoseconds, read as integers, of times that end before `end`, where they start, and which are times."""
    fraction, dot = text.number_before(end)
    digits = end - dot
    seconds, start = text.number_before(dot - 1)
    fine: Mask = text.is_at(dot - 1, ".") & (digits > 0) & (digits <= 9) & (start < dot - 1) & (seconds < _MOST_SECONDS)
    scale = np.power(10, np.clip(9 - digits, 0, 9))
    return np.where(fine, seconds * 1_000_000_000 + fraction * scale, 0), start, fine


def _task(text: TextColumns, bracket: Places, line_start: Places) -> tuple[NDArray[np.int64], NDArray[np.int64], Mask]:
    """Return pid and TGID that stand before the CPU's bracket, and where they do stand there."""
    at = text.skip_back(bracket, " \t")
    closed = text.is_at(at - 1, ")")
    number, start = text.number_before(at - closed)
    tgid = np.where(start < at - closed, number, -1)
    dashes = text.skip_back(start, "-", most=16)
    unknown = (start == at - closed) & (dashes < start)
    start = np.where(unknown, dashes, start)
    opened = text.skip_back(start, " ", most=16)
    bare = ~closed & (unknown | (text.is_at(start - 1, " \t") & (tgid >= 0)))
    has_group = (closed & text.is_at(opened - 1, "(")) | bare
    before = np.where(has_group, np.where(bare, opened, opened - 1), at)
    before = text.skip_back(before, " \t")
    tid, tid_start = text.number_before(before)
    most = np.iinfo(np.int32).max
    fine: Mask = (tid_start < before) & text.is_at(tid_start - 1, "-") & (tid <= most) & (tid_start > line_start)
    fine &= before > line_start
    return tid, np.where(has_group & (tgid <= most), tgid, -1), fine


def _frame(text: TextColumns, rows: _Rows, losses: Losses) -> tuple[pl.DataFrame, NDArray[np.int64]]:
    """Return the events, and which of the rows they are: a name with blanks in it is none."""
    names = text.cut(rows.name_start, rows.name_end)
    unique = names.unique().to_list()
    codes = names.cast(pl.Enum(unique)).to_physical().to_numpy()
    good = np.array([" " not in name and "\t" not in name for name in unique], np.bool_)
    used = np.arange(len(rows.line))
    if not good.all():
        used = np.flatnonzero(good[codes])
        losses[NO_EVENT_NAME] += len(codes) - len(used)
        rows, names, codes = rows.at(used), names.gather(used), codes[used]
    categories = pl.Series("category", [category_of(name) for name in unique], dtype=pl.String).gather(codes)
    args_start = np.minimum(text.skip(rows.name_end + 1, " "), rows.end)
    marked = np.flatnonzero(np.array([name in MARKER_EVENTS for name in unique], np.bool_)[codes])
    if len(marked):
        names, args, categories = _marked(text, rows, marked, args_start, categories, losses)
    else:
        args = text.cut(args_start, rows.end)
    columns = {
        "ts_ns": pl.Series(rows.ts_ns, dtype=pl.Int64),
        "category": categories,
        "name": names,
        "pid": pl.Series(rows.tgid, dtype=pl.Int64),
        "tid": pl.Series(rows.tid, dtype=pl.Int64).cast(pl.Int32),
        "cpu": pl.Series(rows.cpu, dtype=pl.Int64).cast(pl.Int16),
        "args": args,
    }
    frame = pl.DataFrame(columns).with_columns(
        pl.when(pl.col("pid") >= 0).then(pl.col("pid")).cast(pl.Int32), pl.lit(None, pl.Int64).alias("dur_ns")
    )
    return frame.select(EVENTS.names()), used


def _marked(
    text: TextColumns, rows: _Rows, marked: Places, args_start: Places, categories: pl.Series, losses: Losses
) -> tuple[pl.Series, pl.Series, pl.Series]:
    """Return names, arguments and categories of all rows, those of markers from their payloads."""
    start, end = args_start[marked], rows.end[marked]
    colon = rows.next_colon[marked]
    # A print may say first where it comes from: `print: tracing_mark_write: B|1|x`, `print: 0xffffffc0: B|1|x`.
    word = (colon < end) & ~text.is_at(start + 1, "|")
    maybe = np.flatnonzero(word)
    word[maybe] = text.is_at(colon[maybe] + 1, " ") & text.only(start[maybe], colon[maybe], _WORD, 32)
    is_sync = word & (colon - start == len(_SYNC)) & text.is_at(start, "t") & text.is_at(start + 6, "e")
    start = np.where(word & ~is_sync, np.minimum(colon + 2, end), start)
    found = marker_columns(text, start, end)
    if found.without_number:
        losses[NO_NUMBER] += found.without_number
    name_start, name_end = rows.name_start.copy(), rows.name_end.copy()
    name_start[marked] = found.name_start
    name_end[marked] = np.where(is_sync, colon, found.name_end)
    sync = marked[is_sync]
    if len(sync):
        args_start[sync] = np.minimum(colon[is_sync] + 2, end[is_sync])
        categories = categories.scatter(sync, "other")
    marks = marked[~is_sync]
    plain = np.ones(len(rows.line), np.bool_)
    plain[marks] = False
    unmarked = np.flatnonzero(plain)
    back = np.empty(len(plain), np.int64)
    back[unmarked], back[marks] = np.arange(len(unmarked)), len(unmarked) + np.arange(len(marks))
    of_marks = found.args.gather(np.flatnonzero(~is_sync)) if len(sync) else found.args
    args = pl.concat([text.cut(args_start[unmarked], rows.end[unmarked]), of_marks])
    return text.cut(name_start, name_end), args.gather(back), categories


_WORD = allowed_bytes("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_")


def _with_losses(frame: pl.DataFrame, line: Places, others: Places, content: pl.Series, losses: Losses) -> pl.DataFrame:
    """Count the lines that are no events, and set what they say of lost ones between the events."""
    table = pl.DataFrame({"line": pl.Series(others, dtype=pl.Int64), "content": content})
    table = table.filter(~pl.col("content").str.contains(_NOT_COUNTED) | pl.col("content").str.contains(_LOSS))
    lost = table.filter(pl.col("content").str.contains(_LOSS)).with_columns(
        pl.col("content").str.extract(_LOSS, 1).cast(pl.Int16, strict=False).alias("cpu"),
        pl.col("content").str.extract(_LOSS, 2).cast(pl.Int64, strict=False).alias("count"),
    )
    if len(table) > len(lost):
        losses[NO_EVENT] += len(table) - len(lost)
    if not len(lost):
        return frame
    if count := int(lost["count"].sum()):
        losses[LOST] += count
    breaks = lost.select(
        pl.lit(None, pl.Int64).alias("ts_ns"),
        pl.lit("other").alias("category"),
        pl.lit(LOST_EVENTS).alias("name"),
        pl.lit(None, pl.Int64).alias("dur_ns"),
        pl.lit(None, pl.Int32).alias("pid"),
        pl.lit(None, pl.Int32).alias("tid"),
        "cpu",
        pl.when(pl.col("count").is_null()).then(pl.lit("")).otherwise(pl.format("count={}", "count")).alias("args"),
        "line",
    )
    placed = frame.with_columns(pl.Series("line", line, dtype=pl.Int64))
    return pl.concat([placed, breaks]).sort("line", maintain_order=True).drop("line")


def _blocks(stream: BinaryIO, losses: Losses, size: int) -> Iterator[bytes]:
    """Yield whole lines, about `size` bytes of them at once; a line beyond all bounds is left out."""
    rest, dropping = b"", False
    while piece := stream.read(size):
        first = 0
        if dropping:
            first = piece.find(b"\n") + 1
            if not first:
                continue
            dropping = False
        cut = piece.rfind(b"\n") + 1
        if cut > first:
            yield b"".join((rest, memoryview(piece)[first:cut]))
            rest = piece[cut:]
        else:
            rest += piece[first:]
        if len(rest) > LONGEST:
            losses[TOO_LONG] += 1
            rest, dropping = b"", True
    if rest:
        yield rest


def read_text(stream: BinaryIO, losses: Losses, *, block: int = BLOCK) -> Iterator[pl.DataFrame]:
    """Yield the events of a stream of ftrace text; lines are parsed ahead of their reader, on another CPU."""
    with ThreadPoolExecutor(1) as worker:
        ahead: deque[_Ahead] = deque()
        try:
            for one in _blocks(stream, losses, block):
                ahead.append(_Ahead(one, worker.submit(parse_block, one)))
                if len(ahead) > _AHEAD:
                    yield _taken(ahead, losses)
            while ahead:
                yield _taken(ahead, losses)
        finally:
            for waiting in ahead:
                waiting.parsed.cancel()


@dataclass
class _Ahead:
    """A block that is to be parsed."""

    block: bytes
    parsed: Future[tuple[pl.DataFrame, Losses]]


def _taken(ahead: deque[_Ahead], losses: Losses) -> pl.DataFrame:
    """Return the first block's events; while another thread is at it, the reader parses one behind it."""
    first = ahead.popleft().parsed
    if not first.done():
        for waiting in ahead:
            if waiting.parsed.cancel():
                waiting.parsed = Future()
                waiting.parsed.set_result(parse_block(waiting.block))
                break
    frame, lost = first.result()
    losses.update(lost)
    return frame


class FtraceText:
    """The text of /sys/kernel/tracing/trace, of hitrace, atrace and trace-cmd report."""

    name = "ftrace"

    def recognise(self, head: bytes, name: str) -> bool:
        """Say whether a header or a whole event is among the first lines; phones export traces without header."""
        if head[:1] == b"<":
            return False
        lines = head.split(b"\n")[:400]
        return bool(_HEADER.match(head[:20])) or any(_LINE.match(line[:400]) for line in lines)

    def read(self, source: Source) -> Capture:
        """Return the capture. Raises TraceFormatError when its head has no line of ftrace's."""
        head = source.head()
        if not self.recognise(head, source.path.name):
            raise TraceFormatError(f"{source.path}: no line of ftrace's text is among its first ones")

        def events(losses: Losses) -> Iterator[pl.DataFrame]:
            with source.open() as stream:
                yield from read_text(stream, losses)

        return Capture(self.name, read_events=events, facts=facts_of(head))


def facts_of(head: bytes) -> dict[str, str]:
    """Return what a header says: the tracer, the number of CPUs, how many events the buffer holds."""
    patterns = {"tracer": rb"# tracer: (\S+)", "cpus": rb"#P:(\d+)", "entries": rb"entries-written: (\d+/\d+)"}
    found = {name: re.search(pattern, head[:4096]) for name, pattern in patterns.items()}
    return {name: match[1].decode(errors="replace") for name, match in found.items() if match}


FORMAT = FtraceText()
