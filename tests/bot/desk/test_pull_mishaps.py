# SPDX-License-Identifier: Apache-2.0
"""What goes wrong amid a pull request: kills between two steps, outages, and strangers who time their pushes."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
import uuid
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from git_hmopt.errors import StoreError
from git_hmopt.process.sandbox import sandbox_missing
from git_hmopt.store.queue import Draft, Job
from git_hmopt.store.repository import Repository
from hmopt_bot.delivery import KIND, Delivery
from hmopt_bot.forges.values import Proposal
from hmopt_bot.private import VARIABLE
from hmopt_bot.pulls import handlers
from hmopt_bot.pulls.job import MEASURE, TELL, MeasureJob, TellJob
from hmopt_bot.pulls.ledger import Reply
from hmopt_bot.pulls.posts import Posts
from hmopt_bot.work.outcome import Dead, Done, Later
from tests.bot.desk.world import PULL, World

OTHER = "return (char *)0;"
REGRESSED = {"answer": 1, "told": "- `scan`: **regressed**. The time changed by +7.10 % [+6.2, +8.0]."}


class Killed(BaseException):
    """Stands for kill -9: nothing catches it."""


def rerequested(world: World, head: str, by: str = "maintainer") -> tuple[str, dict[str, Any]]:
    """Return what is sent when somebody pressed the button beside a check."""
    run = {"id": 1, "head_sha": head, "external_id": f"hmopt:{PULL}:{head}"}
    return "check_run", {"action": "rerequested", "sender": {"login": by}, "check_run": run}


# -- the head that its author saw --------------------------------------------------------------------------------------


def test_a_forks_head_that_came_while_deliveries_waited_is_not_run(world: World) -> None:
    """Opened, asked about, pushed to; only then is the bot there again, and reads the last head first."""
    first = world.open(fork=True)
    event = world.hub.pull_event(PULL)
    then = time.time() - 600
    comment = world.hub.comment(PULL, "/hmopt check scan", at=then + 60)
    world.hub.push(PULL, world.commit(new=OTHER))
    world.hears(*event, at=then)
    world.hears(*world.hub.comment_event(comment), at=then + 60)
    assert world.ledger().head != first
    assert world.waiting() == [] and "at about the time of your comment" in world.answer()


def test_the_button_beside_an_old_heads_check_runs_no_other_head(world: World) -> None:
    first = world.open(fork=True)
    world.opened()
    world.says("/hmopt check scan", at=time.time() + 60)
    world.measured(answer=125, told="- noise")
    world.hub.push(PULL, world.commit(new=OTHER))
    world.opened(action="synchronize")
    assert world.hears(*rerequested(world, first), at=time.time() + 600) == Done(
        "it is beside another head than that of now"
    )
    assert world.waiting() == []


def test_a_head_that_no_delivery_told_of_can_be_asked_about_the_second_time(world: World) -> None:
    world.open()
    world.opened()
    world.hub.push(PULL, world.commit(new=OTHER))
    world.says("/hmopt check scan")
    assert "The head moved to" in world.answer() and world.waiting() == []
    world.says("/hmopt check scan", at=time.time() + 60)
    assert len(world.waiting()) == 1


def test_a_forks_pull_request_is_not_taken_for_a_proposal(world: World) -> None:
    """Its branch may have the name of the run's, which is known for hours before anything is proposed."""
    branch = "hmopt/20260101-run/best"
    commit = world.commit()
    world.hub.git.git("update-ref", f"refs/heads/{branch}", commit)
    world.open(7, commit, branch=branch, fork=True)
    registered = world.office.webhooks["github"]
    posts = Posts(registered.forge, registered.repository, registered.login, world.office.access.speaker(registered))
    found = json.dumps([world.hub.pulls[7]]).encode()
    # A forge whose filter knows branches only.
    world.hub.fault = lambda method, path: (200, {}, found) if (method, path[-6:]) == ("GET", "/pulls") else None
    assert posts.propose(Proposal("of a run", "found", branch, "main")).number != 7


