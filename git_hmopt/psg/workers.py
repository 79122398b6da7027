# SPDX-License-Identifier: Apache-2.0
"""The processes that parse: one that crashes or hangs takes its unit along and nothing else."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as TaskTimeout
from multiprocessing.context import SpawnContext, SpawnProcess
from pathlib import Path
from typing import TypeVar

from pebble import ProcessExpired, ProcessPool

from git_hmopt.errors import ProgramError
from git_hmopt.psg import tasks
from git_hmopt.psg.compile_database import CompileCommand
from git_hmopt.psg.outline import Outline, outline
from git_hmopt.psg.tasks import Known, Parsed, Task

_FEW = 4

Result = TypeVar("Result")


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
                given = _answer(future, seconds)
                yield task, given
        finally:
            for _, future in futures:
                future.cancel()  # type: ignore[no-untyped-call]


def outlined(
    commands: Sequence[CompileCommand], unsaved: Mapping[str, bytes], *, seconds: float
) -> list[Outline | str]:
    """Parse files with some contents replaced, out of harm's way; return what each gave, or why it gave nothing."""
    if not commands:
        return []
    with ProcessPool(1, context=_Context()) as pool:
        futures = [pool.schedule(outline, args=(command, unsaved), timeout=seconds) for command in commands]
        return [_answer(future, seconds) for future in futures]


def _answer(future: Future[Result], seconds: float) -> Result | str:
    try:
        return future.result()
    except TaskTimeout:
        return f"libclang did not finish within {seconds:g} seconds"
    except ProcessExpired as error:
        return f"libclang crashed (exit {error.exitcode})"
    except ProgramError as error:
        return str(error)
