# SPDX-License-Identifier: Apache-2.0
"""Git objects as values, and the small protocol behind which the two ways to read and write them hide."""

from __future__ import annotations

import hashlib
import itertools
import re
import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol

from git_hmopt.errors import CorruptRecordError, StoreError
from git_hmopt.records.words import Oid
from git_hmopt.store.git import Git

ObjectKind = Literal["commit", "tree", "blob", "tag"]

TREE = "040000"
FILE = "100644"
SYMLINK = "120000"
GITLINK = "160000"

PACK_FROM = 200
"""From this many objects on one pack is written instead of a loose file each."""

_OID = re.compile(rb"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_PACK_TYPE = {"commit": 1, "tree": 2, "blob": 3, "tag": 4}


class MissingObjectError(StoreError):
    """An object is not in this clone: shallow, pruned or corrupt."""


@dataclass(frozen=True)
class GitObject:
    """An object as git hashes it."""

    kind: ObjectKind
    data: bytes = field(repr=False)


class TreeEntry(NamedTuple):
    """One line of a tree; `mode` has six octal digits, as `git ls-tree` prints it."""

    mode: str
    oid: Oid
    name: str


@dataclass(frozen=True)
class Commit:
    """What a commit says."""

    tree: Oid
    parents: tuple[Oid, ...]
    message: str


@dataclass(frozen=True)
class Signature:
    """Who wrote a commit."""

    name: str
    email: str

    def line(self, seconds: int) -> str:
        """Return the signature as it stands in a commit, at a time in seconds of the epoch, UTC."""
        return f"{_plain(self.name) or 'unknown'} <{_plain(self.email)}> {seconds} +0000"


TOOL = Signature("git-hmopt", "git-hmopt@localhost")


class ObjectStore(Protocol):
    """Reads and writes git objects of one repository."""

    object_format: str

    def read_many(self, oids: Sequence[Oid]) -> list[GitObject]:
        """Return the objects in the order asked for; MissingObjectError names the first that is not there."""
        ...

    def find_many(self, oids: Sequence[Oid]) -> list[GitObject | None]:
        """Return the objects in the order asked for, None for one that is not in this clone."""
        ...

    def write_many(self, objects: Sequence[GitObject]) -> None:
        """Write objects; writing one that is there already changes nothing."""
        ...

    def first_parents(self, chains: Sequence[tuple[Oid, Oid | None]]) -> dict[Oid, Commit]:
        """Return the commits on first-parent chains, each from a head at least down to (without) its end.

        A chain whose next commit is not in this clone, or is no commit, ends there.
        """
        ...


class ObjectBatch:
    """Objects built in memory: their ids are known at once, and `flush` writes them all."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._new: dict[Oid, GitObject] = {}

    def add(self, kind: ObjectKind, data: bytes) -> Oid:
        """Take an object and return its id."""
        oid = hash_object(kind, data, self._store.object_format)
        self._new[oid] = GitObject(kind, data)
        return oid

    def add_tree(self, entries: Iterable[TreeEntry]) -> Oid:
        """Take a tree and return its id."""
        return self.add("tree", format_tree(entries))

    def read(self, oid: Oid) -> GitObject:
        """Return an object of the batch or of the repository."""
        return self._new.get(oid) or self._store.read_many([oid])[0]

    def read_tree(self, oid: Oid) -> list[TreeEntry]:
        """Return the entries of a tree of the batch or of the repository."""
        return tree_entries(self.read(oid), oid, self._store.object_format)

    def prefetch(self, oids: Iterable[Oid]) -> None:
        """Read objects in one go that are going to be read one by one."""
        wanted = [oid for oid in dict.fromkeys(oids) if oid not in self._new]
        # Kept among the new ones: writing an object that is there changes nothing.
        self._new.update(zip(wanted, self._store.read_many(wanted), strict=True))

    def flush(self) -> None:
        """Write everything taken so far."""
        self._store.write_many(list(self._new.values()))
        self._new.clear()


def hash_object(kind: ObjectKind, data: bytes, object_format: str) -> Oid:
    """Return the id git gives an object."""
    return Oid(hashlib.new(object_format, b"%s %d\0" % (kind.encode(), len(data)) + data).hexdigest())


def zero_oid(object_format: str) -> Oid:
    """Return the id that stands for "no object"."""
    return Oid("0" * hashlib.new(object_format).digest_size * 2)


def tree_entries(found: GitObject, oid: Oid, object_format: str) -> list[TreeEntry]:
    """Return the entries of a tree object; CorruptRecordError when it is none, or its bytes are no tree's."""
    if found.kind != "tree":
        raise CorruptRecordError(f"object {oid} is a {found.kind}, not a tree")
    try:
        return list(_parse_tree(found.data, hashlib.new(object_format).digest_size))
    except ValueError as error:
        raise CorruptRecordError(f"tree {oid} is malformed", next_step="check with: git fsck") from error


def _parse_tree(data: bytes, width: int) -> Iterator[TreeEntry]:
    at = 0
    while at < len(data):
        space = data.index(b" ", at)
        end = data.index(b"\0", space)
        mode = data[at:space].decode().zfill(6)
        name = data[space + 1 : end].decode("utf-8", "surrogateescape")
        at = end + 1 + width
        if at > len(data):
            raise ValueError("cut in an object id")
        yield TreeEntry(mode, Oid(data[end + 1 : at].hex()), name)


def format_tree(entries: Iterable[TreeEntry]) -> bytes:
    """Return the bytes of a tree with these entries, in git's order (directories as if they ended in a slash)."""
    lines = [(entry.name.encode("utf-8", "surrogateescape"), entry) for entry in entries]
    lines.sort(key=lambda line: line[0] + (b"/" if line[1].mode == TREE else b""))
    return b"".join(
        entry.mode.lstrip("0").encode() + b" " + name + b"\0" + bytes.fromhex(entry.oid) for name, entry in lines
    )


def commit_of(found: GitObject, oid: Oid) -> Commit:
    """Return what a commit object says; CorruptRecordError when it is none, or its bytes are no commit's."""
    if found.kind != "commit":
        raise CorruptRecordError(f"object {oid} is a {found.kind}, not a commit")
    head, _, message = found.data.partition(b"\n\n")
    # git's own order: the tree, then the parents, then who wrote it.
    first, *rest = (line.partition(b" ") for line in head.split(b"\n"))
    parents = [value for word, _, value in itertools.takewhile(lambda line: line[0] == b"parent", rest)]
    if first[0] != b"tree" or not all(_OID.fullmatch(value) for value in (first[2], *parents)):
        raise CorruptRecordError(f"commit {oid} is malformed", next_step="check with: git fsck")
    return Commit(
        Oid(first[2].decode()), tuple(Oid(value.decode()) for value in parents), message.decode("utf-8", "replace")
    )


def format_commit(tree: Oid, parents: Sequence[Oid], message: str, author: Signature, seconds: int) -> bytes:
    """Return the bytes of an unsigned commit."""
    lines = [f"tree {tree}", *(f"parent {parent}" for parent in parents)]
    lines += [f"author {author.line(seconds)}", f"committer {author.line(seconds)}", "", message.rstrip("\n") + "\n"]
    return "\n".join(lines).encode("utf-8", "surrogateescape")


def _plain(text: str) -> str:
    return "".join(character for character in text if character not in "<>\n\0").strip()


def pack(objects: Sequence[GitObject], object_format: str) -> bytes:
    """Return a version 2 pack of whole objects (gitformat-pack(5))."""
    parts = [b"PACK" + struct.pack(">II", 2, len(objects))]
    for found in objects:
        parts.append(_pack_header(_PACK_TYPE[found.kind], len(found.data)))
        parts.append(zlib.compress(found.data, 1))
    body = b"".join(parts)
    return body + hashlib.new(object_format, body).digest()


def _pack_header(number: int, size: int) -> bytes:
    header = bytearray()
    byte, size = (number << 4) | (size & 0x0F), size >> 4
    while size:
        header.append(byte | 0x80)
        byte, size = size & 0x7F, size >> 7
    header.append(byte)
    return bytes(header)


def write_pack(git: Git, objects: Sequence[GitObject], object_format: str, *, loose: bool) -> None:
    """Write objects with one git process: `loose` unpacks them into a file each, else they stay one pack."""
    command = ("unpack-objects", "-q") if loose else ("index-pack", "--stdin")
    git.run(*command, stdin=pack(objects, object_format))
