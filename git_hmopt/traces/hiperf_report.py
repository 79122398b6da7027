# SPDX-License-Identifier: Apache-2.0
"""Read what `hiperf report` prints: its text, its JSON, and the HTML page around that JSON.

The JSON has exact costs of whole stacks. The text has exact costs of functions by thread, and below them with `-s` a
tree in rounded percentages: those lines are counted and not used.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from git_hmopt.traces.capture import Capture, Losses
from git_hmopt.traces.source import Source, read_at_most
from git_hmopt.traces.stacks import SampleRows, unit_of
from git_hmopt.traces.tables import UNKNOWN, Frame, Samples, TraceFormatError

TITLE = b"<<Hiperf Report"
END = "report done"
RECORD_DATA = b'id="record_data"'

IN_TREE = "line of a call tree, whose shares are rounded"
BAD_ROW = "row that cannot be read"
OTHER_SIDE = "row of the other side of a comparison"
NO_FUNCTION = "report without functions: sort by func or dso"
NOT_SHOWN = "weight of rows that the report left out"
CUT = "report without its end"
UNKNOWN_SYMBOL = "frame whose symbol is not in the report"

_MOST_JSON = 1 << 29
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_EVENT = re.compile(r"Event: (?P<name>.*?)(?: \(type \d+ id \d+\))?")
_TOTAL = re.compile(r"[0-9]{1,20} *")
_ROW = re.compile(r"\s*\d+\.\d\d%\s")
_COLUMNS = ("Heating", "Diff", "count", "comm", "pid", "tid", "dso", "func", "vaddr")


class HiperfReport:
    """The format, by its name `hiperf-report`."""

    name = "hiperf-report"

    def recognise(self, head: bytes, name: str) -> bool:
        """Say whether it is a report's text, its JSON, or a page of HTML by hiperf."""
        start = head[:4096].lstrip()
        if start.startswith(b"{"):
            return b'"recordSampleInfo"' in head or b'"deviceCommandLine"' in head[:4096]
        if start[:9].lower().startswith((b"<!doctype", b"<html")):
            return RECORD_DATA in head or b"hiperf" in head.lower()
        return TITLE in head[:4096]

    def read(self, source: Source) -> Capture:
        """Return the capture; raises TraceFormatError when it is none of the three."""
        if not self.recognise(source.head(), source.path.name):
            raise TraceFormatError("this is no report of hiperf: neither its text nor its JSON or HTML")

        def samples(losses: Losses) -> list[Samples]:
            with source.open() as stream:
                tables = parse(stream)
            for table in tables:
                losses.update(table.skipped)
            return tables

        return Capture(self.name, read_samples=samples)


FORMAT = HiperfReport()


def parse(stream: BinaryIO) -> list[Samples]:
    """Return one table for each event of a report in any of its three forms."""
    start = stream.read(1 << 16)
    if start.lstrip()[:1] not in (b"{", b"<") or TITLE in start[:4096]:
        return parse_text(_lines(start, stream))
    rest = read_at_most(stream, _MOST_JSON - len(start))
    if rest is None:
        raise TraceFormatError(f"a report of hiperf of more than {_MOST_JSON >> 20} MiB")
    data = start + rest
    return parse_json(data if data.lstrip()[:1] == b"{" else _record_data(data))


def _lines(start: bytes, stream: BinaryIO) -> Iterator[bytes]:
    whole, newline, cut = start.rpartition(b"\n")
    if newline:
        yield from whole.splitlines(keepends=True)
    yield cut + stream.readline(1 << 20)
    while line := stream.readline(1 << 20):
        yield line


def _record_data(page: bytes) -> bytes:
    at = page.find(RECORD_DATA)
    begin = page.find(b">", at) + 1
    if at < 0 or not begin:
        raise TraceFormatError("a page of HTML without hiperf's record_data")
    end = page.find(b"</script>", begin)
    return page[begin : end if end >= 0 else len(page)]


# --- JSON


class _Model(BaseModel):
    model_config = ConfigDict(extra="ignore")


class _Node(_Model):
    selfEvents: int = 0
    symbol: int = -1
    callStack: list[_Node] = Field(default_factory=list)


class _Thread(_Model):
    tid: int
    CallOrder: _Node | list[_Node]


class _Process(_Model):
    pid: int
    threads: list[_Thread] = Field(default_factory=list)


class _Event(_Model):
    eventConfigName: str
    processes: list[_Process] = Field(default_factory=list)


class _Symbol(_Model):
    file: int = -1
    symbol: str = ""


class _Report(_Model):
    threadNameMap: dict[int, str] = Field(default_factory=dict)
    symbolsFileList: list[str] = Field(default_factory=list)
    SymbolMap: dict[int, _Symbol] = Field(default_factory=dict)
    recordSampleInfo: list[_Event]


def parse_json(data: bytes) -> list[Samples]:
    """Return one table for each event: a row for each stack of each thread, weighted by its own events."""
    try:
        # hiperf writes control characters of names as they are.
        report = _Report.model_validate(json.loads(data.decode(errors="replace"), strict=False))
    except (ValueError, RecursionError, ValidationError) as error:
        reason = str(error).splitlines()[0][:120]
        raise TraceFormatError(f"this is no JSON of 'hiperf report --json': {reason}") from error
    return [_of_event(report, event) for event in report.recordSampleInfo]


