# SPDX-License-Identifier: Apache-2.0
"""After a merge or a checkout: parse what changed, in the background, so that the next question finds the graph ready.

At most one process a repository does so. One that comes while another parses leaves a mark for its working tree and
ends; the other looks for marks after it gave the lock back, so no checkout is missed. While a run measures, nothing is
parsed.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from git_hmopt.errors import TimeLimitError
from git_hmopt.loop.lock import at_work
from git_hmopt.psg.ask import Wish, bring_up_to_date
from git_hmopt.psg.builds import found_build
from git_hmopt.records.words import utc_now
from git_hmopt.store.repository import Repository

LONGEST_S = 1800
"""A graph that is not ready by then is made by whoever asks for it."""
LARGEST_LOG = 256 << 10
STARTING = "starting-"
"""Begins the name of a directory that the script makes, so that twenty checkouts in a row start one process."""
_LOCK, _MARKS = "refresh.lock", "refresh-{}.wanted"


def refresh(repository: Repository, *, longest_s: int = LONGEST_S) -> None:
    """Bring the graph of the working tree's build up to date, unless another process does; says what it did.

    Raises TimeLimitError after `longest_s`.
    """
    root = os.fsencode(repository.require_worktree())
    place = repository.home / "structure"
    mark = place / _MARKS.format(hashlib.sha256(root).hexdigest()[:16])
    mark.write_bytes(root)
    # Who comes from now on starts a process of its own.
    with contextlib.suppress(OSError):
        (place / f"{STARTING}{Path(os.fsdecode(root)).name}").rmdir()
    with _limited(longest_s):
        while wanted := sorted(place.glob(_MARKS.format("*"))):
            with _alone(place / _LOCK) as free:
                if not free:
                    say("another process is at it")
                    return
                for mark in wanted:
                    _once(repository, Path(os.fsdecode(mark.read_bytes())), mark)


def _once(repository: Repository, root: Path, mark: Path) -> None:
    # Before the files are looked at: what changes after that leaves its own mark.
    mark.unlink()
    holder = at_work(repository)
    if holder is not None:
        say(f"not now: {holder} is measuring")
        return
    build = found_build(root, repository.home) if root.is_dir() else None
    if build is None:
        say("no build was found")
        return
    done = bring_up_to_date(build, repository.home, Wish())
    say(f"{build.described}: {len(done.parsed)} units parsed, {done.reused} known already")


def background(repository: Repository) -> None:
    """Make this process one that nobody waits for, and keep its log (standard output and error) from growing on."""
    # Of a session of its own: it outlives the terminal of the checkout. Who leads one already has it.
    with contextlib.suppress(PermissionError):
        os.setsid()
    log = repository.home / "hooks.log"
    with contextlib.suppress(OSError):
        if log.stat().st_size > LARGEST_LOG:
            os.truncate(log, 0)
    # Half of the machine at most, at the lowest priority (the script's nice).
    cpus = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, cpus[: max(1, len(cpus) // 2)])


def say(text: str) -> None:
    """Write a line of the log."""
    print(f"{utc_now()} {os.getpid()} {text}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[bool]:
    with path.open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


class _TimeUp(BaseException):
    """Comes from a signal at any place, so no handler of errors may take it for one of its own."""


@contextlib.contextmanager
def _limited(seconds: int) -> Iterator[None]:
    def ended(number: int, frame: FrameType | None) -> None:
        raise _TimeUp

    before = signal.signal(signal.SIGALRM, ended)
    signal.alarm(seconds)
    try:
        yield
    except _TimeUp as up:
        raise TimeLimitError(
            f"the graph was not ready after {seconds} s", next_step="run: git hmopt analyze --static"
        ) from up
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
