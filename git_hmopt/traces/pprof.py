# SPDX-License-Identifier: Apache-2.0
"""Read pprof's profiles (profile.proto of github.com/google/pprof), as Go, gperftools and many others write them.

A profile has values of one or more types; each becomes a table, the one that the profile prefers first, or, as pprof
itself chooses, the last. Inlined functions are frames. What the profile would have dropped from its stacks
(`drop_frames`) stays in them. Units of time become ns; a count is in units of its type (`samples`, `alloc_objects`).
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice, zip_longest
from mmap import mmap

import numpy as np
import polars as pl

from git_hmopt.traces import protobuf
from git_hmopt.traces.capture import Capture, Losses
from git_hmopt.traces.mapped import mapped
from git_hmopt.traces.source import Source
from git_hmopt.traces.stacks import OUT_OF_RANGE, SampleRows
from git_hmopt.traces.tables import SAMPLES, UNKNOWN, Frame, Samples, Symbols, TraceFormatError, unnamed
from git_hmopt.traces.units import unit_of

BAD_MESSAGE = "sample, location, function or mapping that cannot be read"
BAD_VALUES = "sample that has not one value of each type"
NO_STACK = "sample without a stack"
NO_LOCATION = "frame whose location is not in the profile"
NO_NAME = "name that is not in the profile's table of strings"
UNSYMBOLISED = "location without a function: named by object and offset"
NEGATIVE = "value below 0, of a profile that others were taken from"
LABELS = "label that is neither a process nor a thread"
BREAKDOWN = "times of the events in a sample"

_TYPE, _SAMPLE, _MAPPING, _LOCATION, _FUNCTION, _STRING, _DEFAULT = 1, 2, 3, 4, 5, 6, 14
_MESSAGES = (_TYPE, _SAMPLE, _MAPPING, _LOCATION, _FUNCTION, _STRING, 11, 16)
_NUMBERS = (7, 8, 9, 10, 12, _DEFAULT, 15)
_COMMENT = 13
_LOOKED_AT, _FEW = 100, 3
"""Fields of the head."""

_MOST_BYTES = 256 << 20
_MOST_TYPES = 64
_MOST_MESSAGE = 4 << 20
"""Bytes of a sample, a location, a function."""
_MOST_STRINGS, _MOST_SYMBOLS, _MOST_VALUES, _MOST_IN_STACKS = 16_000_000, 2_000_000, 20_000_000, 50_000_000
_MOST_LABELS = 100_000
"""That are remembered: most samples have one of a few, and one of all its own is worth no room."""
_PROCESS = ("pid", "process_id", "process id")
_THREAD = ("tid", "thread_id", "thread id")
_COMM = ("thread_comm", "comm", "thread name", "thread_name")


class Pprof:
    """The format, by its name `pprof`."""

    name = "pprof"

    def recognise(self, head: bytes, name: str) -> bool:
        """Say whether its first fields are those of a profile: there is no magic."""
        seen = types = 0
        try:
            for one in islice(protobuf.fields(head, 0, len(head)), _LOOKED_AT):
                known = _MESSAGES if one.is_bytes else _NUMBERS
                if one.number not in (*known, _COMMENT) or (one.number == _TYPE and not _is_type(head, one)):
                    return False
                seen += 1
                types += one.number == _TYPE
        except protobuf.WireError:
            # The head may end in the midst of a field. A few bytes that are fields are no profile yet.
            return types > 0 and seen > _FEW
        return types > 0

    def read(self, source: Source) -> Capture:
        """Return the capture; its lines are where functions are defined, as far as the profile says."""

        def samples(losses: Losses) -> list[Samples]:
            with mapped(source) as content:
                tables = _Tables(_contents(content, source)).read()
            for table in tables:
                losses.update(table.skipped)
            return tables

        def lines(losses: Losses) -> Symbols:
            with mapped(source) as content:
                table = _definitions(_contents(content, source))
            losses.update(table.skipped)
            return table

        return Capture(self.name, read_samples=samples, read_lines=lines)


FORMAT = Pprof()


def _is_type(head: bytes, place: protobuf.Field) -> bool:
    """Say whether a message is a ValueType: two indices at most."""
    if place.end - place.begin > 22:
        return False
    return all(one.number in (1, 2) and not one.is_bytes for one in protobuf.fields(head, place.begin, place.end))


@dataclass(slots=True)
class _Location:
    mapping: int = 0
    address: int = 0
    functions: list[int] = field(default_factory=list)
    """Innermost first."""


@dataclass(slots=True)
class _Function:
    name: int = 0
    file: int = 0
    line: int = 0


@dataclass
class _Contents:
    """A profile whose samples and names have been found and not yet read."""

    content: mmap
    losses: Losses = field(default_factory=Losses)
    types: list[tuple[int, int]] = field(default_factory=list)
    default: int = 0
    samples: array[int] = field(default_factory=lambda: array("Q"))
    """Where each begins and ends."""
    strings: array[int] = field(default_factory=lambda: array("Q"))
    mappings: dict[int, tuple[int, int, int]] = field(default_factory=dict)
    """The name of each, where it starts, and its place in the file."""
    locations: dict[int, _Location] = field(default_factory=dict)
    functions: dict[int, _Function] = field(default_factory=dict)
    lines: int = 0
    """Of all locations, with them and functions and mappings."""
    _texts: dict[int, str] = field(default_factory=dict)
    """By index, made once: a long one may be the name of any number of functions."""

    def text(self, index: int) -> str:
        """Return a name by its index; empty, and counted, where there is none."""
        if not 0 <= index < len(self.strings) // 2:
            self.losses[NO_NAME] += 1
            return ""
        if index not in self._texts:
            begin, end = self.strings[2 * index : 2 * index + 2]
            self._texts[index] = self.content[begin:end].decode(errors="replace")
        return self._texts[index]


def _contents(content: mmap, source: Source) -> _Contents:
    """Find everything in a profile. Raises TraceFormatError where it is cut, or is larger than can be kept."""
    if len(content) > _MOST_BYTES:
        raise TraceFormatError(f"{source.path}: a profile of more than {_MOST_BYTES >> 20} MiB is not read")
    found = _Contents(content)
    try:
        for one in protobuf.fields(content, 0, len(content)):
            if one.is_bytes:
                _take(found, one)
            elif one.number == _DEFAULT:
                found.default = one.value
            if excess := _excess(found):
                raise TraceFormatError(f"{source.path}: a profile of more than {excess} is not read")
    except protobuf.WireError as error:
        raise TraceFormatError(
            f"{source.path}: this profile is cut or damaged: {error}", next_step="fetch or record it again"
        ) from error
    if not found.types:
        raise TraceFormatError(f"{source.path}: a profile without a type of values")
    if not found.strings:
        raise TraceFormatError(f"{source.path}: a profile without its table of strings: it was cut")
    return found


def _excess(found: _Contents) -> str | None:
    """Return in words what a profile has more of than there is room for."""
    if found.lines > _MOST_SYMBOLS:
        return f"{_MOST_SYMBOLS} locations, functions and mappings"
    if len(found.strings) > 2 * _MOST_STRINGS:
        return f"{_MOST_STRINGS} names"
    if len(found.types) > _MOST_TYPES:
        return f"{_MOST_TYPES} types of values"
    return f"{_MOST_VALUES} values" if len(found.samples) // 2 * max(1, len(found.types)) > _MOST_VALUES else None


def _take(found: _Contents, one: protobuf.Field) -> None:
    if one.number == _SAMPLE:
        found.samples.extend((one.begin, one.end))
    elif one.number == _STRING:
        found.strings.extend((one.begin, one.end))
    elif one.end - one.begin > _MOST_MESSAGE:
        found.losses[BAD_MESSAGE] += 1
    elif one.number in (_TYPE, _MAPPING, _LOCATION, _FUNCTION):
        try:
            _take_message(found, one)
        except protobuf.WireError:
            found.losses[BAD_MESSAGE] += 1


def _take_message(found: _Contents, message: protobuf.Field) -> None:
    if message.number == _LOCATION:
        _take_location(found, message)
        return
    numbers = {one.number: one.value for one in protobuf.fields(found.content, message.begin, message.end)}
    identity = numbers.get(1, 0)
    if message.number == _TYPE:
        found.types.append((identity, numbers.get(2, 0)))
    elif message.number == _MAPPING:
        found.lines += 1
        found.mappings[identity] = (numbers.get(5, 0), numbers.get(2, 0), numbers.get(4, 0))
    else:
        found.lines += 1
        # What the system calls it, where it has no name for people.
        name = numbers.get(2) or numbers.get(3, 0)
        found.functions[identity] = _Function(name, numbers.get(4, 0), numbers.get(5, 0))


def _take_location(found: _Contents, message: protobuf.Field) -> None:
    location = _Location()
    identity = 0
    for one in protobuf.fields(found.content, message.begin, message.end):
        if one.number == 1:
            identity = one.value
        elif one.number == 2:
            location.mapping = one.value
        elif one.number == 3:
            location.address = one.value
        elif one.number == 4 and one.is_bytes:
            line = protobuf.fields(found.content, one.begin, one.end)
            location.functions.append(next((part.value for part in line if part.number == 1), 0))
    found.lines += 1 + len(location.functions)
    found.locations[identity] = location


@dataclass(slots=True)
class _Sample:
    """One sample as it stands in the profile."""

    locations: list[bytes] = field(default_factory=list)
    """Numbers of locations, packed, leaf first."""
    values: list[int] = field(default_factory=list)
    labels: list[bytes] = field(default_factory=list)


class _Tables:
    """Makes tables of a profile, one for each type of value."""

    def __init__(self, found: _Contents) -> None:
        self.found = found
        self.rows = SampleRows()
        self.room = _MOST_IN_STACKS
        self.threads: dict[int, str] = {}
        self._frames: dict[int, tuple[int, ...]] = {}
        self._stacks: dict[bytes, int | None] = {}
        self._known: dict[bytes, tuple[Sequence[str], int, str]] = {}

    def read(self) -> list[Samples]:
        found = self.found
        columns = tuple(array("q") for _ in range(3 + len(found.types)))
        places = iter(found.samples)
        for begin, end in zip_longest(places, places):
            try:
                row = self._row(begin, end)
            except protobuf.WireError:
                found.losses[BAD_MESSAGE] += 1
                continue
            for column, value in zip(columns, row, strict=True) if row else ():
                column.append(value)
        stack, pid, tid, *values = columns
        fixed = pl.DataFrame({"stack": _series(stack), "pid": _series(pid), "tid": _series(tid)})
        return self._finished(fixed, values)

    def _row(self, begin: int, end: int) -> list[int] | None:
        """Return stack, process, thread and values of a sample; None, and counted, where it has not all of them."""
        found = self.found
        if end - begin > _MOST_MESSAGE:
            raise protobuf.WireError(f"a sample of {end - begin} bytes")
        sample = _sample(found, begin, end)
        stack = self._stack(b"".join(sample.locations))
        if len(sample.values) != len(found.types):
            found.losses[BAD_VALUES] += 1
            return None
        if stack is None:
            found.losses[NO_STACK] += 1
            return None
        return [stack, *self._labels(sample.labels), *map(protobuf.signed, sample.values)]

    def _finished(self, fixed: pl.DataFrame, values: Sequence[array[int]]) -> list[Samples]:
        found = self.found
        names = [(found.text(name), found.text(unit)) for name, unit in found.types]
        preferred = next((at for at, (name, _) in enumerate(found.types) if found.default == name), len(names) - 1)
        order = [preferred, *(at for at in range(len(names)) if at != preferred)]
        tables = [self._of_type(fixed, values[at], *names[at]) for at in order]
        # What was lost of all of them is told once.
        first = Losses(tables[0].skipped) + found.losses + self.rows.skipped
        return [self._with(tables[0], first), *tables[1:]]

    def _of_type(self, fixed: pl.DataFrame, column: array[int], name: str, word: str) -> Samples:
        unit, factor = unit_of(name if word in ("", "count") else word)
        weights = _series(column)
        most = (2**63 - 1) // factor
        losses = Losses({NEGATIVE: int((weights < 0).sum()), OUT_OF_RANGE: int((weights > most).sum())})
        kept = (weights > 0) & (weights <= most)
        frame = fixed.filter(kept).with_columns(weight=weights.filter(kept) * factor)
        known = {one: pl.when(pl.col(one) >= 0).then(pl.col(one)) for one in ("pid", "tid")}
        frame = frame.with_columns(**known, ts_ns=None, cpu=None).select(SAMPLES.names()).cast(SAMPLES)
        table = self.rows.table_of(frame, event=name or "profile", unit=unit, threads=self.threads)
        return self._with(table, +losses)

    def _with(self, table: Samples, losses: Losses) -> Samples:
        return Samples(
            table.event, table.unit, table.frames, table.stacks, table.rows, dict(sorted(losses.items())), table.threads
        )

    def _stack(self, packed: bytes) -> int | None:
        """Return the number of a stack, None of an empty one."""
        if packed not in self._stacks:
            locations = protobuf.packed(packed)
            frames = [frame for one in reversed(locations) for frame in self._frames_of(one)]
            self.room -= len(frames) + len(locations)
            if self.room < 0:
                raise TraceFormatError(f"the stacks of this profile have more than {_MOST_IN_STACKS} frames")
            self._stacks[packed] = self.rows.intern_stack(frames) if frames else None
        return self._stacks[packed]

    def _frames_of(self, number: int) -> tuple[int, ...]:
        """Return the frames of a location, outermost first."""
        if number not in self._frames:
            self._frames[number] = tuple(self._made(number))
        return self._frames[number]

    def _made(self, number: int) -> Iterator[int]:
        found = self.found
        location = found.locations.get(number)
        if location is None:
            found.losses[NO_LOCATION] += 1
            yield self.rows.intern(Frame(UNKNOWN))
            return
        name, start, offset = found.mappings.get(location.mapping, (0, 0, 0))
        object_ = (found.text(name) if name else "") or UNKNOWN
        functions = [found.functions[one] for one in location.functions if one in found.functions]
        for one in reversed(functions):
            yield self.rows.intern(Frame(found.text(one.name) or UNKNOWN, object_))
        if not functions:
            found.losses[UNSYMBOLISED] += 1
            place = location.address - start + offset
            known = object_ != UNKNOWN and place >= 0
            yield self.rows.intern(unnamed(object_, place) if known else Frame(UNKNOWN, object_))

    def _labels(self, labels: Sequence[bytes]) -> tuple[int, int]:
        """Return process and thread, -1 where they are not told."""
        pid = tid = -1
        comm = ""
        for one in labels:
            kind, number, text = self._known.get(one) or self._label(one)
            if kind == _PROCESS:
                pid = number
            elif kind == _THREAD:
                tid = number
            elif kind == _COMM:
                comm = text
            else:
                self.found.losses[LABELS] += 1
        if comm and tid >= 0:
            self.threads.setdefault(tid, comm)
        return pid, tid

    def _label(self, content: bytes) -> tuple[Sequence[str], int, str]:
        """Return what a label is of, its number and its text."""
        parts = {one: value for one, value, _ in protobuf.listed(content)}
        name, number = self.found.text(parts.get(1, 0)), parts.get(3, 0)
        text = self.found.text(parts[2]) if name in _COMM and 2 in parts else ""
        of = next((kind for kind in (_PROCESS, _THREAD) if name in kind and 0 < number < 1 << 31), ())
        label = (_COMM if text else of, number, text)
        if len(self._known) < _MOST_LABELS:
            self._known[content] = label
        return label


def _series(column: array[int]) -> pl.Series:
    return pl.Series(values=np.array(column, dtype=np.int64))


def _sample(found: _Contents, begin: int, end: int) -> _Sample:
    sample = _Sample()
    for number, value, content in protobuf.listed(found.content[begin:end]):
        if number == 1:
            sample.locations.append(protobuf.varint(value) if content is None else content)
        elif number == 2:
            sample.values.extend((value,) if content is None else protobuf.packed(content))
        elif number == 3 and content is not None:
            sample.labels.append(content)
        elif number == 4:
            found.losses[BREAKDOWN] += 1
    return sample


def _definitions(found: _Contents) -> Symbols:
    """Return where the functions are defined; their first line is 0 where it is not known."""
    rows = [
        (found.text(one.name), found.text(one.file), one.line)
        for one in found.functions.values()
        if one.name and one.file
    ]
    return Symbols(
        symbol=tuple(name or UNKNOWN for name, _, _ in rows),
        file=tuple(file or None for _, file, _ in rows),
        line=tuple(line if 0 < line < 1 << 31 else None for _, _, line in rows),
        skipped=dict(sorted(found.losses.items())),
    )
