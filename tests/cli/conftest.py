# SPDX-License-Identifier: Apache-2.0
"""The projects that the commands are called in."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.loop.project import Project, make_project
from tests.loop.recorded import run_names


@pytest.fixture(scope="session")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Return a trusted project in which nothing ever ran; for commands that must not change anything."""
    return make_project(tmp_path_factory.mktemp("untouched"))


@pytest.fixture(scope="session")
def with_run(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Return a project with one run that was closed without an iteration."""
    project = make_project(tmp_path_factory.mktemp("with-run"))
    done = project.hmopt("optimize", "--workload", "scan-blocks", "--iterations", "0", "--seed", "7")
    assert done.returncode == 1, done.stderr
    return project


@pytest.fixture
def project(untouched: Project, tmp_path: Path) -> Project:
    """Return a copy of the untouched project that may be spoilt."""
    shutil.copytree(untouched.root, tmp_path / "project", symlinks=True)
    return Project(tmp_path / "project", untouched.home)


@dataclass(frozen=True)
class TwoRuns:
    """Two runs of one workload, the second on the baseline of the first."""

    project: Project
    first: str
    second: str
    said: subprocess.CompletedProcess[str]
    """What the second answered."""


@pytest.fixture(scope="session")
def two_runs(tmp_path_factory: pytest.TempPathFactory) -> TwoRuns:
    """Return a project in which the playbook ran to its end, and then once more for one iteration."""
    project = make_project(tmp_path_factory.mktemp("two-runs"))
    done = project.hmopt("optimize", "--workload", "scan-blocks", "--seed", "7")
    assert done.returncode == 0, done.stderr
    (first,) = run_names(project)
    said = project.hmopt(
        "optimize", "--workload", "scan-blocks", "--seed", "9", "--iterations", "1", "--baseline", first[-6:]
    )
    (second,) = set(run_names(project)) - {first}
    return TwoRuns(project, first, second, said)


@pytest.fixture
def ran(with_run: Project, tmp_path: Path) -> tuple[Project, str]:
    """Return a copy of a project with one closed run, and the run's name."""
    shutil.copytree(with_run.root, tmp_path / "ran", symlinks=True)
    project = Project(tmp_path / "ran", with_run.home)
    (name,) = run_names(project)
    return project, name
