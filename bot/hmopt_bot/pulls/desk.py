# SPDX-License-Identifier: Apache-2.0
"""Where one webhook's pull requests are dealt with: what is known of them, and what is said."""

from __future__ import annotations

import contextlib
import fnmatch
import time
from collections.abc import Sequence
from dataclasses import dataclass

from git_hmopt.config.schema import Config
from git_hmopt.loop.configuration import Configuration, trusted
from git_hmopt.loop.structure import changes_between
from git_hmopt.records.words import Oid
from git_hmopt.store.forge_remote import ForgeRemote
from git_hmopt.store.queue import Draft, Queue, State
from git_hmopt.store.repository import Repository
from hmopt_bot.forges.errors import MissingError, PermissionDeniedError, RejectedError
from hmopt_bot.forges.events import PullRequestEvent
from hmopt_bot.forges.forge import Forge
from hmopt_bot.forges.values import CheckRun, PullRequest, PullState
from hmopt_bot.pulls import wording
from hmopt_bot.pulls.fetching import Sides, brought, fetched, forgotten
from hmopt_bot.pulls.impact import StaticImpact, static_impact
from hmopt_bot.pulls.impact_text import impact_annotations, impact_markdown, impact_title
from hmopt_bot.pulls.job import MEASURE, TELL, MeasureJob
from hmopt_bot.pulls.ledger import Ask, Ledger, Ledgers
from hmopt_bot.pulls.posts import Posts
from hmopt_bot.pulls.speaking import Speaker
from hmopt_bot.registration import Registered
from hmopt_bot.work.job import SUBJECT

CHECK = "hmopt"
STICKY = "pull"


@dataclass(frozen=True)
class Desk:
    """One webhook's pull requests, with everything that it takes to deal with them."""

    repository: Repository
    queue: Queue
    registered: Registered
    forge: Forge
    remote: ForgeRemote
    speaker: Speaker

    @property
    def name(self) -> str:
        """Return the webhook's name."""
        return self.registered.name

    @property
    def ledgers(self) -> Ledgers:
        """Return what is known of its pull requests."""
        return Ledgers(self.repository.home / "serve" / "pulls" / self.name)

    @property
    def posts(self) -> Posts:
        """Return the way to write."""
        return Posts(self.forge, self.registered.repository, self.registered.login, self.speaker)

    def configuration(self) -> Configuration:
        """Return the configuration that was trusted here: no pull request's has a say."""
        return trusted(self.repository)

    def config(self) -> Config:
        """Return what it says."""
        return self.configuration().loaded.config

    # -- what is known ------------------------------------------------------------------------------------------------

    def pull(self, number: int) -> PullRequest:
        """Read a pull request as it is now: deliveries come late, doubled and in any order."""
        return self.speaker.ask(self.forge.read_pull(self.registered.repository, number))

    def below(self, number: int, comment: int) -> bool:
        """Say whether a comment is below that pull request: where no signature covers it, a hook may say any number."""
        listed = self.speaker.every(self.forge.list_comments(self.registered.repository, number))
        return any(one.id == comment for one in listed)

    def seen(self, ledger: Ledger, pull: PullRequest, at: float) -> Ledger:
        """Return a ledger that knows the pull request's head, first seen `at`; what waited for another one is moot."""
        ledger = self._given_up(ledger)
        if pull.state is not PullState.OPEN:
            forgotten(self.repository, self.name, pull.number)
            return self.ended(ledger, "outdated")
        # While a delivery waited, a stranger may have pushed: their head is known since it was read, and no earlier.
        since = max(at, time.time()) if pull.is_fork else at
        if ledger.head == pull.head.sha:
            return ledger.model_copy(update={"head_since": min(ledger.head_since, since)})
        moved = self.ended(ledger, "outdated")
        return moved.model_copy(update={"head": pull.head.sha, "head_since": since})

    def _given_up(self, ledger: Ledger) -> Ledger:
        """Return a ledger in which nothing waits for jobs that the queue gave up."""
        for one in ledger.asks:
            if one.status != "waiting":
                continue
            key = f"{self.name}/{ledger.number}/{one.id}"
            # What was measured, and could not be told, has ended as a measurement.
            job = self.queue.find(TELL, key) or self.queue.find(MEASURE, key)
            if job is not None and job.state is State.DEAD:
                told = "- It failed too often and was given up; the log of the server says why."
                ledger = ledger.with_ask(one.model_copy(update={"status": "failed", "told": told}))
        return ledger

    def ended(self, ledger: Ledger, how: str) -> Ledger:
        """End whatever waits or runs for a pull request."""
        if any(one.status == "waiting" for one in ledger.asks):
            self.queue.overtake(MEASURE, f"{self.name}/{ledger.number}/")
        return ledger.ending("stopped" if how == "stopped" else "outdated")

    # -- what is said -------------------------------------------------------------------------------------------------

    def say(self, pull: PullRequest, ledger: Ledger, impact: StaticImpact | None = None) -> None:
        """Write the comment and the check run as the ledger has it."""
        body = wording.sticky(ledger, self.ledgers.taken_back())
        news = self.posts.comment(pull.number, STICKY, body)
        if ledger.head is None:
            return
        conclusion, title = wording.conclusion(ledger)
        annotations = impact_annotations(impact) if impact is not None else ()
        check = CheckRun(
            CHECK, ledger.head, f"hmopt:{pull.number}:{ledger.head}", title, body, conclusion, "", annotations
        )
        self.posts.check(pull.number, check, anew=news or impact is not None)

    def answer(self, ledger: Ledger, comment: int) -> None:
        """Write, or edit, the answer below a comment with commands."""
        reply = ledger.reply(comment)
        if reply is None:
            return
        parts = []
        for part in reply.parts:
            one = ledger.ask(part.removeprefix("ask:")) if part.startswith("ask:") else None
            parts.append(wording.progress(one) if one is not None else part.removeprefix("ask:"))
        self.posts.comment(ledger.number, f"answer-{comment}", "\n\n".join(parts))

    def unwaited(self, before: Ledger, ledger: Ledger) -> None:
        """Edit the answers that say that something waits which does not any more.

        Before the ledger is written: who is killed finds the difference again.
        """
        ended = {f"ask:{one.id}" for one in before.asks if one.status == "waiting"}
        ended -= {f"ask:{one.id}" for one in ledger.asks if one.status == "waiting"}
        for reply in ledger.replies:
            if ended & set(reply.parts):
                # Where nobody may write any more, nobody is misled for long.
                with contextlib.suppress(PermissionDeniedError, MissingError, RejectedError):
                    self.answer(ledger, reply.comment)

    # -- what is done -------------------------------------------------------------------------------------------------

    def sides(self, pull: PullRequest) -> Sides:
        """Fetch both sides into the mirror."""
        return fetched(self.repository, self.remote, self.name, pull, head_ref=self.forge.head_ref(pull.number))

    def impact(self, sides: Sides) -> StaticImpact:
        """Return what the change touches."""
        changes = changes_between(sides.mirror, sides.base, sides.head)
        return static_impact(self.repository, changes, base=sides.base, head=sides.head)

    def measure(self, ledger: Ledger, asks: Sequence[Ask], sides: Sides) -> Ledger:
        """Have things measured: their code is brought to where it can be built, and they wait for their turn."""
        brought(self.repository, sides, self.name, ledger.number)
        for one in asks:
            if ledger.ask(one.id) is None:
                ledger = ledger.with_ask(one)
        # A kill between the two leaves what waits for nothing; this job is done again and puts it.
        self.ledgers.write(ledger)
        for one in asks:
            self.queued(ledger, one)
        return ledger

    def queued(self, ledger: Ledger, one: Ask) -> None:
        """Have something wait for its turn on the build trees; put twice it is there once."""
        job = MeasureJob(webhook=self.name, number=ledger.number, ask=one)
        self.queue.put(Draft(MEASURE, job.key, job.to_bytes(), SUBJECT))


