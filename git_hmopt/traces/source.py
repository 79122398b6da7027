# SPDX-License-Identifier: Apache-2.0
"""A capture's bytes, whatever they are wrapped in: gzip, zlib or zip, also one in another; bounded, since wrappers lie.

A zip of several files is given as it is: a format may consist of them. SmartPerf puts a line of its own before a trace,
which is a wrapper, too. A wrapper that grows more than a thousandfold beyond its first 64 MiB is a bomb and not a
capture.
"""

from __future__ import annotations

import contextlib
import errno
import gzip
import io
import shutil
import struct
import tempfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Protocol, cast

from git_hmopt.errors import MeasurementError
from git_hmopt.traces.symbol_files import SymbolFiles
from git_hmopt.traces.tables import TraceFormatError

HEAD = 64 << 10
LONGEST_LINE = 4 << 20
TOO_LONG = "line of more than 4 MiB"
_MOST_WRAPPERS = 3
_MOST_GROWTH, _FREE = 1000, 64 << 20
_PIECE = 1 << 20
_MARK = b"MarkPositionJSON->"


class _Reads(Protocol):
    def read(self, size: int, /) -> bytes: ...


@dataclass(frozen=True)
class Source:
    """A file that holds a capture."""

    path: Path
    symbols: SymbolFiles | None = field(default_factory=SymbolFiles)
    """Where the symbols are that it has not itself; None when it alone counts."""

    @contextlib.contextmanager
    def open(self) -> Iterator[BinaryIO]:
        """Give the bytes from the start, unwrapped; to be read forward only.

        TraceFormatError when a wrapper is damaged or a bomb, while it is read; MeasurementError when the file cannot be
        read at all.
        """
        try:
            with self.path.open("rb") as raw:
                yield _unwrapped(raw, self.path)
        except OSError as error:
            raise MeasurementError(f"cannot read the capture {self.path}: {error.strerror or error}") from error

    def is_wrapped(self) -> bool:
        """Say whether the file's own bytes are not the capture's: those of one that is not can be mapped."""
        try:
            with self.path.open("rb") as raw:
                return _wrapper(raw.read(len(_MARK))) is not None
        except OSError as error:
            raise MeasurementError(f"cannot read the capture {self.path}: {error.strerror or error}") from error

    def head(self) -> bytes:
        """Return the first 64 KiB, unwrapped."""
        with self.open() as stream:
            pieces = b""
            while len(pieces) < HEAD and (piece := stream.read(HEAD - len(pieces))):
                pieces += piece
            return pieces


def read_at_most(stream: BinaryIO, most: int) -> bytes | None:
    """Return all that is left of a stream, None when that is more than `most` bytes; room is taken as it is needed."""
    pieces: list[bytes] = []
    while piece := stream.read(_PIECE):
        most -= len(piece)
        if most < 0:
            return None
        pieces.append(piece)
    return b"".join(pieces)


def lines_of(stream: BinaryIO, losses: Counter[str]) -> Iterator[bytes]:
    """Yield lines with their ends; of one that is longer than LONGEST_LINE nothing, and it is counted."""
    while line := stream.readline(LONGEST_LINE):
        if len(line) < LONGEST_LINE or line.endswith(b"\n"):
            yield line
            continue
        losses[TOO_LONG] += 1
        while line and not line.endswith(b"\n"):
            line = stream.readline(LONGEST_LINE)


def _wrapper(head: bytes) -> str | None:
    if head[:2] == b"\x1f\x8b":
        return "gzip"
    # RFC 1950: deflate with a window of 32 KiB, and a header whose check is right.
    if len(head) >= 2 and head[0] == 0x78 and (head[0] << 8 | head[1]) % 31 == 0:
        return "zlib"
    return "zip" if head[:4] == b"PK\x03\x04" else "mark" if head.startswith(_MARK) else None


