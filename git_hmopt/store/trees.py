# SPDX-License-Identifier: Apache-2.0
"""Build trees: a git tree exported into a directory that stays, so that the next build is incremental.

The user's repository and configuration see nothing of it: no linked worktree, a private index beside the directory.
A checkout goes from tree to tree and writes only the files that differ; what git does not know (build output) stays.

States of a build tree, by its state file:
1. none: nothing was ever exported; a directory that is there is a leftover of an export that never began to count;
2. `tree`: the directory holds that tree (and build output);
3. `moving`: a checkout began and did not end. The next one deletes what it was about to add and exports by force.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import time
from collections.abc import Container, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from git_hmopt.errors import ProgramError, StoreError
from git_hmopt.process.runner import Limits, run
from git_hmopt.records.words import Oid
from git_hmopt.store.repository import Repository

# The export must be the same for every user: no line-end conversion, no sparse checkout, no split index of theirs.
# ctime and inode are not compared, since a copied tree has new ones and must not be written again.
_SETTINGS = (
    *("-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false", "-c", "core.sparseCheckout=false"),
    *("-c", "core.autocrlf=false", "-c", "core.eol=lf", "-c", "core.attributesFile=/dev/null"),
    *("-c", "core.splitIndex=false", "-c", "core.untrackedCache=false", "-c", "core.fileMode=true"),
    *("-c", "core.symlinks=true", "-c", "core.trustctime=false", "-c", "core.checkStat=default"),
    *("-c", "core.bare=false", "-c", "advice.updateSparsePath=false"),
)

FULL_BYTES = 64 * 1024
"""Below so much free space a failed write is put down to the full disk."""
BUSY_S = 5.0
"""How long a checkout waits for another process to leave the build tree."""


@dataclass(frozen=True)
class _State:
    tree: Oid | None
    moving: bool = False
    added: tuple[str, ...] = ()
    """Paths the unfinished checkout was about to add to `tree`."""


@dataclass(frozen=True)
class BuildTree:
    """One directory (by convention `<common_dir>/hmopt/trees/<name>/src`) that holds one tree at a time."""

    root: Path
    repository: Repository

    @classmethod
    def named(cls, name: str, repository: Repository) -> BuildTree:
        """Return the repository's build tree of that name."""
        return cls(repository.home / "trees" / name / "src", repository)

    @property
    def tree(self) -> Oid | None:
        """Return the tree the directory holds, or None when nothing is exported or a checkout did not end."""
        state = self._state()
        return None if state.moving else state.tree

    def checkout(self, tree: Oid) -> None:
        """Make the directory hold `tree`: files that are as they should be are not touched, changed ones restored.

        StoreError when another process is at it, or the disk is full; then the next checkout puts things right.
        """
        with self._alone():
            state = self._state()
            if state.moving or not self._index.is_file():
                state = self._recover(state)
            self._move(state, tree)

    def remove(self) -> None:
        """Delete the directory, its build output, and what is kept beside it."""
        if not self.root.parent.is_dir():
            return
        with self._alone():
            self._wipe()

    def _move(self, state: _State, tree: Oid) -> None:
        added: tuple[str, ...] = ()
        if state.tree is not None and state.tree != tree:
            try:
                changes = self.repository.changed_paths(state.tree, tree)
            except StoreError:
                # The old tree is no object any more (its run expired, then `git gc`): start afresh.
                self._wipe()
                state, changes = _State(None), []
            added = tuple(change.path for change in changes if change.status == "A")
        self._write(_State(state.tree, moving=True, added=added))
        self.root.mkdir(parents=True, exist_ok=True)
        # `--reset` is the two-tree merge and a repair in one: it writes what differs between the index and `tree`,
        # and what somebody changed in the directory; a file whose size and times are as recorded is not touched.
        try:
            self._git("read-tree", "--reset", "-u", "--end-of-options", tree)
        except StoreError as error:
            # read-tree names the file it could not write and not why.
            raise disk_full(self.root) or error from error
        self._write(_State(tree))

    def _recover(self, state: _State) -> _State:
        self._index_lock.unlink(missing_ok=True)
        if state.tree is None or not self._index.is_file():
            self._wipe()
            return _State(None)
        for path in state.added:
            target = self.root / path
            # A directory on the way may have become a link meanwhile: follow none out of the tree.
            if target.parent.resolve().is_relative_to(self.root.resolve()):
                with contextlib.suppress(FileNotFoundError, NotADirectoryError, IsADirectoryError):
                    target.unlink()
        return _State(state.tree)

    def _git(self, *arguments: str, ok: Container[int] = (0,)) -> None:
        self.repository.git.run(
            f"--git-dir={self.repository.common_dir}",
            f"--work-tree={self.root}",
            *arguments,
            environment={"GIT_INDEX_FILE": str(self._index)},
            ok=ok,
            settings=_SETTINGS,
            wall_s=1800,
        )

    def _wipe(self) -> None:
        # The state goes first: a directory without one counts as a leftover.
        for path in (self._state_file, self._index, self._index_lock):
            path.unlink(missing_ok=True)
        try:
            if self.root.is_dir():
                shutil.rmtree(self.root)
        except OSError as error:
            raise StoreError(
                f"the build tree '{self.root}' cannot be deleted: {error.strerror} ({error.filename})",
                next_step="delete it by hand",
            ) from error

    # -- beside the directory ---------------------------------------------------------------------------------------

    @property
    def _index(self) -> Path:
        return self.root.with_name(self.root.name + ".index")

    @property
    def _index_lock(self) -> Path:
        """What a killed git leaves behind; only for whoever has the tree alone."""
        return self._index.with_name(self._index.name + ".lock")

    @property
    def _state_file(self) -> Path:
        return self.root.with_name(self.root.name + ".tree")

    def _state(self) -> _State:
        try:
            record = json.loads(self._state_file.read_bytes())
            # Build output has paths in it: a tree that was moved with its repository would build other bytes than one
            # that was made here.
            if record["v"] == 1 and record.get("root", str(self.root)) == str(self.root):
                return _State(record["tree"], record["moving"], tuple(record["added"]))
        except FileNotFoundError:
            return _State(None, moving=self.root.exists())
        except (ValueError, KeyError, TypeError):
            pass
        # Unreadable, of another version or from elsewhere: what lies there cannot be used.
        return _State(None, moving=True)

    def _write(self, state: _State) -> None:
        record = {
            "v": 1,
            "tree": state.tree,
            "moving": state.moving,
            "added": list(state.added),
            "root": str(self.root),
        }
        self._state_file.parent.mkdir(parents=True, exist_ok=True)
        temporary = self._state_file.with_name(self._state_file.name + ".new")
        try:
            with temporary.open("w", encoding="ascii") as stream:
                json.dump(record, stream)
                stream.flush()
                os.fsync(stream.fileno())
            temporary.replace(self._state_file)
        except OSError as error:
            raise StoreError(
                f"'{self._state_file}' cannot be written: {error.strerror}", next_step="free space there"
            ) from error

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        try:
            self.root.parent.mkdir(parents=True, exist_ok=True)
            opened = self.root.with_name(self.root.name + ".lock").open("w")
        except OSError as error:
            raise StoreError(f"no build tree can be kept at '{self.root}': {error.strerror}") from error
        with opened as lock:
            deadline = time.monotonic() + BUSY_S
            while not self._locked(lock) or self._orphan_lives():
                if time.monotonic() >= deadline:
                    raise StoreError(
                        f"another git hmopt is writing the build tree '{self.root}'", next_step="wait for it to end"
                    )
                time.sleep(0.02)
            yield

    def _locked(self, lock: IO[str]) -> bool:
        try:
            # The kernel frees it when its holder dies, however it dies.
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _orphan_lives(self) -> bool:
        """Say whether a git or cp of ours still writes here: in sessions of their own they survive a killed parent."""
        ours = {f"--work-tree={self.root}".encode(), str(self.root).encode()}
        for process in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                words = process.read_bytes().split(b"\0")
                if words[0] in (b"git", b"cp") and not ours.isdisjoint(words):
                    return True
        return False


