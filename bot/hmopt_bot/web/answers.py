# SPDX-License-Identifier: Apache-2.0
"""What is asked and answered, as the OpenAPI description tells it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import Depends, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel, ConfigDict, Field

from git_hmopt.report.facts import ArtifactFacts, DeltaFacts, FloorFacts, HotspotFacts, MetricFacts
from git_hmopt.report.story import RunStory
from git_hmopt.store.queries import RunRow
from git_hmopt.store.queue import State
from hmopt_bot.web.problems import MEDIA_TYPE, Problem, Refusal
from hmopt_bot.web.tokens import Caller, Scope

_MEANINGS = {
    400: "It cannot be understood.",
    401: "It needs a token, or has a wrong one.",
    403: "The token has not this scope.",
    404: "There is no such thing here.",
    408: "The body took too long.",
    409: "The repository is not ready for it.",
    413: "The body is too large.",
    415: "The body is of another type.",
    421: "The server answers to names of this machine alone.",
    422: "A part of it is not as it must be.",
    429: "Too many requests; Retry-After says when.",
    431: "The head is too large.",
    503: "Not now; Retry-After says when.",
}


def PROBLEMS(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the description of these answers and of those that every request may get."""
    # `content` and no `model`: FastAPI would say of a model that it is application/json.
    return {
        status: {
            "description": _MEANINGS[status],
            "content": {MEDIA_TYPE: {"schema": {"$ref": f"#/components/schemas/{Problem.__name__}"}}},
        }
        for status in sorted({*statuses, 400, 408, 413, 421, 422, 429, 431, 503})
    }


class _Answer(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True)
    v: Literal[1] = 1


class Health(_Answer):
    """The server is there."""

    version: str
    """Of git hmopt."""
    repository: bool
    """Whether the repository can be read."""
    queue: dict[State, int]
    """How many jobs stand how."""


class Acknowledged(_Answer):
    """A delivery is believed."""

    delivery: str
    new: bool
    """Whether it is kept, and will be acted on."""
    reason: str | None = None
    """Why nothing follows from it."""


class Runs(_Answer):
    """What `git hmopt list --json` prints."""

    runs: list[RunRow]
    skipped: dict[str, int]
    """Records that this version cannot read, by reason."""


class Story(_Answer):
    """What `git hmopt show --json` prints."""

    story: RunStory


class JobAnswer(_Answer):
    """A run that was asked for."""

    run: str
    """Its name, under which it will be found."""
    state: State
    """Of the job: `done` means that it was driven to its end, `dead` that it could not be."""
    attempts: int
    reason: str | None
    """How it went, or why it could not be."""


class Metrics(_Answer):
    """What was measured in a run."""

    run: str
    metrics: list[MetricOf]
    confirmations: list[DeltaFacts]
    """Best against base, measured afresh: what the run claims."""
    floor: FloorFacts | None


class MetricOf(BaseModel):
    """A number and the iteration it is of; none is the run as a whole."""

    iteration: int | None
    metric: MetricFacts


class Artifacts(_Answer):
    """What a run stored."""

    run: str
    artifacts: list[ArtifactOf]


class ArtifactOf(BaseModel):
    """An artifact, the iteration it is of, and whether its bytes are in this clone."""

    iteration: int | None
    here: bool
    artifact: ArtifactFacts


class Hotspots(_Answer):
    """Where the base's time goes."""

    run: str
    hotspots: list[HotspotFacts]


class _Asked(BaseModel):
    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True, strict=True)
    iterations: int | None = Field(default=None, ge=0, le=10_000)
    """At most so many candidates; default: the configuration's."""
    wall_s: int | None = Field(default=None, ge=1, le=604_800)
    """At most so many seconds; default: the configuration's."""
    seed: int | None = Field(default=None, ge=0, lt=1 << 31)
    """Of layouts and data; default: random, and recorded."""


class NewRun(_Asked):
    """A run of a workload that the repository configures, on a commit that is in it. Nothing else can be named."""

    workload: str = Field(min_length=1, max_length=200)
    base: str | None = Field(default=None, min_length=1, max_length=255)
    """A branch, a tag or a commit id, as it stands when it is asked for; default: HEAD."""


class FurtherRun(_Asked):
    """How a run is gone on with."""


Metrics.model_rebuild()
Artifacts.model_rebuild()

_BEARER = HTTPBearer(auto_error=False, description="a token of hmopt.serve.tokens")
_Credentials = Annotated[HTTPAuthorizationCredentials | None, Security(_BEARER)]


def _demand(request: Request, scope: Scope) -> None:
    caller: Caller | None = request.scope["state"]["caller"]
    # Without a token nobody comes here, unless the server has no tokens at all.
    if caller is not None and not caller.may(scope):
        raise Refusal(403, f"the token '{caller.name}' has not the scope '{scope}'")


def _read(request: Request, credentials: _Credentials) -> None:
    _demand(request, Scope.READ)


def _write(request: Request, credentials: _Credentials) -> None:
    _demand(request, Scope.WRITE)


READ, WRITE = Depends(_read), Depends(_write)