def _unwrapped(raw: BinaryIO, path: Path) -> BinaryIO:
    stream: BinaryIO = raw
    for _ in range(_MOST_WRAPPERS):
        buffered = cast("io.BufferedReader", stream)  # what open() and the lines below give
        wrapper = _wrapper(buffered.peek(len(_MARK))[: len(_MARK)])
        if wrapper is None:
            return stream
        if wrapper == "mark":
            _drop_line(buffered, path)
            continue
        if wrapper == "zip":
            stream = stream if stream.seekable() else _on_disk(stream)
            if _files_of(stream, path) > 1:
                # A directory that was packed: for the formats that consist of several files.
                return stream
        stream = io.BufferedReader(_Bounded(_opened(wrapper, stream, path), path), _PIECE)
    raise TraceFormatError(f"{path}: more than {_MOST_WRAPPERS} wrappers, one in another")


def _on_disk(stream: BinaryIO) -> BinaryIO:
    """Return what is left of a stream as a file without a name: a zip is read from its end, and may be large."""
    file = tempfile.TemporaryFile()  # noqa: SIM115 # it is gone with the last who reads it
    shutil.copyfileobj(stream, file, _PIECE)
    file.seek(0)
    return cast("BinaryIO", file)


def _drop_line(stream: io.BufferedReader, path: Path) -> None:
    if not stream.readline(HEAD).endswith(b"\n"):
        raise TraceFormatError(f"{path}: the line of SmartPerf before the trace does not end")


def _opened(wrapper: str, stream: BinaryIO, path: Path) -> _Reads:
    if wrapper == "gzip":
        return gzip.GzipFile(fileobj=stream)
    if wrapper == "zlib":
        return _Zlib(stream)
    archive = zipfile.ZipFile(stream)
    try:
        return archive.open(next(one for one in archive.infolist() if _is_file(one)))
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError, ValueError, struct.error) as error:
        # Encrypted, or packed by a method that Python has not.
        raise TraceFormatError(f"{path}: a zip that cannot be unpacked: {error}") from error
    except OSError as error:
        # A member may be said to lie before the file.
        if error.errno != errno.EINVAL:
            raise
        raise TraceFormatError(f"{path}: a damaged zip: a member is not where its directory says") from error


def _files_of(stream: BinaryIO, path: Path) -> int:
    try:
        files = sum(_is_file(one) for one in zipfile.ZipFile(stream).infolist())
    except (zipfile.BadZipFile, ValueError, NotImplementedError, OverflowError, struct.error) as error:
        raise TraceFormatError(f"{path}: a damaged zip: {error}") from error
    if not files:
        raise TraceFormatError(f"{path}: a zip without a file")
    stream.seek(0)
    return files


def _is_file(member: zipfile.ZipInfo) -> bool:
    # ZipInfo.is_dir of Python 3.11 raises IndexError for a member without a name.
    return not member.filename.endswith("/")


class _Zlib:
    """A zlib stream, read forward."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._inflate = zlib.decompressobj()

    def read(self, size: int, /) -> bytes:
        """Return at most `size` bytes; none at the end."""
        while not self._inflate.eof:
            piece = self._inflate.unconsumed_tail or self._stream.read(_PIECE)
            if not piece:
                raise EOFError("compressed data ended before its end")
            if found := self._inflate.decompress(piece, size):
                return found
        return b""


class _Bounded(io.RawIOBase):
    """What a wrapper holds, until it turns out to be a bomb or damaged."""

    def __init__(self, inner: _Reads, path: Path) -> None:
        self._inner, self._path, self._seen = inner, path, 0
        self._most = _FREE + _MOST_GROWTH * path.stat().st_size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object, /) -> int:
        view = memoryview(cast("bytearray", buffer))
        try:
            data = self._inner.read(len(view))
        except (EOFError, zlib.error, gzip.BadGzipFile, zipfile.BadZipFile) as error:
            raise TraceFormatError(f"{self._path}: damaged after {self._seen} unwrapped bytes: {error}") from error
        self._seen += len(data)
        if self._seen > self._most:
            raise TraceFormatError(f"{self._path}: unwraps to more than {_MOST_GROWTH} times its size: a bomb")
        view[: len(data)] = data
        return len(data)
