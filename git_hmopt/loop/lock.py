# SPDX-License-Identifier: Apache-2.0
"""One run at a time in a repository's build trees, and what that says about the others.

Light: `git hmopt list` starts with this module, so it knows neither adapters nor LangGraph.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from git_hmopt.errors import StoreError
from git_hmopt.records.words import RunId, RunStatus, journal_ref
from git_hmopt.store.repository import Repository

INTERRUPTED = "interrupted"
"""What an open run of this clone is called that no process works on any more. Never recorded: a kill cannot write."""
_CLOSED = frozenset(str(status) for status in RunStatus if status.closed)
_HOLDER = re.compile(r"run (\S+) \(pid \d+\)")


@contextmanager
def alone(repository: Repository, run: RunId) -> Iterator[None]:
    """Hold the repository's build trees for one run; StoreError names the run that holds them now."""
    path = _path(repository)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        opened = path.open("a+")
    except OSError as error:
        raise StoreError(f"'{path}' cannot be opened: {error.strerror}", next_step="free space there") from error
    with opened as lock:
        _take(lock)
        # Who holds it is for readers' messages alone; a full disk is told by what needs the room.
        with contextlib.suppress(OSError):
            lock.seek(0)
            lock.truncate()
            lock.write(f"run {run} (pid {os.getpid()})\n")
            lock.flush()
        yield


def _take(lock: IO[str]) -> None:
    # A reader (`_held`) shares the lock for some microseconds, which is no reason to refuse a run.
    for pause in (0.01, 0.1, 0.0):
        try:
            return fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(pause)
    raise StoreError(
        f"{_said(lock) or 'another run'} is using the build trees of this repository",
        next_step="wait for it, or stop it with Ctrl-C",
    )


def interrupted(repository: Repository, statuses: Mapping[RunId, str]) -> frozenset[RunId]:
    """Return which of these runs (by name, with the status on record) are INTERRUPTED.

    A run of another clone is none of them: nobody can tell from here whether it is still at work.
    """
    left_open = [run for run, status in statuses.items() if status not in _CLOSED]
    writer = _own_writer(repository)
    if not left_open or writer is None:
        return frozenset()
    ours = {journal_ref(run, writer): run for run in left_open}
    found = {ours[ref] for ref in repository.list_refs(*ours) if ref in ours}
    held, holder = _held(repository)
    if held and holder is None:
        # Taken, and not yet signed.
        return frozenset()
    return frozenset(found - {holder})


def at_work(repository: Repository) -> str | None:
    """Return who holds the build trees now, as a message names it, or None."""
    held, holder = _held(repository)
    if not held:
        return None
    return f"run {holder}" if holder else "a run"


def _held(repository: Repository) -> tuple[bool, RunId | None]:
    """Say whether a process holds the build trees now, and for which run."""
    try:
        with _path(repository).open(encoding="utf-8") as lock:
            try:
                # Shared, so that two readers do not take each other for a run.
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = _HOLDER.match(_said(lock))
                return True, RunId(holder[1]) if holder else None
    except FileNotFoundError:
        pass
    return False, None


def _path(repository: Repository) -> Path:
    return repository.home / "trees.lock"


def _said(lock: IO[str]) -> str:
    lock.seek(0)
    return lock.read().strip()


def _own_writer(repository: Repository) -> str | None:
    # Not journal.writer_of: it makes a writer up where there is none, and a reader writes nothing.
    try:
        return (repository.home / "writer").read_text(encoding="ascii", errors="replace").strip()
    except FileNotFoundError:
        return None
