# SPDX-License-Identifier: Apache-2.0
"""Comparisons on a simulated host whose truth is known: stopping, pairing, deadlines, failures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from git_hmopt.adapters import BuildResult, Image, Reading, WorkCase
from git_hmopt.config.schema import Inputs, Measure
from git_hmopt.errors import MeasurementError
from git_hmopt.measure.compare import Comparison, Plan, Side, compare, compare_same, count, measured_case
from git_hmopt.measure.gate import decided
from git_hmopt.measure.sampling import Samples
from git_hmopt.measure.simulation import Noise, SimulatedHost, simulated_build
from git_hmopt.measure.statistics import Estimate
from git_hmopt.records.run import Objective
from git_hmopt.records.words import Seed

BASE = Side(simulated_build("base"), Path("/layouts/base"))
CANDIDATE = Side(simulated_build("candidate"), Path("/layouts/candidate"))
INPUTS = Inputs(size=1000, repetitions=20, count_repetitions=2)
CASE = measured_case(INPUTS, 1, stream="compare")
STOP = decided(Objective(metric="time"), None, layout_controlled=True)


def _host(change: float, noise: Noise = Noise(), *, seed: int = 1, controlled: bool = True) -> SimulatedHost:  # noqa: B008
    return SimulatedHost(seed, {"base": 0.0, "candidate": change}, noise, layout_controlled=controlled)


def _compare(host: SimulatedHost, plan: Plan = Plan(), *, metric: str = "time") -> Comparison:  # noqa: B008
    return compare(BASE, CANDIDATE, host, host, CASE, plan, metric=metric, run_seed=1, stream="compare", decided=STOP)


def test_a_large_change_is_decided_at_the_first_look() -> None:
    host = _host(-0.5)
    found = _compare(host)
    assert found.stopped == "decided" and host.runs == 4 * 2 * 10
    assert found.estimate is not None
    assert found.estimate.layouts == 4 and found.estimate.confidence == pytest.approx(0.9975)
    assert found.estimate.low < -0.5 < found.estimate.high
    assert found.base is not None and found.candidate is not None
    assert found.candidate.value / found.base.value == pytest.approx(0.5, rel=0.05)


def test_an_undecided_change_uses_all_layouts_and_boots_and_no_more() -> None:
    host = _host(-0.02, Noise(shared=0.0))
    found = _compare(host)
    assert found.stopped == "exhausted" and host.runs == 12 * 2 * 10
    assert found.estimate is not None and (found.estimate.layouts, found.estimate.boots) == (12, 10)
    bootstrap = found.bootstrap()
    assert bootstrap is not None and bootstrap[0] < found.estimate.ratio_minus_one < bootstrap[1]
    assert found.estimate.layout_sd == pytest.approx(0.03, rel=0.6)
    assert found.estimate.boot_sd == pytest.approx(0.02, rel=0.3)


def test_the_same_seed_repeats_a_comparison_byte_for_byte() -> None:
    first, second = _compare(_host(-0.02)), _compare(_host(-0.02))
    assert first.samples.to_bytes() == second.samples.to_bytes()
    assert first.estimate == second.estimate
    assert Samples.from_bytes(first.samples.to_bytes()).rows[0].arm in ("base", "candidate")


def test_both_arms_get_the_same_layouts_and_a_round_gets_one_input() -> None:
    cases: dict[int, set[WorkCase]] = {}

    class Watched(SimulatedHost):
        def measure(self, image: Image, case: WorkCase) -> Reading:
            cases.setdefault(self.runs // 8, set()).add(case)
            return super().measure(image, case)

    host = Watched(1, {"base": 0.0, "candidate": -0.5})
    found = _compare(host)
    seeds = {arm: {row.seed for row in found.samples.rows if row.arm == arm} for arm in ("base", "candidate")}
    assert seeds["base"] == seeds["candidate"] and len(seeds["base"]) == 4
    assert [len(inputs) for inputs in cases.values()] == [1] * 10
    assert len({case.seed for inputs in cases.values() for case in inputs}) == 10


def test_without_layout_control_the_boot_is_the_unit() -> None:
    host = _host(-0.1, controlled=False)
    found = _compare(host)
    assert found.estimate is not None and not found.layout_controlled
    assert found.estimate.layouts == 1 and found.estimate.boots == 12 and host.runs == 24
    assert {row.seed for row in found.samples.rows} == {0} and found.bootstrap() is None


@pytest.mark.parametrize(("layouts", "boots"), [(8, 3), (12, 2), (24, 10), (5, 11)])
def test_without_layout_control_a_look_may_add_a_single_boot(layouts: int, boots: int) -> None:
    host = _host(-0.02, controlled=False)
    found = compare(
        BASE, CANDIDATE, host, host, CASE, Plan(layouts, boots), metric="time", run_seed=1, stream="compare",
        decided=lambda estimate: False,
    )  # fmt: skip
    assert found.stopped == "exhausted" and host.runs == 2 * layouts * boots
    assert found.estimate is not None and found.estimate.boots == layouts * boots


class _Clock:
    """A clock that moves one second a run."""

    def __init__(self, host: SimulatedHost) -> None:
        self.host = host

    def __call__(self) -> float:
        return float(self.host.runs)


def _until(host: SimulatedHost, deadline: float) -> Comparison:
    return compare(
        BASE, CANDIDATE, host, host, CASE, Plan(), metric="time", run_seed=1, stream="compare", decided=STOP,
        deadline=deadline, clock=_Clock(host),
    )  # fmt: skip


def test_a_deadline_before_the_first_look_leaves_no_estimate_and_is_not_overrun() -> None:
    host = _host(-0.02, Noise(shared=0.0))
    found = _until(host, 50)
    assert found.stopped == "deadline" and found.estimate is None and found.base is None
    assert host.runs <= 50 and len(found.samples.rows) == host.runs and found.samples.stopped


def test_a_look_that_cannot_end_in_time_is_not_begun() -> None:
    host = _host(-0.02, Noise(shared=0.0))
    found = _until(host, 130)
    assert found.stopped == "deadline" and host.runs == 120
    assert found.estimate is not None and found.estimate.layouts == 6


def test_fewer_layouts_than_asked_are_an_error_that_says_which() -> None:
    class Short(SimulatedHost):
        def layouts(self, built: BuildResult, seeds: Sequence[Seed], into: Path) -> Mapping[Seed, Image]:
            return super().layouts(built, seeds[:-1], into)

    with pytest.raises(
        MeasurementError, match=r"arm 'base': the build adapter gave 3 of 4 layouts; seed \d+ is missing"
    ):
        _compare(Short(1, {"base": 0.0, "candidate": 0.0}))


def test_one_file_for_the_layouts_of_two_builds_is_an_error() -> None:
    class Careless(SimulatedHost):
        def layouts(self, built: BuildResult, seeds: Sequence[Seed], into: Path) -> Mapping[Seed, Image]:
            made = super().layouts(built, seeds, into)
            return {seed: replace(image, path=Path(f"/layouts/{seed}")) for seed, image in made.items()}

    with pytest.raises(MeasurementError, match=r"gave /layouts/\d+ as a layout of two different builds"):
        _compare(Careless(1, {"base": 0.0, "candidate": -0.5}))
    same = compare_same(BASE, Careless(1, {"base": 0.0}), _host(0.0), CASE, Plan(), metric="time", run_seed=1)
    assert same.estimate is not None


def test_a_metric_the_workload_does_not_give_is_named_with_those_it_gives() -> None:
    with pytest.raises(MeasurementError, match="the reading holds no 'insns', it holds: time"):
        _compare(_host(0.0), metric="insns")


def test_a_build_without_an_image_is_refused() -> None:
    failed = Side(BuildResult(False, BASE.built.tree, BASE.built.log, failure="lib/sort.c: error: x"), Path("/l"))
    host = _host(0.0, controlled=False)
    with pytest.raises(MeasurementError, match=r"arm 'candidate' has no image to run: lib/sort.c: error: x"):
        compare(BASE, failed, host, host, CASE, Plan(), metric="time", run_seed=1, stream="compare", decided=STOP)


def test_the_same_source_on_two_layout_sets_is_unpaired_and_has_no_early_stop() -> None:
    host = _host(0.0)
    found = compare_same(BASE, host, host, CASE, Plan(), metric="time", run_seed=1)
    assert found.estimate is not None and not found.estimate.paired and host.runs == 240
    assert found.estimate.low < 0 < found.estimate.high and found.estimate.confidence == 0.95
    seeds = [{row.seed for row in found.samples.rows if row.arm == arm} for arm in ("base", "candidate")]
    assert len(seeds[0]) == len(seeds[1]) == 12 and not seeds[0] & seeds[1]


def test_one_binary_against_itself_is_no_floor() -> None:
    host = _host(0.0, controlled=False)
    with pytest.raises(MeasurementError, match="does not control layouts; take the noise floor from null patches"):
        compare_same(BASE, host, host, CASE, Plan(), metric="time", run_seed=1)


class _Counter:
    def __init__(self, failures: int = 0) -> None:
        self.failures, self.cases = failures, list[WorkCase]()

    def measure(self, image: Image, case: WorkCase) -> Reading:
        self.cases.append(case)
        if len(self.cases) <= self.failures:
            raise MeasurementError("no end marker")
        return Reading({"insns": 1000.0 if image.build == "base" else 869.0})


def test_a_count_is_one_reading_an_arm_on_one_input() -> None:
    counter, case = _Counter(), measured_case(INPUTS, 1, stream="compare", counting=True)
    assert BASE.built.image is not None and CANDIDATE.built.image is not None
    assert count(BASE.built.image, CANDIDATE.built.image, counter, case, metric="insns") == (1000, 869)
    assert len(counter.cases) == 2 and counter.cases[0] == counter.cases[1] and counter.cases[0].repetitions == 2
    assert count(BASE.built.image, BASE.built.image, _Counter(1), case, metric="insns") == (1000, 1000)
    with pytest.raises(MeasurementError, match="arm 'base': no insns in two attempts: no end marker"):
        count(BASE.built.image, CANDIDATE.built.image, _Counter(2), case, metric="insns")


def test_inputs_are_fresh_for_every_round_stream_and_run() -> None:
    makers = [measured_case(INPUTS, run, stream=stream) for run in (1, 2) for stream in ("compare", "confirmation")]
    seeds = [make(round_).seed for make in makers for round_ in range(50)]
    assert len(set(seeds)) == len(seeds)
    assert (CASE(0).size, CASE(0).repetitions, CASE(0).offset) == (1000, 20, 0)


def test_a_plan_comes_from_the_configuration() -> None:
    assert Plan.from_config(Measure(layouts=8, boots=5, confidence=0.9), early_stop=False) == Plan(8, 5, 0.9, False)


def test_without_early_stop_there_is_one_look() -> None:
    host = _host(-0.5)
    found = _compare(host, Plan(early_stop=False))
    assert host.runs == 240 and found.estimate is not None and found.estimate.confidence == pytest.approx(0.95)


def test_the_stopping_rule_is_asked_once_a_look() -> None:
    asked: list[Estimate] = []

    def never(estimate: Estimate) -> bool:
        asked.append(estimate)
        return False

    host = _host(-0.5)
    compare(BASE, CANDIDATE, host, host, CASE, Plan(), metric="time", run_seed=1, stream="compare", decided=never)
    assert [estimate.layouts for estimate in asked] == [4, 6, 12]
