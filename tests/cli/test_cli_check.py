# SPDX-License-Identifier: Apache-2.0
"""`git hmopt check`: its answers and exit codes, and a real `git bisect run` that finds what made a program slow."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cli.slowed_project import BROKEN, CRASHES, PLANTED, make_history
from tests.loop.project import Project


@dataclass(frozen=True)
class History:
    """A project and its commits, oldest first."""

    project: Project
    commits: list[str]

    def check(self, number: int, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Check out a commit by its number and check it."""
        self.project.git("checkout", "-q", "--detach", self.commits[number])
        return self.project.hmopt("check", *arguments)

    @property
    def good(self) -> str:
        """Return the first commit."""
        return self.commits[0]


@pytest.fixture(scope="module")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> History:
    """Return the project as it was made; nothing was ever measured in it."""
    return History(*make_history(tmp_path_factory.mktemp("untouched")))


def _copied(history: History, to: Path) -> History:
    shutil.copytree(history.project.root, to, symlinks=True)
    return History(Project(to, history.project.home), history.commits)


@pytest.fixture(scope="module")
def history(untouched: History, tmp_path_factory: pytest.TempPathFactory) -> History:
    """Return the project in which commits are checked one by one; a base's floor is measured once for all tests."""
    return _copied(untouched, tmp_path_factory.mktemp("history") / "project")


@pytest.fixture
def fresh(untouched: History, tmp_path: Path) -> History:
    """Return a copy of the untouched project that may be spoilt."""
    return _copied(untouched, tmp_path / "project")


def users_side(project: Project) -> dict[str, str]:
    """Return everything of the user's that a check may not touch."""
    return {
        "refs": project.git("for-each-ref", "refs/heads", "refs/notes", "refs/hmopt"),
        "config": (project.root / ".git/config").read_text(),
        "files": project.git("status", "--porcelain", "--ignored"),
        "index": project.git("ls-files", "--stage"),
    }


def test_bisect_run_finds_the_commit_that_made_it_slow(fresh: History) -> None:
    project, commits = fresh.project, fresh.commits
    project.git("checkout", "-q", "main")
    before = users_side(project)
    project.git("bisect", "start", commits[-1], commits[0])
    said = project.git("bisect", "run", "git", "hmopt", "check", fresh.good)
    assert f"{commits[PLANTED]} is the first bad commit" in said
    answers = re.findall(r"^HEAD (\w+) against (\w+)\n(?:.*\n)*?answer: .* \(exit code (\d+)\)$", said, re.MULTILINE)
    asked = {commits.index(next(one for one in commits if one.startswith(head))): code for head, _, code in answers}
    # Whatever way git took: what was built and ran was judged right, what was not was skipped.
    for number, code in asked.items():
        expected = "125" if number in (BROKEN, CRASHES) else "1" if number >= PLANTED else "0"
        assert code == expected, (number, said)
    assert {"0", "1", "125"} == set(asked.values())
    assert {base for _, base, _ in answers} == {fresh.good[:12]}
    # Every commit asked has another configuration and harness, which would have measured nothing.
    assert said.count("both sides were built and measured with what was trusted here") == len(answers)
    assert len(list((project.root / ".git/hmopt/floors").iterdir())) == 1
    project.git("bisect", "reset")
    assert users_side(project) == before


