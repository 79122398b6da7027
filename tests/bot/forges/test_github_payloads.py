# SPDX-License-Identifier: Apache-2.0
"""GitHub's real payloads (npm `@octokit/webhooks-examples`): every one is read, from the oldest server on."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from hmopt_bot.forges.errors import MalformedError
from hmopt_bot.forges.events import (
    CheckEvent,
    CommentEvent,
    Event,
    Ignored,
    InstallationEvent,
    PingEvent,
    PullRequestEvent,
    PushEvent,
)
from tests.bot.forges.contracts import npm_package
from tests.bot.forges.deliveries import sent
from tests.bot.forges.test_forge_deliveries_refused import verified


@pytest.fixture(scope="module")
def examples() -> Path:
    """Return the package's directory."""
    return npm_package("@octokit/webhooks-examples", "7.6.1")


def read(package: Path, server: str) -> list[tuple[str, dict[str, Any], Event]]:
    """Return every payload of a server, delivered: its event's name, itself, and what became of it."""
    events = json.loads((package / server / "index.json").read_text(encoding="utf-8"))
    return [
        (event["name"], body, verified(sent("github", event["name"], body)).event)
        for event in events
        for body in event["examples"]
    ]


def test_all_payloads_of_github_com(examples: Path) -> None:
    found = read(examples, "api.github.com")
    assert len(found) == 329
    assert len({name for name, _, _ in found}) == 58
    kinds = Counter(type(event).__name__ for _, _, event in found)
    del kinds["Ignored"]
    assert kinds == {
        "PullRequestEvent": 19, "PushEvent": 7, "InstallationEvent": 10, "PingEvent": 4, "CheckEvent": 4,
        "CommentEvent": 8,
    }  # fmt: skip


def test_payloads_of_every_enterprise_server(examples: Path) -> None:
    servers = sorted(path.parent.name for path in examples.glob("*/index.json") if path.parent.name != "api.github.com")
    assert servers
    for server in servers:
        assert any(isinstance(event, PullRequestEvent) for _, _, event in read(examples, server))


def test_what_was_read_is_what_was_sent(examples: Path) -> None:
    for name, body, event in read(examples, "api.github.com"):
        if isinstance(event, PullRequestEvent):
            assert event.pull is not None
            assert (name, event.number) == ("pull_request", body["pull_request"]["number"])
            assert event.pull.head.sha == body["pull_request"]["head"]["sha"]
            assert event.pull.author == body["pull_request"]["user"]["login"]
        elif isinstance(event, CommentEvent):
            assert name in ("pull_request_review", "pull_request_review_comment")
            assert event.number == body["pull_request"]["number"]
            said = body.get("comment") or body["review"]
            assert event.comment is not None and event.comment.body == (said["body"] or "")
            assert event.comment.created == said.get("created_at", said.get("submitted_at"))
        elif isinstance(event, PushEvent):
            assert event.ref == body["ref"]
            assert (event.after is None) == body["deleted"]
        elif isinstance(event, CheckEvent):
            assert body["action"] == "rerequested"
            assert event.head == body[name]["head_sha"]
        elif isinstance(event, InstallationEvent):
            assert event.installation == body["installation"]["id"]
        elif isinstance(event, PingEvent):
            assert event.hook_id == body["hook_id"]
        else:
            assert isinstance(event, Ignored)
            assert event.reason


def test_no_payload_survives_the_loss_of_its_end(examples: Path) -> None:
    name = "pull_request"
    body = next(body for found, body, _ in read(examples, "api.github.com") if found == name)
    whole = json.dumps(body).encode()
    for part in range(0, len(whole), 997):
        with pytest.raises(MalformedError, match="not JSON"):
            verified(sent("github", name, whole[:part]))


def test_comments_on_issues_are_ignored_with_the_reason(examples: Path) -> None:
    comments = [event for name, _, event in read(examples, "api.github.com") if name == "issue_comment"]
    assert len(comments) == 9
    assert all(isinstance(event, Ignored) and "is no pull request" in event.reason for event in comments)
