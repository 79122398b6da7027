# SPDX-License-Identifier: Apache-2.0
"""Sends calls to a forge and reads the answers; paces what it writes, below what the forges allow."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TypeVar

import urllib3

from git_hmopt.errors import StoreError
from hmopt_bot.forges.errors import AnswerError, RateLimitedError, UnavailableError
from hmopt_bot.forges.message import Call, Page, Request, Response

T = TypeVar("T")
_MOST_BYTES = 64 << 20
_READS = frozenset({"GET", "HEAD"})


@dataclass(frozen=True)
class Pace:
    """How often something is written, counted in a file by all workers of a repository.

    GitHub takes 80 requests a minute that create content, and 500 an hour
    (docs.github.com/rest/using-the-rest-api/rate-limits-for-the-rest-api): we are to stay below both.
    """

    path: Path
    a_minute: int
    an_hour: int
    clock: Callable[[], float] = time.time

    def take(self, what: str) -> None:
        """Count one writing; RateLimitedError, with the time at which there is room again, when there is none."""
        now = self.clock()
        with self._locked() as stream:
            recent = [one for one in _times(stream) if now - 3600 < one <= now]
            for most, within in ((self.a_minute, 60.0), (self.an_hour, 3600.0)):
                inside = [one for one in recent if now - within < one]
                if len(inside) >= most:
                    raise RateLimitedError(
                        f"{what}: {most} writings in {within:.0f} s are enough", status=429,
                        retry_at=inside[-most] + within,
                    )  # fmt: skip
            stream.seek(0)
            stream.truncate()
            json.dump([*recent, now], stream)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[IO[str]]:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            handle = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreError(f"'{self.path}' cannot be written: {error.strerror}") from error
        with os.fdopen(handle, "r+", encoding="utf-8") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            yield stream


def _times(stream: IO[str]) -> list[float]:
    try:
        return [float(one) for one in json.load(stream)]
    except (ValueError, TypeError):
        # Empty, or cut by a kill: what it counted is forgotten, and no reason to be silent.
        return []


@dataclass(frozen=True)
class Speaker:
    """Sends requests, each once: who asked knows whether it may be sent again."""

    pace: Pace
    wait_s: float = 30.0
    """For the connection, and between two pieces of an answer."""
    _pool: urllib3.PoolManager = field(
        default_factory=lambda: urllib3.PoolManager(retries=False, cert_reqs="CERT_REQUIRED"), repr=False
    )

    def ask(self, call: Call[T]) -> T:
        """Return what the answer says. Raises ApiError."""
        if call.request.method not in _READS:
            self.pace.take(repr(call.request))
        return call.parse(self._sent(call.request))

    def every(self, call: Call[Page[T]], *, most: int = 3000) -> tuple[T, ...]:
        """Return the items of all pages, at most so many."""
        found: list[T] = []
        following: Call[Page[T]] | None = call
        while following is not None and len(found) < most:
            page = self.ask(following)
            found += page.items
            following = page.following
        return tuple(found[:most])

    def _sent(self, request: Request) -> Response:
        try:
            # A redirect would lead to where nobody said that the token should go.
            answer = self._pool.request(
                request.method, request.url, body=request.body or None, headers=dict(request.headers),
                redirect=False, timeout=self.wait_s, preload_content=False,
            )  # fmt: skip
            with contextlib.closing(answer):
                body = answer.read(_MOST_BYTES + 1, decode_content=True)
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise UnavailableError(f"{request!r}: {type(error).__name__}", status=0) from error
        if len(body) > _MOST_BYTES:
            raise AnswerError(f"{request!r}: the answer has more than {_MOST_BYTES} bytes", status=answer.status)
        headers = {name.lower(): value for name, value in answer.headers.items()}
        return Response(answer.status, headers, body, time.time())
