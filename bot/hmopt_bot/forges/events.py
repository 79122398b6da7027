# SPDX-License-Identifier: Apache-2.0
"""What happened on a forge, in the bot's words, and the delivery that said so.

Where a forge's signature does not cover the body (Gitee), an event is a doorbell: it names what to read again, and
`pull`, `comment` and `head` are None. Even its repository and numbers are then a stranger's claim: look them up.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from git_hmopt.records.words import Oid, Sha256
from hmopt_bot.forges.values import Comment, PullRequest, RepositoryName


class PullAction(StrEnum):
    """What was done to a pull request."""

    OPENED = "opened"
    REOPENED = "reopened"
    SYNCHRONISED = "synchronised"
    """Commits were pushed to its head."""
    EDITED = "edited"
    LABELLED = "labelled"
    UNLABELLED = "unlabelled"
    READY = "ready"
    """It is no draft any more."""
    DRAFTED = "drafted"
    CLOSED = "closed"


class CommentAction(StrEnum):
    """What was done to a comment."""

    CREATED = "created"
    EDITED = "edited"
    DELETED = "deleted"


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where an event comes from: whose doing, and the App's installation whose token may answer."""

    repository: RepositoryName
    sender: str
    installation: int | None = None


@dataclass(frozen=True, kw_only=True)
class PullRequestEvent(Source):
    """A pull request was opened, pushed to, labelled, closed, ..."""

    action: PullAction
    number: int
    pull: PullRequest | None
    label: str | None = None
    before: Oid | None = None
    """Where the head was before it was pushed to."""


@dataclass(frozen=True, kw_only=True)
class CommentEvent(Source):
    """Somebody commented on a pull request."""

    action: CommentAction
    number: int
    comment_id: int
    comment: Comment | None


@dataclass(frozen=True, kw_only=True)
class PushEvent(Source):
    """A branch or tag moved; a deleted one moved to zeros."""

    ref: str
    before: Oid | None
    after: Oid | None


@dataclass(frozen=True, kw_only=True)
class CheckEvent(Source):
    """Somebody pressed "re-run" beside a check; without an id it was all checks of the commit."""

    head: Oid | None
    check_id: int | None = None
    external_id: str | None = None


@dataclass(frozen=True, kw_only=True)
class InstallationEvent:
    """The App was installed, removed or suspended, or its repositories changed."""

    action: str
    installation: int
    sender: str
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class PingEvent:
    """A webhook was set up."""

    hook_id: int | None


@dataclass(frozen=True)
class Ignored:
    """Nothing the bot acts on, and why."""

    reason: str


Event = PullRequestEvent | CommentEvent | PushEvent | CheckEvent | InstallationEvent | PingEvent | Ignored


@dataclass(frozen=True)
class Delivery:
    """A delivery whose signature is good. One with a `replay_key` that was seen before is a repetition.

    `event` is parsed from the same bytes that `body_sha256` is of; `Forge.event(name, body)` makes it again from what
    a queue kept.
    """

    forge: str
    id: str
    name: str
    body_sha256: Sha256
    replay_key: str
    event: Event
