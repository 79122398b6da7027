# SPDX-License-Identifier: Apache-2.0
"""From the word on the command line to a proposer: `playbook`, or `patches:<directory, mbox, branch or range>`."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from git_hmopt.agents.patches import CommitPatch, is_patch, open_patches
from git_hmopt.agents.playbook.proposer import PlaybookProposer
from git_hmopt.agents.proposer import Proposer
from git_hmopt.errors import RepositoryError, UsageError
from git_hmopt.records.words import Oid
from git_hmopt.store.repository import Repository

_PATCHES = "patches:"


def kept(spec: str, place: Path) -> str:
    """Copy a directory or file of patches to `place` and return the proposer's word as a run records it.

    A resumed run then tries the same patches whatever became of the originals, and its record names no directory of
    this machine. Branches and `playbook` are returned as they are.
    """
    where = Path(spec.removeprefix(_PATCHES))
    if not spec.startswith(_PATCHES) or spec == _PATCHES or not where.exists():
        return spec
    open_patches(str(where), directory=Path(), commits=lambda name: None)  # refused by the name that was typed
    name = where.resolve().name
    target = place / name
    target.parent.mkdir(parents=True, exist_ok=True)
    if not where.is_dir():
        shutil.copyfile(where, target)
        return f"{_PATCHES}{name}"
    target.mkdir()
    for entry in where.iterdir():
        if is_patch(entry):
            shutil.copyfile(entry, target / entry.name)
        else:
            # What is no patch is counted by its name alone: beside patches may lie a whole kernel.
            (target / entry.name).touch()
    return f"{_PATCHES}{name}"


def make_proposer(spec: str, repository: Repository, base: Oid, place: Path) -> Proposer:
    """Return the proposer that `spec` names, its patches below `place`; UsageError when it names none."""
    if spec == "playbook":
        return PlaybookProposer()
    if spec.startswith(_PATCHES):

        def commits(name: str) -> Sequence[CommitPatch] | None:
            return _commits(repository, base, name)

        return open_patches(spec.removeprefix(_PATCHES), directory=place, commits=commits)
    raise UsageError(
        f"no proposer is called '{spec}'", next_step="use playbook, or patches:<directory, mbox or branch>"
    )


def _commits(repository: Repository, base: Oid, name: str) -> list[CommitPatch] | None:
    """List the commits of a range, or of a branch beyond `base`, oldest first; None when there is no such thing."""
    start, dots, end = name.partition("..")
    try:
        tip = repository.resolve(end if dots else name)
        bottom = repository.resolve(start) if dots else base
    except RepositoryError:
        return None
    listed = repository.git.run("rev-list", "--reverse", "--no-merges", f"{bottom}..{tip}").text.split()
    found = []
    for oid in map(Oid, listed):
        commit = repository.read_commit(oid)
        title, _, body = commit.message.partition("\n")
        diff = repository.diff(commit.parents[0], oid) if commit.parents else b""
        found.append(CommitPatch(oid, title, body.strip(), None, diff))
    return found
