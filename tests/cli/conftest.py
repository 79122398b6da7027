# SPDX-License-Identifier: Apache-2.0
"""The projects that the commands are called in."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.loop.project import Project, make_project


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
