# SPDX-License-Identifier: Apache-2.0
"""Answers that are no yes: rate limits and when to try again, expired tokens, a broken forge, nonsense."""

from __future__ import annotations

import json
from email.utils import formatdate
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hmopt_bot.forges.errors import (
    TRANSIENT,
    AnswerError,
    ApiError,
    AuthenticationError,
    MissingError,
    PermissionDeniedError,
    RateLimitedError,
    RejectedError,
    UnavailableError,
)
from hmopt_bot.forges.message import Response
from tests.bot.forges.deliveries import FORGES, KERNEL, NOW

SECONDARY = "You have exceeded a secondary rate limit. Please wait a few minutes before you try again."
forges = pytest.mark.parametrize("forge", sorted(FORGES))


def answer(forge: str, status: int, body: Any = None, **headers: str) -> ApiError:
    """Return the error that an answer to a comment is."""
    data = body if isinstance(body, bytes) else json.dumps(body or {}).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    response = Response(status, {"Content-Type": "application/json", **named}, data, NOW)
    with pytest.raises(ApiError) as refused:
        FORGES[forge].create_comment(KERNEL, 7, "x").parse(response)
    return refused.value


@forges
@pytest.mark.parametrize(
    ("status", "message", "headers", "after"),
    [
        (429, "", {}, 60),
        (429, "", {"Retry_After": "30"}, 30),
        (403, SECONDARY, {"Retry_After": "120"}, 120),
        (403, SECONDARY, {}, 60),
        (403, "You have triggered an abuse detection mechanism", {}, 60),
        (403, "API rate limit exceeded", {"X_RateLimit_Remaining": "0", "X_RateLimit_Reset": str(int(NOW) + 900)}, 900),
        (403, "", {"x_ratelimit_remaining": "0", "x_ratelimit_reset": "soon"}, 60),
        (403, "", {"x_ratelimit_remaining": "0"}, 60),
        (403, "", {"x_ratelimit_remaining": "0", "x_ratelimit_reset": "0"}, 1),
        (429, "", {"Retry_After": "0"}, 1),
        (429, "", {"Retry_After": "-5"}, 60),
        (429, "", {"Retry_After": "soon"}, 60),
        (429, "", {"Retry_After": "9" * 30}, 86_400),
        (429, "", {"Retry_After": formatdate(NOW + 45, usegmt=True)}, 45),
        (429, "", {"Retry_After": formatdate(NOW - 45, usegmt=True)}, 1),
        (403, "", {"Retry_After": "7", "x_ratelimit_remaining": "0", "x_ratelimit_reset": str(int(NOW) + 900)}, 7),
    ],
)
def test_limits_say_when_to_try_again(
    forge: str, status: int, message: str, headers: dict[str, str], after: int
) -> None:
    error = answer(forge, status, {"message": message}, **headers)
    assert isinstance(error, RateLimitedError)
    assert error.retry_at == NOW + after
    assert isinstance(error, TRANSIENT)


@forges
@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (301, RejectedError),
        (400, RejectedError),
        (401, AuthenticationError),
        (403, PermissionDeniedError),
        (404, MissingError),
        (408, UnavailableError),
        (409, RejectedError),
        (410, MissingError),
        (422, RejectedError),
        (451, MissingError),
        (500, UnavailableError),
        (502, UnavailableError),
        (503, UnavailableError),
        (599, UnavailableError),
    ],
)
@pytest.mark.parametrize("body", [b"", b"<html>Bad gateway</html>", b"\xff", b"[1]", b"null", {"message": "No"}])
def test_what_each_status_means(forge: str, status: int, kind: type[ApiError], body: Any) -> None:
    error = answer(forge, status, body)
    assert type(error) is kind
    assert error.status == status
    assert isinstance(error, TRANSIENT) == (kind is UnavailableError)
    assert f"answered {status}" in str(error)


@pytest.mark.parametrize(
    "errors", ["text", [], ["text"], [{"message": "no"}], [{"code": "missing", "field": "x"}], [7]]
)
def test_what_github_calls_invalid(errors: Any) -> None:
    error = answer("github", 422, {"message": "Validation Failed", "errors": errors})
    assert isinstance(error, RejectedError)


@forges
@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b"null", b'{"id":"x"}', b"<html>", b"\xff", b"[" * 100_000])
def test_a_yes_that_is_none(forge: str, body: bytes) -> None:
    assert isinstance(answer(forge, 201, body), AnswerError)


@forges
def test_what_a_forge_says_is_shown_harmlessly(forge: str) -> None:
    error = answer(forge, 422, {"message": "\x1b[2J<script>\u202e" + "x" * 100_000})
    assert len(str(error)) < 500
    assert str(error).isprintable()


@given(
    forge=st.sampled_from(sorted(FORGES)),
    status=st.integers(200, 599),
    body=st.binary(max_size=60) | st.sampled_from([b'{"message":7}', b'{"message":null,"errors":7}', b'{"errors":[]}']),
    kind=st.sampled_from(
        ["application/json", "text/html", "", "application/json; charset=nonsense", "x/y; charset=\x00"]
    ),
    after=st.text(max_size=20),
)
def test_any_answer_is_a_value_or_a_typed_error(forge: str, status: int, body: bytes, kind: str, after: str) -> None:
    response = Response(status, {"Content-Type": kind, "Retry-After": after, "x-ratelimit-limit": "x"}, body, NOW)
    try:
        FORGES[forge].add_labels(KERNEL, 7, ["x"]).parse(response)
    except ApiError as error:
        assert error.status == status
    else:
        assert status < 300
