# SPDX-License-Identifier: Apache-2.0
"""The estimate: checked against scipy on the same numbers, and on samples whose truth is built in."""

from __future__ import annotations

import math
import random
import subprocess
import sys
from collections.abc import Mapping, Sequence
from statistics import fmean, stdev

import pytest
from scipy import stats

from git_hmopt.errors import MeasurementError
from git_hmopt.measure.sampling import Row, Samples
from git_hmopt.measure.statistics import (
    BOOT_LOOKS,
    Estimate,
    boot_ratios,
    bootstrap_interval,
    estimate_boots,
    estimate_layouts,
    exact_estimate,
    layout_ratios,
    level,
    looks,
    ratio_texts,
    smallest_detectable,
)
from git_hmopt.records.words import Seed


def _samples(cells: Mapping[tuple[str, int], Sequence[float]], drift: Sequence[float] = (), stage: int = 0) -> Samples:
    """Return samples from log readings by binary, one a round, with the rounds' drift on top."""
    rows = [
        Row(stage, round_, arm, Seed(seed), 0, math.exp(value + (drift[round_] if drift else 0.0)))
        for (arm, seed), values in cells.items()
        for round_, value in enumerate(values)
    ]
    return Samples(tuple(rows))


def _noisy(base: Sequence[float], candidate: Sequence[float], boots: int = 9, sd: float = 0.0) -> Samples:
    rng = random.Random(5)
    cells = {("base", n): [v + rng.gauss(0, sd) for _ in range(boots)] for n, v in enumerate(base)}
    cells |= {("candidate", n): [v + rng.gauss(0, sd) for _ in range(boots)] for n, v in enumerate(candidate)}
    return _samples(cells)


BASE = [0.00, 0.03, -0.02, 0.05, 0.01, -0.04]
CANDIDATE = [-0.04, -0.02, -0.05, 0.02, -0.04, -0.06]


def test_the_paired_interval_is_scipys_over_layouts_whatever_the_number_of_boots() -> None:
    differences = [c - b for b, c in zip(BASE, CANDIDATE, strict=True)]
    expected = stats.ttest_1samp(differences, 0).confidence_interval(0.95)
    for boots in (2, 9, 40):
        found = estimate_layouts(_noisy(BASE, CANDIDATE, boots))
        assert math.log1p(found.low) == pytest.approx(expected.low)
        assert math.log1p(found.high) == pytest.approx(expected.high)
        assert (found.layouts, found.boots, found.paired) == (6, boots, True)
    assert found.ratio_minus_one == pytest.approx(math.expm1(sum(differences) / 6))


@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.9975])
def test_the_unpaired_interval_is_welchs(confidence: float) -> None:
    wide = [*CANDIDATE, 0.3, -0.2]
    cells = {("base", n): [v] * 3 for n, v in enumerate(BASE)}
    cells |= {("candidate", 100 + n): [v] * 3 for n, v in enumerate(wide)}
    expected = stats.ttest_ind(wide, BASE, equal_var=False).confidence_interval(confidence)
    found = estimate_layouts(_samples(cells), paired=False, confidence=confidence)
    assert math.log1p(found.low) == pytest.approx(expected.low)
    assert math.log1p(found.high) == pytest.approx(expected.high)
    assert not found.paired and found.layouts == 6


@pytest.mark.parametrize("paired", [True, False])
def test_the_points_are_what_the_interval_stands_on(paired: bool) -> None:
    samples = _noisy([5.0, 5.2, 4.9, 5.1], [4.9, 5.0, 4.9, 5.05], boots=5, sd=0.01)
    points = layout_ratios(samples, paired=paired)
    estimate = estimate_layouts(samples, paired=paired)
    assert len(points) == 4
    assert fmean(map(math.log1p, points)) == pytest.approx(math.log1p(estimate.ratio_minus_one))
    if paired:
        assert stdev(map(math.log1p, points)) / 2 == pytest.approx(estimate.standard_error)


