# SPDX-License-Identifier: Apache-2.0
"""ELF files as a capture names them: opened for reading only, bounded, and only when they are regular files.

The paths come out of captures, so whatever lies there may be hostile: a FIFO, a device, a file whose counts are absurd.
All of that is `UnusableError` with a reason that can be counted, and nothing else.
"""

from __future__ import annotations

import contextlib
import os
import stat
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

NO_FILE = "no such file"
NOT_REGULAR = "no regular file"
NO_ELF = "no ELF file"
DAMAGED = "a damaged or absurd ELF file"
CHANGED = "a file that changed while it was read"

_MOST_FILE = 8 << 30
_MOST_SECTIONS = 200_000
_MOST_SEGMENTS = 1000
_MOST_NOTES = 1 << 20
_LEAST = 52
"""Bytes of the smallest ELF header."""

SYMTAB, NOBITS, NOTE, DYNSYM = "SHT_SYMTAB", "SHT_NOBITS", "SHT_NOTE", "SHT_DYNSYM"
EXECUTABLE, ALLOCATED = 0x4, 0x2
_BUILD_ID_NOTE = 3


class UnusableError(Exception):
    """A file that no name is taken from; `str()` is the reason, in words that are counted."""


@dataclass(frozen=True)
class Section:
    """A section as its header has it."""

    name: str
    kind: str
    flags: int
    address: int
    offset: int
    size: int
    link: int
    alignment: int

    @property
    def is_code(self) -> bool:
        """Say whether instructions lie in it when the file is loaded."""
        return self.flags & (EXECUTABLE | ALLOCATED) == EXECUTABLE | ALLOCATED


@dataclass(frozen=True)
class Segment:
    """A part of the file that is loaded."""

    address: int
    offset: int
    size: int
    memory: int
    executable: bool


@dataclass(frozen=True)
class Elf:
    """What the headers of one file say."""

    path: Path
    identity: tuple[int, ...]
    """What tells whether the file is still the same: device, inode, size and time."""
    order: str
    """`<` or `>`, as struct has it."""
    is_64: bool
    kind: str
    machine: str
    build_id: str
    sections: tuple[Section, ...]
    segments: tuple[Segment, ...]

    @contextlib.contextmanager
    def opened(self) -> Iterator[BinaryIO]:
        """Give the file again; UnusableError when it is another one by now."""
        with open_regular(self.path) as stream:
            if _identity(os.fstat(stream.fileno())) != self.identity:
                raise UnusableError(CHANGED)
            yield stream

    def section(self, name: str) -> Section | None:
        """Return the first section of a name that has bytes in the file."""
        return next((one for one in self.sections if one.name == name and one.kind != NOBITS), None)

    def of_kind(self, kind: str) -> Section | None:
        """Return the first section of a kind."""
        return next((one for one in self.sections if one.kind == kind), None)

    @property
    def has_code(self) -> bool:
        """Say whether the instructions are in it: a file of debug information has none."""
        return any(one.is_code and one.kind != NOBITS for one in self.sections)


@contextlib.contextmanager
def open_regular(path: Path) -> Iterator[BinaryIO]:
    """Give a regular file of a size that can be handled. UnusableError for everything else."""
    try:
        # Opening alone may have an effect, or never end: of a FIFO, a tape, a terminal.
        if not stat.S_ISREG(path.stat().st_mode):
            raise UnusableError(NOT_REGULAR)
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        raise UnusableError(NO_FILE) from error
    with os.fdopen(descriptor, "rb") as stream:
        # It may have become another between the two.
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_size > _MOST_FILE:
            raise UnusableError(NOT_REGULAR)
        yield stream


def read(stream: BinaryIO, offset: int, size: int) -> bytes:
    """Return exactly `size` bytes from `offset`. UnusableError where the file does not reach."""
    if not 0 <= offset <= _MOST_FILE or not 0 <= size <= os.fstat(stream.fileno()).st_size:
        raise UnusableError(DAMAGED)
    try:
        stream.seek(offset)
        data = stream.read(size)
    except OSError as error:
        raise UnusableError(DAMAGED) from error
    if len(data) < size:
        raise UnusableError(DAMAGED)
    return data


def read_elf(path: Path) -> Elf:
    """Return what the headers of a file say. UnusableError when it is no ELF that can be read."""
    with open_regular(path) as stream:
        found = os.fstat(stream.fileno())
        if found.st_size < _LEAST or read(stream, 0, 4) != b"\x7fELF":
            raise UnusableError(NO_ELF)
        return _read(path, stream, _identity(found))


def _identity(found: os.stat_result) -> tuple[int, ...]:
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _read(path: Path, stream: BinaryIO, identity: tuple[int, ...]) -> Elf:
    from elftools.common.exceptions import ELFError
    from elftools.construct import ConstructError
    from elftools.elf.elffile import ELFFile

    # What the library lets through of a file whose fields are nonsense, besides its own errors.
    nonsense = (ELFError, ConstructError, ValueError, LookupError, ArithmeticError, AttributeError, TypeError, OSError)
    try:
        file = ELFFile(stream)
        if file.num_sections() > _MOST_SECTIONS or file.num_segments() > _MOST_SEGMENTS:
            raise UnusableError(DAMAGED)
        sections = tuple(
            Section(
                one.name, str(one["sh_type"]), one["sh_flags"], one["sh_addr"], one["sh_offset"], one["sh_size"],
                one["sh_link"], one["sh_addralign"],
            )
            for one in file.iter_sections()
        )  # fmt: skip
        segments = tuple(
            Segment(one["p_vaddr"], one["p_offset"], one["p_filesz"], one["p_memsz"], bool(one["p_flags"] & 1))
            for one in file.iter_segments("PT_LOAD")
        )
        order = "<" if file.little_endian else ">"
        notes = [(one.offset, one.size) for one in sections if one.kind == NOTE]
        notes += [(one["p_offset"], one["p_filesz"]) for one in file.iter_segments("PT_NOTE")]
        kind, machine = str(file["e_type"]), str(file["e_machine"])
    except nonsense as error:
        raise UnusableError(DAMAGED) from error
    found = next((one for at, size in notes if (one := _build_id_at(stream, at, size, order))), "")
    return Elf(path, identity, order, file.elfclass == 64, kind, machine, found, sections, segments)


def _build_id_at(stream: BinaryIO, offset: int, size: int, order: str) -> str:
    if size > _MOST_NOTES:
        return ""
    try:
        return build_id_of(read(stream, offset, size), order)
    except UnusableError:
        # Notes that are only in memory, or beyond the end: they are not where the build id is.
        return ""


def build_id_of(notes: bytes, order: str = "<") -> str:
    """Return the GNU build id in a row of notes, as hexadecimal digits; empty when there is none."""
    at = 0
    while at + 12 <= len(notes):
        name, size, kind = struct.unpack_from(f"{order}3I", notes, at)
        value = at + 12 + (name + 3 & ~3)
        if kind == _BUILD_ID_NOTE and notes[at + 12 : at + 16] == b"GNU\0" and name == 4:
            return notes[value : value + size].hex() if 0 < size <= 64 else ""
        at = value + (size + 3 & ~3)
    return ""
