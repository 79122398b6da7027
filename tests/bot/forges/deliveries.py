# SPDX-License-Identifier: Apache-2.0
"""Deliveries as each forge signs and shapes them, made with the standard library alone."""

from __future__ import annotations

import base64
import copy
import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from pydantic import SecretStr

from git_hmopt.records.words import Oid
from hmopt_bot.forges.forge import Forge
from hmopt_bot.forges.gitcode import GitCode
from hmopt_bot.forges.gitee import Gitee
from hmopt_bot.forges.github import GitHub
from hmopt_bot.forges.values import RepositoryName

SECRET = "a webhook's secret"
NOW = 1_800_000_000.0
ID = "72d3162e-cc78-11e3-81ab-4c9367dc0958"
BASE, HEAD, OLD = (Oid(digit * 40) for digit in "bcd")
KERNEL = RepositoryName("kernel", "linux")
FORGES: Mapping[str, Forge] = {
    "github": GitHub((SecretStr(SECRET),), SecretStr("ghs_secret-token")),
    "gitee": Gitee((SecretStr(SECRET),), SecretStr("gitee-secret-token")),
    "gitcode": GitCode((SecretStr(SECRET),), SecretStr("gitcode-secret-token")),
}


@dataclass(frozen=True)
class Sent:
    """A delivery on its way, its headers signed for its body."""

    forge: str
    headers: dict[str, str]
    body: bytes

    def having(self, **headers: str | None) -> Sent:
        """Return it with headers set, or removed (None); underscores stand for dashes."""
        changed = dict(self.headers)
        for name, value in headers.items():
            changed.pop(name.replace("_", "-"), None)
            if value is not None:
                changed[name.replace("_", "-")] = value
        return replace(self, headers=changed)


def hexadecimal(body: bytes, secret: str = SECRET) -> str:
    """Return the signature of GitHub and GitCode."""
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def gitee_signature(stamp: str, secret: str = SECRET) -> str:
    """Return Gitee's signature, of a time."""
    made = hmac.new(secret.encode(), f"{stamp}\n{secret}".encode(), hashlib.sha256)
    return base64.b64encode(made.digest()).decode()


def sent(forge: str, name: str, body: Any, *, now: float = NOW, id: str = ID, secret: str = SECRET) -> Sent:
    """Return a delivery of that event; a body that is no bytes is JSON."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    if forge == "gitee":
        stamp = str(int(now * 1000))
        made = {"X-Gitee-Event": name, "X-Gitee-Timestamp": stamp, "X-Gitee-Token": gitee_signature(stamp, secret)}
    elif forge == "gitcode":
        made = {"X-GitCode-Event": name, "X-GitCode-Delivery": id, "X-GitCode-Signature-256": hexadecimal(data, secret)}
    else:
        made = {"X-GitHub-Event": name, "X-GitHub-Delivery": id, "X-Hub-Signature-256": hexadecimal(data, secret)}
    return Sent(forge, {"Content-Type": "application/json", **made}, data)


def side(ref: str, sha: str, repository: str = "kernel/linux") -> dict[str, Any]:
    """Return one side of a pull request."""
    repo = {"full_name": repository, "clone_url": f"https://forge.example/{repository}.git"}
    return {"ref": ref, "sha": sha, "repo": repo}


GITHUB_PULL: dict[str, Any] = {
    "action": "opened",
    "number": 7,
    "pull_request": {
        "number": 7, "title": "lib/sort: faster", "state": "open", "draft": False, "user": {"login": "ada"},
        "labels": [{"name": "perf"}], "base": side("master", BASE), "head": side("sort", HEAD, "ada/linux"),
        "html_url": "https://forge.example/kernel/linux/pull/7", "merged_at": None,
    },
    "repository": {"full_name": "kernel/linux"}, "sender": {"login": "ada"}, "installation": {"id": 99},
}  # fmt: skip
GITHUB_COMMENT: dict[str, Any] = {
    "action": "created",
    "issue": {"number": 7, "pull_request": {"url": "https://forge.example/pulls/7"}},
    "comment": {"id": 41, "user": {"login": "ada"}, "body": "/hmopt check lib-sort"},
    "repository": {"full_name": "kernel/linux"},
    "sender": {"login": "ada"},
}
GITHUB_REVIEW: dict[str, Any] = {
    "action": "submitted", "pull_request": {"number": 7},
    "review": {"id": 43, "user": {"login": "ada"}, "body": None, "submitted_at": "2026-01-01T00:00:00Z"},
    "repository": {"full_name": "kernel/linux"}, "sender": {"login": "ada"},
}  # fmt: skip
GITEE_PULL: dict[str, Any] = {
    "hook_id": 5, "hook_name": "merge_request_hooks", "password": SECRET, "sign": "signed", "timestamp": "1",
    "action": "open", "pull_request": {"id": 1000, "number": 7, "title": "x", "body": None},
    "repository": {"full_name": "kernel/linux"}, "sender": {"login": "ada"},
}  # fmt: skip
GITEE_NOTE: dict[str, Any] = {
    "hook_id": 5, "action": "comment", "noteable_type": "PullRequest", "pull_request": {"number": 7},
    "comment": {"id": 41, "body": "/hmopt stop"}, "repository": {"full_name": "kernel/linux"},
    "sender": {"login": "ada"},
}  # fmt: skip
GITCODE_PULL: dict[str, Any] = {
    "object_kind": "merge_request", "user": {"username": "ada"}, "project": {"path_with_namespace": "kernel/linux"},
    "object_attributes": {"iid": 7, "state": "opened", "action": "open"},
}  # fmt: skip
GITCODE_NOTE: dict[str, Any] = {
    "object_kind": "note", "user": {"username": "ada"}, "project": {"path_with_namespace": "kernel/linux"},
    "object_attributes": {"id": 41, "note": "/hmopt stop", "noteable_type": "MergeRequest"},
    "merge_request": {"iid": 7},
}  # fmt: skip
PULLS = {
    "github": ("pull_request", GITHUB_PULL),
    "gitee": ("Merge Request Hook", GITEE_PULL),
    "gitcode": ("Merge Request Hook", GITCODE_PULL),
}
NOTES = {
    "github": ("issue_comment", GITHUB_COMMENT),
    "gitee": ("Note Hook", GITEE_NOTE),
    "gitcode": ("Note Hook", GITCODE_NOTE),
}


NUMBERS = {"github": ("number", "pull_request.number"), "gitee": ("pull_request.number",)}
NUMBERS |= {"gitcode": ("object_attributes.iid",)}


def opened(forge: str, number: int = 7, **headers: Any) -> Sent:
    """Return the delivery of an opened pull request."""
    name, body = PULLS[forge]
    for path in NUMBERS[forge]:
        body = changed(body, path, number)
    return sent(forge, name, body, **headers)


def changed(body: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """Return a payload with the field at a dotted path set; `...` removes it."""
    made = copy.deepcopy(body)
    *parents, last = path.split(".")
    where = made
    for parent in parents:
        where = where[parent]
    if value is ...:
        del where[last]
    else:
        where[last] = value
    return made
