# SPDX-License-Identifier: Apache-2.0
"""`git hmopt diff`: two runs side by side, and what keeps them from being compared."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from git_hmopt.report.story import RunStory, fold
from git_hmopt.report.two_runs import compare_runs, two_runs_screen
from tests.cli.conftest import TwoRuns
from tests.loop.project import Project
from tests.loop.recorded import Recorded


def test_two_runs_side_by_side(two_runs: TwoRuns) -> None:
    done = two_runs.project.hmopt("diff", two_runs.first[-6:], two_runs.second[-6:])
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[:3] == [f"one {two_runs.first}", f"two {two_runs.second}", "comparable"]
    tried = [line.split() for line in lines if line.startswith(("crc-slicing", "word-at-a-time"))]
    assert [row[:2] for row in tried] == [["crc-slicing:", "crc32c_update"], ["word-at-a-time:", "scan_byte"]]
    assert tried[1][-2:] == ["not", "tried"]
    assert all(len(line) <= 120 for line in lines[:-2])
    (change,) = [line for line in lines if line.startswith("blocks ")]
    assert change.split()[1::2][0].startswith("-") and change.count("%") == 2
    # Without arguments it is the latest against the one before it; with one, that against the latest.
    assert two_runs.project.hmopt("diff").stdout == done.stdout
    assert two_runs.project.hmopt("diff", two_runs.first).stdout == done.stdout


def test_the_same_as_json(two_runs: TwoRuns) -> None:
    done = two_runs.project.hmopt("diff", "--json")
    answer = json.loads(done.stdout)
    assert answer["v"] == 1
    found = answer["diff"]
    assert (found["one"], found["two"], found["comparable"], found["reasons"]) == (
        two_runs.first,
        two_runs.second,
        True,
        [],
    )
    slicing, word = found["tried"]
    assert (slicing["what"], slicing["same_verdict"]) == ("crc-slicing: crc32c_update", True)
    assert slicing["one"].startswith("* improved(count only), blocks -")
    assert (word["two"], word["same_verdict"]) == (None, None)
    assert [row["what"] for row in found["changes"]] == ["blocks"]
    assert found["floor"] == {"what": "noise floor", "one": None, "two": None}


def story(two_runs: TwoRuns, name: str) -> RunStory:
    """Return a run's story from git alone."""
    return fold(Recorded(two_runs.project, name).operations())


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"workload": "scan"}, "other workloads: scan-blocks and scan"),
        ({"base_tree": "0" * 40, "base_commit": "1" * 40}, "other base source: "),
        ({"configuration": "2" * 64}, "other configurations: builds, inputs or how it is measured may differ"),
        ({"device": "another CPU"}, "other hosts: "),
        ({"environment": {"cpus": "7", "sandbox": "bwrap"}}, "other cpus: "),
    ],
)
def test_what_differs_is_said_and_is_not_compared(two_runs: TwoRuns, change: dict[str, Any], reason: str) -> None:
    one, two = story(two_runs, two_runs.first), story(two_runs, two_runs.second)
    assert compare_runs(one, two).comparable
    other = replace(two, run=replace(two.run, **change))
    found = compare_runs(one, other)
    assert not found.comparable
    assert any(told.startswith(reason) for told in found.reasons), found.reasons
    screen = two_runs_screen(found)
    assert screen.splitlines()[2] == "NOT comparable:"
    assert f"  {reason}" in screen


def test_another_commit_with_the_same_source_is_the_same_base(two_runs: TwoRuns) -> None:
    one, two = story(two_runs, two_runs.first), story(two_runs, two_runs.second)
    assert compare_runs(one, replace(two, run=replace(two.run, base_commit="1" * 40))).comparable


def test_a_run_that_has_not_ended_is_compared_and_said(two_runs: TwoRuns) -> None:
    one, two = story(two_runs, two_runs.first), story(two_runs, two_runs.second)
    found = compare_runs(one, replace(two, status="running"))
    assert found.comparable
    assert found.reasons == (f"{two_runs.second} has not ended: it is running",)


def test_text_of_others_reaches_no_terminal(two_runs: TwoRuns) -> None:
    one = story(two_runs, two_runs.first)
    patch = one.iterations[0].patch
    assert patch is not None
    evil = replace(one.iterations[0], patch=replace(patch, symbol=None, title="\x1b[31mred\x1b[0m\nline"))
    screen = two_runs_screen(compare_runs(one, replace(one, iterations=(evil,))))
    assert "\x1b" not in screen and "\nline" not in screen


def test_it_takes_two(two_runs: TwoRuns, project: Project) -> None:
    done = project.hmopt("diff")
    assert (done.returncode, done.stderr) == (
        129,
        "git hmopt: there is no run here, and it takes two; start one: git hmopt optimize --workload NAME\n",
    )
    done = two_runs.project.hmopt("diff", "a", "b", "c")
    assert (done.returncode, done.stderr) == (129, "git hmopt: diff: 3 runs were named; name at most two\n")
