# SPDX-License-Identifier: Apache-2.0
"""Where the symbols of a capture's objects may lie, and whether a file found there is provably what was measured.

A file is used when its GNU build id is the capture's. Where the capture has none for an object, the file at its path is
used only while it is the same inode, its code fits the mapping, and nothing touched it since the capture was written.
"""

from __future__ import annotations

import fcntl
import os
import struct
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from git_hmopt.traces.elf import NO_ELF, NO_FILE, Elf, UnusableError, build_id_of, open_regular, read_elf

WRONG_BUILD_ID = "object whose files have another build id"
NO_SYMBOL_FILE = "object without a file on this machine"
NOT_THE_SAME = "object without a build id whose file is another one or was changed since"
UNDATED = "object without a build id, in a copy of a capture: nobody knows when it was made"
DOES_NOT_FIT = "object without a build id whose file does not fit what was mapped"
UNUSABLE_GIVEN = "given symbol file or directory that cannot be read"

_MOST_GIVEN = 50_000
_PSEUDO = ("/proc/", "/sys/", "/dev/")
_NOTES = Path("/sys/kernel/notes")
_GET_VERSION = ord("v") << 8 | 1 | struct.calcsize("l") << 16 | 2 << 30
"""FS_IOC_GETVERSION of include/uapi/linux/fs.h: _IOR('v', 1, long)."""
_CACHE_NAMES = ("elf", "vdso", "debug")


@dataclass(frozen=True)
class SymbolFiles:
    """What a person said of where symbols are."""

    symfs: Path | None = None
    """The directory below which the paths of captures are, as with perf's --symfs."""
    given: tuple[Path, ...] = ()
    """Files with symbols, or directories that hold some."""
    dated: bool = True
    """Whether the capture's file is as old as the capture is; a copy in a store is not."""


@dataclass(frozen=True)
class Mapped:
    """What a capture says of an object: enough to tell whether a file is it."""

    path: str
    build_id: str = ""
    inode: int = 0
    generation: int = 0
    offset: int = 0
    size: int = 0
    """Of the mapping: where in the object its first byte is, and how many there are."""


