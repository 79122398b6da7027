# SPDX-License-Identifier: Apache-2.0
"""Artifacts that travel: a run's text artifacts, redacted, as a commit under refs/hmopt/artifacts/<run>/<writer>.

Bytes are named by the sha256 of what was recorded. Where redaction removed something the copy is another file: it is
there for people to read, and is never taken for the artifact itself. What is no text, or too large, stays where it was
made; records then show it as not here.
"""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from git_hmopt.records.redaction import redact_file
from git_hmopt.records.words import ARTIFACTS, Oid, RefName, RunId
from git_hmopt.store.artifacts import ArtifactStore
from git_hmopt.store.care import run_of
from git_hmopt.store.objects import FILE, TOOL, ObjectBatch, TreeEntry, format_commit
from git_hmopt.store.repository import MovedRefsError, RefUpdate, Repository
from git_hmopt.store.retry import WRITERS_QUEUE, retried

LARGEST = 1 << 20
"""Bytes of an artifact that travels."""


@dataclass(frozen=True)
class Listed:
    """An artifact as a journal names it."""

    sha256: str
    name: str
    size: int


@dataclass
class Packed:
    """What was made ready to travel, and what was not, by reason."""

    files: int = 0
    redacted: int = 0
    left: Counter[str] | None = None


def pack_run(repository: Repository, run: RunId, writer: str, listed: Iterable[Listed]) -> Packed:
    """Bring the run's artifact ref up to date with what is here; nothing moves when it holds all of it already."""
    store, packed = ArtifactStore.of(repository), Packed(left=Counter())
    ref = RefName(f"{ARTIFACTS}{run}/{writer}")
    wanted = list({one.sha256: one for one in listed}.values())

    def step() -> None:
        packed.files, packed.redacted, packed.left = 0, 0, Counter()
        batch = ObjectBatch(repository.objects)
        entries = []
        for one in wanted:
            data, why_not = _text(store, one)
            if data is None:
                assert packed.left is not None
                packed.left[why_not] += 1
                continue
            clean, counts = redact_file(one.name, data)
            packed.files += 1
            packed.redacted += bool(counts)
            entries.append(TreeEntry(FILE, batch.add("blob", clean), f"{one.sha256}{'.redacted' if counts else ''}"))
        head = repository.read_ref(ref)
        tree = batch.add_tree(entries)
        if not entries or (head is not None and repository.tree_of(head) == tree):
            return
        message = f"Artifacts of run {run} ({len(entries)} files)"
        commit = batch.add("commit", format_commit(tree, [head] if head else [], message, TOOL, int(time.time())))
        batch.flush()
        repository.update_refs([RefUpdate(ref, commit, head)], reason="git hmopt: artifacts")

    retried(step, transient=(MovedRefsError,), queue=repository.home / WRITERS_QUEUE)
    return packed


def _text(store: ArtifactStore, one: Listed) -> tuple[bytes | None, str]:
    if one.size > LARGEST:
        return None, "larger than 1 MiB"
    data = store.read(one.sha256)
    if data is None:
        return None, "not in this clone"
    try:
        data.decode()
    except UnicodeDecodeError:
        return None, "no text"
    return (None, "no text") if b"\0" in data else (data, "")


def unpack(repository: Repository, refs: Sequence[RefName]) -> int:
    """Put the whole artifacts of refs that were fetched into the local store; return how many were new."""
    store, new = ArtifactStore.of(repository), 0
    heads = {ref: oid for ref, oid in repository.list_refs(ARTIFACTS).items() if ref in set(refs) and run_of(ref)}
    for oid in heads.values():
        new += _unpack(repository, store, oid)
    return new


def _unpack(repository: Repository, store: ArtifactStore, commit: Oid) -> int:
    new = 0
    for _, blob, name in repository.list_tree(commit):
        if len(name) != 64 or not set(name) <= set("0123456789abcdef") or store.path(name):
            continue
        data = repository.read_blob(blob)
        # Whoever pushed it may have put anything under this name.
        if hashlib.sha256(data).hexdigest() == name:
            store.put_bytes(data, kind="fetched", name=name, media_type="text/plain")
            new += 1
    return new
