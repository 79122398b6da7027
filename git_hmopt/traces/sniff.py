# SPDX-License-Identifier: Apache-2.0
"""Tell what a capture is by its content: our formats in order, then those of other packages.

Another package adds a format by an entry point of the group `git_hmopt.traces` that names a `Format`; ours come first,
so that none of them can be taken over.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from git_hmopt.traces.capture import Capture, Format
from git_hmopt.traces.registry import all_formats
from git_hmopt.traces.source import Source
from git_hmopt.traces.symbol_files import SymbolFiles
from git_hmopt.traces.tables import TraceFormatError

_SHOWN = 60
_MAGIC = {
    b"\x7fELF": "a program or library (ELF)",
    b"\x89PNG": "a picture (PNG)",
    b"%PDF": "a PDF",
    b"SQLite format 3": "an SQLite database",
    b"\x28\xb5\x2f\xfd": "data compressed with zstd, which is not unwrapped here",
    b"\xfd7zXZ": "data compressed with xz, which is not unwrapped here",
    b"BZh": "data compressed with bzip2, which is not unwrapped here",
    b"PK": "a zip",
    b"PERFILE2": "perf's own data file",
    b"2ELIFREP": "perf's own data file, of a big-endian machine",
    b"OHOSPROF": "a trace of hiprofiler",
    b"\x17\x08Dtracing": "a trace of trace-cmd",
    b"\x49\xdf": "a raw trace of hitrace",
}


def recognise(path: Path) -> tuple[Format, Source]:
    """Return the first format that a file looks like.

    Raises TraceFormatError, with what the file looks like and the formats that were tried, when there is none.
    """
    source = Source(path)
    return next(_candidates(source)), source


def open_capture(path: Path, symbols: SymbolFiles | None = None) -> Capture:
    """Return the capture in a file; a format that takes its word back leaves it to the next one."""
    source = Source(path, symbols or SymbolFiles())
    refused: list[TraceFormatError] = []
    for one in _candidates(source):
        try:
            return one.read(source)
        except TraceFormatError as error:
            refused.append(error)
    raise refused[0]


def _candidates(source: Source) -> Iterator[Format]:
    head = source.head()
    tried = []
    found = False
    for one in all_formats():
        tried.append(one.name)
        if one.recognise(head, source.path.name):
            found = True
            yield one
    if not found:
        raise TraceFormatError(
            f"{source.path}: {looks_like(head)}, and no capture that is known",
            next_step=f"these were tried: {', '.join(tried)}",
        )


def looks_like(head: bytes) -> str:
    """Return in words what a file that nothing recognises begins like."""
    if not head.strip():
        return "an empty file" if not head else "a file of blanks"
    for magic, words in _MAGIC.items():
        if head.startswith(magic):
            return words
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if start[:1] in (b"{", b"["):
        return f"JSON that begins '{_text(start)}'"
    if start[:1] == b"<":
        return f"XML or HTML that begins '{_text(start)}'"
    if any(byte < 9 or 13 < byte < 32 for byte in head[:1024]) or not start:
        return f"binary data that begin with the bytes {head[:8].hex(' ')}"
    return f"text whose first line is '{_text(start)}'"


def _text(start: bytes) -> str:
    line = start.splitlines()[0].decode(errors="replace")
    return line if len(line) <= _SHOWN else f"{line[:_SHOWN]}..."