@dataclass
class Finder:
    """Finds the files of objects; each file is read once."""

    files: SymbolFiles
    made_ns: int
    """When the capture's file was last written."""
    host: str = ""
    """The machine that was measured, where the capture says."""
    losses: Counter[str] = field(default_factory=Counter)
    _read: dict[Path, Elf | str] = field(default_factory=dict)
    _given: list[Path] | None = None
    _by_id: dict[str, list[Path]] = field(default_factory=dict)
    _by_name: dict[str, list[Path]] = field(default_factory=dict)

    def proven(self, build_id: str, path: str) -> tuple[list[Elf], str]:
        """Return the files with a build id, what was given first; and, without any, the reason why not."""
        build_id = unpadded(build_id)
        found: dict[Path, Elf] = {}
        reason = NO_SYMBOL_FILE
        for candidate in self._candidates(build_id, path):
            elf = self.elf(candidate)
            if isinstance(elf, str):
                if elf not in (NO_FILE, NO_ELF):
                    reason = f"object whose file is {elf}"
            elif is_same(elf.build_id, build_id):
                found[candidate] = elf
            else:
                reason = WRONG_BUILD_ID
        return list(found.values()), reason

    def _candidates(self, build_id: str, path: str) -> Iterator[Path]:
        self.given()
        yield from self._by_id.get(build_id, [])
        yield from self._by_name.get(PurePosixPath(path).name, [])
        if (own := self.of_capture(path)) is not None:
            yield own
        yield self._below(f"/usr/lib/debug/.build-id/{build_id[:2]}/{build_id[2:]}.debug")
        yield from (self.cached(build_id) / name for name in _CACHE_NAMES)

    def unproven(self, mapped: Mapped) -> tuple[list[Elf], str]:
        """Return the files of an object whose build id is unknown; without any, the reason why not."""
        reason = NO_SYMBOL_FILE
        self.given()
        for given in self._by_name.get(PurePosixPath(mapped.path).name, []):
            elf = self.elf(given)
            if isinstance(elf, Elf):
                if fits(elf, mapped):
                    return self._with_debug(elf), ""
                reason = DOES_NOT_FIT
        path = self.of_capture(mapped.path)
        elf = self.elf(path) if path is not None else NO_FILE
        if isinstance(elf, str):
            return [], reason if elf in (NO_FILE, NO_ELF) else f"object whose file is {elf}"
        if not fits(elf, mapped):
            return [], DOES_NOT_FIT
        if not self.files.dated:
            return [], UNDATED
        return (self._with_debug(elf), "") if self._is_untouched(elf, mapped) else ([], NOT_THE_SAME)

    def _with_debug(self, elf: Elf) -> list[Elf]:
        """Return a file, and those with debug information that have its build id."""
        others = self.proven(elf.build_id, "")[0] if elf.build_id else []
        return [elf, *(one for one in others if one.path != elf.path)]

    def _is_untouched(self, elf: Elf, mapped: Mapped) -> bool:
        try:
            with elf.opened() as stream:
                found, generation = os.fstat(stream.fileno()), _generation(stream)
        except UnusableError:
            return False
        if self.files.symfs is not None:
            # A copy of another machine's files: only what was written into them counts. A link may lead to this one's.
            inside = elf.path.resolve().is_relative_to(self.files.symfs.resolve())
            return inside and found.st_mtime_ns <= self.made_ns
        same = mapped.inode in (0, found.st_ino) and self.host in ("", os.uname().nodename)
        # The number of an inode is given again to another file, with another generation.
        same = same and (mapped.generation == generation or 0 in (mapped.generation, generation))
        # A package keeps the times of its files; the time of the inode is that of the installation.
        return same and max(found.st_mtime_ns, found.st_ctime_ns) <= self.made_ns

    def of_capture(self, path: str) -> Path | None:
        """Return where the file with a capture's path is; None for what is none, or would lead elsewhere."""
        parts = PurePosixPath(path).parts
        if not path.startswith("/") or path.startswith(("//", *_PSEUDO)) or ".." in parts or "\0" in path:
            return None
        return self._below(path)

    def _below(self, path: str) -> Path:
        return Path(path) if self.files.symfs is None else self.files.symfs / path.lstrip("/")

    def cached(self, build_id: str) -> Path:
        """Return perf's cache of an object."""
        build_id = unpadded(build_id)
        try:
            home = Path.home()
        except RuntimeError:
            # Nobody has no home: the directory is then one that is not there.
            home = Path("/nonexistent")
        return home / ".debug/.build-id" / build_id[:2] / build_id[2:]

    def elf(self, path: Path) -> Elf | str:
        """Return what a file's headers say, or why it cannot be used."""
        if path not in self._read:
            try:
                self._read[path] = read_elf(path)
            except UnusableError as error:
                self._read[path] = str(error)
        return self._read[path]

    def given(self) -> list[Path]:
        """Return the files that were given, those in directories too."""
        if self._given is None:
            self._given = []
            for path in self.files.given:
                found = list(self._walked(path))
                if not found:
                    self.losses[UNUSABLE_GIVEN] += 1
                self._given.extend(found)
            for path in self._given:
                self._by_name.setdefault(path.name, []).append(path)
                if isinstance(elf := self.elf(path), Elf) and elf.build_id:
                    self._by_id.setdefault(unpadded(elf.build_id), []).append(path)
        return self._given

    def _walked(self, path: Path) -> Iterator[Path]:
        if not path.is_dir():
            yield from [path] if path.is_file() else []
            return
        left = _MOST_GIVEN
        for directory, _, names in os.walk(path):
            for name in sorted(names):
                left -= 1
                if left < 0:
                    return
                file = Path(directory) / name
                if isinstance(self.elf(file), Elf):
                    yield file


def _generation(stream: BinaryIO) -> int:
    """Return the generation of an open file's inode; 0 where the file system has none."""
    try:
        said = fcntl.ioctl(stream.fileno(), _GET_VERSION, b"\0" * 8)
    except OSError:
        return 0
    return int.from_bytes(said[:4], sys.byteorder)


def unpadded(build_id: str) -> str:
    """Return a build id without the zeros that perf fills it up with where it does not say how long it is."""
    cut = next((size for size in (16, 32) if len(build_id) == 40 and not build_id[size:].strip("0")), 40)
    return build_id[:cut]


def is_same(one: str, other: str) -> bool:
    """Say whether two build ids are the same; none is the same as no other."""
    return bool(one) and unpadded(one) == unpadded(other)


def fits(elf: Elf, mapped: Mapped) -> bool:
    """Say whether code of the file lies where the mapping has it, to the page."""
    page = 0x10000 if elf.machine in ("EM_AARCH64", "EM_PPC64") else 0x1000
    return any(
        one.executable
        and one.offset // page * page <= mapped.offset
        and mapped.offset + mapped.size <= (one.offset + one.size + page - 1) // page * page
        for one in elf.segments
    )


def running_build_id() -> str:
    """Return the build id of the kernel that runs here; empty when it does not say."""
    try:
        with open_regular(_NOTES) as stream:
            return build_id_of(stream.read(1 << 16), "<" if sys.byteorder == "little" else ">")
    except (UnusableError, OSError):
        return ""
