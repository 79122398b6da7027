# SPDX-License-Identifier: Apache-2.0
"""What the bot asks of a forge: GitHub, Gitee and GitCode are three of them, and a fourth fits by having this.

Every method but `verify`, `event`, `kept` and `head_ref` returns a Call: what to send, and what reads the answer (a
value, or an ApiError). None where the forge has no such thing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from pydantic import SecretStr

from git_hmopt.records.words import Oid
from hmopt_bot.forges.events import Delivery, Event
from hmopt_bot.forges.message import Call, Page
from hmopt_bot.forges.values import (
    ChangedFile,
    CheckRef,
    CheckRun,
    Comment,
    Commit,
    Permission,
    Proposal,
    PullRequest,
    RepositoryName,
    Status,
)


class Forge(Protocol):
    """A forge, with the secrets of its webhook and, for calls, a token."""

    @property
    def name(self) -> str:
        """Return the forge's name: `github`, `gitee`, `gitcode`."""

    @property
    def replay_s(self) -> float:
        """Return for how many seconds a `replay_key` is to be remembered: longer than its delivery is in time."""

    @property
    def token(self) -> SecretStr | None:
        """Return the token that calls are made with."""

    def head_ref(self, number: int) -> str:
        """Return the ref under which the repository itself keeps a pull request's head, whosever fork it is of."""

    def verify(self, headers: Mapping[str, str], body: bytes, now: float) -> Delivery:
        """Return a delivery that is signed, and in time at `now` (epoch seconds). Raises DeliveryError.

        The signature is checked over the raw body, in constant time, before anything is parsed. What was seen before
        is for the caller to know, by the delivery's `replay_key`.
        """

    def event(self, name: str, body: bytes) -> Event:
        """Return what a delivery of this event name says. Raises MalformedError or OversizedError."""

    def kept(self, body: bytes) -> bytes:
        """Return a delivery's body as it may be stored and logged: without the secrets that some forges repeat."""

    def read_pull(self, repository: RepositoryName, number: int) -> Call[PullRequest]:
        """Read a pull request."""

    def find_pulls(self, repository: RepositoryName, *, head: str, base: str) -> Call[Page[PullRequest]]:
        """List open pull requests from `head` (`owner:branch`) into the branch `base`."""

    def list_files(self, repository: RepositoryName, number: int) -> Call[Page[ChangedFile]]:
        """List the files that a pull request changes."""

    def read_commit(self, repository: RepositoryName, sha: Oid) -> Call[Commit]:
        """Read a commit."""

    def list_comments(self, repository: RepositoryName, number: int) -> Call[Page[Comment]]:
        """List the comments below a pull request, the oldest first."""

    def read_comment(self, repository: RepositoryName, comment: int) -> Call[Comment]:
        """Read one comment."""

    def create_comment(self, repository: RepositoryName, number: int, body: str) -> Call[Comment]:
        """Comment on a pull request; a body that is too long is cut, and says so."""

    def update_comment(self, repository: RepositoryName, comment: int, body: str) -> Call[Comment]:
        """Edit a comment in place; MissingError when a person deleted it."""

    def react(self, repository: RepositoryName, comment: int, reaction: str) -> Call[None] | None:
        """Set a reaction (`eyes`, `+1`, `confused`, `rocket`) to a comment."""

    def read_permission(self, repository: RepositoryName, login: str) -> Call[Permission]:
        """Ask what somebody may do in the repository."""

    def add_labels(self, repository: RepositoryName, number: int, labels: Sequence[str]) -> Call[None]:
        """Set labels on a pull request, beside those it has."""

    def remove_label(self, repository: RepositoryName, number: int, label: str) -> Call[None]:
        """Remove a label; one that is not there is no error."""

    def create_pull(self, repository: RepositoryName, proposal: Proposal) -> Call[PullRequest]:
        """Open a pull request."""

    def list_checks(self, repository: RepositoryName, sha: Oid, name: str) -> Call[Page[CheckRef]] | None:
        """List the check runs of that name on a commit, to find ours again after a crash."""

    def create_check(self, repository: RepositoryName, check: CheckRun) -> Call[CheckRef] | None:
        """Create a check run with its first 50 annotations; the others follow with `append_annotations`."""

    def update_check(self, repository: RepositoryName, run: int, check: CheckRun) -> Call[CheckRef] | None:
        """Say something else in a check run, with the first 50 of the check's annotations appended to it."""

    def append_annotations(self, repository: RepositoryName, run: int, check: CheckRun) -> tuple[Call[CheckRef], ...]:
        """Append the annotations after the first 50, in batches of 50."""

    def set_status(self, repository: RepositoryName, sha: Oid, status: Status) -> Call[None] | None:
        """Set a commit status."""
