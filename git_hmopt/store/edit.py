# SPDX-License-Identifier: Apache-2.0
"""Make a tree out of a tree: change, add and drop paths without an index or a working tree.

Nothing written here can leave the tree: a path is names only, and what it names is a plain file.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from git_hmopt.errors import PatchError
from git_hmopt.records.words import Oid
from git_hmopt.store.objects import FILE, GITLINK, SYMLINK, TREE, ObjectBatch, ObjectStore, TreeEntry, tree_entries

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
# What HFS+ ignores in a name (git's utf8.c, next_hfs_char): `.g\u200cit` is `.git` on such a disk.
_IGNORED = re.compile("[\u200c-\u200f\u202a-\u202e\u206a-\u206f\ufeff]")
_GIT_NAMES = frozenset({".git", "git~1", ".gitmodules"})

_KINDS = {SYMLINK: "a symbolic link", GITLINK: "a submodule", TREE: "a directory"}


@dataclass
class _Directory:
    """The changes below one directory."""

    files: dict[str, bytes | None] = field(default_factory=dict)
    directories: dict[str, _Directory] = field(default_factory=dict)


def check_path(path: str) -> tuple[str, ...]:
    """Return the names a path consists of; PatchError when it could lead out of the tree or into `.git`."""
    names = tuple(path.split("/"))
    if not path or path.startswith("/"):
        raise PatchError(f"the edit names '{path}', which is not a path inside the tree")
    if _CONTROL.search(path):
        raise PatchError(f"the edit names {path!r}, which holds control characters")
    for name in names:
        if name in ("", ".", ".."):
            raise PatchError(f"the edit names '{path}', which is not a path inside the tree")
        # Windows and HFS+ spell `.git` in many ways; a tree made here may be checked out there.
        for piece in name.split("\\"):
            if _IGNORED.sub("", piece).split(":")[0].rstrip(". ").casefold() in _GIT_NAMES or piece == "..":
                raise PatchError(f"the edit names '{path}', which is git's own")
    return names


def edit_tree(batch: ObjectBatch, base: Oid | None, changes: Mapping[str, bytes | None]) -> Oid:
    """Return the tree `base` with `changes` in it: new contents by path, None to delete.

    Existing files keep their mode, new ones are plain. PatchError when a path leaves the tree, names a symbolic link,
    a submodule or a directory, or is deleted without being there.
    """
    top = _Directory()
    for path, data in changes.items():
        _place(top, path, data)
    return _edited(batch, base, top, "") or batch.add_tree(())


def _place(top: _Directory, path: str, data: bytes | None) -> None:
    *parents, name = check_path(path)
    at = top
    for parent in parents:
        if parent in at.files:
            raise PatchError(f"the edit names '{path}' as a file in a directory and its directory as a file")
        at = at.directories.setdefault(parent, _Directory())
    if name in at.directories:
        raise PatchError(f"the edit names '{path}' as a file and as a directory")
    at.files[name] = data


def _edited(batch: ObjectBatch, base: Oid | None, changes: _Directory, prefix: str) -> Oid | None:
    entries = {entry.name: entry for entry in batch.read_tree(base)} if base else {}
    for name, below in changes.directories.items():
        old = entries.get(name)
        if old and old.mode != TREE:
            raise PatchError(f"'{prefix}{name}' is {_KINDS.get(old.mode, 'a file')}, not a directory")
        new = _edited(batch, old.oid if old else None, below, f"{prefix}{name}/")
        _set(entries, name, TreeEntry(TREE, new, name) if new else None)
    for name, data in changes.files.items():
        old = entries.get(name)
        if old and old.mode in _KINDS:
            raise PatchError(f"'{prefix}{name}' is {_KINDS[old.mode]}, not a file")
        if data is None and old is None:
            raise PatchError(f"the edit deletes '{prefix}{name}', which is not in the tree")
        mode = old.mode if old else FILE
        _set(entries, name, TreeEntry(mode, batch.add("blob", data), name) if data is not None else None)
    return batch.add_tree(entries.values()) if entries else None


def _set(entries: dict[str, TreeEntry], name: str, entry: TreeEntry | None) -> None:
    if entry:
        entries[name] = entry
    else:
        entries.pop(name, None)


def load_trees(store: ObjectStore, root: Oid) -> dict[Oid, list[TreeEntry]]:
    """Return every tree below `root` by id, read a level at a time (one process a level, where it takes processes)."""
    found: dict[Oid, list[TreeEntry]] = {}
    level = [root]
    while level:
        for oid, tree in zip(level, store.read_many(level), strict=True):
            found[oid] = tree_entries(tree, oid, store.object_format)
        below = (entry.oid for oid in level for entry in found[oid] if entry.mode == TREE)
        level = [oid for oid in dict.fromkeys(below) if oid not in found]
    return found


def walk(trees: Mapping[Oid, list[TreeEntry]], root: Oid, prefix: str = "") -> Iterator[tuple[str, Oid, str]]:
    """Yield (mode, oid, path) of everything below `root` that is not a directory, in git's order."""
    for entry in trees[root]:
        if entry.mode == TREE:
            yield from walk(trees, entry.oid, f"{prefix}{entry.name}/")
        else:
            yield entry.mode, entry.oid, prefix + entry.name


def filter_tree(batch: ObjectBatch, store: ObjectStore, root: Oid, keep: Callable[[str], bool]) -> Oid | None:
    """Return the tree of the paths that `keep` wants, or None when it wants none."""
    trees = load_trees(store, root)

    def filtered(oid: Oid, prefix: str) -> Oid | None:
        kept: list[TreeEntry] = []
        for entry in trees[oid]:
            path = prefix + entry.name
            if entry.mode != TREE:
                if keep(path):
                    kept.append(entry)
            elif below := filtered(entry.oid, path + "/"):
                kept.append(entry._replace(oid=below))
        if kept == trees[oid]:
            return oid
        return batch.add_tree(kept) if kept else None

    return filtered(root, "")
