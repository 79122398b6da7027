# SPDX-License-Identifier: Apache-2.0
"""Read dumps of /proc: one file, several in a text (`==> path <==`, `cat`, `grep`), or a directory as tar or zip.

Each row is an event of category `proc` whose name is the path; `args` begin with `snapshot=N`, since a capture may hold
several, then `row=` where rows of a file have names, then the row's own counters. vmstat and meminfo are one row.
Of `intr` an absent number is 0. Times are those of /proc/uptime (clock `boot`), or of lines that say the wall time;
without either they are unknown. An archive's own file times are not used: they are of whole seconds, or of the copying.
"""

from __future__ import annotations

import io
import re
import struct
import tarfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from git_hmopt.traces.capture import BATCH, EVENTS, Capture, Losses
from git_hmopt.traces.proc_files import READERS, Row
from git_hmopt.traces.proc_sections import STRONG, Moment, Section, named, sections
from git_hmopt.traces.source import Source
from git_hmopt.traces.tables import TraceFormatError

MOST = 16 << 20
TOO_LARGE = "capture of /proc beyond its first 16 MiB"
NOT_READ = "section of a kind that is not read"
DAMAGED = "archive damaged or cut; its last files are missing"
TOO_MANY = "archive of more than 65536 files"
TOO_OFTEN = "section beyond the 65536th snapshot"
_MOST_FILES = _MOST_SNAPSHOTS = 1 << 16
_NAMES = re.compile(
    rb"proc/|vmstat|schedstat|interrupts|softirqs|meminfo|buddyinfo|zoneinfo|pagetypeinfo|/stat\b|pressure/"
)
_ARCHIVE_ERRORS = (
    tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, ValueError, OverflowError, RuntimeError,
    NotImplementedError, OSError, struct.error,
)  # fmt: skip
"""What the readers of archives raise on bytes that are none, encrypted or packed otherwise; all in memory already."""


@dataclass
class _Snapshot:
    """One look at /proc: its rows, and when."""

    place: str = ""
    """The directory of the archive that it lay in."""
    wall_ns: int | None = None
    boot_ns: int | None = None
    rows: list[tuple[str, int | None, int | None, Row]] = field(default_factory=list)
    paths: set[str] = field(default_factory=set)


class ProcSnapshot:
    """The format `proc`."""

    name = "proc"

    def recognise(self, head: bytes, name: str) -> bool:
        """Say whether the first bytes are a file of /proc, a text of several, or an archive of such files."""
        if _is_archive(head):
            return _NAMES.search(head) is not None
        lines = head.decode(errors="replace").split("\n")
        whole = lines[:-1] if len(lines) > 1 else lines
        losses: Losses = Counter()
        found = [section for section in sections(whole, name, losses) if isinstance(section, Section)]
        known = [(section, place) for section in found if (place := named(section))]
        taken = sum(len(section.lines) for section, _ in known)
        strong = any(place[0] in STRONG or _PATH_SAYS.search(section.path) for section, place in known)
        return strong and taken >= losses.total()

    def read(self, source: Source) -> Capture:
        """Return the capture; TraceFormatError when it has no file of /proc."""
        head = source.head()
        if not self.recognise(head, source.path.name):
            raise TraceFormatError(
                f"{source.path}: no capture of /proc",
                next_step="take one with: head -n -0 /proc/uptime /proc/stat /proc/vmstat /proc/interrupts",
            )

        def events(losses: Losses) -> Iterator[pl.DataFrame]:
            with source.open() as stream:
                data = stream.read(MOST)
                if stream.read(1):
                    losses[TOO_LARGE] += 1
            yield from _events(_snapshots(data, source.path, losses))

        return Capture(self.name, events, facts={"clock": _clock(head, source.path.name)})


FORMAT = ProcSnapshot()
_PATH_SAYS = re.compile(r"(?:schedstat|loadavg|uptime)(?:\.txt|\.log)?$")


def _clock(head: bytes, name: str) -> str:
    """Return which clock the head says: what is in an archive, or begins later, is not looked at."""
    if _is_archive(head):
        return "unknown"
    found = list(sections(head.decode(errors="replace").split("\n"), name, Counter()))
    if any(isinstance(section, Section) and section.kind == "uptime" for section in found):
        return "boot"
    return "wall" if any(isinstance(section, Moment) for section in found) else "unknown"


