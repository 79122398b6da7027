# SPDX-License-Identifier: Apache-2.0
"""What `fsck` finds, and how it reads objects of which some are damaged or not here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from git_hmopt.errors import CorruptRecordError, StoreError
from git_hmopt.records.words import Oid
from git_hmopt.store.objects import GitObject, TreeEntry, hash_object, tree_entries
from git_hmopt.store.repository import Repository

_AT_ONCE = 2000
"""How many objects are read together: bounds the memory."""
NOT_HERE = "is not in this clone"


class What(StrEnum):
    """What kind of thing is wrong."""

    JOURNAL = "journal"
    RECORD = "record"
    ARTIFACT = "artifact"
    INCOMING = "incoming"
    NOTE = "note"
    BRANCH = "branch"
    CACHE = "cache"
    WRITER = "writer"


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong, where, and what to do; `repair` does it where the thing is derived."""

    what: What
    where: str
    wrong: str
    step: str
    repair: Callable[[], str] | None = field(default=None, repr=False, compare=False)
    """Returns what it did; faults that one act repairs share it."""

    def __str__(self) -> str:
        return f"{self.what}: {self.where}: {self.wrong}; {self.step}"


@dataclass
class Findings:
    """What was looked at, what is wrong with it, and what is merely so."""

    faults: list[Fault] = field(default_factory=list)
    looked_at: Counter[str] = field(default_factory=Counter)
    states: Counter[str] = field(default_factory=Counter)
    """What is no fault and is worth knowing, counted: an artifact that is on another machine, for one."""

    def fault(self, what: What, where: str, wrong: str, step: str, repair: Callable[[], str] | None = None) -> None:
        """Take note of a fault."""
        self.faults.append(Fault(what, where, wrong, step, repair))


@dataclass(frozen=True)
class Reader:
    """Reads objects one by one where many together cannot be read, and says why each of the rest is not to be had."""

    repository: Repository

    def find(self, oids: Sequence[Oid]) -> Iterator[tuple[Oid, GitObject | str]]:
        """Yield each object, once, or what is wrong with it."""
        wanted = list(dict.fromkeys(oids))
        for start in range(0, len(wanted), _AT_ONCE):
            yield from self._some(wanted[start : start + _AT_ONCE])

    def _some(self, oids: list[Oid]) -> Iterator[tuple[Oid, GitObject | str]]:
        objects = self.repository.objects
        try:
            found: list[GitObject | str | None] = [*objects.find_many(oids)]
        except StoreError as error:
            # One damaged object makes git give up on all that it was asked for.
            if len(oids) == 1:
                found = [f"cannot be read: {error.what}"]
            else:
                half = len(oids) // 2
                yield from self._some(oids[:half])
                yield from self._some(oids[half:])
                return
        for oid, one in zip(oids, found, strict=True):
            if isinstance(one, GitObject) and hash_object(one.kind, one.data, objects.object_format) != oid:
                one = "is damaged: its bytes are another object's"
            yield oid, NOT_HERE if one is None else one

    def tree(self, oid: Oid) -> list[TreeEntry] | str:
        """Return the entries of a tree, or what is wrong with it."""
        ((_, found),) = self.find([oid])
        return self.entries(oid, found)

    def entries(self, oid: Oid, found: GitObject | str) -> list[TreeEntry] | str:
        """Return the entries of a tree that was read, or what is wrong with it."""
        if isinstance(found, str):
            return found
        try:
            return tree_entries(found, oid, self.repository.object_format)
        except CorruptRecordError as error:
            return f"is no tree: {error.what}"
