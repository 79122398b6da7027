# SPDX-License-Identifier: Apache-2.0
"""Unpack what trace-cmd's files of version 7 hold compressed: with zlib or zstd, bounded, since sizes lie."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import zstandard

from git_hmopt.traces.tables import TraceFormatError

ALGORITHMS = ("none", "zlib", "zstd")
MOST_AT_ONCE = 64 << 20
_MOST_GROWTH, _FREE = 1000, 64 << 20
_MOST_WINDOW = 128 << 20


class PackError(ValueError):
    """The bytes are not compressed as the file says."""


@dataclass
class Unpacker:
    """Unpacks the pieces of one file, until they come to more than a thousand times its size."""

    algorithm: str
    file: str
    size: int
    """Bytes of the file."""
    seen: int = 0

    def unpack(self, packed: bytes, size: int) -> bytes:
        """Return at most `size` bytes. Raises PackError when they are damaged, TraceFormatError when it is a bomb."""
        if size > MOST_AT_ONCE:
            raise PackError(f"{size} bytes at once")
        try:
            data = self._unpacked(packed, size)
        except (zlib.error, zstandard.ZstdError, MemoryError) as error:
            raise PackError(str(error)) from error
        self.seen += len(data)
        if self.seen > _FREE + _MOST_GROWTH * self.size:
            raise TraceFormatError(f"{self.file}: unpacks to more than {_MOST_GROWTH} times its size: a bomb")
        return data

    def _unpacked(self, packed: bytes, size: int) -> bytes:
        if not size:
            return b""
        if self.algorithm == "zstd":
            with zstandard.ZstdDecompressor(max_window_size=_MOST_WINDOW).stream_reader(packed) as stream:
                return stream.read(size)
        return zlib.decompressobj().decompress(packed, size)
