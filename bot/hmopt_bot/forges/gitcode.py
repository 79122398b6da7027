# SPDX-License-Identifier: Apache-2.0
"""GitCode: GitLab's payloads, GitHub's signature, and a REST API like Gitee's with a header of its own.

Its payloads name pull requests by GitLab's words and lack half of what the API says, so an event is a doorbell here
as well, though the signature covers the body. With a plain token instead of a signature it would be one anyway.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from hmopt_bot.forges import payload, signature
from hmopt_bot.forges.api_v5 import ApiV5
from hmopt_bot.forges.errors import MalformedError, said
from hmopt_bot.forges.events import (
    CommentAction,
    CommentEvent,
    Delivery,
    Event,
    Ignored,
    PullAction,
    PullRequestEvent,
    PushEvent,
)
from hmopt_bot.forges.message import UNTIMED_REPLAY_S, lowered
from hmopt_bot.forges.payload import MovedField, OidField, Payload, RepositoryField, Text
from hmopt_bot.forges.values import GHOST

_ID = re.compile(r"[0-9A-Za-z_-]{1,100}")
_PULL_ACTIONS = {
    "open": PullAction.OPENED, "reopen": PullAction.REOPENED, "close": PullAction.CLOSED, "merge": PullAction.CLOSED,
    "update": PullAction.EDITED,
}  # fmt: skip
_COMMENT_ACTIONS = {
    "": CommentAction.CREATED, "create": CommentAction.CREATED, "comment": CommentAction.CREATED,
    "update": CommentAction.EDITED, "delete": CommentAction.DELETED,
}  # fmt: skip


class _Project(Payload):
    path_with_namespace: RepositoryField


class _User(Payload):
    username: Text = ""


class _Hook(Payload):
    project: _Project
    user: _User | None = None
    user_username: Text = ""

    def source(self) -> dict[str, Any]:
        sender = (self.user.username if self.user else "") or self.user_username or GHOST
        return {"repository": self.project.path_with_namespace, "sender": sender}


class _PullAttributes(Payload):
    iid: int
    action: Text = ""
    oldrev: OidField | None = None


class _Pull(_Hook):
    object_attributes: _PullAttributes


class _NoteAttributes(Payload):
    id: int
    action: Text = ""
    noteable_type: Text = ""


class _Numbered(Payload):
    iid: int


class _Note(_Hook):
    object_attributes: _NoteAttributes
    merge_request: _Numbered | None = None


class _Push(_Hook):
    ref: Text
    before: MovedField = None
    after: MovedField = None


@dataclass(frozen=True)
class GitCode(ApiV5):
    """GitCode; `plain` says that its webhook sends the secret itself (X-GitCode-Token) instead of a signature."""

    name: ClassVar[str] = "gitcode"
    replay_s: ClassVar[float] = UNTIMED_REPLAY_S

    api: str = "https://api.gitcode.com/api/v5"
    plain: bool = False

    def verify(self, headers: Mapping[str, str], body: bytes, now: float) -> Delivery:
        """Return a signed delivery. GitCode signs no time, so `now` is not looked at."""
        digest = signature.bounded(self.name, body)
        given = lowered(headers)
        if self.plain:
            expected = [secret.get_secret_value().encode() for secret in self.secrets]
            signature.one_of(self.name, given.get("x-gitcode-token"), expected, header="X-GitCode-Token")
        else:
            signature.body_signed(
                self.name, given.get("x-gitcode-signature-256"), body, self.secrets, header="X-GitCode-Signature-256"
            )
        name, delivery = given.get("x-gitcode-event", ""), given.get("x-gitcode-delivery", "")
        if not name or not _ID.fullmatch(delivery):
            raise MalformedError("the gitcode delivery has no proper X-GitCode-Event and X-GitCode-Delivery")
        # As with GitHub, the id is not signed.
        return Delivery(self.name, delivery, name, digest, f"gitcode:{digest}", self.event(name, body))

    def head_ref(self, number: int) -> str:
        """Return the ref under which the repository itself keeps a pull request's head."""
        return f"refs/merge-requests/{number}/head"

    def event(self, name: str, body: bytes) -> Event:
        """Return which pull request or comment to read again."""
        readers = {"merge request hook": _pull, "note hook": _note, "push hook": _push, "tag push hook": _push}
        reader = readers.get(name.lower())
        if reader is None:
            return Ignored(f"'{said(name)}' events are none of the bot's")
        return reader(name, payload.document(body, name))

    def kept(self, body: bytes) -> bytes:
        """Return the body: GitCode repeats no secret in it."""
        return body

    def _authorization(self) -> Mapping[str, str]:
        return {"private-token": self.token.get_secret_value()} if self.token else {}


def _pull(name: str, found: dict[str, Any]) -> Event:
    hook = payload.payload(_Pull, found, name)
    about = hook.object_attributes
    action = _PULL_ACTIONS.get(about.action)
    if action is None:
        return Ignored(f"nothing follows from a pull request's '{said(about.action)}'")
    if action is PullAction.EDITED and about.oldrev:
        # GitLab names the old head when, and only when, commits were pushed.
        action = PullAction.SYNCHRONISED
    return PullRequestEvent(action=action, number=about.iid, pull=None, before=about.oldrev, **hook.source())


def _note(name: str, found: dict[str, Any]) -> Event:
    hook = payload.payload(_Note, found, name)
    about = hook.object_attributes
    if hook.merge_request is None:
        return Ignored(f"a comment on '{said(about.noteable_type)}' is on no pull request")
    action = _COMMENT_ACTIONS.get(about.action)
    if action is None:
        return Ignored(f"nothing follows from a comment's '{said(about.action)}'")
    return CommentEvent(
        action=action, number=hook.merge_request.iid, comment_id=about.id, comment=None, **hook.source()
    )


def _push(name: str, found: dict[str, Any]) -> Event:
    hook = payload.payload(_Push, found, name)
    return PushEvent(ref=hook.ref, before=hook.before, after=hook.after, **hook.source())
