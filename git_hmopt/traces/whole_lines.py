# SPDX-License-Identifier: Apache-2.0
"""Cut a stream of text into lists of whole lines: fast, in bounded memory, whatever the bytes are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from git_hmopt.traces.capture import BATCH, Losses

PIECE = 8 << 20
LONGEST = 1 << 20
TOO_LONG = "line longer than 1 MiB"
NO_END = "last line without its end, kept as far as it goes"


def whole_lines(stream: BinaryIO, losses: Losses) -> Iterator[list[str]]:
    """Yield the lines in lists of at most 8 MiB, without their ends (LF or CR LF); bytes that are no UTF-8 as U+FFFD.

    A line longer than 1 MiB is dropped and counted, and never held in memory. A last line without its end is yielded
    and counted: nobody knows whether more would have followed.
    """
    rest, dropping = b"", False
    while piece := stream.read(PIECE):
        if dropping:
            end = piece.find(b"\n")
            if end < 0:
                continue
            piece, dropping = piece[end + 1 :], False
        whole, newline, tail = piece.rpartition(b"\n")
        if newline:
            yield from _split(rest + whole, losses)
            rest = tail
        else:
            rest += tail
        if len(rest) > LONGEST:
            losses[TOO_LONG] += 1
            rest, dropping = b"", True
    if rest:
        losses[NO_END] += 1
        yield from _split(rest, losses)


def _split(text: bytes, losses: Losses) -> Iterator[list[str]]:
    lines = text.decode(errors="replace").split("\n")
    if "\r" in lines[0][-1:] or "\r" in lines[-1][-1:]:
        lines = [line.removesuffix("\r") for line in lines]
    # A piece below the limit cannot hold a line above it, and most pieces of honest logs hold thousands of lines.
    if len(text) > LONGEST and max(map(len, lines)) > LONGEST:
        short = [line for line in lines if len(line) <= LONGEST]
        losses[TOO_LONG] += len(lines) - len(short)
        lines = short
    # A piece may be nothing but ends of lines.
    for first in range(0, len(lines), BATCH):
        yield lines[first : first + BATCH]
