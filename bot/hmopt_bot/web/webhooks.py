# SPDX-License-Identifier: Apache-2.0
"""`POST /webhooks/NAME`: believe it, keep it, answer; a worker does the rest."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Path, Request
from fastapi.responses import JSONResponse

from git_hmopt.store.queue import Draft
from hmopt_bot.delivery import KIND, Delivery
from hmopt_bot.forges.errors import DeliveryError, ForgedError
from hmopt_bot.forges.events import CommentEvent, Event, Ignored, InstallationEvent, PingEvent, PullRequestEvent
from hmopt_bot.registration import SETTING, Registered
from hmopt_bot.web.answers import PROBLEMS, Acknowledged
from hmopt_bot.web.guard import address_of, too_many
from hmopt_bot.web.problems import Refusal, told
from hmopt_bot.web.site import SiteOf

router = APIRouter(tags=["webhooks"])
_LARGE = 64 << 10
"""Bytes from which a body is read beside the event loop: smaller ones take a millisecond, and a thread costs more."""


@dataclass(frozen=True)
class _Believed:
    """A delivery that is signed; without a draft it is not kept, for a reason."""

    delivery: str
    draft: Draft | None = None
    replay: tuple[str, float] | None = None
    reason: str | None = None


@router.post(
    "/webhooks/{name}",
    status_code=202,
    summary="Take in a forge's delivery",
    response_model=Acknowledged,
    responses={
        200: {"model": Acknowledged, "description": "Nothing follows from it; the reason says why."},
        **PROBLEMS(400, 401, 404, 413, 415),
    },
    openapi_extra={"requestBody": {"required": True, "content": {"application/json": {"schema": {"type": "object"}}}}},
)
async def hear(
    request: Request,
    site: SiteOf,
    name: Annotated[str, Path(description=f"a table of the file {SETTING}", max_length=32)],
) -> JSONResponse:
    """Answer 202 once the delivery is on the disk, 200 when it is not kept; it is verified by its raw bytes."""
    webhook = site.webhooks.get(name)
    if webhook is None:
        raise Refusal(404, "there is no such webhook here")
    address = address_of(request.scope)
    wait = site.forged.wait(address, spend=False)
    if wait:
        raise too_many(wait)
    body = await request.body()
    work = (webhook, request.headers, body, time.time())
    try:
        found = await asyncio.to_thread(_believed, *work) if len(body) > _LARGE else _believed(*work)
    except ForgedError:
        site.forged.wait(address)
        raise Refusal(401, "this is not signed with the secret of the webhook") from None
    except DeliveryError as error:
        raise Refusal(error.status, told(str(error))) from None
    if found.draft is None:
        return _answer(found, new=False)
    return _answer(found, new=await site.inbox.put(found.draft, replay=found.replay))


def _believed(webhook: Registered, headers: Mapping[str, str], body: bytes, now: float) -> _Believed:
    """Return what is to be done with a delivery. Raises DeliveryError."""
    forge = webhook.forge
    delivery = forge.verify(headers, body, now)
    reason = _why_not(webhook, delivery.event)
    if reason is not None:
        return _Believed(delivery.id, reason=reason)
    kept = Delivery(
        forge=webhook.name, event=delivery.name, delivery=delivery.id, received=now, body=forge.kept(body)
    )  # fmt: skip
    key = f"{webhook.name}/{delivery.id}"
    draft = Draft(KIND, key, kept.to_bytes(), subject=_subject(webhook, delivery.event))
    return _Believed(delivery.id, draft, (f"replay {delivery.replay_key}", forge.replay_s))


def _why_not(webhook: Registered, event: Event) -> str | None:
    match event:
        case PingEvent():
            return "it is a ping: the webhook works"
        case Ignored(reason):
            return reason
        case InstallationEvent():
            return None
    # The forges' names are the same in any case.
    if str(event.repository).lower() != str(webhook.repository).lower():
        return f"it is about {event.repository}, and this webhook is of {webhook.repository}"
    return None


def _subject(webhook: Registered, event: Event) -> str:
    """Return what the jobs are about that are done in their order."""
    place = f"{webhook.name}:{webhook.repository}"
    return f"{place}#{event.number}" if isinstance(event, PullRequestEvent | CommentEvent) else place


def _answer(found: _Believed, *, new: bool) -> JSONResponse:
    reason = None if new else told(found.reason or "it was here before")
    answer = Acknowledged(delivery=found.delivery, new=new, reason=reason)
    return JSONResponse(answer.model_dump(mode="json"), 202 if new else 200)
