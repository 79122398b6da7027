# SPDX-License-Identifier: Apache-2.0
"""Look at a directory without starting anything in it: is it in a repository, is there a configuration."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from git_hmopt.errors import RepositoryError
from git_hmopt.loop.configuration import CONFIG_FILE, Configuration, find
from git_hmopt.store.repository import Repository


@dataclass(frozen=True)
class Place:
    """What a directory is."""

    directory: Path
    """The top of the working tree, or the directory itself where there is none."""
    repository: Repository | None = None
    configuration: Configuration | None = None
    absent: str = ""
    """Why there is no repository, or no configuration in it."""


def look(path: Path, *, offline: bool = False) -> Place:
    """Return what `path` is; ConfigError when there is a configuration that cannot be read.

    With `offline`, objects that a partial clone would fetch are not asked for: the file in the working tree is taken.
    """
    try:
        repository = Repository.open(path)
    except RepositoryError as error:
        return Place(path, absent=str(error))
    root = repository.worktree
    if root is None:
        return Place(repository.git_dir, repository, absent="there is no working tree here")
    if not (offline and repository.is_partial) and _in_commit(repository):
        return Place(root, repository, find(repository))
    if not (root / CONFIG_FILE).is_file():
        return Place(root, repository, absent=f"there is no {CONFIG_FILE} here; write one: git hmopt init")
    return Place(root, repository, find(repository, file=root / CONFIG_FILE))


def _in_commit(repository: Repository) -> bool:
    try:
        return repository.read_path(repository.resolve("HEAD"), CONFIG_FILE) is not None
    except RepositoryError:  # no commit yet
        return False
