# SPDX-License-Identifier: Apache-2.0
"""Ask a model: policy and budget first, then the openai client, streamed, with what can go wrong on the way.

One request at a time, and every limit is hard: a server that sends a byte a minute is left at the deadline. Nothing is
taken from the environment (no proxy, no key, no organisation), and no redirect is followed, which would carry a prompt
to where nobody allowed it.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import email.utils
import math
import re
import threading
import time
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx2
import openai
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_after_attempt, wait_exponential_jitter

from git_hmopt.config.document import printable
from git_hmopt.gateway.errors import (
    Attempt,
    BudgetSpentError,
    CancelledError,
    ContextTooLongError,
    GatewayError,
    PolicyError,
)
from git_hmopt.gateway.ledger import Ledger, Usage, most_tokens_in
from git_hmopt.gateway.message import Answer, Message
from git_hmopt.gateway.outbound import Outbound
from git_hmopt.gateway.policy import Endpoint, Exemption, Policy
from git_hmopt.gateway.profile import Model, Profile, Role
from git_hmopt.gateway.thinking import told_apart

_TOO_LONG = re.compile(
    r"context[ _](?:length|size|window)|maximum (?:context|prompt)|too many tokens|prompt is too long", re.IGNORECASE
)
_LIMIT = re.compile(r"(?:maximum|max|limit|n_ctx)\D{0,60}?(\d{3,8})", re.IGNORECASE)
_NO_SCHEMA = re.compile(r"response_format|json_schema|guided|structured", re.IGNORECASE)
_LOOK_EVERY_S = 0.05


@dataclass(frozen=True)
class Limits:
    """What one request may take."""

    seconds: float = 600.0
    """From its first byte to the last of its answer."""
    silence_s: float = 120.0
    """Without a byte from the server."""
    connect_s: float = 10.0
    attempts: int = 4
    """Of one model."""
    longest_wait_s: float = 60.0
    """Between two attempts; a server that asks for more is left."""
    first_wait_s: float = 0.5
    answer_bytes: int = 4 << 20


class _AgainError(Exception):
    """What may be otherwise the next time; `after_s` is what the server asks to wait."""

    def __init__(self, why: str, after_s: float | None = None) -> None:
        super().__init__(why)
        self.after_s = after_s


class _NoSchemaError(Exception):
    """The server does not hold answers to a schema."""


@dataclass
class _Heard:
    """An answer that is being streamed."""

    text: list[str] = field(default_factory=list)
    thinking: list[str] = field(default_factory=list)
    size: int = 0
    finish: str = ""
    served_by: str = ""
    usage: Any = None


class Gateway:
    """A configured gateway, for one run."""

    def __init__(
        self, endpoint: Endpoint, profile: Profile, policy: Policy, *, ledger: Ledger, outbound: Outbound,
        key: str | None, limits: Limits | None = None, cancelled: threading.Event | None = None,
    ) -> None:  # fmt: skip
        self._endpoint, self._profile, self._policy = endpoint, profile, policy
        self._ledger, self._outbound, self._key = ledger, outbound, key
        self._limits, self._cancelled = limits or Limits(), cancelled or threading.Event()
        self._schemaless: set[str] = set()
        """Models that are served without schemas, as a refusal told."""
        first = self._limits.first_wait_s
        self._waits = wait_exponential_jitter(multiplier=first, max=self._limits.longest_wait_s, jitter=first)

    @property
    def currency(self) -> str:
        """Return what costs are told in."""
        return self._profile.currency

    @property
    def removed(self) -> Mapping[str, int]:
        """Return how often each rule removed something from what left so far."""
        return self._outbound.counts

    def cleaned(self, messages: Sequence[Message]) -> tuple[Message, ...]:
        """Return messages as they would leave; doing it twice changes nothing more."""
        return tuple(Message(one.role, self._outbound.cleaned(one.text)) for one in messages)

    def judge(self) -> None:
        """Raise PolicyError unless every model of every role may be asked; nothing is sent."""
        for name in sorted(self._profile.named):
            self._policy.judge(self._endpoint, name, self._profile)

    def ask(
        self, role: Role, messages: Sequence[Message], *, most_out: int, schema: Mapping[str, Any] | None = None,
        within_s: float = math.inf,
    ) -> Answer:  # fmt: skip
        """Return the answer of the role's first model that gives one.

        `most_out` is in tokens. With a JSON `schema` a server that can is told to hold the answer to it. Everything
        together takes `within_s` at most. Raises PolicyError, BudgetSpentError, ContextTooLongError, CancelledError,
        or GatewayError when no model answered; each knows the attempts that were made.
        """
        attempts: list[Attempt] = []
        try:
            return self._of_role(role, self.cleaned(messages), most_out, schema, attempts, time.monotonic() + within_s)
        except GatewayError as error:
            error.attempts = tuple(attempts)
            raise

    def _of_role(
        self, role: Role, sent: tuple[Message, ...], most_out: int, schema: Mapping[str, Any] | None,
        attempts: list[Attempt], deadline: float,
    ) -> Answer:  # fmt: skip
        models = self._profile.of(role)
        if not models:
            raise PolicyError(f"the profile {self._profile.name} has no model for {role}: nothing was sent")
        failed: list[str] = []
        for name in models:
            try:
                return asyncio.run(self._watched(name, sent, most_out, schema, attempts, deadline))
            except GatewayError as error:
                if type(error) is not GatewayError:
                    raise
                failed.append(f"{name}: {error.what}")
        raise GatewayError(
            f"no model for {role} gave an answer: {'; '.join(failed)}",
            next_step="the run's record says of each attempt what came of it",
        )

    # -- one model --------------------------------------------------------------------------------------------------

    async def _watched(
        self, name: str, sent: tuple[Message, ...], most_out: int, schema: Mapping[str, Any] | None,
        attempts: list[Attempt], deadline: float,
    ) -> Answer:  # fmt: skip
        """Ask one model, and stop when somebody says so, or at the deadline."""
        asking = asyncio.ensure_future(self._ask_model(name, sent, most_out, schema, attempts))
        try:
            while not asking.done():
                await asyncio.wait((asking,), timeout=_LOOK_EVERY_S)
                if asking.done():
                    break
                if self._cancelled.is_set():
                    raise CancelledError(f"the request to {name} was stopped")
                if time.monotonic() > deadline:
                    raise BudgetSpentError(f"the time for {name} is used up before it answered")
        finally:
            if not asking.done():
                asking.cancel()
                with contextlib.suppress(asyncio.CancelledError, GatewayError):
                    await asking
        return asking.result()

    async def _ask_model(
        self, name: str, sent: tuple[Message, ...], most_out: int, schema: Mapping[str, Any] | None,
        attempts: list[Attempt],
    ) -> Answer:  # fmt: skip
        exemption = self._policy.judge(self._endpoint, name, self._profile)
        schema = None if name in self._schemaless else schema
        model = self._profile.models.get(name, Model())
        bound = _bounded(name, model, Usage(most_tokens_in([one.text for one in sent]), most_out, told_by_server=False))
        retrying = AsyncRetrying(
            retry=retry_if_exception_type(_AgainError),
            stop=stop_after_attempt(self._limits.attempts),
            wait=self._wait,
            reraise=True,
        )
        try:
            async for attempt in retrying:
                with attempt:
                    self._ledger.check(name, model, bound)
                    began, booked = time.monotonic(), (self._ledger.tokens, self._ledger.money)
                    try:
                        heard = await self._request(name, model, sent, bound, schema)
                    except _NoSchemaError:
                        self._schemaless.add(name)
                        attempts.append(Attempt(name, "it takes no schema", time.monotonic() - began))
                        return await self._ask_model(name, sent, most_out, None, attempts)
                    except (_AgainError, GatewayError) as error:
                        lost = self._ledger.tokens - booked[0], self._ledger.money - booked[1]
                        attempts.append(Attempt(name, str(error), time.monotonic() - began, *lost))
                        raise
                    took = time.monotonic() - began
                    attempts.append(Attempt(name, "answered", took))
                    return self._answer(name, model, heard, bound, sent, took, attempts, exemption, schema)
        except _AgainError as error:
            raise GatewayError(f"{error} ({self._limits.attempts} attempts)") from error
        raise AssertionError("unreachable")

    def _wait(self, state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        asked = error.after_s if isinstance(error, _AgainError) else None
        own = self._waits(state)
        return own if asked is None else asked

    def _answer(
        self, name: str, model: Model, heard: _Heard, bound: Usage, sent: tuple[Message, ...], took: float,
        attempts: list[Attempt], exemption: Exemption | None, schema: Mapping[str, Any] | None,
    ) -> Answer:  # fmt: skip
        usage = _usage(heard, bound)
        text, thought = told_apart(_joined(heard.text))
        thinking = "\n\n".join(one for one in (_joined(heard.thinking).strip(), thought) if one)
        return Answer(
            text=self._outbound.restored(text),
            thinking=thinking,
            sent=sent,
            model=name,
            served_by=heard.served_by,
            finish=heard.finish,
            usage=usage,
            cost=self._ledger.book(model, usage),
            seconds=took,
            attempts=tuple(attempts),
            exemption=exemption,
            structured=schema is not None,
        )

    # -- one request ------------------------------------------------------------------------------------------------

    async def _request(
        self, name: str, model: Model, sent: tuple[Message, ...], bound: Usage, schema: Mapping[str, Any] | None
    ) -> _Heard:
        heard = _Heard()
        try:
            async with asyncio.timeout(self._limits.seconds):
                async with self._client() as client:
                    async for chunk in _stream(client, name, sent, bound.tokens_out, schema):
                        try:
                            self._hear(heard, chunk, name)
                        except (AttributeError, TypeError) as error:
                            # The library makes its objects of whatever JSON came.
                            raise _AgainError("the answer broke off: what came is not of the chat protocol") from error
            if not heard.finish:
                raise _AgainError("the answer was cut off")
        except TimeoutError:
            self._lost(heard, model, bound)
            raise _AgainError(f"no whole answer within {self._limits.seconds:g} seconds") from None
        except openai.APIStatusError as error:
            raise self._refused(error, has_schema=schema is not None) from error
        except openai.APITimeoutError as error:
            self._lost(heard, model, bound)
            raise _AgainError(f"no byte for {self._limits.silence_s:g} seconds") from error
        except openai.APIConnectionError as error:
            if heard.served_by or isinstance(error.__cause__, httpx2.RemoteProtocolError):
                self._lost(heard, model, bound)
                raise _AgainError(f"the answer broke off: {_cause(error)}") from error
            raise _AgainError(f"no connection to {self._endpoint.place}: {_cause(error)}") from error
        except (openai.APIError, httpx2.HTTPError, ValueError) as error:
            self._lost(heard, model, bound)
            raise _AgainError(f"the answer broke off: {_cause(error)}") from error
        except (_AgainError, GatewayError):
            self._lost(heard, model, bound)
            raise
        return heard

    def _lost(self, heard: _Heard, model: Model, bound: Usage) -> None:
        """Book what a request used whose answer was lost: the server worked on it."""
        if heard.size:
            self._ledger.book(model, Usage(bound.tokens_in, min(heard.size, bound.tokens_out), told_by_server=False))

    def _client(self) -> openai.AsyncOpenAI:
        limits = self._limits
        timeout = httpx2.Timeout(limits.silence_s, connect=limits.connect_s)
        web = httpx2.AsyncClient(trust_env=False, follow_redirects=False, timeout=timeout)
        # A key, an organisation and a project that are not given are taken from the environment: so they are.
        return openai.AsyncOpenAI(
            base_url=self._endpoint.url, api_key=self._key or "none", organization="", project="", max_retries=0,
            timeout=timeout, http_client=web,
        )  # fmt: skip

    def _hear(self, heard: _Heard, chunk: Any, name: str) -> None:
        """Take in a chunk; the server's word for it is not believed to have every part."""
        if isinstance(chunk.model, str) and chunk.model and not heard.served_by:
            heard.served_by = chunk.model
            if not _same_model(name, chunk.model):
                raise GatewayError(printable(f"{name} was asked, and '{chunk.model[:100]}' answered"))
        if chunk.usage is not None:
            heard.usage = chunk.usage
        for choice in (chunk.choices or ())[:1]:
            delta = choice.delta
            text = getattr(delta, "content", None)
            thought = getattr(delta, "reasoning_content", None) or getattr(delta, "reasoning", None)
            for said, into in ((text, heard.text), (thought, heard.thinking)):
                if isinstance(said, str):
                    into.append(said)
                    heard.size += len(said.encode("utf-8", "surrogatepass"))
            if heard.size > self._limits.answer_bytes:
                raise GatewayError(f"the answer is larger than {self._limits.answer_bytes} bytes")
            if choice.finish_reason:
                heard.finish = choice.finish_reason

    def _refused(self, error: openai.APIStatusError, *, has_schema: bool) -> Exception:
        """Return what a server's refusal means."""
        status, said = error.status_code, printable(self._without_key(_said(error)))
        if status in (400, 413, 422) and (_TOO_LONG.search(said) or error.code == "context_length_exceeded"):
            limit = _LIMIT.search(said)
            return ContextTooLongError(f"the prompt is too long: {said}", limit=int(limit[1]) if limit else None)
        # llama-cpp-python says 500 of a request that it does not understand.
        if status in (400, 422, 500, 501) and has_schema and _NO_SCHEMA.search(said):
            return _NoSchemaError(said)
        if status == 429 and error.code == "insufficient_quota":
            return GatewayError(f"the gateway's own budget is spent: {said}")
        if status in (408, 409, 429) or status >= 500:
            after = _retry_after(error.response.headers)
            if after is not None and after > self._limits.longest_wait_s:
                return GatewayError(f"HTTP {status}, and the server asks to wait {after:g} seconds: {said}")
            return _AgainError(f"HTTP {status}: {said}", after)
        if 300 <= status < 400:
            return GatewayError(f"the server sends elsewhere (HTTP {status}), which is not followed")
        if status == 401:
            return GatewayError(f"the gateway takes no such key (HTTP 401): {said}", next_step="set HMOPT_GATEWAY_KEY")
        return GatewayError(f"HTTP {status}: {said}")

    def _without_key(self, text: str) -> str:
        """Return a server's words without the key, which some repeat."""
        return text.replace(self._key, "<redacted:token>") if self._key and len(self._key) >= 4 else text


