# SPDX-License-Identifier: Apache-2.0
"""What a worker does with jobs about pull requests: deliveries, measurements, and what came of them."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from git_hmopt.config.trust import TRUST_KEY
from git_hmopt.errors import CorruptRecordError, ExitCode, HmoptError
from git_hmopt.loop.lock import at_work
from git_hmopt.loop.standing import told as story_now
from git_hmopt.process.host import host_name
from git_hmopt.records.words import RunId
from git_hmopt.store.queue import Draft, Job, Queue
from git_hmopt.store.repository import Repository
from hmopt_bot.answer import read_answer
from hmopt_bot.delivery import KIND as DELIVERY
from hmopt_bot.delivery import Delivery
from hmopt_bot.forges.commands import WORD
from hmopt_bot.forges.errors import (
    AnswerError,
    ApiError,
    AuthenticationError,
    DeliveryError,
    MissingError,
    PermissionDeniedError,
    RateLimitedError,
    RejectedError,
    UnavailableError,
)
from hmopt_bot.forges.events import CheckEvent, CommentAction, CommentEvent, Event, PullRequestEvent
from hmopt_bot.forges.values import Comment, PullRequest, PullState
from hmopt_bot.pulls import wording
from hmopt_bot.pulls.access import Access
from hmopt_bot.pulls.desk import Desk, pulled
from hmopt_bot.pulls.job import MEASURE, TELL, MeasureJob, TellJob, subject_of
from hmopt_bot.pulls.ledger import Ask, Ledger, Reply
from hmopt_bot.pulls.orders import Orders, asked_in
from hmopt_bot.pulls.proposing import proposed
from hmopt_bot.registration import Registered
from hmopt_bot.work.job import RunJob, queue_directory
from hmopt_bot.work.outcome import Again, Dead, Done, Later, Outcome
from hmopt_bot.work.runs import BUSY_S, RETRY_S, Driver, driven

_LOG = logging.getLogger("hmopt.work")
_REFUSALS = (MissingError, PermissionDeniedError, RejectedError)
"""What the same request will be answered with again."""
_PAUSES_S = (15.0, 60.0, 300.0, 900.0)
_PATIENCE_S = 86_400.0
"""A forge that is not there, or does not take the token, is waited for so long: it rings once, and not again."""
_ANSWERS = (ExitCode.OK, ExitCode.NO, ExitCode.CANNOT_TEST)
_HOUR_S, _ANSWERS_AN_HOUR = 3600.0, 20
"""Comments below one pull request that are answered in an hour. Beyond, only who may write is: what the forge lets the
bot write in an hour must not be used up by a stranger who asks for help."""
_TOLD_AFTER = 3
"""Attempts after which whoever commanded is told that it does not work."""


@dataclass
class Office:
    """The webhooks of one repository, as a worker sees them."""

    place: Path
    queue: Queue
    webhooks: Mapping[str, Registered]
    access: Access = field(init=False)

    def __post_init__(self) -> None:
        self.access = Access(queue_directory(Repository.open(self.place)))

    def talking(self) -> dict[str, Callable[[Job], Outcome]]:
        """Return what does the jobs that take moments, by their kinds."""
        return {DELIVERY: self.delivered, TELL: self.told}

    def building(self) -> dict[str, Callable[[Job], Outcome]]:
        """Return what does those that take the build trees, for minutes or hours."""
        return {MEASURE: self.measured}

    # -- deliveries ---------------------------------------------------------------------------------------------------

    def delivered(self, job: Job) -> Outcome:
        """Do what follows from a delivery."""
        delivery = Delivery.from_bytes(job.payload)
        registered = self.webhooks.get(delivery.forge)
        if registered is None:
            return Dead(f"there is no webhook '{delivery.forge}' any more")
        try:
            event = registered.forge.event(delivery.event, delivery.body)
        except DeliveryError as error:
            return Dead(str(error))
        return self._spoken(registered, job, lambda desk: self._happened(desk, event, delivery, job))

    def _spoken(self, registered: Registered, job: Job, work: Callable[[Desk], str]) -> Outcome:
        """Do something that speaks to the forge, and say what its refusals mean for the job."""
        try:
            repository = Repository.open(self.place)
            forge = self.access.forge(registered)
            remote = self.access.remote(registered, forge)
            return Done(work(Desk(repository, self.queue, registered, forge, remote, self.access.speaker(registered))))
        except RateLimitedError as error:
            return Later(error.retry_at, str(error))
        except AuthenticationError as error:
            self.access.forget(registered)
            return _patient(job, error)
        except UnavailableError as error:
            return _patient(job, error)
        except AnswerError as error:
            return Again(time.time() + _PAUSES_S[min(job.attempts, len(_PAUSES_S)) - 1], str(error))
        except ApiError as error:
            return Dead(str(error))

    def _happened(self, desk: Desk, event: Event, delivery: Delivery, job: Job) -> str:
        match event:
            case PullRequestEvent():
                return pulled(desk, event, delivery.received)
            case CommentEvent(action=CommentAction.CREATED):
                return self._commented(desk, event, delivery, job)
            case CheckEvent():
                return self._rechecked(desk, event, delivery)
            case _:
                # An edited comment would change what had been asked, and heads are read when they are needed.
                return "nothing follows from it"

    def _commented(self, desk: Desk, event: CommentEvent, delivery: Delivery, job: Job) -> str:
        comment = event.comment
        if comment is None:
            try:
                comment = desk.speaker.ask(desk.forge.read_comment(desk.registered.repository, event.comment_id))
            except MissingError:
                return "the comment is gone"
        if comment.author.casefold() == desk.registered.login.casefold() or WORD not in comment.body.lower():
            return "no command"
        if event.comment is None and not desk.below(event.number, comment.id):
            return "the comment is below another pull request"
        pull = desk.pull(event.number)
        asked = asked_in(comment, pull.head.sha)
        if not asked:
            return "no command"
        try:
            ledger = before = desk.ledgers.read(pull.number)
        except CorruptRecordError as error:
            if job.attempts < _TOLD_AFTER:
                raise
            desk.answer(self._failed(Ledger(number=pull.number), comment, error), comment.id)
            return f"answered that it could not be done: {error}"
        if ledger.reply(comment.id) is None:
            orders = Orders(desk, pull, comment, ledger, delivery.received)
            if ledger.answered_since(delivery.received - _HOUR_S) >= _ANSWERS_AN_HOUR and not orders.may_write():
                return "answered nothing more in this hour to who may not write"
            try:
                ledger = orders.carried_out(asked)
            except HmoptError as error:
                if not self._told_now(error, job):
                    raise
                ledger = self._failed(orders.ledger, comment, error)
            if pull.state is PullState.OPEN:
                # The next comment is about this head, whether or not a delivery told of it.
                ledger = desk.seen(ledger, pull, delivery.received)
            desk.unwaited(before, ledger)
            desk.ledgers.write(ledger)
        desk.answer(ledger, comment.id)
        if ledger.asks and (pull.state is PullState.OPEN or any(one.withdrawn for one in ledger.asks)):
            desk.say(pull, ledger)
        return "answered"

    def _told_now(self, error: HmoptError, job: Job) -> bool:
        """Say whether to tell whoever commanded what went wrong, rather than to try it again."""
        if isinstance(error, _REFUSALS):
            return True
        return not isinstance(error, ApiError) and job.attempts >= _TOLD_AFTER

    def _failed(self, ledger: Ledger, comment: Comment, error: HmoptError) -> Ledger:
        part = f"This could not be done: {self._why(error)}"
        return ledger.with_reply(Reply(comment=comment.id, parts=(part,), at=time.time()))

    def _why(self, error: HmoptError) -> str:
        return wording.untrusted(self._public(str(error)))

    def _public(self, text: str) -> str:
        """Return an error as strangers may read it: no path of this host is theirs to know."""
        return text.replace(str(self.place.resolve()), "the repository").replace(str(Path.home()), "~")

    def _rechecked(self, desk: Desk, event: CheckEvent, delivery: Delivery) -> str:
        words = (event.external_id or "").split(":")
        if len(words) != 3 or words[0] != "hmopt" or not (words[1].isascii() and words[1].isdigit()):
            return "it is no check of ours"
        pull = desk.pull(int(words[1]))
        if words[2] != pull.head.sha:
            return "it is beside another head than that of now"
        ledger = desk.ledgers.read(pull.number)
        pressed = Comment(0, event.sender, "")
        orders = Orders(desk, pull, pressed, ledger, delivery.received)
        why = orders.pressed(f"r-{delivery.delivery}")
        if orders.ledger != ledger:
            desk.ledgers.write(orders.ledger)
            desk.say(pull, orders.ledger)
        return why

    # -- measurements -------------------------------------------------------------------------------------------------

    def measured(self, job: Job) -> Outcome:
        """Measure what somebody asked for, one thing at a time."""
        asked = MeasureJob.from_bytes(job.payload)
        repository = Repository.open(self.place)
        registered = self.webhooks.get(asked.webhook)
        if registered is None:
            return Dead(f"there is no webhook '{asked.webhook}' any more")
        one = asked.ask
        done: Ask | Outcome
        if job.attempts >= self.queue.bounds.attempts:
            # Its worker may have been killed each time. Whoever asked must not wait for a last attempt that is, too.
            why = self._public(job.reason or "its worker was ended each time that it was begun")
            done = one.model_copy(update={"status": "failed", "told": f"- {wording.untrusted(why)}"})
        elif one.kind == "check":
            if (holder := at_work(repository)) is not None:
                return Later(time.time() + BUSY_S, f"{holder} is using the build trees")
            done = self._checked(repository, registered, asked)
        else:
            done = self._optimized(repository, one)
        if not isinstance(done, Ask):
            return done
        tell = TellJob(webhook=asked.webhook, number=asked.number, ask=done)
        subject = subject_of(asked.webhook, registered.repository, asked.number)
        self.queue.put(Draft(TELL, tell.key, tell.to_bytes(), subject))
        return Done(done.status)

    def _checked(self, repository: Repository, registered: Registered, asked: MeasureJob) -> Ask | Outcome:
        one = asked.ask
        named = [word for name in one.workloads for word in ("--workload", name)]
        seeded = [] if one.seed is None else ["--seed", str(one.seed)]
        words = ["check", one.base, "--head", one.head, *named, *seeded]
        ended = driven(self.place, [*words, "--json", "--sandbox"])
        if ended.returncode < 0:
            return Again(time.time() + RETRY_S, f"it was cut: {ended.ending}")
        if ended.returncode not in _ANSWERS or not ended.output.strip():
            last = ended.errors.rstrip().rsplit(b"\n", 1)[-1].decode("utf-8", "replace")
            return one.model_copy(update={"status": "failed", "told": f"- {wording.untrusted(self._public(last))}"})
        found = read_answer(ended.output.decode("utf-8", "replace"))
        fetch = f"git fetch {registered.remote} {registered.forge.head_ref(asked.number)}"
        detail = wording.check_detail(
            found, commands=(fetch, "git hmopt " + " ".join(words)), host=host_name(),
            configuration=repository.config_get(TRUST_KEY) or "", raw=self._raw(repository, ended.output),
        )  # fmt: skip
        told = wording.check_told(found)
        return one.model_copy(update={"status": "done", "answer": found.answer, "told": told, "detail": detail})

    def _raw(self, repository: Repository, answer: bytes) -> str:
        """Keep what was answered, all of it, and return its hash: who doubts what is told can ask for it."""
        digest = hashlib.sha256(answer).hexdigest()
        place = queue_directory(repository) / "answers"
        place.mkdir(parents=True, exist_ok=True, mode=0o700)
        (place / f"{digest}.json").write_bytes(answer)
        return digest

    def _optimized(self, repository: Repository, one: Ask) -> Ask | Outcome:
        asked = RunJob(run=one.run or "", workload=one.workloads[0], base=one.head, seed=one.seed, confined=True)
        outcome = Driver(self.place).drive(asked)
        if isinstance(outcome, Dead):
            said = wording.untrusted(self._public(outcome.reason))
            return one.model_copy(update={"status": "failed", "told": f"- {said}"})
        if not isinstance(outcome, Done):
            return outcome
        story = story_now(repository, RunId(asked.run))
        return one.model_copy(update={"status": "done", "told": wording.run_told(story)})

    # -- what came of them --------------------------------------------------------------------------------------------

    def told(self, job: Job) -> Outcome:
        """Say what came of a measurement, and propose what was found when that was asked for."""
        found = TellJob.from_bytes(job.payload)
        registered = self.webhooks.get(found.webhook)
        if registered is None:
            return Dead(f"there is no webhook '{found.webhook}' any more")
        return self._spoken(registered, job, lambda desk: self._tell(desk, found, job))

    def _tell(self, desk: Desk, found: TellJob, job: Job) -> str:
        ledger = desk.ledgers.read(found.number)
        known = ledger.ask(found.ask.id)
        if known is None or known.status in ("stopped", "outdated"):
            return "nobody waits for it any more"
        pull = desk.pull(found.number)
        if known.status == "waiting":
            one = found.ask.model_copy(update={"propose": known.propose, "by": known.by})
            if one.propose and one.status == "done":
                one = one.model_copy(update={"told": self._proposed(desk, pull, one, job)})
            ledger = ledger.with_ask(one)
            desk.ledgers.write(ledger)
        if pull.state is PullState.OPEN:
            desk.say(pull, ledger)
        for reply in ledger.replies:
            if f"ask:{found.ask.id}" in reply.parts:
                desk.answer(ledger, reply.comment)
        return found.ask.status

    def _proposed(self, desk: Desk, pull: PullRequest, one: Ask, job: Job) -> str:
        """Propose what a run found, and return what came of it: also why it cannot be proposed."""
        if pull.state is not PullState.OPEN:
            return f"{one.told}\n\n`/hmopt propose`: not done. The pull request is no longer open."
        try:
            return proposed(desk, pull, one, asked_by=one.by)
        except HmoptError as error:
            if not self._told_now(error, job):
                raise
            return f"{one.told}\n\n`/hmopt propose`: not done. {self._why(error)}"


def _patient(job: Job, error: ApiError) -> Outcome:
    """Wait for a forge, as long again as was waited already."""
    now = time.time()
    waited = now - job.created
    if waited > _PATIENCE_S:
        return Dead(str(error))
    _LOG.warning("job %s (%s) waits: %s", job.id, job.kind, error)
    return Later(now + min(max(waited, _PAUSES_S[0]), _PAUSES_S[-1]), str(error))
