# SPDX-License-Identifier: Apache-2.0
"""Paths on the command line."""

from __future__ import annotations

import os
from pathlib import Path

from git_hmopt.errors import UsageError
from git_hmopt.store.repository import Repository


def from_the_top(repository: Repository, path: str) -> str:
    """Return a path, relative to the current directory, from the top of the tree; nothing for the top itself."""
    top = repository.worktree
    whole = os.path.normpath(path if top is None else os.path.relpath(Path.cwd() / path, os.path.realpath(top)))
    if whole.startswith(("../", "/")) or whole == "..":
        raise UsageError(f"'{path}' is outside the repository", next_step="name files or directories of its tree")
    return "" if whole == "." else whole
