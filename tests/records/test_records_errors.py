# SPDX-License-Identifier: Apache-2.0
"""The error tree: one line each, the next step at its end, the exit code of git and of `git bisect run`."""

from __future__ import annotations

import pytest

from git_hmopt import errors
from git_hmopt.errors import ExitCode, HmoptError, MissingProgramError, ProgramError, TimeLimitError


def tree(base: type[HmoptError]) -> list[type[HmoptError]]:
    """Return an error and all below it."""
    return [base, *(deeper for below in base.__subclasses__() for deeper in tree(below))]


def test_exit_codes_are_those_of_git_and_bisect() -> None:
    codes = {kind.__name__: int(kind.exit_code) for kind in tree(HmoptError) if kind.__module__ == errors.__name__}
    assert codes == {
        "HmoptError": 128,
        "UsageError": 129,
        "ConfigError": 129,
        "UntrustedError": 128,
        "RepositoryError": 128,
        "StoreError": 128,
        "RefConflictError": 128,
        "CorruptRecordError": 128,
        "MissingProgramError": 128,
        "ProgramError": 125,
        "TimeLimitError": 125,
        "AdapterError": 125,
        "MeasurementError": 125,
        "PatchError": 1,
        "InterruptedRunError": 130,
    }
    assert [int(code) for code in ExitCode] == [0, 1, 125, 128, 129, 130]


def test_the_next_step_stands_at_the_end() -> None:
    error = HmoptError("the base is not here", next_step="run: git fetch")
    assert (str(error), error.what, error.next_step) == (
        "the base is not here; run: git fetch",
        "the base is not here",
        "run: git fetch",
    )
    assert str(HmoptError("that is all")) == "that is all"


def test_a_missing_program_says_what_is_lost_with_or_without_a_way_to_get_it() -> None:
    assert str(MissingProgramError("perf", lost="no call stacks")) == "'perf' is not installed: no call stacks"
    error = MissingProgramError("perf", lost="no call stacks", install="apt-get install linux-perf")
    assert str(error) == "'perf' is not installed: no call stacks; install it with: apt-get install linux-perf"


def test_a_time_limit_is_a_failure_of_the_program_and_keeps_what_was_printed() -> None:
    with pytest.raises(ProgramError) as caught:
        raise TimeLimitError("'make' ran past its limit", tail=b"  CC      lib/sort.o\n", next_step="raise timeout_s")
    assert caught.value.tail == b"  CC      lib/sort.o\n"
    assert str(caught.value) == "'make' ran past its limit; raise timeout_s"
