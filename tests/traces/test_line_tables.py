# SPDX-License-Identifier: Apache-2.0
"""Where functions are defined by debug information: of every DWARF that compilers write here, and of damaged ones."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from git_hmopt.traces.elf import UnusableError, read_elf
from git_hmopt.traces.line_tables import LineTables
from git_hmopt.traces.symbol_tables import elf_symbols

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
