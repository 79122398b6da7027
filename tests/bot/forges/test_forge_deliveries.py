# SPDX-License-Identifier: Apache-2.0
"""What deliveries say in the bot's words, and which are repetitions."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import SecretStr

from hmopt_bot.forges.errors import ForgedError
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
from hmopt_bot.forges.gitcode import GitCode
from hmopt_bot.forges.gitee import Gitee
from hmopt_bot.forges.values import GHOST, PullState, RepositoryName
from tests.bot.forges.deliveries import (
    BASE,
    FORGES,
    GITCODE_NOTE,
    GITCODE_PULL,
    GITEE_NOTE,
    GITEE_PULL,
    GITHUB_COMMENT,
    GITHUB_PULL,
    GITHUB_REVIEW,
    HEAD,
    ID,
    KERNEL,
    NOTES,
    NOW,
    OLD,
    PULLS,
    SECRET,
    Sent,
    changed,
    gitee_signature,
    opened,
    sent,
)
from tests.bot.forges.test_forge_deliveries_refused import forges, verified


def told(forge: str, name: str, body: Any) -> Event:
    """Return the event of a delivery."""
    return verified(sent(forge, name, body)).event


def pull_of(body: dict[str, Any]) -> PullRequestEvent:
    """Return the event of one of GitHub's pull requests."""
    event = told("github", "pull_request", body)
    assert isinstance(event, PullRequestEvent)
    return event


# Gitee's published test vector.
VECTOR_SECRET, VECTOR_STAMP = "bBg5lrt03VixkX85CNqYIcecC0SIGASE", "1633679083918"
VECTOR = "Xvh4YPVe6l31XpDRL9J2yeaEXabsckIoUUschpXiVck="


@pytest.mark.parametrize("token", [VECTOR, VECTOR.replace("=", "%3D"), VECTOR.replace("=", "%3d")])
def test_gitee_published_vector(token: str) -> None:
    gitee = Gitee((SecretStr(VECTOR_SECRET),))
    headers = {"X-Gitee-Event": "Merge Request Hook", "X-Gitee-Timestamp": VECTOR_STAMP, "X-Gitee-Token": token}
    delivery = gitee.verify(headers, json.dumps(GITEE_PULL).encode(), int(VECTOR_STAMP) / 1000)
    assert isinstance(delivery.event, PullRequestEvent)


def test_a_plus_in_a_signature_is_no_blank() -> None:
    stamp = next(str(n) for n in range(int(NOW * 1000), int(NOW * 1000) + 1000) if "+" in gitee_signature(str(n)))
    assert verified(opened("gitee").having(X_Gitee_Timestamp=stamp, X_Gitee_Token=gitee_signature(stamp)))


def test_a_password_is_taken_where_it_is_asked_for_and_nowhere_else() -> None:
    rung = opened("gitee").having(X_Gitee_Token=SECRET)
    assert Gitee((SecretStr(SECRET),), password=True).verify(rung.headers, rung.body, NOW)
    plain = opened("gitcode").having(X_GitCode_Signature_256=None, X_GitCode_Token=SECRET)
    assert GitCode((SecretStr(SECRET),), plain=True).verify(plain.headers, plain.body, NOW)
    for delivery in (rung, plain):
        with pytest.raises(ForgedError, match="X-Git"):
            verified(delivery)


@forges
def test_a_repetition_has_the_key_of_the_first(forge: str) -> None:
    first = verified(opened(forge))
    assert verified(opened(forge)).replay_key == first.replay_key
    assert verified(sent(forge, *NOTES[forge])).replay_key != first.replay_key


@pytest.mark.parametrize("forge", ["github", "gitcode"])
def test_a_new_id_makes_no_new_delivery(forge: str) -> None:
    """The id is not signed: who recorded a delivery could send it again under another one."""
    first, second = verified(opened(forge)), verified(opened(forge, id="other"))
    assert (first.id, second.id) == (ID, "other")
    assert first.replay_key == second.replay_key


def test_another_event_name_makes_no_new_delivery() -> None:
    first = verified(opened("github"))
    again = verified(opened("github").having(X_GitHub_Event="star"))
    assert isinstance(again.event, Ignored)
    assert again.replay_key == first.replay_key


def test_gitee_keys_are_hook_time_and_body() -> None:
    first = verified(opened("gitee"))
    assert first.replay_key == f"gitee:5:{int(NOW * 1000)}:{first.body_sha256}"
    assert verified(opened("gitee", now=NOW + 1), now=NOW).replay_key != first.replay_key


@forges
def test_the_event_is_read_again_from_what_was_kept(forge: str) -> None:
    delivery = opened(forge)
    kept = FORGES[forge].kept(delivery.body)
    assert SECRET.encode() not in kept
    assert FORGES[forge].event(PULLS[forge][0], kept) == verified(delivery).event


def test_of_what_is_no_object_gitee_keeps_nothing() -> None:
    assert [FORGES["gitee"].kept(body) for body in (b"password=x", b"[1]", b"\xff")] == [b"", b"", b""]


