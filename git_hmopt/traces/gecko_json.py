# SPDX-License-Identifier: Apache-2.0
"""Read the Firefox profiler's JSON, as Firefox, samply and `perf script report gecko` write it, and as it is saved.

Two shapes of one thing. Gecko's own tables are rows under a schema, and a frame is one text (`memcpy (in libc.so)`).
Processed tables are columns, and frames lead to functions, functions to names and libraries; they stand in each thread,
or in newer files in `shared`. A stack has its caller's number, which is always a lower one. Milliseconds become ns;
markers are counted and not read. (docs-developer of github.com/firefox-devtools/profiler.)
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from git_hmopt.traces.capture import Capture, Losses
from git_hmopt.traces.documents import json_of, list_of, mapping_of
from git_hmopt.traces.source import Source
from git_hmopt.traces.stacks import SampleRows
from git_hmopt.traces.tables import UNKNOWN, Frame, Samples, TraceFormatError, unnamed
from git_hmopt.traces.units import whole

NO_STACK = "sample without a stack"
BAD_STACK = "sample whose stack is not in the file, or is its own caller"
NO_FRAME = "frame that is not in the file"
NO_WEIGHT = "sample without a weight"
NO_TIME = "sample without a time"
NEGATIVE = "sample whose weight is below 0"
ROUNDED = "weight that is no whole number: rounded"
NO_THREAD = "thread or process that is none"
UNSYMBOLISED = "frame named by object and offset: no symbol"
MARKERS = "markers of threads, which are not read"

_NS_OF_MS = 1_000_000
_MOST_MS = 9e12
_MOST_IN_STACKS, _MOST_SAMPLES = 50_000_000, 10_000_000
_MOST_DEEP = 20
_UNITS = {"samples": ("samples", 1), "tracing-ms": ("ns", _NS_OF_MS), "bytes": ("bytes", 1)}
_META = re.compile(rb'"meta"\s*:\s*\{')
_LIBRARIES = re.compile(rb'\s*\{\s*"libs"\s*:\s*\[\s*\{[^{}]*"breakpadId"')
_OF_META = (b'"preprocessedProfileVersion"', b'"processType"')
_PLUS = re.compile(r"(?<=\)) \+ \d+\Z")
"""What may follow a name in a library."""
_ADDRESS = re.compile(r"0x[0-9a-fA-F]{1,16}")
_NUMBER = re.compile(r"\d{1,10}")

Column = Sequence[object]


class Gecko:
    """The format, by its name `gecko`."""

    name = "gecko"

    def recognise(self, head: bytes, name: str) -> bool:
        """Say whether it is JSON that begins with what a profile says of itself, or, as Firefox's, of its libraries."""
        text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
        if text[:1] != b"{":
            return False
        has_meta = _META.search(text) is not None and any(word in text for word in _OF_META)
        return has_meta or _LIBRARIES.match(text) is not None

    def read(self, source: Source) -> Capture:
        """Return the capture; it has samples alone."""
        return Capture(self.name, read_samples=lambda losses: _tables(source, losses))


FORMAT = Gecko()


@dataclass
class _Table:
    """The samples of one type of weight."""

    rows: SampleRows = field(default_factory=SampleRows)
    losses: Losses = field(default_factory=Losses)
    threads: dict[int, str] = field(default_factory=dict)


@dataclass
class _Reading:
    """What is read so far."""

    tables: dict[str, _Table] = field(default_factory=dict)
    losses: Losses = field(default_factory=Losses)
    room: int = field(default_factory=lambda: _MOST_IN_STACKS)
    samples: int = 0
    _columns: dict[int, Mapping[str, Column]] = field(default_factory=dict)

    def columns(self, value: object) -> Mapping[str, Column]:
        """Return a table's columns; of one that many threads share they are made once."""
        if id(value) not in self._columns:
            self._columns[id(value)] = _columns(value)
        return self._columns[id(value)]