# -- what happened ----------------------------------------------------------------------------------------------------


def pulled(desk: Desk, event: PullRequestEvent, at: float) -> str:
    """Deal with a pull request that was opened, pushed to, labelled, closed; return what was done."""
    pull = desk.pull(event.number)
    before = desk.ledgers.read(pull.number)
    ledger = desk.seen(before, pull, at)
    if ledger != before:
        desk.unwaited(before, ledger)
        desk.ledgers.write(ledger)
    if pull.state is not PullState.OPEN:
        return "it is no longer open"
    if not _wanted(desk, pull):
        return "nobody asked"
    workloads = () if pull.is_fork else desk.config().review.workloads
    # Closed, and opened again: what was ended meanwhile is measured.
    measured = not workloads or ledger.ask(_gate(ledger, pull.head.sha)) is not None
    if ledger.said_of == pull.head.sha and measured:
        return "its head was spoken of"
    sides = desk.sides(pull)
    if sides.head != pull.head.sha:
        return "it was pushed to meanwhile"
    impact = desk.impact(sides)
    if workloads:
        one = Ask(
            id=_gate(ledger, sides.head),
            kind="check",
            by="",
            base=sides.base,
            head=sides.head,
            note=sides.note,
            workloads=workloads,
        )
        ledger = desk.measure(ledger, [one], sides)
    told = "\n\n".join([impact_markdown(impact), *([f"Of the base: {sides.note}."] if sides.note else [])])
    ledger = ledger.model_copy(update={"said_of": sides.head, "impact": told, "title": impact_title(impact)})
    desk.say(pull, ledger, impact)
    # Last: who is killed before says it again.
    desk.ledgers.write(ledger)
    return "said what it touches"


def _gate(ledger: Ledger, head: Oid) -> str:
    """Return the id of what is measured unasked: one that was ended when a head went is another when it is back."""
    ended = sum(one.id.startswith(f"gate-{head}") and one.status == "outdated" for one in ledger.asks)
    return f"gate-{head}-{ended}" if ended else f"gate-{head}"


def _wanted(desk: Desk, pull: PullRequest) -> bool:
    """Say whether the configuration has us speak without being asked."""
    review = desk.config().review
    if review.label is not None and review.label in pull.labels:
        return True
    if not review.paths:
        return False
    files = desk.speaker.every(desk.forge.list_files(desk.registered.repository, pull.number))
    paths = {path for file in files for path in (file.path, file.previous) if path}
    return any(fnmatch.fnmatchcase(path, pattern) for path in paths for pattern in review.paths)
