# SPDX-License-Identifier: Apache-2.0
"""The API over a real run, asked of `git hmopt serve` itself: what cannot be asked, then a run from POST to its end."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from git_hmopt.records.words import is_run_id
from git_hmopt.store.queue import Queue
from hmopt_bot.web.app import application, described
from hmopt_bot.work.job import KIND, RunJob
from tests.bot.web.serving import Command, Served, command, served
from tests.loop.project import Project, make_project
from tests.loop.recorded import run_names


@dataclass(frozen=True)
class Event:
    """A server-sent event."""

    name: str
    id: str | None
    data: dict[str, Any]


def events(client: httpx.Client, run: str, *, last: str | None = None) -> Iterator[Event]:
    """Follow a run until the server closes."""
    headers = {} if last is None else {"Last-Event-ID": last}
    with client.stream("GET", f"/runs/{run}/events", headers=headers) as answer:
        assert answer.status_code == 200, answer.read()
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        found: dict[str, str] = {}
        for line in answer.iter_lines():
            if line:
                field, _, value = line.partition(": ")
                found[field] = value
                continue
            if "event" in found:
                yield Event(found["event"], found.get("id"), json.loads(found["data"]))
            found = {}


@dataclass(frozen=True)
class Ran:
    """A run that was begun through the API, followed to its end, and its server."""

    project: Project
    server: Command
    run: str
    seen: list[Event]

    def shown(self) -> dict[str, Any]:
        """Return what `git hmopt show --json` prints."""
        done = self.project.hmopt("show", self.run, "--json")
        assert done.returncode == 0, done.stderr
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ran]:
    """Begin a run of one iteration and follow it from before it began."""
    project = make_project(tmp_path_factory.mktemp("api"))
    with command(project) as server, server.client() as client:
        answer = client.post("/runs", json={"workload": "scan-blocks", "iterations": 1, "seed": 7})
        assert answer.status_code == 202, answer.text
        run = answer.json()["run"]
        assert is_run_id(run) and answer.headers["Location"] == f"/runs/{run}"
        waiting = client.get(f"/runs/{run}")
        assert waiting.status_code in (200, 202)
        yield Ran(project, server, run, list(events(client, run)))


# -- what cannot be asked -------------------------------------------------------------------------------------------

GOOD = {"workload": "scan-blocks"}
BAD = {
    "no JSON": (b"{", 400),
    "nothing": (b"", 422),
    "no object": (b"[]", 422),
    "no workload": (b"{}", 422),
    "an unknown workload": ({"workload": "scam"}, 422),
    "an empty one": ({"workload": ""}, 422),
    "an option for one": ({"workload": "--help"}, 422),
    "a path for one": ({"workload": "../../etc/passwd"}, 422),
    "a long one": ({"workload": "x" * 5000}, 422),
    "a number for one": ({"workload": 7}, 422),
    "a command": ({**GOOD, "run": "rm -rf /"}, 422),
    "an adapter": ({**GOOD, "adapter": "command"}, 422),
    "a configuration": ({**GOOD, "config": "/etc/passwd"}, 422),
    "a number for a base": ({**GOOD, "base": 7}, 422),
    "a long base": ({**GOOD, "base": "x" * 256}, 422),
    "a proposer": ({**GOOD, "proposer": "patches:/etc"}, 422),
    "a name": ({**GOOD, "name": "20260131-x-0a1b2c"}, 422),
    "text for a number": ({**GOOD, "iterations": "1"}, 422),
    "a truth for a number": ({**GOOD, "iterations": True}, 422),
    "a negative number": ({**GOOD, "iterations": -1}, 422),
    "no time": ({**GOOD, "wall_s": 0}, 422),
    "a large seed": ({**GOOD, "seed": 1 << 31}, 422),
    "no number": (b'{"workload": "scan-blocks", "seed": NaN}', 422),
    "deep": (b'{"workload": ' + b"[" * 30_000, 400),
}


@pytest.mark.parametrize(("body", "status"), BAD.values(), ids=BAD)
def test_what_cannot_be_asked(site: Served, body: bytes | dict[str, object], status: int) -> None:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    with site.client() as client:
        answer = client.post("/runs", content=content, headers={"Content-Type": "application/json"})
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["status"] == status and len(answer.text) < 3000
    assert not any(site.site.queue.counts().values())


def test_an_unknown_workload_is_answered_with_those_there_are(site: Served) -> None:
    with site.client() as client:
        answer = client.post("/runs", json={"workload": "scan-block"})
    (error,) = answer.json()["errors"]
    assert error["where"] == ["body", "workload"]
    assert error["what"] == "unknown workload 'scan-block', expected 'scan-blocks'? (known: scan, scan-blocks)"


def test_what_is_not_trusted_is_not_begun(tmp_path: Path, queue: Queue) -> None:
    project = make_project(tmp_path / "untrusted", trusted=False)
    with served(project.root, queue) as site, site.client() as client:
        answer = client.post("/runs", json=GOOD)
    assert answer.status_code == 409
    assert "git hmopt trust" in answer.json()["detail"] and str(tmp_path) not in answer.text
    assert not any(queue.counts().values())


@pytest.mark.parametrize("query", ["limit=0", "limit=1001", "limit=x", "limit=1e3", "workload=" + "x" * 300])
def test_lists_have_bounds(site: Served, query: str) -> None:
    with site.client() as client:
        assert client.get(f"/runs?{query}").status_code == 422


def test_a_run_that_is_not_there(site: Served) -> None:
    with site.client() as client:
        for path in ("", "/metrics", "/artifacts", "/hotspots", "/evidence", "/report", "/events"):
            assert client.get(f"/runs/20260131-none-0a1b2c{path}").status_code == 404
        assert client.post("/runs/20260131-none-0a1b2c/optimize", json={}).status_code == 404
        assert client.put("/runs").status_code == 405


def test_a_run_that_waits_is_told_as_such(site: Served) -> None:
    with site.client() as client:
        run = client.post("/runs", json=GOOD).json()["run"]
        answer = client.get(f"/runs/{run}")
        assert (answer.status_code, answer.headers["Retry-After"]) == (202, "1")
        assert answer.json() == {"v": 1, "run": run, "state": "waiting", "attempts": 0, "reason": None}
        assert client.get(f"/runs/{run}/metrics").status_code == 404


def test_a_run_begins_where_head_was_when_it_was_asked_for(site: Served) -> None:
    with site.client() as client:
        run = client.post("/runs", json=GOOD).json()["run"]
    job = site.site.queue.find(KIND, run)
    head = site.site.repository().resolve("HEAD")
    assert job is not None and RunJob.from_bytes(job.payload) == RunJob(run=run, workload="scan-blocks", base=head)


def test_why_a_run_was_refused_tells_no_path(site: Served) -> None:
    with site.client() as client:
        run = client.post("/runs", json=GOOD).json()["run"]
        job = site.site.queue.take("w", lease_s=9, kinds=[KIND])
        assert job is not None
        site.site.queue.failed(job, f"'{site.site.place}/a b' is gone\x1b[1m; look into /etc/secret", retry_at=None)
        assert client.get(f"/runs/{run}").json()["reason"] == "<path> is gone [1m; look into <path>"
        end = list(events(client, run))[-1]
        assert end.data == {"run": run, "status": "dead", "reason": "<path> is gone [1m; look into <path>"}


def test_clients_that_follow_are_bounded_and_told_that_it_ends(untouched: Project, queue: Queue) -> None:
    from hmopt_bot.web.limits import Limits

    with served(untouched.root, queue, limits=Limits(streams=1)) as site, site.client() as client:
        run = client.post("/runs", json=GOOD).json()["run"]
        with client.stream("GET", f"/runs/{run}/events") as first:
            lines = first.iter_lines()  # kept: httpx closes a stream with the generator
            assert next(lines) == "retry: 2000"
            assert client.get(f"/runs/{run}/events").status_code == 503
        deadline = time.monotonic() + 10
        while site.site.streams and time.monotonic() < deadline:
            time.sleep(0.05)
        assert site.site.streams == 0


# -- a run ----------------------------------------------------------------------------------------------------------


def test_a_run_is_followed_from_its_first_line_to_its_end(ran: Ran) -> None:
    *lines, end = ran.seen
    assert (end.name, end.data) == ("end", {"run": ran.run, "status": "succeeded", "reason": None})
    assert {one.name for one in lines} == {"progress"}
    log = ran.project.root / ".git/hmopt/runs" / ran.run / "logs/log.jsonl"
    written = [json.loads(line) for line in log.read_text().splitlines()]
    assert [one.data["node"] for one in lines] == [one["node"] for one in written]
    assert [one.data["at"] for one in lines] == [one["at"] for one in written]
    assert lines[0].data["node"] == "init_run" and lines[-1].data["node"] == "export_dataset"
    assert [int(one.id or 0) for one in lines] == sorted({int(one.id or 0) for one in lines})


def test_who_was_cut_off_goes_on_after_the_last_line(ran: Ran) -> None:
    *lines, end = ran.seen
    with ran.server.client() as client:
        for at in (0, len(lines) // 2, len(lines) - 2):
            assert list(events(client, ran.run, last=lines[at].id)) == [*lines[at + 1 :], end]
        # Nothing is left: a browser would come back for ever if it were not told.
        over = client.get(f"/runs/{ran.run}/events", headers={"Last-Event-ID": str(lines[-1].id)})
        assert (over.status_code, over.content) == (204, b"")
        # What is the end of no line is no place to go on.
        for wrong in ("", "x", "-1", "1", "99999999", "9" * 40, str(int(lines[3].id or 0) + 1)):
            assert list(events(client, ran.run, last=wrong)) == ran.seen


def test_the_story_is_what_show_prints(ran: Ran) -> None:
    with ran.server.client() as client:
        for name in (ran.run, ran.run[-6:]):
            answer = client.get(f"/runs/{name}")
            assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/json")
            assert answer.json() == ran.shown()
    assert ran.shown()["story"]["run"]["seed"] == 7


def test_the_list_is_what_list_prints(ran: Ran) -> None:
    listed = json.loads(ran.project.hmopt("list", "--json").stdout)
    with ran.server.client() as client:
        assert client.get("/runs").json() == listed
        assert client.get("/runs", params={"workload": "scan"}).json()["runs"] == []
        assert client.get("/runs", params={"status": "succeeded", "limit": 1}).json() == listed
        assert client.get("/runs", params={"status": "failed"}).json()["runs"] == []


def test_parts_of_the_story(ran: Ran) -> None:
    story = ran.shown()["story"]
    with ran.server.client() as client:
        metrics = client.get(f"/runs/{ran.run}/metrics").json()
        artifacts = client.get(f"/runs/{ran.run}/artifacts").json()
        hotspots = client.get(f"/runs/{ran.run}/hotspots").json()
    for answer, part in ((metrics, "metrics"), (artifacts, "artifacts")):
        told = [(None, one) for one in story[part]]
        told += [(step["number"], one) for step in story["iterations"] for one in step[part]]
        assert [(one["iteration"], one[part.removesuffix("s")]) for one in answer[part]] == told and told
    assert all(one["here"] for one in artifacts["artifacts"])
    assert metrics["confirmations"] == story["confirmations"] and metrics["floor"] == story["floor"]
    assert hotspots["hotspots"] == story["hotspots"] and story["hotspots"]


def test_the_evidence_is_what_evidence_prints(ran: Ran) -> None:
    pack = json.loads(ran.project.hmopt("evidence", ran.run, "--json").stdout)
    with ran.server.client() as client:
        assert client.get(f"/runs/{ran.run}/evidence").json() == pack
        assert client.get(f"/runs/{ran.run}/evidence?iteration=1").json() == pack
        assert client.get(f"/runs/{ran.run}/evidence?iteration=9").status_code == 404
        assert client.get(f"/runs/{ran.run}/evidence?iteration=0").status_code == 422


def test_the_report_in_three_forms(ran: Ran) -> None:
    with ran.server.client() as client:
        page = client.get(f"/runs/{ran.run}/report")
        assert page.headers["Content-Type"] == "text/html; charset=utf-8"
        assert "sandbox" in page.headers["Content-Security-Policy"] and ran.run in page.text
        text = client.get(f"/runs/{ran.run}/report", params={"form": "md"})
        assert text.text.rstrip("\n") == ran.project.hmopt("report", ran.run).stdout.rstrip("\n")
        assert client.get(f"/runs/{ran.run}/report", params={"form": "json"}).json() == ran.shown()
        assert client.get(f"/runs/{ran.run}/report", params={"form": "pdf"}).status_code == 422


def test_answers_are_as_described(ran: Ran) -> None:
    """Every kind of answer is held against the description by somebody else's validator."""
    from openapi_core import Config, OpenAPI
    from openapi_core.contrib.requests import RequestsOpenAPIRequest, RequestsOpenAPIResponse

    requests = pytest.importorskip("requests")
    with ran.server.client() as client:
        document = client.get("/openapi.json").json()
    document["servers"] = [{"url": ran.server.url}]
    problems = Config(extra_media_type_deserializers={"application/problem+json": json.loads})
    description = OpenAPI.from_dict(document, config=problems)
    paths = ["", *(f"/{ran.run}{part}" for part in ("", "/metrics", "/artifacts", "/hotspots", "/evidence"))]
    for path in (*(f"/runs{path}" for path in paths), "/health", "/runs/none", "/runs?limit=0"):
        request = requests.Request("GET", ran.server.url + path).prepare()
        with requests.Session() as session:
            answer = session.send(request)
        description.validate_response(RequestsOpenAPIRequest(request), RequestsOpenAPIResponse(answer))


