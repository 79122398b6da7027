# SPDX-License-Identifier: Apache-2.0
"""Numbers that are read out of a block for all lines at once, against an expression that reads one."""

from __future__ import annotations

import re

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from git_hmopt.traces.text_columns import PAD, TextColumns

MOST = 18
"""Digits that are read; an int64 holds them whatever they are."""

_SOME = st.text(alphabet="0123456789", max_size=24) | st.sampled_from([" ", "\t", "/", ":", "\x00", "\x7f", "a", "."])
TEXT = st.lists(_SOME, max_size=24).map(lambda parts: "".join(parts).encode())


@given(TEXT)
def test_a_number_ends_with_its_digits(block: bytes) -> None:
    text = TextColumns(block)
    at = np.arange(PAD, PAD + len(block) + 1)
    values, ends = text.number(at)
    for place, value, end in zip(at.tolist(), values.tolist(), ends.tolist(), strict=True):
        found = re.match(rb"[0-9]{0,%d}" % MOST, text.raw[place:])
        assert found is not None
        assert (value, end) == (int(found[0] or 0), place + len(found[0]))


@given(TEXT, st.integers(-2, 24))
def test_a_number_ends_where_it_has_to(block: bytes, most: int) -> None:
    text = TextColumns(block)
    at = np.arange(PAD, PAD + len(block) + 1)
    values, ends = text.number(at, at + most)
    for place, value, end in zip(at.tolist(), values.tolist(), ends.tolist(), strict=True):
        found = re.match(rb"[0-9]{0,%d}" % MOST, text.raw[place : place + max(0, most)])
        assert found is not None
        assert (value, end) == (int(found[0] or 0), place + len(found[0]))


@given(TEXT)
def test_a_number_before_a_place_begins_with_its_digits(block: bytes) -> None:
    text = TextColumns(block)
    at = np.arange(PAD, PAD + len(block) + 1)
    values, starts = text.number_before(at)
    for place, value, start in zip(at.tolist(), values.tolist(), starts.tolist(), strict=True):
        found = re.search(rb"[0-9]{0,%d}$" % MOST, text.raw[place - MOST : place])
        assert found is not None
        assert (value, start) == (int(found[0] or 0), place - len(found[0]))


@given(TEXT)
def test_blanks_before_a_place_are_cut_off(block: bytes) -> None:
    text = TextColumns(block)
    at = np.arange(PAD, PAD + len(block) + 1)
    for place, end in zip(at.tolist(), text.skip_back(at, " \t", most=3).tolist(), strict=True):
        before = text.raw[:place]
        assert place - end == min(3, len(before) - len(before.rstrip(b" \t")))
