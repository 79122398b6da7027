# SPDX-License-Identifier: Apache-2.0
"""The functions of an object by address: of an ELF's symbol table, or of kallsyms; chosen among aliases as perf does.

The rules are those of tools/perf/util/symbol.c (choose_best_symbol, symbols__fixup_end, symbols__fixup_duplicate) and
symbol-elf.c (elf_sym__filter, elf_sym__is_label, dso__synthesize_plt_symbols) of the Linux tree.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from git_hmopt.traces.elf import DAMAGED, DYNSYM, NOBITS, SYMTAB, Elf, Section, UnusableError, read

_MOST_SYMBOLS, _MOST_STRINGS = 192 << 20, 1 << 30
_MOST_TEXT = 256 << 20
_LONGEST = 1 << 15
"""Bytes of a name."""
_PAGE = 4096
_MOST_NESTED = 64

_OBJECT, _FUNCTION, _IFUNC = 1, 2, 10
_LOCAL, _GLOBAL, _WEAK = 0, 1, 2
_ABSOLUTE, _RESERVED = 0xFFF1, 0xFF00
_HIDDEN = (1, 2)
_WITH_MAPPING_SYMBOLS = ("EM_ARM", "EM_AARCH64", "EM_RISCV")
_PLT = {"EM_X86_64": (16, 16), "EM_386": (16, 16), "EM_AARCH64": (32, 16), "EM_ARM": (20, 12)}
"""Bytes of the first entry of a procedure linkage table, and of every other."""

Words = npt.NDArray[np.uint64]


@dataclass
class SymbolTable:
    """Functions in the order of their addresses."""

    starts: list[int]
    ends: list[int]
    furthest: list[int]
    """The highest end of a function and of those before it: where a longer one may hold an address."""
    rows: list[int]
    name_of: Callable[[int], bytes]
    known: dict[int, tuple[str, int] | None] = field(default_factory=dict)

    def find(self, address: int) -> tuple[str, int] | None:
        """Return the name of the function at an address, and where it begins."""
        if address not in self.known:
            self.known[address] = self._found(address)
        return self.known[address]

    def _found(self, address: int) -> tuple[str, int] | None:
        first = bisect.bisect_right(self.starts, address) - 1
        for index in range(first, max(-1, first - _MOST_NESTED), -1):
            if address < self.ends[index]:
                return self.name_of(self.rows[index]).decode(errors="replace"), self.starts[index]
            if self.furthest[index] <= address:
                return None
        return None


def chosen(
    values: Words, sizes: Words, bindings: npt.NDArray[np.uint8], name_of: Callable[[int], bytes]
) -> SymbolTable:
    """Return a table of symbols: a size of zero lasts up to the next one, and of aliases one is left.

    As with perf sizes come first: where several of one address have none, it is the last of them that gets one.
    """
    order = np.argsort(values, kind="stable")
    starts, sizes = values[order], sizes[order]
    ends = starts + np.minimum(sizes, ~starts)
    following = np.append(starts[1:], np.uint64(0))
    if len(starts):
        following[-1] = min((int(starts[-1]) + _PAGE - 1) // _PAGE * _PAGE + _PAGE, 2**64 - 1)
    ends = np.where(sizes == 0, following, ends)
    keep = np.ones(len(order), dtype=bool)
    rows = order.tolist()
    for begin, end in _runs(starts):
        best = begin
        for other in range(begin + 1, end):
            first, second = (_worth(int(ends[at] - starts[at]), int(bindings[rows[at]]), name_of(rows[at]))
                             for at in (best, other))  # fmt: skip
            best = best if first >= second else other
        keep[begin:end] = False
        keep[best] = True
    starts, ends, order = starts[keep], ends[keep], order[keep]
    furthest = np.maximum.accumulate(ends) if len(ends) else ends
    return SymbolTable(starts.tolist(), ends.tolist(), furthest.tolist(), order.tolist(), name_of)


def _runs(starts: Words) -> list[tuple[int, int]]:
    """Return where rows of equal starts begin and end."""
    changes = np.flatnonzero(starts[1:] != starts[:-1]) + 1
    edges = np.concatenate(([0], changes, [len(starts)]))
    long = np.flatnonzero(np.diff(edges) > 1)
    return list(zip(edges[long].tolist(), edges[long + 1].tolist(), strict=True))


def _worth(length: int, binding: int, name: bytes) -> tuple[bool, bool, bool, int, int]:
    """Return what perf compares two symbols of one address by; of equals the first is taken."""
    underscores = len(name) - len(name.lstrip(b"_"))
    return length > 0, binding != _WEAK, binding == _GLOBAL, -underscores, len(name)


# -- of ELF files ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Raw:
    """The symbols of a table as they stand in the file, with the bytes of their names."""

    symbols: npt.NDArray[np.void]
    strings: bytes

    def name(self, row: int) -> bytes:
        at = int(self.symbols["name"][row])
        end = self.strings.find(b"\0", at, at + _LONGEST)
        return self.strings[at:end] if end >= 0 else b""


Stub = tuple[int, int, bytes]
"""Address, size and name of code that calls into another object."""


def elf_symbols(elf: Elf, stream: BinaryIO, stubs: Sequence[Stub] = ()) -> SymbolTable | None:
    """Return the functions of a file, of its full table if it has one, else of what it exports; None without both.

    `stubs` are of the file that has the code, which may be another one. UnusableError when a table is not in the
    file, or absurd.
    """
    section = next((one for kind in (SYMTAB, DYNSYM) if (one := elf.of_kind(kind)) and one.kind != NOBITS), None)
    if section is None or not section.size:
        return None
    raw = _raw(elf, stream, section)
    rows, values = _functions(elf, raw)
    sizes, bindings = raw.symbols["size"][rows].astype(np.uint64), (raw.symbols["info"][rows] >> 4).astype(np.uint8)
    numbers = rows.tolist()

    def name_of(row: int) -> bytes:
        return raw.name(numbers[row]) if row < len(numbers) else stubs[row - len(numbers)][2]

    values = np.concatenate((values, np.array([one[0] for one in stubs], dtype=np.uint64)))
    sizes = np.concatenate((sizes, np.array([one[1] for one in stubs], dtype=np.uint64)))
    bindings = np.concatenate((bindings, np.full(len(stubs), _GLOBAL, dtype=np.uint8)))
    return chosen(values, sizes, bindings, name_of) if len(values) else None


def elf_address(elf: Elf, stream: BinaryIO, name: bytes) -> int | None:
    """Return the value of the first symbol of a name in the full table."""
    section = elf.of_kind(SYMTAB)
    if section is None:
        return None
    raw = _raw(elf, stream, section)
    # Names that end alike may share their bytes: every place where it ends is one where it may begin.
    places: set[int] = set()
    at = raw.strings.find(name + b"\0")
    while at >= 0 and len(places) < 100:
        places.add(at)
        at = raw.strings.find(name + b"\0", at + 1)
    found = np.flatnonzero(np.isin(raw.symbols["name"], list(places)) & (raw.symbols["section"] != 0))
    return int(raw.symbols["value"][found[0]]) if len(found) else None


def _raw(elf: Elf, stream: BinaryIO, section: Section) -> _Raw:
    layout = _layout(elf)
    if section.size > _MOST_SYMBOLS or not 0 < section.link < len(elf.sections):
        raise UnusableError(DAMAGED)
    strings = elf.sections[section.link]
    if strings.size > _MOST_STRINGS or strings.kind == NOBITS:
        raise UnusableError(DAMAGED)
    data = read(stream, section.offset, section.size // layout.itemsize * layout.itemsize)
    return _Raw(np.frombuffer(data, dtype=layout), read(stream, strings.offset, strings.size))


def _layout(elf: Elf) -> np.dtype[np.void]:
    if elf.is_64:
        fields = [("name", "u4"), ("info", "u1"), ("other", "u1"), ("section", "u2"), ("value", "u8"), ("size", "u8")]
    else:
        fields = [("name", "u4"), ("value", "u4"), ("size", "u4"), ("info", "u1"), ("other", "u1"), ("section", "u2")]
    return np.dtype([(name, f"{elf.order}{kind}") for name, kind in fields])


def _functions(elf: Elf, raw: _Raw) -> tuple[npt.NDArray[np.int64], Words]:
    """Return the rows of symbols that may name an instruction, and their addresses in the object."""
    symbols, code = raw.symbols, np.zeros(0x10000, dtype=bool)
    text, shift = code.copy(), np.zeros(0x10000, dtype=np.uint64)
    places = _module_layout(elf) if elf.kind == "ET_REL" else {}
    for index, section in enumerate(elf.sections[:_RESERVED]):
        code[index] = section.is_code and (elf.kind != "ET_REL" or index in places)
        text[index] = code[index] and ".text" in section.name
        shift[index] = places.get(index, 0)
    kind, where = symbols["info"] & 0xF, symbols["section"]
    named = (symbols["name"] != 0) & (symbols["name"] < len(raw.strings)) & (where != 0)
    first = np.frombuffer(raw.strings or b"\0", dtype=np.uint8)[np.where(named, symbols["name"], 0)]
    if elf.machine in _WITH_MAPPING_SYMBOLS:
        named &= first != ord("$")
    function = np.isin(kind, (_FUNCTION, _IFUNC)) & code[where]
    label = (kind == 0) & (where != _ABSOLUTE) & ~np.isin(symbols["other"] & 3, _HIDDEN) & text[where]
    label &= first != ord(".")
    values = symbols["value"].astype(np.uint64) + shift[where]
    if elf.machine == "EM_ARM":
        values = np.where(function, values & ~np.uint64(1), values)
    label &= ~_inside(values, values[function & named], symbols["size"][function & named].astype(np.uint64))
    rows = np.flatnonzero(named & (function | label | (kind == _OBJECT) & code[where]))
    return rows, values[rows]


def _inside(values: Words, starts: Words, sizes: Words) -> npt.NDArray[np.bool_]:
    """Say of each value whether it lies in a function that has a size."""
    if not len(starts):
        return np.zeros(len(values), dtype=bool)
    order = np.argsort(starts, kind="stable")
    starts = starts[order]
    furthest = np.maximum.accumulate(starts + np.minimum(sizes[order], ~starts))
    index = np.searchsorted(starts, values, side="right").astype(np.int64) - 1
    return (index >= 0) & (values < furthest[np.maximum(index, 0)])


def _module_layout(elf: Elf) -> dict[int, int]:
    """Return where the kernel puts the code sections of a module, from the module's start (layout_sections)."""
    places: dict[int, int] = {}
    at = 0
    for index, section in enumerate(elf.sections):
        if section.is_code and not section.name.startswith(".init"):
            step = max(1, min(section.alignment, 1 << 20))
            at = (at + step - 1) // step * step
            places[index] = at
            at += min(section.size, 1 << 32)
    return places