def test_github_pull_request() -> None:
    event = pull_of(GITHUB_PULL)
    assert (event.action, event.number, event.sender, event.installation) == (PullAction.OPENED, 7, "ada", 99)
    pull = event.pull
    assert pull is not None
    assert (pull.base.sha, pull.head.sha, pull.head.repository) == (BASE, HEAD, RepositoryName("ada", "linux"))
    assert (pull.base.ref, pull.head.clone_url) == ("master", "https://forge.example/ada/linux.git")
    assert (pull.state, pull.draft, pull.labels, pull.is_fork) == (PullState.OPEN, False, frozenset({"perf"}), True)


@pytest.mark.parametrize(
    ("word", "action"),
    [
        ("reopened", PullAction.REOPENED),
        ("synchronize", PullAction.SYNCHRONISED),
        ("edited", PullAction.EDITED),
        ("labeled", PullAction.LABELLED),
        ("unlabeled", PullAction.UNLABELLED),
        ("ready_for_review", PullAction.READY),
        ("converted_to_draft", PullAction.DRAFTED),
        ("closed", PullAction.CLOSED),
    ],
)
def test_github_pull_request_actions(word: str, action: PullAction) -> None:
    assert pull_of(changed(GITHUB_PULL, "action", word)).action is action


def test_a_push_to_the_head_says_where_it_was() -> None:
    body = changed(changed(GITHUB_PULL, "action", "synchronize"), "before", OLD)
    assert pull_of(body).before == OLD


def test_a_deleted_fork_a_deleted_account_and_a_merge() -> None:
    body = changed(changed(GITHUB_PULL, "pull_request.head.repo", None), "pull_request.user", None)
    body = changed(changed(body, "pull_request.state", "closed"), "pull_request.merged_at", "2026-01-01T00:00:00Z")
    pull = pull_of(body).pull
    assert pull is not None
    assert (pull.is_fork, pull.author, pull.state) == (True, GHOST, PullState.MERGED)
    assert (pull.head.repository, pull.head.clone_url) == (None, None)


def test_half_a_character_is_none() -> None:
    raw = json.dumps(changed(GITHUB_PULL, "pull_request.title", "\ud83d")).encode()
    pull = pull_of(json.loads(raw)).pull
    assert pull is not None
    assert pull.title.encode() == b"?"


def test_github_comments() -> None:
    event = told("github", "issue_comment", GITHUB_COMMENT)
    assert isinstance(event, CommentEvent)
    assert (event.number, event.comment_id, event.action) == (7, 41, CommentAction.CREATED)
    assert event.comment is not None
    assert (event.comment.author, event.comment.body) == ("ada", "/hmopt check lib-sort")
    for word in CommentAction:
        again = told("github", "issue_comment", changed(GITHUB_COMMENT, "action", word.value))
        assert isinstance(again, CommentEvent)
        assert again.action is word


def test_github_reviews_and_comments_on_lines() -> None:
    event = told("github", "pull_request_review", GITHUB_REVIEW)
    assert isinstance(event, CommentEvent) and event.comment is not None
    assert (event.number, event.action, event.comment.created) == (7, CommentAction.CREATED, "2026-01-01T00:00:00Z")
    on_line = {**GITHUB_COMMENT, "pull_request": {"number": 7}}
    event = told("github", "pull_request_review_comment", changed(on_line, "issue", ...))
    assert isinstance(event, CommentEvent) and event.comment is not None
    assert (event.number, event.comment.body) == (7, "/hmopt check lib-sort")


@pytest.mark.parametrize(
    ("name", "body", "why"),
    [
        ("issue_comment", changed(GITHUB_COMMENT, "issue.pull_request", ...), "issue 7 is no pull request"),
        ("issue_comment", changed(GITHUB_COMMENT, "action", "pinned"), "'pinned'"),
        ("pull_request_review", changed(GITHUB_REVIEW, "action", "dismissed"), "'dismissed'"),
        ("pull_request", changed(GITHUB_PULL, "action", "assigned"), "'assigned'"),
        ("pull_request", changed(GITHUB_PULL, "action", ["\x1b[2J"]), "x1b"),
        ("star", {}, "'star'"),
        ("installation", {"action": "painted", "installation": {"id": 1}}, "'painted'"),
        ("check_run", {"action": "created"}, "'created'"),
        ("check_suite", {"action": "completed"}, "'completed'"),
    ],
)
def test_github_ignored_with_the_reason(name: str, body: dict[str, Any], why: str) -> None:
    event = told("github", name, body)
    assert isinstance(event, Ignored)
    assert why in event.reason
    assert event.reason.isprintable()


