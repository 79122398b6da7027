# SPDX-License-Identifier: Apache-2.0
"""What `/hmopt` commands do. Each is answered, those that are refused included."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass

from git_hmopt.config.explain import unknown
from git_hmopt.loop.configuration import other_than_trusted
from git_hmopt.loop.standing import told
from git_hmopt.process.sandbox import sandbox_missing
from git_hmopt.records.words import Oid, RunId
from git_hmopt.report.markup import code
from git_hmopt.store.review import retract
from hmopt_bot.forges.commands import Asked, Command, Kind, Misunderstood, commands, help_text
from hmopt_bot.forges.values import Comment, Permission, PullRequest, PullState, epoch
from hmopt_bot.pulls import wording
from hmopt_bot.pulls.desk import Desk
from hmopt_bot.pulls.fetching import Sides
from hmopt_bot.pulls.ledger import Ask, Ledger, Reply, Withdrawal
from hmopt_bot.pulls.proposing import proposed, report

_FREE = frozenset({Kind.HELP, Kind.EXPLAIN})
"""What anybody may ask who can comment; all else takes the right to write."""
_ABOUT_HEAD = frozenset({Kind.CHECK, Kind.OPTIMIZE, Kind.PROPOSE, Kind.RERUN})
_SURE_S = 10.0
"""A fork's head that we know for less than that before a comment may not be the one that its author saw."""


