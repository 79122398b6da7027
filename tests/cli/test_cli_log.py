# SPDX-License-Identifier: Apache-2.0
"""`git hmopt log`: each number on the tree it was measured on, never one host against another."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from git_hmopt.records.run import CutoffRecord
from git_hmopt.records.words import CARE_RUN, RunId
from git_hmopt.store.care import CUTOFF
from git_hmopt.store.journal import Journal, OpDraft
from git_hmopt.store.repository import Repository
from tests.cli.runs import Recorder
from tests.loop.project import Project, make_project

FIRST, SECOND, OTHER = RunId("20260131-scan-0a1b2c"), RunId("20260201-scan-000002"), RunId("20260202-blocks-000003")


@dataclass(frozen=True)
class Measured:
    """A project with six commits, whose numbers come from three runs on two hosts."""

    project: Project
    commits: list[str]

    def series(self, *argv: str) -> dict[tuple[str, str, str], list[tuple[str, str]]]:
        """Return by workload, metric and device the titles and values that are shown."""
        return {
            (one["workload"], one["name"], one["device"]): [
                (point["commit"]["title"], point["number"]["metric"]["value"]) for point in one["points"]
            ]
            for one in self.told(*argv)["series"]
        }

    def told(self, *argv: str) -> dict[str, Any]:
        """Return the answer as JSON."""
        done = self.project.hmopt("log", "--json", *argv)
        assert (done.returncode, done.stderr) == (0, "")
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Measured:
    """Return the project, made once: 0 is measured twice, 1 by nobody, 5 has the tree of 2 again."""
    project = make_project(tmp_path_factory.mktemp("log"), contents={"lib.c": "0\n"}, title="c0", trusted=False)
    commits = [project.git("rev-parse", "HEAD")]
    for number, text in enumerate("12342", start=1):
        project.write("lib.c", f"{text}\n")
        commits.append(project.commit(f"c{number}"))
    one = Recorder(project.root, FIRST, "scan", commits[0], device="alpha").begin()
    one.later("2026-01-31T11:01:00Z").measured(one.metric(commits[0], "100"))
    one.later("2026-01-31T11:02:00Z").judged(1, commits[2], commits[0], ("80", "102"))
    two = Recorder(project.root, SECOND, "scan", commits[3], device="beta").begin()
    two.later("2026-02-01T11:01:00Z").judged(1, commits[4], commits[3], ("41", "40"))
    count = two.metric(commits[3], "7", name="blocks")
    two.later("2026-02-01T11:02:00Z").measured(count)
    three = Recorder(project.root, OTHER, "blocks", commits[0], device="alpha").begin()
    three.measured(three.metric(commits[0], "123456", name="blocks"))
    return Measured(project, commits)


@pytest.fixture
def measured(recorded: Measured, tmp_path: Path) -> Measured:
    """Return a copy that may be changed."""
    shutil.copytree(recorded.project.root, tmp_path / "project", symlinks=True)
    return Measured(Project(tmp_path / "project", recorded.project.home), recorded.commits)


SCAN_ALPHA = [("c0", "102"), ("c2", "80"), ("c5", "80")]
SCAN_BETA = [("c3", "40"), ("c4", "41")]


def test_each_workload_metric_and_host_is_a_series_of_its_own(recorded: Measured) -> None:
    assert recorded.series() == {
        ("blocks", "blocks", "alpha"): [("c0", "123456")],
        ("scan", "blocks", "beta"): [("c3", "7")],
        ("scan", "time", "alpha"): SCAN_ALPHA,
        ("scan", "time", "beta"): SCAN_BETA,
    }


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (("--metric", "time"), {("scan", "time", "alpha"): SCAN_ALPHA, ("scan", "time", "beta"): SCAN_BETA}),
        (("--workload", "blocks"), {("blocks", "blocks", "alpha"): [("c0", "123456")]}),
        (("--metric", "time", "HEAD~3"), {("scan", "time", "alpha"): SCAN_ALPHA[:2]}),
        (("--metric", "time", "HEAD~4..HEAD~2"), {("scan", "time", "alpha"): [SCAN_ALPHA[1]],
                                                  ("scan", "time", "beta"): [SCAN_BETA[0]]}),
        (("--metric", "time", "HEAD..HEAD"), {}),
        (("--metric", "time", "--workload", "blocks"), {}),
    ],
    ids=str,
)  # fmt: skip
def test_what_is_asked_for_is_shown(recorded: Measured, argv: tuple[str, ...], expected: object) -> None:
    assert recorded.series(*argv) == expected


def test_the_lines(recorded: Measured) -> None:
    day = recorded.project.git("log", "-1", "--format=%cd", "--date=format-local:%Y-%m-%d")
    c = [commit[:12] for commit in recorded.commits]
    shown = recorded.project.hmopt("log", "--metric", "time", environment={"TZ": "UTC"}).stdout
    lines = [" ".join(line.replace("-" * 10, "").split()) for line in shown.splitlines()]
    assert lines == [
        "scan time, measured on alpha",
        "date commit value change run title",
        lines[2],
        f"{day} {c[0]} 102 ns [101, 103] {FIRST} c0",
        f"{day} {c[2]} 80 ns [79, 81] -21.6 % {FIRST} c2",
        f"{day} {c[5]} 80 ns [79, 81] {FIRST} c5",
        "",
        "scan time, measured on beta",
        "date commit value change run title",
        lines[9],
        f"{day} {c[3]} 40 ns [39, 41] {SECOND} c3",
        f"{day} {c[4]} 41 ns [40, 42] +2.5 % (intervals overlap) {SECOND} c4",
        "",
        f"the device changes: scan time was measured on alpha ({day}), then beta ({day}); "
        "values of different devices are not held against each other",
    ]
    assert set(lines[2]) | set(lines[9]) == {"-", " "}


def test_earlier_numbers_of_the_same_tree_are_counted(recorded: Measured) -> None:
    series = next(one for one in recorded.told("--metric", "time")["series"] if one["device"] == "alpha")
    assert [point["earlier"] for point in series["points"]] == [1, 0, 0]
    assert [point["change"] for point in series["points"]] == [None, str(80 / 102 - 1), None]


def test_a_number_stays_with_its_tree_and_not_with_its_commit(measured: Measured) -> None:
    """`git notes copy` brings a number to a commit of other code, as notes.rewriteRef does; a merge leaves the line."""
    git = measured.project.git
    git("notes", "--ref=hmopt/metrics", "copy", measured.commits[2], measured.commits[1])
    assert measured.series("--metric", "time", "HEAD~4") == {("scan", "time", "alpha"): SCAN_ALPHA[:1]}
    git("checkout", "-q", "-b", "side", measured.commits[0])
    git("commit", "-q", "--allow-empty", "-m", "side work")
    git("merge", "-q", "--no-ff", "-m", "merged", measured.commits[2])
    # Along first parents: c0, side work (the tree of c0), merged (the tree of c2).
    assert measured.series("--metric", "time", "side") == {
        ("scan", "time", "alpha"): [("c0", "102"), ("side work", "102"), ("merged", "80")]
    }


def test_what_was_retracted_or_is_expired_is_left_out(measured: Measured) -> None:
    assert measured.project.hmopt("retract", FIRST, "--iteration", "1", "--reason", "hot").returncode == 0
    # Both sides of that measurement are gone, the one before it counts again.
    assert measured.series("--metric", "time")[("scan", "time", "alpha")] == [("c0", "100")]
    assert measured.project.hmopt("retract", SECOND, "--reason", "hot").returncode == 0
    assert list(measured.series("--metric", "time")) == [("scan", "time", "alpha")]
    cut = CutoffRecord(of_run=FIRST, before="2026-12-31T00:00:00Z", reason="old").model_dump(mode="json")
    Journal(Repository.open(measured.project.root)).append(CARE_RUN, [OpDraft(CUTOFF, "x", data={CUTOFF: [cut]})])
    assert list(measured.series()) == [("blocks", "blocks", "alpha")]


def test_numbers_of_others_are_shown_without_their_journals(measured: Measured, tmp_path: Path) -> None:
    clone = Measured(Project(tmp_path / "clone", measured.project.home), measured.commits)
    measured.project.git("clone", "-q", str(measured.project.root), str(clone.project.root))
    clone.project.git("fetch", "-q", "origin", "refs/notes/*:refs/notes/*")
    # Which host it was nobody here knows: and two that nobody knows need not be one.
    assert clone.series("--workload", "blocks") == {("blocks", "blocks", f"unknown (run {OTHER})"): [("c0", "123456")]}
    clone.project.git("fetch", "-q", "origin", "refs/hmopt/*:refs/hmopt/*")
    assert clone.series("--workload", "blocks") == {("blocks", "blocks", "alpha"): [("c0", "123456")]}


def test_where_nothing_was_measured_it_is_said(recorded: Measured, untouched: Project) -> None:
    for project, argv in ((untouched, ()), (untouched, ("--metric", "any")), (recorded.project, ("HEAD..HEAD",))):
        done = project.hmopt("log", *argv)
        said = "no commit here has a number of its own; measure: git hmopt optimize --workload NAME\n"
        assert (done.returncode, done.stdout, done.stderr) == (0, said, "")


@pytest.mark.parametrize(
    ("argv", "code", "said"),
    [
        (("--metric", "tme"), 129, "log: unknown metric 'tme', expected 'time'? (known: blocks, time)"),
        (("--workload", "scam"), 129, "log: unknown workload 'scam', expected 'scan'? (known: blocks, scan)"),
        (("mian",), 128, "'mian' is not in this repository; did you mean 'main'?"),
        (("main...HEAD",), 129, "'main...HEAD' has three dots; write two: main..HEAD"),
    ],
)
def test_what_nobody_knows_is_one_line(recorded: Measured, argv: tuple[str, ...], code: int, said: str) -> None:
    done = recorded.project.hmopt("log", *argv)
    assert (done.returncode, done.stdout, done.stderr) == (code, "", f"git hmopt: {said}\n")
