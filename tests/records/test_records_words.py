# SPDX-License-Identifier: Apache-2.0
"""The field's words: run names, ref names, statuses, times; checked with git's own rules."""

from __future__ import annotations

import re
import subprocess
import sys
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from git_hmopt.records.words import (
    RunId,
    RunStatus,
    Verdict,
    best_ref,
    candidate_ref,
    is_run_id,
    journal_ref,
    new_run_id,
    utc_now,
)

RUN = RunId("20260131-lib-sort-0a1b2c")


def git_takes(*refs: str) -> bool:
    """Say whether git accepts these as full ref names."""
    checked = (subprocess.run(["git", "check-ref-format", ref], check=False).returncode for ref in refs)
    return all(code == 0 for code in checked)


@pytest.mark.parametrize(
    "text",
    [
        "20260131-lib-sort-0a1b2c",
        "20260131-a-000000",
        "20260131-A.b_c-d-ffffff",
        "99999999-run-123456",
    ],
)
def test_run_names(text: str) -> None:
    assert is_run_id(text)
    assert git_takes(best_ref(RunId(text)), journal_ref(RunId(text), "w"))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "lib-sort",
        "20260131-lib-sort",
        "20260131-lib-sort-0A1B2C",
        "20260131-lib-sort-0a1b2",
        "20260131-lib-sort-0a1b2c0",
        "2026013-lib-sort-0a1b2c",
        "20260131--0a1b2c",
        "20260131-.hidden-0a1b2c",
        "20260131-a..b-0a1b2c",
        "20260131-a/b-0a1b2c",
        "20260131-a b-0a1b2c",
        "20260131-ä-0a1b2c",
        "٢٠٢٦٠١٣١-lib-0a1b2c",
        "20260131-lib-0a1b2c\n",
        "../20260131-lib-0a1b2c",
    ],
)
def test_what_is_no_run_name(text: str) -> None:
    assert not is_run_id(text)


@pytest.mark.parametrize(
    ("workload", "part"),
    [
        ("lib-sort", "lib-sort"),
        ("lib/sort fast", "lib-sort-fast"),
        ("a..b", "a-b"),
        ("_private", "private"),
        ("-", "run"),
        ("", "run"),
        ("日本", "run"),
        ("x" * 300, "x" * 64),
    ],
)
def test_a_new_run_is_named_after_day_and_workload(workload: str, part: str) -> None:
    name = new_run_id(workload, now=datetime(2026, 1, 31, 23, 59, tzinfo=UTC))
    assert re.fullmatch(rf"20260131-{re.escape(part)}-[0-9a-f]{{6}}", name)


@given(st.text(max_size=90))
def test_every_workload_gives_a_run_name(workload: str) -> None:
    assert is_run_id(new_run_id(workload))


@settings(max_examples=25, deadline=None)
@given(st.text("ab.-_/~^:@{} \\\x7f", max_size=12))
def test_every_run_name_is_good_for_git(workload: str) -> None:
    run = new_run_id(workload)
    assert git_takes(best_ref(run), candidate_ref(run, 1), journal_ref(run, "0196f7b2-5d1a-7c33-9a41-2f6f0c8d1e55"))


def test_two_runs_of_one_day_and_workload_differ() -> None:
    assert len({new_run_id("lib-sort") for _ in range(50)}) == 50


def test_refs_stand_where_the_documentation_says() -> None:
    assert best_ref(RUN) == "refs/heads/hmopt/20260131-lib-sort-0a1b2c/best"
    assert candidate_ref(RUN, 7) == "refs/heads/hmopt/20260131-lib-sort-0a1b2c/iter-0007"
    assert candidate_ref(RUN, 12345) == "refs/heads/hmopt/20260131-lib-sort-0a1b2c/iter-12345"
    assert journal_ref(RUN, "writer") == "refs/hmopt/runs/20260131-lib-sort-0a1b2c/writer"


def test_only_an_ended_run_is_closed() -> None:
    assert {status for status in RunStatus if status.closed} == {
        RunStatus.SUCCEEDED,
        RunStatus.FAILED,
        RunStatus.STOPPED,
    }


def test_verdicts_are_the_words_that_are_stored() -> None:
    assert [str(verdict) for verdict in Verdict] == [
        "improved",
        "improved(count only)",
        "no-change",
        "regressed",
        "incorrect",
        "rejected",
        "cannot-tell",
    ]


def test_times_are_utc_in_whole_seconds() -> None:
    before = datetime.now(UTC).replace(microsecond=0)
    said = datetime.strptime(utc_now(), "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    assert before <= said <= datetime.now(UTC)


def test_the_words_need_no_pydantic() -> None:
    """`git hmopt list` reads refs with them and must not pay for it."""
    code = "import sys, git_hmopt.records.words; sys.exit('pydantic' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
