# SPDX-License-Identifier: Apache-2.0
"""Gitee, whose hooks are doorbells; a GitHub App and its tokens of an hour; and how requests are sent at all."""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from pydantic import SecretStr

from git_hmopt.errors import StoreError
from git_hmopt.store.queue import Draft, Queue
from hmopt_bot.delivery import KIND, Delivery
from hmopt_bot.forges.errors import AnswerError, RateLimitedError, UnavailableError
from hmopt_bot.forges.forge import Forge
from hmopt_bot.forges.github import GitHub
from hmopt_bot.forges.github_app import App
from hmopt_bot.forges.message import Call, Request, Response
from hmopt_bot.forges.values import CheckRun, Conclusion
from hmopt_bot.pulls.access import Access
from hmopt_bot.pulls.handlers import Office
from hmopt_bot.pulls.posts import Posts
from hmopt_bot.pulls.speaking import Pace, Speaker
from hmopt_bot.registration import Registered
from hmopt_bot.work.outcome import Done, Outcome
from tests.bot.forges.deliveries import FORGES, GITEE_NOTE, GITEE_PULL, HEAD, KERNEL
from tests.bot.forges.fake_gitee import FakeGitee
from tests.loop.project import Project
from tests.store.servers import wsgi_server

Answering = Callable[[Request], Response]


@dataclass(frozen=True)
class Wired(Speaker):
    """Sends to a forge in this process instead of over a socket."""

    forge: Answering | None = None

    def _sent(self, request: Request) -> Response:
        assert self.forge is not None
        return self.forge(request)


def wired(directory: Path, forge: Answering) -> Wired:
    """Return a speaker to a forge in this process."""
    return Wired(Pace(directory / "pace.json", 1000, 1000), forge=forge)


@dataclass
class Gitee:
    """A worker's handlers and a fake Gitee."""

    fake: FakeGitee
    office: Office
    queue: Queue
    heard: list[Outcome] = field(default_factory=list)

    def hears(self, event: str, body: dict[str, Any]) -> Outcome:
        """Have a hook ring."""
        delivery = Delivery("gitee", event, str(len(self.heard)), time.time(), json.dumps(body).encode())
        self.queue.put(Draft(KIND, f"gitee/{len(self.heard)}", delivery.to_bytes()))
        job = self.queue.take("test", lease_s=60, kinds=[KIND])
        assert job is not None
        self.heard.append(self.office.delivered(job))
        self.queue.done(job)
        return self.heard[-1]


@pytest.fixture
def gitee(made: Project, tmp_path: Path) -> Iterator[Gitee]:
    """Serve the project for Gitee."""
    fake = FakeGitee(roles={"keeper": "admin"})
    registered = Registered("gitee", FORGES["gitee"], KERNEL, "hmopt-bot", "http://127.0.0.1:9/kernel/linux.git")
    with Queue(tmp_path / "queue") as queue:
        office = Office(made.root, queue, {"gitee": registered})
        office.access = Access(tmp_path)
        office.access._speakers["gitee"] = wired(tmp_path, fake)
        yield Gitee(fake, office, queue)


def note(id: int, text: str = "/hmopt stop") -> dict[str, Any]:
    """Return Gitee's hook about a comment."""
    body = copy.deepcopy(GITEE_NOTE)
    body["comment"].update(id=id, body=text)
    return body


def comment(fake: FakeGitee, text: str, *, by: str = "keeper") -> int:
    """Have somebody comment on Gitee; return the comment's number."""
    fake.comments.append({"id": len(fake.comments) + 1, "body": text, "user": {"login": by}, "created_at": "t"})
    return len(fake.comments)


def test_a_command_is_read_again_and_answered_on_gitee(gitee: Gitee) -> None:
    id = comment(gitee.fake, "/hmopt stop")
    assert gitee.hears("Note Hook", note(id)) == Done("answered")
    assert "nothing runs and nothing waits" in gitee.fake.comments[-1]["body"]


def test_what_a_hook_says_is_no_command_of_anybody(gitee: Gitee) -> None:
    """The signature does not cover the body: only what the API says counts."""
    id = comment(gitee.fake, "nice work")
    assert gitee.hears("Note Hook", note(id, "/hmopt stop")) == Done("no command")
    assert gitee.hears("Note Hook", note(99, "/hmopt stop")) == Done("the comment is gone")
    id = comment(gitee.fake, "/hmopt stop", by="stranger")
    body = note(id)
    body["sender"]["login"] = body["comment"]["user"] = "keeper"
    gitee.hears("Note Hook", {**note(id), "sender": {"login": "keeper"}})
    assert "It takes the right to write" in gitee.fake.comments[-1]["body"]


def test_a_command_below_one_pull_request_is_none_below_another(gitee: Gitee) -> None:
    """Its number is a claim, too: what a maintainer asked about one is not done to another."""
    id = comment(gitee.fake, "/hmopt stop")
    gitee.fake.comments[-1]["below"] = "8"
    assert gitee.hears("Note Hook", note(id)) == Done("the comment is below another pull request")
    assert len(gitee.fake.comments) == 1


def test_a_pull_request_on_gitee_is_read_again(gitee: Gitee) -> None:
    hook = copy.deepcopy(GITEE_PULL)
    # Its label has the bot speak, and nobody is there to fetch its head from.
    with pytest.raises(StoreError, match="could not be spoken to"):
        gitee.hears("Merge Request Hook", hook)
    assert [request.method for request in gitee.fake.requests] == ["GET"]


