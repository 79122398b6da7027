# SPDX-License-Identifier: Apache-2.0
"""The header of a perf.data: what was sampled and how, and the features that its writer put beside the data.

Layouts: tools/perf/Documentation/perf.data-file-format.txt of the Linux tree and include/uapi/linux/perf_event.h;
features from 192 on are hiperf's own.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

from git_hmopt.traces.capture import Losses
from git_hmopt.traces.tables import TraceFormatError

LITTLE, BIG = b"PERFILE2", b"2ELIFREP"
FILE_HEADER, PIPE_HEADER = 104, 16
ATTR_OF_FIRST_KERNEL = 64
"""Bytes of the shortest perf_event_attr there ever was."""

DAMAGED_FEATURE = "feature section that cannot be read"
NO_FEATURES = "feature sections beyond the end of the file"
DATA_CUT = "bytes of data that the header announces and the file lacks"

_MOST_EVENTS = 10_000
_MOST_FEATURE = 256 << 20

_STRINGS = {3: "host", 4: "release", 5: "perf", 6: "arch", 8: "cpu", 9: "cpuid", 193: "workload", 194: "recorded"}
CMDLINE, EVENT_DESC, BUILD_ID, CLOCK_DATA = 11, 12, 2, 29
FILES_SYMBOL, DEVHOST, UNISTACK_TABLE = 192, 196, 197

_CLOCKS = {0: "realtime", 1: "monotonic", 4: "monotonic_raw", 7: "boottime", 11: "tai"}
_HARDWARE = (
    "cycles", "instructions", "cache-references", "cache-misses", "branches", "branch-misses", "bus-cycles",
    "stalled-cycles-frontend", "stalled-cycles-backend", "ref-cycles",
)  # fmt: skip
_SOFTWARE = (
    "cpu-clock", "task-clock", "page-faults", "context-switches", "cpu-migrations", "minor-faults", "major-faults",
    "alignment-faults", "emulation-faults", "dummy", "bpf-output", "cgroup-switches",
)  # fmt: skip


class ShortError(ValueError):
    """A structure goes on beyond the bytes that hold it."""


class Cursor:
    """Reads numbers and strings one after the other; ShortError at the end."""

    def __init__(self, data: bytes, order: str) -> None:
        self.data, self.order, self.at = data, order, 0

    def take(self, size: int) -> bytes:
        if size < 0 or self.at + size > len(self.data):
            raise ShortError
        self.at += size
        return self.data[self.at - size : self.at]

    def u32(self) -> int:
        return int.from_bytes(self.take(4), "little" if self.order == "<" else "big")

    def u64(self) -> int:
        return int.from_bytes(self.take(8), "little" if self.order == "<" else "big")

    def text(self) -> str:
        """Return a string after its length, which counts its padding."""
        return text_of(self.take(self.u32()))

    def left(self) -> int:
        return len(self.data) - self.at


def text_of(data: bytes) -> str:
    """Return the text before the first NUL."""
    return data.split(b"\0", 1)[0].decode(errors="replace")


@dataclass(frozen=True)
class Attr:
    """One event as it was opened: the fields of perf_event_attr that say how to read its records."""

    name: str
    sample_type: int
    read_format: int
    period: int | None
    """Of every sample, when none is written into them."""
    sample_id_all: bool
    clock: str | None
    user_registers: int
    ids: tuple[int, ...] = ()


@dataclass
class Header:
    """What head, features, or the records of a pipe have told so far."""

    order: str
    pipe: bool
    attrs: list[Attr] = field(default_factory=list)
    data_at: int = PIPE_HEADER
    data_size: int | None = None
    """None: up to the end of the file."""
    features: dict[int, bytes] = field(default_factory=dict)
    facts: dict[str, str] = field(default_factory=dict)
    build_ids: dict[str, str] = field(default_factory=dict)
    """Of objects, by path."""

    @property
    def is_hiperf(self) -> bool:
        """Say whether hiperf wrote it, whose features have numbers Linux does not use."""
        return any(number >= FILES_SYMBOL for number in self.features)

    def name_events(self, names: dict[int, str]) -> None:
        """Give the events the names they were asked for by, found by any of their ids."""
        for index, attr in enumerate(self.attrs):
            found = next((names[number] for number in attr.ids if names.get(number)), None)
            if found:
                self.attrs[index] = _replaced(attr, name=found)


def _replaced(attr: Attr, *, name: str) -> Attr:
    return Attr(**{**vars(attr), "name": name})


def read_header(stream: BinaryIO, losses: Losses) -> Header:
    """Read head and features of a seekable file and leave it at the first record.

    Raises TraceFormatError when there is no head to read; features that cannot be read are counted.
    """
    head = stream.read(FILE_HEADER)
    if head[:8] not in (LITTLE, BIG):
        raise TraceFormatError("this is no perf.data: it does not begin with PERFILE2")
    order = "<" if head[:8] == LITTLE else ">"
    if len(head) < PIPE_HEADER:
        raise TraceFormatError("a perf.data cut inside its header")
    (size,) = struct.unpack_from(f"{order}Q", head, 8)
    if size == PIPE_HEADER:
        stream.seek(PIPE_HEADER)
        return Header(order, pipe=True)
    if size != FILE_HEADER:
        raise TraceFormatError(f"a perf.data whose header says it has {size} bytes, neither {FILE_HEADER} nor 16")
    if len(head) < FILE_HEADER:
        raise TraceFormatError("a perf.data cut inside its header")
    header = _file_header(stream, head, order, losses)
    stream.seek(header.data_at)
    return header


def _file_header(stream: BinaryIO, head: bytes, order: str, losses: Losses) -> Header:
    entry, attrs_at, attrs_size, data_at, data_size = struct.unpack_from(f"{order}5Q", head, 16)
    end = stream.seek(0, 2)
    if not ATTR_OF_FIRST_KERNEL + 16 <= entry <= 4096 or attrs_size < entry:
        raise TraceFormatError(f"a perf.data with {attrs_size} bytes of events, {entry} each: it has none to read")
    if data_at > end or attrs_at > end:
        raise TraceFormatError("a perf.data whose events or data would begin beyond its end")
    header = Header(order, pipe=False, data_at=data_at, data_size=data_size or None)
    for index in range(min(attrs_size // entry, _MOST_EVENTS)):
        raw = read_at(stream, attrs_at + index * entry, entry)
        if len(raw) < entry:
            break
        ids_at, ids_size = struct.unpack_from(f"{order}2Q", raw, entry - 16)
        ids = read_at(stream, ids_at, min(ids_size, 8 << 20)) if ids_size else b""
        header.attrs.append(attr_of(raw[: entry - 16], order, _numbers(ids, order)))
    if not header.attrs:
        raise TraceFormatError("a perf.data cut inside its list of events")
    if data_size and data_at + data_size > end:
        losses[DATA_CUT] += data_at + data_size - end
    elif data_size:
        _read_features(stream, header, head[72:104], losses)
    return header


def read_at(stream: BinaryIO, offset: int, size: int) -> bytes:
    """Return at most `size` bytes from `offset`; none where the file does not reach."""
    # Some file systems refuse to go further than their files may be long.
    if offset > stream.seek(0, 2):
        return b""
    stream.seek(offset)
    return stream.read(size)


def _numbers(data: bytes, order: str) -> tuple[int, ...]:
    return struct.unpack(f"{order}{len(data) // 8}Q", data[: len(data) // 8 * 8])


def attr_of(raw: bytes, order: str, ids: tuple[int, ...]) -> Attr:
    """Return one event out of a perf_event_attr of any size."""
    raw = raw.ljust(128, b"\0")
    kind, _, config, period, sample_type, read_format, flags = struct.unpack_from(f"{order}2I5Q", raw, 0)
    registers, _, clock = struct.unpack_from(f"{order}QIi", raw, 80)

    def flag(bit: int) -> bool:
        # The first bit field of a word is its highest bit where the most significant byte comes first.
        return bool(flags >> (bit if order == "<" else 63 - bit) & 1)

    return Attr(
        name=_event_name(kind, config),
        sample_type=sample_type,
        read_format=read_format,
        period=period if 0 < period < 1 << 63 and not flag(10) else None,
        sample_id_all=flag(18),
        clock=_CLOCKS.get(clock, f"clock {clock}") if flag(25) else None,
        user_registers=registers.bit_count(),
        ids=ids,
    )


def _event_name(kind: int, config: int) -> str:
    if kind == 0 and config & 0xFFFFFFFF < len(_HARDWARE):
        return _HARDWARE[config & 0xFFFFFFFF]
    if kind == 1 and config < len(_SOFTWARE):
        return _SOFTWARE[config]
    words = {2: f"tracepoint-{config}", 4: f"r{config:x}", 5: f"mem:{config:x}"}
    return words.get(kind, f"event-{kind}-{config:x}")


def _read_features(stream: BinaryIO, header: Header, bitmap: bytes, losses: Losses) -> None:
    # The bitmap is of the writer's unsigned longs, so its bytes are in the file's order 8 by 8.
    words = _numbers(bitmap, header.order)
    numbers = [64 * index + bit for index, word in enumerate(words) for bit in range(64) if word >> bit & 1]
    table = read_at(stream, header.data_at + (header.data_size or 0), 16 * len(numbers))
    places = _numbers(table, header.order)
    if len(places) < 2 * len(numbers):
        losses[NO_FEATURES] += len(numbers) - len(places) // 2
    for number, offset, size in zip(numbers, places[::2], places[1::2], strict=False):
        data = read_at(stream, offset, size) if size <= _MOST_FEATURE else b""
        if len(data) < size:
            losses[NO_FEATURES] += 1
        else:
            header.features[number] = data
    for number in sorted(header.features):
        take_feature(header, number, losses)


def take_feature(header: Header, number: int, losses: Losses) -> None:
    """Take over what one feature says of the host and the events; others are read by who needs them."""
    cursor = Cursor(header.features[number], header.order)
    try:
        if number in _STRINGS:
            header.facts[_STRINGS[number]] = cursor.text()
        elif number == CMDLINE:
            header.facts["command"] = _command(cursor, is_hiperf=header.is_hiperf)
        elif number == EVENT_DESC:
            header.name_events(dict(_described(cursor)))
        elif number == BUILD_ID:
            header.build_ids |= dict(build_ids(cursor))
            header.facts["build_ids"] = " ".join(f"{name}={found}" for name, found in header.build_ids.items())
        elif number == CLOCK_DATA:
            _version, clock, wall, then = cursor.u32(), cursor.u32(), cursor.u64(), cursor.u64()
            header.facts["clock_offset_ns"] = str(wall - then)
            header.facts.setdefault("clock", _CLOCKS.get(clock, f"clock {clock}"))
    except ShortError:
        losses[DAMAGED_FEATURE] += 1


def _command(cursor: Cursor, *, is_hiperf: bool) -> str:
    if is_hiperf:
        return cursor.text()
    return " ".join(cursor.text() for _ in range(min(cursor.u32(), cursor.left() // 4)))


def _described(cursor: Cursor) -> Iterator[tuple[int, str]]:
    events, size = cursor.u32(), cursor.u32()
    for _ in range(events):
        cursor.take(size)
        ids = cursor.u32()
        name = cursor.text()
        for number in _numbers(cursor.take(8 * ids), cursor.order):
            yield number, name


def build_ids(cursor: Cursor) -> Iterator[tuple[str, str]]:
    """Yield path and build id of each object; the feature is a row of records HEADER_BUILD_ID."""
    while cursor.left() >= 8:
        _, sizes = cursor.u32(), cursor.take(4)
        size = int.from_bytes(sizes[2:], "little" if cursor.order == "<" else "big")
        yield build_id(cursor.take(size - 8))


def build_id(body: bytes) -> tuple[str, str]:
    """Return path and build id of one record HEADER_BUILD_ID."""
    if len(body) < 28:
        raise ShortError
    # s32 pid, the id padded to 24 bytes of which the 21st may say how long it is, and the path.
    length = body[24] if body[24] in range(1, 21) else 20
    return text_of(body[28:]), body[4 : 4 + length].hex()
