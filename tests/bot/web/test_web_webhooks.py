# SPDX-License-Identifier: Apache-2.0
"""Deliveries that are forged, stale, replayed, doubled, torn, too large or no JSON; then those that are kept."""

from __future__ import annotations

import socket
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from git_hmopt.errors import CorruptRecordError
from git_hmopt.store.queue import Bounds, Queue, State
from hmopt_bot.delivery import KIND, Delivery
from hmopt_bot.forges.events import CommentEvent, PullRequestEvent
from hmopt_bot.forges.gitee import Gitee
from hmopt_bot.registration import Registered
from hmopt_bot.web.limits import Limits
from tests.bot.forges.deliveries import (
    FORGES,
    GITEE_PULL,
    GITHUB_COMMENT,
    GITHUB_PULL,
    KERNEL,
    NOTES,
    PULLS,
    SECRET,
    Sent,
    changed,
    sent,
)
from tests.bot.web.serving import WEBHOOKS, Served, heard, post, served
from tests.loop.project import Project

GOOD = heard()
SIGNATURE = GOOD.headers["X-Hub-Signature-256"]
forges = pytest.mark.parametrize("forge", sorted(FORGES))


def waiting(site: Served) -> int:
    """Return how many jobs wait."""
    return site.site.queue.counts()[State.WAITING]


def noted(forge: str, **options: Any) -> Sent:
    """Return the delivery of a comment."""
    name, body = NOTES[forge]
    return sent(forge, name, body, **{"now": time.time(), **options})


FORGED = {
    "no signature": GOOD.having(X_Hub_Signature_256=None),
    "an empty one": GOOD.having(X_Hub_Signature_256=""),
    "of another secret": heard(secret="another secret"),
    "of another body": GOOD.having(X_Hub_Signature_256=heard(number=4).headers["X-Hub-Signature-256"]),
    "one byte more": replace(GOOD, body=GOOD.body + b" "),
    "truncated": replace(GOOD, body=GOOD.body[:-1]),
    "sha1": GOOD.having(X_Hub_Signature_256=SIGNATURE.replace("sha256", "sha1")),
    "in upper case": GOOD.having(X_Hub_Signature_256=SIGNATURE.upper()),
    "no ASCII": GOOD.having(X_Hub_Signature_256="sha256=\xff"),
    "large": replace(GOOD, body=b"x" * (1 << 20)),
    "Gitee's without one": heard("gitee").having(X_Gitee_Token=None),
    "Gitee's of another secret": heard("gitee", secret="another secret"),
    "Gitee's of another time": heard("gitee").having(X_Gitee_Timestamp="1633679083918"),
    "Gitee's with the secret for a signature": heard("gitee").having(X_Gitee_Token=SECRET),
    "GitCode's without one": heard("gitcode").having(X_GitCode_Signature_256=None),
    "GitCode's of another secret": heard("gitcode", secret="another secret"),
    "GitCode's of another body": replace(heard("gitcode"), body=heard("gitcode", 8).body),
}


@pytest.mark.parametrize("delivery", FORGED.values(), ids=FORGED)
def test_what_is_forged_is_not_kept(site: Served, delivery: Sent) -> None:
    with site.client() as client:
        answer = post(client, delivery)
    assert answer.status_code == 401
    assert answer.json()["detail"] == "this is not signed with the secret of the webhook"
    assert SECRET not in answer.text
    assert not waiting(site)


def test_a_forge_is_not_believed_on_the_webhook_of_another(site: Served) -> None:
    with site.client() as client:
        assert post(client, heard(), name="gitee").status_code == 401
        assert post(client, heard("gitee"), name="github").status_code == 401
    assert not waiting(site)


@pytest.mark.parametrize("behind_s", [400, 86_400, -400])
def test_what_is_stale_is_not_kept(site: Served, behind_s: float) -> None:
    with site.client() as client:
        answer = post(client, heard("gitee", behind_s=behind_s))
        assert answer.status_code == 401
        assert f" s {'behind' if behind_s > 0 else 'ahead of'} this host's clock; 300 s are" in answer.json()["detail"]
        for within in (200, -200):
            assert post(client, heard("gitee", behind_s=within)).status_code == 202
    assert waiting(site) == 2


