# SPDX-License-Identifier: Apache-2.0
"""`POST /webhooks/NAME`: believe it, keep it, answer; a worker does the rest."""

from __future__ import annotations

import time
from typing import Annotated

from fastapi import APIRouter, Path, Request
from fastapi.responses import JSONResponse

from git_hmopt.store.queue import Draft
from hmopt_bot.forges.errors import ForgedError, MalformedError
from hmopt_bot.web.answers import PROBLEMS, Acknowledged
from hmopt_bot.web.delivery import KIND, Delivery
from hmopt_bot.web.guard import address_of, too_many
from hmopt_bot.web.problems import Refusal
from hmopt_bot.web.site import SiteOf

router = APIRouter(tags=["webhooks"])


@router.post(
    "/webhooks/{name}",
    status_code=202,
    summary="Take in a forge's delivery",
    response_model=Acknowledged,
    responses={200: {"model": Acknowledged, "description": "It was here before."}, **PROBLEMS(400, 401, 404, 413)},
    openapi_extra={"requestBody": {"required": True, "content": {"application/json": {"schema": {"type": "object"}}}}},
)
async def ring(
    request: Request,
    site: SiteOf,
    name: Annotated[str, Path(description="a name of hmopt.serve.secrets", max_length=32)],
) -> JSONResponse:
    """Answer 202 once the delivery is on the disk, 200 when it was there before; it is verified by its raw bytes."""
    doorbell = site.doorbells.get(name)
    if doorbell is None:
        raise Refusal(404, "there is no such webhook here")
    address = address_of(request.scope)
    wait = site.forged.wait(address, spend=False)
    if wait:
        raise too_many(wait)
    body = await request.body()
    now = time.time()
    try:
        rang = doorbell.verify({key.lower(): value for key, value in request.headers.items()}, body, now)
    except ForgedError:
        site.forged.wait(address)
        raise Refusal(401, "this is not signed with the secret of the webhook") from None
    except MalformedError as error:
        raise Refusal(400, str(error)) from None
    delivery = Delivery(forge=name, event=rang.event, delivery=rang.delivery, received=now, body=body)
    draft = Draft(KIND, f"{name}/{rang.delivery}", delivery.to_bytes(), subject=_subject(name, rang.subject))
    replay = None if rang.replay is None else (f"replay {name} {rang.replay}", rang.replay_s)
    fresh = await site.inbox.put(draft, replay=replay)
    answer = Acknowledged(delivery=rang.delivery, new=fresh)
    return JSONResponse(answer.model_dump(mode="json"), 202 if fresh else 200)


def _subject(name: str, subject: str | None) -> str | None:
    return None if subject is None else f"{name}:{subject}"
