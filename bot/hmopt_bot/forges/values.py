# SPDX-License-Identifier: Apache-2.0
"""The forges' words as values: repositories, pull requests, comments, permissions, checks."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import IntEnum, StrEnum

from git_hmopt.errors import UsageError
from git_hmopt.records.words import Oid
from hmopt_bot.forges.errors import said

# What GitHub, Gitee and GitCode allow; `.` and `..` would leave the path they stand in.
_PART = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9_.-]{1,100}")
_OID = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")
GHOST = "ghost"
"""Who wrote what was written by an account that is gone; GitHub's own name for it."""


@dataclass(frozen=True, order=True)
class RepositoryName:
    """A repository of a forge, `owner/name`."""

    owner: str
    name: str

    def __post_init__(self) -> None:
        for part in (self.owner, self.name):
            if not _PART.fullmatch(part):
                raise UsageError(f"'{said(str(self))}' is no repository", next_step="name it owner/name")

    def __str__(self) -> str:
        return f"{self.owner}/{self.name}"

    @classmethod
    def parse(cls, text: str) -> RepositoryName:
        """Return the repository that `owner/name` names. Raises UsageError."""
        owner, _, name = text.partition("/")
        return cls(owner, name)


def oid(text: str) -> Oid:
    """Return a full object id in hexadecimal. Raises UsageError."""
    if not _OID.fullmatch(text):
        raise UsageError(f"'{said(text)}' is no full commit id", next_step="it has 40 or 64 hexadecimal digits")
    return Oid(text)


@dataclass(frozen=True)
class Side:
    """Where a pull request comes from or goes to; a head has no repository when its fork was deleted."""

    ref: str
    sha: Oid
    repository: RepositoryName | None
    clone_url: str | None


class PullState(StrEnum):
    """Whether a pull request still waits."""

    OPEN = "open"
    CLOSED = "closed"
    MERGED = "merged"


@dataclass(frozen=True)
class PullRequest:
    """A pull request as the forge describes it now."""

    number: int
    title: str
    author: str
    state: PullState
    draft: bool
    labels: frozenset[str]
    base: Side
    head: Side
    address: str = ""

    @property
    def is_fork(self) -> bool:
        """Say whether its head is somebody else's repository; one that is gone counts as such."""
        return self.head.repository is None or self.head.repository != self.base.repository


@dataclass(frozen=True)
class ChangedFile:
    """A file that a pull request changes; `status` is the forge's word (added, modified, renamed, removed)."""

    path: str
    status: str
    additions: int
    deletions: int
    previous: str | None = None


@dataclass(frozen=True)
class Comment:
    """A comment below a pull request; its times are the forge's."""

    id: int
    author: str
    body: str
    created: str = ""
    updated: str = ""


@dataclass(frozen=True)
class Commit:
    """A commit as the forge knows it."""

    sha: Oid
    parents: tuple[Oid, ...]
    message: str


class Permission(IntEnum):
    """What a person may do in a repository, in order: `permission >= Permission.WRITE`."""

    NONE = 0
    READ = 1
    WRITE = 2
    MAINTAIN = 3
    ADMIN = 4


class Level(StrEnum):
    """How an annotation looks."""

    NOTICE = "notice"
    WARNING = "warning"
    FAILURE = "failure"


@dataclass(frozen=True)
class Annotation:
    """A remark on lines of a file, 1-based, the last one included. Raises UsageError for what no forge takes."""

    path: str
    start_line: int
    end_line: int
    level: Level
    message: str
    title: str = ""

    def __post_init__(self) -> None:
        if not 1 <= self.start_line <= self.end_line or not self.path or not self.message.strip():
            where = f"{said(self.path)}:{self.start_line}-{self.end_line}"
            raise UsageError(f"an annotation of '{where}' is about no lines, or says nothing")


class Conclusion(StrEnum):
    """How a check ended; `neutral` when it is undecided."""

    SUCCESS = "success"
    FAILURE = "failure"
    NEUTRAL = "neutral"
    CANCELLED = "cancelled"
    SKIPPED = "skipped"
    TIMED_OUT = "timed_out"
    ACTION_REQUIRED = "action_required"


@dataclass(frozen=True)
class CheckRun:
    """What is said about a commit; without a conclusion it still runs. `external_id` is ours, and finds it again."""

    name: str
    head_sha: Oid
    external_id: str
    title: str
    summary: str
    conclusion: Conclusion | None = None
    text: str = ""
    annotations: tuple[Annotation, ...] = ()
    details_url: str | None = None


@dataclass(frozen=True)
class CheckRef:
    """A check run as the forge keeps it."""

    id: int
    head_sha: Oid
    external_id: str
    conclusion: str | None


class StatusState(StrEnum):
    """What a commit status says."""

    PENDING = "pending"
    SUCCESS = "success"
    FAILURE = "failure"
    ERROR = "error"


@dataclass(frozen=True)
class Status:
    """A commit status: what a token that is no App's can set where an App sets a check run."""

    context: str
    state: StatusState
    description: str
    target_url: str | None = None


@dataclass(frozen=True)
class Proposal:
    """A pull request to open; `head` is `branch`, or `owner:branch` of a fork."""

    title: str
    body: str
    head: str
    base: str
    draft: bool = True


def epoch(text: str) -> float:
    """Return an ISO 8601 time as seconds since the epoch; one without a zone is UTC. Raises ValueError."""
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