NOT_JSON = {
    "empty": b"",
    "text": b"hello",
    "half": GOOD.body[:-1],
    "a list": b"[]",
    "a number": b"1",
    "deep": b"[" * 100_000,
    "no UTF-8": b'{"a": "\xff"}',
    "a form": b"payload=%7B%7D",
    "an object of something else": b'{"zen": "Keep it logically awesome."}',
    "a number that is none": GOOD.body.replace(b'"number": 7', b'"number": true'),
}


@forges
@pytest.mark.parametrize("body", NOT_JSON.values(), ids=NOT_JSON)
def test_what_is_no_event_is_refused_although_it_is_signed(site: Served, forge: str, body: bytes) -> None:
    with site.client() as client:
        answer = post(client, sent(forge, NOTES[forge][0], body, now=time.time()))
    assert (answer.status_code, answer.headers["Content-Type"]) == (400, "application/problem+json")
    assert "delivery is " in answer.json()["detail"]
    assert not waiting(site)


@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "text/plain", "", None, "application/json-x"])
def test_another_type_is_refused_and_the_setting_named(site: Served, kind: str | None) -> None:
    with site.client() as client:
        answer = post(client, GOOD.having(Content_Type=kind))
        assert answer.status_code == 415
        assert answer.json()["detail"].endswith("set the webhook's content type to application/json")
        assert post(client, GOOD.having(Content_Type="Application/JSON; charset=utf-8")).status_code == 202


@pytest.mark.parametrize("identity", ["", "a b", "a/b", "x" * 129, "\xff"])
@pytest.mark.parametrize("forge", ["github", "gitcode"])
def test_an_identity_that_is_none_is_refused(site: Served, forge: str, identity: str) -> None:
    with site.client() as client:
        assert post(client, heard(forge, id=identity)).status_code == 400


def test_a_header_that_says_two_things_is_refused(site: Served) -> None:
    headers = [*GOOD.headers.items(), ("X-GitHub-Delivery", "two")]
    with site.client() as client:
        assert client.post("/webhooks/github", content=GOOD.body, headers=headers).status_code == 400
    assert not waiting(site)


def test_an_unknown_webhook_and_another_method(site: Served) -> None:
    with site.client() as client:
        assert post(client, GOOD, name="gitlab").status_code == 404
        assert post(client, GOOD, name="x" * 40).status_code == 422
        assert client.get("/webhooks/github").status_code == 405


