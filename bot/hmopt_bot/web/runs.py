# SPDX-License-Identifier: Apache-2.0
"""`/runs`: begin runs, and read what is recorded of them. The answers are those of the commands `list` and `show`."""

from __future__ import annotations

import re
import threading
from dataclasses import asdict, replace
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query
from fastapi.responses import JSONResponse, Response

from git_hmopt.config.explain import unknown
from git_hmopt.errors import RepositoryError, UsageError
from git_hmopt.loop.configuration import ready
from git_hmopt.loop.lock import INTERRUPTED, interrupted
from git_hmopt.loop.packs import pack_before
from git_hmopt.loop.standing import told as story_now
from git_hmopt.records.evidence import EvidencePack
from git_hmopt.records.words import Oid, RunId, best_ref, new_run_id
from git_hmopt.report.markdown import run_report
from git_hmopt.report.story import Iteration, RunStory
from git_hmopt.report.story_json import as_json
from git_hmopt.store.artifacts import ArtifactStore
from git_hmopt.store.cache import Cache
from git_hmopt.store.queries import find_run, list_runs, skipped_in_all
from git_hmopt.store.queue import Draft, Job
from git_hmopt.store.repository import Repository
from hmopt_bot.web.answers import (
    PROBLEMS,
    READ,
    WRITE,
    ArtifactOf,
    Artifacts,
    FurtherRun,
    Hotspots,
    JobAnswer,
    MetricOf,
    Metrics,
    NewRun,
    Runs,
    Story,
)
from hmopt_bot.web.problems import FieldProblem, Refusal, told
from hmopt_bot.web.site import Site, SiteOf
from hmopt_bot.work.job import KIND, SUBJECT, RunJob

router = APIRouter(tags=["runs"], prefix="/runs")

Named = Annotated[str, Path(alias="id", description="a run's name, or a part of it", min_length=1, max_length=200)]
_NO_COMMIT = "the repository has no such commit"
_NOT_IN_NAMES = re.compile(r"[ ~^:?*\[\\]|\.\.|@\{|//")
_PAGE_POLICY = "frame-ancestors 'none'; sandbox allow-scripts"
"""Beside the policy that a report has in itself."""
# A page's charts are drawn with pyplot's global state.
_one_page = threading.Lock()


