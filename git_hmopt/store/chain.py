# SPDX-License-Identifier: Apache-2.0
"""Read journals as they stand in git: a chain of commits a writer, an operation a commit. Imports no pydantic.

What a reader can meet, and what becomes of it (the words are the keys of `Chain.skipped`):
1. a sound operation: an entry;
2. an `op` this version does not know: an entry like any other, for a newer reader's sake;
3. a `v` this version does not know: that operation alone is skipped, "unknown version";
4. no `op.json` here, no JSON, JSON nested too deep, or fields of the wrong type: skipped, "malformed";
5. an operation that names another run or writer than its ref: skipped, "of another journal";
6. the chain's older part is not in this clone (shallow): read so far, "older part not in this clone".
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from git_hmopt.errors import CorruptRecordError
from git_hmopt.records.words import CARE, CARE_RUN, JOURNALS, Oid, RefName, RunId, is_run_id
from git_hmopt.store.objects import Commit, ObjectStore, TreeEntry, tree_entries

OPERATION_FILE = "op.json"
CHAINS_AT_ONCE = 500
"""How many journals are read together: bounds the memory of a cache rebuild."""

_LARGEST_LAMPORT = 2**53
# Ours are nested ten deep; some hundreds make pydantic and sqlite's JSON functions give up on what they are fed.
_DEEPEST = 64
_FIELDS: dict[str, type] = {
    **dict.fromkeys(("op", "run", "writer", "node", "at"), str),
    **dict.fromkeys(("v", "iter", "attempt", "lamport"), int),
    "data": dict,
}

UNKNOWN_VERSION = "unknown version"
MALFORMED = "malformed"
OTHER_JOURNAL = "of another journal"
CUT = "older part not in this clone"


@dataclass(frozen=True)
class JournalName:
    """Whose journal of which run a ref is."""

    run: RunId
    writer: str

    @classmethod
    def of(cls, ref: RefName) -> JournalName | None:
        """Return what a ref's name says, or None when it is no journal's name."""
        if ref.startswith(CARE):
            writer = ref.removeprefix(CARE)
            return cls(CARE_RUN, writer) if writer and "/" not in writer else None
        run, _, writer = ref.removeprefix(JOURNALS).partition("/")
        return cls(RunId(run), writer) if is_run_id(run) and writer and "/" not in writer else None


@dataclass(frozen=True)
class ChainEntry:
    """One operation and the commit it stands in. `fields` has exactly the keys of an Operation, of its types."""

    commit: Oid
    fields: Mapping[str, Any]
    kept: tuple[Oid, ...]
    """The later parents: candidate commits this operation keeps alive."""
    attachments: Mapping[str, Oid]


@dataclass(frozen=True)
class Chain:
    """A journal's operations, oldest first, from just after `known` on."""

    ref: RefName
    head: Oid
    entries: tuple[ChainEntry, ...]
    skipped: Mapping[str, int]
    continues: bool
    """Whether it goes on from `known`; else it is the whole journal (nothing was known, or the ref was rewound)."""


@dataclass(frozen=True)
class Wanted:
    """A journal to read, from its head down to what is known of it."""

    ref: RefName
    head: Oid
    known: Oid | None = field(default=None)


def read_chains(objects: ObjectStore, wanted: Sequence[Wanted]) -> Iterator[Chain]:
    """Yield the journals in the order asked for, many of them with each git process where it takes processes."""
    for start in range(0, len(wanted), CHAINS_AT_ONCE):
        yield from _read_some(objects, wanted[start : start + CHAINS_AT_ONCE])


