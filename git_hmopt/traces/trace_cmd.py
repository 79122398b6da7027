# SPDX-License-Identifier: Apache-2.0
"""Read trace-cmd's files: the pages of each CPU become events, by what the file's header describes."""

from __future__ import annotations

import mmap
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace

import polars as pl

from git_hmopt.traces import ring_buffer
from git_hmopt.traces.capture import Capture, Losses
from git_hmopt.traces.kernel_events import events, merged
from git_hmopt.traces.mapped import mapped
from git_hmopt.traces.source import Source
from git_hmopt.traces.tables import TraceFormatError
from git_hmopt.traces.trace_cmd_header import MAGIC, Contents, CpuPages, contents
from git_hmopt.traces.trace_cmd_packed import PackError, Unpacker

CUT_PAGES = "bytes of pages that lie beyond the end of the capture"
BAD_CHUNK = "chunks of compressed pages that are damaged"

_OPTION_CLOCK, _OPTION_UNAME = 4, 5
_NO_TIME = ("counter", "x86-tsc")
_MOST_BYTES = 4 << 20
"""Of pages that are decoded at once, of all CPUs."""


class TraceCmd:
    """The format `trace-cmd`."""

    name = "trace-cmd"

    def recognise(self, head: bytes, name: str) -> bool:
        """Say whether the file begins with trace-cmd's magic."""
        return head.startswith(MAGIC)

    def read(self, source: Source) -> Capture:
        """Return the capture. Raises TraceFormatError for unknown versions, byte orders and clocks that are no time."""
        with mapped(source) as content:
            facts = _facts(contents(content, str(source.path), Losses()))
        if facts.get("clock") in _NO_TIME:
            raise TraceFormatError(
                f"{source.path}: the clock '{facts['clock']}' counts no nanoseconds", next_step="record with -C mono"
            )

        def read_events(losses: Losses) -> Iterator[pl.DataFrame]:
            with mapped(source) as content:
                found = contents(content, str(source.path), losses)
                yield from merged(_streams(content, found, losses))

        return Capture(self.name, read_events=read_events, facts=facts)


def _facts(found: Contents) -> Mapping[str, str]:
    facts = {"tracer": "trace-cmd", "cpus": str(len({one.cpu for one in found.cpus}))}
    if found.clock:
        facts["clock"] = found.clock
    for number, value in found.options:
        text = value.split(b"\0", 1)[0].decode(errors="replace")
        if number == _OPTION_CLOCK and (chosen := re.search(r"\[([\w-]+)\]", text)):
            facts["clock"] = chosen[1]
        elif number == _OPTION_UNAME:
            facts["host"] = text
    return facts


def _streams(content: mmap.mmap, found: Contents, losses: Losses) -> Iterator[Iterator[pl.DataFrame]]:
    """Give a stream of events for each CPU that has pages."""
    for one in found.cpus:
        end = min(one.begin + one.size, len(content))
        if one.begin + one.size > end:
            losses[CUT_PAGES] += one.begin + one.size - max(one.begin, end)
        most = max(1, _MOST_BYTES // one.page // len(found.cpus)) * one.page
        yield _one_cpu(content, found, replace(one, size=max(0, end - one.begin)), most, losses)


def _one_cpu(content: mmap.mmap, found: Contents, one: CpuPages, most: int, losses: Losses) -> Iterator[pl.DataFrame]:
    layout = replace(found.layout, size=one.page)
    if one.is_compressed and found.unpacker is not None:
        pieces = _chunks(content, one, found.unpacker, losses)
    else:
        pieces = _slices(content, one, most)
    for data in pieces:
        records = ring_buffer.linux_records(data, cpu=one.cpu, layout=layout, losses=losses)
        yield events(records, found.kernel, losses)


def _slices(content: mmap.mmap, one: CpuPages, most: int) -> Iterator[bytes]:
    end = one.begin + one.size
    for at in range(one.begin, end, most):
        yield content[at : min(at + most, end)]


def _chunks(content: mmap.mmap, one: CpuPages, unpacker: Unpacker, losses: Losses) -> Iterator[bytes]:
    """Yield pages that were compressed some at a time: u32 chunks { u32 size compressed, u32 size, bytes }."""
    # trace-cmd does not count the number of chunks into the size of what it counts.
    at, end = one.begin, min(one.begin + one.size + 4, len(content))
    count = int.from_bytes(content[at : at + 4], "little")
    at += 4
    for _ in range(count):
        compressed, size = (int.from_bytes(content[place : place + 4], "little") for place in (at, at + 4))
        at += 8
        if at + compressed > end:
            losses[BAD_CHUNK] += 1
            return
        try:
            yield unpacker.unpack(content[at : at + compressed], size)
        except PackError:
            losses[BAD_CHUNK] += 1
        at += compressed


FORMAT = TraceCmd()
