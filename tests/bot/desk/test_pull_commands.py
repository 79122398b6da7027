# SPDX-License-Identifier: Apache-2.0
"""`/hmopt` commands: who may, about which head, and that each is answered once."""

from __future__ import annotations

import time

import pytest

from git_hmopt.store.queue import State
from hmopt_bot.forges.commands import Kind
from hmopt_bot.work.outcome import Done
from tests.bot.desk.hub import STRANGER
from tests.bot.desk.world import PULL, World

REGRESSED = {"answer": 1, "told": "- `scan`: **regressed**. The time changed by +7.10 % [+6.2, +8.0]."}


def test_help_is_given_to_anybody_and_once(world: World) -> None:
    world.open()
    assert world.says("/hmopt help", by=STRANGER) == Done("answered")
    assert all(f"/hmopt {kind}" in world.answer() for kind in Kind)
    comment = world.hub.comments[0]
    for _ in range(3):
        world.hears(*world.hub.comment_event(comment))
    assert len(world.hub.below(PULL)) == 1
    assert world.hub.refused == []


def test_commands_of_a_review_are_heard_like_any(world: World) -> None:
    head = world.open()
    world.opened()
    assert world.hears(*world.hub.review_event(PULL, "Looks good.\n\n/hmopt check scan", by="maintainer")) == Done(
        "answered"
    )
    assert (world.ask().head, world.ask().by) == (head, "maintainer")
    assert world.hears(*world.hub.line_event(PULL, "/hmopt stop", by="maintainer")) == Done("answered")
    assert world.ask().status == "stopped" and ": stopped." in world.answer()
    # One that only approves says nothing; one that is edited or dismissed asks for nothing new.
    assert world.hears(*world.hub.review_event(PULL, None, by="maintainer")) == Done("no command")
    edited = world.hub.review_event(PULL, "/hmopt check scan", by="maintainer", action="edited")
    assert world.hears(*edited) == Done("nothing follows from it")
    dismissed = world.hub.review_event(PULL, "/hmopt check scan", by="maintainer", action="dismissed")
    assert isinstance(world.hears(*dismissed), Done)
    assert len(world.ledger().asks) == 1
    world.hears(*world.hub.line_event(PULL, "/hmopt check scan", by=STRANGER))
    assert "It takes the right to write" in world.answer()


def test_a_stranger_does_not_use_up_what_may_be_written(world: World) -> None:
    world.open()
    world.opened()
    now = time.time()
    for _ in range(20):
        assert world.says("/hmopt help", by=STRANGER, at=now) == Done("answered")
    refused = world.says("/hmopt help", by=STRANGER, at=now)
    assert refused == Done("answered nothing more in this hour to who may not write")
    assert len(world.hub.below(PULL)) == 21  # the comment that is edited in place among them
    # Who may write is answered still, and so is anybody an hour later.
    assert world.says("/hmopt help", at=now) == Done("answered")
    assert world.says("/hmopt help", by=STRANGER, at=now + 3601) == Done("answered")


@pytest.mark.parametrize("kind", [kind for kind in Kind if kind not in (Kind.HELP, Kind.EXPLAIN)])
def test_who_may_not_write_is_refused_with_an_answer(world: World, kind: Kind) -> None:
    world.open()
    world.opened()
    reason = " it is wrong" if kind is Kind.INVALID else ""
    world.says(f"/hmopt {kind}{reason}", by=STRANGER)
    assert "It takes the right to write" in world.answer()
    assert world.waiting() == [] and world.ledger().asks == ()


def test_what_is_no_command_is_silent_and_asks_nothing(world: World) -> None:
    world.open()
    for body in ("what about /hmopt check?", "> /hmopt check", "```\n/hmopt check\n```", "nice"):
        world.says(body)
    assert world.hub.below(PULL) == []
    before = len(world.hub.requests)
    world.says("nice")
    assert len(world.hub.requests) == before


def test_our_own_comments_are_no_commands(world: World) -> None:
    world.open()
    world.says("/hmopt help", by="Hmopt-Bot")
    assert world.hub.below(PULL) == []


def test_what_is_not_understood_is_answered(world: World) -> None:
    world.open()
    world.says("/hmopt chek\n\n/hmopt invalid")
    assert "there is no such command" in world.answer() and "Did you mean `/hmopt check [workload]`?" in world.answer()
    assert "it needs a reason" in world.answer()


