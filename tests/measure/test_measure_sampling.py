# SPDX-License-Identifier: Apache-2.0
"""Sampling: every binary once a round, in a random order that a seed repeats; failures counted and bounded."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest

from git_hmopt.adapters import Image
from git_hmopt.errors import CorruptRecordError, MeasurementError
from git_hmopt.measure.sampling import Arm, Samples, SamplingPlan, sample
from git_hmopt.records.words import Seed


def _arm(name: str, seeds: int = 3) -> Arm:
    return Arm(name, {Seed(n): Image(Path(f"/{name}/{n}"), f"{name}{n}", name, layout=Seed(n)) for n in range(seeds)})


ARMS = (_arm("base"), _arm("candidate"))


def _constant(image: Image, round_: int) -> float:
    return 100.0 + round_


def test_every_binary_is_run_once_a_round_in_an_order_of_its_own() -> None:
    samples = sample(ARMS, _constant, SamplingPlan(rounds=8), random.Random(1))
    assert Counter((row.round, row.arm, row.seed) for row in samples.rows) == {
        (round_, arm, seed): 1 for round_ in range(8) for arm in ("base", "candidate") for seed in range(3)
    }
    orders = {
        tuple((row.arm, row.seed) for row in sorted(samples.rows, key=lambda r: r.order) if row.round == round_)
        for round_ in range(8)
    }
    assert len(orders) > 6
    assert {row.order for row in samples.rows} == set(range(6))


def test_rounds_are_blocks_in_time() -> None:
    seen: list[int] = []

    def runner(image: Image, round_: int) -> float:
        seen.append(round_)
        return 1.0

    sample(ARMS, runner, SamplingPlan(rounds=4), random.Random(1), first_round=10)
    assert seen == sorted(seen) and set(seen) == {10, 11, 12, 13}


def test_the_order_is_the_seeds() -> None:
    runs = [sample(ARMS, _constant, SamplingPlan(rounds=5), random.Random(seed)) for seed in (1, 1, 2)]
    assert runs[0] == runs[1] != runs[2]


def test_a_failing_run_is_tried_once_more_and_counted() -> None:
    calls = Counter[str]()

    def flaky(image: Image, round_: int) -> float:
        calls[f"{image.sha256}/{round_}"] += 1
        if image.sha256 == "base1" and round_ == 3 and calls["base1/3"] == 1:
            raise MeasurementError("no end marker")
        return 5.0

    samples = sample(ARMS, flaky, SamplingPlan(rounds=5), random.Random(1))
    assert samples.retried == 1 and not samples.failures and len(samples.rows) == 30


def test_a_run_that_fails_twice_is_shown_with_its_reason() -> None:
    def broken(image: Image, round_: int) -> float:
        if image.sha256 == "candidate2" and round_ == 2:
            raise MeasurementError("the boot hung")
        return 5.0

    samples = sample(ARMS, broken, SamplingPlan(rounds=5), random.Random(1))
    assert [(f.arm, f.seed, f.round, f.reason) for f in samples.failures] == [("candidate", 2, 2, "the boot hung")]
    assert len(samples.rows) == 29 and samples.retried == 0


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
def test_a_reading_that_is_no_positive_number_is_a_failure(value: float) -> None:
    def once(image: Image, round_: int) -> float:
        return value if image.sha256 == "base0" and round_ == 0 else 2.0

    samples = sample(ARMS, once, SamplingPlan(rounds=3), random.Random(1))
    assert [f.reason for f in samples.failures] == [f"the reading was {value!r}, not a positive number"]


def test_too_many_failures_end_the_measurement_and_name_the_arm() -> None:
    def often(image: Image, round_: int) -> float:
        if image.build == "candidate" and round_ % 2:
            raise MeasurementError("panic")
        return 2.0

    with pytest.raises(MeasurementError, match=r"runs failed \(candidate: 7\), 6 are allowed; .*: panic"):
        sample(ARMS, often, SamplingPlan(rounds=10), random.Random(1))


def test_an_image_that_never_boots_is_given_up_after_two_rounds() -> None:
    runs = Counter[str]()

    def dead(image: Image, round_: int) -> float:
        runs[image.sha256] += 1
        if image.sha256 == "candidate1":
            raise MeasurementError("does not boot")
        return 2.0

    with pytest.raises(MeasurementError, match="arm 'candidate', layout 1 never gave a reading in 2 rounds"):
        sample(ARMS, dead, SamplingPlan(rounds=50), random.Random(1))
    assert runs["candidate1"] == 4


def test_other_errors_are_not_swallowed() -> None:
    def bug(image: Image, round_: int) -> float:
        raise KeyError("bug")

    with pytest.raises(KeyError):
        sample(ARMS, bug, SamplingPlan(rounds=2), random.Random(1))


def test_a_single_round_is_refused() -> None:
    with pytest.raises(MeasurementError, match=r"gave 1 readings, at least 2 .*raise measure.boots"):
        sample(ARMS, _constant, SamplingPlan(rounds=1), random.Random(1))
    assert len(sample(ARMS, _constant, SamplingPlan(rounds=1, min_readings=0), random.Random(1)).rows) == 6


def test_it_stops_when_told_and_says_so() -> None:
    left = iter([True] * 7 + [False])
    samples = sample(ARMS, _constant, SamplingPlan(rounds=5), random.Random(1), keep_going=lambda: next(left))
    assert samples.stopped and len(samples.rows) == 7


def test_samples_are_stored_as_canonical_bytes_and_come_back() -> None:
    def some(image: Image, round_: int) -> float:
        if image.sha256 == "base2" and round_ == 1:
            raise MeasurementError("log cut\nin half")
        return 123456.789 + round_ / 3

    samples = sample(ARMS, some, SamplingPlan(rounds=4), random.Random(1), stage=2)
    stored = samples.to_bytes()
    again = Samples.from_bytes(stored)
    assert again.to_bytes() == stored and again.failures == samples.failures
    assert [row.value for row in again.rows] == pytest.approx([row.value for row in samples.rows], rel=1e-8)
    assert stored.count(b"\n") == 1 and {row.stage for row in again.rows} == {2}


@pytest.mark.parametrize(
    "data",
    [b"", b"[]", b"{}", b'{"v":2}', b'{"v":1,"rows":[[1]],"failures":[],"retried":0,"stopped":false}', b"\xff"],
)
def test_bytes_that_are_no_samples_are_refused(data: bytes) -> None:
    with pytest.raises(CorruptRecordError):
        Samples.from_bytes(data)
