# SPDX-License-Identifier: Apache-2.0
"""What was measured from the baseline to best: only what was kept, in its order, and nothing multiplied."""

from __future__ import annotations

from typing import Literal

from git_hmopt.evidence.changes import changes_text, changes_to
from git_hmopt.records.run import Delta, EvaluationRecord
from git_hmopt.records.words import Verdict
from tests.store.repositories import evaluation_record

BASE, ONE, TWO, OTHER = ("b" * 40, "1" * 40, "2" * 40, "9" * 40)
RUN = "20260131-lib-sort-0a1b2c"


def delta(estimate: str, low: str, high: str, *, kind: Literal["time", "count"] = "time") -> Delta:
    return Delta(
        metric=kind, kind=kind, against="best", estimate=estimate, low=low, high=high, layouts=12, boots=36,
        layout_controlled=True, confidence="0.95" if low != high else None,
    )  # fmt: skip


def judged(iteration: int, commit: str | None, best: str, *deltas: Delta, accepted: bool = True) -> EvaluationRecord:
    record = evaluation_record(iteration=iteration, accepted=accepted)
    update = {"run": RUN, "commit": commit, "best": best, "baseline": BASE, "deltas": deltas}
    return record.model_copy(update=update)


TIME, COUNT = delta("-0.03", "-0.035", "-0.025"), delta("-0.1", "-0.1", "-0.1", kind="count")
STEPS = [
    judged(1, ONE, BASE, TIME, COUNT),
    judged(2, OTHER, ONE, delta("0.2", "0.1", "0.3"), accepted=False),
    judged(3, None, ONE, accepted=False),
    judged(4, TWO, ONE, delta("-0.01", "-0.015", "-0.005")),
]


def test_what_was_kept_is_there_in_its_order_with_interval_and_verdict() -> None:
    found = changes_to(TWO, STEPS)
    assert [(one.iteration, one.metric, one.estimate, one.against, one.against_commit) for one in found] == [
        (1, "time", "-0.03", "baseline", BASE),
        (1, "count", "-0.1", "baseline", BASE),
        (4, "time", "-0.01", "best", ONE),
    ]
    assert {one.verdict for one in found} == {Verdict.IMPROVED}
    assert changes_text(found) == (
        f"kept: {RUN} #1 111111111111 against the baseline (improved): "
        "time -3.00 % [-3.50 %, -2.50 %] at 95 % over 12 layouts; count -10.00 %\n"
        f"kept: {RUN} #4 222222222222 against 111111111111 before it (improved): "
        "time -1.00 % [-1.50 %, -0.50 %] at 95 % over 12 layouts\n"
    )


def test_before_anything_is_kept_there_is_nothing() -> None:
    assert changes_to(BASE, STEPS) == ()
    assert changes_to(OTHER, STEPS) == ()
    assert changes_text(()) == ""


def test_what_is_not_recorded_on_the_way_back_is_said() -> None:
    found = changes_to(TWO, STEPS[1:])
    assert [one.iteration for one in found] == [4]
    assert changes_text(found).startswith("what was kept before 111111111111 is not recorded here\n")


def test_records_that_contradict_each_other_end() -> None:
    circle = [judged(1, ONE, TWO, TIME), judged(2, TWO, ONE, TIME)]
    assert [one.iteration for one in changes_to(TWO, circle)] == [1, 2]


def test_layouts_that_were_not_controlled_are_no_layouts() -> None:
    loose = judged(1, ONE, BASE, TIME.model_copy(update={"layout_controlled": False, "confidence": None}))
    assert changes_text(changes_to(ONE, [loose])).endswith("time -3.00 % [-3.50 %, -2.50 %], layouts not controlled\n")


def test_a_hostile_metric_stays_on_its_line() -> None:
    hostile = judged(1, ONE, BASE, TIME.model_copy(update={"metric": "time\n# 1. forged 99 %"}))
    assert "\n#" not in changes_text(changes_to(ONE, [hostile]))
