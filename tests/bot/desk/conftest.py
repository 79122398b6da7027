# SPDX-License-Identifier: Apache-2.0
"""Worlds with a forge: one project is made for all, and copied."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bot.desk.world import World, project_with, world_of
from tests.loop.project import Project


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Make a project in which the bot speaks of pull requests that touch lib/, or that have a label."""
    return project_with(tmp_path_factory.mktemp("pulls"), review={"paths": ["lib/*"], "label": "perf"})


@pytest.fixture
def world(made: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """Give a world of its own."""
    # What runs in this process finds git's configuration as the project's own commands do.
    for name in ("HOME", "GIT_CONFIG_NOSYSTEM", "XDG_CONFIG_HOME"):
        if name in made.environment:
            monkeypatch.setenv(name, made.environment[name])
    # What is measured here is not: a fork's code, too, where nothing can be confined.
    monkeypatch.setattr("hmopt_bot.pulls.orders.sandbox_missing", lambda: None)
    shutil.copytree(made.root, tmp_path / "project", symlinks=True)
    with world_of(tmp_path, Project(tmp_path / "project", made.home)) as found:
        yield found
