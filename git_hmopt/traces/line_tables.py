# SPDX-License-Identifier: Apache-2.0
"""Where functions are defined, by DWARF: only the units that hold the addresses asked for are read.

That is the line of a function's declaration; of what is no function in the debug information (assembly), the line of
the address in .debug_line. DWARF 5, sections 3.3, 6.1.2 (address ranges) and 6.2 (line numbers); versions 2 to 5 are
read. The attributes of an entry are the library's work. What a hostile file could make endless is read here: tables to
the end of their bytes, a unit's entries one after the other and kept no longer than they are looked at.
"""

from __future__ import annotations

import bisect
import inspect
import io
import posixpath
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import IO, TYPE_CHECKING, BinaryIO, NamedTuple, cast

import zstandard

from git_hmopt.traces.elf import DAMAGED, NOBITS, Elf, Section, UnusableError, read

if TYPE_CHECKING:
    from elftools.dwarf.compileunit import CompileUnit
    from elftools.dwarf.die import DIE

_OF_RANGES = ("debug_aranges", "debug_ranges", "debug_rnglists")
_MOST_IN_RANGES, _MOST_RANGES = 64 << 20, 2_000_000
_MOST_PROGRAM = 8 << 20
_MOST_FILES = 20_000
_MOST_INFLATED = 1 << 30
"""Bytes of all sections of one file together."""
_MOST_UNITS = 100_000
_MOST_ENTRIES = 2_000_000
"""Of a unit, those in its functions too."""
_DEEPEST = 8
"""Of entries that say where they come from."""
_LONGEST = 1 << 16
"""Bytes of a name."""
_MOST_LINE = 1 << 31
_COMPRESSED = 0x800
_ZLIB, _ZSTD = 1, 2
_PATH, _DIRECTORY = 1, 2
"""DW_LNCT_*: what a field of a file's entry is."""


class _ShortError(ValueError):
    """A table goes on beyond its bytes."""


class _Bytes:
    """Reads a table number by number."""

    def __init__(self, data: bytes, order: str, at: int = 0) -> None:
        self.data, self.at = data, at
        self._little = order == "<"

    def take(self, size: int) -> bytes:
        if size < 0 or self.at + size > len(self.data):
            raise _ShortError
        self.at += size
        return self.data[self.at - size : self.at]

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "little" if self._little else "big")

    def uleb(self) -> int:
        value = shift = 0
        while True:
            byte = self.number(1)
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value
            if shift > 70:
                raise _ShortError

    def sleb(self) -> int:
        start = self.at
        value = self.uleb()
        bits = 7 * (self.at - start)
        return value - (1 << bits) if value >> (bits - 1) else value

    def text(self) -> bytes:
        end = self.data.find(b"\0", self.at)
        if end < 0:
            raise _ShortError
        found, self.at = self.data[self.at : end], end + 1
        return found

    def length(self) -> tuple[int, int]:
        """Return the length of a unit, and how many bytes an offset has in it."""
        size = self.number(4)
        return (self.number(8), 8) if size == 0xFFFFFFFF else (size, 4)


class Row(NamedTuple):
    """The addresses of one line, by the number of its file."""

    begin: int
    end: int
    file: int
    line: int


class Function(NamedTuple):
    """The addresses of one function, and the unit, file number and line of its declaration."""

    begin: int
    end: int
    unit: int
    file: int
    line: int


Parts = Sequence[bytes]
"""Of a path, the directory first; empty where a file is not known."""


@dataclass
class LineTables:
    """The lines of one file."""

    elf: Elf

    def places(self, addresses: Sequence[int]) -> dict[int, tuple[str, int]]:
        """Return where functions at addresses of the object are defined; those that it does not say are left out."""
        try:
            with self.elf.opened() as stream:
                return self._places(_Dwarf(self.elf, stream), addresses)
        except UnusableError:
            # Lines are an extra: a function has its name all the same.
            return {}

    def _places(self, dwarf: _Dwarf, addresses: Sequence[int]) -> dict[int, tuple[str, int]]:
        by_unit: dict[int, list[int]] = {}
        for address, unit in dwarf.units_of(addresses).items():
            by_unit.setdefault(unit, []).append(address)
        found: dict[int, tuple[int, int, int]] = {}
        for unit, own in by_unit.items():
            functions = dwarf.functions(unit)
            defined = {address: one for address in own if (one := _function(functions, address)) is not None}
            found |= {address: (one.unit, one.file, one.line) for address, one in defined.items()}
            rows = dwarf.rows(unit, [address for address in own if address not in defined])
            found |= {address: (unit, row.file, row.line) for address, row in rows.items()}
        files = {unit: dwarf.files(unit) for unit in dict.fromkeys(unit for unit, _, _ in found.values())}
        return {
            address: (_path(files[unit][file]), line)
            for address, (unit, file, line) in found.items()
            if 0 < line < _MOST_LINE and 0 <= file < len(files[unit]) and files[unit][file]
        }