def test_a_large_delivery_is_refused_before_it_is_there(untouched: Project, queue: Queue) -> None:
    limits = Limits(webhook_bytes=4000)
    with served(untouched.root, queue, limits=limits) as site, site.client() as client:
        for size, status in ((4000, 202), (4001, 413), (9000, 413)):
            body = GOOD.body.replace(b"faster", b"x" * (size - len(GOOD.body) + len("faster")))
            assert len(body) == size
            assert post(client, sent("github", "pull_request", body, id=str(size))).status_code == status
        # One that says it will be large is not waited for.
        with socket.create_connection(site.address, timeout=10) as raw:
            raw.sendall(b"POST /webhooks/github HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999\r\n\r\n")
            assert raw.recv(64).startswith(b"HTTP/1.1 413 ")
        # One that does not say so is cut off when it is.
        with socket.create_connection(site.address, timeout=10) as raw:
            raw.sendall(b"POST /webhooks/github HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
            raw.sendall(b"fa1\r\n" + b"x" * 4001 + b"\r\n")
            assert raw.recv(64).startswith(b"HTTP/1.1 413 ")
    assert queue.counts()[State.WAITING] == 1


def test_one_that_a_forge_may_send_is_not_too_large(site: Served) -> None:
    """A comment as long as GitHub takes it, each character written as twelve."""
    body = changed(GITHUB_COMMENT, "comment.body", "\U0001f427" * 65_536)
    large = sent("github", "issue_comment", body)
    assert len(large.body) > 750_000
    with site.client() as client:
        assert post(client, large).status_code == 202
        # They are read beside the event loop, and refused all the same.
        assert post(client, replace(large, body=large.body[:-1])).status_code == 401


@forges
def test_one_that_is_slow_to_read_is_refused(site: Served, forge: str) -> None:
    name, body = NOTES[forge]
    with site.client() as client:
        answer = post(client, sent(forge, name, {**body, "more": [[]] * 150_000}, now=time.time()))
    assert answer.status_code == 413 and "opening brackets" in answer.json()["detail"]
    assert not waiting(site)


@forges
def test_a_delivery_again_is_no_second_job(site: Served, forge: str) -> None:
    delivery = heard(forge)
    with site.client() as client:
        first, again = post(client, delivery), post(client, delivery)
        identity = first.json()["delivery"]
        assert identity == "one" or forge == "gitee"
        assert first.status_code == 202
        assert first.json() == {"v": 1, "delivery": identity, "new": True, "reason": None}
        assert again.status_code == 200
        assert again.json() == {"v": 1, "delivery": identity, "new": False, "reason": "it was here before"}
    assert waiting(site) == 1
    job = site.site.queue.find(KIND, f"{forge}/{identity}")
    assert job is not None and job.subject == f"{forge}:kernel/linux#7"
    kept = Delivery.from_bytes(job.payload)
    assert (kept.forge, kept.delivery) == (forge, identity)
    # What a worker makes of it is what the forge said.
    event = FORGES[forge].event(kept.event, kept.body)
    assert isinstance(event, PullRequestEvent) and (event.repository, event.number) == (KERNEL, 7)


@pytest.mark.parametrize("forge", ["github", "gitcode"])
def test_a_replay_under_another_identity_is_known(site: Served, forge: str) -> None:
    """Neither the identity nor the event's name is signed."""
    with site.client() as client:
        assert post(client, heard(forge)).status_code == 202
        assert post(client, heard(forge, id="two")).json()["reason"] == "it was here before"
        renamed = heard(forge, id="three").having(**{f"X_{'GitHub' if forge == 'github' else 'GitCode'}_Event": "ping"})
        assert post(client, renamed).status_code == 200
    assert waiting(site) == 1


def test_gitee_s_replay_is_known_for_as_long_as_its_time_is_good(site: Served) -> None:
    ahead = heard("gitee", behind_s=-290)
    with site.client() as client:
        assert [post(client, ahead).status_code for _ in range(2)] == [202, 200]
    found = site.site.queue._database.execute("SELECT until FROM seen WHERE key LIKE 'replay gitee:%'").fetchall()
    assert [float(str(until)) > time.time() + 590 for (until,) in found] == [True]


def test_deliveries_out_of_order_are_kept_in_the_order_they_came(site: Served) -> None:
    """A worker reads everything again: which was first says nothing."""
    pushed = sent("github", "pull_request", changed(GITHUB_PULL, "action", "synchronize"), id="pushed")
    later, before = heard("gitee", behind_s=10), heard("gitee", behind_s=100)
    with site.client() as client:
        answers = [post(client, one) for one in (noted("github", id="noted"), pushed, heard(id="opened"))]
        answers += [post(client, one) for one in (later, before)]
    assert [one.status_code for one in answers] == [202] * 5
    jobs = [site.site.queue.take("w", lease_s=9, kinds=[KIND]) for _ in range(5)]
    # Those of one subject one after the other.
    assert [job and job.key.partition("/")[0] for job in jobs] == ["github", "gitee", None, None, None]
    assert jobs[0] is not None and jobs[0].key == "github/noted"
    site.site.queue.done(jobs[0])
    following = site.site.queue.take("w", lease_s=9, kinds=[KIND])
    assert following is not None and following.key == "github/pushed"


PUSH = {"ref": "refs/heads/x", "before": "a" * 40, "after": "b" * 40, "repository": {"full_name": "kernel/linux"}}
ABOUT = {
    "a comment": ("github", *NOTES["github"], "github:kernel/linux#7"),
    "Gitee's comment": ("gitee", *NOTES["gitee"], "gitee:kernel/linux#7"),
    "GitCode's comment": ("gitcode", *NOTES["gitcode"], "gitcode:kernel/linux#7"),
    "GitCode's pull request": ("gitcode", *PULLS["gitcode"], "gitcode:kernel/linux#7"),
    "a push": ("github", "push", PUSH, "github:kernel/linux"),
    "in other letters": (
        "github", "pull_request", changed(GITHUB_PULL, "repository.full_name", "Kernel/Linux"), "github:kernel/linux#7"
    ),
    "an installation": (
        "github", "installation", {"action": "created", "installation": {"id": 3}}, "github:kernel/linux"
    ),
}  # fmt: skip


@pytest.mark.parametrize(("forge", "name", "body", "subject"), ABOUT.values(), ids=ABOUT)
def test_what_a_delivery_is_about(site: Served, forge: str, name: str, body: dict[str, Any], subject: str) -> None:
    with site.client() as client:
        answer = post(client, sent(forge, name, body, now=time.time()))
    assert answer.status_code == 202, answer.text
    job = site.site.queue.find(KIND, f"{forge}/{answer.json()['delivery']}")
    assert job is not None and job.subject == subject


HOSTILE = "\x1b[1m\u202e<script>/etc/x" + "x" * 10_000
NOTHING = {
    "ping": ("github", "ping", {"zen": "x", "hook_id": 3}, "it is a ping: the webhook works"),
    "a star": ("github", "star", {"action": "created"}, "'star' events are none of the bot's"),
    "an assignment": (
        "github", "pull_request", changed(GITHUB_PULL, "action", "assigned"),
        "nothing follows from a pull request that was 'assigned'",
    ),
    "a hostile one": (
        "github", "pull_request", changed(GITHUB_PULL, "action", HOSTILE),
        "nothing follows from a pull request that was '",
    ),
    "an issue": (
        "github", "issue_comment", changed(GITHUB_COMMENT, "issue.pull_request", ...), "issue 7 is no pull request"
    ),
    "another repository": (
        "github", "pull_request", changed(GITHUB_PULL, "repository.full_name", "kernel/other"),
        "it is about kernel/other, and this webhook is of kernel/linux",
    ),
    "another repository of Gitee": (
        "gitee", "Merge Request Hook", changed(GITEE_PULL, "repository.full_name", "a/b"),
        "it is about a/b, and this webhook is of kernel/linux",
    ),
    "a part of its name": (
        "gitee", "Merge Request Hook", changed(GITEE_PULL, "repository.full_name", "kernel/linux2"),
        "it is about kernel/linux2, and this webhook is of kernel/linux",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("forge", "name", "body", "reason"), NOTHING.values(), ids=NOTHING)
def test_what_nothing_follows_from_is_acknowledged_with_the_reason(
    site: Served, forge: str, name: str, body: dict[str, Any], reason: str
) -> None:
    with site.client() as client:
        answer = post(client, sent(forge, name, body, now=time.time()))
    assert (answer.status_code, answer.json()["new"]) == (200, False)
    assert answer.json()["reason"].startswith(reason)
    assert len(answer.text) < 1000 and not {"\x1b", "\u202e"} & set(answer.json()["reason"])
    assert not any(site.site.queue.counts().values())


def test_gitee_s_ping_is_a_header(site: Served) -> None:
    with site.client() as client:
        answer = post(client, heard("gitee").having(X_Gitee_Ping="true"))
    assert (answer.status_code, answer.json()["reason"]) == (200, "it is a ping: the webhook works")
    assert not waiting(site)


def test_what_gitee_repeats_of_the_secret_is_not_kept(untouched: Project, tmp_path: Path) -> None:
    body = changed(GITEE_PULL, "sign", "the-signature-again")
    assert body["password"] == SECRET
    with Queue(tmp_path / "queue") as queue, served(untouched.root, queue) as site, site.client() as client:
        answer = post(client, sent("gitee", "Merge Request Hook", body, now=time.time()))
        job = queue.find(KIND, f"gitee/{answer.json()['delivery']}")
        assert job is not None
        kept = Delivery.from_bytes(job.payload).body
        assert b"password" not in kept and b"sign" not in kept and b'"number": 7' in kept
        found = b"".join(path.read_bytes() for path in (tmp_path / "queue").iterdir())
        assert b'"number": 7' in found
        assert SECRET.encode() not in found and b"the-signature-again" not in found


def test_both_secrets_are_good_while_one_replaces_the_other(untouched: Project, queue: Queue) -> None:
    new = "the secret that comes"
    forge = Gitee((SecretStr(SECRET), SecretStr(new)), SecretStr("token"))
    with served(untouched.root, queue) as site, site.client() as client:
        site.site.webhooks = {**WEBHOOKS, "gitee": Registered("gitee", forge, KERNEL, "hmopt-bot", "https://x/y.git")}
        for secret, status in ((SECRET, 202), (new, 202), ("neither of the two", 401)):
            assert post(client, heard("gitee", len(secret), secret=secret)).status_code == status


def test_whoever_forges_again_and_again_is_not_listened_to(untouched: Project, queue: Queue) -> None:
    with served(untouched.root, queue, limits=Limits(forged_a_minute=6)) as site, site.client() as client:
        # What is signed and wrong otherwise is no attempt.
        for delivery, status in ((heard("gitee", behind_s=400), 401), (GOOD.having(Content_Type="text/plain"), 415)):
            assert [post(client, delivery).status_code for _ in range(3)] == [status] * 3
        bad = heard(secret="wrong")
        assert [post(client, bad).status_code for _ in range(4)] == [401, 401, 429, 429]
        late = post(client, GOOD)
        assert late.status_code == 429 and 1 <= int(late.headers["Retry-After"]) <= 10


def test_a_full_queue_says_come_back(untouched: Project, tmp_path: Path) -> None:
    with (
        Queue(tmp_path / "small", bounds=Bounds(waiting=1)) as queue,
        served(untouched.root, queue) as site,
        site.client() as client,
    ):
        assert post(client, GOOD).status_code == 202
        for _ in range(2):  # it is not taken for a replay of itself
            answer = post(client, heard(number=8, id="two"))
            assert (answer.status_code, answer.headers["Retry-After"]) == (503, "30")
        assert str(tmp_path) not in answer.text
        # The one that is there already is acknowledged all the same.
        assert post(client, GOOD).status_code == 200


def test_many_at_once_are_all_kept(site: Served) -> None:
    statuses: list[int] = []

    def send(number: int) -> None:
        with site.client() as client:
            for count in range(25):
                delivery = heard(number=1 + 25 * number + count, id=f"{number}-{count}")
                statuses.append(post(client, delivery).status_code)

    threads = [threading.Thread(target=send, args=(number,)) for number in range(8)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert statuses == [202] * 200
    assert waiting(site) == 200


def test_a_payload_of_another_version_is_said() -> None:
    for payload in (b"", b"{}\n", b'{"v": 2}\n{}', b"[]\n", b'{"v": 1, "forge": "x"}\n', b"\xff\n"):
        with pytest.raises(CorruptRecordError):
            Delivery.from_bytes(payload)


def test_a_kept_comment_is_read_as_it_was_sent(site: Served) -> None:
    with site.client() as client:
        assert post(client, noted("github", id="noted")).status_code == 202
    job = site.site.queue.find(KIND, "github/noted")
    assert job is not None
    kept = Delivery.from_bytes(job.payload)
    assert kept.body == noted("github").body
    event = FORGES["github"].event(kept.event, kept.body)
    assert isinstance(event, CommentEvent) and event.comment is not None and event.comment.body.startswith("/hmopt")
