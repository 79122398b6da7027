# SPDX-License-Identifier: Apache-2.0
"""A worker over a real queue: handlers that fail, leases, jobs that are overtaken, and an end amid one."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from git_hmopt.errors import CorruptRecordError, StoreError
from git_hmopt.process.runner import Limits, run
from git_hmopt.store.queue import Bounds, Draft, Job, Queue, State
from hmopt_bot.work.job import KIND, RunJob
from hmopt_bot.work.outcome import Again, Dead, Done, Later, Outcome
from hmopt_bot.work.worker import Handler, Worker

KINDS = "thing"


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[Queue]:
    with Queue(tmp_path / "queue", bounds=Bounds(attempts=3)) as found:
        yield found


def draft(key: str, **more: bool) -> Draft:
    return Draft(KINDS, key, b"payload", "subject", **more)


def ended(queue: Queue, handler: Handler, *, when: Callable[[], bool], lease_s: float = 9.0) -> Worker:
    """Have a worker work until something holds, then end it."""
    worker = Worker(queue, {KINDS: handler}, lease_s=lease_s, poll_s=0.01)
    thread = threading.Thread(target=worker.work)
    thread.start()
    deadline = time.monotonic() + 20
    while not when() and time.monotonic() < deadline:
        time.sleep(0.01)
    held = when()
    worker.end()
    thread.join(20)
    assert held and not thread.is_alive()
    return worker


def state(queue: Queue, key: str) -> tuple[State, str | None]:
    job = queue.find(KINDS, key)
    assert job is not None
    return job.state, job.reason


def raising(error: Exception) -> Handler:
    def handler(job: Job) -> Outcome:
        raise error

    return handler


def test_a_defect_is_a_dead_letter_and_the_worker_goes_on(queue: Queue) -> None:
    queue.put_all([draft("bad"), draft("good")])

    def handler(job: Job) -> Outcome:
        if job.key == "bad":
            raise ZeroDivisionError("in /a/secret/place")
        return Done("as asked")

    ended(queue, handler, when=lambda: queue.counts()[State.DONE] == 1)
    assert state(queue, "bad") == (State.DEAD, "a defect: ZeroDivisionError; the log of the worker has it")
    assert state(queue, "good") == (State.DONE, "as asked")


def test_an_error_of_ours_is_tried_again_later(queue: Queue) -> None:
    queue.put(draft("a"))
    ended(queue, raising(StoreError("no space")), when=lambda: state(queue, "a")[1] == "no space")
    job = queue.find(KINDS, "a")
    assert job is not None and (job.state, job.attempts) == (State.WAITING, 1)
    assert 3 < job.due - time.time() <= 5


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [(Done("so"), (State.DONE, "so")), (Dead("no"), (State.DEAD, "no")), (Done(), (State.DONE, None))],
)
def test_what_a_handler_says(queue: Queue, outcome: Outcome, expected: tuple[State, str | None]) -> None:
    queue.put(draft("a"))
    ended(queue, lambda job: outcome, when=lambda: state(queue, "a")[0].ended)
    assert state(queue, "a") == expected


def test_failures_end_as_a_dead_letter(queue: Queue) -> None:
    queue.put(draft("a"))
    ended(queue, lambda job: Again(0.0, f"attempt {job.attempts}"), when=lambda: state(queue, "a")[0].ended)
    assert state(queue, "a") == (State.DEAD, "attempt 3")


def test_later_is_no_attempt(queue: Queue) -> None:
    queue.put(draft("a"))
    tries: list[int] = []

    def handler(job: Job) -> Outcome:
        tries.append(job.attempts)
        return Done() if len(tries) == 10 else Later(0.0, "busy")

    ended(queue, handler, when=lambda: state(queue, "a")[0].ended)
    assert tries == [1] * 10


def test_a_lease_is_renewed_while_the_job_lasts(queue: Queue) -> None:
    queue.put(draft("a"))
    begun = threading.Event()
    stolen: list[Job] = []

    def handler(job: Job) -> Outcome:
        begun.set()
        time.sleep(1.0)
        return Done()

    def nobody_else() -> bool:
        if begun.is_set() and (job := queue.take("other", lease_s=1, kinds=[KINDS])) is not None:
            stolen.append(job)
        return state(queue, "a")[0].ended

    ended(queue, handler, when=nobody_else, lease_s=0.6)
    assert not stolen


def sleeping(seconds: list[float]) -> Handler:
    """Return a handler that runs a program for a minute, and notes how long that was."""

    def handler(job: Job) -> Outcome:
        if job.key == "new":
            return Done()
        finished = run(["sleep", "60"], limits=Limits(wall_s=70))
        seconds.append(finished.wall_s)
        return Again(time.time(), finished.ending)

    return handler


def test_an_overtaken_job_is_ended_with_its_program(queue: Queue) -> None:
    queue.put(draft("old"))
    seconds: list[float] = []

    def overtaken() -> bool:
        if state(queue, "old")[0] is State.TAKEN:
            queue.put(draft("new", supersedes=True))
        found = queue.find(KINDS, "new")
        return found is not None and found.state is State.DONE

    ended(queue, sleeping(seconds), when=overtaken, lease_s=0.6)
    assert state(queue, "old") == (State.SUPERSEDED, "SIGHUP")
    assert len(seconds) == 1 and seconds[0] < 15


def test_who_ends_amid_a_job_gives_it_back(queue: Queue) -> None:
    queue.put(draft("old"))
    seconds: list[float] = []
    ended(queue, sleeping(seconds), when=lambda: state(queue, "old")[0] is State.TAKEN)
    job = queue.find(KINDS, "old")
    assert job is not None and (job.state, job.attempts, job.due) == (State.WAITING, 0, 0.0)
    assert len(seconds) == 1 and seconds[0] < 15


def test_a_job_of_another_version_is_said() -> None:
    for payload in (
        b"",
        b"{}",
        b"[]",
        b'{"v": 2, "run": "x", "workload": "y"}',
        b'{"v":1,"run":"x","workload":"y","z":1}',
    ):
        with pytest.raises(CorruptRecordError, match="the job cannot be read"):
            RunJob.from_bytes(payload)
    job = RunJob(run="20260131-x-0a1b2c", workload="x", iterations=0, seed=7)
    assert RunJob.from_bytes(job.to_bytes()) == job and KIND == "run"
    assert job.begin() == [
        *("optimize", "--name", "20260131-x-0a1b2c", "--workload", "x", "--allow-dirty"),
        *("--iterations", "0", "--seed", "7"),
    ]
