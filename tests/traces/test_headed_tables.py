# SPDX-License-Identifier: Apache-2.0
"""Our own tab-separated texts, and folded stacks: good rows, bad rows, files of something else."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from git_hmopt.errors import AdapterError, MeasurementError
from git_hmopt.traces import folded, headed, registry, self_counts, symbols
from git_hmopt.traces.stacks import OUT_OF_RANGE
from git_hmopt.traces.tables import Samples, SelfCounts, Symbols, TraceFormatError

COUNTS = "hmopt-self-counts 1\nsort_r\tlib/sort.c\t212\t640\t80\nmemcpy\t\t\t12\t4\nmemset\t?\t0\t3\t1\n"
SYMBOLS = "hmopt-symbols 1\nsort_r\tlib/sort.c\t180\nswap\tlib/a.c\t3\nswap\tlib/b.c\t9\nmain\t??\t?\n"


def lines(text: str) -> list[bytes]:
    return text.encode().splitlines(keepends=True)


def test_counts_keep_order_and_what_is_unknown_is_none() -> None:
    table = self_counts.parse(lines(COUNTS))
    assert table == SelfCounts(
        symbol=("sort_r", "memcpy", "memset"),
        file=("lib/sort.c", None, None),
        line=(212, None, None),
        instructions=(640, 12, 3),
        executions=(80, 4, 1),
        skipped={},
    )


def test_definitions_tell_absent_from_ambiguous() -> None:
    table = symbols.parse(lines(SYMBOLS))
    assert table.definitions("sort_r") == (("lib/sort.c", 180),)
    assert table.definitions("swap") == (("lib/a.c", 3), ("lib/b.c", 9))
    assert table.definitions("main") == table.definitions("nobody") == ()
    assert len(table) == 4


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("f\tx.c\t1\t2\n", headed.WRONG_FIELDS),
        ("f\tx.c\t1\t2\t3\t4\n", headed.WRONG_FIELDS),
        ("\x00\x01binary\n", headed.WRONG_FIELDS),
        ("\tx.c\t1\t2\t3\n", headed.NO_SYMBOL),
        ("??\tx.c\t1\t2\t3\n", headed.NO_SYMBOL),
        ("f\tx.c\tone\t2\t3\n", headed.BAD_NUMBER),
        ("f\tx.c\t-1\t2\t3\n", headed.BAD_NUMBER),
        ("f\tx.c\t1\t2.5\t3\n", headed.BAD_NUMBER),
        ("f\tx.c\t1\t2\t-3\n", headed.BAD_NUMBER),
        ("f\tx.c\t1\t2\t\n", headed.BAD_NUMBER),
        ("f\tx.c\t1\t2\t31", headed.TRUNCATED),
    ],
)
def test_bad_rows_of_counts_are_counted_and_the_good_ones_stay(row: str, reason: str) -> None:
    table = self_counts.parse(lines(COUNTS + row))
    assert table.symbol == ("sort_r", "memcpy", "memset")
    assert table.skipped == {reason: 1}


@pytest.mark.parametrize(
    ("row", "reason"),
    [("f\tx.c\n", headed.WRONG_FIELDS), ("f\tx.c\tx\n", headed.BAD_NUMBER), ("f\tx.c\t12", headed.TRUNCATED)],
)
def test_bad_rows_of_symbols_are_counted(row: str, reason: str) -> None:
    table = symbols.parse(lines(SYMBOLS + row))
    assert (len(table), table.skipped) == (4, {reason: 1})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file is empty: its first line should be 'hmopt-self-counts 1'"),
        ("hmopt-self-counts 2\n", "should be 'hmopt-self-counts 1' and is 'hmopt-self-counts 2'"),
        ("hmopt-symbols 1\n", "and is 'hmopt-symbols 1'"),
        ("\x7fELF" + "x" * 500, "and is '\x7fELF"),
    ],
)
def test_another_header_is_refused(text: str, message: str) -> None:
    with pytest.raises(TraceFormatError) as caught:
        self_counts.parse(lines(text))
    assert message in str(caught.value)
    assert len(str(caught.value)) < 200


def test_a_header_alone_is_an_empty_table() -> None:
    assert len(self_counts.parse(lines("hmopt-self-counts 1\n"))) == 0
    assert len(symbols.parse(lines("hmopt-symbols 1\n"))) == 0


def test_folded_stacks_run_from_root_to_leaf() -> None:
    table = folded.parse(lines("main;run;leaf 3\nmain;run 1\n\n# note\nodd name;[libc.so.6] 2\n"))
    named = [[table.frames[index].symbol for index in table.stacks[stack]] for stack in table.stack]
    assert named == [["main", "run", "leaf"], ["main", "run"], ["odd name", "[libc.so.6]"]]
    assert (table.weight, table.unit, table.skipped) == ((3, 1, 2), "samples", {})
    assert set(table.ts_ns) == {None}


def test_bad_folded_lines_are_counted() -> None:
    table = folded.parse(lines("main 1\nmain;cut\nmain;part 1e5\nmain;minus -1\nmain;dots 1.2.3\n 7\n 7.5\n"))
    assert (len(table), table.skipped) == (1, {folded.NO_WEIGHT: 4, folded.NO_STACK: 2})
    assert folded.parse([]).skipped == {folded.EMPTY: 1}
    with pytest.raises(TraceFormatError, match="no folded stacks: none of 2 lines"):
        folded.parse(lines("just\nwords\n"))


def test_decimal_weights_are_counted_in_the_smallest_part_of_any() -> None:
    table = folded.parse(lines("main 1.5\nmain;run 2\nmain;half 0.250\nmain;dot 3.\n"))
    assert (table.weight, table.unit, table.skipped) == ((150, 200, 25, 300), "0.01 samples", {})
    table = folded.parse(lines("main 1.0\nmain;run 2.00\n"))
    assert (table.weight, table.unit) == ((1, 2), "samples")
    table = folded.parse(lines("main 0.12345678\nmain;run 0.9999995\nmain;large 9223372036854775807.5\n"))
    assert (table.weight, table.unit) == ((123_457, 1_000_000), "0.000001 samples")
    assert table.skipped == {folded.ROUNDED: 2, OUT_OF_RANGE: 1}
    assert folded.FORMAT.recognise(b"main;run 1.5\nmain 0.25\n", "any")


def test_differences_are_told_from_stacks_and_what_to_do_instead() -> None:
    text = "main;run 1 2\nmain;run;leaf 3 4.5\nmain 0 7\n"
    assert folded.FORMAT.recognise(text.encode(), "any")
    with pytest.raises(TraceFormatError, match=r"differences of two captures.*; give both .*git hmopt compare BEFORE"):
        folded.parse(lines(text))
    # One name that ends in a number makes no difference, nor do names alone.
    assert folded.parse(lines(text + "main;other 7\n")).weight[-1] == 70
    assert len(folded.parse(lines("nginx 12 7\nsh 13 5\n"))) == 2


def test_a_table_refuses_columns_of_different_length() -> None:
    table = symbols.parse(lines(SYMBOLS))
    with pytest.raises(ValueError, match="differ in length"):
        dataclasses.replace(table, line=(1,))


def test_kinds_are_found_by_name(tmp_path: Path) -> None:
    capture = tmp_path / "counts.txt"
    capture.write_text(COUNTS)
    assert isinstance(registry.parse("self-counts", capture), SelfCounts)
    capture.write_text(SYMBOLS)
    assert isinstance(registry.parse("symbols", capture), Symbols)
    capture.write_text("main 1\n")
    assert isinstance(registry.parse("folded", capture), Samples)
    with pytest.raises(TraceFormatError, match=r"counts\.txt: the first line should be"):
        registry.parse("symbols", capture)
    with pytest.raises(MeasurementError, match=r"cannot read the capture .*absent: No such file"):
        registry.parse("symbols", tmp_path / "absent")
    with pytest.raises(
        AdapterError,
        match=r"no parser reads captures of kind 'tea-leaves'; known are: callgrind, callgrind-lines, d3-json, ",
    ):
        registry.format_of("tea-leaves")


def test_another_package_adds_a_kind_and_cannot_replace_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "leaves.py").write_text(
        "from git_hmopt.traces import folded\n"
        "from git_hmopt.traces.capture import Capture\n"
        "class Leaves:\n"
        "    name = 'tea-leaves'\n"
        "    def recognise(self, head, name): return False\n"
        "    def read(self, source):\n"
        "        return Capture('tea-leaves', read_samples=lambda losses: [folded.parse([b'tea;leaf 1\\n'])])\n"
        "FORMAT = Leaves()\n"
        "parse = print\n"
    )
    about = tmp_path / "leaves-1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: leaves\nVersion: 1\n")
    formats = "tea-leaves = leaves:FORMAT\nsymbols = leaves:FORMAT\nold = leaves:parse\n"
    (about / "entry_points.txt").write_text(f"[git_hmopt.traces]\n{formats}")
    monkeypatch.syspath_prepend(str(tmp_path))
    capture = tmp_path / "any"
    capture.write_text(SYMBOLS)
    assert "tea-leaves" in registry.kinds()
    assert isinstance(registry.parse("tea-leaves", capture), Samples)
    assert isinstance(registry.parse("symbols", capture), Symbols)
    with pytest.raises(AdapterError, match=r"the entry point 'old' of git_hmopt\.traces is no format"):
        registry.parse("old", capture)
