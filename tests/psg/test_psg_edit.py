# SPDX-License-Identifier: Apache-2.0
"""Edits by extent."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from git_hmopt.errors import PatchError
from git_hmopt.psg.edit import Edit, replace


def test_replace_insert_delete_in_any_order() -> None:
    edits = [Edit(6, 11, b"tree"), Edit(0, 0, b"> "), Edit(5, 6, b"_"), Edit(11, 11, b"!"), Edit(0, 0, b"# ")]
    assert replace(b"hello world", edits) == b"> # hello_tree!"


def test_no_edit_is_no_change() -> None:
    assert replace(b"abc", []) == b"abc"


@pytest.mark.parametrize("edits", [[Edit(0, 3, b""), Edit(2, 4, b"")], [Edit(1, 4, b"x"), Edit(2, 2, b"y")]])
def test_overlap_is_refused(edits: list[Edit]) -> None:
    with pytest.raises(PatchError, match="overlaps"):
        replace(b"abcdef", edits)


@pytest.mark.parametrize("edit", [Edit(-1, 0, b""), Edit(0, 7, b""), Edit(4, 3, b""), Edit(7, 7, b"")])
def test_edit_outside_is_refused(edit: Edit) -> None:
    with pytest.raises(PatchError, match="lies outside"):
        replace(b"abcdef", [edit])


@given(st.binary(max_size=60), st.data())
def test_disjoint_edits_equal_edits_one_after_the_other_from_the_end(source: bytes, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.sets(st.integers(0, len(source)), max_size=8)))
    edits = [Edit(a, b, data.draw(st.binary(max_size=4))) for a, b in zip(cuts[::2], cuts[1::2], strict=False)]
    expected = source
    for edit in reversed(edits):
        expected = expected[: edit.start] + edit.text + expected[edit.end :]
    assert replace(source, edits) == expected
