# SPDX-License-Identifier: Apache-2.0
"""What follows from pull requests being opened, pushed to, labelled and closed; and what goes wrong with the forge."""

from __future__ import annotations

import json
import time

import pytest

from hmopt_bot.forges.limits import BODY
from hmopt_bot.work.outcome import Again, Dead, Done, Later
from tests.bot.desk.world import PULL, World


def test_what_it_touches_is_said_once_and_edited_in_place(world: World) -> None:
    head = world.open()
    assert world.opened() == Done("said what it touches")
    assert "scan_byte" in world.sticky()
    (check,) = world.hub.checks
    assert (check["head_sha"], check["conclusion"]) == (head, "neutral")
    world.opened(action="reopened")
    again = world.commit("lib/crc.c", "return crc;", "return crc ^ 0;")
    world.hub.push(PULL, again)
    world.opened(action="synchronize")
    assert "crc32c_update" in world.sticky() and "scan_byte" not in world.sticky()
    assert [one["head_sha"] for one in world.hub.checks] == [head, again]
    # Nothing of it was brought to where it could be built.
    assert "fatal" in world.project.git("cat-file", "-t", head, check=False) or not world.project.git(
        "cat-file", "-t", head, check=False
    )
    assert world.hub.refused == []


def test_it_is_silent_unless_paths_or_a_label_say_otherwise(world: World) -> None:
    world.open(commit=world.commit("test/unit.c", "int main(void)", "int  main(void)"))
    assert world.opened() == Done("nobody asked")
    assert world.hub.below(PULL) == [] and world.hub.checks == []
    world.hub.pulls[PULL]["labels"] = [{"name": "perf"}]
    assert world.opened(action="labeled") == Done("said what it touches")
    assert len(world.hub.below(PULL)) == 1


def test_events_in_any_order_end_at_the_head_that_is(world: World) -> None:
    first = world.open()
    stale = json.loads(json.dumps(world.hub.pull_event(PULL)[1]))
    second = world.commit("lib/crc.c", "return crc;", "return crc ^ 0;")
    world.hub.push(PULL, second)
    world.opened(action="synchronize")
    world.hears("pull_request", stale)
    assert world.ledger().head == second and first != second
    assert "crc32c_update" in world.sticky()


def test_a_pull_request_that_was_closed_meanwhile_is_let_be(world: World) -> None:
    event = None
    world.open()
    event = world.hub.pull_event(PULL)
    world.hub.pulls[PULL]["state"] = "closed"
    assert world.hears(*event) == Done("it is no longer open")
    assert world.hub.below(PULL) == []


def test_a_pull_request_and_branches_that_are_gone(world: World) -> None:
    world.open()
    event = world.hub.pull_event(PULL)
    world.hub.git.git("update-ref", "-d", f"refs/pull/{PULL}/head")
    outcome = world.hears(*event)
    assert isinstance(outcome, Again) and "has no 'refs/pull/3/head'" in outcome.reason
    del world.hub.pulls[PULL]
    assert isinstance(world.hears(*event), Dead)


def test_a_fork_is_never_measured_unasked(world: World) -> None:
    world.hub.pulls.clear()
    world.open(fork=True)
    world.opened()
    assert world.waiting() == [] and len(world.hub.below(PULL)) == 1


# -- comments ----------------------------------------------------------------------------------------------------------


def test_ours_is_found_behind_two_hundred_others(world: World) -> None:
    for number in range(150):
        world.hub.comment(PULL, f"<!-- hmopt:pull -->\nforged {number}", by="stranger")
    world.open()
    world.opened()
    for number in range(60):
        world.hub.comment(PULL, f"more {number}", by="stranger")
    world.hub.push(PULL, world.commit("lib/crc.c", "return crc;", "return crc ^ 0;"))
    world.opened(action="synchronize")
    assert "crc32c_update" in world.sticky()


