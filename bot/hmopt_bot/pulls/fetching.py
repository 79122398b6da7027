# SPDX-License-Identifier: Apache-2.0
"""Both sides of a pull request, fetched into the mirror; and, when its code may run here, brought into the clone."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from git_hmopt.errors import StoreError
from git_hmopt.records.words import Oid, RefName
from git_hmopt.store.forge_remote import ForgeRemote, MissingRefError, mirror_of, renewed, whole
from git_hmopt.store.repository import RefUpdate, Repository
from hmopt_bot.forges.values import PullRequest

REFS = "refs/hmopt/pulls/"
"""Heads of pull requests that may be built here: in the clone, so that they are not collected as garbage."""


@dataclass(frozen=True)
class Sides:
    """What a pull request changes: from `base`, where it left the branch it goes to, to `head`."""

    mirror: Repository
    ref: RefName
    """Of the head, in the mirror."""
    base: Oid
    head: Oid
    note: str = ""


def fetched(repository: Repository, remote: ForgeRemote, webhook: str, pull: PullRequest, *, head_ref: str) -> Sides:
    """Return both sides as they stand there now; StoreError when they cannot be had.

    The head comes from the repository that the pull request goes to, which keeps it, too: no other address is visited.
    """
    try:
        return _fetched(repository, mirror_of(repository), remote, webhook, pull, head_ref)
    except MissingRefError:
        raise
    except StoreError:
        # All of it can be had again, except when it is the forge that is at fault.
        if whole(mirror_of(repository)):
            raise
        return _fetched(repository, renewed(repository), remote, webhook, pull, head_ref)


def _fetched(
    repository: Repository, mirror: Repository, remote: ForgeRemote, webhook: str, pull: PullRequest, head_ref: str
) -> Sides:
    theirs = RefName(f"refs/pulls/{webhook}/{pull.number}")
    branch = f"refs/heads/{pull.base.ref}"
    # By its hash: a branch `a/b` may come where an `a` was, and a name may fill what a file's name can hold.
    named = hashlib.sha256(pull.base.ref.encode("utf-8", "surrogatepass")).hexdigest()
    ours = RefName(f"refs/bases/{webhook}/{named}")
    found = remote.fetch(mirror, {head_ref: theirs, branch: ours}, known=_tips(repository))
    answer = mirror.git.run("merge-base", found[ours], found[theirs], ok=(0, 1))
    if answer.returncode == 0:
        return Sides(mirror, theirs, Oid(answer.text.split("\n", 1)[0]), found[theirs])
    note = "no common commit is known here, so that the tip of the branch was taken for the base"
    return Sides(mirror, theirs, found[ours], found[theirs], note)


def brought(repository: Repository, sides: Sides, webhook: str, number: int) -> None:
    """Bring both sides' commits into the clone, where they can be built."""
    into = f"{REFS}{webhook}/{number}"
    repository.git.run(
        "fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--no-recurse-submodules", "--no-auto-maintenance",
        str(sides.mirror.git_dir), f"+{sides.ref}:{into}/head",
    )  # fmt: skip
    for commit in (sides.base, sides.head):
        # The ref may have moved on since: then what is asked about came with it, or is gone.
        repository.resolve(commit)


def forgotten(repository: Repository, webhook: str, number: int) -> None:
    """Keep nothing of a pull request that is closed but what runs recorded, and let git collect the rest in time."""
    mirror = mirror_of(repository)
    for where, prefix in ((mirror, "refs/pulls/"), (repository, REFS)):
        refs = where.list_refs(f"{prefix}{webhook}/{number}")
        where.update_refs([RefUpdate(ref, None, oid) for ref, oid in refs.items()])
    mirror.git.run("gc", "--auto", "--quiet", ok=(0, 1, 128))


def _tips(repository: Repository) -> list[Oid]:
    """Return what the forge's repository most likely has, too."""
    head = repository.head()
    listed = repository.list_refs("refs/heads", "refs/remotes")
    own = [oid for ref, oid in listed.items() if not ref.startswith("refs/heads/hmopt")]
    return [*dict.fromkeys([*([head] if head else []), *own])]