def test_a_check_waits_is_measured_and_told(world: World) -> None:
    head = world.open()
    world.opened()
    world.says("/hmopt check scan")
    one = world.ask()
    assert (one.kind, one.head, one.workloads, one.status) == ("check", head, ("scan",), "waiting")
    assert one.base == world.hub.git.git("rev-parse", "main")
    assert "it waits for its turn" in world.answer() and "Being measured" in world.sticky()
    # Its code is where it can be built from now on, and not before.
    assert world.project.git("cat-file", "-t", head) == "commit"
    world.measured(**REGRESSED, detail="evidence of it")
    assert "**regressed**" in world.answer() and "evidence of it" in world.answer()
    assert "**regressed**" in world.sticky() and "Being measured" not in world.sticky()
    assert [one["conclusion"] for one in world.hub.checks] == ["failure"]
    assert len(world.hub.below(PULL)) == 2
    assert world.hub.refused == []


@pytest.mark.parametrize(("answer", "conclusion"), [(0, "success"), (1, "failure"), (125, "neutral")])
def test_the_check_run_says_what_the_comparison_said(world: World, answer: int, conclusion: str) -> None:
    world.open()
    world.opened()
    world.says("/hmopt check scan")
    world.measured(answer=answer, told="- so it went")
    (check,) = world.hub.checks
    assert (check["conclusion"], check["status"]) == (conclusion, "completed")


def test_an_unknown_workload_is_named(world: World) -> None:
    world.open()
    world.opened()
    world.says("/hmopt check scam")
    assert "unknown workload 'scam', expected 'scan'?" in world.answer().replace("\\", "")
    world.says("/hmopt optimize")
    assert "Say which workload: `scan`" in world.answer()
    assert world.waiting() == []


# -- the head that its author saw --------------------------------------------------------------------------------------


def test_a_head_that_moved_before_the_command_was_read_is_not_run(world: World) -> None:
    world.open()
    world.opened()
    comment = world.hub.comment(PULL, "/hmopt check scan")
    world.hub.push(PULL, world.commit(new="return (char *)0;"))
    world.hears(*world.hub.comment_event(comment))
    assert "The head moved to" in world.answer() and world.waiting() == []
    # Once it is known, it can be asked about.
    world.opened(action="synchronize")
    world.says("/hmopt check scan")
    assert len(world.waiting()) == 1


def test_a_forks_head_that_came_just_before_the_command_is_not_run(world: World) -> None:
    world.open(fork=True)
    now = time.time()
    world.opened(at=now - 5)
    world.says("/hmopt check scan", at=now)
    assert "at about the time of your comment" in world.answer() and world.waiting() == []
    world.says("/hmopt check scan", at=now + 60)
    assert len(world.waiting()) == 1