def disk_full(path: Path) -> StoreError | None:
    """Return the error that says so when nothing more can be written where `path` lies, else None."""
    while not path.exists():
        path = path.parent
    if shutil.disk_usage(path).free >= FULL_BYTES:
        return None
    return StoreError(f"the disk of '{path}' is full", next_step="free space there")


def copy_build_tree(source: BuildTree, target: BuildTree) -> None:
    """Make `target` a copy of `source` with its build output, times included, so that nothing in it is built again.

    Blocks are shared where the file system can. What `target` was before is gone; killed half-way, it is empty.
    """
    with source._alone(), target._alone():
        state = source._state()
        if state.moving or state.tree is None:
            raise StoreError(f"the build tree '{source.root}' is not complete", next_step="check it out first")
        target._wipe()
        target._write(_State(None, moving=True))
        try:
            run(
                ["cp", "-a", "--reflink=auto", "--", str(source.root), str(target.root)],
                limits=Limits(wall_s=3600),
                check=True,
            )
        except ProgramError as error:
            raise disk_full(target.root.parent) or StoreError(
                f"the build tree '{source.root}' cannot be copied: {error}"
            ) from error
        shutil.copyfile(source._index, target._index)
        # The copies have other inodes; git looks at the content once and records them. 1: a file is not as it was
        # checked out, which the next checkout puts right.
        target._git("update-index", "-q", "--refresh", ok=(0, 1))
        target._write(_State(state.tree))
