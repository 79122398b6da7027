# SPDX-License-Identifier: Apache-2.0
"""Samples as folded text: what is written is read back, whatever a name holds."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from git_hmopt.runtime.fold import folded, folded_pairs, plain_name, stacks_of
from git_hmopt.traces import folded as format_folded
from git_hmopt.traces.stacks import SampleRows
from git_hmopt.traces.tables import Frame, Samples


def samples(*stacks: tuple[tuple[str, ...], int]) -> Samples:
    rows = SampleRows()
    for stack, weight in stacks:
        rows.add([rows.intern(Frame(name)) for name in stack], weight)
    return rows.table(event="cycles", unit="cycles")


def test_stacks_are_summed_and_sorted() -> None:
    table = samples((("main", "b"), 2), (("main", "a"), 1), (("main", "b"), 3))
    assert folded(table) == "main;a 1\nmain;b 5\n"


def test_what_would_part_a_line_is_replaced() -> None:
    table = samples((("ma;in", "a\nb"), 1), ((" ", "x y"), 2), ((), 3))
    assert folded(table) == "[unknown];x y 2\nma:in;a b 1\n"
    assert folded(samples((("#private", "#x"), 1))) == "[#private];[#x] 1\n"


def test_code_without_a_symbol_is_named_by_its_object() -> None:
    rows = SampleRows()
    rows.add([rows.intern(Frame("[unknown]", "/lib/libc.so"))], 4)
    assert folded(rows.table(event="", unit="samples")) == "[libc.so] 4\n"


def test_annotations_of_collapsers_are_no_part_of_a_name() -> None:
    assert [plain_name(name) for name in ("read_[k]", "f_[j]", "g_[x]", "_[i]", "h")] == [
        "read", "f", "g_[x]", "[unknown]", "h",
    ]  # fmt: skip
    assert stacks_of(samples((("main", "read_[k]"), 1), (("main", "read"), 2))) == {("main", "read"): 3}


def test_two_costs_of_names_that_become_one_are_added() -> None:
    assert folded_pairs({("a;b",): (1, 2), ("a:b",): (3, 0), ("c",): (0, 5)}) == "a:b 4 2\nc 0 5\n"


def test_a_name_that_ends_in_a_number_is_no_difference() -> None:
    text = folded(samples((("main", "Thread 5"), 3), (("main", "level 1.5"), 4)))
    assert text == "main;Thread_5 3\nmain;level_1.5 4\n"
    assert format_folded.parse(text.encode().splitlines(keepends=True)).weight == (3, 4)


@given(st.lists(st.tuples(st.lists(st.text(max_size=8), min_size=1, max_size=4).map(tuple), st.integers(1, 99))))
def test_what_is_written_is_read_back(stacks: list[tuple[tuple[str, ...], int]]) -> None:
    text = folded(samples(*stacks))
    again = format_folded.parse(text.encode("utf-8", "surrogatepass").splitlines(keepends=True))
    assert sum(again.weight) == sum(weight for _, weight in stacks)
    assert sorted(map(len, again.stacks)) == sorted(line.count(";") + 1 for line in text.split("\n")[:-1])
