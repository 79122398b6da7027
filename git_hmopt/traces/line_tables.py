# SPDX-License-Identifier: Apache-2.0
"""Where functions are defined, by DWARF: only the units that hold the addresses asked for are read.

That is the line of a function's declaration; of what is no function in the debug information (assembly), the line of
the address in .debug_line. DWARF 5, sections 3.3, 6.1.2 (address ranges) and 6.2 (line numbers); versions 2 to 5 are
read. Units and their attributes are the library's work. Tables whose counts a hostile file could make endless are read
here, to the end of their bytes.
"""

from __future__ import annotations

import bisect
import inspect
import io
import posixpath
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, BinaryIO, cast

import zstandard

from git_hmopt.traces.elf import DAMAGED, NOBITS, Elf, Section, UnusableError, read

if TYPE_CHECKING:
    from elftools.dwarf.compileunit import CompileUnit
    from elftools.dwarf.die import DIE

_MOST_RANGES = 128 << 20
_MOST_PROGRAM = 8 << 20
_MOST_INFLATED = 1 << 30
_MOST_UNITS = 100_000
_MOST_ENTRIES = 300_000
_DEEPEST = 8
"""Of namespaces in one another, and of entries that say where they come from."""
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


@dataclass(frozen=True)
class Row:
    """The addresses of one line, by the number of its file."""

    begin: int
    end: int
    file: int
    line: int


@dataclass(frozen=True)
class Function:
    """The addresses of one function, and the unit, file number and line of its declaration."""

    begin: int
    end: int
    unit: int
    file: int
    line: int


@dataclass
class LineTables:
    """The lines of one file."""

    elf: Elf
    _programs: dict[int, tuple[list[Row], list[str]]] = field(default_factory=dict)
    _functions: dict[int, list[Function]] = field(default_factory=dict)

    def places(self, addresses: Sequence[int]) -> dict[int, tuple[str, int]]:
        """Return where functions at addresses of the object are defined; those that it does not say are left out."""
        try:
            with self.elf.opened() as stream:
                return self._places(_Dwarf(self.elf, stream), addresses)
        except UnusableError:
            # Lines are an extra: a function has its name all the same.
            return {}

    def _places(self, dwarf: _Dwarf, addresses: Sequence[int]) -> dict[int, tuple[str, int]]:
        found: dict[int, tuple[str, int]] = {}
        for address, unit in dwarf.units_of(addresses).items():
            if unit not in self._functions:
                self._functions[unit] = dwarf.functions(unit)
            function = _function(self._functions[unit], address)
            if function is not None:
                _, files = self._program(dwarf, function.unit)
                place = function.file, function.line
            else:
                rows, files = self._program(dwarf, unit)
                row = _row(rows, address)
                place = (row.file, row.line) if row is not None else (0, 0)
            if place[1] and place[0] < len(files) and files[place[0]]:
                found[address] = files[place[0]], place[1]
        return found

    def _program(self, dwarf: _Dwarf, unit: int) -> tuple[list[Row], list[str]]:
        if unit not in self._programs:
            self._programs[unit] = dwarf.rows(unit)
        return self._programs[unit]


def _function(functions: Sequence[Function], address: int) -> Function | None:
    index = bisect.bisect_right(functions, address, key=lambda one: one.begin) - 1
    return functions[index] if index >= 0 and address < functions[index].end else None


def _row(rows: Sequence[Row], address: int) -> Row | None:
    """Return the row of an address; of several that begin there the first, as nothing was inlined before it."""
    index = bisect.bisect_left(rows, address, key=lambda row: row.begin)
    if index < len(rows) and rows[index].begin == address:
        return rows[index]
    return rows[index - 1] if index and address < rows[index - 1].end else None


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


