# SPDX-License-Identifier: Apache-2.0
"""GitHub's HTTP: the headers it wants, and its answers through gidgethub's reading of them."""

from __future__ import annotations

from typing import Any, TypeVar
from urllib.parse import urlsplit

import gidgethub
from gidgethub import sansio
from pydantic import SecretStr, TypeAdapter

from hmopt_bot.forges import answers
from hmopt_bot.forges.errors import AnswerError
from hmopt_bot.forges.message import Response

T = TypeVar("T")
REQUESTER = "git-hmopt"
_VERSION = "2022-11-28"


def headers(
    requester: str, *, token: SecretStr | None = None, jwt: SecretStr | None = None, body: bool = False
) -> dict[str, str]:
    """Return the headers of a request to GitHub."""
    made = sansio.create_headers(
        requester,
        oauth_token=token.get_secret_value() if token else None,
        jwt=jwt.get_secret_value() if jwt else None,
    )
    made["x-github-api-version"] = _VERSION
    if body:
        made["content-type"] = "application/json"
    return made


def deciphered(response: Response, adapter: TypeAdapter[T], what: str) -> T:
    """Return an answer as what it should be. Raises ApiError."""
    return answers.read(adapter, _data(response, what)[0], response, what)


def paged(response: Response, adapter: TypeAdapter[T], what: str, *, api: str) -> tuple[T, str | None]:
    """Return one page, and the address of the next. Raises ApiError."""
    data, following = _data(response, what)
    # The token goes wherever we go: nowhere else, whatever an answer says.
    if following and urlsplit(following)[:2] != urlsplit(api)[:2]:
        raise AnswerError(f"{what}: the next page is on another host", status=response.status)
    return answers.read(adapter, data, response, what), following


def _data(response: Response, what: str) -> tuple[Any, str | None]:
    kept = {name.lower(): value for name, value in response.headers.items()}
    response = Response(response.status, kept, response.body, response.at)
    # The rate that is left says nothing about this answer, and one we cannot read must not make it a failure.
    shown: dict[str, str] = {name: kept[name] for name in ("content-type", "link") if name in kept}
    try:
        data, _, following = sansio.decipher_response(response.status, shown, response.body)
    except gidgethub.HTTPException as error:
        message = str(error.args[-1]) if error.args else str(error)
        raise answers.refused(response, what, message) from error
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        if response.status >= 300:
            raise answers.refused(response, what, "") from error
        raise AnswerError(f"{what}: the forge's answer is not JSON", status=response.status) from error
    return data, following
