# SPDX-License-Identifier: Apache-2.0
"""What every request passes before the application sees it, and every answer after: who asks, how often, how much.

An ASGI application around the application (asgi.readthedocs.io, the specification), since a body must be refused while
it comes, not when it is there.
"""

from __future__ import annotations

import asyncio
import logging
import math
import re
from dataclasses import dataclass, field

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from git_hmopt.errors import HmoptError
from hmopt_bot.web.limits import Buckets, Limits
from hmopt_bot.web.problems import Refusal
from hmopt_bot.web.tokens import Caller, Tokens

_LOG = logging.getLogger("hmopt.web")
WEBHOOKS = "/webhooks/"
OPEN = frozenset({"/health", "/openapi.json"})
"""What everybody may ask."""
_LOOPBACK = re.compile(r"(?:localhost|127(?:\.\d{1,3}){3}|\[::1\])(?::\d{1,5})?", re.IGNORECASE)
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_UNAUTHORIZED = {"WWW-Authenticate": "Bearer"}


@dataclass
class Guard:
    """The application behind its limits."""

    app: ASGIApp
    limits: Limits
    tokens: Tokens | None
    """None where whoever reaches the address may do everything."""
    only_loopback: bool
    buckets: Buckets = field(init=False)
    _buffered: int = 0

    def __post_init__(self) -> None:
        self.buckets = Buckets(self.limits.requests_a_minute)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer with what is wrong with it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        body = b""
        try:
            self._admit(scope)
            body = await self._body(scope, receive)
        except Refusal as refusal:
            await refusal.response()(scope, receive, _with_headers(send))
            return
        except HmoptError as error:
            _LOG.error("%s", error)
            closed = Refusal(503, "the server cannot read who may ask; its log says why", headers={"Retry-After": "30"})
            await closed.response()(scope, receive, _with_headers(send))
            return
        try:
            await self.app(scope, _replayed(body, receive), _with_headers(send))
        finally:
            self._buffered -= len(body)

    def _admit(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        path: str = scope["path"]
        # h11 bounds a head only while it is not there whole.
        head = len(scope["raw_path"]) + len(scope["query_string"]) + sum(len(n) + len(v) for n, v in scope["headers"])
        if head > self.limits.header_bytes:
            raise Refusal(431, f"the head is larger than {self.limits.header_bytes} bytes")
        # A page of the web can make a browser on this machine ask us under its own name (DNS rebinding).
        if self.only_loopback and not _LOOPBACK.fullmatch(headers.get("host", "")):
            raise Refusal(421, "this server answers to names of this machine alone")
        scope.setdefault("state", {})["caller"] = None
        if path.startswith(WEBHOOKS):
            return
        caller = self._caller(headers)
        scope["state"]["caller"] = caller
        key = f"token {caller.name}" if caller else f"address {address_of(scope)}"
        wait = self.buckets.wait(key)
        if wait:
            raise too_many(wait)
        if caller is None and self.tokens is not None and path not in OPEN:
            raise Refusal(401, "this needs a token: Authorization: Bearer TOKEN", headers=_UNAUTHORIZED)

    def _caller(self, headers: Headers) -> Caller | None:
        kind, _, token = headers.get("authorization", "").partition(" ")
        if self.tokens is None or kind.lower() != "bearer":
            return None
        return self.tokens.caller(token.strip())

    async def _body(self, scope: Scope, receive: Receive) -> bytes:
        webhook = scope["path"].startswith(WEBHOOKS)
        most = self.limits.webhook_bytes if webhook else self.limits.body_bytes
        said = Headers(scope=scope).get("content-length", "0")
        if said.isdigit() and int(said[:20]) > most:
            raise _too_large(most)
        chunks: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(self.limits.body_s):
                while True:
                    message = await receive()
                    if message["type"] != "http.request":
                        raise Refusal(400, "the request was broken off")
                    chunk: bytes = message.get("body", b"")
                    size += len(chunk)
                    self._buffered += len(chunk)
                    chunks.append(chunk)
                    if size > most:
                        raise _too_large(most)
                    if self._buffered > self.limits.buffered_bytes:
                        raise Refusal(503, "too much is being received at once", headers={"Retry-After": "1"})
                    if not message.get("more_body", False):
                        return b"".join(chunks)
        except TimeoutError:
            self._buffered -= size
            raise Refusal(
                408, f"the body took longer than {self.limits.body_s:g} s", headers={"Connection": "close"}
            ) from None
        except Refusal:
            self._buffered -= size
            raise


def too_many(wait_s: float) -> Refusal:
    """Return the answer to one request too many."""
    return Refusal(429, "too many requests", headers={"Retry-After": str(math.ceil(wait_s))})


def address_of(scope: Scope) -> str:
    """Return the address that a request came from; all of a proxy's requests come from the proxy."""
    client = scope.get("client")
    return str(client[0]) if client else "unknown"


def _too_large(most: int) -> Refusal:
    # The rest of the body is not read; the connection cannot be used for another request.
    return Refusal(413, f"the body is larger than {most} bytes", headers={"Connection": "close"})


def _replayed(body: bytes, receive: Receive) -> Receive:
    """Give the body that was read, and then what comes after it: that the client went away."""
    given = False

    async def replay() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in _HEADERS.items():
                headers.setdefault(name, value)
        await send(message)

    return sending
