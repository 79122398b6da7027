# SPDX-License-Identifier: Apache-2.0
"""Whatever becomes of a request, at whichever agent: the run goes on, and its record says what happened."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle, pairwise, product
from typing import Any

import pytest

from git_hmopt.demo.model_server import Script, serving
from tests.loop.project import Project
from tests.loop.recorded import Recorded
from tests.loop.replayed import GAINS, STRATEGIES, replayed_project, scan_byte
from tests.loop.scripted import (
    ANALYST,
    CODER,
    CONDUCTOR,
    MODEL,
    SAFETY,
    Scripted,
    Turn,
    analyst,
    asked,
    candidate,
    coder,
    conductor,
    configure,
    ends,
    function,
    new_run,
    reviewer,
)

AGENTS: Mapping[str, str] = {
    "trace-analyst": ANALYST, "conductor": CONDUCTOR, "coder": CODER, "safety": SAFETY
}  # fmt: skip
AT_ONCE = {"Retry-After": "0"}


@dataclass(frozen=True)
class Fault:
    """What a server does instead of answering, and what the record says of it."""

    turn: Mapping[str, Any]
    said: str


def _event(text: str) -> bytes:
    chunk = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": MODEL}
    choices = [{"index": 0, "delta": {"content": text}, "finish_reason": None}]
    return b"data: " + json.dumps({**chunk, "choices": choices}).encode() + b"\n\n"


# The same request is made again, and answered.
PASSING = {
    "429": Fault({"status": 429, "headers": AT_ONCE, "error": {"message": "slow down"}}, "HTTP 429: slow down"),
    "500": Fault({"status": 500, "headers": AT_ONCE, "error": {"message": "sorry"}}, "HTTP 500: sorry"),
    "cut": Fault({"answer": '{"bottleneck": "unknown", "evid', "cut": 20}, "the answer broke off"),
    "garbage": Fault({"garbage": b"\xff\xfe\x00<html>not here\n\n"}, "the answer broke off"),
    "hang": Fault({"hang": 60}, "no whole answer within 2 seconds"),
}
# There is an answer, and it is no use: the agent is told so.
USELESS = {
    "empty": Fault({"answer": ""}, "not usable"),
    "length": Fault({"answer": '{"action": "try", "hotsp', "finish": "length"}, "not usable"),
    "surrogate": Fault({"answer": "\ud83d"}, "not usable"),
}
# Nothing more comes of this request.
LASTING = {
    "wrong model": Fault({"answer": "hello", "model": "other-9b"}, f"{MODEL} was asked, and 'other-9b' answered"),
    "huge": Fault({"garbage": _event("x" * (5 << 20))}, "the answer is larger than 4194304 bytes"),
}
TOO_LONG = Fault(
    {"status": 400, "error": {"message": "too many", "code": "context_length_exceeded"}}, "the prompt is too long"
)
# A fault that lasts is the Coder's in an iteration of its own, since no reviewer is asked then.
EVERYWHERE = {**LASTING, **PASSING, **USELESS, "too long": TOO_LONG}


def good(gain: str, strategy: str = "own-idea", hotspot: str = "scan_byte") -> list[Turn]:
    return [analyst(), conductor(strategy, hotspot), coder(candidate(function(scan_byte(gain)))), reviewer("safe")]


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Scripted:
    """Return a run in which each fault happens at each agent, all in one iteration, and each gain is kept."""
    turns: list[Turn] = []
    choices = cycle(product(STRATEGIES, ("scan_byte", "crc32c_update")))
    for gain, (name, fault) in zip(GAINS, EVERYWHERE.items(), strict=False):
        for turn in good(gain, *next(choices)):
            here = name not in LASTING or turn["when"] != CODER
            turns += [{"when": turn["when"], **fault.turn}] if here else []
            # No review is asked for a second time, since a patch is not shown in part.
            ends_here = here and (name in LASTING or (fault is TOO_LONG and turn["when"] == SAFETY))
            turns += [] if ends_here else [turn]
    turns += [analyst(), *[conductor(*next(choices)) for _ in LASTING], ends()]
    turns += [{"when": CODER, **fault.turn} for fault in LASTING.values()]
    project = replayed_project(tmp_path_factory.mktemp("faulty"))
    return asked(project, turns, review="true", seconds=2)


def test_the_run_goes_on_and_everything_is_kept(faulty: Scripted) -> None:
    assert faulty.said.returncode == 0, faulty.said.stderr
    assert faulty.fates() == ["improved"] * len(EVERYWHERE) + ["refused"] * len(LASTING)
    assert faulty.ended().startswith("the conductor ends the run: enough")
    assert len(faulty.run.trees()) == len(EVERYWHERE) + 2
    assert faulty.run.project.git("fsck", "--no-dangling") == ""


@pytest.mark.parametrize("agent", AGENTS)
@pytest.mark.parametrize("name", PASSING)
def test_what_may_pass_is_asked_again_and_told(faulty: Scripted, agent: str, name: str) -> None:
    iteration = list(EVERYWHERE).index(name) + 1
    (said,) = _exchanges(faulty, agent, iteration)
    assert (said["role"], said["data"]["attempts"]) == ("answer", "2")
    assert said["data"]["failed"].startswith(f"{MODEL}: {PASSING[name].said}")
    # The server worked on what was lost, and that is on the run's account.
    assert ("lost_tokens" in said["data"]) == (name == "cut")


@pytest.mark.parametrize("agent", AGENTS)
@pytest.mark.parametrize("name", USELESS)
def test_what_is_no_use_gets_a_second_turn(faulty: Scripted, agent: str, name: str) -> None:
    first, second = _exchanges(faulty, agent, list(EVERYWHERE).index(name) + 1)
    assert (first["role"], second["role"]) == ("answer", "answer")
    assert first["text"].startswith(USELESS[name].said) and not second["text"].startswith("not usable")
    assert first["data"]["finish"] == ("length" if name == "length" else "stop")


@pytest.mark.parametrize("agent", AGENTS)
@pytest.mark.parametrize("name", LASTING)
def test_what_lasts_is_told_and_the_rules_stand_in(faulty: Scripted, agent: str, name: str) -> None:
    lasting = list(EVERYWHERE).index(name) + 1
    if agent == "coder":
        lasting = len(EVERYWHERE) + list(LASTING).index(name) + 1
        assert faulty.refusal(lasting).startswith("no model wrote anything: no model for coding_fast gave an answer")
    (said,) = _exchanges(faulty, agent, lasting)
    instead = {"trace-analyst": "the rules decide", "conductor": "chosen by rule", "coder": "", "safety": "no review"}
    assert said["role"] == "no-answer" and LASTING[name].said in said["text"] and instead[agent] in said["text"]
    assert said["data"]["failed"].startswith(f"{MODEL}: {LASTING[name].said}")
    if agent == "conductor":
        decision = faulty.run.named("decision.made")[lasting - 1]["decision"]
        assert decision["reason"].startswith("chosen by rule")


@pytest.mark.parametrize("agent", AGENTS)
def test_a_prompt_that_is_too_long_arrives_smaller(faulty: Scripted, agent: str) -> None:
    iteration = list(EVERYWHERE).index("too long") + 1
    said = _exchanges(faulty, agent, iteration)
    assert said[0]["role"] == "no-answer" and TOO_LONG.said in said[0]["text"]
    if agent == "safety":
        assert len(said) == 1 and "no review" in said[0]["text"]
        return
    assert [one["role"] for one in said] == ["no-answer", "answer"]
    sizes = [int(one["data"]["prompt_bytes"]) for one in said]
    assert sizes[1] < sizes[0]
    sent = [sum(len(text.encode()) for text in one.texts) for one in faulty.of(AGENTS[agent])]
    assert any(pair == tuple(sizes) for pair in pairwise(sent))


def _exchanges(scripted: Scripted, agent: str, iteration: int) -> Sequence[dict[str, Any]]:
    return [one for one in scripted.messages(agent, iteration) if one["role"] in ("answer", "no-answer")]


def test_silence_ends_a_run_and_what_was_won_is_kept(tmp_path_factory: pytest.TempPathFactory) -> None:
    silence = {"status": 503, "headers": AT_ONCE, "error": {"message": "gone home"}}
    project = replayed_project(tmp_path_factory.mktemp("silent"))
    run = asked(project, [*good("faster")[:3], silence], repeat=True)
    assert run.said.returncode == 0, run.said.stderr
    assert run.fates() == ["improved", "refused", "refused"]
    assert run.ended().startswith("no model answered 5 times in a row, the last time since no model for coding_fast")
    assert len(run.run.trees()) == 3
    unanswered = [one for one in run.messages() if one["role"] == "no-answer"]
    assert [one["data"]["attempts"] for one in unanswered] == ["4"] * 5
    assert all("HTTP 503: gone home" in one["data"]["failed"] for one in unanswered)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_does_not_wait_for_a_model(
    tmp_path_factory: pytest.TempPathFactory, number: signal.Signals
) -> None:
    project, script = replayed_project(tmp_path_factory.mktemp("interrupted")), Script([{"hang": 300}])
    with serving(script) as url:
        configure(project, url)
        child = subprocess.Popen(
            ["git-hmopt", "optimize", "--workload", "scan", "--proposer", "llm"], cwd=project.root,
            env=project.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True, text=True,
        )  # fmt: skip
        try:
            while not script.requests and child.poll() is None:
                time.sleep(0.02)
            child.send_signal(number)
            _, errors = child.communicate(timeout=60)
        finally:
            child.kill()
    assert child.returncode == 130, errors
    (closed,) = new_run(project, set(), subprocess.CompletedProcess([], 130, "", errors)).named("run.closed")
    assert (closed["status"], closed["reason"]) == ("stopped", "interrupted")


@pytest.fixture
def nobody() -> int:
    """Return a port that nobody listens at."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@pytest.mark.slow
def test_nobody_listens(tmp_path_factory: pytest.TempPathFactory, nobody: int) -> None:
    project: Project = replayed_project(tmp_path_factory.mktemp("nobody"))
    configure(project, f"http://127.0.0.1:{nobody}/v1")
    said = project.hmopt("optimize", "--workload", "scan", "--proposer", "llm", "--iterations", "1")
    assert said.returncode == 1, said.stderr
    run = Scripted(said, new_run(project, set(), said), ())
    assert (run.fates(), run.ended()) == (["refused"], "the budget of 1 iterations is used up")
    for agent in ("trace-analyst", "conductor", "coder"):
        (one,) = _exchanges(run, agent, 1)
        assert one["role"] == "no-answer" and f"no connection to 127.0.0.1:{nobody}" in one["text"]
    assert isinstance(run.run, Recorded) and run.run.branches() == ["best"]