def test_github_push_check_installation_ping() -> None:
    where = {"repository": {"full_name": "kernel/linux"}, "sender": {"login": "ada"}}
    push = told("github", "push", {"ref": "refs/heads/x", "before": "0" * 40, "after": HEAD, **where})
    assert push == PushEvent(repository=KERNEL, sender="ada", ref="refs/heads/x", before=None, after=HEAD)
    run = {"action": "rerequested", "check_run": {"id": 3, "head_sha": HEAD, "external_id": "run-1"}, **where}
    check = told("github", "check_run", run)
    assert check == CheckEvent(repository=KERNEL, sender="ada", head=HEAD, check_id=3, external_id="run-1")
    suite = told("github", "check_suite", {"action": "rerequested", "check_suite": {"head_sha": HEAD}, **where})
    assert suite == CheckEvent(repository=KERNEL, sender="ada", head=HEAD)
    installed = {"action": "deleted", "installation": {"id": 9}, "repositories": [{"full_name": "a/b"}]}
    assert told("github", "installation", installed) == InstallationEvent(
        action="deleted", installation=9, sender=GHOST, removed=("a/b",)
    )
    assert told("github", "ping", {"hook_id": 5, "zen": "x"}) == PingEvent(hook_id=5)


@pytest.mark.parametrize("forge", ["gitee", "gitcode"])
def test_a_doorbell_names_and_tells_nothing(forge: str) -> None:
    assert told(forge, *PULLS[forge]) == PullRequestEvent(
        repository=KERNEL, sender="ada", action=PullAction.OPENED, number=7, pull=None
    )
    assert told(forge, *NOTES[forge]) == CommentEvent(
        repository=KERNEL, sender="ada", action=CommentAction.CREATED, number=7, comment_id=41, comment=None
    )


@pytest.mark.parametrize(
    ("body", "action"),
    [
        (changed(GITEE_PULL, "action", "close"), PullAction.CLOSED),
        (changed(GITEE_PULL, "action", "merge"), PullAction.CLOSED),
        (changed(GITEE_PULL, "action", "update"), PullAction.EDITED),
        ({**GITEE_PULL, "action": "update", "action_desc": "source_branch_changed"}, PullAction.SYNCHRONISED),
        ({**GITEE_PULL, "action": "update", "action_desc": "update_label"}, PullAction.LABELLED),
    ],
)
def test_gitee_pull_request_actions(body: dict[str, Any], action: PullAction) -> None:
    event = told("gitee", "Merge Request Hook", body)
    assert isinstance(event, PullRequestEvent)
    assert event.action is action
    assert told("gitee", "merge_request_hooks", body) == event


def test_gitcode_pushes_to_the_head() -> None:
    update = changed(GITCODE_PULL, "object_attributes.action", "update")
    event = told("gitcode", "Merge Request Hook", update)
    pushed = told("gitcode", "Merge Request Hook", changed(update, "object_attributes.oldrev", OLD))
    assert isinstance(event, PullRequestEvent)
    assert isinstance(pushed, PullRequestEvent)
    assert (event.action, pushed.action, pushed.before) == (PullAction.EDITED, PullAction.SYNCHRONISED, OLD)


@pytest.mark.parametrize(
    ("forge", "name", "body", "why"),
    [
        ("gitee", "Note Hook", {**GITEE_NOTE, "noteable_type": "Issue", "pull_request": None}, "'Issue'"),
        ("gitee", "Note Hook", changed(GITEE_NOTE, "action", "liked"), "'liked'"),
        ("gitee", "Merge Request Hook", changed(GITEE_PULL, "action", "approved"), "'approved'"),
        ("gitee", "Issue Hook", {}, "'Issue Hook'"),
        ("gitcode", "Note Hook", changed(GITCODE_NOTE, "merge_request", ...), "no pull request"),
        ("gitcode", "Merge Request Hook", changed(GITCODE_PULL, "object_attributes.action", "approved"), "'approved'"),
        ("gitcode", "Pipeline Hook", {}, "'Pipeline Hook'"),
    ],
)
def test_doorbells_ignored_with_the_reason(forge: str, name: str, body: dict[str, Any], why: str) -> None:
    event = told(forge, name, body)
    assert isinstance(event, Ignored)
    assert why in event.reason


def test_pushes_and_pings_of_the_others() -> None:
    gitee = {"ref": "refs/heads/x", "before": OLD, "after": "0" * 40, "repository": {"full_name": "kernel/linux"}}
    assert told("gitee", "Push Hook", gitee) == PushEvent(
        repository=KERNEL, sender=GHOST, ref="refs/heads/x", before=OLD, after=None
    )
    gitcode = {**gitee, "project": {"path_with_namespace": "kernel/linux"}, "user_username": "ada"}
    assert told("gitcode", "Push Hook", gitcode) == PushEvent(
        repository=KERNEL, sender="ada", ref="refs/heads/x", before=OLD, after=None
    )
    assert verified(opened("gitee").having(X_Gitee_Ping="true")).event == PingEvent(hook_id=None)


@forges
def test_order_and_doubles_change_nothing(forge: str) -> None:
    """Each delivery stands for itself: what order they come in is for the caller to bear, and it can."""
    deliveries: list[Sent] = [opened(forge), sent(forge, *NOTES[forge]), opened(forge)]
    forwards = [verified(one) for one in deliveries]
    backwards = [verified(one) for one in reversed(deliveries)]
    assert forwards == backwards[::-1]
    assert len({one.replay_key for one in forwards}) == 2
