# SPDX-License-Identifier: Apache-2.0
"""Reading the plugin's files and attributing them: pure functions, plus the host's own nm, addr2line and readelf."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from git_hmopt.errors import MeasurementError
from hmopt_adapters.qemu_counts import (
    Block,
    LineCount,
    SourcePaths,
    SymbolTable,
    WindowTotals,
    count_lines,
    executions_by_address,
    parse_addr2line,
    parse_blocks,
    parse_compilation_directories,
    parse_window,
    require_one_window,
    self_counts_text,
    with_idle,
)

TOTALS = "hmopt-window 1\nwindows 1\nopen 0\nstray 0\ninstructions 12\nblocks 2\nblock-instructions 12\nend\n"
BLOCKS = "hmopt-blocks 1\n1000 3 2\n1004 2 3\n"
ADDRESSES = "hmopt-block-addresses 1\n1000 1000 1004 1006\n1004 1004 1006\n"


def test_totals_are_read() -> None:
    assert parse_window(TOTALS) == WindowTotals(
        windows=1, open=False, stray=0, instructions=12, blocks=2, block_instructions=12
    )


def test_totals_without_blocks_are_read() -> None:
    totals = parse_window("hmopt-window 1\nwindows 1\nopen 0\nstray 0\ninstructions 7\nend\n")
    assert totals.blocks is None and totals.block_instructions is None


@pytest.mark.parametrize("cut", range(0, len(TOTALS) - 1, 7))
def test_totals_cut_anywhere_are_refused(cut: int) -> None:
    with pytest.raises(MeasurementError, match="cut short"):
        parse_window(TOTALS[:cut])


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (TOTALS.replace("window 1", "window 2", 1), "cut short"),
        (TOTALS.replace("stray 0\n", ""), "'stray'"),
        (TOTALS.replace("instructions 12", "instructions many"), "many"),
    ],
)
def test_totals_of_another_shape_are_refused(text: str, why: str) -> None:
    with pytest.raises(MeasurementError, match=why):
        parse_window(text)


@pytest.mark.parametrize(
    ("windows", "opened", "stray", "why"),
    [
        (0, False, 0, "never came to the marked window"),
        (0, True, 0, "ended inside the marked window"),
        (2, False, 0, "2 times"),
        (1, False, 1, "1 markers out of order"),
    ],
)
def test_anything_but_one_whole_window_is_refused(windows: int, opened: bool, stray: int, why: str) -> None:
    with pytest.raises(MeasurementError, match=why):
        require_one_window(WindowTotals(windows=windows, open=opened, stray=stray, instructions=5))


def test_blocks_that_overlap_are_added_by_address() -> None:
    blocks = parse_blocks(BLOCKS, ADDRESSES, parse_window(TOTALS))
    assert blocks == [Block((0x1000, 0x1004, 0x1006), 2), Block((0x1004, 0x1006), 3)]
    assert executions_by_address(blocks) == {0x1000: 2, 0x1004: 5, 0x1006: 5}


@pytest.mark.parametrize(
    ("blocks", "addresses", "why"),
    [
        ("", ADDRESSES, "cut short"),
        (BLOCKS, ADDRESSES[:-20], "cut short"),
        (BLOCKS.replace("1004 2 3", "1004 2 4"), ADDRESSES, "add up to 14"),
        (BLOCKS, ADDRESSES.replace("1004 1004 1006", "1004 1004"), "cannot be read"),
        (BLOCKS, ADDRESSES.replace("\n1004", "\n1008"), "cannot be read"),
        (BLOCKS.replace("1000 3 2", "1000 3"), ADDRESSES, "cannot be read"),
    ],
)
def test_block_files_that_disagree_are_refused(blocks: str, addresses: str, why: str) -> None:
    with pytest.raises(MeasurementError, match=why):
        parse_blocks(blocks, addresses, parse_window(TOTALS))


NM = """\
                 U outside
