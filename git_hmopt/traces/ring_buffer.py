# SPDX-License-Identifier: Apache-2.0
"""Find the records in the pages of trace ring buffers, of many pages at once: Linux's pages and HongMeng's.

A Linux page (kernel/trace/ring_buffer.c; tracefs `events/header_page` and `header_event`):

    u64 timestamp | long commit: length, bit 31 events were lost before, bit 30 their number follows the data | data
    a record: u32 type_len:5, time_delta:27
      1..28  data of 4 * type_len bytes     0  u32 length, with itself, then the data
      29 padding, of u32 length; time_delta 0 ends the page
      30 time extend: u32, time += time_delta + (u32 << 27)     31 time stamp: time = time_delta + (u32 << 27)

A HongMeng page: u64 timestamp | u64 length | u8 cpu | entries from byte 17: u32 time since the page's | u16 size |
data, padded to 4; an entry of size 0 ends it.

The walk goes through all pages in step: record number n of each page is found for all of them by one column operation.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from git_hmopt.traces.event_formats import Field

PAGE = 4096
LOST_RECORDS = "records that the kernel says it lost"
LOST_UNCOUNTED = "times that the kernel says it lost records, without their number"
LONG_PAGE = "pages whose length is more than they have"
CUT_RECORD = "records cut by the end of their page"
CUT_PAGE = "pages cut by the end of the capture"
BAD_TIME = "records whose time is beyond 63 bits"

_PADDING, _TIME_EXTEND, _TIME_STAMP = 29, 30, 31
_LENGTH = (1 << 27) - 1
_MISSED, _STORED = 1 << 31, 1 << 30
_MOST_LOST, _MOST_TIME = (1 << 40) - 1, (1 << 63) - 1
_TOP_BITS = np.uint64(0x1F << 59)
"""An absolute time stamp has 59 bits; the upper ones are those of the time before."""
_HM_HEADER, _HM_ENTRY = 17, 6


@dataclass(frozen=True)
class PageLayout:
    """Where things lie in a Linux page; it differs between kernels of 32 and 64 bits."""

    size: int = PAGE
    commit_size: int = 8
    data: int = 16


def layout(header_page: Mapping[str, Field], *, page: int) -> PageLayout:
    """Return the layout that tracefs `events/header_page` describes, that of 64 bits where it does not make sense."""
    commit, data = header_page.get("commit"), header_page.get("data")
    if commit is None or data is None or (commit.offset, commit.size, data.offset) not in ((8, 4, 12), (8, 8, 16)):
        return PageLayout(size=page)
    return PageLayout(size=page, commit_size=commit.size, data=data.offset)


@dataclass(frozen=True)
class Records:
    """Records in `content`, page by page and in the order of the page: time, first byte, size in bytes, CPU."""

    content: npt.NDArray[np.uint8]
    ts: npt.NDArray[np.int64]
    begin: npt.NDArray[np.int64]
    size: npt.NDArray[np.int64]
    cpu: npt.NDArray[np.int16]
    lost: tuple[tuple[int, int, int | None], ...] = ()
    """Where the kernel says that it lost records: time, CPU, and their number where it is told."""

    def __len__(self) -> int:
        return len(self.ts)


@dataclass
class _Found:
    """Columns of the records, as many pieces as the longest page has records."""

    ts: list[npt.NDArray[np.uint64]]
    begin: list[npt.NDArray[np.int64]]
    size: list[npt.NDArray[np.int64]]
    page: list[npt.NDArray[np.int64]]

    def records(
        self,
        content: npt.NDArray[np.uint8],
        cpus: npt.NDArray[np.int16],
        losses: Counter[str],
        lost: tuple[tuple[int, int, int | None], ...] = (),
    ) -> Records:
        ts = np.concatenate([np.empty(0, np.uint64), *self.ts])
        begin = np.concatenate([np.empty(0, np.int64), *self.begin])
        size = np.concatenate([np.empty(0, np.int64), *self.size])
        page = np.concatenate([np.empty(0, np.int64), *self.page])
        order = np.argsort(begin, kind="stable")
        bad = ts[order] >> np.uint64(63) != 0
        if bad.any():
            losses[BAD_TIME] += int(bad.sum())
            order = order[~bad]
        return Records(content, ts[order].astype(np.int64), begin[order], size[order], cpus[page[order]], lost)


def _whole_pages(data: bytes | memoryview, size: int, losses: Counter[str]) -> npt.NDArray[np.uint8]:
    """Return a copy of the pages, at addresses where words can be read, without the last when it was cut."""
    whole = len(data) - len(data) % size
    if whole != len(data):
        losses[CUT_PAGE] += 1
    content = np.zeros(whole, dtype=np.uint8)
    content[:] = np.frombuffer(data, dtype=np.uint8, count=whole)
    return content


def linux_records(data: bytes | memoryview, *, cpu: int, layout: PageLayout, losses: Counter[str]) -> Records:
    """Return the records of a CPU's pages."""
    content = _whole_pages(data, layout.size, losses)
    pages = len(content) // layout.size
    starts = np.arange(pages, dtype=np.int64) * layout.size
    words = content.view("<u4")
    commit = words[(starts + 8) // 4].astype(np.int64)
    length, room = commit & _LENGTH, layout.size - layout.data
    too_long = length > room
    if too_long.any():
        losses[LONG_PAGE] += int(too_long.sum())
        length = np.minimum(length, room)
    times = content.view("<u8")[starts // 8].astype(np.uint64)
    at = starts + layout.data
    ends = at + length
    lost = []
    for page in np.flatnonzero(commit & _MISSED).tolist():
        number = None
        if commit[page] & _STORED and length[page] + layout.commit_size <= room:
            stored = content[ends[page] : ends[page] + layout.commit_size]
            number = int.from_bytes(stored.tobytes(), "little") & _MOST_LOST
        lost.append((int(times[page]) & _MOST_TIME, cpu, number))
    _count(lost, losses)
    found = _walk_linux(words, times, at, at + (length & ~3), losses)
    return found.records(content, np.full(pages, cpu, dtype=np.int16), losses, tuple(lost))


def _count(lost: list[tuple[int, int, int | None]], losses: Counter[str]) -> None:
    for _, _, number in lost:
        if number is None:
            losses[LOST_UNCOUNTED] += 1
        else:
            losses[LOST_RECORDS] += number


def _walk_linux(
    words: npt.NDArray[np.uint32],
    times: npt.NDArray[np.uint64],
    at: npt.NDArray[np.int64],
    end: npt.NDArray[np.int64],
    losses: Counter[str],
) -> _Found:
    """Step through all pages together until the last of them has ended."""
    found = _Found([], [], [], [])
    page = np.flatnonzero(at < end)
    times, at = times.copy(), at.copy()
    with np.errstate(over="ignore"):
        while len(page):
            here, stop = at[page], end[page]
            word = words[here >> 2]
            kind, delta = (word & 31).astype(np.int64), (word >> np.uint32(5)).astype(np.uint64)
            # The word after the header; of a record that ends the page there is none, and it is not used.
            second = words[np.minimum((here >> 2) + 1, len(words) - 1)].astype(np.int64)
            total = _total_size(kind, second)
            ends = (kind == _PADDING) & (delta == 0)
            cut = ~ends & ((total < 4) | (here + total > stop))
            if cut.any():
                losses[CUT_RECORD] += int(cut.sum())
            goes_on = ~(ends | cut)
            page, here, kind, delta = page[goes_on], here[goes_on], kind[goes_on], delta[goes_on]
            second, total = second[goes_on], total[goes_on]
            times[page] = now = _time(times[page], kind, delta, second.astype(np.uint64))
            data = kind < _PADDING
            header = np.where(kind == 0, 8, 4)
            found.ts.append(now[data])
            found.begin.append((here + header)[data])
            found.size.append((total - header)[data])
            found.page.append(page[data])
            at[page] = here + total
            page = page[at[page] < end[page]]
    return found


def _total_size(kind: npt.NDArray[np.int64], second: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return the bytes of each record with its header; 0 for a length that cannot be."""
    total = 4 + 4 * kind
    long = (kind == 0) | (kind == _PADDING)
    total = np.where(long, np.where((second >= 4) & (second <= _LENGTH), (second + 7) & ~3, 0), total)
    return np.where(kind > _PADDING, 8, total)


def _time(
    before: npt.NDArray[np.uint64],
    kind: npt.NDArray[np.int64],
    delta: npt.NDArray[np.uint64],
    second: npt.NDArray[np.uint64],
) -> npt.NDArray[np.uint64]:
    extended = delta + (second << np.uint64(27))
    absolute = extended | (before & _TOP_BITS)
    return np.where(kind == _TIME_STAMP, absolute, before + np.where(kind == _TIME_EXTEND, extended, delta))


def hongmeng_records(data: bytes | memoryview, *, losses: Counter[str]) -> Records:
    """Return the records of HongMeng pages, of whatever CPUs; each page says its own."""
    content = _whole_pages(data, PAGE, losses)
    pages = len(content) // PAGE
    starts = np.arange(pages, dtype=np.int64) * PAGE
    times = content.view("<u8")[starts // 8].astype(np.uint64)
    cpus = content[starts + 16].astype(np.int16) if pages else np.empty(0, np.int16)
    found = _walk_hongmeng(content, times, starts, losses)
    return found.records(content, cpus, losses)


def _walk_hongmeng(
    content: npt.NDArray[np.uint8],
    times: npt.NDArray[np.uint64],
    starts: npt.NDArray[np.int64],
    losses: Counter[str],
) -> _Found:
    found = _Found([], [], [], [])
    at, end = starts + _HM_HEADER, starts + PAGE
    page = np.arange(len(starts), dtype=np.int64)
    with np.errstate(over="ignore"):
        while len(page):
            here = at[page]
            header = np.ascontiguousarray(content[here[:, None] + np.arange(_HM_ENTRY)])
            since = np.ascontiguousarray(header[:, :4]).view("<u4").ravel().astype(np.uint64)
            size = np.ascontiguousarray(header[:, 4:]).view("<u2").ravel().astype(np.int64)
            cut = (size > 0) & (here + _HM_ENTRY + size > end[page])
            if cut.any():
                losses[CUT_RECORD] += int(cut.sum())
            goes_on = (size > 0) & ~cut
            page, here, since, size = page[goes_on], here[goes_on], since[goes_on], size[goes_on]
            found.ts.append(times[page] + since)
            found.begin.append(here + _HM_ENTRY)
            found.size.append(size)
            found.page.append(page)
            at[page] = here + _HM_ENTRY + ((size + 3) & ~3)
            page = page[at[page] + _HM_ENTRY <= end[page]]
    return found
