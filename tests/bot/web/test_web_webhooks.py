# SPDX-License-Identifier: Apache-2.0
"""Deliveries that are forged, doubled, torn, too large or no JSON; then those that are kept."""

from __future__ import annotations

import base64
import json
import socket
import threading
from collections.abc import Mapping
from pathlib import Path

import pytest

from git_hmopt.errors import CorruptRecordError
from git_hmopt.store.queue import Bounds, Queue, State
from hmopt_bot.web.delivery import KIND, Delivery
from hmopt_bot.web.doorbell import Ring
from hmopt_bot.web.limits import Limits
from tests.bot.web.serving import Served, opened, served, signed
from tests.loop.project import Project


def without(headers: Mapping[str, str], name: str) -> dict[str, str]:
    return {key: value for key, value in headers.items() if key != name}


def raw(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    """Return headers as bytes: a client of good manners sends nothing but ASCII."""
    return [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]


BODY = opened()
GOOD = signed(BODY, "one")
FORGED = {
    "no signature": (BODY, without(GOOD, "X-Hub-Signature-256")),
    "an empty one": (BODY, {**GOOD, "X-Hub-Signature-256": ""}),
    "of another secret": (BODY, signed(BODY, "one", secret=b"another secret")),
    "of another body": (BODY, signed(opened(4), "one")),
    "one byte more": (BODY + b" ", GOOD),
    "truncated": (BODY[:-1], GOOD),
    "sha1": (BODY, {**GOOD, "X-Hub-Signature-256": GOOD["X-Hub-Signature-256"].replace("sha256", "sha1")}),
    "in upper case": (BODY, {**GOOD, "X-Hub-Signature-256": GOOD["X-Hub-Signature-256"].upper()}),
    "no ASCII": (BODY, {**GOOD, "X-Hub-Signature-256": "sha256=\xff"}),
}


@pytest.mark.parametrize(("body", "headers"), FORGED.values(), ids=FORGED)
def test_what_is_forged_is_not_kept(site: Served, body: bytes, headers: Mapping[str, str]) -> None:
    with site.client() as client:
        answer = client.post("/webhooks/github", content=body, headers=raw(headers))
    assert answer.status_code == 401
    assert answer.json()["detail"] == "this is not signed with the secret of the webhook"
    assert site.site.queue.counts()[State.WAITING] == 0


NOT_JSON = {
    "empty": b"",
    "text": b"hello",
    "half": BODY[:-1],
    "a list": b"[]",
    "a number": b"1",
    "deep": b"[" * 100_000,
    "no UTF-8": b'{"a": "\xff"}',
    "a form": b"payload=%7B%7D",
}


@pytest.mark.parametrize("body", NOT_JSON.values(), ids=NOT_JSON)
def test_what_is_no_json_is_refused_although_it_is_signed(site: Served, body: bytes) -> None:
    with site.client() as client:
        answer = client.post("/webhooks/github", content=body, headers=signed(body, "one"))
    assert (answer.status_code, answer.headers["Content-Type"]) == (400, "application/problem+json")
    assert site.site.queue.counts()[State.WAITING] == 0


@pytest.mark.parametrize("identity", ["", "a b", "a/b", "x" * 129, "\xff"])
def test_an_identity_that_is_none_is_refused(site: Served, identity: str) -> None:
    headers = raw(signed(BODY, identity))
    with site.client() as client:
        assert client.post("/webhooks/github", content=BODY, headers=headers).status_code == 400


def test_an_unknown_webhook_and_another_method(site: Served) -> None:
    with site.client() as client:
        assert client.post("/webhooks/gitlab", content=BODY, headers=GOOD).status_code == 404
        assert client.post("/webhooks/" + "x" * 40, content=BODY, headers=GOOD).status_code == 422
        assert client.get("/webhooks/github").status_code == 405


def test_a_large_delivery_is_refused_before_it_is_there(untouched: Project, queue: Queue) -> None:
    limits = Limits(webhook_bytes=1000)
    with served(untouched.root, queue, limits=limits) as site, site.client() as client:
        for size, status in ((1000, 202), (1001, 413), (5000, 413)):
            body = json.dumps({"pad": "x" * (size - 11)}).encode()
            assert len(body) == size
            answer = client.post("/webhooks/github", content=body, headers=signed(body, str(size)))
            assert answer.status_code == status
        # One that says it will be large is not waited for.
        with socket.create_connection(site.address, timeout=10) as raw:
            raw.sendall(b"POST /webhooks/github HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999\r\n\r\n")
            assert raw.recv(64).startswith(b"HTTP/1.1 413 ")
        # One that does not say so is cut off when it is.
        with socket.create_connection(site.address, timeout=10) as raw:
            raw.sendall(b"POST /webhooks/github HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
            raw.sendall(b"3e9\r\n" + b"x" * 1001 + b"\r\n")
            assert raw.recv(64).startswith(b"HTTP/1.1 413 ")
    assert queue.counts()[State.WAITING] == 1


def test_a_delivery_again_is_no_second_job(site: Served) -> None:
    with site.client() as client:
        first = client.post("/webhooks/github", content=BODY, headers=GOOD)
        again = client.post("/webhooks/github", content=BODY, headers=GOOD)
        # The headers are not signed: another event under the same identity is the same delivery.
        other = client.post("/webhooks/github", content=BODY, headers={**GOOD, "X-GitHub-Event": "issue_comment"})
    assert (first.status_code, first.json()) == (202, {"v": 1, "delivery": "one", "new": True})
    assert (again.status_code, again.json()) == (200, {"v": 1, "delivery": "one", "new": False})
    assert other.status_code == 200
    assert site.site.queue.counts()[State.WAITING] == 1
    job = site.site.queue.find(KIND, "github/one")
    assert job is not None and job.subject == "github:kernel/linux#3"
    kept = Delivery.from_bytes(job.payload)
    assert (kept.forge, kept.event, kept.delivery, kept.body) == ("github", "pull_request", "one", BODY)


@pytest.mark.parametrize(
    ("payload", "subject"),
    [
        ({"repository": {"full_name": "a/b"}, "issue": {"number": 7}}, "github:a/b#7"),
        ({"repository": {"full_name": "a/b"}}, "github:a/b"),
        ({"repository": {"full_name": "a/b"}, "pull_request": {"number": True}}, "github:a/b"),
        ({"repository": {"full_name": "a/b"}, "pull_request": {"number": "7"}}, "github:a/b"),
        ({"repository": {"full_name": "a/b"}, "pull_request": []}, "github:a/b"),
        ({"repository": {"full_name": ["a"]}, "issue": {"number": 7}}, None),
        ({"repository": {"full_name": "x" * 300}}, None),
        ({"zen": "Keep it logically awesome."}, None),
    ],
)
def test_what_a_delivery_is_about(site: Served, payload: object, subject: str | None) -> None:
    body = json.dumps(payload).encode()
    with site.client() as client:
        assert client.post("/webhooks/github", content=body, headers=signed(body, "d")).status_code == 202
    job = site.site.queue.find(KIND, "github/d")
    assert job is not None and job.subject == subject


def test_whoever_forges_again_and_again_is_not_listened_to(untouched: Project, queue: Queue) -> None:
    with served(untouched.root, queue, limits=Limits(forged_a_minute=6)) as site, site.client() as client:
        bad = signed(BODY, "one", secret=b"wrong")
        statuses = [client.post("/webhooks/github", content=BODY, headers=bad).status_code for _ in range(4)]
        assert statuses == [401, 401, 429, 429]
        late = client.post("/webhooks/github", content=BODY, headers=GOOD)
        assert late.status_code == 429 and 1 <= int(late.headers["Retry-After"]) <= 10


def test_a_full_queue_says_come_back(untouched: Project, tmp_path: Path) -> None:
    with (
        Queue(tmp_path / "small", bounds=Bounds(waiting=1)) as queue,
        served(untouched.root, queue) as site,
        site.client() as client,
    ):
        assert client.post("/webhooks/github", content=BODY, headers=GOOD).status_code == 202
        answer = client.post("/webhooks/github", content=BODY, headers=signed(BODY, "two"))
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "30")
        assert str(tmp_path) not in answer.text
        # The one that is there already is acknowledged all the same.
        assert client.post("/webhooks/github", content=BODY, headers=GOOD).status_code == 200


class Doorbell:
    """A forge that signs no identity: what was shown before is all there is to know a replay by."""

    def verify(self, headers: Mapping[str, str], body: bytes, now: float) -> Ring:
        return Ring(headers["x-identity"], "note", None, replay=base64.b64encode(body).decode()[:64], replay_s=60)


def test_a_replay_under_another_identity_is_known(untouched: Project, queue: Queue) -> None:
    with served(untouched.root, queue) as site, site.client() as client:
        site.site.doorbells = {"gitee": Doorbell()}
        statuses = [
            client.post("/webhooks/gitee", content=body, headers={"X-Identity": identity}).status_code
            for identity, body in (("1", b"a"), ("2", b"a"), ("3", b"b"))
        ]
    assert statuses == [202, 200, 202]


def test_many_at_once_are_all_kept(site: Served) -> None:
    statuses: list[int] = []

    def send(number: int) -> None:
        with site.client() as client:
            for count in range(25):
                headers = signed(BODY, f"{number}-{count}")
                statuses.append(client.post("/webhooks/github", content=BODY, headers=headers).status_code)

    threads = [threading.Thread(target=send, args=(number,)) for number in range(8)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert statuses == [202] * 200
    assert site.site.queue.counts()[State.WAITING] == 200


def test_a_payload_of_another_version_is_said() -> None:
    for payload in (b"", b"{}\n", b'{"v": 2}\n{}', b"[]\n", b'{"v": 1, "forge": "x"}\n', b"\xff\n"):
        with pytest.raises(CorruptRecordError):
            Delivery.from_bytes(payload)
