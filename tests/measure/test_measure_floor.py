# SPDX-License-Identifier: Apache-2.0
"""The noise floor: what it is computed from, and that it comes back from its bytes."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from git_hmopt.errors import CorruptRecordError, MeasurementError
from git_hmopt.measure.floor import Floor, FloorSource, SourceKind, floor_of, floor_source, read_floor
from git_hmopt.measure.statistics import Estimate


def _source(value: float, kind: SourceKind = "null-patch") -> FloorSource:
    return floor_source(
        "padding", kind, Estimate(value, value - 0.001, value + 0.001, 12, 10, 0.03, 0.02, kind != "a/a")
    )


def _floor(*values: float) -> Floor:
    return floor_of([_source(value) for value in values], host="h", workload="lib-sort", metric="time")


def test_the_floor_is_the_root_mean_square_of_what_nulls_showed() -> None:
    assert _floor(0.003, -0.004, 0.0).ratio == pytest.approx((25e-6 / 3) ** 0.5)


def test_the_bound_of_twice_the_floor_is_never_below_the_largest_null_seen() -> None:
    assert _floor(-0.03, *[0.0] * 8).ratio == pytest.approx(0.015)


def test_a_null_patchs_half_width_counts_and_an_unpaired_one_does_not() -> None:
    wide = Estimate(0.001, -0.019, 0.021, 12, 10, 0.03, 0.02, True)
    paired = floor_source("padding", "null-patch", wide)
    unpaired = floor_source("two sets", "a/a", replace(wide, paired=False))
    where = {"host": "h", "workload": "w", "metric": "time"}
    assert floor_of([paired], **where).ratio == pytest.approx(0.75 * 0.02)
    assert floor_of([unpaired], **where).ratio == pytest.approx(0.001)


def test_a_floor_needs_a_source() -> None:
    with pytest.raises(MeasurementError, match="at least one comparison of nothing"):
        _floor()


def test_it_comes_back_from_its_bytes_with_its_sources() -> None:
    floor = floor_of([_source(0.002, "a/a"), _source(-0.001)], host="h", workload="w", metric="time")
    again = read_floor(floor.to_json())
    assert again == floor and again.to_json() == floor.to_json()
    assert [(s.kind, s.paired, s.low) for s in again.sources] == [
        ("a/a", False, "0.001"),
        ("null-patch", True, "-0.002"),
    ]


def test_version_1_is_read_for_ever() -> None:
    golden = (
        '{"host":"h","metric":"time","sources":[{"boots":10,"estimate":"0.002","high":"0.012","kind":"a/a",'
        '"layouts":12,"low":"-0.008","name":"padding","paired":false}],"v":1,"value":"0.002","workload":"w"}'
    )
    assert read_floor(golden).ratio == 0.002
    assert read_floor(golden).to_json() == golden


@pytest.mark.parametrize(
    ("key", "value", "named"),
    [("v", 2, "v"), ("value", "much", "value"), ("extra", 1, "extra"), ("sources", 3, "sources")],
)
def test_a_damaged_floor_is_refused_by_the_key(key: str, value: object, named: str) -> None:
    damaged = json.dumps(json.loads(_floor(0.01).to_json()) | {key: value})
    with pytest.raises(CorruptRecordError, match=f"not a stored noise floor: {named}: .*; measure the floor again"):
        read_floor(damaged)


def test_the_points_of_a_null_are_kept_and_a_floor_without_them_is_read() -> None:
    wide = Estimate(0.001, -0.01, 0.012, 12, 10, 0.01, 0.01, paired=True)
    sources = [floor_source("n", "null-patch", wide, (0.01, -0.0123456789)), floor_source("m", "null-patch", wide)]
    text = floor_of(sources, host="h", workload="w", metric="time").to_json()
    assert [one.ratios for one in read_floor(text).sources] == [("0.01", "-0.012346"), ()]
    assert text.count('"ratios"') == 1
    assert read_floor(text).to_json() == text
