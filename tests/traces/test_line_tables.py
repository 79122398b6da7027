# SPDX-License-Identifier: Apache-2.0
"""Where functions are defined by debug information: of every DWARF that compilers write here, and of damaged ones."""

from __future__ import annotations

import shutil
import struct
import subprocess
import tracemalloc
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from git_hmopt.traces import line_tables
from git_hmopt.traces.elf import UnusableError, read_elf
from git_hmopt.traces.line_tables import LineTables
from git_hmopt.traces.symbol_tables import elf_symbols
from tests.traces.elf_writer import ElfWriter

PROGRAM = """\
#include "inlined.h"
#define KEEP __attribute__((noinline))
static volatile int sink;

KEEP static int
first(int n)
{
    return inlined(n) + sink;
}

KEEP int second(int n) { for (int i = 0; i < n; i++) sink += first(i); return sink; }

int main(void) { return second(3); }
"""
HEADER = "static inline int inlined(int n)\n{\n    return n * 7 + 1;\n}\n"
ASSEMBLY = (
    "    .text\n    .globl by_hand\n    .type by_hand, @function\nby_hand:\n    ret\n    .size by_hand, .-by_hand\n"
)
LINES = {"first": ("p.c", 6), "second": ("p.c", 11), "main": ("p.c", 13)}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("gcc") is None:
        pytest.skip("needs gcc, and it is not installed")
    there = tmp_path_factory.mktemp("lines")
    (there / "p.c").write_text(PROGRAM)
    (there / "inlined.h").write_text(HEADER)
    (there / "by_hand.s").write_text(ASSEMBLY)
    return there


def built(source: Path, *options: str, output: str = "p") -> Path:
    command = ["gcc", "-O1", *options, "-o", output, "p.c", "by_hand.s"]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True, timeout=60)
    if done.returncode:
        pytest.skip(f"gcc cannot do {options} here: {done.stderr[-200:]}")
    return source / output


def places(path: Path, names_from: Path | None = None) -> dict[str, tuple[str, int]]:
    """Return where the functions of a file are defined, by name."""
    elf, named = read_elf(path), read_elf(names_from or path)
    with named.opened() as stream:
        table = elf_symbols(named, stream)
    assert table is not None
    names = {start: table.name_of(row).decode() for start, row in zip(table.starts, table.rows, strict=True)}
    return {names[address]: place for address, place in LineTables(elf).places(list(names)).items()}


@pytest.mark.parametrize(
    "options",
    [
        ("-g",),
        ("-g", "-gdwarf-5"),
        ("-g", "-gdwarf-4"),
        ("-g", "-gdwarf-3"),
        ("-g", "-gdwarf-2", "-gstrict-dwarf"),
        ("-g", "-no-pie"),
        ("-g", "-gz=zlib"),
        ("-g", "-gz=zstd"),
        ("-g", "-ffunction-sections"),
        ("-g", "-flto"),
    ],
    ids=" ".join,
)
def test_functions_are_where_the_source_has_them(source: Path, options: tuple[str, ...]) -> None:
    found = places(built(source, *options))
    assert {name: (Path(file).name, line) for name, (file, line) in found.items() if name in LINES} == LINES
    assert {str(Path(file).parent) for name, (file, _) in found.items() if name in LINES} == {str(source)}


def test_assembly_has_the_line_of_its_first_instruction(source: Path) -> None:
    found = places(built(source, "-g", "-Wa,-g"))
    assert found["by_hand"] == (str(source / "by_hand.s"), 5)


def test_units_without_an_index_of_addresses_are_found(source: Path) -> None:
    if shutil.which("objcopy") is None:
        pytest.skip("needs objcopy, and it is not installed")
    path = built(source, "-g")
    subprocess.run(["objcopy", "--remove-section=.debug_aranges", "p", "bare"], cwd=source, check=True, timeout=60)
    assert places(source / "bare") == places(path)


def test_debug_information_apart_from_the_program(source: Path) -> None:
    if shutil.which("objcopy") is None:
        pytest.skip("needs objcopy, and it is not installed")
    path = built(source, "-g")
    subprocess.run(["objcopy", "--only-keep-debug", "p", "p.debug"], cwd=source, check=True, timeout=60)
    assert places(source / "p.debug", path) == places(path)


