# SPDX-License-Identifier: Apache-2.0
"""What the bot writes on a forge, each so that writing it again after a crash changes nothing."""

from __future__ import annotations

from dataclasses import dataclass, replace

from hmopt_bot.forges import limits, sticky
from hmopt_bot.forges.api_v5 import ApiV5
from hmopt_bot.forges.errors import MissingError, PermissionDeniedError
from hmopt_bot.forges.forge import Forge
from hmopt_bot.forges.values import (
    CheckRun,
    Conclusion,
    Proposal,
    PullRequest,
    RepositoryName,
    Status,
    StatusState,
)
from hmopt_bot.pulls.speaking import Speaker

_STATES = {
    Conclusion.SUCCESS: StatusState.SUCCESS, Conclusion.FAILURE: StatusState.FAILURE,
    Conclusion.NEUTRAL: StatusState.SUCCESS,
}  # fmt: skip


@dataclass(frozen=True)
class Posts:
    """Writes in one repository; ApiError says what the forge did not take."""

    forge: Forge
    repository: RepositoryName
    login: str
    """Our own account: whose comments may be ours."""
    speaker: Speaker

    def comment(self, number: int, name: str, body: str) -> bool:
        """Have one comment of that name below a pull request say `body`, and return whether it did not yet.

        One that a person deleted is written anew.
        """
        text = limits.cut(sticky.marked(name, body), limits.BODY)
        every = self.speaker.every(self.forge.list_comments(self.repository, number))
        mine = sticky.found(every, name, author=self.login)
        if mine is not None:
            if mine.body.replace("\r\n", "\n") == text:
                return False
            try:
                self.speaker.ask(self.forge.update_comment(self.repository, mine.id, text))
                return True
            except MissingError:
                pass
        self.speaker.ask(self.forge.create_comment(self.repository, number, text))
        return True

    def check(self, number: int, check: CheckRun, *, anew: bool = True) -> None:
        """Have one check run with that external id say so; where there are none, a commit status or a label does.

        Without `anew` one that is there with the same conclusion is let be.
        """
        try:
            if self._check(check, anew=anew):
                return
        except (PermissionDeniedError, MissingError):
            # Check runs are an App's; a person's token may still set what looks much like one.
            pass
        conclusion = check.conclusion or Conclusion.NEUTRAL
        if isinstance(self.forge, ApiV5):
            for call in self.forge.label_outcome(self.repository, number, conclusion):
                self.speaker.ask(call)
            return
        status = Status(check.name, _STATES.get(conclusion, StatusState.ERROR), check.title)
        setting = self.forge.set_status(self.repository, check.head_sha, status)
        if setting is not None:
            self.speaker.ask(setting)

    def _check(self, check: CheckRun, *, anew: bool) -> bool:
        listing = self.forge.list_checks(self.repository, check.head_sha, check.name)
        if listing is None:
            return False
        for known in self.speaker.every(listing):
            if known.external_id == check.external_id:
                if not anew and check.conclusion is not None and known.conclusion == check.conclusion.value:
                    return True
                # Annotations are appended to those that are there: they were said when it was created.
                bare = replace(check, annotations=())
                update = self.forge.update_check(self.repository, known.id, bare)
                if update is not None:
                    self.speaker.ask(update)
                return update is not None
        call = self.forge.create_check(self.repository, check)
        if call is None:
            return False
        made = self.speaker.ask(call)
        for more in self.forge.append_annotations(self.repository, made.id, check):
            self.speaker.ask(more)
        return True

    def propose(self, proposal: Proposal) -> PullRequest:
        """Return the open pull request from that branch, opened if there is none."""
        head = f"{self.repository.owner}:{proposal.head}"
        listed = self.speaker.every(self.forge.find_pulls(self.repository, head=head, base=proposal.base))
        for known in listed:
            # A fork's branch may have the same name, and is not what was pushed here.
            if known.head.ref == proposal.head and known.base.ref == proposal.base and not known.is_fork:
                return known
        return self.speaker.ask(self.forge.create_pull(self.repository, proposal))