@pytest.mark.parametrize("conclusion", [Conclusion.SUCCESS, Conclusion.FAILURE, Conclusion.NEUTRAL])
def test_labels_stand_for_a_check_where_the_bot_is_no_administrator(tmp_path: Path, conclusion: Conclusion) -> None:
    fake = FakeGitee(admin=False, labels=["hmopt-passed", "perf"])
    posts = Posts(FORGES["gitee"], KERNEL, "hmopt-bot", wired(tmp_path, fake))
    for _ in range(2):
        posts.check(7, CheckRun("hmopt", HEAD, "hmopt:7:x", "so", "it is", conclusion))
    expected = {"success": "hmopt-passed", "failure": "hmopt-regressed", "neutral": "hmopt-undecided"}[conclusion]
    assert sorted(fake.labels) == sorted(["perf", expected])


def test_one_check_on_gitee_however_often_it_is_said(tmp_path: Path) -> None:
    fake = FakeGitee()
    posts = Posts(FORGES["gitee"], KERNEL, "hmopt-bot", wired(tmp_path, fake))
    for conclusion in (Conclusion.NEUTRAL, Conclusion.SUCCESS):
        posts.check(7, CheckRun("hmopt", HEAD, "hmopt:7:x", "so", "it is", conclusion))
    assert [one["conclusion"] for one in fake.checks] == ["success"]


# -- an App's tokens ---------------------------------------------------------------------------------------------------


def test_an_installations_token_is_asked_for_once_and_again_before_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = rsa.generate_private_key(65537, 2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    asked: list[str] = []
    now = time.time()

    def github(request: Request) -> Response:
        asked.append(request.url.removeprefix("https://api.github.com"))
        found: dict[str, Any] = {"id": 99}
        if request.method == "POST":
            assert json.loads(request.body)["repositories"] == ["linux"]
            ends = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now + 3600))
            found = {"token": f"ghs_{len(asked)}", "expires_at": ends}
        return Response(201 if request.method == "POST" else 200, {"content-type": "application/json"}, _json(found))

    registered = Registered(
        "github", GitHub((SecretStr("s" * 16),)), KERNEL, "hmopt[bot]", "https://github.com/kernel/linux.git",
        App("1", SecretStr(key.decode())),
    )  # fmt: skip
    access = Access(tmp_path)
    access._speakers["github"] = wired(tmp_path, github)
    first = access.forge(registered)
    assert _token(access.forge(registered)) == _token(first) == "ghs_2" and len(asked) == 2
    remote = access.remote(registered, first)
    assert remote.login is not None and (remote.login.user, remote.login.password) == ("x-access-token", "ghs_2")
    monkeypatch.setattr("hmopt_bot.pulls.access.time.time", lambda: now + 3400)
    assert _token(access.forge(registered)) == "ghs_4"
    access.forget(registered)
    access.forge(registered)
    assert len(asked) == 6


def _token(forge: Forge) -> str:
    assert forge.token is not None
    return forge.token.get_secret_value()


def _json(value: object) -> bytes:
    return json.dumps(value).encode()


# -- sending -----------------------------------------------------------------------------------------------------------


def plain(response: Response) -> Response:
    """Return an answer as it is."""
    return response


def sender(directory: Path) -> Speaker:
    """Return a speaker over sockets."""
    return Speaker(Pace(directory / "pace.json", 1000, 1000), wait_s=2.0)


def test_a_redirect_is_an_answer_and_not_followed(tmp_path: Path) -> None:
    seen: list[str] = []

    def moved(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        seen.append(environ["PATH_INFO"])
        start_response("302 Found", [("Location", "/elsewhere")])
        return [b""]

    with wsgi_server(moved) as url:
        answer = sender(tmp_path).ask(Call(Request("GET", f"{url}/here", {"authorization": "token x"}), plain))
    assert (answer.status, answer.headers["location"], seen) == (302, "/elsewhere", ["/here"])


def test_nobody_there_and_silence_are_tried_again_by_others(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError) as caught:
        sender(tmp_path).ask(Call(Request("GET", "http://127.0.0.1:9/x?access_token=secret"), plain))
    assert "secret" not in str(caught.value)


def test_an_answer_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hmopt_bot.pulls.speaking._MOST_BYTES", 1000)

    def long(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        start_response("200 OK", [])
        return [b"x" * 2000]

    with wsgi_server(long) as url, pytest.raises(AnswerError, match="more than 1000 bytes"):
        sender(tmp_path).ask(Call(Request("GET", url), plain))


def test_the_pace_is_kept_by_all_who_share_its_file(tmp_path: Path) -> None:
    clock = [1000.0]
    one, two = (Pace(tmp_path / "pace.json", 3, 5, clock=lambda: clock[0]) for _ in range(2))
    for pace in (one, two, one):
        pace.take("a comment")
    with pytest.raises(RateLimitedError) as caught:
        two.take("a comment")
    assert caught.value.retry_at == 1060.0
    clock[0] = 1061.0
    two.take("a comment")
    one.take("a comment")
    with pytest.raises(RateLimitedError) as caught:
        one.take("a comment")
    assert caught.value.retry_at == 4600.0
    (tmp_path / "pace.json").write_text("[1, 2")
    one.take("what was cut by a kill is no reason to be silent")


def test_a_pace_that_cannot_be_kept_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be written"):
        Pace(tmp_path / "file/pace.json", 3, 5).take("a comment")
