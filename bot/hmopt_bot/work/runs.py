# SPDX-License-Identifier: Apache-2.0
"""Drive a run that the queue asks for: begin it, or go on with it where a killed worker left it."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from git_hmopt.errors import ExitCode
from git_hmopt.loop.lock import at_work
from git_hmopt.loop.standing import told
from git_hmopt.process.runner import Finished, Limits, run
from git_hmopt.records.words import RunId, RunStatus, journals_of
from git_hmopt.store.queue import Job
from git_hmopt.store.repository import Repository
from hmopt_bot.work.job import RunJob, queue_directory
from hmopt_bot.work.outcome import Again, Dead, Done, Later, Outcome

BUSY_S = 10.0
"""How long a run waits that found the build trees taken."""
RETRY_S = 30.0
_MOST_S = 14 * 86_400.0
"""A run has its own budget; this is for one that hangs."""
_CLOSED = frozenset(str(status) for status in RunStatus if status.closed)


@dataclass(frozen=True)
class Driver:
    """Drives runs of the repository in `place`."""

    place: Path

    def __call__(self, job: Job) -> Outcome:
        """Do the job and say how it went."""
        return self.drive(RunJob.from_bytes(job.payload))

    def drive(self, asked: RunJob) -> Outcome:
        """Begin a run, or go on with it, and say how it went."""
        name = RunId(asked.run)
        repository = Repository.open(self.place)
        began = bool(repository.list_refs(journals_of(name)))
        if began and (status := told(repository, name).status) in _CLOSED:
            return Done(f"the run is closed: {status}")
        if (holder := at_work(repository)) is not None:
            return Later(time.time() + BUSY_S, f"{holder} is using the build trees")
        words = asked.go_on() if began else asked.begin()
        ended = driven(self.place, words, log=queue_directory(repository) / f"{name}.log")
        return self._judged(repository, name, ended)

    def _judged(self, repository: Repository, name: RunId, ended: Finished) -> Outcome:
        """Say what the end of the command means, by what the journals tell: exit codes know less."""
        last = ended.output.rstrip().rsplit(b"\n", 1)[-1].decode("utf-8", "replace")
        if not repository.list_refs(journals_of(name)):
            if ended.returncode < 0 or at_work(repository) is not None:
                return Again(time.time() + RETRY_S, f"it ended before it began: {ended.ending}")
            return Dead(last or f"it was refused: {ended.ending}")
        story = told(repository, name)
        if story.status in _CLOSED:
            return Done(story.status_reason or story.status)
        if ended.returncode in (ExitCode.USAGE, ExitCode.CANNOT_TEST):
            return Dead(last)
        return Again(time.time() + RETRY_S, f"{ended.ending}: {last}" if ended.returncode > 0 else ended.ending)


def driven(place: Path, words: Sequence[str], *, log: Path | None = None) -> Finished:
    """Run our own command in `place`, as its operator would call it, and return how it ended; it ends when we do.

    Without a log its output is kept, apart from what it says to standard error.
    """
    return run(
        [sys.executable, "-m", "hmopt_bot.work.driven", str(os.getpid()), *words],
        cwd=place,
        # It builds the environment of what it starts itself.
        environment=dict(os.environ),
        limits=Limits(wall_s=_MOST_S),
        log=log,
        keep_output=log is None,
        split_errors=log is None,
    )
