# SPDX-License-Identifier: Apache-2.0
"""The functions of a capture's objects by address, out of files on this machine that are provably those objects.

Names come from the file with the fullest symbol table, places of addresses from one that has the code, and lines from
one with debug information: they may be three files of one build id.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from git_hmopt.traces.elf import NOBITS, SYMTAB, Elf, UnusableError, open_regular
from git_hmopt.traces.line_tables import LineTables
from git_hmopt.traces.perf_places import KALLSYMS, KERNEL, Place
from git_hmopt.traces.symbol_files import (
    UNUSABLE_GIVEN,
    WRONG_BUILD_ID,
    Finder,
    Mapped,
    is_same,
    running_build_id,
)
from git_hmopt.traces.symbol_tables import KernelSymbols, SymbolTable, elf_address, elf_symbols, read_kallsyms, stubs_of
from git_hmopt.traces.tables import Symbols

UNPROVEN = "build id of an object: the capture has none, so the file at its path was taken"
NO_TABLE = "object whose file has no symbol table"
NO_REFERENCE = "kernel whose symbols cannot be moved to where it ran: the capture has no reference symbol"
OTHER_KERNEL = "kernel without symbols of its build id on this machine"
_PAGE = 4096


@dataclass
class _Object:
    """One object: its functions, and how an address in a mapping becomes one of them."""

    table: SymbolTable
    elf: Elf | None
    """The file whose segments say where code is loaded; None when addresses are the table's own."""
    lines: LineTables | None
    shift: int = 0
    """How much further up the kernel ran than its symbols say."""

    def find(self, place: Place, address: int) -> tuple[str, int] | None:
        inside = address - self.shift if self.elf is None else _in_object(self.elf, place, address)
        return None if inside is None else self.table.find(inside)