def test_the_points_of_boots_are_their_rounds() -> None:
    samples = _samples({("base", 0): [0.0, 0.1, 0.2], ("candidate", 0): [0.1, 0.0, 0.2]}, [0.5, 0.1, 0.0])
    points = boot_ratios(samples)
    assert points == pytest.approx([math.expm1(0.1), math.expm1(-0.1), 0], abs=1e-9)
    assert ratio_texts(points) == ("0.105171", "-0.095163", "0")


def test_drift_common_to_a_round_changes_nothing() -> None:
    cells = {("base", n): [v] * 5 for n, v in enumerate(BASE)}
    cells |= {("candidate", n): [v] * 5 for n, v in enumerate(CANDIDATE)}
    still, drifting = estimate_layouts(_samples(cells)), estimate_layouts(_samples(cells, [0.5, -0.3, 0.1, 0.2, 0]))
    assert drifting.low == pytest.approx(still.low) and drifting.boot_sd == pytest.approx(0, abs=1e-9)


def test_a_failed_run_of_a_much_faster_candidate_is_not_taken_for_drift() -> None:
    rng = random.Random(4)
    fast = {("base", n): [v + rng.gauss(0, 0.02) for _ in range(10)] for n, v in enumerate(BASE)}
    fast |= {("candidate", n): [v - 1.4 + rng.gauss(0, 0.02) for _ in range(10)] for n, v in enumerate(BASE)}
    whole = _samples(fast)
    holed = Samples(tuple(row for row in whole.rows if (row.arm, row.seed, row.round) != ("base", 3, 4)))
    before, after = estimate_layouts(whole), estimate_layouts(holed)
    assert after.boot_sd == pytest.approx(before.boot_sd, rel=0.1) == pytest.approx(0.02, rel=0.2)
    assert after.layout_sd == pytest.approx(before.layout_sd, rel=0.1)
    assert after.ratio_minus_one == pytest.approx(before.ratio_minus_one, rel=0.01)


def test_one_wild_boot_does_not_move_the_median() -> None:
    cells = {("base", n): [v] * 9 for n, v in enumerate(BASE)}
    cells |= {("candidate", n): [v] * 9 for n, v in enumerate(BASE)}
    cells["candidate", 3] = [BASE[3]] * 8 + [4.0]
    assert estimate_layouts(_samples(cells)).ratio_minus_one == pytest.approx(0, abs=1e-9)


def test_layout_and_boot_variance_are_told_apart() -> None:
    rng = random.Random(11)
    effects = [rng.gauss(0, 0.04) for _ in range(400)]
    found = estimate_layouts(_noisy(effects, effects, boots=10, sd=0.02))
    assert found.boot_sd == pytest.approx(0.02, rel=0.05)
    assert found.layout_sd == pytest.approx(0.04, rel=0.1)


def test_the_layout_sd_is_taken_within_stages() -> None:
    # Blocking gives every stage its own zero; across stages the spread would be the zeros'.
    first = {(arm, n): [0.01 * n] * 4 for arm in ("base", "candidate") for n in range(4)}
    second = {(arm, 10 + n): [5 + 0.01 * n] * 4 for arm in ("base", "candidate") for n in range(4)}
    later = [Row(1, r.round + 4, r.arm, r.seed, 0, r.value) for r in _samples(second).rows]
    found = estimate_layouts(Samples(_samples(first).rows + tuple(later)))
    assert found.layout_sd == pytest.approx(stats.tstd([0, 0.01, 0.02, 0.03]), rel=1e-6)


def test_too_few_layouts_and_unpaired_seeds_are_refused() -> None:
    with pytest.raises(MeasurementError, match="1 units"):
        estimate_layouts(_noisy([0.0], [0.1]))
    with pytest.raises(MeasurementError, match="cannot be paired"):
        estimate_layouts(_noisy([0.0, 0.1, 0.2], [0.1, 0.0]))
    with pytest.raises(MeasurementError, match="0 units"):
        estimate_boots(_samples({("base", 0): [0.0, 0.1]}))


