# SPDX-License-Identifier: Apache-2.0
"""The filters of `git hmopt list`: what each leaves, what they leave together, and words that nobody knows."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from git_hmopt.records.run import CutoffRecord
from git_hmopt.records.words import CARE_RUN, RunId, Verdict
from git_hmopt.store.care import CUTOFF
from git_hmopt.store.journal import Journal, OpDraft
from git_hmopt.store.repository import Repository
from tests.cli.runs import Recorder
from tests.loop.project import Project, make_project

OLD, MIDDLE, NEW = (RunId(f"20260{month}01-scan-00000{month}") for month in (1, 2, 3))
BLOCKS = RunId("20260401-scan-blocks-000004")


def recorder(project: Project, name: RunId, base: str, created: str, workload: str = "scan") -> Recorder:
    """Return what records a run."""
    return Recorder(project.root, name, workload, base, created=created)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, list[str]]:
    """Return a project with four commits and four runs, one on each."""
    directory = tmp_path_factory.mktemp("filters")
    project = make_project(directory, contents={"README": "0\n"}, trusted=False)
    commits = [project.git("rev-parse", "HEAD")]
    for number in range(1, 4):
        project.write("README", f"{number}\n")
        commits.append(project.commit(f"commit {number}"))
    recent = datetime.now(UTC) - timedelta(days=3)
    old = recorder(project, OLD, commits[0], "2026-01-01T10:00:00Z").begin()
    old.judged(1, commits[1], commits[0], ("90", "100"))
    old.judged(2, commits[2], commits[1], ("91", "90"), verdict=Verdict.NO_CHANGE)
    middle = recorder(project, MIDDLE, commits[1], "2026-02-01T00:00:00Z").begin(status="failed")
    middle.judged(1, commits[2], commits[1], None, verdict=Verdict.REJECTED, rule="policy")
    recorder(project, NEW, commits[2], f"{recent:%Y-%m-%dT%H:%M:%SZ}").begin(status="created")
    blocks = recorder(project, BLOCKS, commits[3], "2026-01-15T10:00:00Z", "scan-blocks").begin()
    blocks.judged(1, commits[2], commits[1], ("1", "2"), verdict=Verdict.IMPROVED_COUNT)
    blocks.judged(2, commits[1], commits[0], ("1", "2"), verdict=Verdict.REGRESSED)
    return project, commits


def listed(project: Project, *argv: str) -> set[str]:
    """Return the runs that are listed."""
    done = project.hmopt("list", "--json", *argv)
    assert (done.returncode, done.stderr) == (0, "")
    return {run["name"] for run in json.loads(done.stdout)["runs"]}


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        ((), {OLD, MIDDLE, NEW, BLOCKS}),
        (("--workload", "scan-blocks"), {BLOCKS}),
        (("--verdict", "improved"), {OLD}),
        (("--verdict", "no-change"), {OLD}),
        (("--verdict", "rejected"), {MIDDLE}),
        (("--verdict", "improved-count"), {BLOCKS}),
        (("--verdict", "improved(count only)"), {BLOCKS}),
        (("--verdict", "incorrect"), set()),
        (("--status", "failed"), {MIDDLE}),
        (("--status", "interrupted"), {NEW}),
        (("--status", "created"), set()),
        (("--status", "succeeded", "-n", "1"), {BLOCKS}),
        (("--since", "2026-02-01"), {MIDDLE, NEW}),
        (("--since", "2026-02-01 00:00:01 +0000"), {NEW}),
        (("--since", "2 weeks ago"), {NEW}),
        (("--since", "yesterday"), set()),
        (("--since", "now"), set()),
        (("--since", "today"), set()),
        (("HEAD~2..HEAD",), {NEW, BLOCKS}),
        (("HEAD~2..HEAD~1",), {NEW}),
        (("HEAD~3..",), {MIDDLE, NEW, BLOCKS}),
        (("HEAD..HEAD~1",), set()),
        (("HEAD~3..HEAD", "--status", "failed", "--verdict", "rejected", "--since", "2026-01-20"), {MIDDLE}),
        (("HEAD~3..HEAD", "--status", "failed", "--verdict", "improved"), set()),
        (("-n", "2", "--since", "2026-01-10"), {NEW, MIDDLE}),
    ],
    # A set has no order that two workers would agree on.
    ids=lambda value: " ".join(value if isinstance(value, tuple) else sorted(value)),
)
def test_what_a_filter_leaves(recorded: tuple[Project, list[str]], argv: tuple[str, ...], expected: set[str]) -> None:
    assert listed(recorded[0], *argv) == expected


@pytest.mark.parametrize(
    ("argv", "code", "said"),
    [
        (("--verdict", "improvd"), 129, "unknown verdict 'improvd', expected 'improved'?"),
        (("--status", "closed"), 129, "unknown status 'closed', expected"),
        (("--since", "frob"), 129, "git knows no date 'frob'; such as: 2026-01-31, '2 weeks ago', yesterday"),
        (("--since", ""), 129, "git knows no date ''"),
        (("HEAD",), 129, "'HEAD' is no range of commits; give two ends: HEAD..HEAD"),
        (("main...HEAD",), 129, "'main...HEAD' has three dots; write two: main..HEAD"),
        (("v9..HEAD",), 128, "'v9' is not in this repository; see: git log --oneline --all"),
        (("main..mian",), 128, "'mian' is not in this repository; did you mean 'main'?"),
        (("--", "--output=x..HEAD"), 128, "'--output=x' is not in this repository"),
    ],
    ids=str,
)
def test_what_nobody_knows_is_one_line(
    recorded: tuple[Project, list[str]], argv: tuple[str, ...], code: int, said: str
) -> None:
    done = recorded[0].hmopt("list", *argv)
    assert (done.returncode, done.stdout) == (code, "")
    (line,) = done.stderr.splitlines()
    assert said in line


def test_the_lines_are_those_of_the_json(recorded: tuple[Project, list[str]]) -> None:
    lines = recorded[0].hmopt("list", "HEAD~3..", "--workload", "scan").stdout.splitlines()
    assert [line.split()[0] for line in lines] == [NEW, MIDDLE]
    done = recorded[0].hmopt("list", "HEAD~3..", "--workload", "scna")
    assert (done.returncode, done.stdout) == (0, "no run is all that; see them all: git hmopt list\n")


def test_a_day_is_the_users_own(recorded: tuple[Project, list[str]]) -> None:
    """February 1st at midnight UTC is January still west of Greenwich, where that day begins hours later."""
    for zone, expected in (("Etc/GMT+5", {NEW}), ("Etc/GMT-5", {MIDDLE, NEW})):
        done = recorded[0].hmopt("list", "--json", "--since", "2026-02-01", environment={"TZ": zone})
        assert {run["name"] for run in json.loads(done.stdout)["runs"]} == expected


def test_expired_and_retracted_do_not_show(recorded: tuple[Project, list[str]], tmp_path: Path) -> None:
    project = Project(tmp_path / "copy", recorded[0].home)
    project.root.mkdir()
    recorded[0].git("clone", "-q", "--mirror", str(recorded[0].root), str(project.root / ".git"))
    project.git("config", "core.bare", "false")
    assert project.hmopt("retract", OLD, "--iteration", "1", "--reason", "hot").returncode == 0
    assert listed(project, "--verdict", "improved") == set()
    assert listed(project, "--verdict", "no-change") == {OLD}
    (run,) = (one for one in json.loads(project.hmopt("list", "--json").stdout)["runs"] if one["name"] == OLD)
    assert (run["accepted"], run["iterations"]) == (0, 2)
    cut = CutoffRecord(of_run=OLD, before="2026-12-31T00:00:00Z", reason="old").model_dump(mode="json")
    Journal(Repository.open(project.root)).append(CARE_RUN, [OpDraft(CUTOFF, "expire", data={CUTOFF: [cut]})])
    for argv in ((), ("--verdict", "no-change"), ("--workload", "scan"), ("--status", "succeeded")):
        assert OLD not in listed(project, *argv)