def _read_some(objects: ObjectStore, wanted: Sequence[Wanted]) -> Iterator[Chain]:
    commits = objects.first_parents([(chain.head, chain.known) for chain in wanted])
    paths = [_path(commits, chain) for chain in wanted]
    trees = _trees(objects, {oid: commits[oid].tree for path, _ in paths for oid in path})
    blobs = _operations(objects, trees)
    for chain, (path, end) in zip(wanted, paths, strict=True):
        skipped: Counter[str] = Counter()
        entries = []
        for oid in reversed(path):
            entry = entry_of(oid, commits[oid], trees[oid], blobs.get(oid), chain.ref)
            if isinstance(entry, str):
                skipped[entry] += 1
            else:
                entries.append(entry)
        continues = chain.known is not None and end == chain.known
        if end is not None and not continues:
            skipped[CUT] += 1
        yield Chain(chain.ref, chain.head, tuple(entries), skipped, continues)


def _path(commits: Mapping[Oid, Commit], chain: Wanted) -> tuple[list[Oid], Oid | None]:
    """Return the commits of one chain, newest first, and the parent it ends before (None at the root)."""
    path: list[Oid] = []
    at: Oid | None = chain.head
    while at is not None and at != chain.known and at in commits:
        path.append(at)
        at = next(iter(commits[at].parents), None)
    return path, at


def _trees(objects: ObjectStore, wanted: Mapping[Oid, Oid]) -> dict[Oid, list[TreeEntry]]:
    """Return the entries of trees by the commits that have them; none for a tree that is not here or is no tree."""
    oids = list(wanted.values())
    trees: dict[Oid, list[TreeEntry]] = {}
    for commit, oid, found in zip(wanted, oids, objects.find_many(oids), strict=True):
        try:
            trees[commit] = tree_entries(found, oid, objects.object_format) if found else []
        except CorruptRecordError:
            trees[commit] = []
    return trees


def _operations(objects: ObjectStore, trees: Mapping[Oid, list[TreeEntry]]) -> dict[Oid, bytes]:
    files = {
        commit: entry.oid for commit, entries in trees.items() for entry in entries if entry.name == OPERATION_FILE
    }
    found = objects.find_many(list(files.values()))
    return {commit: blob.data for commit, blob in zip(files, found, strict=True) if blob}


def entry_of(oid: Oid, commit: Commit, tree: Sequence[TreeEntry], blob: bytes | None, ref: RefName) -> ChainEntry | str:
    """Return the operation of a journal's commit, or why it is none (the words of `Chain.skipped`)."""
    fields = _fields(blob)
    if isinstance(fields, str):
        return fields
    name = JournalName.of(ref)
    if name is None or (fields["run"], fields["writer"]) != (name.run, name.writer):
        return OTHER_JOURNAL
    attachments = {entry.name: entry.oid for entry in tree if entry.name != OPERATION_FILE}
    return ChainEntry(oid, fields, commit.parents[1:], attachments)


def _fields(blob: bytes | None) -> dict[str, Any] | str:
    try:
        record = json.loads(blob or b"")
        if b"\\u" in (blob or b""):
            # An escaped half character is JSON, but no text that a database or a terminal takes.
            json.dumps(record, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        return MALFORMED
    if not isinstance(record, dict) or is_deep(record):
        return MALFORMED
    if record.get("v") != 1 and isinstance(record.get("v"), int):
        return UNKNOWN_VERSION
    record = {"iter": 0, "attempt": 0} | record
    if record.keys() != _FIELDS.keys():
        return MALFORMED
    # `type() is`: True is an int to isinstance.
    if any(type(record[key]) is not kind for key, kind in _FIELDS.items()):
        return MALFORMED
    numbers = (record["lamport"], record["iter"], record["attempt"])
    return record if all(0 <= number < _LARGEST_LAMPORT for number in numbers) else MALFORMED


def is_deep(value: Any) -> bool:
    """Say whether JSON is nested too deep for a reader."""
    level = [value]
    for _ in range(_DEEPEST):
        inner = (each for one in level for each in (one.values() if isinstance(one, dict) else one))
        level = [each for each in inner if isinstance(each, dict | list)]
        if not level:
            return False
    return True


def order(entry: ChainEntry) -> tuple[int, str]:
    """Return the key that puts the operations of all writers of a run into one order."""
    return cast(int, entry.fields["lamport"]), cast(str, entry.fields["writer"])