def test_without_debug_information_there_is_no_place(source: Path) -> None:
    assert places(built(source, "-g0", output="plain")) == {}


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(data=st.data())
def test_damaged_debug_information_gives_places_or_none(source: Path, tmp_path: Path, data: st.DataObject) -> None:
    path = source / "fuzzed"
    if not path.exists():
        built(source, "-g", output="fuzzed")
    elf = read_elf(path)
    content = bytearray(path.read_bytes())
    names = (".debug_aranges", ".debug_info", ".debug_abbrev", ".debug_line", ".debug_line_str", ".debug_str")
    for _ in range(data.draw(st.integers(1, 6))):
        section = elf.section(data.draw(st.sampled_from(names)))
        assert section is not None
        at = section.offset + data.draw(st.integers(0, section.size - 1))
        junk = data.draw(st.sampled_from([b"\xff" * 8, b"\0" * 4, b"\x7f", b"\x80" * 12]) | st.binary(max_size=8))
        content[at : at + len(junk)] = junk
    (tmp_path / "damaged").write_bytes(content)
    try:
        found = read_elf(tmp_path / "damaged")
        with found.opened() as stream:
            table = elf_symbols(found, stream)
    except UnusableError:
        return
    if table is not None:
        LineTables(found).places(table.starts)


# -- written from its layout ----------------------------------------------------------------------------------------

AT = 0x401000
STRING, BLOCK1, DATA1, DATA8, SDATA, STRP = 0x08, 0x0A, 0x0B, 0x07, 0x0D, 0x0E
"""DW_FORM_*."""


@dataclass
class Dwarf:
    """One unit at AT with one function, whose file and line are written in `form`, as `place` says."""

    place: bytes = b"\0\x07"
    form: int = DATA1
    version: int = 4
    program: bytes = b""
    inner: bytes = b""
    """Entries before the function: 3 has nothing, 4 has entries in it, 5 is a namespace."""
    names: tuple[int, bytes] = (STRING, b"msort.c\0")
    """The form of the names of files, and the first one."""
    strings: bytes = b"\0"

    def sections(self) -> list[tuple[str, int, int, bytes]]:
        form = bytes([self.form])
        abbreviations = (
            b"\x01\x11\x01" b"\x11\x01\x12\x07\x10\x17\x1b\x08" b"\0\0"
            b"\x02\x2e\0" b"\x3a" + form + b"\x3b" + form + b"\x11\x01\x12\x07" b"\0\0"
            b"\x03\x0d\0\0\0" b"\x04\x13\x01\0\0" b"\x05\x39\x01\0\0" b"\0"
        )  # fmt: skip
        span = struct.pack("<QQ", AT, 0x100)
        entries = b"\x01" + span + struct.pack("<I", 0) + b"./stdlib\0" + self.inner + b"\x02" + self.place + span
        unit = struct.pack("<HIB", 4, 0, 8) + entries + b"\0"
        return [
            (".debug_abbrev", 1, 0, abbreviations),
            (".debug_info", 1, 0, struct.pack("<I", len(unit)) + unit),
            (".debug_line", 1, 0, self.lines()),
            (".debug_str", 1, 0, self.strings),
        ]

    def lines(self) -> bytes:
        if self.version == 5:
            form, name = self.names
            files = (
                b"\x01\x01\x08" b"\x02" b"./stdlib\0../other\0"
                b"\x02\x01" + bytes([form]) + b"\x02\x0b" b"\x02" + name + b"\0" + name + b"\x01"
            )  # fmt: skip
        else:
            files = b"../other\0\0msort.c\0\0\0\0msort.c\0\x01\0\0\0"
        head = (b"\x01\x01" if self.version >= 4 else b"\x01") + b"\x01\xfb\x0e\x0a" + b"\0\1\1\1\1\0\0\0\1" + files
        wide = b"\x08\0" if self.version == 5 else b""
        body = struct.pack("<H", self.version) + wide + struct.pack("<I", len(head)) + head + self.program
        return struct.pack("<I", len(body)) + body

    def place_of(self, there: Path, address: int = AT) -> tuple[str, int] | None:
        path = there / "written"
        path.write_bytes(ElfWriter(sections=self.sections()).file())
        return LineTables(read_elf(path)).places([address]).get(address)


@pytest.mark.parametrize(
    ("version", "file", "expected"),
    [(4, 1, "stdlib/msort.c"), (4, 2, "other/msort.c"), (5, 0, "stdlib/msort.c"), (5, 1, "other/msort.c")],
)
def test_paths_below_a_relative_directory_have_it_once(tmp_path: Path, version: int, file: int, expected: str) -> None:
    assert Dwarf(bytes([file, 7]), version=version).place_of(tmp_path) == (expected, 7)