class _Dwarf:
    """The debug sections of an open file. Every method raises UnusableError for nonsense."""

    def __init__(self, elf: Elf, stream: BinaryIO) -> None:
        from elftools.common.exceptions import DWARFError, ELFError
        from elftools.construct import ConstructError
        from elftools.dwarf.dwarfinfo import DebugSectionDescriptor, DwarfConfig, DWARFInfo

        self._elf, self._stream = elf, stream
        self._nonsense = (
            DWARFError, ELFError, ConstructError, ValueError, LookupError, ArithmeticError, AttributeError, TypeError,
            NotImplementedError, AssertionError, OSError, RecursionError,
        )  # fmt: skip
        sections: dict[str, DebugSectionDescriptor | None] = {}
        # Which sections the library asks for differs by its version.
        for name in list(inspect.signature(DWARFInfo).parameters)[1:]:
            content = self._content(f".{name.removesuffix('_sec')}") if name.startswith("debug_") else None
            sections[name] = None if content is None else DebugSectionDescriptor(content[0], name, 0, content[1], 0)
        config = DwarfConfig(elf.order == "<", "x64" if elf.is_64 else "x86", 8 if elf.is_64 else 4)
        self._info = DWARFInfo(config, **sections)

    def _content(self, name: str) -> tuple[IO[bytes], int] | None:
        section = self._elf.section(name)
        if section is None or section.kind == NOBITS:
            return None
        if section.flags & _COMPRESSED:
            data = _inflated(read(self._stream, section.offset, section.size), self._elf)
            return io.BytesIO(data), len(data)
        return io.BufferedReader(_View(self._stream, section), 1 << 16), section.size

    def units_of(self, addresses: Sequence[int]) -> dict[int, int]:
        """Return the offset of the unit that holds each address; those in none are left out."""
        try:
            ranges = sorted(self._indexed())
            found = _within(ranges, addresses)
            if len(found) < len(set(addresses)):
                # Not every compiler writes the index of addresses.
                ranges = sorted(self._scanned({unit for _, _, unit in ranges}))
                found |= _within(ranges, [one for one in addresses if one not in found])
        except self._nonsense as error:
            raise UnusableError(DAMAGED) from error
        return found

    def _indexed(self) -> Iterator[tuple[int, int, int]]:
        """Yield begin, end and unit of every range in .debug_aranges."""
        content = self._content(".debug_aranges")
        if content is None or content[1] > _MOST_RANGES:
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
            found = self._info.get_CU_at(unit)
            return sorted(self._declared(found, found.get_top_DIE(), 0), key=lambda one: one.begin)
        except self._nonsense:
            return []

    def _declared(self, unit: CompileUnit, above: DIE, depth: int) -> Iterator[Function]:
        for number, entry in enumerate(above.iter_children()):
            if number >= _MOST_ENTRIES:
                return
            if entry.tag == "DW_TAG_namespace" and depth < _DEEPEST:
                yield from self._declared(unit, entry, depth + 1)
            if entry.tag != "DW_TAG_subprogram" or not {"DW_AT_low_pc", "DW_AT_ranges"} & set(entry.attributes):
                continue
            origin = _declaration(entry)
            if origin is None:
                continue
            line, file = origin.attributes["DW_AT_decl_line"].value, origin.attributes["DW_AT_decl_file"].value
            for begin, end in self._ranges(unit, entry):
                yield Function(begin, end, origin.cu.cu_offset, file, line)

    def rows(self, unit: int) -> tuple[list[Row], list[str]]:
        """Return the rows of a unit's line program in the order of addresses, and its files; none when it is bad."""
        try:
            attributes = self._info.get_CU_at(unit).get_top_DIE().attributes
            if "DW_AT_stmt_list" not in attributes:
                return [], []
            directory = attributes["DW_AT_comp_dir"].value if "DW_AT_comp_dir" in attributes else b""
            table = self._program(attributes["DW_AT_stmt_list"].value)
            rows, files = _decoded(table, directory, self._string)
        except (UnusableError, *self._nonsense):
            return [], []
        return sorted(rows, key=lambda row: row.begin), files

    def _program(self, offset: int) -> _Bytes:
        content = self._content(".debug_line")
        if content is None:
            raise _ShortError
        stream, _ = content
        stream.seek(offset)
        head = _Bytes(stream.read(12).ljust(12, b"\0"), self._elf.order)
        size, _ = head.length()
        if size > _MOST_PROGRAM:
            raise _ShortError
        stream.seek(offset)
        return _Bytes(stream.read(head.at + size), self._elf.order)

    def _string(self, offset: int, of_lines: bool) -> bytes:
        found = self._info.get_string_from_linetable(offset) if of_lines else self._info.get_string_from_table(offset)
        return found or b""


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


def _inflated(data: bytes, elf: Elf) -> bytes:
    """Return what a compressed section holds."""
    head = _Bytes(data, elf.order)
    try:
        kind = head.number(4)
        if elf.is_64:
            head.take(4)
        size = head.number(8 if elf.is_64 else 4)
        head.take(8 if elf.is_64 else 4)
        if size > _MOST_INFLATED:
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


def _decoded(table: _Bytes, directory: bytes, string: Strings) -> tuple[list[Row], list[str]]:
    """Run one line program (DWARF 5, 6.2.2, 6.2.4 and 6.2.5)."""
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
    paths = _files_of_5(table, width, string) if version >= 5 else _files_before_5(table)
    table.at = start
    rows = list(_run(table, step, base - 256 if base > 127 else base, reach, operands))
    return rows, [_path(directory, *one) if one else "" for one in paths]


def _path(*parts: bytes) -> str:
    return posixpath.normpath(posixpath.join(*(part.decode(errors="replace") for part in parts)))


def _files_before_5(table: _Bytes) -> list[tuple[bytes, ...]]:
    """Return the parts of every file's path below the unit's directory; numbers begin with 1."""
    folders: list[bytes] = [b""]
    while name := table.text():
        folders.append(name)
    files: list[tuple[bytes, ...]] = [()]
    while name := table.text():
        folder, _, _ = table.uleb(), table.uleb(), table.uleb()
        files.append((folders[folder], name) if folder < len(folders) else ())
    return files


def _files_of_5(table: _Bytes, width: int, string: Strings) -> list[tuple[bytes, ...]]:
    folders = [_text_of(entry, _PATH) for entry in _entries(table, width, string)]
    files: list[tuple[bytes, ...]] = []
    for entry in _entries(table, width, string):
        folder = entry.get(_DIRECTORY, 0)
        known = isinstance(folder, int) and folder < len(folders)
        files.append((folders[folder], _text_of(entry, _PATH)) if known and isinstance(folder, int) else ())
    return files


def _text_of(entry: Mapping[int, bytes | int], kind: int) -> bytes:
    """Return the text of a field; empty when it is none."""
    found = entry.get(kind, b"")
    return found if isinstance(found, bytes) else b""


def _entries(table: _Bytes, width: int, string: Strings) -> Iterator[dict[int, bytes | int]]:
    formats = [(table.uleb(), table.uleb()) for _ in range(table.number(1))]
    count = table.uleb()
    # Entries of no bytes would be counted, not read.
    if count > len(table.data) or (count and not formats):
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
