# SPDX-License-Identifier: Apache-2.0
"""Read OpenHarmony's profiler captures (`hiprofiler_cmd`, `.htrace`): packets of plugins, and what stands beside them.

    section: "OHOSPROF" u64 length with the header | u32 version | u32 packets | sha256 | u32 type at 56
             six u64 clocks from 60: boot, real, real coarse, monotonic, monotonic coarse, monotonic raw | name at 108
             u64 duration at 244 | to byte 1024: nothing
    type 0: packets { u32 size, ProfilerPluginData }   type 1: hiperf's perf.data   type 1000: a plugin's own format

(OpenHarmony developtools_profiler, trace_file_header.h.) One section follows another. The checksum and the number of
packets of real captures are wrong too often to be held against them. The kernel's raw pages are in none of them: the
ftrace plugin keeps those it reads late in a file that has no name (flow_controller.cpp), and writes messages all the
same.
"""

from __future__ import annotations

import contextlib
import mmap
import struct
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import BinaryIO, cast

import polars as pl

from git_hmopt.traces import htrace_ftrace, htrace_plugins, perf_data, protobuf
from git_hmopt.traces.capture import Capture, Losses
from git_hmopt.traces.htrace_ftrace import Ftrace
from git_hmopt.traces.htrace_plugins import Clocks, Packet
from git_hmopt.traces.kernel_events import merged
from git_hmopt.traces.mapped import mapped
from git_hmopt.traces.source import Source
from git_hmopt.traces.tables import Samples, TraceFormatError

CUT_SECTION = "sections cut by the end of the capture"
NO_LENGTH = "sections whose length was never written"
CUT_PACKET = "packets cut by the end of their section"
BAD_PACKET = "packets that are no message"
UNKNOWN_PLUGIN = "packets of plugins that are not read"
UNKNOWN_SECTION = "sections of plugins that are not read"
BAD_PROFILE = "profile of hiperf in the capture that cannot be read"
NO_SECTION = "bytes that belong to no section"

_MAGIC = b"OHOSPROF"
_HEADER = 1024
_PACKETS, _PERF_DATA = 0, 1
_PERF_MAGIC = b"PERFILE2"
_PIECE = 4 << 20


@dataclass(frozen=True)
class _Section:
    kind: int
    begin: int
    end: int


@dataclass
class _Contents:
    """Where the packets of each plugin are, and what those of ftrace say of all of them."""

    clocks: Clocks
    packets: dict[str, list[Packet]] = field(default_factory=lambda: defaultdict(list))
    ftrace: Ftrace = field(default_factory=Ftrace)


class Htrace:
    """The format `htrace`."""

    name = "htrace"

    def recognise(self, head: bytes, name: str) -> bool:
        """Say whether the file begins with the profiler's magic."""
        return head.startswith(_MAGIC)

    def read(self, source: Source) -> Capture:
        """Return the capture. Raises TraceFormatError when there is no whole header."""
        head = source.head()
        if not head.startswith(_MAGIC) or len(head) < _HEADER:
            raise TraceFormatError(
                f"{source.path}: a profiler capture has a header of {_HEADER} bytes and '{_MAGIC.decode()}'"
            )
        clocks = _clocks(head, 0)

        def read_events(losses: Losses) -> Iterator[pl.DataFrame]:
            with mapped(source) as content:
                yield from merged(_streams(content, _contents(content, losses), losses))

        profile = perf_data.Readers(source, embedded_profile)

        def read_samples(losses: Losses) -> Sequence[Samples]:
            try:
                return profile.samples(losses)
            except TraceFormatError:
                # The events are there all the same.
                losses[BAD_PROFILE] += 1
                return ()

        facts = {f"{name}_ns": str(value) for name, value in clocks.named() if value}
        if duration := int.from_bytes(head[244:252], "little"):
            facts["duration_ns"] = str(duration)
        return Capture(
            self.name, read_events=read_events, read_samples=read_samples, read_definitions=profile.definitions,
            facts=facts, samples_behind=lambda: clocks.ahead(profile.clock()),
        )  # fmt: skip


