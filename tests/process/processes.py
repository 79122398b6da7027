# SPDX-License-Identifier: Apache-2.0
"""Find processes by a mark on their command line."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

_numbers = itertools.count(1)


def mark() -> str:
    """Return an argument for `sleep` that no other process on this machine has: about ten minutes."""
    return f"600.{os.getpid()}{next(_numbers):04d}"


def alive(marked: str) -> list[int]:
    """Return every `sleep` that has the mark among its arguments and is no zombie."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (place / "cmdline").read_bytes().split(b"\0")
            state = (place / "stat").read_text().rpartition(")")[2].split()[0]
            # Who starts it is told the mark, too.
            if Path(os.fsdecode(words[0])).name == "sleep" and marked.encode() in words and state != "Z":
                found.append(int(place.name))
    return found


def gone(marked: str) -> bool:
    """Say whether no process with the mark is left; a killed one takes a moment to disappear."""
    return until(lambda: not alive(marked))


def until(condition: Callable[[], bool], *, within_s: float = 60.0) -> bool:
    """Say whether something came true in time; the machine may be busy, so the time is long."""
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def appeared(marked: str, *, within_s: float = 60.0) -> bool:
    """Say whether a process with the mark came to be."""
    return until(lambda: bool(alive(marked)), within_s=within_s)


@contextlib.contextmanager
def swept(marked: str) -> Iterator[str]:
    """End what is left with the mark after a test that failed."""
    try:
        yield marked
    finally:
        for pid in alive(marked):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
