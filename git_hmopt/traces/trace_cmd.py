# SPDX-License-Identifier: Apache-2.0
"""Read trace-cmd's files, version 6: descriptions of the events first, then the pages of each CPU.

    17 08 44 "tracing" | version\\0 | u8 big-endian | u8 size of a long | u32 size of a page
    "header_page\\0" u64 size, text | "header_event\\0" u64 size, text
    u32 formats of ftrace's own events { u64 size, text } | u32 systems { name\\0, u32 events { u64 size, text } }
    u32 size, kallsyms | u32 size, printk formats | u64 size, thread names | u32 CPUs
    "options  \\0" { u16 id (0 ends), u32 size, value } | "flyrecord\\0" CPUs times { u64 offset, u64 size }

(trace-cmd, Documentation/trace-cmd/trace-cmd.dat.v6.5.txt.)
"""

from __future__ import annotations

import mmap
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import polars as pl

from git_hmopt.traces import event_formats, ring_buffer
from git_hmopt.traces.capture import Capture, Losses
from git_hmopt.traces.kernel_events import Kernel, events, merged
from git_hmopt.traces.mapped import mapped
from git_hmopt.traces.ring_buffer import PageLayout
from git_hmopt.traces.source import Source
from git_hmopt.traces.tables import TraceFormatError

CUT_PAGES = "bytes of pages that lie beyond the end of the capture"

_MAGIC = b"\x17\x08\x44tracing"
_OPTION_BUFFER, _OPTION_CLOCK, _OPTION_UNAME, _OPTION_CPUS = 3, 4, 5, 8
_NO_TIME = ("counter", "x86-tsc")
_MOST_CPUS = 4096
_MOST_BYTES = 4 << 20
"""Of pages that are decoded at once, of all CPUs."""


@dataclass
class _Contents:
    """What the file says before its pages, and where those are."""

    kernel: Kernel = field(default_factory=Kernel)
    layout: PageLayout = field(default_factory=PageLayout)
    cpus: list[tuple[int, int, int]] = field(default_factory=list)
    """CPU, first byte and number of bytes of its pages."""
    options: list[tuple[int, bytes]] = field(default_factory=list)


class _Reader:
    """Reads forward through the header; TraceFormatError where it ends before what it announces."""

    def __init__(self, content: bytes | mmap.mmap, name: str) -> None:
        self.content, self.name, self.at = content, name, 0

    def take(self, size: int) -> bytes:
        if size > len(self.content) - self.at:
            raise TraceFormatError(f"{self.name}: the header of the trace-cmd file is cut at byte {self.at}")
        self.at += size
        return self.content[self.at - size : self.at]

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "little")

    def text(self, size: int) -> str:
        return self.take(size).decode(errors="replace")

    def word(self) -> str:
        end = self.content.find(b"\0", self.at, self.at + 256)
        if end < 0:
            raise TraceFormatError(f"{self.name}: no name where one should be, at byte {self.at}")
        return self.take(end + 1 - self.at)[:-1].decode(errors="replace")

    def expect(self, word: str) -> None:
        if (found := self.word()) != word:
            raise TraceFormatError(f"{self.name}: '{word}' should be at byte {self.at}, and is '{found[:40]}'")


class TraceCmd:
    """The format `trace-cmd`."""

    name = "trace-cmd"

    def recognise(self, head: bytes, name: str) -> bool:
        """Say whether the file begins with trace-cmd's magic."""
        return head.startswith(_MAGIC)

    def read(self, source: Source) -> Capture:
        """Return the capture. Raises TraceFormatError for other versions, byte orders and clocks that are no time."""
        with mapped(source) as content:
            facts = _facts(_contents(content, str(source.path), Losses()))
        if facts.get("clock") in _NO_TIME:
            raise TraceFormatError(
                f"{source.path}: the clock '{facts['clock']}' counts no nanoseconds", next_step="record with -C mono"
            )

        def read_events(losses: Losses) -> Iterator[pl.DataFrame]:
            with mapped(source) as content:
                found = _contents(content, str(source.path), losses)
                yield from merged(_streams(content, found, losses))

        return Capture(self.name, read_events=read_events, facts=facts)