def test_a_forks_code_is_not_run_where_nothing_can_be_confined(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hmopt_bot.pulls.orders.sandbox_missing", lambda: "bwrap is not installed")
    world.open(fork=True)
    world.opened()
    later = time.time() + 60
    for kind in ("check", "optimize"):
        world.says(f"/hmopt {kind} scan", at=later)
        assert "A fork's code runs confined only, and here it cannot: bwrap is not installed" in world.answer()
    assert world.waiting() == []
    world.open(PULL + 1)
    world.opened(PULL + 1)
    world.says("/hmopt check scan", number=PULL + 1, at=later)
    assert len(world.waiting()) == 1


def test_a_forks_head_that_was_never_seen_is_not_run(world: World) -> None:
    world.open(fork=True)
    world.says("/hmopt check scan", at=time.time())
    assert "I had not seen the head" in world.answer() and world.waiting() == []
    world.says("/hmopt check scan", at=time.time() + 60)
    assert len(world.waiting()) == 1


def test_a_closed_pull_request_is_not_measured(world: World) -> None:
    world.open(state="closed")
    world.says("/hmopt check scan")
    assert "no longer open" in world.answer() and world.waiting() == []


def test_an_edited_comment_asks_nothing(world: World) -> None:
    world.open()
    world.opened()
    comment = world.hub.comment(PULL, "/hmopt check scan")
    world.hears(*world.hub.comment_event(comment, action="edited"))
    assert world.waiting() == []


# -- what changes meanwhile --------------------------------------------------------------------------------------------


def test_a_push_makes_what_waits_pointless(world: World) -> None:
    world.open()
    world.opened()
    world.says("/hmopt check scan")
    world.hub.push(PULL, world.commit(new="return (char *)0;"))
    world.opened(action="synchronize")
    assert world.waiting() == [] and world.ask().status == "outdated"
    assert world.queue.counts()[State.SUPERSEDED] == 1


def test_a_result_that_comes_after_a_push_is_not_told(world: World) -> None:
    world.open()
    world.opened()
    world.says("/hmopt check scan")
    job = world.waiting()[0]
    world.hub.push(PULL, world.commit(new="return (char *)0;"))
    world.opened(action="synchronize")
    before = world.hub.below(PULL)
    from git_hmopt.store.queue import Draft
    from hmopt_bot.pulls.job import TELL, MeasureJob, TellJob

    asked = MeasureJob.from_bytes(job.payload)
    tell = TellJob(webhook="github", number=PULL, ask=asked.ask.model_copy(update={"status": "done", **REGRESSED}))
    world.queue.put(Draft(TELL, tell.key, tell.to_bytes()))
    assert world.works() == [Done("nobody waits for it any more")]
    assert world.hub.below(PULL) == before


def test_a_pull_request_that_is_closed_meanwhile(world: World) -> None:
    world.open()
    world.opened()
    world.says("/hmopt check scan")
    world.hub.pulls[PULL]["state"] = "closed"
    world.opened(action="closed")
    assert world.waiting() == [] and world.ask().status == "outdated"


def test_stop_ends_what_waits(world: World) -> None:
    world.open()
    world.opened()
    world.says("/hmopt stop")
    assert "nothing runs and nothing waits" in world.answer()
    world.says("/hmopt check scan\n/hmopt check scan-blocks")
    world.says("/hmopt stop")
    assert world.answer().count("stopped.") == 2 and world.waiting() == []
    assert "Being measured" not in world.sticky()


def test_rerun_measures_again_with_other_layouts(world: World) -> None:
    world.open()
    world.opened()
    world.says("/hmopt rerun")
    assert "nothing was measured yet" in world.answer()
    world.says("/hmopt check scan")
    world.measured(answer=125, told="- noise")
    world.says("/hmopt rerun")
    first, second = world.ledger().asks
    assert (second.workloads, second.status) == (("scan",), "waiting")
    assert first.seed is None and second.seed is not None
    world.measured(answer=0, told="- none")
    assert world.hub.checks[-1]["conclusion"] == "success"


def test_the_button_beside_the_check_does_the_same(world: World) -> None:
    world.open()
    world.opened()
    world.says("/hmopt check scan")
    world.measured(answer=125, told="- noise")
    check = world.hub.checks[0]
    body = {"action": "rerequested", "sender": {"login": STRANGER}, "check_run": {
        "id": 1, "head_sha": check["head_sha"], "external_id": check["external_id"]}}  # fmt: skip
    world.hears("check_run", body)
    assert world.waiting() == []
    world.hears("check_run", {**body, "sender": {"login": "maintainer"}})
    assert len(world.waiting()) == 1
    foreign = {**body, "check_run": {**body["check_run"], "external_id": "another:3:x"}}  # type: ignore[dict-item]
    assert world.hears("check_run", foreign) == Done("it is no check of ours")


def test_a_verdict_is_taken_back_and_counted(world: World) -> None:
    world.open()
    world.opened()
    world.says("/hmopt invalid too hot in here")
    assert "no verdict to take back" in world.answer()
    world.says("/hmopt check scan")
    world.measured(**REGRESSED)
    assert "Of 1 verdict given here, 0 were taken back" in world.sticky()
    world.says("/hmopt invalid too hot in <b>here</b>")
    assert "Taken back, and counted" in world.answer()
    assert "**taken back** by maintainer" in world.sticky() and "<b>" not in world.sticky()
    assert "Of 1 verdict given here, 1 was taken back (100%)" in world.sticky()
    assert world.hub.checks[-1]["conclusion"] == "neutral"
    world.says("/hmopt invalid again")
    assert "no verdict to take back" in world.answer()


def test_explain_shows_the_evidence_again(world: World) -> None:
    world.open()
    world.opened()
    world.says("/hmopt explain", by=STRANGER)
    assert "nothing was measured yet" in world.answer()
    world.says("/hmopt check scan")
    world.measured(answer=0, told="- none", detail="the numbers")
    world.says("/hmopt explain", by=STRANGER)
    assert "the numbers" in world.answer()


def test_a_run_is_not_begun_on_a_commit_with_another_configuration(world: World) -> None:
    world.open(commit=world.commit(".hmopt.yaml", "version: 1", "version: 1\nbudget: {iterations: 1}"))
    world.opened()
    world.says("/hmopt optimize scan")
    assert "has another `.hmopt.yaml` than was trusted here" in world.answer() and world.waiting() == []
    world.says("/hmopt check scan")
    assert len(world.waiting()) == 1


def test_commands_of_one_comment_are_answered_together(world: World) -> None:
    world.open()
    world.opened()
    world.says("/hmopt check scan\nand\n/hmopt help\n/hmopt frobnicate")
    assert len([one for one in world.hub.below(PULL) if "hmopt:answer" in one]) == 1
    answer = world.answer()
    assert "it waits for its turn" in answer and "| command |" in answer and "no such command" in answer
    world.measured(answer=0, told="- none of it")
    assert "- none of it" in world.answer() and "| command |" in world.answer()
