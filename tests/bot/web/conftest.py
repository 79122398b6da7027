# SPDX-License-Identifier: Apache-2.0
"""A project that is served."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from git_hmopt.store.queue import Queue
from hmopt_bot.web.limits import Limits
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


@pytest.fixture(scope="session")
def shared(untouched: Project, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Serve the untouched project without tokens, without workers, to whoever asks however often."""
    often = Limits(requests_a_minute=10_000_000, forged_a_minute=10_000_000)
    with Queue(tmp_path_factory.mktemp("shared")) as queue, served(untouched.root, queue, limits=often) as found:
        yield found


@pytest.fixture
def site(shared: Served) -> Served:
    """Return the shared server with nothing in its queue: to start one for each of a hundred tests takes a minute."""
    with shared.site.queue._writing():
        for table in ("jobs", "seen"):
            shared.site.queue._database.execute(f"DELETE FROM {table}")
    return shared
