# SPDX-License-Identifier: Apache-2.0
"""Exit codes, one table: 0 yes, 1 no, 125 cannot test, 128 environment or repository, 129 usage, 130 interrupted."""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from git_hmopt.errors import ExitCode
from tests.cli.conftest import TwoRuns
from tests.cli.slowed_project import BROKEN, PLANTED, make_history
from tests.loop.project import Project


@dataclass(frozen=True)
class Place:
    """Where the commands of the table are called."""

    project: Project
    commits: list[str]
    with_runs: Project
    scratch: Path

    def check(self, number: int, *argv: str) -> int:
        """Return the exit code of a check of a commit."""
        self.project.git("checkout", "-q", "--detach", self.commits[number])
        return self.hmopt("check", *argv)

    def hmopt(self, *argv: str) -> int:
        """Return the exit code of a command in the project."""
        return self.project.hmopt(*argv).returncode

    def plain(self, *argv: str) -> int:
        """Return the exit code of a command where there is no repository."""
        ceiling = {"GIT_CEILING_DIRECTORIES": str(self.scratch)}
        (self.scratch / "plain").mkdir(exist_ok=True)
        return self.project.hmopt(*argv, cwd=self.scratch / "plain", environment=ceiling).returncode

    def capture(self, text: str, command: str, *argv: str) -> int:
        """Return the exit code of a command about a file `captured` with this text."""
        (self.scratch / "captured").write_text(text)
        return self.project.hmopt(command, "captured", *argv, cwd=self.scratch).returncode

    def dirty(self, *argv: str) -> int:
        """Return the exit code of a command while a tracked file is changed."""
        self.project.write("README", "changed\n")
        code = self.hmopt(*argv)
        self.project.git("checkout", "-q", "README")
        return code

    def interrupted(self) -> int:
        """Return the exit code of a check that got Ctrl-C while it builds."""
        copy = Project(self.scratch / "interrupted", self.project.home)
        shutil.copytree(self.project.root, copy.root, symlinks=True)
        copy.git("checkout", "-q", self.commits[0])
        file = self.scratch / "sleep.yaml"
        file.write_text((copy.root / ".hmopt.yaml").read_text().replace("make -s O=build-fast", "sleep 300"))
        assert copy.hmopt("trust", "--config", str(file)).returncode == 0
        log = copy.root / ".git/hmopt/runs/check/logs/log.jsonl"
        log.unlink(missing_ok=True)
        child = subprocess.Popen(
            ["git-hmopt", "check", self.commits[0], "--config", str(file)], cwd=copy.root, env=copy.environment,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        deadline = time.monotonic() + 60
        while not (log.exists() and "building fast" in log.read_text()):
            assert child.poll() is None and time.monotonic() < deadline
            time.sleep(0.02)
        child.send_signal(signal.SIGINT)
        _, errors = child.communicate(timeout=60)
        assert errors == "git hmopt: interrupted\n"
        return child.returncode


@pytest.fixture(scope="module")
def place(two_runs: TwoRuns, tmp_path_factory: pytest.TempPathFactory) -> Place:
    """Return a project with a history, one with runs, and room."""
    project, commits = make_history(tmp_path_factory.mktemp("codes"))
    # A copy: other tests count the runs of the original.
    with_runs = Project(tmp_path_factory.mktemp("with-runs") / "project", two_runs.project.home)
    shutil.copytree(two_runs.project.root, with_runs.root, symlinks=True)
    return Place(project, commits, with_runs, tmp_path_factory.mktemp("scratch"))


Act = Callable[[Place], int]
TABLE: tuple[tuple[int, str, Act], ...] = (
    (0, "a version", lambda place: place.hmopt("--version")),
    (0, "no regression", lambda place: place.check(2)),
    (0, "a run that accepted something", lambda place: place.with_runs.hmopt("show").returncode),
    (0, "two runs that can be compared", lambda place: place.with_runs.hmopt("diff").returncode),
    (0, "a function that is called", lambda place: place.hmopt("graph", "table_reset", "--callers")),
    (0, "a capture that can be ranked", lambda place: place.capture("main;work 3\n", "hotspots")),
    (0, "two captures that can be compared", lambda place: place.capture("main;work 3\n", "compare", "captured")),
    (1, "a regression", lambda place: place.check(PLANTED)),
    (
        1,
        "a run that accepted nothing",
        lambda place: (
            place.with_runs.hmopt(
                "optimize", "--workload", "scan-blocks", "--iterations", "0", "--seed", "7"
            ).returncode
        ),
    ),
    (1, "a function that nobody calls", lambda place: place.hmopt("graph", "main", "--callers")),
    (125, "a head that does not build", lambda place: place.check(BROKEN, place.commits[0])),
    (125, "a base that does not build", lambda place: place.check(BROKEN + 1)),
    (125, "a file that is no capture", lambda place: place.capture("dear diary,\n", "hotspots")),
    (125, "a capture without times", lambda place: place.capture("main;work 3\n", "hotspots", "--window", "1..2")),
    (128, "no repository", lambda place: place.plain("check")),
    (128, "no such commit", lambda place: place.hmopt("check", "v9")),
    (128, "changes that would not be measured", lambda place: place.dirty("check", "main")),
    (128, "commands that were never trusted", lambda place: place.hmopt("run", "--config", ".hmopt.yaml")),
    (129, "no such event", lambda place: place.capture("main;work 3\n", "flamegraph", "--event", "cycles")),
    (129, "no such command", lambda place: place.hmopt("chekc")),
    (129, "no such option", lambda place: place.hmopt("check", "--frob")),
    (129, "no such workload", lambda place: place.hmopt("check", "main", "--workload", "lokup")),
    (129, "no such symbol", lambda place: place.hmopt("graph", "table_rest")),
    (129, "no such run", lambda place: place.with_runs.hmopt("analyze", "x").returncode),
    (130, "Ctrl-C", lambda place: place.interrupted()),
)


@pytest.mark.parametrize(("code", "what", "act"), TABLE, ids=[f"{code}: {what}" for code, what, _ in TABLE])
def test_the_exit_code_says_it(place: Place, code: int, what: str, act: Act) -> None:
    assert act(place) == code


def test_the_table_holds_every_code() -> None:
    assert {code for code, _, _ in TABLE} == {int(code) for code in ExitCode}