def _contents(content: mmap.mmap, name: str, losses: Losses) -> _Contents:
    reader = _Reader(content, name)
    found = _Contents()
    page = _beginning(reader, found)
    reader.expect("header_page")
    header_page = event_formats.parse_fields(reader.text(reader.number(8)), losses)
    found.layout = ring_buffer.layout(header_page, page=page)
    reader.expect("header_event")
    reader.take(reader.number(8))
    for _ in range(reader.number(4)):
        found.kernel.add_formats(reader.text(reader.number(8)), losses)
    for _ in range(reader.number(4)):
        reader.word()
        for _ in range(reader.number(4)):
            found.kernel.add_formats(reader.text(reader.number(8)), losses)
    found.kernel.add_symbols(reader.text(reader.number(4)))
    reader.take(reader.number(4))
    found.kernel.add_comms(reader.text(reader.number(8)), losses)
    cpus = _cpus(reader)
    section = reader.word()
    if section.strip() == "options":
        found.options = list(_options(reader))
        section = reader.word()
    if section.strip() != "flyrecord":
        raise TraceFormatError(f"{name}: the trace-cmd file holds no pages but '{section.strip()[:40]}'")
    found.cpus = _places(reader, cpus)
    _add_buffers(reader, found, cpus)
    return found


def _beginning(reader: _Reader, found: _Contents) -> int:
    """Read what says how to read the rest; return the size of a page."""
    if reader.take(len(_MAGIC)) != _MAGIC:
        raise TraceFormatError(f"{reader.name}: no trace-cmd file")
    if (version := reader.word()) != "6":
        raise TraceFormatError(
            f"{reader.name}: a trace-cmd file of version {version[:8]}",
            next_step="trace-cmd convert --file-version 6 --compression none, or record with those",
        )
    if reader.number(1) != 0:
        raise TraceFormatError(f"{reader.name}: a trace of a big-endian machine")
    found.kernel.long_size, page = reader.number(1), reader.number(4)
    if found.kernel.long_size not in (4, 8) or page not in (1 << power for power in range(9, 17)):
        raise TraceFormatError(f"{reader.name}: a long of {found.kernel.long_size} bytes, pages of {page}")
    return page


def _cpus(reader: _Reader) -> int:
    cpus = reader.number(4)
    if not 0 < cpus <= _MOST_CPUS:
        raise TraceFormatError(f"{reader.name}: a trace of {cpus} CPUs")
    return cpus


def _options(reader: _Reader) -> Iterator[tuple[int, bytes]]:
    while number := reader.number(2):
        yield number, reader.take(reader.number(4))


def _places(reader: _Reader, cpus: int) -> list[tuple[int, int, int]]:
    return [(cpu, reader.number(8), reader.number(8)) for cpu in range(cpus)]


def _add_buffers(reader: _Reader, found: _Contents, cpus: int) -> None:
    """Add the pages of further buffers (`record -B`): the option says where their own `flyrecord` is."""
    for number, value in found.options:
        if number == _OPTION_CPUS and len(value) >= 4:
            cpus = min(int.from_bytes(value[:4], "little"), _MOST_CPUS)
        if number == _OPTION_BUFFER and len(value) >= 8:
            # The option of the first buffer, which has no name, is written by some versions, too.
            reader.at = int.from_bytes(value[:8], "little")
            if value[8:].strip(b"\0") and reader.at < len(reader.content):
                reader.expect("flyrecord")
                found.cpus.extend(_places(reader, cpus))


def _facts(found: _Contents) -> Mapping[str, str]:
    facts = {"tracer": "trace-cmd", "cpus": str(len({cpu for cpu, _, _ in found.cpus}))}
    for number, value in found.options:
        text = value.split(b"\0", 1)[0].decode(errors="replace")
        if number == _OPTION_CLOCK and (chosen := re.search(r"\[([\w-]+)\]", text)):
            facts["clock"] = chosen[1]
        elif number == _OPTION_UNAME:
            facts["host"] = text
    return facts


def _streams(content: mmap.mmap, found: _Contents, losses: Losses) -> Iterator[Iterator[pl.DataFrame]]:
    """Give a stream of events for each CPU that has pages."""
    filled = [one for one in found.cpus if one[2]]
    most = max(1, _MOST_BYTES // found.layout.size // max(1, len(filled))) * found.layout.size
    for cpu, begin, size in filled:
        end = min(begin + size, len(content))
        if begin + size > end:
            losses[CUT_PAGES] += begin + size - max(begin, end)
        yield _one_cpu(content, found, range(begin, end, most), cpu, losses)


def _one_cpu(content: mmap.mmap, found: _Contents, places: range, cpu: int, losses: Losses) -> Iterator[pl.DataFrame]:
    for at in places:
        data = content[at : min(at + places.step, places.stop)]
        records = ring_buffer.linux_records(data, cpu=cpu, layout=found.layout, losses=losses)
        yield events(records, found.kernel, losses)


FORMAT = TraceCmd()
