# SPDX-License-Identifier: Apache-2.0
"""Judgements and estimates as stored records: canonical, without floats."""

from __future__ import annotations

import pytest

from git_hmopt.errors import MeasurementError
from git_hmopt.measure.floor import floor_of, floor_source
from git_hmopt.measure.gate import judge, rejected
from git_hmopt.measure.outcome import Subject, check_record, evaluation, exact_delta, measured_delta
from git_hmopt.measure.statistics import Estimate
from git_hmopt.records.run import EvaluationRecord, Objective
from git_hmopt.records.words import Verdict

SUBJECT = Subject("20260101-w-abcdef", 2, "w", "c" * 40, "t" * 40, "p" * 40, "b" * 40, "b" * 40)
ESTIMATE = Estimate(-0.28, -0.31, -0.25, 12, 10, 0.16, 0.0175, True, standard_error=0.01)
FLOOR = floor_of([floor_source("n", "null-patch", ESTIMATE)], host="h", workload="w", metric="time")


def test_an_evaluation_is_canonical_and_comes_back() -> None:
    delta = measured_delta("time", ESTIMATE, kind="time", against="best", layout_controlled=True, floor=FLOOR)
    count = exact_delta("insns", 1000, 869, kind="count", against="best")
    wide = Estimate(-0.28, -0.9, 0.4, 12, 10, None, 0.0175, True)
    judgement = judge(Objective(metric="time"), {"time": wide}, {}, FLOOR)
    record = evaluation(
        SUBJECT,
        judgement,
        deltas=(delta, count),
        checks=(check_record("build", (), "no new warnings"), check_record("tests", ("a", "b"), "")),
        text_bytes=64,
        samples="0" * 64,
    )
    assert EvaluationRecord.model_validate_json(record.canonical()) == record
    assert (record.verdict, record.smallest_detectable, record.accepted) == (Verdict.CANNOT_TELL, "1.21", False)
    assert (delta.estimate, delta.low, delta.high, delta.floor) == ("-0.28", "-0.31", "-0.25", "0.28")
    assert (delta.layout_sd, delta.boot_sd, delta.layouts, delta.boots) == ("0.16", "0.0175", 12, 10)
    assert (delta.confidence, count.confidence) == ("0.95", None)
    assert "confidence" not in count.canonical()
    assert (count.estimate, count.low, count.high, count.floor) == ("-0.131", "-0.131", "-0.131", None)
    assert [(c.name, c.passed, c.detail) for c in record.checks] == [
        ("build", True, "no new warnings"),
        ("tests", False, "a; b"),
    ]


def test_a_rejection_keeps_its_rule() -> None:
    record = evaluation(SUBJECT, rejected("tests", "lib/x_test.c: the file is a test"))
    assert record.verdict is Verdict.REJECTED and record.rule == "tests" and record.smallest_detectable is None


def test_a_size_of_nothing_cannot_change_by_a_ratio() -> None:
    with pytest.raises(MeasurementError):
        exact_delta("text", 0, 10, kind="size", against="baseline")