@dataclass
class ObjectNames:
    """Names of addresses, with what could not be used counted once an object."""

    finder: Finder
    build_ids: Mapping[str, str]
    """Of the objects, by path, as the capture has them."""
    losses: Counter[str]
    reference: tuple[str, int] | None = None
    """The kernel symbol by which the capture says where the kernel ran, and its address then."""
    release: str = ""
    _objects: dict[tuple[str, str, int, int], _Object | None] = field(default_factory=dict)
    _read: dict[Path, KernelSymbols | None] = field(default_factory=dict)
    _named: dict[str, dict[tuple[int, int], LineTables]] = field(default_factory=dict)
    """By name the functions that were found: the number of their lines' file and their address in it."""

    def name(self, place: Place, mode: int, address: int) -> str | None:
        """Return the function at an address of a mapping."""
        key = (place.object, place.build_id, place.inode, place.generation)
        if key not in self._objects:
            self._objects[key] = self._object(place, mode)
        known = self._objects[key]
        found = known.find(place, address) if known is not None else None
        if known is None or found is None:
            return None
        if known.lines is not None:
            self._named.setdefault(found[0], {})[id(known.lines), found[1]] = known.lines
        return found[0]

    def definitions(self, symbols: Sequence[str]) -> Symbols:
        """Return where functions that were named are defined, as debug information of their files says."""
        wanted: dict[int, tuple[LineTables, dict[int, list[str]]]] = {}
        for symbol in dict.fromkeys(symbols):
            for (number, address), lines in self._named.get(symbol, {}).items():
                wanted.setdefault(number, (lines, {}))[1].setdefault(address, []).append(symbol)
        rows = [
            (symbol, *place)
            for lines, names in wanted.values()
            for address, place in lines.places(list(names)).items()
            for symbol in names[address]
        ]
        return Symbols(
            symbol=tuple(row[0] for row in rows),
            file=tuple(row[1] for row in rows),
            line=tuple(row[2] for row in rows),
            skipped={},
        )

    # -- objects -----------------------------------------------------------------------------------------------------

    def _object(self, place: Place, mode: int) -> _Object | None:
        build_id = place.build_id or self.build_ids.get(place.object, "")
        try:
            if place.object == KALLSYMS:
                return self._kernel_object(build_id)
            if mode == KERNEL:
                return self._module(place, build_id)
            if build_id:
                return self._of_files(*self.finder.proven(build_id, place.object))
            if self.finder.of_capture(place.object) is None:
                return None
            mapped = Mapped(place.object, "", place.inode, place.generation, place.offset, place.end - place.start)
            files, reason = self.finder.unproven(mapped)
            found = self._of_files(files, reason)
            if found is not None:
                self.losses[UNPROVEN] += 1
            return found
        except UnusableError as error:
            self.losses[f"object whose file is {error}"] += 1
            return None

    def _of_files(self, files: Sequence[Elf], reason: str) -> _Object | None:
        """Return the object that these files are; each of them has all of its build id."""
        if not files:
            self.losses[reason] += 1
            return None
        code = next((one for one in files if one.has_code), files[0])
        reason = NO_TABLE
        for one in sorted(files, key=_worth):
            try:
                with code.opened() as stream:
                    stubs = stubs_of(code, stream)
                with one.opened() as stream:
                    table = elf_symbols(one, stream, stubs)
            except UnusableError as error:
                reason = f"object whose file is {error}"
                continue
            if table is not None:
                return _Object(table, code, _lines(files))
        self.losses[reason] += 1
        return None

    def _module(self, place: Place, build_id: str) -> _Object | None:
        """Return a module: as the kernel's own symbols have it while they lie in its mapping, else by its file."""
        name = PurePosixPath(place.object).name.strip("[]").split(".", 1)[0].replace("-", "_")
        for known, is_proven in self._kallsyms(self.build_ids.get(KALLSYMS, "")):
            table = known.modules.get(name)
            if table is not None and place.start <= table.starts[0] and table.starts[-1] < place.end:
                if not is_proven:
                    self.losses[UNPROVEN] += 1
                return _Object(table, None, None)
        if not build_id:
            return None
        return self._of_files(*self.finder.proven(build_id, place.object))

    # -- the kernel --------------------------------------------------------------------------------------------------

    def _kernel_object(self, build_id: str) -> _Object | None:
        if self.reference is None:
            self.losses[NO_REFERENCE] += 1
            return None
        reason = OTHER_KERNEL
        if build_id:
            files, why = self._vmlinux(build_id)
            if (found := self._of_vmlinux(files)) is not None:
                return found
            reason = why if why == WRONG_BUILD_ID else reason
        for known, is_proven in self._kallsyms(build_id):
            shift = self._shift(known.addresses.get(self.reference[0].encode()))
            if shift is not None:
                if not is_proven:
                    self.losses[UNPROVEN] += 1
                return _Object(known.kernel, None, None, shift)
        self.losses[reason] += 1
        return None

    def _shift(self, address: int | None) -> int | None:
        """Return how far the kernel ran from a symbol's address; None when that cannot be how it was moved."""
        assert self.reference is not None
        if address is None:
            return None
        # A kernel that was not moved has no address in its reference.
        shift = self.reference[1] - address if self.reference[1] else 0
        return shift if shift % _PAGE == 0 else None

    def _vmlinux(self, build_id: str) -> tuple[list[Elf], str]:
        files, reason = self.finder.proven(build_id, "")
        known = {one.path for one in files}
        if self.release and "/" not in self.release and ".." not in self.release:
            for path in (
                f"/boot/vmlinux-{self.release}",
                f"/usr/lib/debug/boot/vmlinux-{self.release}",
                f"/usr/lib/debug/lib/modules/{self.release}/vmlinux",
                f"/lib/modules/{self.release}/build/vmlinux",
            ):
                found = self.finder.elf(self.finder.of_capture(path) or Path(path))
                if isinstance(found, Elf) and is_same(found.build_id, build_id) and found.path not in known:
                    files.append(found)
        given = [one for one in self.finder.given() if one.name.startswith("vmlinux")]
        is_wrong = not files and any(isinstance(self.finder.elf(one), Elf) for one in given)
        return files, WRONG_BUILD_ID if is_wrong else reason

    def _of_vmlinux(self, files: Sequence[Elf]) -> _Object | None:
        assert self.reference is not None
        for one in files:
            try:
                with one.opened() as stream:
                    shift = self._shift(elf_address(one, stream, self.reference[0].encode()))
                    table = elf_symbols(one, stream) if shift is not None else None
            except UnusableError as error:
                self.losses[f"object whose file is {error}"] += 1
                continue
            if table is not None and shift is not None:
                return _Object(table, None, _lines(files), shift)
        return None

    def _kallsyms(self, build_id: str) -> Iterator[tuple[KernelSymbols, bool]]:
        """Yield what kallsyms there are of a kernel, and whether its build id proves them."""
        paths = [(self.finder.cached(build_id) / "kallsyms", True)] if build_id else []
        if is_same(running_build_id(), build_id):
            paths.append((Path("/proc/kallsyms"), True))
        paths += [(one, False) for one in self.finder.given() if not isinstance(self.finder.elf(one), Elf)]
        for path, is_proven in paths:
            if path not in self._read:
                try:
                    with open_regular(path) as stream:
                        self._read[path] = read_kallsyms(stream)
                except (UnusableError, OSError):
                    self._read[path] = None
                if self._read[path] is None and not is_proven:
                    self.losses[UNUSABLE_GIVEN] += 1
            if (known := self._read[path]) is not None:
                yield known, is_proven


def _worth(elf: Elf) -> bool:
    """Sort files with a full symbol table before others."""
    section = elf.of_kind(SYMTAB)
    return section is None or section.kind == NOBITS


def _lines(files: Sequence[Elf]) -> LineTables | None:
    # Addresses in the debug information of a module are relocated when it is loaded.
    found = next((one for one in files if one.section(".debug_line") and one.kind != "ET_REL"), None)
    return LineTables(found) if found is not None else None


def _in_object(elf: Elf, place: Place, address: int) -> int | None:
    """Return the address in the object's own address space of one in a mapping of it."""
    offset = address - place.start + place.offset
    if elf.kind == "ET_REL":
        return offset
    code = [one for one in elf.segments if one.executable]
    if elf.has_code:
        found = next((one for one in code if one.offset <= offset < one.offset + one.size), None)
        return offset - found.offset + found.address if found else None
    # A file of debug information has no offsets of its own: the only segment of code is what was mapped, if whole.
    if len(code) != 1 or place.end - place.start < code[0].memory:
        return None
    return address - place.start + code[0].address // _PAGE * _PAGE
