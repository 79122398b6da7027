# SPDX-License-Identifier: Apache-2.0
"""Budgets of tokens and money hold: a request that might go beyond is not sent, in a resumed run neither."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from git_hmopt.demo.model_server import Script, serving
from tests.loop.project import Project
from tests.loop.recorded import recorded_run
from tests.loop.replayed import replayed_project, scan_byte
from tests.loop.scripted import (
    CODER,
    Request,
    Scripted,
    analyst,
    asked,
    candidate,
    coder,
    conductor,
    configure,
    function,
    new_run,
)
from tests.loop.test_kill import killed

ANSWER = 512
USED = {"prompt_tokens": 3000, "completion_tokens": 200, "total_tokens": 3200}
START = ("optimize", "--workload", "scan", "--proposer", "llm", "--seed", "7")
TURNS = [
    {**turn, "usage": USED}
    for turn in (analyst(), conductor(), coder(candidate(function(scan_byte("same")))))
]  # fmt: skip


def bound(request: Request) -> int:
    """Return the most tokens that a request can take: its bytes and what a chat template adds, and its answer."""
    assert request.body["max_tokens"] == ANSWER
    return sum(len(text.encode()) + 16 for text in request.texts) + 16 + ANSWER


@pytest.mark.parametrize(
    ("settings", "limit", "said"),
    [
        ({"tokens": 24_000}, 24_000, "the run's budget of 24000 tokens has "),
        # A million tokens of a prompt cost 1, of an answer 2; so 3200 tokens cost 0.0034.
        ({"money": "0.026"}, None, "the run's budget of 0.026 has "),
    ],
)
def test_a_run_ends_before_it_goes_beyond_its_budget(
    tmp_path: Path, settings: dict[str, Any], limit: int | None, said: str
) -> None:
    run = asked(replayed_project(tmp_path), TURNS, repeat=True, answer_tokens=ANSWER, **settings)
    assert run.said.returncode == 1, run.said.stderr
    assert run.ended().startswith(f"no model may be asked any more: {said}")
    assert 3 <= len(run.requests) <= 8 and len(run.of(CODER)) >= 1
    for number, request in enumerate(run.requests):
        assert limit is None or number * USED["total_tokens"] + bound(request) <= limit
    last = run.messages()[-1]
    assert (last["role"], last["data"]["kind"], last["data"]["attempts"]) == ("no-answer", "budget", "0")
    assert said in last["text"] and last["text"].endswith("the run ends")


def test_a_budget_that_is_too_small_for_one_request_sends_none(tmp_path: Path) -> None:
    run = asked(replayed_project(tmp_path), TURNS, repeat=True, tokens=2000)
    assert (run.said.returncode, run.requests) == (1, ()), run.said.stderr
    assert "the run's budget of 2000 tokens has 2000 left, and a request to tiny-1b may take" in run.ended()


def test_a_resumed_run_has_spent_what_it_spent_before(tmp_path: Path) -> None:
    project, clone = replayed_project(tmp_path), Project(tmp_path / "clone", tmp_path / "home")
    # The first answer is lost on the way: its tokens are spent, too.
    script = Script([{**TURNS[0], "answer": "x" * 4000, "cut": 3000}, *TURNS], repeat=True)
    with serving(script) as url:
        configure(project, url, tokens=24_000, answer_tokens=ANSWER)
        killed(project, "start", "apply_patch", *START)
        before = list(map(Request, script.requests))
        spent = bound(before[0]) + 3 * USED["total_tokens"]
        # Both here, and elsewhere as a run of its own, it has what is left: less than any request can take.
        configure(project, url, tokens=spent + 100)
        project.git("clone", "-q", str(project.root), str(clone.root))
        clone.git("fetch", "-q", "origin", "refs/hmopt/runs/*:refs/hmopt/runs/*")
        assert clone.hmopt("trust").returncode == 0
        name = recorded_run(project).name
        here, elsewhere = project.hmopt("resume", name), clone.hmopt("resume", name)
    assert len(before) == len(script.requests) == 4
    run = Scripted(here, recorded_run(project), ())
    assert run.messages()[0]["data"]["lost_tokens"] == str(bound(before[0]))
    child = Scripted(elsewhere, new_run(clone, {name}, elsewhere), ())
    for one in (run, child):
        assert one.said.returncode == 1, one.said.stderr
        assert f"the run's budget of {spent + 100} tokens has 100 left" in one.ended()