def test_one_that_a_person_deleted_is_written_anew_when_there_is_news(world: World) -> None:
    world.open()
    world.opened()
    world.hub.comments[-1]["deleted"] = True
    world.hub.comments[-1]["user"] = {"login": "nobody"}
    world.hub.push(PULL, world.commit("lib/crc.c", "return crc;", "return crc ^ 0;"))
    world.opened(action="synchronize")
    assert "crc32c_update" in world.sticky()


def test_one_that_is_deleted_while_it_is_edited(world: World) -> None:
    world.open()
    world.opened()

    def deletes(method: str, path: str) -> None:
        if method == "PATCH" and "comments" in path:
            world.hub.comments[0].update(deleted=True, user={"login": "nobody"})

    world.hub.fault = deletes
    world.hub.push(PULL, world.commit("lib/crc.c", "return crc;", "return crc ^ 0;"))
    world.opened(action="synchronize")
    assert "crc32c_update" in world.sticky()


def test_a_body_that_is_too_long_is_cut(world: World) -> None:
    world.open()
    world.opened()
    world.says("/hmopt check scan")
    world.measured(answer=0, told="- " + "x" * 70_000, detail="y\n" * 40_000)
    assert BODY.size(world.sticky()) <= BODY.most and BODY.size(world.answer()) <= BODY.most
    assert world.hub.refused == []


# -- the forge's moods -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "headers", "expected"),
    [
        (500, {}, Later), (502, {}, Later), (403, {"Retry-After": "90"}, Later), (429, {}, Later),
        (403, {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "99999999999"}, Later), (401, {}, Later),
        (404, {}, Dead), (410, {}, Dead), (422, {}, Dead), (200, {}, Again),
    ],
)  # fmt: skip
def test_what_becomes_of_a_job(world: World, status: int, headers: dict[str, str], expected: type) -> None:
    world.open()
    world.hub.fault = lambda method, path: (status, headers, b"[broken") if path.endswith(f"/pulls/{PULL}") else None
    outcome = world.opened()
    assert isinstance(outcome, expected), outcome
    if isinstance(outcome, Later):
        assert 10 < outcome.at - time.time() <= 24 * 3600 + 5
    world.hub.fault = None
    assert world.opened() == Done("said what it touches")


def test_a_persons_token_sets_a_status_instead_of_a_check(world: World) -> None:
    world.hub.is_app = False
    world.open()
    world.opened()
    (status,) = world.hub.statuses
    assert (status["context"], status["state"]) == ("hmopt", "success")


def test_writing_is_paced(world: World) -> None:
    for number in range(200, 275):
        world.open(number, commit=world.hub.git.git("rev-parse", "main"))
    outcomes = [world.says("/hmopt help", number=number) for number in range(200, 275)]
    later = [one for one in outcomes if isinstance(one, Later)]
    assert len(later) == 15 and all(0 < one.at - time.time() <= 60 for one in later)


# -- what is kept ------------------------------------------------------------------------------------------------------


def test_what_is_kept_says_its_version_and_what_cannot_be_read_is_told(world: World) -> None:
    world.open()
    world.opened()
    world.says("/hmopt check scan")
    path = world.project.root / ".git/hmopt/serve/pulls/github" / f"{PULL}.json"
    assert json.loads(path.read_text())["v"] == 1
    assert json.loads(world.waiting()[0].payload)["v"] == 1
    path.write_text(path.read_text().replace('"v": 1', '"v": 2', 1))
    outcome = world.says("/hmopt help")
    assert isinstance(outcome, Again) and "3.json' cannot be read" in outcome.reason


def test_a_base_that_shares_no_commit_is_said_to_be_the_branchs_tip(world: World) -> None:
    tree = world.hub.git.git("rev-parse", world.commit() + "^{tree}")
    root = world.hub.git.git("-c", "user.name=a", "-c", "user.email=a@example.org", "commit-tree", tree, "-m", "alone")
    world.open(commit=root)
    world.hub.pulls[PULL]["labels"] = [{"name": "perf"}]
    world.opened()
    assert "Of the base: no common commit is known here" in world.sticky()
    world.says("/hmopt check scan")
    assert "(no common commit is known here" in world.answer()