def _bounded(name: str, model: Model, most: Usage) -> Usage:
    """Return the most that a request can take of a model's context; ContextTooLongError when it could be too much.

    Some servers cut what is too long without a word, so that a known context is held here, by the prompt's bytes.
    """
    whole = model.context_tokens
    if whole is None:
        return most
    most = dataclasses.replace(most, tokens_out=min(most.tokens_out, max(1, whole // 2)))
    left = whole - most.tokens_out
    if most.tokens_in > left:
        raise ContextTooLongError(
            f"a prompt of up to {most.tokens_in} tokens and an answer of {most.tokens_out} do not surely fit the "
            f"{whole} of {name}: nothing was sent",
            limit=left,
        )
    return most


async def _stream(
    client: openai.AsyncOpenAI, name: str, sent: Sequence[Message], most_out: int, schema: Mapping[str, Any] | None
) -> AsyncIterator[Any]:
    held: dict[str, Any] = {}
    if schema is not None:
        held["response_format"] = {
            "type": "json_schema", "json_schema": {"name": "answer", "schema": dict(schema), "strict": True}
        }  # fmt: skip
    messages: Iterable[Any] = [{"role": one.role, "content": one.text} for one in sent]
    stream = await client.chat.completions.create(
        model=name, messages=messages, max_tokens=most_out, stream=True, stream_options={"include_usage": True}, **held
    )
    async with stream:
        async for chunk in stream:
            yield chunk


def _joined(parts: Sequence[str]) -> str:
    """Return the parts of a text as one; half of a surrogate pair, which no UTF-8 has, as a replacement character."""
    return "".join(parts).encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _usage(heard: _Heard, bound: Usage) -> Usage:
    """Return what the server counted, or the bound where it told nothing that can be."""
    told = (getattr(heard.usage, "prompt_tokens", None), getattr(heard.usage, "completion_tokens", None))
    if all(type(one) is int and 0 <= one <= 1 << 40 for one in told) and told[0]:
        return Usage(told[0], told[1] or 0, told_by_server=True)
    return Usage(bound.tokens_in, min(bound.tokens_out, heard.size), told_by_server=False)


def _same_model(asked: str, answered: str) -> bool:
    """Say whether a server's name for a model is the one that was asked: it may add a date, or the owner's name."""
    return answered == asked or answered.startswith(f"{asked}-2") or answered.endswith(f"/{asked}")


def _said(error: openai.APIStatusError) -> str:
    """Return a server's own words, shortly."""
    body = error.body
    inner = body.get("error", body) if isinstance(body, Mapping) else body
    message = inner.get("message", inner) if isinstance(inner, Mapping) else inner
    return " ".join(str(message or error.message).split())[:300]


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that a server asks to wait: a number, or a date (RFC 9110, 10.2.3)."""
    said = headers.get("retry-after", "")
    with contextlib.suppress(ValueError):
        return max(0.0, float(said)) if float(said) < 1e9 else 1e9
    with contextlib.suppress(ValueError, TypeError):
        return max(0.0, email.utils.parsedate_to_datetime(said).timestamp() - time.time())
    return None


def _cause(error: BaseException) -> str:
    """Return the innermost reason of an error, in a line."""
    while error.__cause__ is not None:
        error = error.__cause__
    return printable(" ".join(str(error).split())[:200]) or type(error).__name__