def test_going_on_after_a_closed_run_begins_another_on_its_best(ran: Ran) -> None:
    with ran.server.client() as client:
        assert client.post(f"/runs/{ran.run}/optimize", json={"workload": "scan"}).status_code == 422
        answer = client.post(f"/runs/{ran.run}/optimize", json={"iterations": 0})
        assert answer.status_code == 202
        run = answer.json()["run"]
        assert run != ran.run
        assert [one.name for one in events(client, run)][-1] == "end"
        before, after = client.get(f"/runs/{ran.run}").json()["story"], client.get(f"/runs/{run}").json()["story"]
    assert after["status"] == "succeeded"
    best = ran.project.git("rev-parse", f"hmopt/{ran.run}/best")
    assert after["run"]["base_commit"] == best != before["run"]["base_commit"]


def test_a_run_that_cannot_begin_says_why(ran: Ran, tmp_path: Path) -> None:
    """Trust is taken back between the request and the run."""
    shutil.copytree(ran.project.root, tmp_path / "project", symlinks=True)
    project = Project(tmp_path / "project", ran.project.home)
    with command(project, "--workers", "0") as server, server.client() as client:
        run = client.post("/runs", json=GOOD).json()["run"]
    project.git("config", "--unset", "hmopt.trust")
    with command(project) as server, server.client() as client:
        end = list(events(client, run))[-1]
        assert (end.name, end.data["status"]) == ("end", "dead")
        answer = client.get(f"/runs/{run}").json()
    assert answer["state"] == "dead" and "git hmopt trust" in answer["reason"]
    assert end.data["reason"] == answer["reason"] and str(tmp_path) not in answer["reason"]
    assert run not in set(run_names(project))


# -- the description ------------------------------------------------------------------------------------------------


def test_the_description_is_valid_and_printed(site: Served, untouched: Project) -> None:
    from openapi_spec_validator import validate

    document = described(application(None))
    validate(document)
    printed = subprocess.run(
        [sys.executable, "-m", "hmopt_bot.web.openapi"], capture_output=True, text=True, check=True
    ).stdout
    assert json.loads(printed) == json.loads(json.dumps(document))
    assert untouched.hmopt("serve", "--openapi").stdout == printed
    with site.client() as client:
        assert client.get("/openapi.json").json() == json.loads(printed)
    expected = {"/health", "/runs", "/runs/{id}", "/runs/{id}/metrics", "/runs/{id}/artifacts", "/runs/{id}/optimize"}
    expected |= {"/runs/{id}/hotspots", "/runs/{id}/report", "/runs/{id}/evidence", "/runs/{id}/events"}
    assert set(document["paths"]) == {*expected, "/webhooks/{name}"}
