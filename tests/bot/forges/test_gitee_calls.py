# SPDX-License-Identifier: Apache-2.0
"""Calls to Gitee, held against its own description, and what GitCode does otherwise."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

import jsonschema
import pytest

from hmopt_bot.forges import sticky
from hmopt_bot.forges.api_v5 import LABELS
from hmopt_bot.forges.errors import MissingError, PermissionDeniedError
from hmopt_bot.forges.gitee import Gitee
from hmopt_bot.forges.message import Call, Page
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
from tests.bot.forges.deliveries import BASE, FORGES, HEAD, KERNEL
from tests.bot.forges.fake_gitee import FakeGitee

T = TypeVar("T")
GITEE = FORGES["gitee"]
CHECK = CheckRun("hmopt", HEAD, "run-1", "Cannot tell", "Smallest detectable change 1.8 %", Conclusion.NEUTRAL)


@pytest.fixture
def gitee() -> FakeGitee:
    """Return an empty Gitee."""
    return FakeGitee()


def done(gitee: FakeGitee, call: Call[T] | None) -> T:
    """Send a call."""
    assert call
    return call.parse(gitee(call.request))


def every(gitee: FakeGitee, call: Call[Page[T]] | None) -> list[T]:
    """Return what is on all pages."""
    found: list[T] = []
    while call:
        page = done(gitee, call)
        found += page.items
        call = page.following
    return found


def test_read(gitee: FakeGitee) -> None:
    pull = done(gitee, GITEE.read_pull(KERNEL, 7))
    assert (pull.number, pull.author, pull.state, pull.draft) == (7, "ada", PullState.OPEN, False)
    assert (pull.is_fork, pull.labels) == (True, frozenset({"perf"}))
    assert pull.base.clone_url == "https://gitee.com/kernel/linux.git"
    assert pull.head.clone_url == "https://gitee.com/ada/linux.git"
    (file,) = every(gitee, GITEE.list_files(KERNEL, 7))
    assert (file.path, file.previous, file.additions, file.deletions) == ("lib/sort.c", "lib/old.c", 3, 1)
    assert done(gitee, GITEE.read_commit(KERNEL, HEAD)).parents == (BASE,)
    assert [one.number for one in every(gitee, GITEE.find_pulls(KERNEL, head="ada:sort", base="master"))] == [8]


@pytest.mark.parametrize("count", [0, 1, 99, 100, 101, 200, 250])
def test_comments_over_pages(gitee: FakeGitee, count: int) -> None:
    for number in range(count):
        done(gitee, GITEE.create_comment(KERNEL, 7, f"comment {number}"))
    gitee.requests.clear()
    found = every(gitee, GITEE.list_comments(KERNEL, 7))
    assert [one.body for one in found] == [f"comment {number}" for number in range(count)]
    assert len(gitee.requests) == count // 100 + 1


def test_one_sticky_comment_edited_in_place(gitee: FakeGitee) -> None:
    done(gitee, GITEE.create_comment(KERNEL, 7, "something else"))
    done(gitee, GITEE.create_comment(KERNEL, 7, sticky.marked("evidence", "first")))
    mine = sticky.found(every(gitee, GITEE.list_comments(KERNEL, 7)), "evidence", author="hmopt-bot")
    assert mine
    done(gitee, GITEE.update_comment(KERNEL, mine.id, sticky.marked("evidence", "second")))
    assert [one["body"] for one in gitee.comments] == ["something else", "<!-- hmopt:evidence -->\nsecond"]
    assert done(gitee, GITEE.read_comment(KERNEL, mine.id)).body.endswith("second")
    gitee.comments.clear()
    with pytest.raises(MissingError):
        done(gitee, GITEE.update_comment(KERNEL, mine.id, "third"))


@pytest.mark.parametrize("size", [65_535, 65_536, 65_537])
def test_no_comment_is_too_long(gitee: FakeGitee, size: int) -> None:
    assert len(done(gitee, GITEE.create_comment(KERNEL, 7, "日" * size)).body) <= 65_536


@pytest.mark.parametrize(
    ("word", "permission"),
    [
        (None, Permission.NONE),
        ("pull", Permission.READ),
        ("read", Permission.READ),
        ("push", Permission.WRITE),
        ("write", Permission.WRITE),
        ("admin", Permission.ADMIN),
        ("Admin", Permission.NONE),
        ("owner of everything", Permission.NONE),
    ],
)
def test_permissions(gitee: FakeGitee, word: str | None, permission: Permission) -> None:
    if word:
        gitee.roles["ada"] = word
    assert done(gitee, GITEE.read_permission(KERNEL, "ada")) is permission


def test_a_check_run_or_a_label(gitee: FakeGitee) -> None:
    made = done(gitee, GITEE.create_check(KERNEL, CHECK))
    assert (made.external_id, made.head_sha) == ("run-1", HEAD)
    done(gitee, GITEE.update_check(KERNEL, made.id, replace(CHECK, conclusion=Conclusion.SUCCESS)))
    (found,) = every(gitee, GITEE.list_checks(KERNEL, HEAD, "hmopt"))
    assert (found.external_id, found.conclusion) == ("run-1", "success")
    gitee.admin = False
    with pytest.raises(PermissionDeniedError):
        done(gitee, GITEE.create_check(KERNEL, CHECK))
    assert isinstance(GITEE, Gitee)
    for conclusion in (Conclusion.NEUTRAL, Conclusion.FAILURE, Conclusion.FAILURE, Conclusion.SUCCESS):
        for call in GITEE.label_outcome(KERNEL, 7, conclusion):
            done(gitee, call)
        assert gitee.labels == [LABELS[conclusion]]
    for call in GITEE.label_outcome(KERNEL, 7, Conclusion.CANCELLED):
        done(gitee, call)
    assert gitee.labels == []
    # "labels have 2 to 20 characters", says the description.
    assert all(2 <= len(label) <= 20 for label in LABELS.values())


def test_more_than_50_annotations(gitee: FakeGitee) -> None:
    notes = tuple(Annotation("lib/sort.c", n, n, Level.NOTICE, "x") for n in range(1, 52))
    later = GITEE.append_annotations(KERNEL, 1, replace(CHECK, annotations=notes))
    assert len(later) == 1
    done(gitee, GITEE.create_check(KERNEL, CHECK))
    done(gitee, later[0])
    assert len(gitee.checks[0]["output"]["annotations"]) == 1


def test_a_draft_pull_request(gitee: FakeGitee) -> None:
    proposal = Proposal("t" * 300, "b" * 70_000, "hmopt:hmopt/run-1", "master")
    pull = done(gitee, GITEE.create_pull(KERNEL, proposal))
    assert pull.draft
    assert len(pull.title) == 255


def test_what_there_is_none_of() -> None:
    for forge in (GITEE, FORGES["gitcode"]):
        assert forge.react(KERNEL, 1, "eyes") is None
        assert forge.set_status(KERNEL, HEAD, Status("hmopt", StatusState.PENDING, "x")) is None


def test_gitcode_has_its_own_header_and_host() -> None:
    call = FORGES["gitcode"].read_pull(RepositoryName("kernel", "linux"), 7)
    assert call.request.url == "https://api.gitcode.com/api/v5/repos/kernel/linux/pulls/7"
    assert call.request.headers["private-token"] == "gitcode-secret-token"
    assert "authorization" not in call.request.headers


def test_the_fake_refuses_what_gitee_does_not_describe(gitee: FakeGitee) -> None:
    sound = GITEE.create_comment(KERNEL, 7, "x").request
    for wrong in (b"{}", b'{"body":7}', b"[]"):
        with pytest.raises(jsonschema.ValidationError):
            gitee(replace(sound, body=wrong))
    with pytest.raises(AssertionError):
        gitee(replace(GITEE.read_pull(KERNEL, 7).request, url="https://gitee.com/api/v5/repos/kernel/linux/pull/7"))
    with pytest.raises(AssertionError):
        gitee(replace(GITEE.list_comments(KERNEL, 7).request, url=sound.url + "?sort=up"))
