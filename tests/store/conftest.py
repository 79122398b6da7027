# SPDX-License-Identifier: Apache-2.0
"""Real repositories of every kind, in a home that knows nothing of this machine."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from git_hmopt.records.run import ArtifactRecord, EvaluationRecord, MetricRecord, RepositoryState, RunRecord
from git_hmopt.records.words import Oid, RunId, Verdict
from git_hmopt.store.repository import Repository

RUN = RunId("20260131-lib-sort-0a1b2c")
OTHER_RUN = RunId("20260201-lib-crc64-ffee00")


@dataclass(frozen=True)
class Shell:
    """Runs the real git (and nothing of ours) in a directory: the oracle."""

    cwd: Path

    def git(self, *arguments: str, stdin: bytes | None = None, check: bool = True) -> str:
        """Return what git prints."""
        done = subprocess.run(["git", *arguments], cwd=self.cwd, input=stdin, capture_output=True, check=False)
        if check and done.returncode != 0:
            raise AssertionError(f"git {' '.join(arguments)}: {done.stderr.decode()}")
        return done.stdout.decode().removesuffix("\n")

    def write(self, path: str, text: str) -> None:
        """Write a file of the working tree."""
        target = self.cwd / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)

    def commit(self, message: str) -> Oid:
        """Commit everything and return the commit."""
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", message)
        return Oid(self.git("rev-parse", "HEAD"))


@pytest.fixture(autouse=True)
def sealed_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give git a home with one identity and nothing else."""
    for name in list(os.environ):
        if name.startswith(("GIT_", "XDG_")):
            monkeypatch.delenv(name)
    home = tmp_path / "home"
    home.mkdir()
    (home / ".gitconfig").write_text(
        "[user]\n\tname = Test\n\temail = test@example.org\n[init]\n\tdefaultBranch = main\n"
    )
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    return home


def make_repository(path: Path, *options: str) -> Shell:
    """Make a repository with two commits and a few files."""
    path.mkdir(parents=True)
    shell = Shell(path)
    shell.git("init", "-q", *options)
    shell.write("Makefile", "all:\n\tcc lib/sort.c\n")
    shell.write("lib/sort.c", "".join(f"int line_{number};\n" for number in range(40)))
    shell.write("lib/crc/table.c", "int table;\n")
    shell.write("scripts/run.sh", "#!/bin/sh\n")
    (path / "scripts/run.sh").chmod(0o755)
    (path / "link").symlink_to("lib/sort.c")
    shell.commit("first")
    shell.write("README", "read me\n")
    shell.commit("second")
    return shell


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    """Return a plain SHA-1 repository."""
    return make_repository(tmp_path / "plain")


@pytest.fixture(params=["sha1", "sha256"])
def any_shell(tmp_path: Path, request: pytest.FixtureRequest) -> Shell:
    """Return a repository of each object format, so that both ways to the objects are tried."""
    return make_repository(tmp_path / "any", f"--object-format={request.param}")


@pytest.fixture
def repository(shell: Shell) -> Repository:
    """Return the plain repository, opened."""
    return Repository.open(shell.cwd)


@pytest.fixture
def any_repository(any_shell: Shell) -> Repository:
    """Return the repository of each object format, opened."""
    return Repository.open(any_shell.cwd)


def run_record(name: RunId = RUN, *, created: str = "2026-01-31T10:00:00Z", workload: str = "lib-sort") -> RunRecord:
    """Return a run."""
    return RunRecord(
        uuid="01890000-0000-7000-8000-000000000000",
        name=name,
        workload=workload,
        base_commit="a" * 40,
        base_tree="b" * 40,
        proposer="playbook",
        device="host",
        toolchain={"cc": "gcc 12.2.0"},
        configuration="c" * 64,
        environment={"cpus": "2"},
        repository=RepositoryState(uri="https://example.org/linux.git", revision="a" * 40, dirty=False),
        seed=7,
        created=created,
    )


def metric_record(commit: str = "a" * 40, *, value: str = "1234", run: RunId = RUN) -> MetricRecord:
    """Return a metric."""
    return MetricRecord(
        run=run, commit=commit, tree="b" * 40, workload="lib-sort", name="time", value=value, unit="ns", n=12
    )


def evaluation_record(*, iteration: int = 1, accepted: bool = True, run: RunId = RUN) -> EvaluationRecord:
    """Return a verdict."""
    return EvaluationRecord(
        run=run,
        iteration=iteration,
        workload="lib-sort",
        commit="a" * 40,
        tree="b" * 40,
        patch_id=None,
        baseline="c" * 40,
        best="c" * 40,
        verdict=Verdict.IMPROVED if accepted else Verdict.NO_CHANGE,
        reason="the interval clears the bound",
        accepted=accepted,
    )


def artifact_record(sha256: str = "d" * 64) -> ArtifactRecord:
    """Return an artifact's manifest line."""
    return ArtifactRecord(sha256=sha256, size=3, media_type="text/plain", kind="log", name="build.log")


def start_python(program: str, *arguments: str) -> subprocess.Popen[bytes]:
    """Start another Python with our package, as another process of the same user."""
    return subprocess.Popen([sys.executable, "-c", program, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def finish(children: list[subprocess.Popen[bytes]], *, seconds: float = 120) -> None:
    """Wait for processes and demand that all succeeded."""
    for child in children:
        _, errors = child.communicate(timeout=seconds)
        assert child.returncode == 0, errors.decode()