@pytest.mark.parametrize(
    ("form", "place"),
    [
        (STRING, b"one\0two\0"),
        (BLOCK1, b"\x01\x01\x01\x01"),
        (SDATA, b"\x7f\x07"),
        (SDATA, b"\x01\x79"),
        (DATA1, b"\x09\x07"),
        (DATA8, struct.pack("<QQ", 1, 1 << 40)),
    ],
)
def test_a_declaration_that_is_no_file_and_line_is_no_place(tmp_path: Path, form: int, place: bytes) -> None:
    assert Dwarf(place, form).place_of(tmp_path) is None


def test_a_function_is_found_behind_entries_and_in_namespaces_but_not_in_another_entry(tmp_path: Path) -> None:
    assert Dwarf(b"\x01\x07", inner=b"\x03\x04\x03\x04\x03\0\0\x03").place_of(tmp_path) == ("stdlib/msort.c", 7)
    assert Dwarf(b"\x01\x07", inner=b"\x05\x05").place_of(tmp_path) == ("stdlib/msort.c", 7)
    assert Dwarf(b"\x01\x07", inner=b"\x04").place_of(tmp_path) is None


def test_entries_are_not_kept(tmp_path: Path) -> None:
    # What is imported meanwhile stays.
    assert Dwarf(b"\x01\x07").place_of(tmp_path) == ("stdlib/msort.c", 7)
    tracemalloc.start()
    try:
        assert Dwarf(b"\x01\x07", inner=b"\x03" * 20_000).place_of(tmp_path) == ("stdlib/msort.c", 7)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 2 << 20


def test_entries_beyond_all_bounds_end_the_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line_tables, "_MOST_ENTRIES", 100)
    assert Dwarf(b"\x01\x07", inner=b"\x03" * 98).place_of(tmp_path) is not None
    assert Dwarf(b"\x01\x07", inner=b"\x03" * 100).place_of(tmp_path) is None


def set_address(address: bytes) -> bytes:
    size = len(address) + 1
    return b"\0" + bytes([size & 0x7F | 0x80, size >> 7 & 0x7F | 0x80, size >> 14]) + b"\x02" + address


def test_an_address_of_many_bytes_is_none(tmp_path: Path) -> None:
    row, end = b"\x01\x02\x04", b"\x02\x08\0\x01\x01"
    # Behind the function, so that its line is that of the program.
    fine = Dwarf(b"\x01\x07", program=set_address(struct.pack("<Q", AT + 0x100)) + row + end)
    fine.inner, span = b"", struct.pack("<QQ", AT, 0x200)
    sections = {name: data for name, _, _, data in fine.sections()}
    wider = sections[".debug_info"].replace(struct.pack("<QQ", AT, 0x100), span, 1)
    path = tmp_path / "written"

    def place(lines: bytes) -> tuple[str, int] | None:
        changed = {**sections, ".debug_info": wider, ".debug_line": lines}
        path.write_bytes(ElfWriter(sections=[(name, 1, 0, data) for name, data in changed.items()]).file())
        return LineTables(read_elf(path)).places([AT + 0x100]).get(AT + 0x100)

    assert place(fine.lines()) == ("stdlib/msort.c", 1)
    tracemalloc.start()
    try:
        assert place(Dwarf(program=set_address(b"\xff" * (1 << 20)) + b"\x02\x01\x01" * 100).lines()) is None
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 40 << 20


def test_a_name_without_an_end_is_none(tmp_path: Path) -> None:
    named = Dwarf(b"\0\x07", version=5, names=(STRP, struct.pack("<I", 1)), strings=b"\0msort.c\0")
    assert named.place_of(tmp_path) == ("stdlib/msort.c", 7)
    named.strings = b"\0" + b"x" * (1 << 20) + b"\0"
    assert named.place_of(tmp_path) is None


def test_compressed_sections_have_a_bound_together(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = [one.size for one in read_elf(built(source, "-g")).sections if one.name.startswith(".debug_")]
    path = built(source, "-g", "-gz=zlib", output="packed")
    if not any(one.flags & 0x800 for one in read_elf(path).sections):
        pytest.skip("nothing is compressed: the sections are too small for it")
    monkeypatch.setattr(line_tables, "_MOST_INFLATED", sum(sizes) + 100)
    assert places(path)
    monkeypatch.setattr(line_tables, "_MOST_INFLATED", max(sizes))
    assert places(path) == {}
