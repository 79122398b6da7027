# SPDX-License-Identifier: Apache-2.0
"""Errors as problem details (RFC 9457): what is wrong, never a traceback and never a path of this machine."""

from __future__ import annotations

import http
import logging
import re
import secrets
from collections.abc import Mapping, Sequence

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from git_hmopt.errors import ConfigError, HmoptError, UntrustedError, UsageError
from git_hmopt.records.redaction import redact
from git_hmopt.report.wording import plain
from git_hmopt.store.queue import QueueFullError

MEDIA_TYPE = "application/problem+json"
_LONGEST = 500
# In quotes a path may have blanks. A web address is none: nothing but a compiler's `-I` stands before
# the slash of a path.
_PATHS = re.compile(r"'/[^']*'|(?:(?<![\w:/.<-])|(?<=-[A-Za-z]))/[\w.@+~%-]+(?:/[\w.@+~%-]*)*")
_LOG = logging.getLogger("hmopt.web")


class FieldProblem(BaseModel):
    """One part of a request that is not as it must be."""

    model_config = ConfigDict(use_attribute_docstrings=True)
    where: list[str | int]
    """The way to it: `body`, then the names of fields."""
    what: str


class Problem(BaseModel):
    """An error, as RFC 9457 describes it."""

    model_config = ConfigDict(use_attribute_docstrings=True)
    type: str = "about:blank"
    title: str
    """The status in words."""
    status: int
    detail: str
    """What is wrong here, and what to do."""
    errors: list[FieldProblem] = Field(default=[])
    """The fields at fault, of a request that could not be understood."""


class Refusal(Exception):
    """A request is answered with a problem."""

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        headers: Mapping[str, str] | None = None,
        errors: Sequence[FieldProblem] = (),
    ) -> None:
        super().__init__(detail)
        self.status, self.detail, self.headers, self.errors = status, detail, headers or {}, errors

    def response(self) -> Response:
        """Return the answer."""
        problem = Problem(
            title=http.HTTPStatus(self.status).phrase,
            status=self.status,
            detail=self.detail,
            errors=list(self.errors),
        )
        text = problem.model_dump_json(exclude_defaults=False)
        return Response(text, self.status, dict(self.headers), MEDIA_TYPE)


def told(text: str) -> str:
    """Return a message as strangers may read it: one line, without paths of this machine and without secrets."""
    shown = _PATHS.sub("<path>", redact(plain(text)).text)
    return shown if len(shown) <= _LONGEST else f"{shown[: _LONGEST - 1]}…"


def refusal_for(error: HmoptError) -> Refusal:
    """Return the answer to a request that met an error."""
    detail = told(str(error))
    match error:
        case QueueFullError():
            return Refusal(503, detail, headers={"Retry-After": "30"})
        case UntrustedError():
            return Refusal(409, detail)
        case ConfigError():
            return Refusal(409, detail)
        case UsageError():
            return Refusal(404, detail)
    _LOG.error("%s", error)
    return Refusal(503, detail, headers={"Retry-After": "30"})


def install(app: FastAPI) -> None:
    """Have every error of an application answered with a problem."""

    @app.exception_handler(Refusal)
    async def _refused(request: Request, error: Refusal) -> Response:
        return error.response()

    @app.exception_handler(HmoptError)
    async def _ours(request: Request, error: HmoptError) -> Response:
        return refusal_for(error).response()

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> Response:
        return Refusal(error.status_code, http.HTTPStatus(error.status_code).phrase, headers=error.headers).response()

    @app.exception_handler(RequestValidationError)
    async def _invalid(request: Request, error: RequestValidationError) -> Response:
        found = error.errors()
        if any(one["type"] == "json_invalid" for one in found):
            return Refusal(400, "the body is no JSON").response()
        # Not what was sent: it may be long, and it may be a secret.
        fields = [FieldProblem(where=[_part(part) for part in one["loc"]], what=told(one["msg"])) for one in found]
        return Refusal(422, "the request is not as it must be", errors=fields[:20]).response()

    @app.exception_handler(Exception)
    async def _defect(request: Request, error: Exception) -> Response:
        incident = secrets.token_hex(4)
        _LOG.error("incident %s: %s %s", incident, request.method, told(request.url.path), exc_info=error)
        return Refusal(500, f"this is a defect; the server's log has it as incident {incident}").response()


def _part(part: str | int) -> str | int:
    return part if isinstance(part, int) else told(part)
