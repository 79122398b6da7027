# SPDX-License-Identifier: Apache-2.0
"""The gate's error rates on simulated hosts (LAYOUT.md's variance), and why a single layout cannot decide.

Every number here is from fixed seeds, so a change of the gate that costs power or lets nulls through fails.
"""

from __future__ import annotations

import functools
from collections import Counter
from pathlib import Path

import pytest
from scipy import stats

from git_hmopt.adapters import WorkCase
from git_hmopt.measure.compare import Plan, Side, compare, compare_same
from git_hmopt.measure.floor import Floor, floor_of, floor_source
from git_hmopt.measure.gate import Judgement, confirm, decided, judge
from git_hmopt.measure.simulation import Noise, SimulatedHost, simulated_build
from git_hmopt.measure.statistics import Estimate
from git_hmopt.records.run import Objective
from git_hmopt.records.words import Seed, Verdict

TIME = Objective(metric="time", margin="0.01")
TYPICAL = Noise(layout_sd=0.016)
"""The median of 19 benchmarks: 21 unpaired layouts an arm for +-1 %."""
UNRELATED = Noise(shared=0.0)
"""Layout sd 3 %, and the patched loop shares nothing with the old one."""
RELATED = Noise()
SIMULATIONS = 300


def _side(name: str) -> Side:
    return Side(simulated_build(name), Path("/layouts") / name)


def _case(round_: int) -> WorkCase:
    return WorkCase(Seed(round_), 1000)


def _floor(host: SimulatedHost, run: int) -> Floor:
    """Measure a floor as the loop does: A/A over two layout sets, and two null patches."""
    plan = Plan(early_stop=False)
    same = compare_same(_side("base"), host, host, _case, plan, metric="time", run_seed=run)
    assert same.estimate is not None
    sources = [floor_source("two layout sets", "a/a", same.estimate)]
    for null in ("null-1", "null-2"):
        found = compare(
            _side("base"), _side(null), host, host, _case, plan,
            metric="time", run_seed=run, stream="nulls", decided=lambda estimate: False,
        ).estimate  # fmt: skip
        assert found is not None
        sources.append(floor_source(null, "null-patch", found))
    return floor_of(sources, host="simulated", workload="w", metric="time")


def _known_floor(ratio: float) -> Floor:
    estimate = Estimate(ratio, ratio, ratio, 12, 10, None, None, True)
    return floor_of([floor_source("known", "null-patch", estimate)], host="simulated", workload="w", metric="time")


def _verdict(host: SimulatedHost, floor: Floor, run: int, stream: str) -> Judgement:
    found = compare(
        _side("base"), _side("candidate"), host, host, _case, Plan(layouts=24),
        metric="time", run_seed=run, stream=stream,
        decided=decided(TIME, floor, layout_controlled=True),
    )  # fmt: skip
    return judge(TIME, {"time": found.estimate} if found.estimate else {}, {}, floor)


@functools.cache
def _verdicts(change: float, noise: Noise, floor: float | None, simulations: int = SIMULATIONS) -> Counter[Verdict]:
    """Return how often each verdict was said; a floor of None is measured, and what was accepted confirmed."""
    result: Counter[Verdict] = Counter()
    for run in range(simulations):
        host = SimulatedHost(run, {"base": 0.0, "null-1": 0.0, "null-2": 0.0, "candidate": change}, noise)
        known = _floor(host, run) if floor is None else _known_floor(floor)
        judgement = _verdict(host, known, run, "compare")
        if floor is None and judgement.accepted:
            judgement = confirm(judgement, _verdict(host, known, run, "confirmation"))
        result[judgement.verdict] += 1
    return result


def _upper_bound(successes: int) -> float:
    """Return the upper 95 % bound of a rate (Clopper & Pearson)."""
    return float(stats.beta.ppf(0.95, successes + 1, SIMULATIONS - successes))


