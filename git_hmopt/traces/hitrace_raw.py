# SPDX-License-Identifier: Apache-2.0
"""Read hitrace's raw traces (`hitrace --raw`, `.sys`): the kernel's own pages beside what describes them.

    u16 magic 0xDF49 | u8 file type, 0 Linux, 1 HongMeng | pad | u16 version | pad | u32: bit 0 word size, 1..5 CPUs
    then segments: u8 type | 3 pad | u32 length | payload
      1 event formats  2 thread names  3 processes of threads  4..29 pages of CPU type - 4 (HongMeng: all in 4)
      30 header page  31 printk formats  32 kallsyms  33 base information

(OpenHarmony hiviewdfx_hitrace, trace_content.h.) The bit of the word size is that of the program that wrote the file,
which may have 32 bits under a kernel of 64: the header page tells the kernel's.
"""

from __future__ import annotations

import mmap
import struct
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

import polars as pl

from git_hmopt.traces import event_formats, ring_buffer
from git_hmopt.traces.capture import Capture, Losses
from git_hmopt.traces.kernel_events import Kernel, events, merged
from git_hmopt.traces.mapped import mapped
from git_hmopt.traces.ring_buffer import PAGE, PageLayout
from git_hmopt.traces.source import Source
from git_hmopt.traces.tables import TraceFormatError

CUT_SEGMENT = "segments cut by the end of the capture"
UNKNOWN_SEGMENT = "segments of a type that is not known"

_HEADER = struct.Struct("<HBxHxxI")
_SEGMENT = struct.Struct("<BxxxI")
_MAGIC = 0xDF49
_LINUX, _HONGMENG = 0, 1
_FORMATS, _COMMS, _TGIDS, _RAW, _LAST_RAW, _HEADER_PAGE, _SYMBOLS = 1, 2, 3, 4, 29, 30, 32
_NOT_NEEDED = (31, 33)
_MOST_BYTES = 4 << 20
"""Of pages that are decoded at once, of all CPUs."""


@dataclass
class _Contents:
    """What the segments say, and where the pages are."""

    kernel: Kernel = field(default_factory=Kernel)
    layout: PageLayout = field(default_factory=PageLayout)
    pages: list[tuple[int, int, int]] = field(default_factory=list)
    """Of each segment of pages its type, first byte and length."""


class HitraceRaw:
    """The format `hitrace-raw`."""

    name = "hitrace-raw"

    def recognise(self, head: bytes, name: str) -> bool:
        """Say whether the magic number and the file type are those of a raw trace."""
        return len(head) >= _HEADER.size and head[:2] == b"\x49\xdf" and head[2] in (_LINUX, _HONGMENG)

    def read(self, source: Source) -> Capture:
        """Return the capture. Raises TraceFormatError when the header is not one of a raw trace."""
        kind, words = _header(source.head(), source)

        def read_events(losses: Losses) -> Iterator[pl.DataFrame]:
            with mapped(source) as content:
                found = _contents(content, losses)
                yield from merged(_streams(content, found, is_hongmeng=kind == _HONGMENG, losses=losses))

        facts = {"kernel": "HongMeng" if kind == _HONGMENG else "Linux"}
        if cpus := words >> 1 & 0x1F:
            facts["cpus"] = str(cpus)
        return Capture(self.name, read_events=read_events, facts=facts)


def _header(head: bytes, source: Source) -> tuple[int, int]:
    if len(head) < _HEADER.size:
        raise TraceFormatError(f"{source.path}: a raw trace has a header of {_HEADER.size} bytes, this has {len(head)}")
    magic, kind, _, words = _HEADER.unpack_from(head)
    if magic != _MAGIC or kind not in (_LINUX, _HONGMENG):
        raise TraceFormatError(f"{source.path}: no raw trace of hitrace: magic 0x{magic:04x}, type {kind}")
    return kind, words


def _contents(content: mmap.mmap, losses: Losses) -> _Contents:
    """Read the segments but the pages; names and processes may stand behind those."""
    found = _Contents()
    at = _HEADER.size
    while at + _SEGMENT.size <= len(content):
        kind, length = _SEGMENT.unpack_from(content, at)
        at += _SEGMENT.size
        if length > len(content) - at:
            losses[CUT_SEGMENT] += 1
            length = len(content) - at
        if _RAW <= kind <= _LAST_RAW:
            found.pages.append((kind, at, length))
        else:
            _described(found, kind, content[at : at + length], losses)
        at += length
    return found


def _described(found: _Contents, kind: int, payload: bytes, losses: Losses) -> None:
    text = payload.decode(errors="replace")
    if kind == _FORMATS:
        found.kernel.add_formats(text, losses)
    elif kind == _COMMS:
        found.kernel.add_comms(text, losses)
    elif kind == _TGIDS:
        found.kernel.add_tgids(text, losses)
    elif kind == _SYMBOLS:
        found.kernel.add_symbols(text)
    elif kind == _HEADER_PAGE:
        found.layout = ring_buffer.layout(event_formats.parse_fields(text, losses), page=PAGE)
        found.kernel.long_size = found.layout.commit_size
    elif kind not in _NOT_NEEDED:
        losses[UNKNOWN_SEGMENT] += 1


def _streams(
    content: mmap.mmap, found: _Contents, *, is_hongmeng: bool, losses: Losses
) -> Iterator[Iterator[pl.DataFrame]]:
    """Give a stream of events for each CPU."""
    by_cpu: dict[int, list[int]] = defaultdict(list)
    for kind, begin, length in found.pages:
        whole = range(begin, begin + length - length % PAGE, PAGE)
        if length % PAGE:
            losses[ring_buffer.CUT_PAGE] += 1
        for at in whole:
            by_cpu[content[at + 16] if is_hongmeng else kind - _RAW].append(at)
    most = max(1, _MOST_BYTES // PAGE // max(1, len(by_cpu)))
    for cpu, places in sorted(by_cpu.items()):
        # A recording in pieces, or of CPUs that share a segment, has its pages in any order.
        places.sort(key=lambda at: int.from_bytes(content[at : at + 8], "little"))
        yield _one_cpu(content, found, places, cpu if not is_hongmeng else None, most, losses)


def _one_cpu(
    content: mmap.mmap,
    found: _Contents,
    places: list[int],
    cpu: int | None,
    most: int,
    losses: Losses,
) -> Iterator[pl.DataFrame]:
    for first in range(0, len(places), most):
        data = b"".join(content[at : at + PAGE] for at in places[first : first + most])
        if cpu is None:
            records = ring_buffer.hongmeng_records(data, losses=losses)
        else:
            records = ring_buffer.linux_records(data, cpu=cpu, layout=found.layout, losses=losses)
        yield events(records, found.kernel, losses)


FORMAT = HitraceRaw()
