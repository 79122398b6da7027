# SPDX-License-Identifier: Apache-2.0
"""Repositories of both object formats, in a home that knows nothing of this machine."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from git_hmopt.store.repository import Repository
from tests.store.repositories import Shell, make_repository


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
