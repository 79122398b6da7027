# SPDX-License-Identifier: Apache-2.0
"""Gitee: its webhook is a doorbell, since its signature covers a time and not the body; everything is read again.

Described at gitee.com/help, "WebHook"; REST calls stand in `api_v5`.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar
from urllib.parse import unquote

from pydantic import SecretStr

from hmopt_bot.forges import payload, signature
from hmopt_bot.forges.api_v5 import ApiV5
from hmopt_bot.forges.errors import DeliveryError, MalformedError, StaleError, said
from hmopt_bot.forges.events import (
    CommentAction,
    CommentEvent,
    Delivery,
    Event,
    Ignored,
    PingEvent,
    PullAction,
    PullRequestEvent,
    PushEvent,
)
from hmopt_bot.forges.message import lowered
from hmopt_bot.forges.payload import MovedField, Payload, RepositoryField, Text
from hmopt_bot.forges.values import GHOST

WINDOW = 300
"""Seconds that a delivery's time may be off, either way: one from ahead of our clock is in time for twice as long."""
_TOKEN = "X-Gitee-Token"
_SECRET_FIELDS = ("password", "sign")
_PULL_ACTIONS = {
    "open": PullAction.OPENED, "reopen": PullAction.REOPENED, "close": PullAction.CLOSED, "merge": PullAction.CLOSED,
    "update": PullAction.EDITED,
}  # fmt: skip
_UPDATES = {"source_branch_changed": PullAction.SYNCHRONISED, "update_label": PullAction.LABELLED}
_COMMENT_ACTIONS = {
    "comment": CommentAction.CREATED, "edited": CommentAction.EDITED, "update": CommentAction.EDITED,
    "deleted": CommentAction.DELETED, "delete": CommentAction.DELETED,
}  # fmt: skip


class _Repository(Payload):
    full_name: RepositoryField


class _Sender(Payload):
    login: Text = ""
    username: Text = ""


class _Hook(Payload):
    hook_id: int | None = None
    action: Text = ""
    action_desc: Text = ""
    repository: _Repository
    sender: _Sender | None = None

    def source(self) -> dict[str, Any]:
        sender = (self.sender.login or self.sender.username) if self.sender else ""
        return {"repository": self.repository.full_name, "sender": sender or GHOST}


class _Number(Payload):
    number: int


class _Id(Payload):
    id: int


class _Pull(_Hook):
    pull_request: _Number


class _Note(_Hook):
    noteable_type: Text = ""
    pull_request: _Number | None = None
    comment: _Id


class _Push(_Hook):
    ref: Text
    before: MovedField = None
    after: MovedField = None


@dataclass(frozen=True)
class Gitee(ApiV5):
    """Gitee; `password` says that its webhook sends the secret itself instead of a signature."""

    name: ClassVar[str] = "gitee"
    # Twice the window, and a minute for a clock that is set back meanwhile.
    replay_s: ClassVar[float] = 2 * WINDOW + 60.0

    api: str = "https://gitee.com/api/v5"
    password: bool = False

    def verify(self, headers: Mapping[str, str], body: bytes, now: float) -> Delivery:
        """Return a delivery that rings now. What it says is to be read again before anything is done."""
        digest = signature.bounded(self.name, body)
        given = lowered(headers)
        stamp, token = given.get("x-gitee-timestamp", ""), given.get("x-gitee-token")
        if self.password:
            expected = [secret.get_secret_value().encode() for secret in self.secrets]
        else:
            expected = [_signed(stamp, secret) for secret in self.secrets]
            # Some of its servers send the signature as it would stand in an address.
            token = unquote(token) if token else token
        signature.one_of(self.name, token, expected, header=_TOKEN)
        _in_time(stamp, now)
        name = given.get("x-gitee-event", "")
        if given.get("x-gitee-ping", "").lower() == "true":
            event: Event = PingEvent(hook_id=None)
        elif name:
            event = self.event(name, body)
        else:
            raise MalformedError("the gitee delivery has no X-Gitee-Event")
        key = f"gitee:{_hook_id(body)}:{stamp}:{digest}"
        return Delivery(self.name, key, name, digest, key, event)

    def head_ref(self, number: int) -> str:
        """Return the ref under which the repository itself keeps a pull request's head."""
        return f"refs/pull/{number}/head"

    def event(self, name: str, body: bytes) -> Event:
        """Return which pull request or comment to read again."""
        kind = name.lower().replace("_hooks", " hook").replace("_", " ")
        if kind not in ("merge request hook", "note hook", "push hook", "tag push hook"):
            return Ignored(f"'{said(name)}' events are none of the bot's")
        found = payload.document(body, name)
        if kind == "merge request hook":
            return _pull(name, found)
        if kind == "note hook":
            return _note(name, found)
        push = payload.payload(_Push, found, name)
        return PushEvent(ref=push.ref, before=push.before, after=push.after, **push.source())

    def kept(self, body: bytes) -> bytes:
        """Return the body without the password and the signature that Gitee repeats in it."""
        try:
            found = payload.document(body, self.name)
        except DeliveryError:
            return b""
        return json.dumps({name: value for name, value in found.items() if name not in _SECRET_FIELDS}).encode()


def _signed(stamp: str, secret: SecretStr) -> bytes:
    message = f"{stamp}\n{secret.get_secret_value()}".encode("utf-8", "replace")
    return base64.b64encode(signature.mac(secret, message))


def _in_time(stamp: str, now: float) -> None:
    if not (stamp.isascii() and stamp.isdigit() and len(stamp) <= 16):
        raise MalformedError("the gitee delivery's X-Gitee-Timestamp is no number of milliseconds")
    behind = now - int(stamp) / 1000
    if abs(behind) > WINDOW:
        where = "behind" if behind > 0 else "ahead of"
        raise StaleError(
            f"the gitee delivery is {abs(behind):.0f} s {where} this host's clock; {WINDOW} s are accepted",
            next_step="if it was sent just now, set the clock",
        )


def _hook_id(body: bytes) -> str:
    try:
        hook = payload.document(body, "gitee").get("hook_id")
    except DeliveryError:
        return "-"
    return str(hook) if isinstance(hook, int) else "-"


def _pull(name: str, found: dict[str, Any]) -> Event:
    hook = payload.payload(_Pull, found, name)
    action = _PULL_ACTIONS.get(hook.action)
    if action is PullAction.EDITED:
        action = _UPDATES.get(hook.action_desc, action)
    if action is None:
        return Ignored(f"nothing follows from a pull request's '{said(hook.action)}'")
    return PullRequestEvent(action=action, number=hook.pull_request.number, pull=None, **hook.source())


def _note(name: str, found: dict[str, Any]) -> Event:
    hook = payload.payload(_Note, found, name)
    if hook.pull_request is None or hook.noteable_type not in ("PullRequest", ""):
        return Ignored(f"a comment on '{said(hook.noteable_type)}' is on no pull request")
    action = _COMMENT_ACTIONS.get(hook.action)
    if action is None:
        return Ignored(f"nothing follows from a comment's '{said(hook.action)}'")
    return CommentEvent(
        action=action, number=hook.pull_request.number, comment_id=hook.comment.id, comment=None, **hook.source()
    )
