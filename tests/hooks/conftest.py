# SPDX-License-Identifier: Apache-2.0
"""Clones with servers, each test's own."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.hooks.site import Site, make_site
from tests.loop.project import Project


@pytest.fixture(scope="session")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """Return a site that nobody changes."""
    return make_site(tmp_path_factory.mktemp("untouched"))


@pytest.fixture
def site(untouched: Site, tmp_path: Path) -> Site:
    """Return a copy of it, in a directory whose name no script may trip over."""
    place = tmp_path / "a b\n'$c\""
    shutil.copytree(untouched.project.root.parent, place, symlinks=True)
    made = Site(Project(place / "project", place / "home"), place / untouched.server.name)
    made.project.git("remote", "set-url", "origin", str(made.server))
    return made