def test_boots_are_paired_by_round() -> None:
    drift = [0.3 * math.sin(n) for n in range(12)]
    rng = random.Random(3)
    differences = [rng.gauss(-0.05, 0.01) for _ in range(12)]
    found = estimate_boots(_samples({("base", 0): [0.0] * 12, ("candidate", 0): differences}, drift))
    expected = stats.ttest_1samp(differences, 0).confidence_interval(0.95)
    assert (math.log1p(found.low), math.log1p(found.high)) == pytest.approx((expected.low, expected.high))
    assert (found.layouts, found.boots, found.layout_sd) == (1, 12, None)


def test_a_count_has_no_width_and_zero_is_refused() -> None:
    found = exact_estimate(1000, 869)
    assert found.low == found.high == found.ratio_minus_one == pytest.approx(-0.131)
    with pytest.raises(MeasurementError, match="a count of 0 on base"):
        exact_estimate(0, 5)


def test_the_bootstrap_agrees_with_the_t_interval_where_it_should() -> None:
    rng = random.Random(2)
    base = [rng.gauss(0, 0.02) for _ in range(60)]
    samples = _noisy(base, [value - 0.05 + rng.gauss(0, 0.01) for value in base], boots=3)
    for paired in (True, False):
        estimate = estimate_layouts(samples, paired=paired)
        low, high = bootstrap_interval(samples, paired=paired, seed=1)
        assert low == pytest.approx(estimate.low, abs=0.15 * (estimate.high - estimate.low))
        assert high == pytest.approx(estimate.high, abs=0.15 * (estimate.high - estimate.low))
    assert bootstrap_interval(samples, seed=1) == bootstrap_interval(samples, seed=1)


def test_the_level_is_in_the_metrics_unit() -> None:
    samples = _samples({("base", n): [math.log(200.0)] * 3 for n in range(4)})
    found = level(samples, "base")
    assert (found.value, found.low, found.high) == pytest.approx((200, 200, 200))
    assert (found.layouts, found.n) == (4, 12)
    with pytest.raises(MeasurementError, match="arm 'candidate' has no readings"):
        level(samples, "candidate")


@pytest.mark.parametrize(
    ("total", "units"),
    [(12, [4, 6, 12]), (4, [4]), (5, [4, 5]), (8, [4, 8]), (24, [4, 6, 12, 24]), (64, [11, 16, 32, 64])],
)
def test_the_schedule_of_looks_is_fixed_and_spends_the_error_rate_once(total: int, units: list[int]) -> None:
    schedule = looks(total, 0.95)
    assert [look.units for look in schedule] == units
    assert sum(1 - look.confidence for look in schedule) == pytest.approx(0.05)
    assert 1 - schedule[-1].confidence > 0.0324


def test_boots_are_looked_at_earlier_and_one_look_keeps_all() -> None:
    assert [look.units for look in looks(120, 0.95, BOOT_LOOKS)] == [12, 24, 48, 120]
    (only,) = looks(12, 0.9, ())
    assert only.units == 12 and only.confidence == pytest.approx(0.9)


def test_the_smallest_detectable_change_has_the_power_it_says() -> None:
    rng = random.Random(9)
    error, bound, found = 0.004, 0.01, 0
    half = 2.0 * error
    least = smallest_detectable(Estimate(0, -half, half, 12, 10, None, None, True, standard_error=error), bound)
    for _ in range(4000):
        found += rng.gauss(-least, error) + half < -bound
    assert found / 4000 == pytest.approx(0.8, abs=0.02)


def test_nothing_heavy_is_loaded_before_an_interval_is_computed() -> None:
    code = (
        "import sys, git_hmopt.measure.gate, git_hmopt.measure.compare, git_hmopt.measure.policy, "
        "git_hmopt.measure.outcome; print([m for m in ('scipy', 'numpy') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
