# SPDX-License-Identifier: Apache-2.0
"""Real repositories to try things in, records to put into them, and other processes to race with."""

from __future__ import annotations

import json
import multiprocessing
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from git_hmopt.records.run import ArtifactRecord, EvaluationRecord, MetricRecord, RepositoryState, RunRecord
from git_hmopt.records.words import Oid, RunId, Verdict, journal_ref

RUN = RunId("20260131-lib-sort-0a1b2c")
ALICE, BOB = "aaaaaaaa-0000-4000-8000-000000000000", "ffffffff-0000-4000-8000-000000000000"
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


def in_processes(count: int, work: Callable[[int], None]) -> None:
    """Do the numbered work in that many processes that set off together; demand that all succeed.

    They are forked, since twenty that import everything anew take half a minute to set off and never meet.
    """
    context = multiprocessing.get_context("fork")
    together = context.Barrier(count)

    def child(number: int) -> None:
        together.wait(120)
        work(number)

    children = [context.Process(target=child, args=(number,)) for number in range(count)]
    for one in children:
        one.start()
    for one in children:
        one.join(300)
    assert [one.exitcode for one in children] == [0] * count


def foreign(
    shell: Shell, fields: Mapping[str, object] | bytes, *, writer: str, parent: str | None = None, run: RunId = RUN
) -> str:
    """Append to another writer's journal with git alone, as a fetch would bring it."""
    data = fields if isinstance(fields, bytes) else json.dumps(fields).encode()
    blob = shell.git("hash-object", "-w", "--stdin", stdin=data)
    tree = shell.git("mktree", stdin=f"100644 blob {blob}\top.json\n".encode())
    commit = shell.git("commit-tree", tree, *(["-p", parent] if parent else []), "-m", "x")
    shell.git("update-ref", journal_ref(run, writer), commit)
    return commit


def fields(writer: str, **changes: object) -> dict[str, object]:
    """Return the keys of a sound operation."""
    sound = dict[str, object](v=1, op="comment", run=RUN, writer=writer, iter=0, node="review", attempt=0)
    return sound | {"lamport": 5, "at": "2026-01-31T12:00:00Z", "data": {}} | changes
