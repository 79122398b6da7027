# SPDX-License-Identifier: Apache-2.0
"""Parse the text of `perf script` (perf 6.1 and the older dialects stack collapsers know).

A record is `comm pid/tid [cpu] time: period event:` and then one indented `ip symbol+offset (object)` a frame, leaf
first, ended by a blank line. FIELDS is what to ask perf for; thread id, cpu, time and period may be
missing. Without a call graph the only frame stands on the header's own line.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from git_hmopt.traces.capture import Capture, Losses
from git_hmopt.traces.source import Source, lines_of
from git_hmopt.traces.stacks import SampleRows, unit_of
from git_hmopt.traces.tables import UNKNOWN, Frame, Samples, TraceFormatError, first_event

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

# comm may hold blanks and digits, so it is matched lazily and all that follows it strictly; it and the blanks after it
# are bounded, since each length of the one is tried with each of the other.
_HEADER = re.compile(
    r"\s*(?P<comm>\S.{0,200}?)\s{1,100}(?P<pid>-?\d{1,20})(?:/(?P<tid>-?\d{1,20}))?\s+(?:\[(?P<cpu>\d{1,20})\]\s+)?"
    r"(?:(?P<sec>\d{1,20})\.(?P<frac>\d{1,9}):\s+)?"
    r"(?:(?P<record>PERF_RECORD_\w+)|(?:(?P<period>\d{1,20})\s+)?(?P<event>\S+):(?:\s+|$))(?P<rest>.*)"
)
_FRAME = re.compile(r"\s*(?P<ip>[0-9a-f]+)\s+(?P<symbol>.+) \((?P<object>.*)\)\s*")
_DELETED = " (deleted))"
_OFFSET = re.compile(r"\+0x[0-9a-f]+$")
_CHUNKS = re.compile(r"Processed \d+ events and lost (\d{1,18}) chunks")
_LOST = re.compile(r"\s*lost (\d{1,18})")
_LOOKED_AT = 200
_MOST_LINES = 100_000
"""Different ones that are remembered as they were read."""


class PerfScript:
    """The format, by its name `perf-script`."""

    name = "perf-script"

    def recognise(self, head: bytes, name: str) -> bool:
        """Say whether a sample's header stands among the first lines, and a frame or nothing is before the next."""
        lines = [line.decode(errors="replace") for line in head.splitlines()[:_LOOKED_AT]]
        matches = [_HEADER.fullmatch(line) for line in lines if line[:1] != "#"]
        if not any(matches):
            return False
        framed = any(line[:1] in ("\t", " ") and _FRAME.fullmatch(line) for line in lines)
        return framed or any(match and match["rest"] and _FRAME.fullmatch(match["rest"]) for match in matches)

    def read(self, source: Source) -> Capture:
        """Return the capture."""

        def samples(losses: Losses) -> list[Samples]:
            with source.open() as stream:
                tables = parse_events(lines_of(stream, losses))
            for table in tables:
                losses.update(table.skipped)
            return tables

        return Capture(self.name, read_samples=samples)


FORMAT = PerfScript()


@dataclass
class _Record:
    """A record whose end has not been seen; its stack is leaf first, as perf prints it."""

    ts_ns: int | None
    pid: int
    tid: int | None
    cpu: int | None
    period: int | None
    event: _Event
    stack: list[int] = field(default_factory=list)
    damaged: bool = False


class _Event:
    """The samples of one event."""

    def __init__(self, name: str, *, has_period: bool) -> None:
        self.name, self.has_period = name, has_period
        self.rows = SampleRows()
        self.frames: dict[str, int | None] = {}
        self.lines: dict[bytes, int] = {}
        """Whole lines that are frames, as they were read: nine of ten lines have been seen before."""
        self.unresolved: set[int] = set()

    def frame(self, text: str) -> int | None:
        """Return the number of a frame's line, None when it is damaged."""
        if text in self.frames:
            return self.frames[text]
        frame = _frame(text)
        index = None if frame is None else self.rows.intern(frame)
        if index is not None and frame is not None and frame.symbol == UNKNOWN:
            self.unresolved.add(index)
        if len(self.frames) < _MOST_LINES:
            self.frames[text] = index
        return index

    def add(self, record: _Record) -> None:
        """Take a whole record."""
        if record.damaged or not record.stack:
            self.rows.skipped[DAMAGED if record.damaged else NO_STACK] += 1
            return
        if self.has_period and record.period is None:
            self.rows.skipped[NO_PERIOD] += 1
            return
        if not self.unresolved.isdisjoint(record.stack):
            self.rows.skipped[UNRESOLVED] += sum(map(self.unresolved.__contains__, record.stack))
        weight = record.period if record.period is not None and self.has_period else 1
        stack = record.stack[::-1]
        self.rows.add(stack, weight, ts_ns=record.ts_ns, pid=record.pid, tid=record.tid, cpu=record.cpu)