@pytest.mark.parametrize("noise", [TYPICAL, RELATED, UNRELATED], ids=["typical", "related", "unrelated"])
def test_a_change_of_nothing_is_neither_accepted_nor_called_worse(noise: Noise) -> None:
    found = _verdicts(0.0, noise, 0.003)
    assert _upper_bound(found[Verdict.IMPROVED]) <= 0.02, found
    assert found[Verdict.REGRESSED] <= 0.02 * SIMULATIONS, found


def test_a_typical_null_against_a_measured_floor_is_told_to_be_none_more_often_than_not() -> None:
    # The median benchmark reaches +-1 % at just 12 layouts, so that an interval within it is no matter of course.
    found = _verdicts(0.0, TYPICAL, None, 150)
    assert found[Verdict.CANNOT_TELL] <= 0.5 * 150, found
    assert not found[Verdict.IMPROVED] and found[Verdict.REGRESSED] <= 0.02 * 150, found


def test_a_change_of_3_per_cent_is_found_four_times_out_of_five() -> None:
    for noise in (TYPICAL, RELATED):
        found = _verdicts(-0.03, noise, 0.005)
        assert found[Verdict.IMPROVED] >= 0.8 * SIMULATIONS, found
        assert not found[Verdict.REGRESSED] and not found[Verdict.NO_CHANGE], found


def test_it_is_found_with_a_floor_that_was_measured_and_a_confirmation() -> None:
    found = _verdicts(-0.03, TYPICAL, None, 150)
    assert found[Verdict.IMPROVED] >= 0.8 * 150, found


def test_a_slower_candidate_is_never_accepted_and_mostly_named() -> None:
    found = _verdicts(0.03, TYPICAL, 0.005)
    assert found[Verdict.REGRESSED] >= 0.9 * SIMULATIONS and not found[Verdict.IMPROVED], found


def test_intervals_of_early_stopped_comparisons_still_cover_the_truth() -> None:
    missed = 0
    for run in range(SIMULATIONS):
        host = SimulatedHost(run, {"base": 0.0, "candidate": -0.03}, UNRELATED)
        found = compare(
            _side("base"), _side("candidate"), host, host, _case, Plan(), metric="time", run_seed=run,
            # The worst rule for an interval: stop as soon as it looks like something.
            stream="compare", decided=lambda estimate: estimate.high < 0 or estimate.low > 0,
        ).estimate  # fmt: skip
        assert found is not None
        missed += not found.low <= -0.03 <= found.high
    assert missed / SIMULATIONS <= 0.05 + 2 * (0.05 * 0.95 / SIMULATIONS) ** 0.5, missed


def test_one_layout_of_each_build_is_significant_in_more_than_a_third_of_nothing() -> None:
    """Show what the gate is for: the same data, the usual t test over boots of one build an arm."""
    naive = honest = beyond = 0
    for run in range(SIMULATIONS):
        host = SimulatedHost(run, {"base": 0.0, "candidate": 0.0}, UNRELATED)
        found = compare(
            _side("base"), _side("candidate"), host, host, _case, Plan(early_stop=False), metric="time",
            run_seed=run, stream="compare", decided=lambda estimate: False,
        )  # fmt: skip
        first = found.samples.rows[0].seed
        rounds = {
            arm: [row.value for row in sorted(found.samples.rows, key=lambda r: r.round) if (row.arm, row.seed) == arm]
            for arm in (("base", first), ("candidate", first))
        }
        candidate, base = rounds["candidate", first], rounds["base", first]
        significant = stats.ttest_rel(candidate, base).pvalue < 0.05
        naive += significant
        beyond += significant and abs(sum(candidate) / sum(base) - 1) > 0.01
        assert found.estimate is not None
        honest += not found.estimate.low <= 0 <= found.estimate.high
    assert naive / SIMULATIONS > 0.34 and beyond / SIMULATIONS > 0.34, (naive, beyond)
    assert honest / SIMULATIONS <= 0.08, honest