def _tables(source: Source, losses: Losses) -> list[Samples]:
    document = json_of(source)
    if not isinstance(document, dict) or not isinstance(document.get("threads"), list):
        raise TraceFormatError(f"{source.path}: this is no profile of Firefox: it has no threads")
    reading = _Reading()
    for profile, shift in _processes(document, reading.losses):
        _read_profile(profile, shift, reading)
    if not reading.tables:
        reading.tables["samples"] = _Table()
    finished = []
    for kind, table in reading.tables.items():
        table.losses.update(reading.losses)
        reading.losses.clear()
        table.rows.skipped.update({reason: count for reason, count in table.losses.items() if count})
        finished.append(table.rows.table(event=kind, unit=_UNITS[kind][0], threads=table.threads))
        losses.update(finished[-1].skipped)
    return finished


def _processes(document: Mapping[str, object], losses: Losses) -> Iterator[tuple[Mapping[str, object], int]]:
    """Yield the profile of every process, and how many ns after the first one it was begun."""
    begun = _ns(mapping_of(document.get("meta")).get("startTime")) or 0
    waiting: deque[tuple[object, int]] = deque([(document, 0)])
    while waiting:
        profile, depth = waiting.popleft()
        if not isinstance(profile, dict) or depth > _MOST_DEEP:
            losses[NO_THREAD] += 1
            continue
        own = _ns(mapping_of(profile.get("meta")).get("startTime"))
        yield profile, (begun if own is None else own) - begun
        waiting.extend((one, depth + 1) for one in list_of(profile.get("processes")))


def _read_profile(profile: Mapping[str, object], shift: int, reading: _Reading) -> None:
    meta, shared = mapping_of(profile.get("meta")), mapping_of(profile.get("shared"))
    units = mapping_of(meta.get("sampleUnits"))
    is_time = units.get("time", "ms") == "ms"
    libraries = _Libraries(profile.get("libs"))
    together: dict[str, _Stacks] = {}
    for thread in list_of(profile.get("threads")):
        if not isinstance(thread, dict):
            reading.losses[NO_THREAD] += 1
            continue
        samples = reading.columns(thread.get("samples"))
        kind = _kind(thread.get("samples"))
        table = reading.tables.setdefault(kind, _Table())
        markers = reading.columns(thread.get("markers")).get("name", ())
        table.losses[MARKERS] += len(markers)
        if not samples.get("stack"):
            continue
        if "stackTable" not in thread and "stackTable" in shared:
            if kind not in together:
                together[kind] = _Stacks({**thread, **shared}, libraries, table, reading)
            stacks = together[kind]
        else:
            own = _Libraries(thread["libs"]) if thread.get("libs") else libraries
            stacks = _Stacks({**shared, **thread}, own, table, reading)
        _read_samples(thread, samples, stacks, _Times(samples, shift) if is_time else None, reading)


def _kind(samples: object) -> str:
    kind = mapping_of(samples).get("weightType")
    return kind if isinstance(kind, str) and kind in _UNITS else "samples"


def _read_samples(
    thread: Mapping[str, object],
    samples: Mapping[str, Column],
    stacks: _Stacks,
    times: _Times | None,
    reading: _Reading,
) -> None:
    table = stacks.table
    pid, tid = _identity(thread.get("pid")), _identity(thread.get("tid"))
    name = thread.get("name")
    if tid is not None and isinstance(name, str):
        table.threads.setdefault(tid, name)
    factor = _UNITS[_kind(thread.get("samples"))][1]
    weights = samples.get("weight")
    reading.samples += len(samples.get("stack", ()))
    if reading.samples > _MOST_SAMPLES:
        raise TraceFormatError(f"a profile of more than {_MOST_SAMPLES} samples is not read")
    for at, stack in enumerate(samples.get("stack", ())):
        ts_ns = times.at(at) if times else None
        weight = 1 if weights is None else _weight(_of(weights, at), factor, table.losses)
        if weight is None:
            continue
        if stack is None or stack == -1:
            table.losses[NO_STACK] += 1
            continue
        number = stacks.number(stack)
        if number is None:
            table.losses[BAD_STACK] += 1
        else:
            table.losses[NO_TIME] += ts_ns is None and times is not None
            table.rows.add(stacks.known[number], weight, ts_ns=ts_ns, pid=pid, tid=tid)


