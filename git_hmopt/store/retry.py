# SPDX-License-Identifier: Apache-2.0
"""Repeat a step that lost a race until it wins or its time is up; those that lost repeat it one after the other."""

from __future__ import annotations

import contextlib
import fcntl
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

FIRST_PAUSE_S = 0.004
"""About one `git update-ref`: the time a rival needs to be through."""
LONGEST_PAUSE_S = 0.25
WRITERS_QUEUE = "writers.lock"
"""The lock file of those who publish in a repository, below its `home`."""


def retried(step: Callable[[], T], *, transient: tuple[type[Exception], ...], queue: Path, limit_s: float = 60.0) -> T:
    """Return what `step` returns, repeating it while it raises one of `transient`; after `limit_s` let that out.

    `queue` is a lock file that only the losers wait at: of twenty rivals that all tried again at once, nineteen would
    lose again. Correctness does not hang on it, since others (git itself) move refs without asking.
    """
    deadline = time.monotonic() + limit_s
    with contextlib.suppress(*transient):
        return step()
    with _in_line(queue, deadline):
        for pause in _pauses():
            try:
                return step()
            except transient:
                if time.monotonic() >= deadline:
                    raise
            time.sleep(pause)
    raise AssertionError("pauses never end")


def _pauses() -> Iterator[float]:
    pause = FIRST_PAUSE_S
    while True:
        # Rivals that wait equally long meet again; a random share of the pause parts them.
        yield random.uniform(0, pause)
        pause = min(2 * pause, LONGEST_PAUSE_S)


@contextlib.contextmanager
def _in_line(queue: Path, deadline: float) -> Iterator[None]:
    """Wait for the lock, and go on without it at the deadline: its holder may be stopped."""
    queue.parent.mkdir(parents=True, exist_ok=True)
    with queue.open("a") as lock:
        for pause in _pauses():
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    break
            time.sleep(pause)
        yield
