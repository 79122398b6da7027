# SPDX-License-Identifier: Apache-2.0
"""Snapshots: the source of one commit, of this or another repository, kept alive by a journal of its own.

The journal's name comes from the commit alone, so that the same snapshot is kept once. A manifest of its files (mode,
blob, size, path) is an artifact; what the journal says of it is enough to find it again.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from git_hmopt.errors import RepositoryError, StoreError
from git_hmopt.records.base import canonical_json
from git_hmopt.records.run import ArtifactRecord, RepositoryState
from git_hmopt.records.words import Oid, RunId
from git_hmopt.store.artifacts import ArtifactStore
from git_hmopt.store.journal import Journal, OpDraft
from git_hmopt.store.repository import Repository

INGESTED = "repo.ingested"


@dataclass(frozen=True)
class Snapshot:
    """What is kept of a commit."""

    name: str
    """The journal's name."""
    uri: str
    commit: Oid
    tree: Oid
    dirty: bool
    """Whether tracked files had changes that are not in it."""
    files: int
    size: int
    """Bytes of all files."""
    submodules: int
    """Links to other repositories, whose source is not in it."""
    manifest: str
    """sha256 of the manifest's artifact."""
    new: bool
    """Whether it was not kept here before."""


def ingest(repository: Repository, path: Path, rev: str, *, allow_dirty: bool = False) -> Snapshot:
    """Keep the source of `rev` of the repository that `path` is in.

    RepositoryError when there is none, when its objects are of another format than ours, or when HEAD is asked for
    while tracked files have changes.
    """
    source = Repository.open(path)
    commit = source.resolve(rev)
    dirty = source.worktree is not None and commit == source.head() and source.is_dirty()
    if dirty and not allow_dirty:
        raise RepositoryError(
            f"tracked files of '{path}' have changes that would not be in the snapshot",
            next_step="commit or stash them, or take the commit as it is with --allow-dirty",
        )
    if source.object_format != repository.object_format:
        raise RepositoryError(
            f"'{path}' has {source.object_format} objects, this repository has {repository.object_format} ones",
            next_step="ingest it in a repository of its own format",
        )
    tree, name = source.tree_of(commit), _name(source, commit)
    known = _known(repository, name)
    if known is not None:
        if known["commit"] != commit:
            raise StoreError(f"snapshot {name} is of another commit, {known['commit'][:12]}")
        return _snapshot(name, known, new=False)
    own = source.common_dir == repository.common_dir
    keep = commit if own else _copied(source, repository, commit, tree)
    manifest, totals = _manifest(repository, tree)
    record = ArtifactStore.of(repository).put_bytes(
        manifest, kind="manifest", name="manifest.json", media_type="application/json"
    )
    state = RepositoryState(uri=source.config_get("remote.origin.url") or "local", revision=rev, dirty=dirty)
    data = {
        "snapshot": {"commit": commit, "tree": tree, "kept_as": keep, **totals, **state.model_dump(mode="json")},
        "artifact": record.model_dump(mode="json"),
    }
    Journal(repository).append(name, [OpDraft(INGESTED, "ingest", data=data)], keep=[keep])
    return _snapshot(name, {**data["snapshot"], "manifest": record.sha256}, new=True)


def _name(source: Repository, commit: Oid) -> RunId:
    written = source.git.run("show", "-s", "--format=%ct", "--end-of-options", commit).text
    day = datetime.fromtimestamp(int(written), UTC).strftime("%Y%m%d")
    return RunId(f"{day}-snapshot-{hashlib.sha256(commit.encode()).hexdigest()[:6]}")


def _known(repository: Repository, name: RunId) -> dict[str, Any] | None:
    for operation in Journal(repository).read(name).operations:
        if operation.op == INGESTED:
            artifact = ArtifactRecord.model_validate(operation.data["artifact"])
            return {**operation.data["snapshot"], "manifest": artifact.sha256}
    return None


def _snapshot(name: RunId, data: dict[str, Any], *, new: bool) -> Snapshot:
    known = {key: data[key] for key in ("uri", "commit", "tree", "dirty", "files", "size", "submodules", "manifest")}
    return Snapshot(name=name, new=new, **known)


def _copied(source: Repository, target: Repository, commit: Oid, tree: Oid) -> Oid:
    """Copy the objects of a tree from another repository, and return a commit of ours that holds them.

    A pack straight into our object store: its size is that of the source, and a fetch would bring all history, or
    make this repository a shallow one.
    """
    place = target.common_dir / "objects/pack/pack"
    source.git.run(
        "pack-objects", "--revs", "--quiet", "--no-reuse-delta", str(place), stdin=f"{tree}\n".encode(), wall_s=3600
    )
    return target.commit(tree, [], f"The source of {commit}\n", seconds=0)


def _manifest(repository: Repository, tree: Oid) -> tuple[bytes, dict[str, int]]:
    """Return the manifest's bytes and what it adds up to."""
    listed = repository.git.run("ls-tree", "-r", "-l", "-z", "--full-tree", "--end-of-options", tree).output
    entries: list[dict[str, str | int | None]] = []
    sizes: list[int] = []
    for line in listed.decode("utf-8", "surrogateescape").split("\0")[:-1]:
        head, path = line.split("\t", 1)
        mode, _, oid, size = head.split()
        # JSON holds text alone; a name in other bytes is written as git writes it.
        shown = path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
        entries.append({"mode": mode, "oid": oid, "size": None if size == "-" else int(size), "path": shown})
        if size != "-":
            sizes.append(int(size))
    # Only a submodule's link has no size.
    totals = {"files": len(sizes), "size": sum(sizes), "submodules": len(entries) - len(sizes)}
    return canonical_json({"v": 1, "tree": tree, **totals, "entries": entries}).encode() + b"\n", totals
