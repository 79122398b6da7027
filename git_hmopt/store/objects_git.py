# SPDX-License-Identifier: Apache-2.0
"""Objects through the git command: SHA-256 repositories, which libgit2 cannot open, and partial clones, where git
fetches a missing object when it is asked for. One process a call, so callers ask for many at once."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import cast

from git_hmopt.errors import CorruptRecordError, StoreError
from git_hmopt.records.words import Oid
from git_hmopt.store.git import Git
from git_hmopt.store.objects import (
    PACK_FROM,
    Commit,
    GitObject,
    MissingObjectError,
    ObjectKind,
    commit_of,
    write_pack,
)


class CommandObjects:
    """The object database as `git cat-file` shows it and `git unpack-objects` fills it."""

    def __init__(self, git: Git, object_format: str) -> None:
        self._git = git
        self.object_format = object_format

    def read_many(self, oids: Sequence[Oid]) -> list[GitObject]:
        """Return the objects; see ObjectStore."""
        found = []
        for oid, one in zip(oids, self.find_many(oids), strict=True):
            if one is None:
                raise MissingObjectError(f"object {oid} is not in this clone ({self._git.cwd})")
            found.append(one)
        return found

    def find_many(self, oids: Sequence[Oid]) -> list[GitObject | None]:
        """Return the objects that are here; see ObjectStore."""
        if not oids:
            return []
        answer = self._git.run("cat-file", "--batch", stdin=_lines(oids)).output
        found: list[GitObject | None] = []
        at = 0
        for oid in oids:
            end = answer.find(b"\n", at)
            words = answer[at:end].decode("utf-8", "replace").split(" ") if end >= 0 else []
            if len(words) == 2 and words[1] == "missing":
                found.append(None)
                at = end + 1
                continue
            if len(words) != 3:
                raise StoreError(f"git cat-file answered {' '.join(words)!r} when asked for {oid}")
            start, size = end + 1, int(words[2])
            found.append(GitObject(cast(ObjectKind, words[1]), answer[start : start + size]))
            at = start + size + 1
        return found

    def write_many(self, objects: Sequence[GitObject]) -> None:
        """Write the objects; see ObjectStore."""
        if objects:
            write_pack(self._git, objects, self.object_format, loose=len(objects) < PACK_FROM)

    def first_parents(self, chains: Sequence[tuple[Oid, Oid | None]]) -> dict[Oid, Commit]:
        """Return the commits of the chains; see ObjectStore.

        The ends are not given to git: excluding a commit excludes all its parents, the kernel's history among them.
        """
        heads = list(dict.fromkeys(head for head, end in chains if head != end))
        kinds = self._git.run("cat-file", "--batch-check", stdin=_lines(heads)).text.splitlines()
        asked = [head for head, kind in zip(heads, kinds, strict=True) if " commit " in kind]
        if not asked:
            return {}
        listed = self._git.run("rev-list", "--first-parent", "--stdin", stdin=_lines(asked), ok=(0, 128))
        found = self._commits([Oid(line) for line in listed.text.split()])
        if listed.returncode != 0:
            # One chain that leads to what is no commit makes git give up on all: walk them a step at a time.
            step = asked
            while step:
                found |= self._commits([oid for oid in step if oid not in found])
                parents = dict.fromkeys(oid for at in step if at in found for oid in found[at].parents[:1])
                step = list(parents)
        return found

    def _commits(self, oids: Sequence[Oid]) -> dict[Oid, Commit]:
        commits = {}
        for oid, one in zip(oids, self.find_many(oids), strict=True):
            with contextlib.suppress(CorruptRecordError):
                if one is not None:
                    commits[oid] = commit_of(one, oid)
        return commits


def _lines(oids: Sequence[Oid]) -> bytes:
    return "".join(f"{oid}\n" for oid in oids).encode()
