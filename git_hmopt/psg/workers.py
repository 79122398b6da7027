# SPDX-License-Identifier: Apache-2.0
"""The processes that parse: one that crashes or hangs takes its unit along and nothing else."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import TimeoutError as TaskTimeout
from multiprocessing.context import SpawnContext, SpawnProcess
from pathlib import Path

from pebble import ProcessExpired, ProcessPool

from git_hmopt.errors import ProgramError
from git_hmopt.psg import tasks
from git_hmopt.psg.tasks import Known, Parsed, Task

_FEW = 4


class _Worker(SpawnProcess):
    """A process that is born deaf to Ctrl-C, and mute.

    Until pebble makes it deaf it would answer with a traceback; one that is born as the pool ends, and libclang when it
    crashes, print theirs. What went wrong is known here, and told in our words.
    """

    def start(self) -> None:
        """Start it: a signal that is blocked, and the place that errors go to, are inherited."""
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        errors, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(nowhere, 2)
            super().start()
        finally:
            os.dup2(errors, 2)
            os.close(errors)
            os.close(nowhere)
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _Context(SpawnContext):
    Process = _Worker


def worked(todo: Sequence[Task], known: Known, *, workers: int, seconds: float) -> Iterator[tuple[Task, Parsed | str]]:
    """Yield each task with what it gave, or with why it gave nothing, in the order of the tasks."""
    if not todo:
        return
    # A second process would hardly have begun when a few units are parsed.
    count = max(1, min(workers, len(todo) // _FEW))
    with (
        tempfile.NamedTemporaryFile(prefix="hmopt-spoken-") as told,
        ProcessPool(count, context=_Context(), initializer=tasks.begin, initargs=(known, Path(told.name))) as pool,
    ):
        futures = [(task, pool.schedule(tasks.work, args=(task,), timeout=seconds)) for task in todo]
        try:
            for task, future in futures:
                try:
                    yield task, future.result()
                except TaskTimeout:
                    yield task, f"libclang did not finish within {seconds:g} seconds"
                except ProcessExpired as error:
                    yield task, f"libclang crashed (exit {error.exitcode})"
                except ProgramError as error:
                    yield task, str(error)
        finally:
            for _, future in futures:
                future.cancel()  # type: ignore[no-untyped-call]