def _function(functions: Sequence[Function], address: int) -> Function | None:
    index = bisect.bisect_right(functions, address, key=lambda one: one.begin) - 1
    return functions[index] if index >= 0 and address < functions[index].end else None


def _rows_at(rows: Iterable[Row], addresses: Sequence[int]) -> dict[int, Row]:
    """Return the row of each address: of several that begin there the first, as nothing was inlined before it."""
    wanted = sorted(addresses)
    found: dict[int, Row] = {}
    for row in rows:
        for index in range(bisect.bisect_left(wanted, row.begin), len(wanted)):
            address = wanted[index]
            if address >= row.end and address != row.begin:
                break
            known = found.get(address)
            if known is None or known.begin < row.begin or known.begin == row.begin < address:
                found[address] = row
    return found


class _View(io.RawIOBase):
    """A section in its file."""

    def __init__(self, stream: BinaryIO, section: Section) -> None:
        self._stream, self._start, self._size, self._at = stream, section.offset, section.size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0, /) -> int:
        self._at = (0, self._at, self._size)[whence] + offset
        if self._at < 0:
            raise ValueError("before the section")
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: object, /) -> int:
        view = memoryview(cast("bytearray", buffer))
        size = min(len(view), max(0, self._size - self._at))
        if size:
            self._stream.seek(self._start + self._at)
            data = self._stream.read(size)
            size = len(data)
            view[:size] = data
        self._at += size
        return size


