# SPDX-License-Identifier: Apache-2.0
"""A forge, a clone of its repository that is served, and the worker's handlers, step by step in this process."""

from __future__ import annotations

import contextlib
import re
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from git_hmopt.errors import HmoptError
from git_hmopt.store.queue import Draft, Job, Queue, State
from git_hmopt.store.repository import Repository
from hmopt_bot.delivery import KIND, Delivery
from hmopt_bot.pulls.handlers import Office
from hmopt_bot.pulls.job import MEASURE, TELL, MeasureJob, TellJob
from hmopt_bot.pulls.ledger import Ask, Ledger, Ledgers
from hmopt_bot.registration import registered
from hmopt_bot.work.outcome import Again, Done, Outcome
from tests.bot.desk.hub import REPOSITORY, Hub, forges_file, hub_of
from tests.loop.project import Project, configuration, files, make_project
from tests.store.repositories import Shell
from tests.store.servers import bare

PULL = 3


def project_with(directory: Path, **sections: Any) -> Project:
    """Make a trusted project with more sections in its configuration: `review` says when the bot speaks unasked."""
    contents = {**files(), ".hmopt.yaml": yaml.safe_dump({**configuration(), **sections})}
    return make_project(directory, contents=contents)


@dataclass
class World:
    """All of it."""

    hub: Hub
    project: Project
    office: Office
    queue: Queue
    outcomes: list[Outcome] = field(default_factory=list)

    # -- commits ------------------------------------------------------------------------------------------------------

    def commit(self, path: str = "lib/scan.c", old: str = "return NULL;", new: str = "return (void *)0;") -> str:
        """Return a commit on main's tip that the served clone has not: it is made in another clone and pushed."""
        author = self.project.root.parent / f"author-{uuid.uuid4().hex[:8]}"
        Shell(author.parent).git("clone", "-q", str(self.hub.git.cwd), str(author))
        shell = Shell(author)
        text = (author / path).read_text()
        assert old in text
        shell.write(path, text.replace(old, new))
        shell.git("-c", "user.name=Ada", "-c", "user.email=ada@example.org", "commit", "-qam", f"{path}: changed")
        commit = shell.git("rev-parse", "HEAD")
        shell.git("push", "-q", "origin", f"HEAD:refs/pushed/{commit}")
        return commit

    def open(self, number: int = PULL, commit: str | None = None, **more: Any) -> str:
        """Open a pull request and return its head."""
        made = commit or self.commit()
        self.hub.open(number, made, **more)
        return made

    # -- what happens -------------------------------------------------------------------------------------------------

    def hears(self, event: str, body: dict[str, Any], *, at: float | None = None) -> Outcome:
        """Have a delivery come in and be dealt with; return how that went."""
        id = str(uuid.uuid4())
        _, data = self.hub.delivery(event, body, id=id)
        now = time.time() if at is None else at
        kept = Delivery("github", event, id, now, data).to_bytes()
        number = body["number"] if event == "pull_request" else body.get("issue", {}).get("number", 0)
        self.queue.put(Draft(KIND, f"github/{id}", kept, f"github:{REPOSITORY}#{number}"))
        return self.works()[-1]

    def opened(self, number: int = PULL, action: str = "opened", *, at: float | None = None) -> Outcome:
        """Have it heard that something was done to a pull request, long before now unless said."""
        then = time.time() - 3600 if at is None else at
        return self.hears(*self.hub.pull_event(number, action), at=then)

    def says(self, body: str, *, by: str = "maintainer", number: int = PULL, at: float | None = None) -> Outcome:
        """Have somebody comment, and that be heard."""
        return self.hears(*self.hub.comment_event(self.hub.comment(number, body, by=by, at=at)), at=at)

    def works(self, *kinds: str) -> list[Outcome]:
        """Do the jobs that wait (deliveries and tellings, unless said); return how each went."""
        chosen = kinds or (KIND, TELL)
        handlers = self.office.talking()
        done: list[Outcome] = []
        while (job := self.queue.take("test", lease_s=60, kinds=chosen)) is not None:
            try:
                outcome = handlers[job.kind](job)
            except HmoptError as error:
                outcome = Again(0.0, str(error))
            if isinstance(outcome, Done):
                self.queue.done(job, reason=outcome.reason)
            else:
                self.queue.failed(job, outcome.reason, retry_at=None)
            done.append(outcome)
        self.outcomes += done
        return done

    def again(self) -> list[Outcome]:
        """Have the next worker do what one was killed at."""
        for job in self.queue.jobs(State.TAKEN):
            self.queue.release(job)
        return self.works()

    def measured(self, **found: Any) -> list[Outcome]:
        """Have the measurements that wait come to what is given, without measuring; return how telling it went."""
        for job in self.waiting():
            asked = MeasureJob.from_bytes(job.payload)
            done = asked.ask.model_copy(update={"status": "done", **found})
            tell = TellJob(webhook=asked.webhook, number=asked.number, ask=done)
            self.queue.put(Draft(TELL, tell.key, tell.to_bytes(), f"github:{REPOSITORY}#{asked.number}"))
            self.queue.done(self._taken(job))
        return self.works()

    def waiting(self) -> list[Job]:
        """Return the measurements that wait."""
        found = [job for job in self.queue.jobs(State.WAITING) if job.kind == MEASURE]
        return sorted(found, key=lambda job: job.id)

    def _taken(self, job: Job) -> Job:
        taken = self.queue.take("test", lease_s=60, kinds=[MEASURE])
        assert taken is not None and taken.id == job.id
        return taken

    # -- what is there then -------------------------------------------------------------------------------------------

    def ledger(self, number: int = PULL) -> Ledger:
        """Return what is known of a pull request."""
        return Ledgers(Repository.open(self.project.root).home / "serve/pulls/github").read(number)

    def ask(self, number: int = PULL) -> Ask:
        """Return the last thing that was asked for."""
        return self.ledger(number).asks[-1]

    def sticky(self, number: int = PULL) -> str:
        """Return the one comment that is edited in place."""
        found = [one for one in self.hub.below(number) if one.startswith("<!-- hmopt:pull -->")]
        assert len(found) == 1, found
        return found[0]

    def answer(self, number: int = PULL) -> str:
        """Return the last answer to a command."""
        return [one for one in self.hub.below(number) if re.match(r"<!-- hmopt:answer-\d+ -->", one)][-1]


@contextlib.contextmanager
def world_of(directory: Path, project: Project) -> Iterator[World]:
    """Make one below `directory`, whose served clone is `project`."""
    git = bare(directory / "forge/kernel/linux.git", Shell(project.root))
    with hub_of(directory / "forge", git) as hub, Queue(Repository.open(project.root).home / "serve") as queue:
        webhooks = registered(forges_file(directory, hub), Repository.open(project.root))
        yield World(hub, project, Office(project.root, queue, webhooks), queue)