class _Reader:
    """Line by line; `finish` returns the tables.

    Cases of a line: (1) blank ends a record; (2) `#` is perf's own header; (3) indented inside a record is a frame;
    (4) a sample's header opens a record; (5) another record type, of which LOST is counted by what was lost;
    (6) anything else is counted.
    """

    def __init__(self) -> None:
        self.events: dict[str, _Event] = {}
        self.skipped: Counter[str] = Counter()
        self.threads: dict[int, str] = {}
        self.open: _Record | None = None
        self.lines = 0
        self.headers = 0
        self.whole = True

    def take(self, lines: Iterable[bytes]) -> None:
        for raw in lines:
            record = self.open
            if record is not None and (known := record.event.lines.get(raw)) is not None:  # 3, once more
                self.lines += 1
                self.whole = True
                record.stack.append(known)
            else:
                self.line(raw)

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
            event = self.open.event
            if self.whole and self.open.stack and not self.open.damaged and len(event.lines) < _MOST_LINES:
                event.lines[raw] = self.open.stack[-1]
        else:
            self._header(text)

    def _header(self, text: str) -> None:
        if self.open is not None:
            # perf ends every call graph with a blank line: what stood there was lost, and with it the roots.
            self.skipped[UNENDED] += 1
            self.open = None
        match = _HEADER.fullmatch(text)
        if match is None:  # 6
            lost = _CHUNKS.search(text)
            reason = LOST if lost else STRAY_FRAME if _FRAME.fullmatch(text) else NOT_A_RECORD
            self.skipped[reason] += int(lost[1]) if lost else 1
        elif match["record"]:  # 5
            self.headers += 1
            lost = _LOST.match(match["rest"])
            self.skipped[LOST if lost else OTHER_RECORD] += int(lost[1]) if lost else 1
        else:  # 4
            self.headers += 1
            self._open(match)

    def _open(self, match: re.Match[str]) -> None:
        seconds = match["sec"]
        period = None if match["period"] is None else int(match["period"])
        name = match["event"]
        event = self.events.get(name) or _Event(name, has_period=period is not None)
        record = _Record(
            ts_ns=None if seconds is None else int(seconds) * 1_000_000_000 + int(match["frac"].ljust(9, "0")),
            pid=int(match["pid"]),
            tid=None if match["tid"] is None else int(match["tid"]),
            cpu=None if match["cpu"] is None else int(match["cpu"]),
            period=period,
            event=event,
        )
        self.threads[record.pid if record.tid is None else record.tid] = match["comm"]
        self.open = record
        if match["rest"] and _FRAME.fullmatch(match["rest"]):
            self._frame(record, match["rest"])
            if self.whole:
                self._close()

    def _frame(self, record: _Record, text: str) -> None:
        index = record.event.frame(text)
        if index is None:
            record.damaged = True
        else:
            record.stack.append(index)

    def _close(self) -> None:
        record, self.open = self.open, None
        if record is not None:
            self.events.setdefault(record.event.name, record.event).add(record)

    def finish(self) -> list[Samples]:
        """Return one table for each event; what was lost of none of them is counted in the first."""
        if self.open is not None:
            # Without the blank line nobody knows whether more frames would have followed.
            self.open = None
            self.skipped[TRUNCATED] += 1
        if not self.lines:
            self.skipped[EMPTY] += 1
        events = list(self.events.values()) or [_Event("", has_period=False)]
        events[0].rows.skipped.update(self.skipped)
        return [
            event.rows.table(
                event=event.name, unit=unit_of(event.name, weighted=event.has_period), threads=self.threads
            )
            for event in events
        ]


def _frame(text: str) -> Frame | None:
    # A deleted object reads `(/path (deleted))`; its blank must not be taken for the one before the object.
    shown = text.rstrip()
    deleted = shown.endswith(_DELETED)
    match = _FRAME.fullmatch(shown[: -len(_DELETED)] + ")" if deleted else shown)
    if match is None:
        return None
    return Frame(_OFFSET.sub("", match["symbol"]).strip() or UNKNOWN, match["object"] or UNKNOWN)


def parse_events(lines: Iterable[bytes]) -> list[Samples]:
    """Return one table for each event, in the order of their first samples; weights are periods where they are printed.

    The unit is ns for the clock events. Times become integer nanoseconds. A cut last record, `[unknown]` frames, lost
    events and damaged lines are counted in `skipped`; an empty capture is an empty table. Raises TraceFormatError when
    there are lines but not one record.
    """
    reader = _Reader()
    reader.take(lines)
    tables = reader.finish()
    counted = reader.skipped[NOT_A_RECORD] + reader.skipped[STRAY_FRAME]
    if counted and not reader.headers:
        raise TraceFormatError(
            f"this is no text of 'perf script': none of its {reader.lines} lines starts a record",
            next_step=f"make it with: perf script --ns --show-lost-events -F {FIELDS}",
        )
    return tables


def parse(lines: Iterable[bytes]) -> Samples:
    """Return the samples of the first event, as `parse_events` reads them; those of others are counted."""
    return first_event(parse_events(lines))