def test_a_forks_commits_are_pushed_to_no_branch_here(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """What builds the branches of a repository has its secrets: what was found is shown as a patch."""
    head = world.open(fork=True)
    world.opened()
    world.says("/hmopt optimize scan", at=time.time() + 60)
    world.says("/hmopt propose", at=time.time() + 60)
    (job,) = world.waiting()
    run = MeasureJob.from_bytes(job.payload).ask.run
    tree = world.project.git("rev-parse", "main^{tree}")
    message = "lib: faster\n\n```\n</details> @everyone\n"
    best = world.project.git(
        "-c", "user.name=a", "-c", "user.email=a@example.org", "commit-tree", tree, "-p", head, "-m", message
    )
    story = SimpleNamespace(
        accepted=(1,), withdrawn=None, best_commit=best, run=SimpleNamespace(name=run, workload="scan")
    )
    monkeypatch.setattr("hmopt_bot.pulls.proposing.told", lambda *_: story)
    monkeypatch.setattr("hmopt_bot.pulls.wording.run_told", lambda _: "- what it came to")
    world.measured(told="- so")
    assert world.hub.git.git("for-each-ref", "refs/heads/hmopt") == "" and list(world.hub.pulls) == [PULL]
    answer = world.answer()
    assert "````diff\nFrom " in answer and "+\treturn NULL;" in answer and "- what it came to" in answer
    # Its own fence ends nothing: all that follows it is still the patch.
    assert answer.index("@everyone") < answer.index("\n````\n")


@pytest.mark.skipif(sandbox_missing() is not None, reason="nothing is confined here")
def test_a_forks_build_reads_no_secret_of_the_server(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it reads it can print, and what a build prints is told below the pull request."""
    # Not below /tmp, which a sandbox has empty anyway.
    with tempfile.TemporaryDirectory(dir="/var/tmp") as directory:
        secret, plain = Path(directory, "forges.toml"), Path(directory, "plain")
        secret.write_text("of-the-server")
        plain.write_text("of-nobody")
        monkeypatch.setenv(VARIABLE, os.pathsep.join([str(secret), str(world.project.root / ".git/hmopt/serve")]))
        reads = f"$(error Makefile: error: of-a-fork $(shell cat {plain} {secret}))\nCC :="
        world.open(commit=world.commit("Makefile", "CC :=", reads), fork=True)
        world.opened()
        world.says("/hmopt check scan", at=time.time() + 60)
        job = world.queue.take("test", lease_s=60, kinds=[MEASURE])
        assert job is not None
        world.office.measured(job)
        world.works()
    assert "of-a-fork of-nobody" in world.answer()
    assert "of-the-server" not in world.answer()


# -- kills between two steps -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["check scan", "rerun", "the button"])
def test_what_was_written_down_and_not_put_is_put(world: World, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    head = world.open()
    world.opened()
    world.says("/hmopt check scan")
    world.measured(answer=125, told="- noise")
    put = world.queue.put

    def killed(draft: Draft) -> bool:
        if draft.kind == MEASURE:
            raise Killed
        return put(draft)

    event = rerequested(world, head)
    if command != "the button":
        event = world.hub.comment_event(world.hub.comment(PULL, f"/hmopt {command}"))
    with monkeypatch.context() as patch:
        patch.setattr(world.queue, "put", killed)
        with pytest.raises(Killed):
            world.hears(*event)
    assert world.ask().status == "waiting" and world.waiting() == []
    world.again()
    assert [MeasureJob.from_bytes(job.payload).ask for job in world.waiting()] == [world.ask()]


def test_taking_back_is_done_once_however_often_it_is_tried(world: World) -> None:
    world.open()
    world.opened()
    for _ in range(2):
        world.says("/hmopt check scan")
        world.measured(**REGRESSED)
    world.hub.git.git("update-ref", "-d", f"refs/pull/{PULL}/head")
    comment = world.hub.comment(PULL, "/hmopt invalid too hot\n/hmopt check scan")
    for _ in range(3):
        world.hears(*world.hub.comment_event(comment))
    assert [one.withdrawn is not None for one in world.ledger().asks] == [False, True]


def test_what_no_attempt_ends_is_told_instead_of_begun_again(world: World) -> None:
    world.open()
    world.opened()
    world.says("/hmopt check scan")
    clock = [time.time()]
    world.queue._clock = lambda: clock[0]
    for _ in range(world.queue.bounds.attempts):
        # Taken, and its worker is killed.
        job = world.queue.take("test", lease_s=1, kinds=[MEASURE])
        assert job is not None
        clock[0] += 2
    assert job is not None and job.attempts == world.queue.bounds.attempts
    assert world.office.measured(job) == Done("failed")
    world.works()
    assert "could not be done" in world.answer() and "each time that it was begun" in world.answer()
    assert "Being measured" not in world.sticky()


# -- answers that would say for ever that something waits -----------------------------------------------------------


@pytest.mark.parametrize("how", ["push", "close", "stop"])
def test_an_answer_says_when_what_it_promised_was_ended(world: World, how: str) -> None:
    world.open()
    world.opened()
    world.says("/hmopt check scan")
    assert "it waits for its turn" in world.answer()
    if how == "push":
        world.hub.push(PULL, world.commit(new=OTHER))
        world.opened(action="synchronize")
    elif how == "close":
        world.hub.pulls[PULL]["state"] = "closed"
        world.opened(action="closed")
    else:
        world.says("/hmopt stop")
    assert [one for one in world.hub.below(PULL) if "it waits for its turn" in one] == []


@pytest.mark.parametrize("status", [403, 422])
def test_a_proposal_that_the_forge_refuses_is_told(world: World, monkeypatch: pytest.MonkeyPatch, status: int) -> None:
    """Drafts are no part of every plan, and a token may write comments only."""
    _optimizes(world, "/hmopt propose")

    def refused(desk: Any, pull: Any, ask: Any, *, asked_by: str) -> str:
        desk.posts.propose(Proposal("of a run", "found", "hmopt/x/best", "main"))
        return "proposed"

    monkeypatch.setattr(handlers, "proposed", refused)
    monkeypatch.setattr("hmopt_bot.pulls.orders.proposed", refused)
    body = b'{"message": "Draft pull requests are <b>not</b> supported"}'
    world.hub.fault = lambda method, path: (status, {}, body) if (method, path[-6:]) == ("POST", "/pulls") else None
    world.measured(told="- what it found")
    assert "not done" in world.answer() and "- what it found" in world.answer()
    assert world.ask().status == "done" and "<b>" not in world.answer()
    # Asked for once more, it is answered as well.
    world.says("/hmopt propose")
    assert "This could not be done" in world.answer()


def test_a_branch_that_is_in_the_way_of_a_proposal_is_told(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    _optimizes(world, "/hmopt propose")

    def fails(*_: Any, **__: Any) -> str:
        raise StoreError("the branch is there and stands elsewhere")

    monkeypatch.setattr(handlers, "proposed", fails)
    asked = MeasureJob.from_bytes(world.waiting()[0].payload)
    tell = TellJob(webhook="github", number=PULL, ask=asked.ask.model_copy(update={"status": "done", "told": "- so"}))
    world.queue.put(Draft(TELL, tell.key, tell.to_bytes()))
    for _ in range(3):
        job = world.queue.take("test", lease_s=60, kinds=[TELL])
        assert job is not None
        try:
            outcome = world.office.told(job)
        except StoreError as error:
            world.queue.failed(job, str(error), retry_at=0.0)
    assert outcome == Done("done")
    assert "stands elsewhere" in world.answer() and "- so" in world.answer()


def test_nothing_is_proposed_to_a_pull_request_that_is_closed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    _optimizes(world, "/hmopt propose")
    monkeypatch.setattr(handlers, "proposed", lambda *_, **__: pytest.fail("it was proposed"))
    world.hub.pulls[PULL]["state"] = "closed"
    world.measured(told="- so")
    assert "no longer open" in world.answer()


def _optimizes(world: World, command: str) -> None:
    """Have a run wait, whatever this host can confine."""
    world.open()
    world.opened()
    world.says("/hmopt optimize scan")
    world.says(command)
    assert world.ask().propose and world.ask().status == "waiting"


@pytest.mark.parametrize("which", [MEASURE, TELL])
def test_the_next_delivery_tells_of_what_was_given_up(world: World, which: str) -> None:
    world.open()
    world.opened()
    world.says("/hmopt check scan")
    (job,) = world.waiting()
    if which == TELL:
        tell = TellJob(webhook="github", number=PULL, ask=MeasureJob.from_bytes(job.payload).ask)
        world.queue.put(Draft(TELL, tell.key, tell.to_bytes()))
    taken = world.queue.take("test", lease_s=60, kinds=[which])
    assert taken is not None
    world.queue.failed(taken, f"a defect in {world.project.root}", retry_at=None)
    world.opened(action="reopened")
    assert "given up" in world.answer() and str(world.project.root) not in world.answer()
    assert world.ask().status == "failed"


def test_strangers_push_out_no_answer_that_is_still_to_be_edited(world: World) -> None:
    ledger = world.ledger().with_reply(Reply(comment=1, parts=("ask:c1-0",)))
    for number in range(2, 500):
        ledger = ledger.with_reply(Reply(comment=number, parts=("help",)))
    assert len(ledger.replies) == 200
    assert (ledger.replies[0].comment, ledger.replies[-1].comment) == (1, 499)


# -- outages -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [401, 502])
def test_a_forge_that_is_away_for_hours_loses_nothing(world: World, status: int) -> None:
    world.open()
    world.opened()
    comment = world.hub.comment(PULL, "/hmopt help")
    world.hub.fault = lambda method, path: (status, {}, b"")
    pauses = []
    for age in (0.0, 60.0, 7200.0):
        job = _job(world, *world.hub.comment_event(comment), age=age)
        outcome = world.office.delivered(job)
        assert isinstance(outcome, Later), outcome
        pauses.append(round(outcome.at - time.time(), -1))
    assert pauses == [20.0, 60.0, 900.0] or pauses == [10.0, 60.0, 900.0]
    assert isinstance(world.office.delivered(_job(world, *world.hub.comment_event(comment), age=90_000.0)), Dead)


def _job(world: World, event: str, body: dict[str, Any], *, age: float = 0.0, attempts: int = 1) -> Job:
    """Return a delivery as a job that has waited for so long, and was tried so often."""
    _, data = world.hub.delivery(event, body)
    id = str(uuid.uuid4())
    world.queue.put(Draft(KIND, id, Delivery("github", event, id, time.time(), data).to_bytes()))
    job = world.queue.take("test", lease_s=60, kinds=[KIND])
    assert job is not None
    world.queue.done(job)
    return replace(job, created=time.time() - age, attempts=attempts)


def test_a_ledger_that_cannot_be_read_is_told_and_kept(world: World) -> None:
    world.open()
    world.opened()
    path = Repository.open(world.project.root).home / f"serve/pulls/github/{PULL}.json"
    path.write_text("{")
    comment = world.hub.comment(PULL, "/hmopt help")
    for _ in range(2):
        assert isinstance(world.office.delivered(_job(world, *world.hub.comment_event(comment), attempts=3)), Done)
    assert "could not be done" in world.answer() and "cannot be read" in world.answer()
    assert str(world.project.root) not in world.answer()
    assert path.read_text() == "{"


# -- the mirror --------------------------------------------------------------------------------------------------------


def test_a_branch_may_come_where_one_of_its_words_was(world: World) -> None:
    for number, name in ((3, "next"), (4, "next/lib"), (5, "l" * 240), (6, "näher")):
        if name == "next/lib":
            world.hub.git.git("update-ref", "-d", "refs/heads/next")
        world.hub.git.git("update-ref", f"refs/heads/{name}", "main")
        world.open(number)
        world.hub.pulls[number]["base"]["ref"] = name
        assert world.opened(number) == Done("said what it touches"), name


def test_a_mirror_that_lost_what_it_borrowed_is_made_anew(world: World) -> None:
    world.open()
    world.opened()
    mirror = Repository.open(world.project.root).home / "mirror.git"
    shutil.rmtree(mirror / "objects")
    (mirror / "objects/info").mkdir(parents=True)
    world.hub.push(PULL, world.commit("lib/crc.c", "return crc;", "return crc ^ 0;"))
    assert world.opened(action="synchronize") == Done("said what it touches")
    assert "crc32c_update" in world.sticky()
    assert [path.name for path in mirror.parent.glob("mirror*")] == ["mirror.git"]


# -- what is claimed ---------------------------------------------------------------------------------------------------


def test_what_another_head_touched_is_not_said_of_this_one(world: World) -> None:
    world.open()
    world.opened()
    assert "scan_byte" in world.sticky()
    # Nobody asked to hear of what it touches now.
    world.hub.push(PULL, world.commit("test/unit.c", "int main(void)", "int  main(void)"))
    assert world.opened(action="synchronize") == Done("nobody asked")
    world.says("/hmopt check scan")
    assert "Being measured" in world.sticky() and "scan_byte" not in world.sticky()
    assert "scan_byte" not in json.dumps(world.hub.checks[-1]) and len(world.hub.checks) == 2


def test_a_verdict_is_taken_back_from_a_merged_pull_request_too(world: World) -> None:
    world.open()
    world.opened()
    world.says("/hmopt check scan")
    world.measured(**REGRESSED)
    world.hub.pulls[PULL].update(state="closed", merged_at="2026-01-01T00:00:00Z")
    world.opened(action="closed")
    world.says("/hmopt invalid too hot")
    assert "**taken back**" in world.sticky()
    assert world.hub.checks[-1]["conclusion"] == "neutral"


def test_what_could_not_be_measured_again_takes_no_regression_back(world: World) -> None:
    world.open()
    world.opened()
    world.says("/hmopt check scan")
    world.measured(**REGRESSED)
    world.says("/hmopt rerun")
    world.measured(status="failed", told="- it was cut")
    assert world.hub.checks[-1]["conclusion"] == "failure"
    world.says("/hmopt rerun")
    world.measured(answer=0, told="- none")
    assert world.hub.checks[-1]["conclusion"] == "success"


def test_the_gate_measures_a_head_that_came_back(world: World) -> None:
    _gate(world)
    first = world.open()
    world.opened()
    assert len(world.waiting()) == 1
    world.hub.pulls[PULL]["state"] = "closed"
    world.opened(action="closed")
    assert world.waiting() == []
    world.hub.pulls[PULL]["state"] = "open"
    world.opened(action="reopened")
    (job,) = world.waiting()
    assert MeasureJob.from_bytes(job.payload).ask.head == first
    world.opened(action="reopened")
    assert len(world.waiting()) == 1


def _gate(world: World) -> None:
    """Have pull requests measured unasked."""
    path = world.project.root / ".hmopt.yaml"
    read = yaml.safe_load(path.read_text())
    read["review"]["workloads"] = ["scan"]
    path.write_text(yaml.safe_dump(read))
    world.project.git("commit", "-qam", "gate")
    assert world.project.hmopt("trust").returncode == 0
