# SPDX-License-Identifier: Apache-2.0
"""A clone, the bare repository it pushes to, and hooks in both as git runs them."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from git_hmopt.records.words import RunId, Verdict
from hmopt_hooks.scripts import Hook, script
from tests.cli.runs import Recorder
from tests.loop.project import Project, make_project

RUN = RunId("20260131-scan-0a1b2c")
OTHER_RUN = RunId("20260201-scan-ffee00")
EVIDENCE = ("refs/notes/hmopt/*:refs/notes/hmopt/*", "refs/hmopt/*:refs/hmopt/*")


def source(*, first: str = "slow", last: str = "slow") -> str:
    """Return a file whose first and last line are far enough apart to be changed by two patches."""
    return (
        f"int first = {first};\n" + "".join(f"int line_{number};\n" for number in range(30)) + f"int last = {last};\n"
    )


@dataclass(frozen=True)
class Site:
    """`main` of the clone is one commit, which the server has."""

    project: Project
    server: Path

    @property
    def base(self) -> str:
        """Return the commit that the server began with."""
        return self.project.git("rev-list", "--max-parents=0", "main")

    def run(
        self, *argv: str, cwd: Path | None = None, environment: Mapping[str, str] | None = None, stdin: bytes = b""
    ) -> subprocess.CompletedProcess[str]:
        """Run a program as the user of the clone."""
        done = subprocess.run(
            argv, cwd=cwd or self.project.root, env={**self.project.environment, **(environment or {})},
            input=stdin, capture_output=True, timeout=120, check=False,
        )  # fmt: skip
        said = (text.decode("utf-8", "backslashreplace") for text in (done.stdout, done.stderr))
        return subprocess.CompletedProcess(done.args, done.returncode, *said)

    def push(self, *words: str, remote: str = "origin") -> subprocess.CompletedProcess[str]:
        """Run `git push`."""
        return self.run("git", "push", remote, *words)

    def at_server(self, *arguments: str) -> str:
        """Run git in the server's repository."""
        done = self.run("git", *arguments, cwd=self.server)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def ruled(self, **fields: str) -> None:
        """Have the server protect main, by the installed hook."""
        done = self.run("git", "hmopt", "hooks", "install", cwd=self.server)
        assert done.returncode == 0, done.stderr
        for field, value in {"branch": "main", "workloads": "scan", **fields}.items():
            self.at_server("config", f"hmopt.rule.speed.{field}", value)

    def change(self, text: str | None = None, *, path: str = "lib.c", title: str = "a change") -> str:
        """Commit a change and return the commit."""
        self.project.write(path, source(first="fast") if text is None else text)
        return self.project.commit(title)

    def recorder(self, run: RunId = RUN, *, workload: str = "scan", base: str | None = None) -> Recorder:
        """Return what records a run in the clone."""
        return Recorder(self.project.root, run, workload, base or self.base).begin()

    def judged(self, commit: str, verdict: Verdict = Verdict.IMPROVED, *, base: str | None = None) -> Recorder:
        """Record one verdict about a commit against a base (default: the first commit), and return its run."""
        recorder = self.recorder(base=base)
        recorder.judged(1, commit, base or self.base, ("90", "100"), verdict=verdict)
        return recorder


def make_site(directory: Path) -> Site:
    """Make both; no hook is there yet."""
    project = make_project(directory, contents={"lib.c": source()}, trusted=False)
    server = directory / "server of main.git"
    project.git("init", "-q", "--bare", str(server))
    shutil.rmtree(server / "hooks")
    project.git("remote", "add", "origin", str(server))
    project.git("push", "-q", "-u", "origin", "main")
    return Site(project, server)


def written(path: Path, text: str | bytes, *, mode: int = 0o755) -> Path:
    """Write a program."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    path.chmod(mode)
    return path


def hook_calling(folder: Path, hook: Hook, tool: Path | str) -> Path:
    """Write our script of a hook as if `tool` were this program."""
    return written(folder / hook, script(hook, str(tool)))
