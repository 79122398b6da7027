# SPDX-License-Identifier: Apache-2.0
"""Notes on commits: one line of JSON a metric or verdict, many at once, never lost to another writer.

The notes tree is built here, fan-out included: one library call a note takes 10 s for 2,000 notes, and
`git notes append` loses most of what twenty processes append at once.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from git_hmopt.errors import StoreError
from git_hmopt.records.base import canonical_json
from git_hmopt.records.redaction import redact_values
from git_hmopt.records.words import NOTES_METRICS, NOTES_VERDICTS, Oid, RefName
from git_hmopt.store.edit import filter_tree
from git_hmopt.store.note_lines import HEX, merge_lines, read_lines
from git_hmopt.store.objects import FILE, TOOL, TREE, ObjectBatch, TreeEntry, format_commit
from git_hmopt.store.repository import MovedRefsError, RefUpdate, Repository
from git_hmopt.store.retry import WRITERS_QUEUE, retried

FLAT_UNTIL = 256
"""How many notes one directory of a notes tree may hold before it is fanned out by two more digits."""

_AT_ONCE = 2000
"""How many notes are read together: bounds the memory."""

Drop = Callable[[bytes], bool]
"""Says of a line that it is not to be there."""


@dataclass(frozen=True)
class NoteDraft:
    """A line for a commit: `at` from `words.utc_now`, `data` a record's JSON (`model_dump(mode="json")`)."""

    commit: Oid
    at: str
    data: Mapping[str, Any]

    def line(self) -> str:
        """Return the line as it is stored: redacted, canonical, the time first."""
        data, _ = redact_values({key: value for key, value in self.data.items() if key != "at"})
        return note_line(self.at, data)


def note_line(at: str, data: Mapping[str, Any]) -> str:
    """Return the one way in which a line of a note is written; TypeError for what no line can hold (floats)."""
    rest = canonical_json(data).removeprefix("{")
    # cat_sort_uniq sorts whole lines, so the time must come first; and it destroys what spans lines.
    return f'{{"at":{canonical_json(at)}{"" if rest == "}" else ","}{rest}'


class Notes:
    """One notes ref. Remembers where it last stood, so that appending need not ask; a conflict corrects it."""

    def __init__(self, repository: Repository, ref: RefName = NOTES_METRICS) -> None:
        if ref not in (NOTES_METRICS, NOTES_VERDICTS):
            # `git notes --ref=X` silently writes refs/notes/X; only these two names are read anywhere.
            raise StoreError(f"'{ref}' is none of our notes", next_step=f"use {NOTES_METRICS} or {NOTES_VERDICTS}")
        self.repository = repository
        self.ref = ref
        self._head: Oid | None = None
        self._known = False

    def append(self, drafts: Sequence[NoteDraft]) -> None:
        """Add lines to the notes of their commits; lines that are there already are not added twice."""

        def step() -> None:
            batch = ObjectBatch(self.repository.objects)
            update = self.prepare(batch, drafts)
            if update is None:
                return
            batch.flush()
            try:
                self.repository.update_refs([update], reason="git hmopt: notes")
            except MovedRefsError:
                self.forget()
                raise
            self.published(update)

        retried(step, transient=(MovedRefsError,), queue=self.repository.home / WRITERS_QUEUE)

    def prepare(self, batch: ObjectBatch, drafts: Sequence[NoteDraft]) -> RefUpdate | None:
        """Build the notes in `batch` and return the move that publishes them; None when nothing is new.

        For publishing together with other refs: flush the batch, move the refs, then call `published`, or `forget`
        when the move was refused, and prepare again.
        """
        if not drafts:
            return None
        if not self._known:
            self._head = self.repository.read_ref(self.ref)
            self._known = True
        old = self.repository.tree_of(self._head) if self._head else None
        new = add_lines(batch, old, drafts)
        if new == old:
            return None
        message = f"Notes added by 'git hmopt' on {len({draft.commit for draft in drafts})} commits"
        parents = [self._head] if self._head else []
        commit = batch.add("commit", format_commit(new, parents, message, TOOL, int(time.time())))
        return RefUpdate(self.ref, commit, self._head)

    def published(self, update: RefUpdate) -> None:
        """Take note that the move was made."""
        self._head, self._known = update.new, True

    def forget(self) -> None:
        """Ask git again where the ref stands."""
        self._known = False

    def read(self, commits: Iterable[Oid] | None = None) -> dict[Oid, list[str]]:
        """Return the lines of the notes on `commits` (default: on all) as of now; those without a note are left out."""
        return read_lines(self.repository, self.ref, commits)