class _Names:
    """A section of names, of which a reader gets no more than the longest one has."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream, self._left = stream, 0

    def seek(self, offset: int) -> int:
        self._left = _LONGEST
        return self._stream.seek(offset)

    def read(self, size: int) -> bytes:
        data = self._stream.read(min(size, self._left))
        self._left -= len(data)
        return data


class _Dwarf:
    """The debug sections of an open file. Every method raises UnusableError for nonsense."""

    def __init__(self, elf: Elf, stream: BinaryIO) -> None:
        from elftools.common.exceptions import DWARFError, ELFError
        from elftools.construct import ConstructError
        from elftools.dwarf.dwarfinfo import DebugSectionDescriptor, DwarfConfig, DWARFInfo

        self._elf, self._stream = elf, stream
        self._inflated: dict[str, bytes] = {}
        self._room = _MOST_INFLATED
        self._nonsense = (
            DWARFError, ELFError, ConstructError, ValueError, LookupError, ArithmeticError, AttributeError, TypeError,
            NotImplementedError, AssertionError, OSError, RecursionError,
        )  # fmt: skip
        sections: dict[str, DebugSectionDescriptor | None] = {}
        # Which sections the library asks for differs by its version.
        for name in list(inspect.signature(DWARFInfo).parameters)[1:]:
            content = self._content(f".{name.removesuffix('_sec')}") if name.startswith("debug_") else None
            if content is None or (name.removesuffix("_sec") in _OF_RANGES and content[1] > _MOST_IN_RANGES):
                sections[name] = None
                continue
            stream_of = content[0] if "str_sec" not in name else cast("IO[bytes]", _Names(content[0]))
            sections[name] = DebugSectionDescriptor(stream_of, name, 0, content[1], 0)
        config = DwarfConfig(elf.order == "<", "x64" if elf.is_64 else "x86", 8 if elf.is_64 else 4)
        self._info = DWARFInfo(config, **sections)

    def _content(self, name: str) -> tuple[IO[bytes], int] | None:
        section = self._elf.section(name)
        if section is None or section.kind == NOBITS:
            return None
        if section.flags & _COMPRESSED:
            if name not in self._inflated:
                if section.size > self._room:
                    raise UnusableError(DAMAGED)
                self._inflated[name] = _inflated(
                    read(self._stream, section.offset, section.size), self._elf, self._room
                )
                self._room -= len(self._inflated[name])
            data = self._inflated[name]
            return io.BytesIO(data), len(data)
        return io.BufferedReader(_View(self._stream, section), 1 << 16), section.size

    def units_of(self, addresses: Sequence[int]) -> dict[int, int]:
        """Return the offset of the unit that holds each address; those in none are left out."""
        try:
            ranges = sorted(islice(self._indexed(), _MOST_RANGES))
            found = _within(ranges, addresses)
            if len(found) < len(set(addresses)):
                # Not every compiler writes the index of addresses.
                ranges = sorted(islice(self._scanned({unit for _, _, unit in ranges}), _MOST_RANGES))
                found |= _within(ranges, [one for one in addresses if one not in found])
        except self._nonsense as error:
            raise UnusableError(DAMAGED) from error
        return found

    def _indexed(self) -> Iterator[tuple[int, int, int]]:
        """Yield begin, end and unit of every range in .debug_aranges."""
        content = self._content(".debug_aranges")
        if content is None or content[1] > _MOST_IN_RANGES:
            return
        table = _Bytes(content[0].read(content[1]), self._elf.order)
        while table.at + 12 <= len(table.data):
            start = table.at
            size, width = table.length()
            end = table.at + size
            table.number(2)
            unit, wide, segment = table.number(width), table.number(1), table.number(1)
            if segment or wide not in (4, 8) or end > len(table.data):
                raise _ShortError
            # The first pair is aligned to its own size, counted from the head.
            table.at = start + (table.at - start + 2 * wide - 1) // (2 * wide) * (2 * wide)
            while table.at + 2 * wide <= end:
                begin, length = table.number(wide), table.number(wide)
                if length:
                    yield begin, begin + length, unit
            table.at = end

    def _scanned(self, known: set[int]) -> Iterator[tuple[int, int, int]]:
        """Yield begin, end and offset of every unit that the index has not, as the units themselves say."""
        for number, unit in enumerate(self._info.iter_CUs()):
            if number >= _MOST_UNITS:
                return
            if unit.cu_offset not in known:
                yield from ((begin, end, unit.cu_offset) for begin, end in self._ranges(unit))

    def _ranges(self, unit: CompileUnit, entry: DIE | None = None) -> Iterator[tuple[int, int]]:
        """Yield begin and end of what a unit, or an entry of it, covers."""
        from elftools.dwarf.ranges import BaseAddressEntry

        top = unit.get_top_DIE().attributes
        attributes = top if entry is None else entry.attributes
        bases = [one["DW_AT_low_pc"].value for one in (attributes, top) if "DW_AT_low_pc" in one]
        low = bases[0] if bases else 0
        if "DW_AT_high_pc" in attributes:
            high = attributes["DW_AT_high_pc"]
            yield low, high.value if high.form == "DW_FORM_addr" else low + high.value
        elif "DW_AT_ranges" in attributes and (lists := self._info.range_lists()) is not None:
            base = low
            for one in lists.get_range_list_at_offset(attributes["DW_AT_ranges"].value, unit):
                if isinstance(one, BaseAddressEntry):
                    base = one.base_address
                else:
                    shift = 0 if one.is_absolute else base
                    yield one.begin_offset + shift, one.end_offset + shift

    def functions(self, unit: int) -> list[Function]:
        """Return the functions of a unit that have code, in the order of addresses; none when it is bad."""
        try:
            return sorted(islice(self._declared(self._info.get_CU_at(unit)), _MOST_RANGES), key=lambda one: one.begin)
        except self._nonsense:
            return []

    def _declared(self, unit: CompileUnit) -> Iterator[Function]:
        for entry in self._outermost(unit):
            if entry.tag != "DW_TAG_subprogram" or not {"DW_AT_low_pc", "DW_AT_ranges"} & set(entry.attributes):
                continue
            origin = _declaration(entry)
            if origin is None:
                continue
            line, file = origin.attributes["DW_AT_decl_line"].value, origin.attributes["DW_AT_decl_file"].value
            for begin, end in self._ranges(unit, entry):
                if all(isinstance(one, int) for one in (begin, end, file, line)):
                    yield Function(begin, end, origin.cu.cu_offset, file, line)

    def _outermost(self, unit: CompileUnit) -> Iterator[DIE]:
        """Yield the entries of a unit that lie in no other one but a namespace."""
        from elftools.dwarf.die import DIE

        top = unit.get_top_DIE()
        at, end = top.offset + top.size, unit.cu_offset + unit.size
        # Of each entry that is open whether it is one whose entries count.
        opened = [True] if top.has_children else []
        for _ in range(_MOST_ENTRIES):
            if not opened or at >= end:
                return
            # The library would remember each, and go wherever an entry says that the next one is.
            entry = DIE(unit, top.stream, at)
            at += entry.size
            if entry.is_null():
                opened.pop()
                continue
            if opened[-1]:
                yield entry
            if not entry.has_children:
                continue
            counts = opened[-1] and entry.tag == "DW_TAG_namespace"
            after = 0 if counts else _sibling(entry)
            if at <= after < end:
                at = after
            else:
                opened.append(counts)

    def files(self, unit: int) -> list[Parts]:
        """Return the files of a unit's line program by their numbers; none when it is bad."""
        try:
            return self._program(unit).files
        except (UnusableError, *self._nonsense):
            return []

    def rows(self, unit: int, addresses: Sequence[int]) -> dict[int, Row]:
        """Return the rows of a unit's line program at addresses; none when it is bad."""
        if not addresses:
            return {}
        try:
            return _rows_at(self._program(unit).rows(), addresses)
        except (UnusableError, *self._nonsense):
            return {}

    def _program(self, unit: int) -> _Program:
        attributes = self._info.get_CU_at(unit).get_top_DIE().attributes
        content = self._content(".debug_line")
        if content is None or "DW_AT_stmt_list" not in attributes:
            raise _ShortError
        directory = attributes["DW_AT_comp_dir"].value if "DW_AT_comp_dir" in attributes else b""
        offset, (stream, _) = attributes["DW_AT_stmt_list"].value, content
        stream.seek(offset)
        head = _Bytes(stream.read(12).ljust(12, b"\0"), self._elf.order)
        size, _ = head.length()
        if size > _MOST_PROGRAM:
            raise _ShortError
        stream.seek(offset)
        return _program_of(_Bytes(stream.read(head.at + size), self._elf.order), directory or b"", self._string)

    def _string(self, offset: int, of_lines: bool) -> bytes:
        found = self._info.get_string_from_linetable(offset) if of_lines else self._info.get_string_from_table(offset)
        return found or b""