class _Times:
    """Times of samples, which a newer file has as differences."""

    def __init__(self, samples: Mapping[str, Column], shift: int) -> None:
        self._times = samples.get("time")
        self._deltas = samples.get("timeDeltas", ())
        self._now = shift
        self._shift = shift

    def at(self, index: int) -> int | None:
        """Return the time of the next sample, in ns."""
        if self._times is not None:
            time = _ns(_of(self._times, index))
            return None if time is None else time + self._shift
        delta = _ns(_of(self._deltas, index))
        if delta is None:
            return None
        self._now += delta
        return self._now


class _Stacks:
    """Stacks of the tables of one thread, or of those that all share."""

    def __init__(self, tables: Mapping[str, object], libraries: _Libraries, table: _Table, reading: _Reading) -> None:
        self.table, self._reading = table, reading
        self.known: list[tuple[int, ...]] = []
        stacks, frames = reading.columns(tables.get("stackTable")), reading.columns(tables.get("frameTable"))
        self._callers, self._frame_of = stacks.get("prefix", ()), stacks.get("frame", ())
        self._names = _names(tables.get("stringArray") or tables.get("stringTable"))
        self._locations = frames.get("location")
        self._functions = frames.get("func", ())
        functions, resources = (reading.columns(tables.get(name)) for name in ("funcTable", "resourceTable"))
        self._function_names, self._resource_of = functions.get("name", ()), functions.get("resource", ())
        self._library_of = resources.get("lib", ())
        self._resource_names = resources.get("name", ())
        self._libraries = libraries
        self._numbers: dict[int, int | None] = {}
        self._interned: dict[int, int] = {}

    def number(self, stack: object) -> int | None:
        """Return which of `known` a stack is; None where it leads nowhere."""
        if isinstance(stack, bool) or not isinstance(stack, int):
            return None
        if stack not in self._numbers:
            frames = self._walked(stack)
            self._numbers[stack] = None if frames is None else len(self.known)
            if frames is not None:
                self.known.append(frames)
        return self._numbers[stack]

    def _walked(self, stack: int) -> tuple[int, ...] | None:
        found = []
        above = stack + 1
        at: object = stack
        while at is not None and at != -1:
            # A caller comes before what it calls, so that no walk goes on for ever.
            if isinstance(at, bool) or not isinstance(at, int) or not 0 <= at < min(above, len(self._frame_of)):
                return None
            self._reading.room -= 1
            if self._reading.room < 0:
                raise TraceFormatError(f"the stacks of this profile have more than {_MOST_IN_STACKS} frames")
            found.append(self._frame(self._frame_of[at]))
            above, at = at, _of(self._callers, at)
        return tuple(reversed(found))

    def _frame(self, number: object) -> int:
        key = number if isinstance(number, int) else -1
        if key not in self._interned:
            self._interned[key] = self.table.rows.intern(self._made(key))
        return self._interned[key]

    def _made(self, number: int) -> Frame:
        if self._locations is not None:
            return self._located(_text(self._names, _of(self._locations, number)))
        function = _of(self._functions, number)
        name = _text(self._names, _of(self._function_names, function))
        if name is None:
            self.table.losses[NO_FRAME] += 1
            return Frame(UNKNOWN)
        resource = _of(self._resource_of, function)
        library = self._libraries.path(_of(self._library_of, resource))
        object_ = library or _text(self._names, _of(self._resource_names, resource))
        if _ADDRESS.fullmatch(name):
            return self._unsymbolised(object_, int(name, 16))
        return Frame(name or UNKNOWN, object_ or UNKNOWN)

    def _located(self, location: str | None) -> Frame:
        """Return the frame that a text of Gecko's is: a name, a name in a library, or an address."""
        if location is None:
            self.table.losses[NO_FRAME] += 1
            return Frame(UNKNOWN)
        # No pattern: of a text that has `(in` a million times it would try each.
        name, found, object_ = _PLUS.sub("", location).rpartition(" (in ")
        if found and object_.endswith(")") and object_ != ")":
            return Frame(name or UNKNOWN, object_[:-1])
        if not _ADDRESS.fullmatch(location):
            return Frame(location or UNKNOWN)
        address = int(location, 16)
        return self._unsymbolised(*self._libraries.place(address))

    def _unsymbolised(self, object_: str | None, place: int) -> Frame:
        self.table.losses[UNSYMBOLISED] += 1
        return unnamed(object_, place) if object_ else Frame(UNKNOWN)