def _is_archive(head: bytes) -> bool:
    return head[:4] == b"PK\x03\x04" or head[257:262] == b"ustar"


def _files(data: bytes, path: Path, losses: Losses) -> Iterator[tuple[str, bytes]]:
    if not _is_archive(data):
        yield path.name, data
        return
    try:
        yield from _zip(data, losses) if data[:2] == b"PK" else _tar(data, losses)
    except _ARCHIVE_ERRORS:
        losses[DAMAGED] += 1


def _zip(data: bytes, losses: Losses) -> Iterator[tuple[str, bytes]]:
    left = MOST
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        for number, member in enumerate(archive.infolist()):
            if number >= _MOST_FILES:
                losses[TOO_MANY] += 1
                return
            if member.filename.endswith("/"):
                continue
            with archive.open(member) as stream:
                text = stream.read(left + 1)
            left -= len(text)
            if left < 0:
                losses[TOO_LARGE] += 1
                return
            yield member.filename, text


def _tar(data: bytes, losses: Losses) -> Iterator[tuple[str, bytes]]:
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
        for number, member in enumerate(archive):
            if number >= _MOST_FILES:
                losses[TOO_MANY] += 1
                return
            # A sparse member claims any size; what is stored of it is all there is to read.
            if member.isreg() and not member.issparse() and (stream := archive.extractfile(member)) is not None:
                yield member.name, stream.read(MOST)
        # tarfile takes any header that it cannot read for the end, which is a block of zeros.
        if any(data[archive.offset : archive.offset + 512] or b"cut"):
            losses[DAMAGED] += 1


def _snapshots(data: bytes, path: Path, losses: Losses) -> list[_Snapshot]:
    """Return the looks at /proc: another begins with a time, in another directory, or when a path comes again."""
    found = [_Snapshot()]
    for name, text in _files(data, path, losses):
        place = name[: at + 1] if (at := name.rfind("proc/")) >= 0 else ""
        for section in sections(io.TextIOWrapper(io.BytesIO(text), errors="replace", newline="\n"), name, losses):
            if len(found) > _MOST_SNAPSHOTS:
                losses[TOO_OFTEN] += 1
            elif isinstance(section, Moment):
                if found[-1].rows or found[-1].wall_ns is not None:
                    found.append(_Snapshot(place))
                found[-1].wall_ns = section.ts_ns
            else:
                _take(section, place, found, losses)
    return [snapshot for snapshot in found if snapshot.rows]


def _take(section: Section, place: str, found: list[_Snapshot], losses: Losses) -> None:
    known = named(section)
    if known is None:
        losses[NOT_READ] += 1
        return
    kind, path, pid, tid = known
    anonymous = path in ("/proc/pressure", "/proc/PID/schedstat")
    last = found[-1]
    if last.rows and (last.place != place or (path in last.paths and not anonymous)):
        found.append(last := _Snapshot())
    last.place = place
    last.paths.add(path)
    for row in READERS[kind](section.lines, losses):
        last.rows.append((path, pid, tid, row))
        if kind == "uptime":
            seconds, _, fraction = dict(row.pairs)["uptime"].partition(".")
            moment = int(seconds) * 1_000_000_000 + int(fraction.ljust(9, "0"))
            last.boot_ns = moment if moment < 1 << 62 else None


def _events(found: list[_Snapshot]) -> Iterator[pl.DataFrame]:
    boot = any(snapshot.boot_ns is not None for snapshot in found)
    rows = (
        (snapshot.boot_ns if boot else snapshot.wall_ns, "proc", path, None, pid, tid, row.cpu, _args(number, row))
        for number, snapshot in enumerate(found)
        for path, pid, tid, row in snapshot.rows
    )
    yield from _batches(rows)


def _args(number: int, row: Row) -> str:
    return " ".join((f"snapshot={number}", *(f"{key}={value}" for key, value in row.pairs)))


def _batches(rows: Iterable[tuple[object, ...]]) -> Iterator[pl.DataFrame]:
    batch: list[tuple[object, ...]] = []
    for row in rows:
        batch.append(row)
        if len(batch) >= BATCH:
            yield pl.DataFrame(batch, schema=EVENTS, orient="row")
            batch = []
    if batch:
        yield pl.DataFrame(batch, schema=EVENTS, orient="row")
