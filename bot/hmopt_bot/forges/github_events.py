# SPDX-License-Identifier: Apache-2.0
"""GitHub's webhook payloads as the bot's events: docs.github.com/webhooks/webhook-events-and-payloads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, Any

from pydantic import BeforeValidator

from hmopt_bot.forges import payload
from hmopt_bot.forges.errors import said
from hmopt_bot.forges.events import (
    CheckEvent,
    CommentAction,
    CommentEvent,
    Event,
    Ignored,
    InstallationEvent,
    PingEvent,
    PullAction,
    PullRequestEvent,
    PushEvent,
)
from hmopt_bot.forges.payload import MovedField, OidField, Payload, Text
from hmopt_bot.forges.values import Comment

_PULL_ACTIONS = {
    "opened": PullAction.OPENED, "reopened": PullAction.REOPENED, "synchronize": PullAction.SYNCHRONISED,
    "edited": PullAction.EDITED, "labeled": PullAction.LABELLED, "unlabeled": PullAction.UNLABELLED,
    "ready_for_review": PullAction.READY, "converted_to_draft": PullAction.DRAFTED, "closed": PullAction.CLOSED,
}  # fmt: skip
_COMMENT_ACTIONS = {**{one.value: one for one in CommentAction}, "submitted": CommentAction.CREATED}
"""A review is submitted, all else is created."""
_INSTALLED = frozenset({"created", "deleted", "suspend", "unsuspend", "new_permissions_accepted", "added", "removed"})


class _Installation(Payload):
    id: int


class _Any(Payload):
    action: Text = ""
    sender: payload.User | None = None
    installation: _Installation | None = None

    @property
    def said(self) -> str:
        return f"'{said(self.action)}'"

    @property
    def installation_id(self) -> int | None:
        return self.installation.id if self.installation else None


class _InRepository(_Any):
    repository: payload.Repository

    def source(self) -> dict[str, Any]:
        return {
            "repository": self.repository.full_name,
            "sender": payload.login(self.sender),
            "installation": self.installation_id,
        }


class _Pull(_InRepository):
    number: int
    pull_request: payload.Pull
    label: payload.Label | None = None
    before: MovedField = None


class _Issue(Payload):
    number: int
    pull_request: dict[str, Any] | None = None


class _IssueComment(_InRepository):
    issue: _Issue
    comment: payload.Note


class _Numbered(Payload):
    number: int


class _LineComment(_InRepository):
    pull_request: _Numbered
    comment: payload.Note


class _Written(payload.Note):
    submitted_at: Text = ""


class _Review(_InRepository):
    pull_request: _Numbered
    review: _Written


class _Push(_InRepository):
    ref: Text
    before: MovedField
    after: MovedField


class _Check(Payload):
    id: int
    head_sha: OidField
    external_id: Text = ""


class _CheckRun(_InRepository):
    check_run: _Check


class _Suite(Payload):
    head_sha: OidField


class _CheckSuite(_InRepository):
    check_suite: _Suite


class _Names(Payload):
    full_name: Text


_Listed = Annotated[tuple[_Names, ...], BeforeValidator(lambda value: value or ())]


class _Installed(_Any):
    installation: _Installation
    repositories: _Listed = ()
    repositories_added: _Listed = ()
    repositories_removed: _Listed = ()


class _Ping(Payload):
    hook_id: int | None = None


def event(name: str, body: bytes) -> Event:
    """Return what happened. Raises MalformedError; an event that is none of the bot's is Ignored, unread."""
    reader = _READERS.get(name)
    if reader is None:
        return Ignored(f"'{said(name)}' events are none of the bot's")
    return reader(name, payload.document(body, name))


def _pull(name: str, found: dict[str, Any]) -> Event:
    action = _PULL_ACTIONS.get(str(found.get("action")))
    if action is None:
        return Ignored(f"nothing follows from a pull request that was '{said(str(found.get('action')))}'")
    read = payload.payload(_Pull, found, name)
    label = read.label.name if read.label else None
    return PullRequestEvent(
        action=action, number=read.number, pull=read.pull_request.value(), label=label, before=read.before,
        **read.source(),
    )  # fmt: skip


def _comment(name: str, found: dict[str, Any]) -> Event:
    read = payload.payload(_IssueComment, found, name)
    if read.issue.pull_request is None:
        return Ignored(f"issue {read.issue.number} is no pull request")
    return _said_below(read, read.issue.number, read.comment.value())


def _line_comment(name: str, found: dict[str, Any]) -> Event:
    read = payload.payload(_LineComment, found, name)
    return _said_below(read, read.pull_request.number, read.comment.value())


def _review(name: str, found: dict[str, Any]) -> Event:
    """Read what is said on the whole of a review; each of its comments on lines is delivered as one."""
    read = payload.payload(_Review, found, name)
    comment = replace(read.review.value(), created=read.review.submitted_at)
    return _said_below(read, read.pull_request.number, comment)


def _said_below(read: _InRepository, number: int, comment: Comment) -> Event:
    action = _COMMENT_ACTIONS.get(read.action)
    if action is None:
        return Ignored(f"nothing follows from a comment that was {read.said}")
    return CommentEvent(action=action, number=number, comment_id=comment.id, comment=comment, **read.source())


def _push(name: str, found: dict[str, Any]) -> Event:
    read = payload.payload(_Push, found, name)
    return PushEvent(ref=read.ref, before=read.before, after=read.after, **read.source())


def _check_run(name: str, found: dict[str, Any]) -> Event:
    if found.get("action") != "rerequested":
        return Ignored(f"nothing follows from a check run that was '{said(str(found.get('action')))}'")
    read = payload.payload(_CheckRun, found, name)
    run = read.check_run
    return CheckEvent(head=run.head_sha, check_id=run.id, external_id=run.external_id or None, **read.source())


def _check_suite(name: str, found: dict[str, Any]) -> Event:
    if found.get("action") != "rerequested":
        return Ignored(f"nothing follows from a check suite that was '{said(str(found.get('action')))}'")
    read = payload.payload(_CheckSuite, found, name)
    return CheckEvent(head=read.check_suite.head_sha, **read.source())


def _installation(name: str, found: dict[str, Any]) -> Event:
    read = payload.payload(_Installed, found, name)
    if read.action not in _INSTALLED:
        return Ignored(f"nothing follows from an installation that was {read.said}")
    added = (*read.repositories, *read.repositories_added) if read.action != "deleted" else ()
    removed = (*read.repositories_removed, *(read.repositories if read.action == "deleted" else ()))
    return InstallationEvent(
        action=read.action, installation=read.installation.id, sender=payload.login(read.sender),
        added=tuple(one.full_name for one in added), removed=tuple(one.full_name for one in removed),
    )  # fmt: skip


def _ping(name: str, found: dict[str, Any]) -> Event:
    return PingEvent(hook_id=payload.payload(_Ping, found, name).hook_id)


_READERS: dict[str, Callable[[str, dict[str, Any]], Event]] = {
    "pull_request": _pull,
    "issue_comment": _comment,
    "pull_request_review": _review,
    "pull_request_review_comment": _line_comment,
    "push": _push,
    "check_run": _check_run,
    "check_suite": _check_suite,
    "installation": _installation,
    "installation_repositories": _installation,
    "ping": _ping,
}