0000000000001000 0000000000000020 T sort_r
0000000000001000 0000000000000020 W sort_alias
0000000000001000 t $x
0000000000001008 t label_inside
0000000000001020 0000000000000010 t do_swap
0000000000001030 t bare_label
0000000000002000 0000000000000010 D table
"""


def test_symbols_contain_addresses() -> None:
    symbols = SymbolTable(NM)
    answered = [symbols.at(address) for address in (0xFFF, 0x1000, 0x1008, 0x101F, 0x1020, 0x1030, 0x1100)]
    assert answered == ["??", "sort_r", "sort_r", "sort_r", "do_swap", "bare_label", "bare_label"]


def test_a_symbol_that_is_missing_says_what_to_do() -> None:
    symbols = SymbolTable(NM)
    assert symbols.address("do_swap") == 0x1020
    with pytest.raises(MeasurementError, match=r"no symbol 'hmopt_window_begin'; build it with the overlay"):
        symbols.address("hmopt_window_begin")


def test_addr2line_answers_are_read() -> None:
    output = "0x0000000000001000\n/t/lib/sort.c:12 (discriminator 3)\n0x1004\n??:0\n0x1008\n/t/lib/sort.c:?\n"
    assert parse_addr2line(output) == {0x1000: ("/t/lib/sort.c", 12), 0x1004: ("??", 0), 0x1008: ("??", 0)}


def test_addr2line_answers_of_another_shape_are_refused() -> None:
    with pytest.raises(MeasurementError, match="not an address and its line"):
        parse_addr2line("0x1000\nsort_r\n")


def test_paths_of_a_copied_tree_lead_to_this_one() -> None:
    dwarf = "    <18>   DW_AT_comp_dir    : (indirect string, offset: 0x32): /old/base/build\n"
    assert parse_compilation_directories(dwarf) == ["/old/base/build"]
    paths = SourcePaths(Path("/new/candidate"), Path("/new/candidate/build"), parse_compilation_directories(dwarf))
    assert paths.relative("/old/base/build/../lib/sort.c") == "lib/sort.c"
    assert paths.relative("/old/base/build/lib/crc64table.h") == "build/lib/crc64table.h"
    assert paths.relative("/new/candidate/lib/sort.c") == "lib/sort.c"
    assert paths.relative("../include/linux/list.h") == "include/linux/list.h"
    assert paths.relative("/usr/lib/gcc/include/stdarg.h") == "/usr/lib/gcc/include/stdarg.h"
    assert paths.relative("??") == "??"


def test_a_directory_whose_name_only_starts_alike_is_elsewhere() -> None:
    paths = SourcePaths(Path("/w/base"), Path("/w/base/build"), ())
    assert paths.relative("/w/base-old/lib/sort.c") == "/w/base-old/lib/sort.c"


def test_lines_get_their_instructions_and_executions() -> None:
    places = {0x1000: ("/t/lib/sort.c", 5), 0x1004: ("/t/lib/sort.c", 5), 0x1020: ("/t/lib/swap.h", 9)}
    rows = count_lines(
        {0x1000: 2, 0x1004: 5, 0x1020: 9, 0x1030: 1},
        SymbolTable(NM),
        places,
        SourcePaths(Path("/t"), Path("/t/build"), ()),
    )
    assert rows == [
        LineCount("do_swap", "lib/swap.h", 9, 9, 9),
        LineCount("sort_r", "lib/sort.c", 5, 7, 5),
        LineCount("bare_label", "??", 0, 1, 1),
    ]
    assert self_counts_text(rows[:2]) == (
        "hmopt-self-counts 1\ndo_swap\tlib/swap.h\t9\t9\t9\nsort_r\tlib/sort.c\t5\t7\t5\n"
    )


def test_what_never_ran_is_known_of_hot_functions_and_their_cold_parts() -> None:
    symbols = SymbolTable("1000 8 T hot\n1008 8 t warm\n1010 4 t hot.cold\n1014 4 t warm.cold\n1018 t label\n")
    counted = with_idle({0x1000: 990, 0x1003: 9, 0x1008: 1}, symbols)
    assert {address for address, count in counted.items() if not count} == {
        0x1001, 0x1002, 0x1004, 0x1005, 0x1006, 0x1007, 0x1010, 0x1011, 0x1012, 0x1013
    }  # fmt: skip
    assert (counted[0x1000], counted[0x1003], counted[0x1008]) == (990, 9, 1)
    places = {0x1000: ("/t/a.c", 1), 0x1004: ("/t/a.c", 2), 0x1010: ("/t/a.c", 3)}
    rows = count_lines(counted, symbols, places, SourcePaths(Path("/t"), Path("/t/build"), ()))
    # The byte at 0x1003 is without a line and ran; those that neither ran nor have one are no news.
    assert [(row.symbol, row.line, row.instructions, row.executions) for row in rows] == [
        ("hot", 1, 990, 990), ("hot", 0, 9, 9), ("warm", 0, 1, 1), ("hot", 2, 0, 0), ("hot.cold", 3, 0, 0)
    ]  # fmt: skip


def test_the_hosts_binutils_speak_the_language_we_read(tmp_path: Path) -> None:
    build = tmp_path / "build"
    build.mkdir()
    (tmp_path / "twice.c").write_text(
        "static inline __attribute__((always_inline)) int deep(int x)\n{\n\treturn x * 3;\n}\n\n"
        "int outer(int x)\n{\n\treturn deep(x);\n}\n\nint main(void)\n{\n\treturn outer(1);\n}\n"
    )
    subprocess.run(["gcc", "-O1", "-gdwarf-4", "-no-pie", "-o", "twice", "../twice.c"], cwd=build, check=True)
    symbols = SymbolTable(_output(["nm", "-S", "--defined-only", "twice"], build))
    start = symbols.address("outer")
    assert symbols.at(start) == "outer"
    places = parse_addr2line(_output(["addr2line", "-a", "-e", "twice", hex(start)], build))
    directories = parse_compilation_directories(
        _output(["readelf", "--debug-dump=info", "--dwarf-depth=1", "twice"], build)
    )
    assert str(build) in directories
    file, line = places[start]
    assert SourcePaths(tmp_path, build, directories).relative(file) == "twice.c"
    # The first instruction belongs to `outer` for the linker, and to the line of the inlined `deep` for the reader.
    assert line in (3, 7, 8)


def _output(argv: list[str], cwd: Path) -> str:
    return subprocess.run(argv, cwd=cwd, check=True, capture_output=True, text=True).stdout
