# SPDX-License-Identifier: Apache-2.0
"""Canonical bytes, numbers as text, and what a record refuses."""

from __future__ import annotations

import decimal
import json
import math
import os
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from git_hmopt.errors import HmoptError
from git_hmopt.records.base import Decimal, Record, canonical_json, decimal_text
from git_hmopt.records.operation import Operation
from git_hmopt.records.run import Objective


class Number(Record):
    """A record that holds one number."""

    value: Decimal


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)


# -- canonical bytes ------------------------------------------------------------------------------------------------


@given(VALUES)
def test_canonical_json_is_one_line_and_reads_back_as_the_same_bytes(value: Any) -> None:
    text = canonical_json(value)
    assert len(text.splitlines()) <= 1
    assert canonical_json(json.loads(text)) == text
    assert json.loads(text) == json.loads(json.dumps(value))


def test_keys_are_sorted_and_text_stays_readable() -> None:
    assert canonical_json({"b": "ü", "a": (1, None, True)}) == '{"a":[1,null,true],"b":"ü"}'


def test_the_order_in_which_a_record_was_filled_does_not_show() -> None:
    fields: dict[str, Any] = {"op": "a", "run": "r", "writer": "w", "node": "n", "lamport": 1, "at": "t"}
    one = Operation(**fields, data={"x": 1, "y": {"b": 2, "a": 1}})
    other = Operation.model_validate({"data": {"y": {"a": 1, "b": 2}, "x": 1}, **dict(reversed(fields.items()))})
    assert one.canonical() == other.canonical()


@pytest.mark.parametrize("line_end", ["\n", "\r", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029"])
def test_no_line_end_of_unicode_survives_in_the_line(line_end: str) -> None:
    text = canonical_json({"text": f"a{line_end}b"})
    assert text.splitlines() == [text]
    assert json.loads(text) == {"text": f"a{line_end}b"}


@pytest.mark.parametrize("value", [1.0, float("nan"), [1, 2.5], {"a": {"b": (0.1,)}}])
def test_floats_are_refused_wherever_they_stand(value: Any) -> None:
    with pytest.raises(TypeError, match=r"a float \(.*\) in a record: format it with decimal_text\(\)"):
        canonical_json(value)


def test_a_float_deep_in_an_operation_is_refused_when_it_is_stored() -> None:
    operation = Operation(op="a", run="r", writer="w", node="n", lamport=1, at="t", data={"deep": [{"x": 0.5}]})
    with pytest.raises(TypeError, match=r"a float \(0.5\)"):
        operation.canonical()


@pytest.mark.parametrize("key", [1, 1.5, None, True])
def test_keys_that_are_no_text_are_refused(key: Any) -> None:
    with pytest.raises(TypeError, match="a key that is no text"):
        canonical_json({"fine": {key: 1}})


def test_bytes_and_sets_are_refused() -> None:
    for value in (b"bytes", {1, 2}, object()):
        with pytest.raises(TypeError):
            canonical_json({"value": value})


def test_records_are_frozen() -> None:
    objective = Objective(metric="time")
    with pytest.raises(ValidationError, match="frozen"):
        objective.metric = "count"


def test_text_that_is_no_unicode_is_refused_when_it_is_stored() -> None:
    with pytest.raises(HmoptError, match=r"no Unicode: .*lib/\\udc80.c") as caught:
        Objective(metric=os.fsdecode(b"lib/\x80.c")).canonical()
    assert str(caught.value).isascii()


# -- numbers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.0, "0"),
        (-0.0, "0"),
        (1, "1"),
        (1.0, "1"),
        (-3.50, "-3.5"),
        (0.1 + 0.2, "0.3"),
        (1 / 3, "0.333333333"),
        (2 / 3, "0.666666667"),
        (100, "100"),
        (1e-4, "0.0001"),
        (1e-5, "0.00001"),
        (1.5e-12, "0.0000000000015"),
        (-2e-300, "-0." + "0" * 299 + "2"),
        (sys.float_info.min, decimal_text(2.2250738585e-308)),
        (1e9, "1000000000"),
        (1234567890.25, "1234567890"),
        # Counts are exact: 13,331,055,319 instructions are not 13,331,055,300.
        (13_331_055_319, "13331055319"),
        (13_331_055_319.0, "13331055319"),
        (2**53 - 1, "9007199254740991"),
        (1e22, "1" + "0" * 22),
        (1.7e308, "17" + "0" * 307),
    ],
)
def test_numbers_are_written_without_exponent(value: float, text: str) -> None:
    assert decimal_text(value) == text


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_finite_number_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="is no number that a record can hold"):
        decimal_text(value)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_keeps_nine_digits_and_its_text_is_a_fixed_point(value: float) -> None:
    text = decimal_text(value)
    assert not set(text) - set("-0123456789.")
    assert Number(value=text).value == text
    assert decimal_text(float(text)) == text
    exact = decimal.Decimal(value)
    assert abs(decimal.Decimal(text) - exact) <= abs(exact) * decimal.Decimal("5.1e-9")


@given(st.integers(-(2**53) + 1, 2**53 - 1))
def test_whole_numbers_are_exact_as_int_and_as_float(value: int) -> None:
    assert decimal_text(value) == str(value) == decimal_text(float(value))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nan",
        "inf",
        "-inf",
        "1e5",
        "1.0",
        "1.",
        ".5",
        "+1",
        "01",
        "-0",
        "0x10",
        "1_000",
        " 1",
        "1 ",
        "1\n",
        "٣",
        "1,5",
    ],
)
def test_a_stored_number_is_written_in_the_one_way(text: str) -> None:
    with pytest.raises(ValidationError, match="is not written as decimal_text"):
        Number(value=text)