def test_in_a_bisection_the_first_good_commit_is_the_base(fresh: History) -> None:
    project, commits = fresh.project, fresh.commits
    project.git("checkout", "-q", "main")
    project.git("bisect", "start", "--term-old=fast", "--term-new=slow")
    project.git("bisect", "slow")
    done = project.hmopt("check")
    assert (done.returncode, done.stderr) == (
        129,
        "git hmopt: this bisection has no good commit yet; name one: git bisect good COMMIT\n",
    )
    project.git("bisect", "fast", commits[2])
    project.git("bisect", "fast", commits[4])
    project.git("checkout", "-q", commits[7])
    done = project.hmopt("check", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["check"]["base"] == commits[2]
    # A name that moves with HEAD would be another commit in every step.
    done = project.hmopt("check", "HEAD~3")
    assert (done.returncode, done.stderr) == (
        129,
        "git hmopt: 'HEAD~3' is another commit in every step of the bisection; name a fixed one, or none\n",
    )


def test_another_commit_than_the_one_checked_out(history: History) -> None:
    project = history.project
    project.git("checkout", "-q", "--detach", history.commits[0])
    project.write("README", "not committed\n")
    before = users_side(project)
    done = project.hmopt("check", history.commits[PLANTED - 1], "--head", history.commits[PLANTED], "--json")
    assert done.returncode == 1, done.stderr
    told = json.loads(done.stdout)["check"]
    assert (told["base"], told["head"]) == (history.commits[PLANTED - 1], history.commits[PLANTED])
    assert users_side(project) == before
    project.git("checkout", "-q", ".")
    done = project.hmopt("check", "--head", "v9")
    assert (done.returncode, done.stdout) == (128, "")


def test_a_regression_is_told_with_its_numbers(history: History) -> None:
    done = history.check(PLANTED)
    assert done.returncode == 1, (done.stdout, done.stderr)
    lines = done.stdout.splitlines()
    head, base = history.commits[PLANTED], history.commits[PLANTED - 1]
    assert lines[0] == f"HEAD {head[:12]} against {base[:12]}"
    assert re.fullmatch(
        r"lookup: regressed: Confirmed on fresh layouts: The time changed by \+\d+\.\d\d % .*", lines[1]
    )
    assert lines[-1] == "answer: regressed (exit code 1)"
    # Backwards it is a gain, and a check has nothing against gains.
    done = history.check(PLANTED - 1, history.commits[PLANTED], "--json")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["v"] == 1
    (one,) = answer["check"]["workloads"]
    assert (one["workload"], one["answer"], one["verdict"]) == ("lookup", 0, "improved")
    (delta,) = one["deltas"]
    assert delta["metric"] == "time" and delta["layout_controlled"] and float(delta["high"]) < -0.9


def test_the_same_objects_need_no_measurement(fresh: History) -> None:
    done = fresh.check(2)
    assert (done.returncode, done.stderr) == (0, "")
    assert "lookup: no-change: no built object differs from base's\n" in done.stdout
    assert not (fresh.project.root / ".git/hmopt/layouts").exists()
    assert not (fresh.project.root / ".git/hmopt/floors").exists()


def test_a_head_that_cannot_be_built_or_run_cannot_be_told(history: History) -> None:
    done = history.check(BROKEN, history.good)
    assert done.returncode == 125
    assert re.search(
        r"^lookup: does not build: build 'fast' fails: lib/table\.c:\d+.*error: ", done.stdout, re.MULTILINE
    )
    done = history.check(CRASHES, history.good)
    assert done.returncode == 125
    assert re.search(r"^lookup: not measured: .*(?:exit code 132|SIGILL)", done.stdout, re.MULTILINE)


def test_a_base_that_does_not_build_is_an_error(history: History) -> None:
    done = history.check(9, history.commits[BROKEN])
    assert (done.returncode, done.stdout) == (125, "")
    assert re.fullmatch(
        rf"git hmopt: build 'fast' of commit {history.commits[BROKEN][:12]} fails: .*; make the base build first\n",
        done.stderr,
    )


def test_no_time_is_no_answer(fresh: History, tmp_path: Path) -> None:
    file = tmp_path / "slow.yaml"
    fresh.project.git("checkout", "-q", fresh.good)
    text = (fresh.project.root / ".hmopt.yaml").read_text()
    file.write_text(text.replace('run: \'"$HMOPT_IMAGE"', 'run: \'sleep 1; "$HMOPT_IMAGE"'))
    assert "sleep 1" in file.read_text()
    assert fresh.project.hmopt("trust", "--config", str(file)).returncode == 0
    done = fresh.check(PLANTED, fresh.good, "--config", str(file), "--time", "1")
    assert done.returncode == 125, (done.stdout, done.stderr)
    assert "lookup: not measured: the time allowed ended before the noise floor was measured" in done.stdout
    # A floor that was cut off is none: the next check would take it for one.
    assert not (fresh.project.root / ".git/hmopt/floors").exists()


def test_what_is_refused_says_what_to_do(fresh: History) -> None:
    project = fresh.project

    def refused(code: int, stderr: str, *arguments: str) -> None:
        done = project.hmopt("check", *arguments)
        assert done.stderr == f"git hmopt: {stderr}\n"
        assert (done.returncode, done.stdout) == (code, "")

    refused(
        129, "trusted .hmopt.yaml: unknown workload 'lokup', expected 'lookup'? (known: lookup)", "--workload", "lokup"
    )
    refused(128, "'v9' is not in this repository; see: git log --oneline --all", "v9")
    project.write("README", "changed\n")
    refused(
        128, "tracked files have changes that would not be in the run; "
        "commit or stash them, or run on the commit as it is with --allow-dirty",
    )  # fmt: skip
    project.git("checkout", "-q", ".")
    project.git("checkout", "-q", fresh.good)
    refused(129, "HEAD has no parent here that it could be held against; name a BASE")
    project.git("checkout", "-q", "main")
    shutil.rmtree(project.root / ".git/hmopt/trusted")
    refused(
        128, "the configuration that was trusted here is no longer kept in this clone; trust it again: git hmopt trust"
    )
    project.git("config", "--unset", "hmopt.trust")
    refused(
        128, "this repository's configuration names commands that were never trusted here; "
        "read .hmopt.yaml and its overlays, then run: git hmopt trust",
    )  # fmt: skip


def test_what_was_kept_as_trusted_cannot_be_changed_unseen(fresh: History) -> None:
    (kept,) = (fresh.project.root / ".git/hmopt/trusted").iterdir()
    harness = kept / "bench/main.c"
    harness.write_text(harness.read_text() + "/* more */\n")
    done = fresh.check(2)
    assert done.returncode == 128
    assert done.stderr.startswith("git hmopt: this repository's commands changed since they were trusted; ")


def test_a_file_elsewhere_configures_a_check(fresh: History, tmp_path: Path) -> None:
    project = fresh.project
    project.git("checkout", "-q", fresh.good)
    file = tmp_path / "other.yaml"
    file.write_text((project.root / ".hmopt.yaml").read_text().replace("  lookup:", "  renamed:"))
    done = project.hmopt("check", fresh.commits[0], "--config", str(file))
    assert done.returncode == 128
    assert done.stderr == (
        f"git hmopt: '{file}' names commands that were never trusted here; "
        f"read {file} and its overlays, then run: git hmopt trust --config {file}\n"
    )
    done = project.hmopt("trust", "--config", str(file))
    assert done.returncode == 0, done.stderr
    done = fresh.check(2, fresh.good, "--config", str(file))
    assert done.returncode == 0, done.stderr
    assert "\nrenamed: no-change: " in done.stdout and "another" not in done.stdout
    # The file's overlays are those that were trusted with it, and an edit of it is asked for again.
    file.write_text(file.read_text().replace("renamed", "again"))
    done = project.hmopt("check", fresh.good, "--config", str(file))
    assert done.returncode == 128 and "changed since they were trusted" in done.stderr