@dataclass
class Orders:
    """The commands of one comment below one pull request."""

    desk: Desk
    pull: PullRequest
    comment: Comment
    ledger: Ledger
    at: float
    """When the comment's delivery came, in seconds since the epoch."""
    _permission: Permission | None = None
    _sides: Sides | None = None

    def carried_out(self, asked: Sequence[Command | Misunderstood]) -> Ledger:
        """Do what a comment asks, and return what is known then, with its reply."""
        parts = []
        for number, one in enumerate(asked):
            parts.append(help_text(one) if isinstance(one, Misunderstood) else self._one(number, one))
        self.ledger = self.ledger.with_reply(Reply(comment=self.comment.id, parts=tuple(parts), at=self.at))
        return self.ledger

    def _one(self, number: int, command: Command) -> str:
        refusal = self._refusal(command)
        if refusal is not None:
            return f"`/hmopt {command.kind}`: not done. {refusal}"
        id = f"c{self.comment.id}-{number}"
        match command.kind:
            case Kind.HELP:
                return help_text()
            case Kind.CHECK:
                return self._check(id, command.argument)
            case Kind.OPTIMIZE:
                return self._optimize(id, command.argument, propose=False)
            case Kind.PROPOSE:
                return self._propose(id)
            case Kind.EXPLAIN:
                return self._explain()
            case Kind.RERUN:
                return self._rerun(id)
            case Kind.INVALID:
                return self._invalid(id, command.argument or "")
            case Kind.STOP:
                return self._stop()

    # -- who may what -------------------------------------------------------------------------------------------------

    def _refusal(self, command: Command) -> str | None:
        if command.kind in _FREE:
            return None
        if not self.may_write():
            return "It takes the right to write to this repository."
        if command.kind not in _ABOUT_HEAD:
            return None
        if self.pull.state is not PullState.OPEN:
            return "The pull request is no longer open."
        return self._other_head()

    def may_write(self) -> bool:
        """Say whether the comment's author may write to the repository; the forge is asked once."""
        if self._permission is None:
            call = self.desk.forge.read_permission(self.desk.registered.repository, self.comment.author)
            self._permission = self.desk.speaker.ask(call)
        return self._permission >= Permission.WRITE

    def _other_head(self) -> str | None:
        """Say why the head may not be the one that the comment's author saw: what they never saw is not run."""
        now = self.pull.head.sha
        short = f"`{now[:12]}`"
        again = f"If you mean {short}, say it again."
        known = self.ledger.head
        if known is not None and known != now:
            return f"The head moved to {short} since. {again}"
        if known is None:
            # Whoever can push to this repository may have what they push built here anyway.
            return f"I had not seen the head of this fork's branch before your comment. {again}" if self._fork else None
        try:
            written = epoch(self.comment.created)
        except ValueError:
            written = self.at
        if written < self.ledger.head_since + (_SURE_S if self._fork else 0.0):
            return f"The head moved to {short} at about the time of your comment. {again}"
        return None

    @property
    def _fork(self) -> bool:
        return self.pull.is_fork

    # -- what is measured ---------------------------------------------------------------------------------------------

    def _check(self, id: str, workload: str | None, *, seed: int | None = None) -> str:
        config = self.desk.config()
        if workload is not None and workload not in config.workloads:
            return f"`/hmopt check`: not done. {self._unknown(workload)}"
        chosen = (workload,) if workload else config.review.workloads or tuple(config.workloads)
        return self._measured(id, "check", chosen, seed=seed)

    def _optimize(self, id: str, workload: str | None, *, propose: bool, seed: int | None = None) -> str:
        config = self.desk.config()
        chosen = (
            workload
            or config.defaults.workload
            or (next(iter(config.workloads)) if len(config.workloads) == 1 else None)
        )
        if chosen is None:
            named = ", ".join(f"`{name}`" for name in config.workloads)
            return f"`/hmopt optimize`: not done. Say which workload: {named}."
        if chosen not in config.workloads:
            return f"`/hmopt optimize`: not done. {self._unknown(chosen)}"
        return self._measured(id, "optimize", (chosen,), propose=propose, seed=seed)

    def _unknown(self, workload: str) -> str:
        return wording.untrusted(unknown(workload, self.desk.config().workloads, what="workload")) + "."

    def _measured(
        self, id: str, kind: str, workloads: tuple[str, ...], *, propose: bool = False, seed: int | None = None
    ) -> str:
        if self._fork and (why := sandbox_missing()) is not None:
            why = wording.untrusted(why)
            return f"`/hmopt {kind}`: not done. A fork's code runs confined only, and here it cannot: {why}."
        if self._known(id):
            return f"ask:{id}"
        sides = self._fetched()
        if sides.head != self.pull.head.sha:
            return f"`/hmopt {kind}`: not done. The head moved to `{sides.head[:12]}` since: ask again."
        if kind == "optimize":
            other = other_than_trusted(sides.mirror, self.desk.configuration(), sides.head)
            if other:
                shown = ", ".join(map(code, other[:3]))
                return (
                    "`/hmopt optimize`: not done. A run is configured by the commit that it starts from, and this pull "
                    f"request has another {shown} than was trusted here."
                )
        one = Ask(
            id=id, kind="check" if kind == "check" else "optimize", by=self.comment.author, base=sides.base,
            head=sides.head, note=sides.note, workloads=workloads, seed=seed, propose=propose,
            run=_run_name(self.desk.name, self.pull.number, id, workloads[0], self.at) if kind == "optimize" else None,
        )  # fmt: skip
        self.ledger = self.desk.measure(self.ledger, [one], sides)
        return f"ask:{id}"

    def _known(self, id: str) -> bool:
        """Say whether this was asked before by the same command, and see that it waits if it must."""
        known = self.ledger.ask(id)
        if known is not None and known.status == "waiting":
            # Who was killed may have written it down, and not have put it into the queue.
            self.desk.queued(self.ledger, known)
        return known is not None

    def _fetched(self) -> Sides:
        if self._sides is None:
            self._sides = self.desk.sides(self.pull)
        return self._sides

    def pressed(self, id: str) -> str:
        """Do what the button beside a check asks for, by whoever pressed it; return what came of it."""
        why = self._refusal(Command(Kind.RERUN, None, Asked(self.comment.author, self.comment.id, self.pull.head.sha)))
        return self._rerun(id) if why is None else why

    def _rerun(self, id: str) -> str:
        """Do the last measurement again, on the head as it is now and with other layouts."""
        if self._known(id):
            return f"ask:{id}"
        if not self.ledger.asks:
            return "`/hmopt rerun`: nothing was measured yet. `/hmopt check` does."
        last = self.ledger.asks[-1]
        seed = int(hashlib.sha256(f"{self.desk.name}/{self.pull.number}/{id}".encode()).hexdigest()[:7], 16)
        if last.kind == "check":
            gone = [name for name in last.workloads if name not in self.desk.config().workloads]
            return self._measured(id, "check", last.workloads, seed=seed) if not gone else self._check(id, gone[0])
        return self._optimize(id, last.workloads[0], propose=last.propose, seed=seed)

    # -- what is said of it -------------------------------------------------------------------------------------------

    def _propose(self, id: str) -> str:
        runs = [one for one in self.ledger.asks if one.kind == "optimize" and one.head == self.pull.head.sha]
        done = next((one for one in reversed(runs) if one.status == "done" and one.withdrawn is None), None)
        if done is not None:
            return proposed(self.desk, self.pull, done, asked_by=self.comment.author)
        waiting = next((one for one in runs if one.status == "waiting" and one.id != id), None)
        if waiting is not None:
            self.ledger = self.ledger.with_ask(waiting.model_copy(update={"propose": True, "by": self.comment.author}))
            return f"ask:{waiting.id}"
        return self._optimize(id, None, propose=True)

    def _explain(self) -> str:
        last = next((one for one in reversed(self.ledger.asks) if one.status in ("done", "failed")), None)
        if last is None:
            return "`/hmopt explain`: nothing was measured yet. `/hmopt check` does."
        shown = wording.progress(last)
        if last.kind == "optimize" and last.run and last.status == "done":
            shown += f"\n\n<details><summary>the run's report</summary>\n\n{report(self.desk, last.run)}\n\n</details>"
        return shown

    def _invalid(self, id: str, reason: str) -> str:
        mine = next((one for one in self.ledger.asks if one.withdrawn and one.withdrawn.order == id), None)
        if mine is not None:
            return self._taken_back(mine)
        last = next((one for one in reversed(self.ledger.asks) if one.verdict and one.withdrawn is None), None)
        if last is None:
            return "`/hmopt invalid`: there is no verdict to take back."
        if last.kind == "optimize" and last.run:
            story = told(self.desk.repository, RunId(last.run))
            retract(
                self.desk.repository,
                RunId(last.run),
                None,
                f"{self.comment.author}: {reason}",
                commit=story.best_commit,
            )
        taken = Withdrawal(by=self.comment.author, reason=reason, order=id)
        last = last.model_copy(update={"withdrawn": taken})
        self.ledger = self.ledger.with_ask(last)
        # The count below the comment has it from what is kept.
        self.desk.ledgers.write(self.ledger)
        return self._taken_back(last)

    def _taken_back(self, one: Ask) -> str:
        return f"Taken back, and counted as a false one: {wording.progress(one)}"

    def _stop(self) -> str:
        waiting = [one for one in self.ledger.asks if one.status == "waiting"]
        self.ledger = self.desk.ended(self.ledger, "stopped")
        if not waiting:
            return "`/hmopt stop`: nothing runs and nothing waits for this pull request."
        return "\n\n".join(wording.progress(self.ledger.ask(one.id) or one) for one in waiting)


def asked_in(comment: Comment, head: Oid) -> tuple[Command | Misunderstood, ...]:
    """Return what a comment asks."""
    return commands(comment.body, Asked(comment.author, comment.id, head))


def _run_name(webhook: str, number: int, id: str, workload: str, at: float) -> RunId:
    """Return the run's name: the same again when the command is read again."""
    safe = re.sub(r"[^A-Za-z0-9._]+|\.{2,}", "-", workload)[:48].strip("-._") or "run"
    mark = hashlib.sha256(f"{webhook}/{number}/{id}".encode()).hexdigest()[:6]
    return RunId(f"{time.strftime('%Y%m%d', time.gmtime(at))}-pr{number}-{safe}-{mark}")
