# SPDX-License-Identifier: Apache-2.0
"""Two whole runs that several tests look at, each made once in a session, and a fresh project for each test."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.loop.patches import write_patches
from tests.loop.project import Project, make_project
from tests.loop.recorded import Recorded, recorded_run

SEED = "7"


@dataclass(frozen=True)
class Finished:
    """A run that went to its end, and what the command said."""

    project: Project
    said: subprocess.CompletedProcess[str]
    run: Recorded
    before: dict[str, str]
    """What the user's side looked like before the run."""


def users_side(project: Project) -> dict[str, str]:
    """Return everything of the user's that a run may not touch."""
    return {
        "status": project.git("status", "--porcelain=v1"),
        "index": project.git("ls-files", "--stage", "--debug"),
        "config": (project.root / ".git/config").read_text(),
        "head": project.git("rev-parse", "--symbolic-full-name", "HEAD") + project.git("rev-parse", "HEAD"),
        "stash": project.git("stash", "list"),
        "reflog": project.git("reflog"),
        "worktrees": project.git("worktree", "list"),
    }


def _finished(project: Project, *arguments: str) -> Finished:
    before = users_side(project)
    said = project.hmopt("optimize", "--seed", SEED, *arguments)
    return Finished(project, said, recorded_run(project), before)


@pytest.fixture(scope="session")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """Return a run over patches, judged by time: one of each fate."""
    project = make_project(tmp_path_factory.mktemp("judged"))
    write_patches(project, project.home / "patches")
    return _finished(project, "--workload", "scan", "--proposer", f"patches:{project.home / 'patches'}")


@pytest.fixture(scope="session")
def played(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """Return a run of the playbook, judged by an exact count, so that every number of it can be expected again."""
    return _finished(make_project(tmp_path_factory.mktemp("played")), "--workload", "scan-blocks")


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Return a fresh, trusted project."""
    return make_project(tmp_path)
