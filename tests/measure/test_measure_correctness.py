# SPDX-License-Identifier: Apache-2.0
"""Correctness: fresh inputs that cover the edges, and differences that are named."""

from __future__ import annotations

from pathlib import Path

import pytest

from git_hmopt.adapters import OutputCheck, TestCase, TestResult, WorkCase
from git_hmopt.config.schema import Inputs
from git_hmopt.errors import MeasurementError
from git_hmopt.measure.correctness import (
    FRESH_SIZES,
    compare_outputs,
    compare_tests,
    compare_warnings,
    fresh_cases,
)
from git_hmopt.records.words import Seed

INPUTS = Inputs(size=100_000)
CASES = tuple(WorkCase(Seed(n), n) for n in range(3))


def test_fresh_cases_hold_every_listed_size_at_every_offset_and_the_measured_size() -> None:
    cases = fresh_cases(INPUTS, 5)
    pairs = {(case.size, case.offset) for case in cases}
    assert {(size, offset) for size in (*INPUTS.check_sizes, 100_000) for offset in (0, 1, 3)} <= pairs
    assert {0, 1, 3, 1000} <= {case.size for case in cases}
    assert len({case.seed for case in cases}) == len(cases) and all(case.repetitions == 1 for case in cases)


def test_fresh_cases_hold_sizes_that_nobody_listed() -> None:
    drawn: set[int] = set()
    for seed in range(40):
        unlisted = {case.size for case in fresh_cases(INPUTS, seed)} - {*INPUTS.check_sizes, 100_000}
        assert len(unlisted) >= 2 and all(1 <= size <= 100_000 for size in unlisted)
        drawn |= unlisted
    assert len(drawn) > 150 and any(size % 2 for size in drawn) and any(not size % 2 for size in drawn)
    assert min(drawn) < 40 and max(drawn) > 30_000


def test_fresh_cases_are_the_seeds_alone() -> None:
    assert fresh_cases(INPUTS, 5) == fresh_cases(INPUTS, 5)
    assert not {c.seed for c in fresh_cases(INPUTS, 5)} & {c.seed for c in fresh_cases(INPUTS, 6)}


@pytest.mark.parametrize("size", [0, 1])
def test_a_workload_without_sizes_still_has_a_case(size: int) -> None:
    cases = fresh_cases(Inputs(size=size, check_sizes=(), check_offsets=()), 1)
    assert [(case.size, case.offset) for case in cases] == [(size, 0)]
    assert FRESH_SIZES > 0


def _outputs(*digests: str, failures: tuple[str, ...] = ()) -> OutputCheck:
    return OutputCheck(dict(zip(CASES, digests, strict=False)), failures)


def test_equal_outputs_differ_in_nothing() -> None:
    assert compare_outputs(_outputs("a", "b"), _outputs("a", "b")) == ()


def test_each_difference_is_named_with_its_input() -> None:
    found = compare_outputs(_outputs("a", "b"), _outputs("a", "x", "c", failures=("size 1: not sorted at 0",)))
    assert found == (
        "the workload's own check fails: size 1: not sorted at 0",
        "another output than base for size 1, offset 0, seed 1: x instead of b",
        "an output base does not have, for size 2, offset 0, seed 2",
    )
    assert compare_outputs(_outputs("a", "b"), _outputs("a")) == ("no output for size 1, offset 0, seed 1",)


def test_a_base_that_is_wrong_or_silent_judges_nobody() -> None:
    with pytest.raises(MeasurementError, match="already fails on base: size 0; repair the workload"):
        compare_outputs(_outputs("a", failures=("size 0",)), _outputs("a"))
    with pytest.raises(MeasurementError, match="base gave no output to compare with"):
        compare_outputs(_outputs(), _outputs())


def _tests(text: str, *, success: bool = True, complete: bool = True, failure: str | None = None) -> TestResult:
    statuses = {"p": "passed", "f": "failed", "s": "skipped", "c": "crashed"}
    cases = tuple(TestCase(word[1:], statuses[word[0]]) for word in text.split())  # type: ignore[arg-type]
    return TestResult(success, cases, Path("/log"), failure, complete)


@pytest.mark.parametrize(
    ("base", "candidate", "expected"),
    [
        ("pa pb", "pa pb", ()),
        ("pa fb", "pa fb", ()),
        ("pa fb", "pa pb", ()),
        ("pa sb", "pa sb", ()),
        ("pa pb", "pa fb", ("test 'b' failed (passed on base)",)),
        ("pa sb", "pa cb", ("test 'b' crashed (skipped on base)",)),
        ("pa pb", "pa sb", ("test 'b' is skipped, it passed on base",)),
        ("pa pb", "pa", ("test 'b' did not run, it passed on base",)),
        ("pa", "pa fb", ("test 'b' failed (absent on base)",)),
        ("pa pa", "pa fa", ("test 'a' failed (passed on base)",)),
    ],
)
def test_tests_are_compared_case_by_case(base: str, candidate: str, expected: tuple[str, ...]) -> None:
    assert compare_tests(_tests(base), _tests(candidate)) == expected


def test_a_log_that_is_cut_is_a_difference_whatever_it_said() -> None:
    found = compare_tests(_tests("pa"), _tests("pa", success=False, complete=False))
    assert found == ("the test log is not whole: it ends before the plan is fulfilled",)


def test_a_failure_without_a_failing_case_is_not_lost() -> None:
    found = compare_tests(_tests("pa"), _tests("pa", success=False, failure="kernel panic after the last test"))
    assert found == ("the tests did not succeed: kernel panic after the last test",)
    assert compare_tests(_tests("fa", success=False), _tests("fa", success=False)) == ()


def test_new_warnings_are_found_with_repeats() -> None:
    base = ["a.c: unused x", "b.c: shadow"]
    assert compare_warnings(base, base[:1]) == ()
    assert compare_warnings(base, [*base, "c.c: y", "c.c: y", "b.c: shadow"]) == (
        "new warning: b.c: shadow",
        "new warning: c.c: y (2 times)",
    )
