# SPDX-License-Identifier: Apache-2.0
"""Objects through libgit2, without a process: the fast path for SHA-1 repositories that hold all their objects.

Only the object database is opened: configuration, refs and ownership stay git's own business.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pygit2

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

_NAMES: dict[int, ObjectKind] = {1: "commit", 2: "tree", 3: "blob", 4: "tag"}
_NUMBERS = {name: pygit2.enums.ObjectType(number) for number, name in _NAMES.items()}


class Pygit2Objects:
    """The object database in a directory, read and written in this process."""

    object_format = "sha1"

    def __init__(self, git: Git, objects: Path) -> None:
        self._git = git
        self._path = objects
        self._odb = pygit2.Odb(str(objects))

    def read_many(self, oids: Sequence[Oid]) -> list[GitObject]:
        """Return the objects; see ObjectStore."""
        return [self._read(oid) for oid in oids]

    def find_many(self, oids: Sequence[Oid]) -> list[GitObject | None]:
        """Return the objects that are here; see ObjectStore."""
        return [self._find(oid) for oid in oids]

    def _find(self, oid: Oid) -> GitObject | None:
        try:
            return self._read(oid)
        except MissingObjectError:
            return None

    def _read(self, oid: Oid) -> GitObject:
        try:
            number, data = self._odb.read(oid)
        except KeyError as error:
            raise MissingObjectError(f"object {oid} is not in this clone ({self._path})") from error
        except (pygit2.GitError, ValueError) as error:
            raise StoreError(f"object {oid} cannot be read: {error}", next_step="check with: git fsck") from error
        return GitObject(_NAMES[int(number)], data)

    def write_many(self, objects: Sequence[GitObject]) -> None:
        """Write the objects; see ObjectStore."""
        if len(objects) >= PACK_FROM:
            write_pack(self._git, objects, self.object_format, loose=False)
            return
        try:
            for found in objects:
                self._odb.write(_NUMBERS[found.kind], found.data)
        except (pygit2.GitError, OSError) as error:
            raise StoreError(
                f"cannot write objects in {self._path}: {error}", next_step="check free space and permissions there"
            ) from error

    def first_parents(self, chains: Sequence[tuple[Oid, Oid | None]]) -> dict[Oid, Commit]:
        """Return the commits of the chains; see ObjectStore."""
        found: dict[Oid, Commit] = {}
        for head, end in chains:
            at: Oid | None = head
            while at is not None and at != end:
                if at not in found:
                    try:
                        found[at] = commit_of(self._read(at), at)
                    except (MissingObjectError, CorruptRecordError):
                        break
                at = next(iter(found[at].parents), None)
        return found
