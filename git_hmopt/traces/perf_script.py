# SPDX-License-Identifier: Apache-2.0
"""Parse the text of `perf script` (perf 6.1 and the older dialects stack collapsers know).

A record is `comm pid/tid [cpu] time: period event:` and then one indented `ip symbol+offset (object)` a frame, leaf
first, ended by a blank line. FIELDS is what to ask perf for; thread id, cpu, time and period may be
missing. Without a call graph the only frame stands on the header's own line.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from git_hmopt.traces.capture import Capture, of_tables
from git_hmopt.traces.source import Source
from git_hmopt.traces.stacks import SampleRows
from git_hmopt.traces.tables import UNKNOWN, Frame, Samples, TraceFormatError

FIELDS = "comm,pid,tid,time,period,event,ip,sym,dso"
"""The `-F` list this parser is written for; use it with `--ns --show-lost-events`.

Add `cpu` only when the data were recorded with `--sample-cpu`: else perf refuses to print anything.
"""

TRUNCATED = "truncated last record"
UNRESOLVED = "unresolved frame"
LOST = "lost by perf"
NOT_A_RECORD = "line that is no record"
STRAY_FRAME = "frame outside a record"
DAMAGED = "record with a damaged frame"
NO_STACK = "record without a stack"
UNENDED = "record without its end"
OTHER_RECORD = "record that is no sample"
NO_PERIOD = "sample without a period"
EMPTY = "empty file"

# comm may hold blanks and digits, so it is matched lazily and all that follows it strictly.
_HEADER = re.compile(
    r"\s*(?P<comm>\S.*?)\s+(?P<pid>-?\d+)(?:/(?P<tid>-?\d+))?\s+(?:\[(?P<cpu>\d+)\]\s+)?"
    r"(?:(?P<sec>\d+)\.(?P<frac>\d{1,9}):\s+)?"
    r"(?:(?P<record>PERF_RECORD_\w+)|(?:(?P<period>\d+)\s+)?(?P<event>\S+):(?:\s+|$))(?P<rest>.*)"
)
_FRAME = re.compile(r"\s*(?P<ip>[0-9a-f]+)\s+(?P<symbol>.+) \((?P<object>.*)\)\s*")
_DELETED = " (deleted))"
_OFFSET = re.compile(r"\+0x[0-9a-f]+$")
_CHUNKS = re.compile(r"Processed \d+ events and lost (\d+) chunks")
_LOST = re.compile(r"\s*lost (\d+)")
_CLOCKS = ("cpu-clock", "task-clock")


@dataclass
class _Record:
    """A record whose end has not been seen; its stack is leaf first, as perf prints it."""

    ts_ns: int | None
    pid: int
    tid: int | None
    cpu: int | None
    period: int | None
    event: str
    stack: list[int] = field(default_factory=list)
    damaged: bool = False


class _Reader:
    """Line by line; `finish` returns the table.

    Cases of a line: (1) blank ends a record; (2) `#` is perf's own header; (3) indented inside a record is a frame;
    (4) a sample's header opens a record; (5) another record type, of which LOST is counted by what was lost;
    (6) anything else is counted.
    """

    def __init__(self) -> None:
        self.rows = SampleRows()
        self.open: _Record | None = None
        self.event: str | None = None
        self.has_period = False
        self.frames: dict[str, int | None] = {}
        self.unresolved: set[int] = set()
        self.lines = 0
        self.headers = 0
        self.whole = True

    def line(self, raw: bytes) -> None:
        self.lines += 1
        self.whole = raw.endswith(b"\n")
        text = raw.decode(errors="replace").rstrip("\r\n")
        if not text.strip():  # 1, unless it is the cut indentation of a frame
            if self.whole:
                self._close()
        elif text.startswith("#") and self.open is None:  # 2
            pass
        elif text[0] in "\t " and self.open is not None:  # 3
            self._frame(self.open, text)
        else:
            self._header(text)

    def _header(self, text: str) -> None:
        if self.open is not None:
            # perf ends every call graph with a blank line: what stood there was lost, and with it the roots.
            self.rows.skipped[UNENDED] += 1
            self.open = None
        match = _HEADER.fullmatch(text)
        if match is None:  # 6
            lost = _CHUNKS.search(text)
            reason = LOST if lost else STRAY_FRAME if _FRAME.fullmatch(text) else NOT_A_RECORD
            self.rows.skipped[reason] += int(lost[1]) if lost else 1
        elif match["record"]:  # 5
            self.headers += 1
            lost = _LOST.match(match["rest"])
            self.rows.skipped[LOST if lost else OTHER_RECORD] += int(lost[1]) if lost else 1
        else:  # 4
            self.headers += 1
            self._open(match)

    def _open(self, match: re.Match[str]) -> None:
        seconds = match["sec"]
        record = _Record(
            ts_ns=None if seconds is None else int(seconds) * 1_000_000_000 + int(match["frac"].ljust(9, "0")),
            pid=int(match["pid"]),
            tid=None if match["tid"] is None else int(match["tid"]),
            cpu=None if match["cpu"] is None else int(match["cpu"]),
            period=None if match["period"] is None else int(match["period"]),
            event=match["event"],
        )
        self.open = record
        if match["rest"] and _FRAME.fullmatch(match["rest"]):
            self._frame(record, match["rest"])
            if self.whole:
                self._close()

    def _frame(self, record: _Record, text: str) -> None:
        if text not in self.frames:
            frame = _frame(text)
            self.frames[text] = None if frame is None else self.rows.intern(frame)
            if frame is not None and frame.symbol == UNKNOWN:
                self.unresolved.add(self.rows.intern(frame))
        index = self.frames[text]
        if index is None:
            record.damaged = True
        else:
            record.stack.append(index)

    def _close(self) -> None:
        record, self.open = self.open, None
        if record is None:
            return
        if self.event is None:
            self.event, self.has_period = record.event, record.period is not None
        reason = self._unusable(record)
        if reason:
            self.rows.skipped[reason] += 1
            return
        unresolved = sum(1 for index in record.stack if index in self.unresolved)
        if unresolved:
            self.rows.skipped[UNRESOLVED] += unresolved
        weight = record.period if record.period is not None and self.has_period else 1
        stack = record.stack[::-1]
        self.rows.add(stack, weight, ts_ns=record.ts_ns, pid=record.pid, tid=record.tid, cpu=record.cpu)

    def _unusable(self, record: _Record) -> str | None:
        if record.event != self.event:
            # Weights of two events cannot be added; like stack collapsers we keep the first.
            return f"sample of another event ({record.event})"
        if record.damaged:
            return DAMAGED
        if not record.stack:
            return NO_STACK
        return NO_PERIOD if self.has_period and record.period is None else None

    def finish(self) -> Samples:
        if self.open is not None:
            # Without the blank line nobody knows whether more frames would have followed.
            self.open = None
            self.rows.skipped[TRUNCATED] += 1
        if not self.lines:
            self.rows.skipped[EMPTY] += 1
        event = self.event or ""
        return self.rows.table(event=event, unit=_unit(event, has_period=self.has_period))


def _frame(text: str) -> Frame | None:
    # A deleted object reads `(/path (deleted))`; its blank must not be taken for the one before the object.
    shown = text.rstrip()
    deleted = shown.endswith(_DELETED)
    match = _FRAME.fullmatch(shown[: -len(_DELETED)] + ")" if deleted else shown)
    if match is None:
        return None
    return Frame(_OFFSET.sub("", match["symbol"]).strip() or UNKNOWN, match["object"] or UNKNOWN)


def _unit(event: str, *, has_period: bool) -> str:
    name = event.split(":", 1)[0]
    if not event or not has_period:
        return "samples"
    return "ns" if name in _CLOCKS else name


def parse(lines: Iterable[bytes]) -> Samples:
    """Return the samples of the first event; weights are periods (ns for the clock events) where they are printed.

    Times become integer nanoseconds. A cut last record, `[unknown]` frames, lost events and damaged lines are counted
    in `skipped`; an empty capture is an empty table. Raises TraceFormatError when there are lines but not one record.
    """
    reader = _Reader()
    for line in lines:
        reader.line(line)
    table = reader.finish()
    counted = sum(table.skipped.get(reason, 0) for reason in (NOT_A_RECORD, STRAY_FRAME))
    if counted and not reader.headers:
        raise TraceFormatError(
            f"this is no text of 'perf script': none of its {reader.lines} lines starts a record",
            next_step=f"make it with: perf script --ns --show-lost-events -F {FIELDS}",
        )
    return table


class PerfScript:
    """The text of `perf script`."""

    name = "perf-script"

    def recognise(self, head: bytes, name: str) -> bool:
        """Say whether a record begins in it, and no line before looks like another format's."""
        lines = head.decode(errors="replace").splitlines()[:400]
        first = [line for line in lines if line.strip() and not line.startswith("#")][:20]
        headers = sum(
            1 for line in first if (match := _HEADER.fullmatch(line)) and not match["rest"].startswith("prev_")
        )
        frames = sum(1 for line in first if line[:1] in "\t " and _FRAME.fullmatch(line))
        return bool(headers) and bool(frames)

    def read(self, source: Source) -> Capture:
        """Return the capture; it has samples alone."""
        return of_tables(self.name, source, samples=parse)


FORMAT = PerfScript()
