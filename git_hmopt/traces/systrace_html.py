# SPDX-License-Identifier: Apache-2.0
"""Read systrace's HTML: the ftrace text that stands in a script of the page.

Since 2014 that is `<script class="trace-data" type="application/text">`, several of them at times (Catapult,
systrace/update_systrace_trace_viewer.py); before, the string `var linuxPerfData = "...";`, each of its lines ended by
an escaped line end and a continuation.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from typing import BinaryIO, cast

import polars as pl

from git_hmopt.traces.capture import Capture, Losses
from git_hmopt.traces.ftrace_text import read_text
from git_hmopt.traces.source import Source
from git_hmopt.traces.tables import TraceFormatError

_PAGE = re.compile(rb"\s*(?:<!DOCTYPE\s+html|<html)", re.IGNORECASE)
_VIEWER = re.compile(
    rb"trace-data|linuxPerfData|System Trace|systrace|trace-viewer|trace_viewer|catapult", re.IGNORECASE
)
_OPENING = re.compile(
    rb"""<script(?=[^>]{0,200}class=["']?trace-data)[^>]{0,200}>|(?P<old>linuxPerfData\s{0,8}=\s{0,8}")"""
)
_CLOSING = re.compile(rb"</script>", re.IGNORECASE)
_QUOTE = re.compile(rb'(?<!\\)"')
_PIECE = 1 << 20
_OVERLAP = 512
"""Bytes in which an opening or closing may be cut in two."""


def script_texts(stream: BinaryIO) -> Iterator[bytes]:
    """Yield the bytes of the page's traces, piece by piece; a page that ends in one ends it."""
    rest, closing = b"", None
    while piece := stream.read(_PIECE):
        rest += piece
        while True:
            pattern = _OPENING if closing is None else closing
            found = pattern.search(rest)
            if found is None:
                break
            if closing is None:
                closing = _QUOTE if found["old"] else _CLOSING
            else:
                yield _unescaped(rest[: found.start()], closing) + b"\n"
                closing = None
            rest = rest[found.end() :]
        keep = max(len(rest) - _OVERLAP, 0)
        if closing is not None and keep:
            # An escape is not cut from what it escapes.
            keep -= rest[keep - 1 : keep] == b"\\"
            yield _unescaped(rest[:keep], closing)
        rest = rest[keep:]
    if closing is not None:
        yield _unescaped(rest, closing)


def _unescaped(text: bytes, closing: re.Pattern[bytes]) -> bytes:
    return text.replace(b'\\"', b'"') if closing is _QUOTE else text


class _Pieces(io.RawIOBase):
    """Pieces as a stream."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces, self._rest = pieces, b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object, /) -> int:
        view = memoryview(cast("bytearray", buffer))
        while not self._rest:
            following = next(self._pieces, None)
            if following is None:
                return 0
            self._rest = following
        size = min(len(view), len(self._rest))
        view[:size], self._rest = self._rest[:size], self._rest[size:]
        return size


class SystraceHtml:
    """A page of systrace, or of another program that embeds its trace alike."""

    name = "systrace-html"

    def recognise(self, head: bytes, name: str) -> bool:
        """Say whether this is a page that speaks of a trace viewer; the trace stands megabytes below."""
        return bool(_PAGE.match(head[:1024]) and _VIEWER.search(head))

    def read(self, source: Source) -> Capture:
        """Return the capture. Raises TraceFormatError when the page holds no trace."""
        with source.open() as stream:
            if next(script_texts(stream), None) is None:
                raise TraceFormatError(
                    f"{source.path}: this page has no script with a trace in it",
                    next_step="give the page as systrace wrote it",
                )

        def events(losses: Losses) -> Iterator[pl.DataFrame]:
            with source.open() as stream:
                yield from read_text(cast("BinaryIO", io.BufferedReader(_Pieces(script_texts(stream)))), losses)

        return Capture(self.name, read_events=events)


FORMAT = SystraceHtml()
