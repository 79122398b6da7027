# SPDX-License-Identifier: Apache-2.0
"""Whether a candidate still does what base does: outputs on fresh inputs, tests, warnings.

Every function returns the differences as clauses for the reader, none when there is none.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence

from git_hmopt.adapters import OutputCheck, TestResult, WorkCase
from git_hmopt.config.schema import Inputs
from git_hmopt.errors import MeasurementError
from git_hmopt.measure.layouts import derived_seed

FRESH_SIZES = 8
"""How many sizes beside the configured ones are drawn: a patch that breaks, or cheats, at sizes nobody listed."""

_WORST_FIRST = ("crashed", "failed", "skipped", "passed")


def fresh_cases(inputs: Inputs, seed: int) -> tuple[WorkCase, ...]:
    """Return the inputs at which outputs are compared: sizes x offsets, every one with data of its own.

    The sizes are the configured check sizes, the measured size, and FRESH_SIZES drawn between 1 and the largest of
    them (evenly over magnitudes, half of them odd). `seed` must be one the proposer never saw: a patch can be fitted
    to data that is known.
    """
    listed = sorted({*inputs.check_sizes, inputs.size})
    offsets = sorted(set(inputs.check_offsets)) or [0]
    cases = [(size, offset) for size in listed for offset in offsets]
    rng = random.Random(derived_seed(seed, "sizes"))
    largest = max(listed)
    for number in range(FRESH_SIZES if largest > 1 else 0):
        size = min(largest, int(largest ** rng.random()))
        cases.append((max(1, size | 1 if number % 2 and size < largest else size), rng.choice(offsets)))
    unique = dict.fromkeys(cases)
    return tuple(
        WorkCase(derived_seed(seed, "case", size, offset), size, repetitions=1, offset=offset)
        for size, offset in unique
    )


def compare_outputs(base: OutputCheck, candidate: OutputCheck) -> tuple[str, ...]:
    """Name what the candidate answers differently: its own reference's complaints, missing and differing outputs.

    MeasurementError when base itself is wrong or gave nothing, because then no candidate can be judged.
    """
    if base.failures:
        raise MeasurementError(
            f"the workload's own check already fails on base: {base.failures[0]}",
            next_step="repair the workload before optimizing it",
        )
    if not base.digests:
        raise MeasurementError("base gave no output to compare with", next_step="check the workload's markers")
    found = [f"the workload's own check fails: {failure}" for failure in candidate.failures]
    for case, digest in base.digests.items():
        if case not in candidate.digests:
            found.append(f"no output for {_case(case)}")
        elif candidate.digests[case] != digest:
            found.append(f"another output than base for {_case(case)}: {candidate.digests[case]} instead of {digest}")
    found += [f"an output base does not have, for {_case(case)}" for case in candidate.digests.keys() - base.digests]
    return tuple(found)


def compare_tests(base: TestResult, candidate: TestResult) -> tuple[str, ...]:
    """Name tests that fail newly, no longer run or are missing, and a log that is not whole.

    A test that already failed on base is no difference; one that was skipped there and fails now is.
    """
    before, after = _by_name(base), _by_name(candidate)
    found: list[str] = []
    for name, (status, detail) in after.items():
        old = before.get(name, ("absent", ""))[0]
        if status in ("failed", "crashed") and old not in ("failed", "crashed"):
            found.append(f"test '{name}' {status}{': ' + detail if detail else ''} ({old} on base)")
        elif status == "skipped" and old == "passed":
            found.append(f"test '{name}' is skipped, it passed on base")
    found += [f"test '{name}' did not run, it {before[name][0]} on base" for name in before if name not in after]
    if not candidate.complete:
        found.append(f"the test log is not whole: {candidate.failure or 'it ends before the plan is fulfilled'}")
    elif not candidate.success and base.success and not found:
        found.append(f"the tests did not succeed: {candidate.failure or 'no reason was given'}")
    return tuple(found)


def compare_warnings(base: Sequence[str], candidate: Sequence[str]) -> tuple[str, ...]:
    """Return the candidate's new compiler warnings (line numbers are already out of them), with repeats counted."""
    new = Counter(candidate) - Counter(base)
    return tuple(f"new warning: {text}{f' ({n} times)' if n > 1 else ''}" for text, n in sorted(new.items()))


def _case(case: WorkCase) -> str:
    return f"size {case.size}, offset {case.offset}, seed {case.seed}"


def _by_name(result: TestResult) -> dict[str, tuple[str, str]]:
    """Return each test's worst status, for names that occur more than once (parameterised cases)."""
    worst: dict[str, tuple[str, str]] = {}
    for case in sorted(result.cases, key=lambda case: -_WORST_FIRST.index(case.status)):
        worst[case.name] = (case.status, case.detail)
    return worst
