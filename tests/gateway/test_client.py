# SPDX-License-Identifier: Apache-2.0
"""Asking a model over real HTTP, and everything that can go wrong on the way."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

import pytest

from git_hmopt.demo.model_server import Script, serving
from git_hmopt.gateway.client import Gateway, Limits
from git_hmopt.gateway.errors import (
    BudgetSpentError,
    CancelledError,
    ContextTooLongError,
    GatewayError,
    PolicyError,
)
from git_hmopt.gateway.ledger import Ledger, Usage
from git_hmopt.gateway.message import Answer, Message
from git_hmopt.gateway.outbound import Outbound
from git_hmopt.gateway.policy import Exemption, Policy, endpoint_of
from git_hmopt.gateway.profile import Model, Profile, Role

FAST, STRONG, SPARE = "fast-1b", "strong-2b", "spare-3b"
PROFILE = Profile(name="test", roles={Role.CODING: (FAST, SPARE), Role.REASONING: (STRONG,)})
QUICK = Limits(seconds=5, silence_s=3, connect_s=2, attempts=3, first_wait_s=0.01, longest_wait_s=1)
HELLO = [Message("system", "You change C."), Message("user", "Make it fast.")]


@contextmanager
def asked(
    *turns: Mapping[str, Any], repeat: bool = True, limits: Limits = QUICK, **given: Any
) -> Iterator[tuple[Gateway, Script]]:
    """Serve turns, and give a gateway that asks there."""
    script = Script(turns, repeat)
    with serving(script) as url:
        given = {
            "policy": Policy(), "profile": PROFILE, "ledger": Ledger(), "outbound": Outbound(), "key": None, **given,
        }  # fmt: skip
        yield Gateway(endpoint_of(url), limits=limits, **given), script


def bodies(script: Script) -> list[dict[str, Any]]:
    """Return the JSON of the requests."""
    return [json.loads(one.partition(b"\r\n\r\n")[2] or one[one.index(b"{") :]) for one in script.requests]


def ask(gateway: Gateway, role: Role = Role.CODING, messages: Sequence[Message] = HELLO, **given: Any) -> Answer:
    """Ask with a small answer."""
    return gateway.ask(role, messages, most_out=given.pop("most_out", 200), **given)


def test_an_answer_says_what_it_cost_and_who_gave_it() -> None:
    usage = {"prompt_tokens": 21, "completion_tokens": 4, "total_tokens": 25}
    ledger = Ledger()
    with asked({"answer": "int x;\n" * 40, "usage": usage}, ledger=ledger) as (gateway, script):
        answer = ask(gateway)
    assert answer.text == ("int x;\n" * 40).strip()
    assert (answer.model, answer.served_by, answer.finish) == (FAST, FAST, "stop")
    assert answer.usage == Usage(21, 4, told_by_server=True)
    assert (answer.cost, ledger.tokens, ledger.unpriced) == (None, 25, 1)
    (body,) = bodies(script)
    assert body["messages"] == [{"role": one.role, "content": one.text} for one in HELLO]
    assert (body["model"], body["max_tokens"], body["stream"]) == (FAST, 200, True)


def test_the_bound_counts_where_the_server_tells_no_usage() -> None:
    ledger = Ledger()
    with asked({"answer": "four"}, ledger=ledger) as (gateway, _):
        answer = ask(gateway)
    assert not answer.usage.told_by_server
    assert answer.usage.tokens_in >= sum(len(one.text) for one in HELLO)
    assert answer.usage.tokens_out == 4
    assert ledger.tokens == answer.usage.tokens_in + 4


@pytest.mark.parametrize("told", [{"prompt_tokens": -5, "completion_tokens": 3}, {"prompt_tokens": 1 << 60}, {}])
def test_usage_that_cannot_be_is_not_believed(told: dict[str, int]) -> None:
    with asked({"answer": "x", "usage": {"total_tokens": 1, "completion_tokens": 1, **told}}) as (gateway, _):
        assert not ask(gateway).usage.told_by_server


@pytest.mark.parametrize(
    "turn",
    [
        {"answer": "<think>hm, loops</think>done"},
        {"answer": "hm, loops</think>\ndone"},
        {"answer": "done", "thinking": "hm, loops"},
        {"answer": "<thinking>hm, loops</thinking> done"},
    ],
)
def test_a_thought_is_kept_apart(turn: dict[str, Any]) -> None:
    with asked(turn) as (gateway, _):
        answer = ask(gateway)
    assert (answer.text, answer.thinking) == ("done", "hm, loops")


def test_an_answer_that_ended_in_its_thought_is_empty() -> None:
    with asked({"answer": "<think>and then", "finish": "length"}) as (gateway, _):
        answer = ask(gateway)
    assert (answer.text, answer.thinking, answer.finish) == ("", "and then", "length")


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503])
def test_what_may_pass_is_tried_again(status: int) -> None:
    with asked({"status": status, "error": {"message": "busy"}}, {"answer": "yes"}) as (gateway, script):
        answer = ask(gateway)
    assert answer.text == "yes"
    assert len(script.requests) == 2
    assert [one.outcome for one in answer.attempts] == [f"HTTP {status}: busy", "answered"]


def test_a_server_is_waited_for_as_long_as_it_asks() -> None:
    turns = ({"status": 429, "error": {"message": "slow"}, "headers": {"Retry-After": "0.4"}}, {"answer": "yes"})
    began = time.monotonic()
    with asked(*turns) as (gateway, _):
        ask(gateway)
    assert time.monotonic() - began >= 0.4


def test_a_server_that_asks_for_an_hour_is_left_for_the_next_model() -> None:
    turns = ({"status": 429, "error": {"message": "slow"}, "headers": {"Retry-After": "3600"}}, {"answer": "yes"})
    with asked(*turns) as (gateway, script):
        answer = ask(gateway)
    assert answer.model == SPARE
    assert [body["model"] for body in bodies(script)] == [FAST, SPARE]


def test_the_next_model_answers_when_one_is_unknown() -> None:
    with asked({"status": 404, "error": {"message": "no such model"}}, {"answer": "yes"}) as (gateway, script):
        assert ask(gateway).model == SPARE
    assert len(script.requests) == 2


def test_every_model_that_failed_is_named() -> None:
    with (
        asked({"status": 500, "error": {"message": "out of memory"}}) as (gateway, script),
        pytest.raises(GatewayError, match=f"{FAST}: HTTP 500: out of memory.*{SPARE}: HTTP 500"),
    ):
        ask(gateway)
    assert len(script.requests) == 2 * QUICK.attempts


@pytest.mark.parametrize(
    ("turn", "why"),
    [
        ({"answer": "half of it" * 30, "cut": 100}, "broke off|cut off"),
        ({"garbage": b"\x00\xff<html>proxy error</html>"}, "cut off|broke off"),
        ({"garbage": b"data: {not json}\n\n"}, "broke off"),
        ({"garbage": b'data: {"choices": 5}\n\n'}, "broke off|cut off"),
        ({"garbage": b"data: [1]\n\ndata: [DONE]\n\n"}, "broke off|cut off"),
        ({"hang": 30}, "no whole answer|no byte"),
        ({"drip": 0.05}, "no whole answer"),
        ({"answer": "x", "model": "somebody-else"}, "'somebody-else' answered"),
        ({"answer": "y" * 100_000}, "larger than 5000 bytes"),
        ({"status": 307, "headers": {"Location": "http://192.0.2.1/v1"}}, "sends elsewhere"),
        ({"status": 401, "error": {"message": "who are you"}}, "takes no such key"),
        ({"status": 429, "error": {"message": "paid up", "code": "insufficient_quota"}}, "own budget is spent"),
    ],
)
def test_what_is_no_answer_is_told_as_such(turn: dict[str, Any], why: str) -> None:
    limits = Limits(
        seconds=0.8, silence_s=0.5, connect_s=1, attempts=2, first_wait_s=0.01, longest_wait_s=0.1, answer_bytes=5000
    )
    began = time.monotonic()
    with asked(turn, limits=limits) as (gateway, _), pytest.raises(GatewayError, match=why):
        ask(gateway, Role.REASONING)
    assert time.monotonic() - began < 10


def test_nobody_listens() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    endpoint = endpoint_of(f"http://127.0.0.1:{port}/v1")
    gateway = Gateway(
        endpoint, PROFILE, Policy(), ledger=Ledger(), outbound=Outbound(), key=None, limits=QUICK
    )  # fmt: skip
    with pytest.raises(GatewayError, match=f"no connection to 127.0.0.1:{port}"):
        ask(gateway)


@pytest.mark.parametrize(
    ("message", "limit"),
    [
        ("This model's maximum context length is 8192 tokens. However, you requested 9000 tokens.", 8192),
        ("the request exceeds the available context size (4096 tokens), try increasing it", None),
        ("prompt is too long", None),
    ],
)
def test_a_prompt_that_does_not_fit_says_so(message: str, limit: int | None) -> None:
    with (
        asked({"status": 400, "error": {"message": message}}) as (gateway, script),
        pytest.raises(ContextTooLongError) as raised,
    ):
        ask(gateway)
    assert raised.value.limit == limit
    assert len(script.requests) == 1


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (400, "response_format is not supported"),
        # llama-cpp-python's server.
        (500, "1 validation error: {'type': 'literal_error', 'loc': ('body', 'response_format', 'type')}"),
    ],
)
def test_a_server_without_schemas_is_asked_without_from_then_on(status: int, said: str) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    with asked({"status": status, "error": {"message": said}}, {"answer": '{"a": 1}'}) as (gateway, script):
        answer = ask(gateway, schema=schema)
        ask(gateway, schema=schema)
    assert (answer.text, answer.structured) == ('{"a": 1}', False)
    first, *others = bodies(script)
    assert first["response_format"]["json_schema"]["schema"] == schema
    assert len(others) == 2 and not [one for one in others if "response_format" in one]


def test_a_request_stops_when_somebody_says_so() -> None:
    cancelled = threading.Event()
    threading.Timer(0.3, cancelled.set).start()
    began = time.monotonic()
    with (
        asked({"drip": 0.05}, limits=Limits(seconds=60), cancelled=cancelled) as (gateway, _),
        pytest.raises(CancelledError),
    ):
        ask(gateway)
    assert time.monotonic() - began < 5


def test_nothing_is_sent_that_the_tokens_left_cannot_pay() -> None:
    ledger = Ledger(most_tokens=1000)
    with asked({"answer": "x" * 300, "usage": {"prompt_tokens": 500, "completion_tokens": 300}}, ledger=ledger) as pair:
        gateway, script = pair
        ask(gateway)
        with pytest.raises(BudgetSpentError, match="200 left"):
            ask(gateway)
    assert len(script.requests) == 1
    assert ledger.tokens == 800


def test_lost_answers_are_paid_for() -> None:
    ledger = Ledger()
    with asked({"answer": "z" * 500, "cut": 200}, ledger=ledger) as (gateway, script), pytest.raises(GatewayError):
        ask(gateway, Role.REASONING)
    assert len(script.requests) == QUICK.attempts
    assert ledger.tokens >= QUICK.attempts * (200 - 64)


def test_money_holds_and_needs_a_price() -> None:
    priced = Profile(
        name="priced",
        roles={Role.CODING: (FAST,)},
        models={FAST: Model(price_in=Decimal(1_000_000), price_out=Decimal(2_000_000))},
    )
    usage = {"prompt_tokens": 10, "completion_tokens": 5}
    ledger = Ledger(most_money=Decimal(600))
    with asked({"answer": "ok", "usage": usage}, profile=priced, ledger=ledger) as (gateway, script):
        assert ask(gateway, most_out=100).cost == Decimal(20)
        with pytest.raises(BudgetSpentError, match="580 left"):
            ask(gateway, most_out=300)
    assert len(script.requests) == 1
    with (
        asked({"answer": "ok"}, ledger=Ledger(most_money=Decimal(5))) as (gateway, script),
        pytest.raises(BudgetSpentError, match="price of fast-1b is not known"),
    ):
        ask(gateway)
    assert not script.requests


def test_the_key_goes_to_the_server_and_nowhere_else() -> None:
    key = "k-" + "9z" * 20
    turn = {"status": 403, "error": {"message": f"the key {key} may not use this model"}}
    with asked(turn, key=key) as (gateway, script), pytest.raises(GatewayError) as raised:
        ask(gateway)
    assert f"Authorization: Bearer {key}".lower().encode() in script.requests[0].lower()
    assert key not in str(raised.value)


def test_the_environment_decides_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "OPENAI_BASE_URL"):
        monkeypatch.setenv(name, "http://192.0.2.9:3128")
    for name in ("OPENAI_API_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
        monkeypatch.setenv(name, "planted-in-the-environment")
    with asked({"answer": "here"}) as (gateway, script):
        assert ask(gateway).text == "here"
    assert b"planted-in-the-environment" not in script.requests[0]


def test_an_endpoint_outside_is_refused_before_a_byte_is_sent() -> None:
    gateway = Gateway(
        endpoint_of("http://192.0.2.7/v1"), PROFILE, Policy(), ledger=Ledger(), outbound=Outbound(), key=None
    )  # fmt: skip
    with pytest.raises(PolicyError, match="nothing was sent"):
        ask(gateway)


def test_an_exemption_stands_in_the_answer() -> None:
    exemption = Exemption("127.0.0.1", "A. Person", "a trial")
    with asked({"answer": "x"}, policy=Policy(exemptions=(exemption,))) as (gateway, _):
        assert ask(gateway).exemption is None  # loopback needs none


def test_a_role_without_a_model_is_refused() -> None:
    with asked({"answer": "x"}) as (gateway, script), pytest.raises(PolicyError, match="no model for embeddings"):
        ask(gateway, Role.EMBEDDINGS)
    assert not script.requests


def test_a_known_context_is_held_before_anything_is_sent() -> None:
    small = Profile(name="test", roles={Role.CODING: (FAST,)}, models={FAST: Model(context_tokens=1000)})
    long = [Message("user", "x" * 700)]
    with asked({"answer": "yes"}, profile=small) as (gateway, script):
        with pytest.raises(ContextTooLongError, match="nothing was sent") as error:
            ask(gateway, messages=long, most_out=400)
        assert error.value.limit == 600 and not script.requests
        assert ask(gateway, messages=[Message("user", "x" * 500)], most_out=400).text == "yes"
        # An answer may take half of it at most, whatever is asked for.
        assert ask(gateway, messages=HELLO, most_out=100_000).text == "yes"
        assert bodies(script)[-1]["max_tokens"] == 500
