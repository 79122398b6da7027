# SPDX-License-Identifier: Apache-2.0
"""What a check answers, from readings alone; the numbers are those of the docstring's cases."""

from __future__ import annotations

from typing import Literal

import pytest

from git_hmopt.errors import ExitCode
from git_hmopt.loop.check import Check, Checked, _confirmed, judged
from git_hmopt.loop.readings import Measured, Readings
from git_hmopt.measure.floor import Floor
from git_hmopt.measure.gate import GuardResult, judge
from git_hmopt.measure.statistics import Estimate, Level
from git_hmopt.records.run import Objective
from git_hmopt.records.words import Oid

FLOOR = Floor(host="here", workload="w", metric="time", value="0.01", sources=())
"""With a margin of 1 % the bound is 2 %."""


def readings(low: float, high: float, *guards: GuardResult, layout_controlled: bool = True) -> Readings:
    """Return readings of a time whose change has the interval [low, high]."""
    estimate = Estimate(
        ratio_minus_one=(low + high) / 2, low=low, high=high, layouts=12, boots=10, layout_sd=0.001,
        boot_sd=0.001, paired=True,
    )  # fmt: skip
    level = Level(value=1.0, low=0.9, high=1.1, n=120, layouts=12)
    measured = Measured(estimate, level, level, "0" * 64, "exhausted", None, 0, layout_controlled)
    return Readings(False, {"time": measured}, {}, guards)


def answer(
    low: float,
    high: float,
    *guards: GuardResult,
    direction: Literal["lower", "higher"] = "lower",
    layout_controlled: bool = True,
) -> Checked:
    """Return the answer on a time or, with direction higher, on a kpi."""
    objective = Objective(metric="time", direction=direction, kind="time" if direction == "lower" else "kpi")
    read = readings(low, high, *guards, layout_controlled=layout_controlled)
    estimates = {metric: one.estimate for metric, one in read.measured.items()}
    judgement = judge(objective, estimates, {}, FLOOR, guards=guards, layout_controlled=layout_controlled)
    return judged("w", objective, read, judgement, FLOOR, ())


@pytest.mark.parametrize(
    ("low", "high", "code", "reason"),
    [
        (0.03, 0.05, ExitCode.NO, "all of it worse than the floor of 1.00 %."),
        (-0.005, 0.005, ExitCode.OK, "all of it within the bound of 2.00 %."),
        (-0.30, -0.20, ExitCode.OK, "all of it beyond the bound of 2.00 %."),
        # Whether it is better cannot be told; whether it is worse can.
        (
            -0.10,
            0.01,
            ExitCode.OK,
            "No worse: the time changed by -4.50 % [-10.00, +1.00] at 95 %, none of it beyond 2.00 %.",
        ),
        (-0.005, 0.04, ExitCode.CANNOT_TEST, "neither clears the bound of 2.00 % nor lies within it"),
        (-0.50, 0.50, ExitCode.CANNOT_TEST, "neither clears the bound of 2.00 % nor lies within it"),
    ],
)
def test_an_interval_gives_the_answer(low: float, high: float, code: ExitCode, reason: str) -> None:
    found = answer(low, high)
    assert found.answer is code
    assert reason in found.reason
    # Of what is wanted more of, the same change the other way round.
    mirrored = answer(-high, -low, direction="higher")
    assert mirrored.answer is code


def test_one_layout_decides_nothing_small() -> None:
    assert answer(0.03, 0.04).answer is ExitCode.NO
    assert answer(0.03, 0.04, layout_controlled=False).answer is ExitCode.OK
    assert answer(0.06, 0.07, layout_controlled=False).answer is ExitCode.NO


def test_guards_are_asked_whatever_the_objective_says() -> None:
    broken = GuardResult("size", "broken", "size changed by +9.00 %, its margin is 2.00 %")
    undecided = GuardResult("other/time", "undecided", "it is not known")
    holds = GuardResult("third", "holds", "it did not change")
    for low, high in ((-0.3, -0.2), (-0.005, 0.005)):
        assert answer(low, high, holds).answer is ExitCode.OK
        found = answer(low, high, holds, undecided)
        assert (found.answer, found.reason) == (
            ExitCode.CANNOT_TEST,
            "The guard 'other/time' is undecided: it is not known.",
        )
        found = answer(low, high, undecided, broken)
        assert (found.answer, found.reason) == (
            ExitCode.NO,
            "The guard 'size' is broken: size changed by +9.00 %, its margin is 2.00 %.",
        )
    # A regression is one, whatever a guard leaves open.
    assert answer(0.05, 0.06, undecided).answer is ExitCode.NO


def test_a_regression_that_does_not_come_back_cannot_be_told() -> None:
    worse, same = answer(0.03, 0.05), answer(-0.005, 0.005)
    again = _confirmed(worse, worse)
    assert again.answer is ExitCode.NO
    assert again.reason.startswith("Confirmed on fresh layouts: The time changed by +4.00 %")
    gone = _confirmed(worse, same)
    assert (gone.answer, gone.verdict) == (ExitCode.CANNOT_TEST, "cannot-tell")
    assert gone.reason.startswith("Worse once, not confirmed on fresh layouts: The time changed by 0.00 %")


@pytest.mark.parametrize(
    ("answers", "code"),
    [
        ((), ExitCode.OK),
        ((ExitCode.OK, ExitCode.OK), ExitCode.OK),
        ((ExitCode.OK, ExitCode.CANNOT_TEST), ExitCode.CANNOT_TEST),
        ((ExitCode.CANNOT_TEST, ExitCode.NO, ExitCode.OK), ExitCode.NO),
    ],
)
def test_one_regression_outweighs_what_cannot_be_told(answers: tuple[ExitCode, ...], code: ExitCode) -> None:
    workloads = tuple(Checked(str(number), one, "", "") for number, one in enumerate(answers))
    assert Check(Oid("0" * 40), Oid("1" * 40), workloads).answer is code
