# SPDX-License-Identifier: Apache-2.0
"""Calls to GitHub, each held against GitHub's own description of its API by a GitHub in this process."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, TypeVar

import pytest

from git_hmopt.errors import UsageError
from hmopt_bot.forges import sticky
from hmopt_bot.forges.errors import AnswerError, MissingError, RejectedError
from hmopt_bot.forges.github import GitHub
from hmopt_bot.forges.limits import BODY
from hmopt_bot.forges.message import Call, Page, Request, Response
from hmopt_bot.forges.values import (
    Annotation,
    CheckRun,
    Conclusion,
    Level,
    Permission,
    Proposal,
    PullState,
    RepositoryName,
    Status,
    StatusState,
)
from tests.bot.forges.contracts import npm_package
from tests.bot.forges.deliveries import BASE, FORGES, HEAD, KERNEL, SECRET
from tests.bot.forges.fake_github import FakeGitHub

T = TypeVar("T")
GITHUB = FORGES["github"]
CHECK = CheckRun("hmopt", HEAD, "run-1", "Cannot tell", "Smallest detectable change 1.8 %", Conclusion.NEUTRAL)


@pytest.fixture(scope="module")
def described() -> FakeGitHub:
    """Read the description once."""
    return FakeGitHub()


@pytest.fixture
def github(described: FakeGitHub) -> FakeGitHub:
    """Return an empty GitHub."""
    for kept in (described.comments, described.checks, described.labels, described.requests, described.refused):
        kept.clear()
    described.roles.clear()
    described.per_page = 100
    return described


def done(github: FakeGitHub, call: Call[T]) -> T:
    """Send a call, which must be a valid one."""
    response = github(call.request)
    assert github.refused == []
    return call.parse(response)


def every(github: FakeGitHub, call: Call[Page[T]] | None) -> list[T]:
    """Return what is on all pages."""
    found: list[T] = []
    while call:
        page = done(github, call)
        found += page.items
        call = page.following
    return found


def notes(count: int) -> tuple[Annotation, ...]:
    """Return annotations."""
    return tuple(Annotation("lib/sort.c", n, n, Level.WARNING, f"note {n}", "costs") for n in range(1, count + 1))


def test_read_a_pull_request(github: FakeGitHub) -> None:
    pull = done(github, GITHUB.read_pull(KERNEL, 7))
    assert (pull.number, pull.base.sha, pull.head.sha, pull.state) == (7, BASE, HEAD, PullState.OPEN)
    assert not pull.is_fork
    with pytest.raises(MissingError):
        done(github, GITHUB.read_pull(KERNEL, 1000))


def test_files_and_commit(github: FakeGitHub) -> None:
    (file,) = every(github, GITHUB.list_files(KERNEL, 7))
    assert (file.path, file.status, file.additions) == ("file1.txt", "added", 103)
    commit = done(github, GITHUB.read_commit(KERNEL, HEAD))
    assert (commit.sha, commit.parents, commit.message) == (HEAD, (BASE,), "lib/sort: faster")


def test_find_the_pull_request_of_a_branch(github: FakeGitHub) -> None:
    found = every(github, GITHUB.find_pulls(KERNEL, head="hmopt:hmopt/run-1", base="master"))
    assert [pull.head.sha for pull in found] == [HEAD]
    assert "head=hmopt%3Ahmopt%2Frun-1&base=master" in github.requests[0].url


@pytest.mark.parametrize("count", [0, 1, 9, 10, 11, 30, 31])
def test_comments_over_pages(github: FakeGitHub, count: int) -> None:
    github.per_page = 10
    for number in range(count):
        done(github, GITHUB.create_comment(KERNEL, 7, f"comment {number}"))
    assert [one.body for one in every(github, GITHUB.list_comments(KERNEL, 7))] == [
        f"comment {n}" for n in range(count)
    ]


@pytest.mark.parametrize("size", [65_535, 65_536, 65_537, 200_000])
@pytest.mark.parametrize("letter", ["a", "日", "🌈"])
def test_no_comment_is_too_long(github: FakeGitHub, size: int, letter: str) -> None:
    comment = done(github, GITHUB.create_comment(KERNEL, 7, letter * size))
    assert len(comment.body) <= BODY.most
    assert ("Cut to fit" in comment.body) == (size > BODY.most)
    assert done(github, GITHUB.update_comment(KERNEL, comment.id, letter * size)) == comment


def test_the_fake_refuses_what_is_too_long(github: FakeGitHub) -> None:
    call = GITHUB.create_comment(KERNEL, 7, "a")
    long = replace(call.request, body=json.dumps({"body": "a" * 65_537}).encode())
    with pytest.raises(RejectedError, match="too long"):
        call.parse(github(long))


def test_one_sticky_comment(github: FakeGitHub) -> None:
    done(github, GITHUB.create_comment(KERNEL, 7, "by a person"))
    done(github, GITHUB.create_comment(KERNEL, 7, sticky.marked("evidence", "by somebody else")))
    mine = done(github, GITHUB.create_comment(KERNEL, 7, sticky.marked("evidence", "first")))
    github.comments[1]["user"]["login"] = "mallory"
    found = sticky.found(every(github, GITHUB.list_comments(KERNEL, 7)), "evidence", author="Octocat")
    assert found == mine
    assert sticky.found([mine], "other", author="octocat") is None
    assert done(github, GITHUB.update_comment(KERNEL, mine.id, sticky.marked("evidence", "second"))).body.endswith(
        "second"
    )


@pytest.mark.parametrize("name", ["", "a--b", "-->", "A", "a b", "a" * 101, "<"])
def test_a_marker_is_a_word(name: str) -> None:
    with pytest.raises(UsageError, match="no name for a comment"):
        sticky.marked(name, "")


def test_a_comment_that_a_person_deleted(github: FakeGitHub) -> None:
    mine = done(github, GITHUB.create_comment(KERNEL, 7, "x"))
    github.comments.clear()
    for call in (GITHUB.update_comment(KERNEL, mine.id, "y"), GITHUB.read_comment(KERNEL, mine.id)):
        with pytest.raises(MissingError):
            done(github, call)


def test_reactions(github: FakeGitHub) -> None:
    call = GITHUB.react(KERNEL, 41, "eyes")
    assert call
    done(github, call)
    assert json.loads(github.requests[-1].body) == {"content": "eyes"}


@pytest.mark.parametrize(
    ("answer", "permission"),
    [
        (None, Permission.NONE),
        ({"permission": "none", "role_name": ""}, Permission.NONE),
        ({"permission": "read", "role_name": "triage"}, Permission.READ),
        ({"permission": "write", "role_name": "write"}, Permission.WRITE),
        ({"permission": "write", "role_name": "maintain"}, Permission.MAINTAIN),
        ({"permission": "admin", "role_name": "admin"}, Permission.ADMIN),
        ({"permission": "write", "role_name": "release-captain"}, Permission.WRITE),
        # An organisation names its roles as it likes.
        ({"permission": "read", "role_name": "developer"}, Permission.READ),
        ({"permission": "read", "role_name": "maintain"}, Permission.READ),
        ({"permission": "none", "role_name": "admin"}, Permission.NONE),
        ({"permission": "emperor", "role_name": "admin"}, Permission.NONE),
        ({"permission": None}, Permission.NONE),
    ],
)
def test_permissions(github: FakeGitHub, answer: dict[str, Any] | None, permission: Permission) -> None:
    if answer:
        github.roles["ada"] = answer
    assert done(github, GITHUB.read_permission(KERNEL, "ada")) is permission


@pytest.mark.parametrize("login", ["../../user", "ada?x=1", "a/b", "é", "dependabot[bot]"])
def test_a_login_stays_in_its_place(github: FakeGitHub, login: str) -> None:
    github.roles[login] = {"permission": "admin"}
    call = GITHUB.read_permission(KERNEL, login)
    assert "/collaborators/" in call.request.url
    assert call.request.url.endswith("/permission")
    assert "?" not in call.request.url
    assert call.request.url.count("/") == "https://api.github.com/repos/o/r/collaborators/x/permission".count("/")


def test_labels(github: FakeGitHub) -> None:
    done(github, GITHUB.add_labels(KERNEL, 7, ["perf: checked", "a/b"]))
    done(github, GITHUB.remove_label(KERNEL, 7, "a/b"))
    done(github, GITHUB.remove_label(KERNEL, 7, "a/b"))
    assert github.labels == ["perf: checked"]


@pytest.mark.parametrize("count", [0, 1, 50, 51, 120])
def test_a_check_run_with_annotations(github: FakeGitHub, count: int) -> None:
    check = replace(CHECK, annotations=notes(count))
    call = GITHUB.create_check(KERNEL, check)
    assert call
    made = done(github, call)
    assert (made.external_id, made.conclusion, made.head_sha) == ("run-1", "neutral", HEAD)
    for more in GITHUB.append_annotations(KERNEL, made.id, check):
        done(github, more)
    assert [one["message"] for one in github.checks[0]["annotations"]] == [f"note {n}" for n in range(1, count + 1)]
    assert len(github.requests) == max(1, -(-count // 50))


def test_the_fake_refuses_51_annotations_and_a_strange_conclusion(github: FakeGitHub) -> None:
    call = GITHUB.create_check(KERNEL, replace(CHECK, annotations=notes(50)))
    assert call
    sound = json.loads(call.request.body)
    first = sound["output"]["annotations"][0]
    for wrong in (
        {**sound, "output": {**sound["output"], "annotations": [first] * 51}},
        {**sound, "conclusion": "perhaps"},
        {**sound, "output": {**sound["output"], "summary": "a" * 65_536}},
    ):
        with pytest.raises(RejectedError):
            call.parse(github(replace(call.request, body=json.dumps(wrong).encode())))
    assert len(github.refused) == 3


@pytest.mark.parametrize("conclusion", [None, *Conclusion])
def test_conclusions(github: FakeGitHub, conclusion: Conclusion | None) -> None:
    check = replace(CHECK, conclusion=conclusion, details_url="https://ci.example/1", text="details")
    call = GITHUB.create_check(KERNEL, check)
    assert call
    assert done(github, call).conclusion == conclusion
    body = json.loads(github.requests[0].body)
    assert body["status"] == ("completed" if conclusion else "in_progress")


def test_a_check_run_is_found_again_and_updated(github: FakeGitHub) -> None:
    running = GITHUB.create_check(KERNEL, replace(CHECK, conclusion=None))
    assert running
    made = done(github, running)
    (found,) = every(github, GITHUB.list_checks(KERNEL, HEAD, "hmopt"))
    assert (found.id, found.external_id, found.conclusion) == (made.id, "run-1", None)
    update = GITHUB.update_check(KERNEL, found.id, CHECK)
    assert update
    assert done(github, update).conclusion == "neutral"


@pytest.mark.parametrize("size", [65_535, 65_536, 65_537])
@pytest.mark.parametrize("letter", ["a", "日"])
def test_no_summary_is_too_long(github: FakeGitHub, size: int, letter: str) -> None:
    check = replace(CHECK, summary=letter * size, text=letter * size, title="t\n" * 300)
    call = GITHUB.create_check(KERNEL, check)
    assert call
    done(github, call)
    shown = json.loads(github.requests[0].body)["output"]
    assert len(shown["summary"].encode()) <= 65_535
    assert len(shown["text"].encode()) <= 65_535
    assert len(shown["title"]) <= 255


def test_a_draft_pull_request(github: FakeGitHub) -> None:
    proposal = Proposal("lib/sort: " + "x" * 300, "b" * 70_000, "hmopt/run-1", "master")
    assert done(github, GITHUB.create_pull(KERNEL, proposal)).draft
    body = json.loads(github.requests[0].body)
    assert (len(body["title"]), body["draft"], body["head"], body["base"]) == (255, True, "hmopt/run-1", "master")
    assert len(body["body"]) <= 65_536


def test_a_commit_status(github: FakeGitHub) -> None:
    call = GITHUB.set_status(KERNEL, HEAD, Status("hmopt", StatusState.SUCCESS, "d" * 200, "https://ci.example/1"))
    assert call
    done(github, call)


def test_the_token_goes_nowhere_else() -> None:
    call = GITHUB.list_comments(KERNEL, 7)
    for other in ("https://evil.example/x", "http://api.github.com/x", "https://api.github.com.evil.example/x"):
        answer = Response(200, {"Content-Type": "application/json", "Link": f'<{other}>; rel="next"'}, b"[]")
        with pytest.raises(AnswerError, match="another host"):
            call.parse(answer)


def test_an_enterprise_server() -> None:
    assert isinstance(GITHUB, GitHub)
    own = replace(GITHUB, api="https://git.example/api/v3")
    assert own.read_pull(KERNEL, 7).request.url == "https://git.example/api/v3/repos/kernel/linux/pulls/7"


def test_no_representation_shows_a_secret(github: FakeGitHub) -> None:
    for forge in FORGES.values():
        call = forge.create_comment(KERNEL, 7, "body of a comment")
        for shown in (repr(call), repr(call.request), str(call), repr(forge), f"{call.request!s}"):
            assert "secret-token" not in shown
            assert SECRET not in shown
            assert "body of a comment" not in shown
    address = "https://user:secret@forge.example/x?access_token=secret#secret"
    hidden = Request("GET", address, {"authorization": "secret"}, b"secret")
    assert "secret" not in repr(hidden)
    assert "secret" not in repr(Response(200, {"x": "secret"}, b"secret"))


@pytest.mark.parametrize(
    "name", ["", "linux", "a/b/c", "../x", "a/..", "a b/c", "a/b?x", "a/b#x", "é/x", "a/" + "b" * 101, "a\n/b", "a/b\n"]
)
def test_repository_names(name: str) -> None:
    with pytest.raises(UsageError, match="no repository"):
        RepositoryName.parse(name)


def test_every_route_is_one_of_githubs(github: FakeGitHub) -> None:
    """The routes that the description beside this checkout lacks are held against octokit's list of all."""
    source = (
        npm_package("@octokit/plugin-rest-endpoint-methods", "18.0.0") / "dist-src/generated/endpoints.js"
    ).read_text()
    sha = HEAD
    calls: dict[str, Call[Any] | None] = {
        "POST /repos/{owner}/{repo}/issues/comments/{comment_id}/reactions": GITHUB.react(KERNEL, 1, "eyes"),
        "GET /repos/{owner}/{repo}/collaborators/{username}/permission": GITHUB.read_permission(KERNEL, "ada"),
        "GET /repos/{owner}/{repo}/commits/{ref}": GITHUB.read_commit(KERNEL, HEAD),
        "GET /repos/{owner}/{repo}/commits/{ref}/check-runs": GITHUB.list_checks(KERNEL, HEAD, "hmopt"),
        "DELETE /repos/{owner}/{repo}/issues/{issue_number}/labels/{name}": GITHUB.remove_label(KERNEL, 7, "x"),
    }
    values = {
        "owner": "kernel",
        "repo": "linux",
        "comment_id": "1",
        "username": "ada",
        "ref": sha,
        "issue_number": "7",
        "name": "x",
    }
    for route, call in calls.items():
        assert call
        assert f'"{route}"' in source
        method, path = route.split(" ")
        assert call.request.method == method
        assert call.request.url.partition("?")[0] == "https://api.github.com" + path.format(**values)