@contextlib.contextmanager
def embedded_profile(source: Source) -> Iterator[BinaryIO | None]:
    """Give the perf.data that hiperf recorded into the capture, as a file of its own; None when there is none."""
    with mapped(source) as content, tempfile.TemporaryFile() as copy:
        for begin, end in _profile(content):
            for at in range(begin, end, _PIECE):
                copy.write(content[at : min(at + _PIECE, end)])
        copy.seek(0)
        is_profile = copy.read(len(_PERF_MAGIC)) == _PERF_MAGIC
        copy.seek(0)
        yield cast("BinaryIO", copy) if is_profile else None


def _profile(content: mmap.mmap) -> list[tuple[int, int]]:
    """Return where hiperf's profile is: a section of its own, or the packets of its plugin."""
    for section in _sections(content, Losses()):
        if section.kind == _PERF_DATA and content[section.begin : section.begin + 8] == _PERF_MAGIC:
            return [(section.begin, section.end)]
    packets = _packets(content, Losses()).packets.get("hiperf-plugin", [])
    return [(packet.begin, packet.end) for packet in packets]


def _clocks(content: bytes | mmap.mmap, at: int) -> Clocks:
    boot, real, _, monotonic = struct.unpack_from("<QQQQ", content, at + 60)
    return Clocks(boot, real, monotonic)


def _sections(content: mmap.mmap, losses: Losses) -> Iterator[_Section]:
    at = 0
    while content[at : at + len(_MAGIC)] == _MAGIC and at + _HEADER <= len(content):
        length, kind = struct.unpack_from("<Q40xI", content, at + 8)
        if length <= _HEADER:
            # A profiler that was killed has not come to write it.
            losses[NO_LENGTH] += 1
            length = len(content) - at
        elif length > len(content) - at:
            losses[CUT_SECTION] += 1
            length = len(content) - at
        yield _Section(kind, at + _HEADER, at + length)
        at += length
    if at < len(content):
        losses[NO_SECTION] += len(content) - at


def _contents(content: mmap.mmap, losses: Losses) -> _Contents:
    found = _packets(content, losses)
    for packet in found.packets.get("ftrace-plugin", []):
        try:
            found.ftrace.add(content, packet.begin, packet.end)
        except protobuf.WireError:
            losses[BAD_PACKET] += 1
    return found


def _packets(content: mmap.mmap, losses: Losses) -> _Contents:
    found = _Contents(_clocks(content, 0))
    for section in _sections(content, losses):
        if section.kind == _PACKETS:
            _add_packets(content, section, found, losses)
        elif section.kind != _PERF_DATA:
            losses[UNKNOWN_SECTION] += 1
    return found


def _add_packets(content: mmap.mmap, section: _Section, found: _Contents, losses: Losses) -> None:
    at = section.begin
    while at + 4 <= section.end:
        (length,) = struct.unpack_from("<I", content, at)
        at += 4
        if length > section.end - at:
            losses[CUT_PACKET] += 1
            return
        try:
            name, packet = _packet(content, at, at + length)
        except protobuf.WireError:
            losses[BAD_PACKET] += 1
        else:
            if name in htrace_plugins.READERS or name in ("ftrace-plugin", "hiperf-plugin"):
                found.packets[name].append(packet)
            elif not name.endswith("_config"):
                losses[UNKNOWN_PLUGIN] += 1
        at += length


def _packet(content: mmap.mmap, begin: int, end: int) -> tuple[str, Packet]:
    name, where, clock, seconds, nanoseconds = "", (end, end), 0, 0, 0
    for one in protobuf.fields(content, begin, end):
        if one.number == 1:
            name = content[one.begin : min(one.end, one.begin + 128)].decode(errors="replace")
        elif one.number == 3:
            where = (one.begin, one.end)
        elif one.number == 4:
            clock = one.value
        elif one.number == 5:
            seconds = one.value
        elif one.number == 6:
            nanoseconds = one.value
    if name.startswith("/data/local"):
        name = "ftrace-plugin"  # as its first versions are called
    return name, Packet(*where, clock, seconds * 1_000_000_000 + nanoseconds)


def _streams(content: mmap.mmap, found: _Contents, losses: Losses) -> Iterator[Iterator[pl.DataFrame]]:
    for cpu in sorted(found.ftrace.details):
        yield htrace_ftrace.events(content, found.ftrace, cpu, losses)
    for name, packets in found.packets.items():
        if name in htrace_plugins.READERS:
            yield htrace_plugins.events(content, name, packets, found.clocks, losses)


FORMAT = Htrace()
