# SPDX-License-Identifier: Apache-2.0
"""`GET /runs/{id}/events`: the run's log as it is written, as server-sent events (the HTML standard, section 9.2).

An event's id is where its line ends in the log, so that a client that was cut off goes on after the last line it saw.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

from fastapi import APIRouter, Request
from fastapi.responses import Response, StreamingResponse
from starlette.concurrency import run_in_threadpool

from git_hmopt.errors import UsageError
from git_hmopt.loop.lock import INTERRUPTED
from git_hmopt.loop.standing import told as story_now
from git_hmopt.records.words import RunId
from git_hmopt.store.cache import Cache
from git_hmopt.store.queries import find_run
from git_hmopt.store.repository import Repository
from hmopt_bot.web.answers import PROBLEMS, READ
from hmopt_bot.web.problems import Refusal, told
from hmopt_bot.web.runs import Named
from hmopt_bot.web.site import Site, SiteOf
from hmopt_bot.work.job import KIND

router = APIRouter(tags=["runs"])

LOOK_S = 0.3
"""How often the log is looked at."""
_STATUS_S = 2.0
"""How often it is asked, while nothing is written, whether the run is over."""
_BEAT_S = 15.0
"""How often a client is told that nothing happened: proxies close what is silent."""
_CHUNK = 1 << 18
_EVENT = {
    "type": "object",
    "description": "one event; its data is a JSON object",
    "properties": {"id": {"type": "string"}, "event": {"enum": ["progress", "end"]}, "data": {"type": "string"}},
}
_OVER = ("succeeded", "failed", "stopped", INTERRUPTED)


@dataclass
class Log:
    """A run's log from some place on."""

    path: Path
    at: int = 0

    def go_to(self, last: str | None) -> None:
        """Go on after the line that ends at `last`; at the start when there is none."""
        if last is None or not (last.isascii() and last.isdigit() and 0 < len(last) < 16):
            return
        try:
            with self.path.open("rb") as stream:
                stream.seek(int(last) - 1)
                self.at = int(last) if stream.read(1) == b"\n" else 0
        except (OSError, ValueError):
            self.at = 0

    def more(self) -> bool:
        """Say whether something was written that was not read."""
        return self.path.is_file() and self.path.stat().st_size > self.at

    def lines(self) -> Iterator[tuple[int, dict[str, str]]]:
        """Give the lines that are whole, each with where it ends; one that cannot be read is left out."""
        try:
            with self.path.open("rb") as stream:
                stream.seek(self.at)
                data = stream.read(_CHUNK)
        except FileNotFoundError:
            return
        whole = data[: data.rfind(b"\n") + 1]
        if not whole and len(data) == _CHUNK:
            # No line of ours is that long.
            self.at += _CHUNK
        for line in whole.splitlines(keepends=True):
            self.at += len(line)
            try:
                said = json.loads(line)
            except ValueError:
                continue
            if isinstance(said, dict):
                yield self.at, {told(str(key)): told(str(value)) for key, value in said.items()}


@router.get(
    "/runs/{id}/events",
    dependencies=[READ],
    summary="Follow a run",
    response_class=StreamingResponse,
    responses={
        200: {
            "description": "`progress` events with lines of the run's log, then one `end` with its status.",
            "content": {"text/event-stream": {"schema": _EVENT}},
        },
        204: {"description": "The run is over, and all of it was sent: do not come back."},
        **PROBLEMS(401, 403, 404),
    },
    openapi_extra={
        "parameters": [
            {"name": "Last-Event-ID", "in": "header", "required": False, "schema": {"type": "string"},
             "description": "the last event that was seen"}
        ]
    },
)  # fmt: skip
async def followed(request: Request, site: SiteOf, name: Named) -> Response:
    """Send what is in the log and what comes into it, until the run is over."""
    repository, run = await run_in_threadpool(_run, site, name)
    log = Log(repository.home / "runs" / run / "logs" / "log.jsonl")
    log.go_to(request.headers.get("last-event-id"))
    if log.at and not log.more() and await run_in_threadpool(_status, repository, run) in _OVER:
        return Response(status_code=204)
    if site.streams >= site.limits.streams:
        raise Refusal(503, "too many clients follow runs", headers={"Retry-After": "30"})
    return StreamingResponse(_events(site, repository, run, log), media_type="text/event-stream")


def _run(site: Site, name: str) -> tuple[Repository, RunId]:
    """Return the run; one that waits in the queue has no log yet."""
    repository = site.repository()
    try:
        with Cache(repository).reading() as database:
            return repository, find_run(database, name)
    except UsageError:
        if site.queue.find(KIND, name) is None:
            raise
        return repository, RunId(name)


def _status(repository: Repository, run: RunId) -> str:
    try:
        with Cache(repository).reading() as database:
            find_run(database, run)
    except UsageError:
        return "created"
    return story_now(repository, run).status


async def _events(site: Site, repository: Repository, run: RunId, log: Log) -> AsyncIterator[bytes]:
    site.streams += 1
    try:
        yield b"retry: 2000\n\n"
        asked, beat = float("-inf"), time.monotonic()
        while not site.ending.is_set():
            found = await run_in_threadpool(lambda: list(log.lines()))
            for at, line in found:
                yield f"id: {at}\nevent: progress\ndata: {json.dumps(line, sort_keys=True)}\n\n".encode()
            now = time.monotonic()
            if found:
                beat = now
                continue
            if now - asked >= _STATUS_S:
                asked = now
                status, reason = await run_in_threadpool(_standing, site, repository, run)
                # What was written between the last look and the close is sent first.
                if status in (*_OVER, "dead") and not log.more():
                    end = json.dumps({"run": run, "status": status, "reason": reason})
                    yield f"event: end\ndata: {end}\n\n".encode()
                    return
            if now - beat >= _BEAT_S:
                beat = now
                yield b": still here\n\n"
            try:
                await asyncio.wait_for(site.ending.wait(), LOOK_S)
            except TimeoutError:
                continue
    finally:
        site.streams -= 1


def _standing(site: Site, repository: Repository, run: RunId) -> tuple[str, str | None]:
    """Return how a run stands; `dead` when its job could not be driven at all."""
    status = _status(repository, run)
    job = site.queue.find(KIND, run)
    if status in ("created", INTERRUPTED) and job is not None:
        if not job.state.ended:
            return "running", None
        if status == "created":
            return str(job.state), None if job.reason is None else told(job.reason)
    return status, None
