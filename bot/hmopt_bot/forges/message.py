# SPDX-License-Identifier: Apache-2.0
"""Requests and answers as values, and a call: a request with what reads its answer. No representation shows a token."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar
from urllib.parse import urlsplit

from hmopt_bot.forges.errors import MalformedError, MissingError

T = TypeVar("T")
MAX_DELIVERY = 25 * 1024 * 1024
"""GitHub caps payloads at 25 MB (docs.github.com/webhooks/webhook-events-and-payloads); the others send less."""


UNTIMED_REPLAY_S = 30 * 86_400.0
"""Where a forge signs no time, a delivery is remembered for so long; GitHub itself redelivers for three days."""


@dataclass(frozen=True)
class Request:
    """One HTTP request; header names are lower-case. Headers and body may hold secrets and are not shown."""

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    def __repr__(self) -> str:
        # A query may hold a token, too, and so may the part before the host: the address is shown without them.
        place = urlsplit(self.url)
        where = place._replace(netloc=place.netloc.rpartition("@")[2], query="", fragment="").geturl()
        return f"Request({self.method} {where}, headers {sorted(self.headers)}, body of {len(self.body)} bytes)"


@dataclass(frozen=True)
class Response:
    """One HTTP answer, and when it came (`at`, seconds since the epoch). Its body may hold a token and is not shown."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    at: float = 0.0

    def __repr__(self) -> str:
        return f"Response({self.status}, headers {sorted(self.headers)}, body of {len(self.body)} bytes)"


@dataclass(frozen=True)
class Call(Generic[T]):
    """A request, and what makes a value, or a typed ApiError, of its answer."""

    request: Request
    parse: Callable[[Response], T] = field(repr=False)


@dataclass(frozen=True)
class Page(Generic[T]):
    """One page of a list, and the call for the next one."""

    items: tuple[T, ...]
    following: Call[Page[T]] | None = None


def lowered(headers: Mapping[str, str]) -> dict[str, str]:
    """Return headers by lower-case name; MalformedError when two spellings of a name say different things."""
    found: dict[str, str] = {}
    for name, value in headers.items():
        if found.setdefault(name.lower(), value) != value:
            raise MalformedError(f"the delivery has the header {name.lower()!r} twice, with different values")
    return found


def as_json(value: object) -> bytes:
    """Return a value as the JSON of a request; lone surrogates, which are no Unicode, become question marks."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-8", "replace")


def otherwise(call: Call[T], missing: T) -> Call[T]:
    """Return the same call, for which "not there" is an answer and no error."""

    def parse(response: Response) -> T:
        try:
            return call.parse(response)
        except MissingError:
            return missing

    return Call(call.request, parse)
