# SPDX-License-Identifier: Apache-2.0
"""Copy the shipped C tree into a directory and make that a git repository with one commit."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from git_hmopt.errors import HmoptError, RepositoryError, UsageError
from git_hmopt.records.words import Oid, RefName
from git_hmopt.store.git import Git
from git_hmopt.store.objects import TOOL
from git_hmopt.store.repository import RefUpdate, Repository

BRANCH = "main"
MESSAGE = """Kernel-like building blocks in C

A run queue, a timer wheel, a slab allocator, a message ring, path lookup
and checksums, with unit tests and a bench program.
"""
# The commit's date (2024-01-01): a fixed one gives the same tree the same commit everywhere.
SECONDS = 1_704_067_200
# A user's configuration must not change what is committed: line ends, ignored names, hooks of a template.
_EXACT = ("-c", "core.autocrlf=false", "-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false")


def tree_root() -> Path:
    """Return the directory of the shipped tree."""
    return Path(__file__).parent / "tree"


def make_repository(directory: Path) -> Repository:
    """Copy the tree into `directory`, which is made if need be, and commit it on the branch `main`.

    Raises UsageError when something is in the directory already, HmoptError when the package came without its tree.
    """
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise UsageError(f"'{directory}' is not an empty directory", next_step="name one that does not exist yet")
    files = list(_files(tree_root()))
    if not any(path.name == "Makefile" for path in files):
        raise HmoptError(
            f"the demo's C tree is not in '{tree_root()}'",
            next_step="install the package again: pip install --force-reinstall git-hmopt",
        )
    for path in files:
        target = directory / path.relative_to(tree_root())
        target.parent.mkdir(parents=True, exist_ok=True)
        # Bytes only: an installed package may be read-only, and its modes are the installer's.
        target.write_bytes(path.read_bytes())
    return _committed(directory)


def _files(root: Path) -> Iterator[Path]:
    """Yield the tree's files, without what a build inside a checkout of this project would have left."""
    for path in sorted(root.rglob("*")):
        top = path.relative_to(root).parts[0]
        if path.is_file() and not top.startswith("build"):
            yield path


def _committed(directory: Path) -> Repository:
    git = Git(directory)
    git.run("init", "--quiet", "--template=", f"--initial-branch={BRANCH}", settings=_EXACT)
    git.run("add", "--all", "--force", settings=_EXACT)
    repository = Repository.open(directory)
    if repository.worktree is None or not repository.worktree.samefile(directory):
        raise RepositoryError(f"git did not make a repository of '{directory}'")
    tree = Oid(git.run("write-tree", settings=_EXACT).text)
    commit = repository.commit(tree, [], MESSAGE, author=TOOL, seconds=SECONDS)
    repository.update_refs([RefUpdate(RefName(f"refs/heads/{BRANCH}"), commit, None)])
    return repository