def merge_notes(batch: ObjectBatch, repository: Repository, ours: Oid, theirs: Oid, drop: Drop | None) -> Oid:
    """Return the notes tree with the lines of both, whatever fan-out each has; `ours` when it has them all.

    Of theirs, the lines that `drop` names are left out.
    """
    if ours == theirs:
        return ours
    here, there = (
        {path.replace("/", ""): blob for _, blob, path in repository.list_tree(tree)} for tree in (ours, theirs)
    )
    other = {name: blob for name, blob in there.items() if here.get(name) != blob and HEX.issuperset(name)}
    found = repository.objects.read_many(list(other.values()))
    lines = (filter(None, one.data.split(b"\n")) for one in found)
    kept = (b"".join(line + b"\n" for line in some if not (drop and drop(line))) for some in lines)
    added = {name: text for name, text in zip(other, kept, strict=True) if text}
    return (_added(batch, ours, added) if added else None) or ours


def without_lines(batch: ObjectBatch, repository: Repository, tree: Oid, drop: Drop) -> Oid:
    """Return the notes tree without the lines that `drop` names; `tree` itself when it has none of them."""
    blobs: dict[str, list[Oid]] = defaultdict(list)
    for _, blob, path in repository.list_tree(tree):
        if is_note_name(path, tree):
            blobs[path.replace("/", "")].append(blob)
    names, changed = list(blobs), {}
    for start in range(0, len(names), _AT_ONCE):
        some = names[start : start + _AT_ONCE]
        found = iter(repository.objects.read_many([blob for name in some for blob in blobs[name]]))
        for name in some:
            lines = [line for _ in blobs[name] for line in next(found).data.split(b"\n") if line]
            kept = [line for line in lines if not drop(line)]
            if len(kept) < len(lines):
                changed[name] = merge_lines(*kept)
    return rewritten(batch, repository, tree, changed)


def rewritten(batch: ObjectBatch, repository: Repository, tree: Oid, changed: Mapping[str, bytes]) -> Oid:
    """Return the notes tree in which the notes on some commits are these, each once; an empty one is removed."""
    if not changed:
        return tree
    rest = filter_tree(batch, repository.objects, tree, lambda path: path.replace("/", "") not in changed)
    added = {name: lines for name, lines in changed.items() if lines}
    return (_added(batch, rest, added) if added else rest) or batch.add_tree(())


def is_note_name(path: str, oid: Oid) -> bool:
    """Say whether a path of a notes tree names a commit; `oid` is any id of the repository."""
    name = path.replace("/", "")
    return len(name) == len(oid) and HEX.issuperset(name)


def add_lines(batch: ObjectBatch, tree: Oid | None, drafts: Sequence[NoteDraft]) -> Oid:
    """Return the notes tree with the drafts' lines in it; whatever fan-out it has is kept, and grown when needed."""
    lines: dict[str, list[bytes]] = defaultdict(list)
    for draft in drafts:
        lines[draft.commit].append(draft.line().encode("utf-8", "surrogateescape"))
    added = {commit: b"\n".join(new) for commit, new in lines.items()}
    return _added(batch, tree, added) or batch.add_tree(())


def _added(batch: ObjectBatch, tree: Oid | None, added: Mapping[str, bytes]) -> Oid | None:
    """`added` is by what is left of the commit's name at this depth; return None for an empty tree."""
    entries = {entry.name: entry for entry in batch.read_tree(tree)} if tree else {}
    width = len(next(iter(added), ""))
    flat = {name: entry for name, entry in entries.items() if _is_note(entry, width)}
    fanned = any(_is_fan(entry) for entry in entries.values()) or len(flat.keys() | added.keys()) > FLAT_UNTIL
    batch.prefetch(entry.oid for name, entry in flat.items() if fanned or name in added)
    if not fanned:
        for name, lines in added.items():
            old = [batch.read(flat[name].oid).data] if name in flat else []
            entries[name] = TreeEntry(FILE, batch.add("blob", merge_lines(*old, lines)), name)
        return batch.add_tree(entries.values()) if entries else None
    # git reads a tree of both kinds too, but a note must stand once: notes beside directories move into them.
    below: dict[str, dict[str, bytes]] = defaultdict(dict)
    for name, lines in added.items():
        below[name[:2]][name[2:]] = lines
    for name, entry in flat.items():
        inner = below[name[:2]]
        inner[name[2:]] = merge_lines(batch.read(entry.oid).data, inner.get(name[2:], b""))
        del entries[name]
    batch.prefetch(entries[name].oid for name in below if name in entries)
    for name, inner in below.items():
        old_tree = entries[name].oid if name in entries else None
        new = _added(batch, old_tree, inner)
        if new:
            entries[name] = TreeEntry(TREE, new, name)
    return batch.add_tree(entries.values())


def _is_note(entry: TreeEntry, width: int) -> bool:
    return entry.mode != TREE and len(entry.name) == width and HEX.issuperset(entry.name)


def _is_fan(entry: TreeEntry) -> bool:
    return entry.mode == TREE and len(entry.name) == 2 and HEX.issuperset(entry.name)