class _Libraries:
    """The programs and libraries of a process."""

    def __init__(self, value: object) -> None:
        listed = [mapping_of(one) for one in list_of(value)]
        self._paths = [one.get("path") or one.get("name") for one in listed]
        numbers = ([_whole(one.get(word)) for word in ("start", "end", "offset")] for one in listed)
        self._ranges = sorted((begin, end, offset, at) for at, (begin, end, offset) in enumerate(numbers))

    def path(self, index: object) -> str | None:
        """Return the path of the one with a number."""
        path = _of(self._paths, index)
        return path if isinstance(path, str) and path else None

    def place(self, address: int) -> tuple[str | None, int]:
        """Return whose address it is, and its place in that file."""
        found = bisect_right(self._ranges, address, key=lambda one: one[0]) - 1
        if found >= 0:
            begin, end, offset, at = self._ranges[found]
            if address < end:
                return self.path(at), address - begin + offset
        return None, address


def _columns(value: object) -> Mapping[str, Column]:
    """Return a table's columns, whether it has columns or rows under a schema."""
    table = mapping_of(value)
    if "schema" not in table:
        return {name: column for name, column in table.items() if isinstance(column, list)}
    rows = [row if isinstance(row, list) else () for row in list_of(table.get("data"))]
    schema = mapping_of(table["schema"])
    return {
        name: [row[at] if at < len(row) else None for row in rows]
        for name, at in schema.items()
        if name in ("stack", "time", "prefix", "frame", "location", "name", "weight")
        and isinstance(at, int)
        and at >= 0
    }


def _weight(value: object, factor: int, losses: Losses) -> int | None:
    """Return a weight, None where there is none that counts."""
    try:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError("no number")
        weight, rounded = whole(value, factor)
    except ValueError:
        losses[NO_WEIGHT] += 1
        return None
    losses[ROUNDED] += rounded
    losses[NEGATIVE] += weight < 0
    return weight if weight > 0 else None


def _ns(value: object) -> int | None:
    """Return milliseconds as ns; None where there are none, or more than a clock can have."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < _MOST_MS:
        return None
    return round(value * _NS_OF_MS)


def _identity(value: object) -> int | None:
    """Return a process or thread, which newer files have as text, with a suffix where a number was used again."""
    if isinstance(value, str) and (match := _NUMBER.match(value)):
        value = int(match[0])
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 31 else None


def _names(value: object) -> Column:
    return list_of(mapping_of(value).get("_array")) if isinstance(value, dict) else list_of(value)


def _text(names: Column, index: object) -> str | None:
    name = _of(names, index)
    return name if isinstance(name, str) else None


def _of(column: Sequence[object], index: object) -> object:
    """Return what stands at a place of a column; None where there is none."""
    if isinstance(index, int) and not isinstance(index, bool) and 0 <= index < len(column):
        return column[index]
    return None


def _whole(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0
