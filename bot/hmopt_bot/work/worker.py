# SPDX-License-Identifier: Apache-2.0
"""Take jobs of a repository's queue and do them, until told to end.

A job is kept by a lease that a thread renews; who is killed renews nothing, and the next worker has the job. SIGTERM
ends what runs as a closed terminal would, gives the job back, and ends the worker.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from git_hmopt.errors import HmoptError, StoreError
from git_hmopt.process.runner import kill_live, live_children
from git_hmopt.store.queue import Job, LeaseLostError, Queue, State
from hmopt_bot.work.outcome import Again, Dead, Done, Later, Outcome

Handler = Callable[[Job], Outcome]
_LOG = logging.getLogger("hmopt.work")
_GRACE_S = 10.0
"""What a program may take to end before it is killed."""
_PAUSES_S = (5.0, 30.0, 120.0, 600.0)
"""Until the next attempt after an error of ours, by the attempts there were."""


@dataclass
class Worker:
    """Does jobs one after the other."""

    queue: Queue
    handlers: Mapping[str, Handler]
    """By the kinds of jobs."""
    lease_s: float = 9.0
    poll_s: float = 0.5
    name: str = field(default_factory=lambda: f"{socket.gethostname()}:{os.getpid()}")
    ending: threading.Event = field(default_factory=threading.Event)
    ended: threading.Event = field(default_factory=threading.Event)

    def work(self) -> None:
        """Do jobs until `end`."""
        while not self.ending.is_set():
            try:
                job = self.queue.take(self.name, lease_s=self.lease_s, kinds=self.handlers)
            except StoreError as error:
                _LOG.error("%s", error)
                self.ending.wait(10 * self.poll_s)
                continue
            if job is None:
                self.ending.wait(self.poll_s)
            else:
                self._do(job)
        self.ended.set()

    def end(self) -> None:
        """Take no more jobs, and end what runs; safe in a signal handler."""
        self.ending.set()
        hang_up(self.ended)

    def _do(self, job: Job) -> None:
        try:
            with self._kept(job):
                outcome = self._outcome(job)
            self._told(job, outcome)
        except LeaseLostError as error:
            # Whatever was done, it is made so that doing it twice changes nothing.
            _LOG.warning("%s", error)
        except StoreError as error:
            # It stays taken until its lease ends, and is taken again then.
            _LOG.error("%s", error)

    def _outcome(self, job: Job) -> Outcome:
        try:
            return self.handlers[job.kind](job)
        except HmoptError as error:
            return Again(time.time() + _PAUSES_S[min(job.attempts, len(_PAUSES_S)) - 1], str(error))
        except Exception as error:  # noqa: BLE001 - a defect in one job must not end the worker, which others wait for
            _LOG.exception("job %s (%s)", job.id, job.kind)
            return Dead(f"a defect: {type(error).__name__}; the log of the worker has it")

    def _told(self, job: Job, outcome: Outcome) -> None:
        match outcome:
            case Done(reason):
                self.queue.done(job, reason=reason)
            case Later(at, _):
                self.queue.release(job, due=at)
            case Again() if self.ending.is_set():
                # It was us who ended it.
                self.queue.release(job)
            case Again(at, reason):
                if self.queue.failed(job, reason, retry_at=at) is State.DEAD:
                    _LOG.error("job %s (%s) is given up: %s", job.id, job.kind, reason)
            case Dead(reason):
                self.queue.failed(job, reason, retry_at=None)

    @contextlib.contextmanager
    def _kept(self, job: Job) -> Iterator[None]:
        """Renew the lease meanwhile; end what runs when the job is nobody's any more, or another's."""
        over = threading.Event()

        def renew() -> None:
            while not over.wait(self.lease_s / 3):
                try:
                    wanted = self.queue.extend(job, lease_s=self.lease_s)
                except LeaseLostError:
                    wanted = False
                except StoreError as error:
                    _LOG.error("%s", error)
                    continue
                if not wanted:
                    hang_up(over)
                    return

        thread = threading.Thread(target=renew, name="lease", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


def hang_up(until: threading.Event) -> None:
    """End the programs that run as a closed terminal would, and kill those that do not end; safe in a signal handler.

    Until the event is set, since a program may just be being started.
    """

    def end() -> None:
        deadline = time.monotonic() + _GRACE_S
        while not until.is_set():
            if time.monotonic() > deadline:
                kill_live()
            for group in live_children():
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(group, signal.SIGHUP)
            until.wait(0.2)

    threading.Thread(target=end, name="hang up", daemon=True).start()