def _of_event(report: _Report, event: _Event) -> Samples:
    rows = SampleRows()
    frames = {
        number: rows.intern(Frame(symbol.symbol or UNKNOWN, _file(report, symbol.file)))
        for number, symbol in report.SymbolMap.items()
    }
    for process in event.processes:
        for thread in process.threads:
            roots = thread.CallOrder if isinstance(thread.CallOrder, list) else [thread.CallOrder]
            for stack, weight in _stacks(roots):
                missing = sum(number not in frames for number in stack)
                if missing:
                    rows.skipped[UNKNOWN_SYMBOL] += missing
                known = [frames[number] if number in frames else rows.intern(Frame(UNKNOWN)) for number in stack]
                rows.add(known, weight, pid=process.pid, tid=thread.tid)
    name = event.eventConfigName
    return rows.table(event=name, unit=unit_of(name, weighted=True), threads=report.threadNameMap)


def _file(report: _Report, number: int) -> str:
    known = 0 <= number < len(report.symbolsFileList)
    return (report.symbolsFileList[number] if known else "") or UNKNOWN


def _stacks(roots: list[_Node]) -> Iterator[tuple[list[int], int]]:
    """Yield the stacks that cost something themselves, root first; the root of all, -1, is no frame."""
    waiting: list[tuple[_Node, list[int]]] = [(root, []) for root in roots]
    while waiting:
        node, above = waiting.pop()
        stack = above if node.symbol == -1 else [*above, node.symbol]
        if node.selfEvents and stack:
            yield stack, node.selfEvents
        waiting.extend((child, stack) for child in node.callStack)


# --- text


@dataclass
class _Block:
    """The rows of one event."""

    name: str
    rows: SampleRows
    threads: dict[int, str]
    columns: list[tuple[str, int]]
    """Names with the places where they begin; none before the line that tells."""
    total: int | None = None
    in_ns: bool = False
    seen: int = 0


def parse_text(lines: Iterable[bytes]) -> list[Samples]:
    """Return one table for each event: a row for each function of each thread, as the report was sorted."""
    blocks: list[_Block] = []
    is_report = ended = False
    for raw in lines:
        text = _COLOUR.sub("", raw.decode(errors="replace")).rstrip("\r\n")
        match = _EVENT.fullmatch(text.rstrip())
        if text.startswith(TITLE.decode()):
            is_report = True
        elif match and is_report:
            blocks.append(_Block(match["name"], SampleRows(), {}, []))
        elif text.startswith(END):
            ended = True
        elif blocks and text.strip():
            _line(blocks[-1], text)
    if not is_report:
        raise TraceFormatError("this is no text of 'hiperf report': no line reads '<<Hiperf Report>>'")
    if blocks and not ended:
        blocks[-1].rows.skipped[CUT] += 1
    return [_finished(block) for block in blocks]


def _line(block: _Block, text: str) -> None:
    name, _, number = text.partition(": ")
    if name in ("Event Count", "Time in ns") and _TOTAL.fullmatch(number):
        block.total, block.in_ns = int(number), name == "Time in ns"
    elif text.startswith("Heating"):
        block.columns = [(word[0], word.start()) for word in re.finditer(r"\S+", text) if word[0] in _COLUMNS]
    elif name == "Samples Count":
        pass
    elif _ROW.match(text) and block.columns:
        _row(block, text)
    elif text.lstrip().startswith(("+", "-")) and any(column == "Diff" for column, _ in block.columns):
        block.rows.skipped[OTHER_SIDE] += 1
    else:
        block.rows.skipped[IN_TREE] += 1


def _row(block: _Block, text: str) -> None:
    cells = _cells(block.columns, text)
    if not {"func", "dso"} & {name for name, _ in block.columns}:
        block.rows.skipped[NO_FUNCTION] += 1
        return
    try:
        weight = int(cells["count"])
        pid, tid = (int(cells[name]) if name in cells else None for name in ("pid", "tid"))
    except (KeyError, ValueError):
        block.rows.skipped[BAD_ROW] += 1
        return
    block.seen += weight
    if tid is not None and cells.get("comm"):
        block.threads[tid] = cells["comm"]
    frame = Frame(cells.get("func") or UNKNOWN, cells.get("dso") or UNKNOWN)
    block.rows.add([block.rows.intern(frame)], weight, pid=pid, tid=tid)


def _cells(columns: list[tuple[str, int]], text: str) -> dict[str, str]:
    """Return a row's cells; where a cell is wider than its column, by the blanks between them."""
    starts = [start for _, start in columns]
    if all(start == 0 or text[start - 1 : start] == " " for start in starts[1:]):
        ends = [*starts[1:], len(text)]
        pairs = zip(columns, starts, ends, strict=True)
        cells = {name: text[start:end].strip() for (name, _), start, end in pairs}
        if all(cells.get(name, "0").isdecimal() for name in ("count", "pid", "tid")):
            return cells
    words = text.split(None, len(columns) - 1)
    return dict(zip((name for name, _ in columns), (word.strip() for word in words), strict=False))


def _finished(block: _Block) -> Samples:
    if block.total is not None and block.total > block.seen:
        block.rows.skipped[NOT_SHOWN] += block.total - block.seen
    unit = "ns" if block.in_ns else unit_of(block.name, weighted=True)
    return block.rows.table(event=block.name, unit=unit, threads=block.threads)
