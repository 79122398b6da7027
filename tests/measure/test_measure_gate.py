# SPDX-License-Identifier: Apache-2.0
"""The verdict: one test for each case of `judge`, its bounds, its directions, its sentences."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import pytest

from git_hmopt.measure.floor import Floor, floor_of, floor_source
from git_hmopt.measure.gate import (
    GuardResult,
    Judgement,
    bound_of,
    confirm,
    decided,
    guard_decided,
    guard_from_count,
    guard_from_estimate,
    guard_from_text,
    incorrect,
    judge,
    rejected,
    unmeasured,
)
from git_hmopt.measure.statistics import Estimate
from git_hmopt.records.run import Objective
from git_hmopt.records.words import Verdict

TIME = Objective(metric="time", margin="0.01")
COUNT = Objective(metric="insns", kind="count", margin="0.01")
FPS = Objective(metric="fps", direction="higher", kind="kpi", margin="0.01")
FELL = {"insns": (1000.0, 869.0)}
HOLDS = GuardResult("lib-list", "holds", "lib-list changed by +0.10 %")
BROKEN = GuardResult("lib-list", "broken", "lib-list changed by +5.00 %, its margin is 2.00 %")
UNDECIDED = GuardResult("lib-list", "undecided", "lib-list changed by +1.00 % [-3.00, +5.00], its margin is 2.00 %")


def _estimate(low: float, high: float, value: float | None = None) -> Estimate:
    """Return an estimate from per cent."""
    middle = (low + high) / 2 if value is None else value
    return Estimate(middle / 100, low / 100, high / 100, 12, 10, 0.03, 0.02, True, standard_error=0.001)


def _floor(percent: float) -> Floor:
    return floor_of(
        [floor_source("n", "null-patch", _estimate(percent, percent))], host="h", workload="w", metric="time"
    )


def _judge(
    low: float,
    high: float,
    *,
    counts: dict[str, tuple[float, float]] | None = None,
    floor: Floor | None = None,
    accept: Literal["objective", "count"] = "objective",
    guards: tuple[GuardResult, ...] = (),
    layout_controlled: bool = True,
) -> Judgement:
    return judge(
        TIME,
        {"time": _estimate(low, high)},
        counts or {},
        floor or _floor(0.3),
        accept=accept,
        guards=guards,
        layout_controlled=layout_controlled,
    )


def _expect(found: Judgement, case: int, verdict: Verdict, *, accepted: bool = False) -> None:
    assert (found.case, found.verdict, found.accepted) == (case, verdict, accepted), found.reason


def test_case_1_no_built_object_changed() -> None:
    found = judge(TIME, {"time": _estimate(-9, -8)}, FELL, None, same_objects=True)
    _expect(found, 1, Verdict.NO_CHANGE)
    assert found.reason == "The candidate changes no built object: every image is byte-identical."


def test_case_2_the_count_fell_and_time_rose() -> None:
    found = _judge(0.1, 0.5, counts=FELL)
    _expect(found, 2, Verdict.REGRESSED)
    assert found.reason == (
        "The insns fell by 13.10 %, yet time rose: the time changed by +0.30 % [+0.10, +0.50] at 95 % "
        "over 12 layouts of 10 boots, all of it beyond 0.00 %."
    )


def test_case_2_is_not_met_by_a_count_that_rose_or_stayed() -> None:
    _expect(_judge(0.1, 0.5, counts={"insns": (1000, 1000)}), 10, Verdict.NO_CHANGE)
    _expect(_judge(-0.1, 0.5, counts=FELL), 8, Verdict.IMPROVED_COUNT)


def test_case_3_better_but_a_guard_is_broken() -> None:
    found = _judge(-10, -8, guards=(HOLDS, UNDECIDED, BROKEN))
    _expect(found, 3, Verdict.REGRESSED)
    assert "the guard 'lib-list' is broken: lib-list changed by +5.00 %, its margin is 2.00 %." in found.reason


def test_case_4_better_but_a_guard_is_undecided() -> None:
    found = _judge(-10, -8, guards=(HOLDS, UNDECIDED))
    _expect(found, 4, Verdict.CANNOT_TELL)
    assert "the guard 'lib-list' is undecided" in found.reason


def test_case_5_improved() -> None:
    found = _judge(-76.61, -76.39, guards=(HOLDS,))
    _expect(found, 5, Verdict.IMPROVED, accepted=True)
    assert found.reason == (
        "The time changed by -76.50 % [-76.61, -76.39] at 95 % over 12 layouts of 10 boots, all of it "
        "beyond the bound of 1.00 %; every guard holds (1)."
    )


def test_case_5_needs_no_count_to_fall() -> None:
    _expect(_judge(-10, -8, counts={"insns": (1000, 1500)}), 5, Verdict.IMPROVED, accepted=True)


def test_case_6_worse_beyond_the_floor() -> None:
    found = _judge(0.4, 0.9)
    _expect(found, 6, Verdict.REGRESSED)
    assert found.reason.endswith("all of it worse than the floor of 0.30 %.")
    _expect(_judge(0.2, 0.9), 10, Verdict.NO_CHANGE)
    _expect(_judge(0.2, 2.9), 11, Verdict.CANNOT_TELL)


def test_case_6_without_a_floor_takes_the_margin() -> None:
    found = judge(TIME, {"time": _estimate(1.1, 3)}, {}, None)
    _expect(found, 6, Verdict.REGRESSED)
    assert found.reason.endswith("all of it worse than the margin of 1.00 %.")
    _expect(judge(TIME, {"time": _estimate(0.9, 3)}, {}, None), 11, Verdict.CANNOT_TELL)


def test_case_7_count_only_with_a_broken_guard() -> None:
    _expect(_judge(-2, 2, counts=FELL, guards=(BROKEN,), accept="count"), 7, Verdict.REGRESSED)


def test_case_8_count_only() -> None:
    found = _judge(-1.8, 2.3, counts=FELL)
    _expect(found, 8, Verdict.IMPROVED_COUNT)
    assert found.smallest_detectable == pytest.approx(0.01 + 0.0205 + 0.00084, rel=1e-3)
    assert found.reason == (
        "The insns fell by 13.10 % while the time changed by +0.25 % [-1.80, +2.30] at 95 % over 12 layouts of "
        "10 boots, which is undecided against the bound of 1.00 %; a count alone is not accepted."
    )
    _expect(_judge(-0.2, 0.2, counts=FELL), 8, Verdict.IMPROVED_COUNT)


def test_case_8_is_accepted_when_the_workload_accepts_counts_and_guards_hold() -> None:
    _expect(_judge(-1.8, 2.3, counts=FELL, accept="count"), 8, Verdict.IMPROVED_COUNT, accepted=True)
    _expect(_judge(-1.8, 2.3, counts=FELL, accept="count", guards=(UNDECIDED,)), 8, Verdict.IMPROVED_COUNT)
    unmeasured = judge(TIME, {}, FELL, _floor(0.3), accept="count")
    _expect(unmeasured, 8, Verdict.IMPROVED_COUNT, accepted=True)
    assert "while the time was not measured" in unmeasured.reason


def test_case_8_needs_the_count_to_fall_by_the_margin() -> None:
    _expect(_judge(-0.2, 0.2, counts={"insns": (1000, 999)}), 10, Verdict.NO_CHANGE)


def test_case_9_not_measured() -> None:
    _expect(judge(TIME, {}, {}, _floor(0.3)), 9, Verdict.CANNOT_TELL)
    _expect(judge(COUNT, {}, {}, None), 9, Verdict.CANNOT_TELL)


def test_case_10_within_the_bound() -> None:
    found = _judge(-0.5, 0.55)
    _expect(found, 10, Verdict.NO_CHANGE)
    assert "all of it within the bound of 1.00 %." in found.reason


@pytest.mark.parametrize(("low", "high"), [(-3.0, -0.5), (-2, 2), (-0.5, 1.5), (-1.2, 0.3)])
def test_case_11_cannot_tell(low: float, high: float) -> None:
    found = _judge(low, high)
    _expect(found, 11, Verdict.CANNOT_TELL)
    assert found.smallest_detectable == pytest.approx(0.01 + (high - low) / 200 + 0.00084, rel=1e-3)
    assert found.smallest_detectable is not None
    assert f"a change of {100 * found.smallest_detectable:.2f} % would have been detected." in found.reason


def test_case_12_a_count_is_the_objective() -> None:
    found = judge(COUNT, {}, FELL, None, guards=(HOLDS,))
    _expect(found, 12, Verdict.IMPROVED_COUNT, accepted=True)
    assert found.reason == (
        "The insns changed by -13.10 % (1000 to 869), beyond the margin of 1.00 %; every guard holds (1)."
    )
    _expect(judge(COUNT, {}, FELL, None, guards=(BROKEN,)), 3, Verdict.REGRESSED)
    _expect(judge(COUNT, {"time": _estimate(-1, 2)}, FELL, _floor(0.3)), 12, Verdict.IMPROVED_COUNT, accepted=True)


def test_a_count_objective_still_loses_to_a_time_that_rose() -> None:
    _expect(judge(COUNT, {"time": _estimate(0.2, 2)}, FELL, _floor(0.3)), 2, Verdict.REGRESSED)


def test_cases_13_and_14_a_count_worse_or_within_its_margin() -> None:
    _expect(judge(COUNT, {}, {"insns": (1000, 1011)}, None), 13, Verdict.REGRESSED)
    _expect(judge(COUNT, {}, {"insns": (1000, 1010)}, None), 14, Verdict.NO_CHANGE)
    _expect(judge(COUNT, {}, {"insns": (1000, 995)}, None), 14, Verdict.NO_CHANGE)


def test_more_is_better_where_the_objective_says_so() -> None:
    floor = _floor(0.3)
    _expect(judge(FPS, {"fps": _estimate(5, 7)}, {}, floor), 5, Verdict.IMPROVED, accepted=True)
    _expect(judge(FPS, {"fps": _estimate(-7, -5)}, {}, floor), 6, Verdict.REGRESSED)
    assert (
        "the fps changed by -6.00 % [-7.00, -5.00]" in judge(FPS, {"fps": _estimate(-7, -5)}, {}, floor).reason.lower()
    )


def test_the_bound_is_the_margin_or_twice_the_floor_and_wider_where_less_is_known() -> None:
    assert bound_of(TIME, _floor(0.3), layout_controlled=True) == pytest.approx(0.01)
    assert bound_of(TIME, _floor(0.8), layout_controlled=True) == pytest.approx(0.016)
    assert bound_of(TIME, _floor(0.8), layout_controlled=False) == pytest.approx(0.05)
    assert bound_of(TIME, _floor(2), layout_controlled=False) == pytest.approx(0.08)
    assert bound_of(TIME, None, layout_controlled=True) == pytest.approx(0.02)
    assert bound_of(TIME, None, layout_controlled=False) == pytest.approx(0.05)
    assert bound_of(COUNT, _floor(5), layout_controlled=False) == pytest.approx(0.01)


def test_a_wide_floor_makes_the_same_interval_undecided() -> None:
    _expect(_judge(-3, -2), 5, Verdict.IMPROVED, accepted=True)
    _expect(_judge(-3, -2, floor=_floor(1.2)), 11, Verdict.CANNOT_TELL)


def test_without_layout_control_zero_is_not_enough_to_regress() -> None:
    _expect(_judge(-6.9, -5.1, layout_controlled=False), 5, Verdict.IMPROVED, accepted=True)
    _expect(_judge(-6.9, -4.5, layout_controlled=False), 11, Verdict.CANNOT_TELL)
    _expect(_judge(0.5, 6, layout_controlled=False), 11, Verdict.CANNOT_TELL)
    _expect(_judge(5.5, 7, layout_controlled=False), 6, Verdict.REGRESSED)
    _expect(_judge(0.5, 6, counts=FELL, layout_controlled=False), 8, Verdict.IMPROVED_COUNT)
    _expect(_judge(5.5, 7, counts=FELL, layout_controlled=False), 2, Verdict.REGRESSED)
    assert "(widened: layouts are not controlled)" in _judge(0.5, 3, layout_controlled=False).reason


def test_without_a_floor_the_widening_is_said() -> None:
    found = judge(TIME, {"time": _estimate(-1.9, -1.2)}, {}, None)
    _expect(found, 10, Verdict.NO_CHANGE)
    assert "the bound of 2.00 % (widened: no floor was measured)" in found.reason


@pytest.mark.parametrize("controlled", [True, False])
@pytest.mark.parametrize("low", [-9.0, -4.0, -2.2, -1.5, -0.9, -0.2, 0.05, 0.4, 1.2, 2.2, 5.2])
@pytest.mark.parametrize("width", [0.3, 1.0, 3.0])
def test_the_stopping_rule_stops_exactly_where_the_verdict_needs_no_more_layouts(
    low: float, width: float, controlled: bool
) -> None:
    estimate, floor = _estimate(low, low + width), _floor(0.3)
    verdict = judge(TIME, {"time": estimate}, {}, floor, layout_controlled=controlled).verdict
    stops = decided(TIME, floor, layout_controlled=controlled)(estimate)
    assert stops == (verdict is not Verdict.CANNOT_TELL)


def test_guards_are_non_inferiority() -> None:
    states = [guard_from_estimate("g", _estimate(low, high), 0.02).state for low, high in ((-9, 1.9), (2.1, 3), (1, 5))]
    assert states == ["holds", "broken", "broken"]
    assert guard_from_estimate("g", _estimate(-3, 5), 0.02).state == "undecided"
    assert guard_from_estimate("g", _estimate(0.5, 2.5), 0.02).state == "undecided"
    assert guard_from_estimate("fps", _estimate(-5, -3), 0.02, "higher").state == "broken"
    assert guard_from_estimate("fps", _estimate(3, 5), 0.02, "higher").state == "holds"
    assert guard_from_count("insns", 100, 103, 0.02).state == "broken"
    assert guard_from_count("insns", 100, 102, 0.02).state == "holds"
    assert [guard_from_text(n, 64).state for n in (-10, 64, 65, None)] == ["holds", "holds", "broken", "undecided"]
    assert guard_from_text(65, 64).detail == "text grew by +65 bytes, 64 are allowed"


def test_a_guard_that_should_rise_is_broken_by_falling() -> None:
    assert guard_from_count("frames", 100, 97, 0.02, "higher").state == "broken"
    assert guard_from_count("frames", 100, 150, 0.02, "higher").state == "holds"


def test_a_guard_that_counted_nothing_on_base_may_count_nothing_more() -> None:
    assert guard_from_count("janks", 0, 0, 0.02).state == "holds"
    worse = guard_from_count("janks", 0, 1, 0.02)
    assert (worse.state, worse.detail) == ("broken", "janks changed from 0 to 1")
    assert guard_from_count("frames", 0, 1, 0.02, "higher").state == "holds"


def test_a_guard_without_layout_control_is_held_against_what_one_layout_can_fake() -> None:
    def state(low: float, high: float) -> str:
        return guard_from_estimate("g", _estimate(low, high), 0.02, layout_controlled=False).state

    assert [state(1, 4.9), state(4, 7), state(5.1, 7)] == ["holds", "undecided", "broken"]
    assert "5.00 % (widened: layouts are not controlled)" in (
        guard_from_estimate("g", _estimate(1, 4.9), 0.02, layout_controlled=False).detail
    )


@pytest.mark.parametrize("margin", [0.005, 0.02, 0.1])
@pytest.mark.parametrize("controlled", [True, False])
@pytest.mark.parametrize("direction", ["lower", "higher"])
def test_a_guards_comparison_stops_only_where_the_guard_is_decided(
    margin: float, controlled: bool, direction: Literal["lower", "higher"]
) -> None:
    stops = guard_decided(margin, direction, layout_controlled=controlled)
    stopped = set()
    for low in range(-250, 250, 7):
        for width in (1, 10, 60):
            estimate = _estimate(low / 10, (low + width) / 10)
            if stops(estimate):
                found = guard_from_estimate("g", estimate, margin, direction, layout_controlled=controlled)
                stopped.add(found.state)
    assert stopped == {"holds", "broken"}


def test_what_gave_no_readings_cannot_be_told() -> None:
    found = unmeasured("arm 'candidate', layout 7 never gave a reading in 2 rounds: panic")
    _expect(found, 0, Verdict.CANNOT_TELL)
    assert found.reason == (
        "It could not be measured: arm 'candidate', layout 7 never gave a reading in 2 rounds: panic."
    )


def test_the_interval_says_its_confidence() -> None:
    early = replace(_estimate(-10, -8), confidence=0.9975)
    assert "[-10.00, -8.00] at 99.75 % over" in judge(TIME, {"time": early}, {}, _floor(0.3)).reason


def test_case_2_of_a_kpi_does_not_speak_of_time() -> None:
    found = judge(FPS, {"fps": _estimate(-7, -5)}, FELL, _floor(0.3))
    _expect(found, 2, Verdict.REGRESSED)
    assert "yet the fps got worse" in found.reason and "time" not in found.reason


def test_a_confirmation_reports_the_fresh_number_only() -> None:
    first = _judge(-10, -8)
    again = confirm(first, _judge(-7, -5))
    _expect(again, 5, Verdict.IMPROVED, accepted=True)
    assert (
        again.reason.startswith("Confirmed on fresh layouts: The time changed by -6.00 %")
        and "-9.00" not in again.reason
    )
    for second in (_judge(-2, 2), _judge(-0.2, 0.2), _judge(2, 4)):
        found = confirm(first, second)
        _expect(found, second.case, second.verdict)
        assert found.reason.startswith("Passed once, not confirmed on fresh layouts: ")


def test_what_was_not_accepted_needs_no_confirmation() -> None:
    first = _judge(-2, 2)
    assert confirm(first, _judge(-10, -8)) is first


def test_rejections_and_wrong_answers_are_judgements_too() -> None:
    found = rejected("tests", "lib/sort_kunit.c: the file is a test")
    assert (found.verdict, found.rule, found.accepted) == (Verdict.REJECTED, "tests", False)
    assert found.reason == "Rejected by the rule 'tests': lib/sort_kunit.c: the file is a test."
    wrong = incorrect(["no output for size 0, offset 1, seed 7", "x", "y"])
    assert wrong.verdict is Verdict.INCORRECT and not wrong.accepted
    assert wrong.reason == "Incorrect: no output for size 0, offset 1, seed 7 (and 2 more)."
