# SPDX-License-Identifier: Apache-2.0
r"""Read what trace-cmd's files say before their pages: the events, threads and symbols of the kernel, and the places.

    17 08 44 "tracing" | version\0 | u8 big-endian | u8 size of a long | u32 size of a page

Version 6 goes on:

    "header_page\0" u64 size, text | "header_event\0" u64 size, text
    u32 formats of ftrace's own events { u64 size, text } | u32 systems { name\0, u32 events { u64 size, text } }
    u32 size, kallsyms | u32 size, printk formats | u64 size, thread names | u32 CPUs
    "options  \0" { u16 id (0 ends), u32 size, value } | "flyrecord\0" CPUs times { u64 offset, u64 size }

Version 7 has the same texts in sections, whose places options tell:

    compression\0 | its version\0 | u64 offset of the first section of options
    a section: u16 id | u16 flags, bit 0 compressed | u32 description | u64 size | that, or u32 packed, u32 size, packed
    an option of pages: u64 offset | name\0 | clock\0 | u32 page | u32 CPUs { u32 CPU, u64 offset, u64 size }
    the last option: u64 offset of further options

A description is a place in the section of strings, and says in words what the id says already.

(trace-cmd, Documentation/trace-cmd/trace-cmd.dat.v6.5.txt and trace-cmd.dat.v7.5.txt.)
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from dataclasses import dataclass, field

from git_hmopt.traces import event_formats, ring_buffer
from git_hmopt.traces.capture import Losses
from git_hmopt.traces.kernel_events import Kernel
from git_hmopt.traces.ring_buffer import PageLayout
from git_hmopt.traces.tables import TraceFormatError
from git_hmopt.traces.trace_cmd_packed import ALGORITHMS, MOST_AT_ONCE, PackError, Unpacker

MAGIC = b"\x17\x08\x44tracing"
SHARED_PAGES = "CPUs whose pages are those of another, too"
_OPTION_BUFFER, _OPTION_CPUS = 3, 8
_HEADER, _FTRACE, _EVENTS, _SYMBOLS, _COMMS = 16, 17, 18, 19, 21
_MOST_CPUS = 4096
_MOST_OPTIONS = 100_000
_MOST_EVENTS = 1 << 16
"""Events have numbers of 16 bits."""


@dataclass(frozen=True)
class CpuPages:
    """Where the pages of one CPU are."""

    cpu: int
    begin: int
    size: int
    page: int
    """Bytes of a page."""
    is_compressed: bool = False


@dataclass
class Contents:
    """What a file says before its pages."""

    kernel: Kernel = field(default_factory=Kernel)
    layout: PageLayout = field(default_factory=PageLayout)
    cpus: list[CpuPages] = field(default_factory=list)
    options: list[tuple[int, bytes]] = field(default_factory=list)
    clock: str = ""
    """Of version 7, whose option of pages names it."""
    unpacker: Unpacker | None = None
    """Of version 7, for what is compressed."""


class _Reader:
    """Reads forward; TraceFormatError where the file ends before what it announces."""

    def __init__(self, content: bytes | mmap.mmap, name: str, at: int = 0) -> None:
        self.content, self.name, self.at = content, name, at

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


def contents(content: mmap.mmap, name: str, losses: Losses) -> Contents:
    """Read everything but the pages. Raises TraceFormatError where it makes no sense."""
    reader = _Reader(content, name)
    found = Contents()
    if reader.take(len(MAGIC)) != MAGIC:
        raise TraceFormatError(f"{name}: no trace-cmd file")
    version = reader.word()
    if version not in ("6", "7"):
        raise TraceFormatError(f"{name}: a trace-cmd file of version {version[:8]}")
    if reader.number(1) != 0:
        raise TraceFormatError(f"{name}: a trace of a big-endian machine")
    found.kernel.long_size, page = reader.number(1), _page(reader)
    if found.kernel.long_size not in (4, 8):
        raise TraceFormatError(f"{name}: a long of {found.kernel.long_size} bytes")
    found.layout = PageLayout(size=page)
    if version == "6":
        _read_version_6(reader, found, losses)
    else:
        _read_version_7(reader, found, losses)
    found.cpus = list(_apart(found.cpus, losses))
    return found


def _apart(cpus: list[CpuPages], losses: Losses) -> Iterator[CpuPages]:
    """Yield the CPUs that have pages; of two that claim the same bytes the one that begins first."""
    end = 0
    for one in sorted(cpus, key=lambda one: (one.begin, one.cpu)):
        if one.size and one.begin < end:
            losses[SHARED_PAGES] += 1
        elif one.size:
            end = one.begin + one.size
            yield one


def _page(reader: _Reader) -> int:
    page = reader.number(4)
    if page not in (1 << power for power in range(9, 17)):
        raise TraceFormatError(f"{reader.name}: pages of {page} bytes")
    return page


def _read_version_6(reader: _Reader, found: Contents, losses: Losses) -> None:
    _read_header(reader, found, losses)
    _read_ftrace(reader, found, losses)
    _read_events(reader, found, losses)
    found.kernel.add_symbols(reader.text(reader.number(4)))
    reader.take(reader.number(4))
    found.kernel.add_comms(reader.text(reader.number(8)), losses)
    cpus = _cpus(reader)
    section = reader.word()
    if section.strip() == "options":
        found.options = list(_options(reader))
        section = reader.word()
    if section.strip() != "flyrecord":
        raise TraceFormatError(f"{reader.name}: the trace-cmd file holds no pages but '{section.strip()[:40]}'")
    found.cpus = _places(reader, cpus, found.layout.size)
    _add_buffers(reader, found, cpus)


def _read_header(reader: _Reader, found: Contents, losses: Losses) -> None:
    reader.expect("header_page")
    header_page = event_formats.parse_fields(reader.text(reader.number(8)), losses)
    found.layout = ring_buffer.layout(header_page, page=found.layout.size)
    reader.expect("header_event")
    reader.take(reader.number(8))


def _read_ftrace(reader: _Reader, found: Contents, losses: Losses) -> None:
    for _ in range(_count(reader, "events")):
        found.kernel.add_formats(reader.text(reader.number(8)), losses)


def _count(reader: _Reader, what: str) -> int:
    count = reader.number(4)
    if count > _MOST_EVENTS:
        raise TraceFormatError(f"{reader.name}: a trace of {count} {what}")
    return count


def _read_events(reader: _Reader, found: Contents, losses: Losses) -> None:
    for _ in range(_count(reader, "systems of events")):
        reader.word()
        _read_ftrace(reader, found, losses)


def _cpus(reader: _Reader) -> int:
    cpus = reader.number(4)
    if not 0 < cpus <= _MOST_CPUS:
        raise TraceFormatError(f"{reader.name}: a trace of {cpus} CPUs")
    return cpus


def _options(reader: _Reader) -> Iterator[tuple[int, bytes]]:
    while number := reader.number(2):
        yield number, reader.take(reader.number(4))


def _places(reader: _Reader, cpus: int, page: int) -> list[CpuPages]:
    return [CpuPages(cpu, reader.number(8), reader.number(8), page) for cpu in range(cpus)]


def _add_buffers(reader: _Reader, found: Contents, cpus: int) -> None:
    """Add the pages of further buffers (`record -B`): the option says where their own `flyrecord` is."""
    for number, value in found.options:
        if number == _OPTION_CPUS and len(value) >= 4:
            cpus = min(int.from_bytes(value[:4], "little"), _MOST_CPUS)
        if number == _OPTION_BUFFER and len(value) >= 8:
            # The option of the first buffer, which has no name, is written by some versions, too.
            reader.at = int.from_bytes(value[:8], "little")
            if value[8:].strip(b"\0") and reader.at < len(reader.content):
                reader.expect("flyrecord")
                _check_number(reader, found)
                found.cpus.extend(_places(reader, cpus, found.layout.size))


def _check_number(reader: _Reader, found: Contents) -> None:
    if len(found.cpus) > 8 * _MOST_CPUS:
        raise TraceFormatError(f"{reader.name}: more than {len(found.cpus)} CPUs in all buffers together")


def _read_version_7(reader: _Reader, found: Contents, losses: Losses) -> None:
    compression = reader.word()
    reader.word()
    if compression not in ALGORITHMS:
        raise TraceFormatError(
            f"{reader.name}: compressed with {compression[:16]}, which is not read here",
            next_step="record with --compression none, or: trace-cmd convert --compression none -i FILE -o OTHER",
        )
    found.unpacker = Unpacker(compression, reader.name, len(reader.content))
    found.options = list(_chained(reader, found.unpacker))
    read: set[int] = set()
    for number, value in found.options:
        # There is one section of each kind but of pages; more would be the same bytes over and over.
        if number == _OPTION_BUFFER or number not in read:
            _read_option(reader, number, value, found, losses)
        read.add(number)


def _chained(reader: _Reader, unpacker: Unpacker) -> Iterator[tuple[int, bytes]]:
    """Yield the options of all sections of them; the last of each tells where the next section is."""
    seen: set[int] = set()
    count = 0
    place = reader.number(8)
    while place and place not in seen:
        seen.add(place)
        section = _section(reader, place, unpacker)
        place = 0
        while section.at < len(section.content):
            number, value = section.number(2), section.take(section.number(4))
            count += 1
            if count > _MOST_OPTIONS:
                raise TraceFormatError(f"{reader.name}: more than {_MOST_OPTIONS} options")
            if number == 0:
                place = int.from_bytes(value[:8], "little")
                break
            yield number, value


def _read_option(reader: _Reader, number: int, value: bytes, found: Contents, losses: Losses) -> None:
    if number == _OPTION_BUFFER:
        _read_buffer(reader, _Reader(value, reader.name), found)
    elif number in (_HEADER, _FTRACE, _EVENTS, _SYMBOLS, _COMMS) and len(value) >= 8:
        assert found.unpacker is not None
        section = _section(reader, int.from_bytes(value[:8], "little"), found.unpacker)
        if number == _HEADER:
            _read_header(section, found, losses)
        elif number == _FTRACE:
            _read_ftrace(section, found, losses)
        elif number == _EVENTS:
            _read_events(section, found, losses)
        elif number == _SYMBOLS:
            found.kernel.add_symbols(section.text(section.number(4)))
        else:
            found.kernel.add_comms(section.text(section.number(8)), losses)


def _read_buffer(reader: _Reader, option: _Reader, found: Contents) -> None:
    header = _Reader(reader.content, reader.name, option.number(8))
    header.take(2)
    is_compressed = bool(header.number(2) & 1)
    option.word()
    clock = option.word()
    found.clock = found.clock or clock
    page = _page(option)
    _check_number(reader, found)
    for _ in range(min(option.number(4), _MOST_CPUS)):
        cpu, begin, size = option.number(4), option.number(8), option.number(8)
        found.cpus.append(CpuPages(cpu & 0x7FFF, begin, size, page, is_compressed))


def _section(reader: _Reader, place: int, unpacker: Unpacker) -> _Reader:
    """Return a reader of what a section holds."""
    header = _Reader(reader.content, reader.name, place)
    header.take(2)
    is_compressed = bool(header.number(2) & 1)
    header.take(4)
    size = header.number(8)
    if not is_compressed:
        return _Reader(header.take(size), reader.name)
    packed, size = header.number(4), header.number(4)
    if size > MOST_AT_ONCE:
        raise TraceFormatError(f"{reader.name}: a section that unpacks from {packed} to {size} bytes")
    try:
        return _Reader(unpacker.unpack(header.take(packed), size), reader.name)
    except PackError as error:
        raise TraceFormatError(f"{reader.name}: a damaged section at byte {place}: {error}") from error
