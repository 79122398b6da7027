# SPDX-License-Identifier: Apache-2.0
"""`python -m hmopt_bot.worker PARENT DIRECTORY ROLE [FORGES]`: do what the queue of a repository says.

`builds` drives runs and measures, for hours; `talks` deals with what forges deliver and tells what came of it, which
must not wait for that: a `/hmopt stop` least of all. `FORGES` is the file of the webhooks; without it runs are all.
"""

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from git_hmopt.store.queue import Job, Queue
from git_hmopt.store.repository import Repository
from hmopt_bot.pulls.handlers import Office
from hmopt_bot.registration import registered
from hmopt_bot.work.job import KIND, queue_directory
from hmopt_bot.work.outcome import Outcome
from hmopt_bot.work.parent import end_with
from hmopt_bot.work.role import BUILDS
from hmopt_bot.work.runs import Driver
from hmopt_bot.work.worker import Worker


def main(words: list[str]) -> int:
    """Work for the server `PARENT` in `DIRECTORY`."""
    parent, place, role = int(words[0]), Path(words[1]), words[2]
    logging.basicConfig(stream=sys.stderr, format="git hmopt: worker: %(message)s", level=logging.INFO)
    repository = Repository.open(place)
    handlers: dict[str, Callable[[Job], Outcome]] = {KIND: Driver(place)} if role == BUILDS else {}
    with Queue(queue_directory(repository)) as queue:
        if len(words) > 3:
            office = Office(place, queue, registered(Path(words[3]), repository))
            handlers |= office.building() if role == BUILDS else office.talking()
        worker = Worker(queue, handlers)
        signal.signal(signal.SIGTERM, lambda *_: worker.end())
        # A terminal's Ctrl-C reaches the server too, which ends us.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        end_with(parent, signal.SIGTERM)
        worker.work()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
