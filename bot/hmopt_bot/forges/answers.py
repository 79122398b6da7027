# SPDX-License-Identifier: Apache-2.0
"""What an answer that is no yes means, the same way for every forge."""

from __future__ import annotations

import email.utils
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from hmopt_bot.forges.errors import (
    AnswerError,
    ApiError,
    AuthenticationError,
    MissingError,
    PermissionDeniedError,
    RateLimitedError,
    RejectedError,
    UnavailableError,
    said,
)
from hmopt_bot.forges.message import Response
from hmopt_bot.forges.payload import first

T = TypeVar("T")
# "wait for at least one minute before retrying": docs.github.com/rest/using-the-rest-api/rate-limits-for-the-rest-api
_SECONDARY = 60.0
_LONGEST = 24 * 3600.0
_LIMIT_WORDS = ("rate limit", "abuse detection", "too many requests")


def retry_at(response: Response, message: str) -> float | None:
    """Return when a request that was refused for its rate may be sent again (epoch seconds); None if it was not.

    Retry-After, then the primary limit's reset, then a minute: GitHub's own order.
    """
    if response.status not in (403, 429):
        return None
    headers = response.headers
    wait = _wait(headers.get("retry-after"), response.at)
    if wait is None and headers.get("x-ratelimit-remaining", "").strip() == "0":
        reset = headers.get("x-ratelimit-reset", "").strip()
        wait = float(reset) - response.at if reset.isascii() and reset.isdigit() else _SECONDARY
    if wait is None and (response.status == 429 or any(word in message.lower() for word in _LIMIT_WORDS)):
        wait = _SECONDARY
    # A clock that differs by a second, and a header that says a year, are both no reason to do what they say.
    return None if wait is None else response.at + min(max(wait, 1.0), _LONGEST)


def _wait(value: str | None, now: float) -> float | None:
    """Return the seconds of a Retry-After, which is a number or a date."""
    if value is None:
        return None
    if value.strip().isascii() and value.strip().isdigit():
        return float(value)
    try:
        return email.utils.parsedate_to_datetime(value).timestamp() - now
    except (ValueError, OverflowError):
        return _SECONDARY


def refused(response: Response, what: str, message: str) -> ApiError:
    """Return the error that an answer with a status of 300 or more is; `message` is what the forge said."""
    status = response.status
    told = f"{what}: the forge answered {status}" + (f", {said(message)}" if message else "")
    at = retry_at(response, message)
    if at is not None:
        return RateLimitedError(told, status=status, retry_at=at)
    if status >= 500 or status in (408, 425):
        return UnavailableError(told, status=status)
    if status == 401:
        return AuthenticationError(told, status=status, next_step="get a new token")
    if status == 403:
        return PermissionDeniedError(told, status=status, next_step="give the bot's account or App that permission")
    if status in (404, 410, 451):
        return MissingError(told, status=status)
    if status < 400:
        return RejectedError(told, status=status, next_step="the repository has moved: name it as it is called now")
    return RejectedError(told, status=status)


def read(adapter: TypeAdapter[T], value: object, response: Response, what: str) -> T:
    """Return an answer's JSON as what it should be. Raises AnswerError."""
    try:
        return adapter.validate_python(value)
    except ValidationError as error:
        told = f"{what}: the forge's answer is not as described: {first(error)}"
        raise AnswerError(told, status=response.status) from error
