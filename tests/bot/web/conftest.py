# SPDX-License-Identifier: Apache-2.0
"""A project that is served."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from git_hmopt.store.queue import Queue
from tests.bot.web.serving import Served, served
from tests.loop.project import Project, make_project


@pytest.fixture(scope="session")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Return a trusted project in which nothing ever ran."""
    return make_project(tmp_path_factory.mktemp("served"))


@pytest.fixture
def project(untouched: Project, tmp_path: Path) -> Project:
    """Return a copy of it that may be spoilt."""
    shutil.copytree(untouched.root, tmp_path / "project", symlinks=True)
    return Project(tmp_path / "project", untouched.home)


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[Queue]:
    """Return an empty queue."""
    with Queue(tmp_path / "queue") as found:
        yield found


@pytest.fixture
def site(untouched: Project, queue: Queue) -> Iterator[Served]:
    """Serve the untouched project without tokens and without workers."""
    with served(untouched.root, queue) as found:
        yield found
