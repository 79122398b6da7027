# SPDX-License-Identifier: Apache-2.0
"""Read a capture whole, whatever its bytes: a result with its losses, or one TraceFormatError; never anything else.

As a program, `python corpus_reading.py MIB`, it reads the whole corpus with that much memory more than it has.
"""

from __future__ import annotations

import gzip
import io
import resource
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

from git_hmopt.traces.capture import EVENTS, Capture, Losses
from git_hmopt.traces.formats import FORMATS
from git_hmopt.traces.sniff import open_capture
from git_hmopt.traces.source import Source
from git_hmopt.traces.tables import Samples, TraceFormatError

CORPUS = Path(__file__).parent / "corpus"
OTHERS = ("sniff", "wrappers")
"""Directories of the corpus that are no format's: what is in them is taken for what it looks like, wrapped or not."""
_OF = {one.name: one for one in FORMATS}


def _zipped(data: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("any", data)
    return buffer.getvalue()


def _marked(data: bytes) -> bytes:
    return b"MarkPositionJSON->{}\n" + data


WRAPPERS: tuple[Callable[[bytes], bytes], ...] = (gzip.compress, zlib.compress, _zipped, _marked, bytes)


def wrapped(data: bytes) -> bytes:
    """Return bytes in up to two wrappers that the first of them chooses, the outer one damaged where it says so."""
    if len(data) < 4:
        return data
    chosen, at, value, rest = data[0], data[1], data[2], data[3:]
    outer = bytearray(WRAPPERS[chosen // 5 % 5](WRAPPERS[chosen % 5](rest)))
    if value and chosen > 127:
        outer[at % len(outer)] = value
    return bytes(outer)


def stand(name: str, data: bytes, path: Path) -> str | None:
    """Read bytes, put into the file `path`, as the format of that name; return the error that it ended in, or None.

    AssertionError where a result is none that later rooms can use.
    """
    path.write_bytes(wrapped(data) if name == "wrappers" else data)
    try:
        capture = open_capture(path) if name in OTHERS else _OF[name].read(Source(path))
        _read(capture)
    except TraceFormatError as error:
        assert str(error).strip()
        return str(error)
    return None


def _read(capture: Capture) -> None:
    losses = Losses()
    if capture.read_samples is not None:
        for table in capture.read_samples(losses):
            assert isinstance(table, Samples)
            table.total()
            assert not len(table) or max(table.stack) < len(table.stacks)
            assert all(index < len(table.frames) for stack in table.stacks for index in stack)
    if capture.read_lines is not None:
        assert capture.read_lines(losses) is not None
    if capture.read_events is not None:
        for batch in capture.read_events(losses):
            assert batch.schema == EVENTS
    assert all(isinstance(reason, str) and count > 0 for reason, count in losses.items()), losses


def main() -> None:
    """Read all, and say how each ended."""
    with tempfile.TemporaryDirectory() as place:
        scratch = Path(place) / "capture"
        stand("folded", b"main 1\n", scratch)
        held = int(Path("/proc/self/statm").read_text().split()[5]) * resource.getpagesize()
        most = held + (int(sys.argv[1]) << 20)
        resource.setrlimit(resource.RLIMIT_DATA, (most, most))
        for one in sorted(CORPUS.glob("*/*")):
            print(f"{one.parent.name}/{one.name}", flush=True)
            print(f"\t{stand(one.parent.name, one.read_bytes(), scratch) or 'read'}", flush=True)


if __name__ == "__main__":
    main()
