# SPDX-License-Identifier: Apache-2.0
"""The application: its routes, its errors, its description."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.responses import JSONResponse
from pydantic.json_schema import models_json_schema

from git_hmopt import __version__
from git_hmopt.errors import HmoptError
from hmopt_bot.web import events, problems, runs, webhooks
from hmopt_bot.web.answers import PROBLEMS, Health
from hmopt_bot.web.guard import Guard
from hmopt_bot.web.site import Site, SiteOf

_health = APIRouter(tags=["server"])


@_health.get("/health", response_model=Health, responses=PROBLEMS(), summary="Is it there?")
def health(site: SiteOf) -> JSONResponse:
    """Say whether the repository can be read and how many jobs stand how; needs no token."""
    try:
        site.repository()
        readable = True
    except HmoptError:
        readable = False
    answer = Health(version=__version__, repository=readable, queue=dict(site.queue.counts()))
    return JSONResponse(answer.model_dump(mode="json"), 200 if readable else 503)


def application(site: Site | None) -> FastAPI:
    """Return the application; without a site it can be described, not asked."""

    @asynccontextmanager
    async def alive(app: FastAPI) -> AsyncIterator[None]:
        assert site is not None
        with site.inbox.open():
            yield

    # The pages that show a description load their code from elsewhere: the description alone is served.
    app = FastAPI(
        title="git hmopt",
        version=__version__,
        summary="Runs of git hmopt in one repository: begin them, follow them, read what is recorded.",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=alive,
    )
    app.state.site = site
    for one in (_health, runs.router, events.router, webhooks.router):
        app.include_router(one)
    problems.install(app)
    app.openapi = lambda: described(app)  # type: ignore[method-assign]
    return app


def guarded(site: Site) -> Guard:
    """Return the application as it is served."""
    return Guard(application(site), site.limits, site.tokens, site.only_loopback)


def described(app: FastAPI) -> dict[str, Any]:
    """Return the OpenAPI description."""
    if app.openapi_schema is None:
        found = get_openapi(title=app.title, version=app.version, summary=app.summary, routes=app.routes)
        _, own = models_json_schema([(problems.Problem, "serialization")], ref_template="#/components/schemas/{model}")
        schemas = found["components"]["schemas"]
        schemas.update(own["$defs"])
        # Of errors there is one form; FastAPI's own is never sent.
        for name in ("HTTPValidationError", "ValidationError"):
            schemas.pop(name, None)
        app.openapi_schema = found
    return app.openapi_schema
