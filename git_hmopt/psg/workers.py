# SPDX-License-Identifier: Apache-2.0
"""The processes that parse: one that crashes or hangs takes its unit along and nothing else."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import TimeoutError as TaskTimeout
from multiprocessing.context import SpawnContext, SpawnProcess

import pebble
from pebble import ProcessExpired, ProcessPool

from git_hmopt.errors import ProgramError
from git_hmopt.psg import tasks
from git_hmopt.psg.tasks import Known, Parsed, Task

# What a worker gets to end by itself when the pool is stopped: it holds nothing that would have to be saved.
pebble.CONSTS.term_timeout = 0.3


class _Worker(SpawnProcess):
    """A process that is born deaf to Ctrl-C: until pebble makes it so, it would print a traceback."""

    def start(self) -> None:
        """Start it; what it inherits is blocked for the moment of the birth."""
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            super().start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _Context(SpawnContext):
    Process = _Worker


def worked(todo: Sequence[Task], known: Known, *, workers: int, seconds: float) -> Iterator[tuple[Task, Parsed | str]]:
    """Yield each task with what it gave, or with why it gave nothing, in the order of the tasks."""
    if not todo:
        return
    count = max(1, min(workers, len(todo)))
    with ProcessPool(count, context=_Context(), initializer=tasks.begin, initargs=(known,)) as pool:
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