def stubs_of(elf: Elf, stream: BinaryIO) -> list[Stub]:
    """Return the stubs that call into other objects, `NAME@plt`. UnusableError when their table is absurd."""
    secured = elf.section(".plt.sec")
    stubs, relocations = secured or elf.section(".plt"), elf.section(".rela.plt") or elf.section(".rel.plt")
    dynamic = elf.of_kind(DYNSYM)
    if stubs is None or relocations is None or dynamic is None or elf.machine not in _PLT:
        return []
    if relocations.size > _MOST_SYMBOLS:
        raise UnusableError(DAMAGED)
    head, size = _PLT[elf.machine]
    addend = relocations.name == ".rela.plt"
    width = 8 if elf.is_64 else 4
    raw = _raw(elf, stream, dynamic)
    words = np.frombuffer(
        read(stream, relocations.offset, relocations.size // (width * (2 + addend)) * width * (2 + addend)),
        dtype=f"{elf.order}u{width}",
    )
    at = stubs.address + (0 if secured else head)
    found = []
    for number, word in enumerate(words[1 :: 2 + addend].tolist()):
        row = word >> 32 if elf.is_64 else word >> 8
        if 0 < row < len(raw.symbols) and (name := raw.name(row)) and (number + 1) * size <= stubs.size:
            found.append((at + number * size, size, name + b"@plt"))
    return found


# -- of kallsyms ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class KernelSymbols:
    """What kallsyms, or a System.map, says: the kernel's own functions, and those of modules by module."""

    kernel: SymbolTable
    addresses: Mapping[bytes, int]
    """Of the symbols that a capture may name as its reference."""
    modules: Mapping[str, SymbolTable]


REFERENCES = (b"_text", b"_stext")


def kallsyms(text: bytes) -> KernelSymbols | None:
    """Return the functions in the text of a kallsyms or System.map; None when it has none, or hides addresses."""
    own: list[tuple[int, int, bytes]] = []
    modules: dict[bytes, list[tuple[int, int, bytes]]] = {}
    addresses: dict[bytes, int] = {}
    for line in text.splitlines():
        parts = line.split()
        # Text, weak, data and bss: data matter for where the last function before them ends.
        if len(parts) not in (3, 4) or parts[1] not in b"TtWwDdBb" or len(parts[1]) != 1:
            continue
        try:
            address = int(parts[0], 16)
        except ValueError:
            continue
        if not 0 <= address < 1 << 64 or parts[2][:1] == b"$":
            continue
        binding = _WEAK if parts[1] == b"W" else _GLOBAL if parts[1].isupper() else _LOCAL
        if len(parts) == 4:
            # Data of a module lie elsewhere than its code.
            if parts[1] in b"TtWw":
                modules.setdefault(parts[3].strip(b"[]"), []).append((address, binding, parts[2]))
        else:
            own.append((address, binding, parts[2]))
            if parts[2] in REFERENCES:
                addresses.setdefault(parts[2], address)
    if not any(address for address, _, _ in own):
        return None
    tables = {name.decode(errors="replace"): _of_rows(rows) for name, rows in modules.items()}
    return KernelSymbols(_of_rows(own), addresses, tables)


def _of_rows(rows: Sequence[tuple[int, int, bytes]]) -> SymbolTable:
    values = np.array([row[0] for row in rows], dtype=np.uint64)
    bindings = np.array([row[1] for row in rows], dtype=np.uint8)
    return chosen(values, np.zeros(len(rows), dtype=np.uint64), bindings, lambda row: rows[row][2])


def read_kallsyms(stream: BinaryIO) -> KernelSymbols | None:
    """Return what a kallsyms file says, as `kallsyms`; files of /proc have no size to check before."""
    text = stream.read(_MOST_TEXT + 1)
    return kallsyms(text) if len(text) <= _MOST_TEXT else None