def _sibling(entry: DIE) -> int:
    """Return where the entry after another and all that lie in it says it begins; 0 where it does not."""
    found = entry.attributes.get("DW_AT_sibling")
    if found is None or not isinstance(found.value, int):
        return 0
    return int(found.value) + (0 if found.form == "DW_FORM_ref_addr" else entry.cu.cu_offset)


def _declaration(entry: DIE) -> DIE | None:
    """Return the entry that says where a function is declared: its own, or of what it was made from."""
    for _ in range(_DEEPEST):
        if {"DW_AT_decl_line", "DW_AT_decl_file"} <= set(entry.attributes):
            return entry
        above = next((one for one in ("DW_AT_abstract_origin", "DW_AT_specification") if one in entry.attributes), None)
        if above is None:
            return None
        entry = entry.get_DIE_from_attribute(above)
    return None


def _within(ranges: Sequence[tuple[int, int, int]], addresses: Sequence[int]) -> dict[int, int]:
    found = {}
    for address in addresses:
        index = bisect.bisect_right(ranges, (address, 1 << 64, 1 << 64)) - 1
        if index >= 0 and address < ranges[index][1]:
            found[address] = ranges[index][2]
    return found


def _inflated(data: bytes, elf: Elf, most: int) -> bytes:
    """Return what a compressed section holds. UnusableError when that is more than there is room for."""
    head = _Bytes(data, elf.order)
    try:
        kind = head.number(4)
        if elf.is_64:
            head.take(4)
        size = head.number(8 if elf.is_64 else 4)
        head.take(8 if elf.is_64 else 4)
        if size > most:
            raise UnusableError(DAMAGED)
        body = data[head.at :]
        if kind == _ZLIB:
            found = zlib.decompressobj().decompress(body, size)
        elif kind == _ZSTD:
            found = zstandard.ZstdDecompressor().stream_reader(body).read(size)
        else:
            raise UnusableError(DAMAGED)
    except (_ShortError, zlib.error, zstandard.ZstdError) as error:
        raise UnusableError(DAMAGED) from error
    return found[:size]


# -- line programs --------------------------------------------------------------------------------------------------

Strings = Callable[[int, bool], bytes]
"""Returns a string of .debug_line_str, or where the flag is off of .debug_str."""


@dataclass(frozen=True)
class _Program:
    """A line program (DWARF 5, 6.2.2, 6.2.4 and 6.2.5)."""

    files: list[Parts]
    table: _Bytes
    start: int
    step: int
    base: int
    reach: int
    operands: Sequence[int]

    def rows(self) -> Iterator[Row]:
        """Run it."""
        self.table.at = self.start
        return _run(self.table, self.step, self.base, self.reach, self.operands)


