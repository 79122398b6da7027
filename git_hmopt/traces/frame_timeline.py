# SPDX-License-Identifier: Apache-2.0
"""Read tables of frames: CSV, JSON, JSON lines, and the CSV inside `dumpsys gfxinfo PACKAGE framestats`.

Each frame is an event of category `frame`: `ts_ns` and `dur_ns` are what really happened, `name` is the window, surface
or thread, `args` are `expected_start= expected_end= flag=` as far as they are known (rule A of frame timelines).
Which columns mean what is configuration: `FrameTimeline((FrameColumns(...), ...))` reads other tables.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterable, Iterator, Sequence

import polars as pl

from git_hmopt.traces import frame_rows
from git_hmopt.traces.capture import Capture, Losses
from git_hmopt.traces.frame_columns import DEFAULTS, FrameColumns
from git_hmopt.traces.source import Source
from git_hmopt.traces.tables import TraceFormatError
from git_hmopt.traces.whole_lines import whole_lines

NO_ROW = "line outside the table of frames"
BAD_CELLS = "line of CSV that cannot be parted into cells"
BAD_OBJECT = "damaged or cut object of JSON"
TOO_MANY = "row beyond the first five million, where actual and expected rows have to be joined"
TOO_LARGE = "bytes of JSON beyond the first 32 MiB"
GAVE_UP = "rest of JSON after a hundred damaged objects"
_PROFILE = "---PROFILEDATA---"
_MOST_JOINED = 5_000_000
_MOST_JSON = 32 << 20
_MOST_DAMAGED = 100
_SEPARATORS = (",", ";", "\t")
_OF_PROCESS = re.compile(r"\*\* Graphics info for pid (\d{1,10}) \[([^\]]+)\]")


class FrameTimeline:
    """The format `frame-timeline`, for the tables that the given mappings describe; earlier ones come first."""

    name = "frame-timeline"

    def __init__(self, mappings: Sequence[FrameColumns] = DEFAULTS) -> None:
        self._mappings = tuple(mappings)

    def recognise(self, head: bytes, name: str) -> bool:
        """Say whether the head holds the header of a table that is described, or an object with its keys."""
        return self._mapping(head) is not None

    def read(self, source: Source) -> Capture:
        """Return the capture; TraceFormatError when no mapping fits."""
        head = source.head()
        found = self._mapping(head)
        if found is None:
            known = "; ".join(f"{one.kind_of_table}: {', '.join(sorted(one.required))}" for one in self._mappings)
            raise TraceFormatError(
                f"{source.path}: no table of frames: no header has the columns of a mapping ({known})",
                next_step="describe its columns",
            )

        def events(losses: Losses) -> Iterator[pl.DataFrame]:
            tables = _json(source, found, losses) if _is_json(head) else _csv(source, found, losses)
            if found.row_kind is not None:
                tables = iter([("", _whole(tables, found, losses))])
            for window, table in tables:
                yield frame_rows.events(table, found, losses, window=window)

        return Capture(self.name, events, facts={"mapping": found.kind_of_table, "clock": found.clock})

    def _mapping(self, head: bytes) -> FrameColumns | None:
        text = head.decode(errors="replace")
        if _is_json(head):
            keys = frozenset(re.findall(r'"([^"\\]{1,80})"\s*:', text))
            return next((one for one in self._mappings if one.required <= keys), None)
        lines = text.split("\n")
        # A plain table begins with its header; gfxinfo says much before it.
        lines = lines if _PROFILE in text else [line for line in lines if line.strip()][:1]
        headers = [frozenset(_header(line)) for line in lines if any(mark in line for mark in _SEPARATORS)]
        return next((one for one in self._mappings if any(one.required <= header for header in headers)), None)


FORMAT = FrameTimeline()


def _is_json(head: bytes) -> bool:
    return head.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] in (b"{", b"[")


def _separator(line: str) -> str:
    return max(_SEPARATORS, key=line.count)


def _header(line: str) -> list[str]:
    return [cell.strip().strip('"').strip("\ufeff") for cell in line.strip("\ufeff\r\n ").split(_separator(line))]


_Tables = Iterator[tuple[str, pl.DataFrame]]


def _csv(source: Source, columns: FrameColumns, losses: Losses) -> _Tables:
    """Yield the tables of a text as cells, with the window each is of: pieces of one, or the blocks of gfxinfo."""
    reader = _Blocks(columns, losses)
    with source.open() as stream:
        for lines in whole_lines(stream, losses):
            yield from reader.tables(lines)


class _Blocks:
    """Where in a text the tables are: it knows the last header, and who it is about."""

    def __init__(self, columns: FrameColumns, losses: Losses) -> None:
        self._columns = columns
        self._losses = losses
        self._header: str | None = None
        self._separator, self._least = ",", 0
        self._package = self._window = ""

    def tables(self, lines: Iterable[str]) -> _Tables:
        rows: list[str] = []
        for line in lines:
            if self._is_row(line):
                # An odd quote would make the reader take the next lines for the rest of a cell.
                if '"' in line and line.count('"') % 2:
                    self._losses[BAD_CELLS] += 1
                else:
                    rows.append(line)
                continue
            if rows:
                yield self._window or self._package, self._cells(rows)
                rows = []
            self._outside(line)
        if rows:
            yield self._window or self._package, self._cells(rows)

    def _is_row(self, line: str) -> bool:
        if self._header is None or line.count(self._separator) < self._least:
            return False
        # A header may come again; only a line with the first of its names can be one.
        return self._columns.start not in line or not self._columns.required <= frozenset(_header(line))

    def _outside(self, line: str) -> None:
        if self._columns.required <= frozenset(_header(line)):
            self._header, self._separator = line.strip("\ufeff\r\n "), _separator(line)
            self._least = self._header.count(self._separator)
        elif line.strip() == _PROFILE:
            self._header = None
        elif match := _OF_PROCESS.search(line):
            self._package, self._window = match[2], ""
        elif line.strip().startswith("Window: "):
            self._window = line.strip().removeprefix("Window: ")
        elif line.strip():
            self._losses[NO_ROW] += 1

    def _cells(self, rows: Sequence[str]) -> pl.DataFrame:
        assert self._header is not None
        names = _unique(_header(self._header))
        text = "\n".join(rows)
        try:
            table = pl.read_csv(
                io.StringIO(text), has_header=False, separator=self._separator, infer_schema=False,
                schema=dict.fromkeys(names, pl.String), truncate_ragged_lines=True,
            )  # fmt: skip
        except pl.exceptions.PolarsError:
            self._losses[BAD_CELLS] += 1
            table = pl.DataFrame(schema=dict.fromkeys(names, pl.String))
        return frame_rows.cells(table, self._columns)


def _unique(names: Sequence[str]) -> list[str]:
    """Return the names of a header, those that come again or are empty with their place."""
    seen: set[str] = set()
    return [
        name if name and not (name in seen or seen.add(name)) else f"{name}#{place}"  # type: ignore[func-returns-value]  # add says None
        for place, name in enumerate(names)
    ]


def _json(source: Source, columns: FrameColumns, losses: Losses) -> _Tables:
    with source.open() as stream:
        text = stream.read(_MOST_JSON).decode(errors="replace")
        while more := stream.read(1 << 20):
            losses[TOO_LARGE] += len(more)
    wanted = columns.all
    rows = [{name: _text(found.get(name)) for name in wanted} for found in _objects(text, columns, losses)]
    yield "", pl.DataFrame(rows, schema=dict.fromkeys(wanted, pl.String))


def _text(value: object) -> str | None:
    # Numbers come as text: a time in nanoseconds must not pass through a float.
    return value if isinstance(value, str) else None if value is None or isinstance(value, (dict, list)) else str(value)


def _objects(text: str, columns: FrameColumns, losses: Losses) -> Iterator[dict[str, object]]:
    """Yield the objects that have the mapping's keys, wherever in the text they are, as far as they are whole."""
    decoder = json.JSONDecoder(parse_float=str, parse_int=str)
    at, damaged = text.find("{"), 0
    while at >= 0:
        try:
            found, after = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            damaged += 1
            losses[BAD_OBJECT] += 1
            if damaged > _MOST_DAMAGED:
                losses[GAVE_UP] += 1
                return
            # An object that was cut may still hold whole ones.
            found, after = None, at + 1
        yield from _frames_in(found, columns.required)
        at = text.find("{", after)


def _frames_in(found: object, required: frozenset[str]) -> Iterator[dict[str, object]]:
    waiting = [found]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict) and required <= one.keys():
            yield one
        elif isinstance(one, dict):
            waiting.extend(reversed(one.values()))
        elif isinstance(one, list):
            waiting.extend(reversed(one))


def _whole(tables: _Tables, columns: FrameColumns, losses: Losses) -> pl.DataFrame:
    kept = [pl.DataFrame(schema=dict.fromkeys(columns.all, pl.String))]
    left = _MOST_JOINED
    for _, table in tables:
        kept.append(table.head(left))
        if len(table) > left:
            losses[TOO_MANY] += len(table) - left
        left -= len(kept[-1])
    return pl.concat(kept)