@router.get("", dependencies=[READ], response_model=Runs, responses=PROBLEMS(401, 403), summary="List runs")
def listed(
    site: SiteOf,
    workload: Annotated[str | None, Query(max_length=200)] = None,
    status: Annotated[str | None, Query(max_length=32)] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> JSONResponse:
    """Return runs, the newest first."""
    repository = site.repository()
    with Cache(repository).reading() as database:
        found = list_runs(database, workload=workload, limit=limit if status is None else None)
        skipped = skipped_in_all(database)
    gone = interrupted(repository, {row.name: row.status for row in found})
    rows = [replace(row, status=INTERRUPTED) if row.name in gone else row for row in found]
    rows = [row for row in rows if status in (None, row.status)][:limit]
    return JSONResponse({"v": 1, "runs": [asdict(row) for row in rows], "skipped": skipped})


@router.post(
    "", status_code=202, dependencies=[WRITE], response_model=JobAnswer, responses=PROBLEMS(401, 403, 409),
    summary="Begin a run",
)  # fmt: skip
def begun(site: SiteOf, asked: NewRun) -> JSONResponse:
    """Have a workload optimised that the base configures; its commands must have been trusted in this clone."""
    repository = site.repository()
    # Where it is now: it may have moved when the run begins, and another worktree has another HEAD.
    base = "HEAD" if asked.base is None else _commit(repository, asked.base)
    configured = ready(repository, base=base, allow_dirty=True).loaded.config.workloads
    if asked.workload not in configured:
        what = unknown(asked.workload, configured, what="workload")
        raise _wrong("workload", "the repository configures no such workload", what)
    run = new_run_id(asked.workload)
    job = RunJob(run=run, **{**asked.model_dump(), "base": repository.resolve(base)})
    return _queued(site, run, job)


@router.get(
    "/{id}", dependencies=[READ], response_model=Story, summary="Tell a run's story",
    responses={202: {"model": JobAnswer, "description": "It has not begun yet."}, **PROBLEMS(401, 403, 404)},
)  # fmt: skip
def shown(site: SiteOf, name: Named) -> Response:
    """Return all that is told about a run: `git hmopt show --json`."""
    repository = site.repository()
    try:
        story = _story(repository, name)
    except UsageError:
        job = site.queue.find(KIND, name)
        if job is None:
            raise
        return _job_answer(name, job)
    return Response(as_json(story), media_type="application/json")


@router.get(
    "/{id}/metrics", dependencies=[READ], response_model=Metrics, responses=PROBLEMS(401, 403, 404),
    summary="What was measured",
)  # fmt: skip
def measured(site: SiteOf, name: Named) -> Response:
    """Return every number with its interval, and what the run claims."""
    story = _story(site.repository(), name)
    answer = Metrics(
        run=story.run.name,
        metrics=[MetricOf(iteration=at, metric=one) for at, step in _steps(story) for one in step.metrics],
        confirmations=list(story.confirmations),
        floor=story.floor,
    )
    return _typed(answer)


@router.get(
    "/{id}/artifacts", dependencies=[READ], response_model=Artifacts, responses=PROBLEMS(401, 403, 404),
    summary="What was stored",
)  # fmt: skip
def stored(site: SiteOf, name: Named) -> Response:
    """Return what a run stored, by sha256; the bytes are not served, since they are as they were captured."""
    repository = site.repository()
    story, store = _story(repository, name), ArtifactStore.of(repository)
    found = [
        ArtifactOf(iteration=at, here=store.path(one.sha256) is not None, artifact=one)
        for at, step in _steps(story)
        for one in step.artifacts
    ]
    return _typed(Artifacts(run=story.run.name, artifacts=found))


@router.get(
    "/{id}/hotspots", dependencies=[READ], response_model=Hotspots, responses=PROBLEMS(401, 403, 404),
    summary="Where the time goes",
)  # fmt: skip
def hot(site: SiteOf, name: Named) -> Response:
    """Return the functions of the base that were found to matter."""
    story = _story(site.repository(), name)
    return _typed(Hotspots(run=story.run.name, hotspots=list(story.hotspots)))


@router.get(
    "/{id}/evidence", dependencies=[READ], response_model=EvidencePack, responses=PROBLEMS(401, 403, 404),
    summary="What was known before a decision",
)  # fmt: skip
def known(site: SiteOf, name: Named, iteration: Annotated[int | None, Query(ge=1, le=1_000_000)] = None) -> Response:
    """Return an evidence pack as it is stored, the last one without an iteration."""
    repository = site.repository()
    _, pack = pack_before(repository, _found(repository, name), iteration)
    return Response(pack.canonical(), media_type="application/json")


@router.get(
    "/{id}/report", dependencies=[READ], summary="A run's report", response_class=Response,
    responses={
        200: {
            "description": "The report, in the form that was asked for.",
            "content": {
                "text/html": {"schema": {"type": "string"}},
                "text/markdown": {"schema": {"type": "string"}},
                "application/json": {"schema": {"$ref": "#/components/schemas/Story"}},
            },
        },
        **PROBLEMS(401, 403, 404),
    },
)  # fmt: skip
def reported(site: SiteOf, name: Named, form: Annotated[Literal["html", "md", "json"], Query()] = "html") -> Response:
    """Return the report as one page, as markdown, or as `show --json` tells it."""
    repository = site.repository()
    story = _story(repository, name)
    if form == "json":
        return Response(as_json(story), media_type="application/json")
    read = ArtifactStore.of(repository).read
    if form == "md":
        return Response(run_report(story, read), media_type="text/markdown; charset=utf-8")
    # Charts and captures are slow to load.
    from git_hmopt.loop.captures import stacks_of_run
    from git_hmopt.report.html import html_report

    with _one_page:
        page = html_report(story, read, stacks_of_run(repository, RunId(story.run.name)))
    return Response(page, media_type="text/html; charset=utf-8", headers={"Content-Security-Policy": _PAGE_POLICY})


@router.post(
    "/{id}/optimize", status_code=202, dependencies=[WRITE], response_model=JobAnswer,
    responses=PROBLEMS(401, 403, 404, 409), summary="Go on with a run",
)  # fmt: skip
def gone_on(site: SiteOf, name: Named, asked: FurtherRun) -> JSONResponse:
    """Go on with a run that was interrupted; after one that is closed, begin another on its best.

    Where nothing was accepted the next run takes over profile and noise floor, and looks further.
    """
    repository = site.repository()
    story = _story(repository, name)
    before = RunId(story.run.name)
    if story.status == INTERRUPTED:
        if asked != FurtherRun():
            raise Refusal(409, "a run that was interrupted goes on as it was begun: send {}")
        return _resumed(site, story)
    if story.status not in ("succeeded", "failed", "stopped"):
        raise Refusal(409, f"run {before} is at work")
    base, baseline = (str(best_ref(before)), None) if story.accepted else (story.run.base_commit, str(before))
    if story.status != "succeeded":
        baseline = None  # it may have ended before its profile and floor were there
    ready(repository, base=base, allow_dirty=True)
    run = new_run_id(story.run.workload)
    job = RunJob(run=run, workload=story.run.workload, base=base, baseline=baseline, **asked.model_dump())
    return _queued(site, run, job)


# -- what they share ------------------------------------------------------------------------------------------------


def _commit(repository: Repository, name: str) -> Oid:
    """Return the commit that a name means now; what else git takes for a revision can be a search of the history."""
    if not _is_name(name):
        raise _wrong("base", _NO_COMMIT, "expected the name of a branch or of a tag, or a commit id")
    try:
        return repository.resolve(name)
    except RepositoryError as error:
        raise _wrong("base", _NO_COMMIT, str(error)) from None


def _is_name(text: str) -> bool:
    """Say whether git allows a ref of that name (git-check-ref-format(1)); one that could be an option is none."""
    return text.isprintable() and not text.startswith("-") and not _NOT_IN_NAMES.search(text)


def _wrong(field: str, detail: str, what: str) -> Refusal:
    return Refusal(422, detail, errors=[FieldProblem(where=["body", field], what=told(what))])


def _found(repository: Repository, name: str) -> RunId:
    with Cache(repository).reading() as database:
        return find_run(database, name)


def _story(repository: Repository, name: str) -> RunStory:
    return story_now(repository, _found(repository, name))


def _steps(story: RunStory) -> list[tuple[int | None, RunStory | Iteration]]:
    """Return the run as a whole, then its iterations with their numbers."""
    return [(None, story), *((step.number, step) for step in story.iterations)]


def _typed(answer: Metrics | Artifacts | Hotspots) -> Response:
    return Response(answer.model_dump_json(), media_type="application/json")


def _queued(site: Site, run: RunId, job: RunJob) -> JSONResponse:
    site.queue.put(Draft(KIND, run, job.to_bytes(), subject=SUBJECT))
    return _job_answer(run, site.queue.find(KIND, run))


def _resumed(site: Site, story: RunStory) -> JSONResponse:
    """Have a run gone on with, once for the state it is in, however often that is asked for."""
    run = story.run.name
    job = RunJob(run=run, workload=story.run.workload)
    attempt = 0
    while True:
        key = f"{run}@{story.last_at}#{attempt}"
        site.queue.put(Draft(KIND, key, job.to_bytes(), subject=SUBJECT))
        found = site.queue.find(KIND, key)
        if found is not None and not found.state.ended:
            return _job_answer(run, found)
        attempt += 1


def _job_answer(run: str, job: Job | None) -> JSONResponse:
    if job is None:  # dropped between two looks; it was over, then
        raise Refusal(404, f"no run is called '{told(run)}'")
    reason = None if job.reason is None else told(job.reason)
    answer = JobAnswer(run=run, state=job.state, attempts=job.attempts, reason=reason)
    headers = {"Location": f"/runs/{run}", "Retry-After": "1"}
    return JSONResponse(answer.model_dump(mode="json"), 202, headers)