def _program_of(table: _Bytes, directory: bytes, string: Strings) -> _Program:
    _, width = table.length()
    version = table.number(2)
    if not 2 <= version <= 5:
        raise _ShortError
    if version >= 5:
        table.take(2)
    start = table.number(width)
    start += table.at
    step = table.number(1)
    table.take(2 if version >= 4 else 1)
    base, reach, first = table.number(1), table.number(1), table.number(1)
    if not reach or not first:
        raise _ShortError
    operands = [0, *table.take(first - 1)]
    files = _files_of_5(table, width, directory, string) if version >= 5 else _files_before_5(table, directory)
    return _Program(files, table, start, step, base - 256 if base > 127 else base, reach, operands)


def _path(parts: Parts) -> str:
    return posixpath.normpath(posixpath.join(*(part.decode(errors="replace") for part in parts)))


def _files_before_5(table: _Bytes, directory: bytes) -> list[Parts]:
    """Return the files of a program; their numbers begin with 1, and 0 is the unit's directory."""
    folders: list[Parts] = [(directory,)]
    while name := table.text():
        folders.append((directory, name))
    files: list[Parts] = [()]
    while name := table.text():
        folder, _, _ = table.uleb(), table.uleb(), table.uleb()
        files.append((*folders[folder], name) if folder < len(folders) else ())
    return files


def _files_of_5(table: _Bytes, width: int, directory: bytes, string: Strings) -> list[Parts]:
    names = [_text_of(entry, _PATH) for entry in _entries(table, width, string)]
    # The first directory is the unit's own, and the others are below it.
    top = directory or next(iter(names), b"")
    folders = [(top, name) if number else (top,) for number, name in enumerate(names)]
    files: list[Parts] = []
    for entry in _entries(table, width, string):
        folder = entry.get(_DIRECTORY, 0)
        name = _text_of(entry, _PATH)
        known = name and isinstance(folder, int) and folder < len(folders)
        files.append((*folders[folder], name) if known and isinstance(folder, int) else ())
    return files


def _text_of(entry: Mapping[int, bytes | int], kind: int) -> bytes:
    """Return the text of a field; empty when it is none."""
    found = entry.get(kind, b"")
    return found if isinstance(found, bytes) else b""


def _entries(table: _Bytes, width: int, string: Strings) -> Iterator[dict[int, bytes | int]]:
    formats = [(table.uleb(), table.uleb()) for _ in range(table.number(1))]
    count = table.uleb()
    # Entries of no bytes would be counted, not read.
    if count > min(_MOST_FILES, len(table.data)) or (count and not formats):
        raise _ShortError
    for _ in range(count):
        yield {kind: _field(table, form, width, string) for kind, form in formats}


def _field(table: _Bytes, form: int, width: int, string: Strings) -> bytes | int:
    """Read a field by its DW_FORM (DWARF 5, 7.5.6), of those that 6.2.4.1 allows."""
    if form == 0x08:
        return table.text()
    if form in (0x1F, 0x0E):
        return string(table.number(width), form == 0x1F)
    if form == 0x0F:
        return table.uleb()
    if form == 0x09:
        return table.take(table.uleb())
    sizes = {0x0B: 1, 0x05: 2, 0x06: 4, 0x07: 8}
    return table.take(16) if form == 0x1E else table.number(sizes[form])


def _run(table: _Bytes, step: int, base: int, reach: int, operands: Sequence[int]) -> Iterator[Row]:
    address, file, line = 0, 1, 1
    before: tuple[int, int, int] | None = None
    first = len(operands)
    end = len(table.data)
    while table.at < end:
        code = table.number(1)
        emits = ends = False
        if code >= first:
            address += step * ((code - first) // reach)
            line += base + (code - first) % reach
            emits = True
        elif code == 0:
            size = table.uleb()
            after = table.at + size
            extended = table.number(1)
            if extended == 1:
                emits = ends = True
            elif extended == 2:
                # A number of any length would be added to again and again.
                if size - 1 not in (4, 8):
                    raise _ShortError
                address = table.number(size - 1)
            table.at = after
        elif code == 1:
            emits = True
        elif code == 2:
            address += step * table.uleb()
        elif code == 3:
            line += table.sleb()
        elif code == 4:
            file = table.uleb()
        elif code == 8:
            address += step * ((255 - first) // reach)
        elif code == 9:
            address += table.number(2)
        else:
            for _ in range(operands[code]):
                table.uleb()
        if emits:
            if before is not None:
                yield Row(before[0], address, before[1], before[2])
            before = (address, file, line)
        if ends:
            address, file, line, before = 0, 1, 1, None
