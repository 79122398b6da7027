# SPDX-License-Identifier: Apache-2.0
"""What a server on a network meets: too much, too slow, too often, the wrong name; and what no answer tells."""

from __future__ import annotations

import json
import re
import socket
import time
from pathlib import Path

import pytest

from git_hmopt.errors import StoreError
from git_hmopt.store.queue import Queue
from hmopt_bot.web.limits import Buckets, Limits
from hmopt_bot.web.problems import told
from tests.bot.web.serving import Served, served
from tests.loop.project import Project

JSON = {"Content-Type": "application/json"}


def talk(site: Served, data: bytes, *, seconds: float = 15) -> bytes:
    """Send bytes and return all that comes until the server closes."""
    with socket.create_connection(site.address, timeout=seconds) as raw:
        raw.sendall(data)
        answer = b""
        while chunk := raw.recv(65536):
            answer += chunk
        return answer


def test_large_bodies_are_refused(site: Served) -> None:
    with site.client() as client:
        for path in ("/runs", "/runs/x/optimize", "/health", "/nowhere"):
            answer = client.post(path, content=b'{"workload": "' + b"x" * 70_000 + b'"}', headers=JSON)
            assert (answer.status_code, answer.json()["detail"]) == (413, "the body is larger than 65536 bytes")


def test_large_heads_are_refused(site: Served) -> None:
    close = b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    for head in (
        b"GET /" + b"x" * 40_000 + close + b"\r\n",
        b"GET /health" + close + b"X-Long: " + b"x" * 40_000 + b"\r\n\r\n",
        b"GET /health" + close + b"X-Many: x\r\n" * 4000 + b"\r\n",
    ):
        assert re.match(rb"HTTP/1\.1 4(00|31) ", talk(site, head))


@pytest.mark.parametrize(
    "data",
    [b"\r\n\r\n", b"hello\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", b"\0" * 99],
)
def test_what_is_no_http_is_refused(untouched: Project, queue: Queue, data: bytes) -> None:
    with served(untouched.root, queue, limits=Limits(header_s=0.5)) as site:
        answer = talk(site, data)
        assert answer == b"" or answer.startswith(b"HTTP/1.1 400 ")
        with site.client() as client:
            assert client.get("/health").status_code == 200


def test_slow_clients_are_cut_off(untouched: Project, queue: Queue) -> None:
    with served(untouched.root, queue, limits=Limits(body_s=0.5, header_s=0.5)) as site:
        began = time.monotonic()
        # Nothing at all; half a head; a second head that never ends.
        assert talk(site, b"") == b""
        assert talk(site, b"GET /health HTTP/1.1\r\nHost: local") == b""
        answer = talk(site, b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\nGET /health HTTP/1.1\r\nHos")
        assert answer.startswith(b"HTTP/1.1 200 ")
        head = (
            b"POST /runs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n"
        )
        assert talk(site, head + b"{").startswith(b"HTTP/1.1 408 ")
        assert time.monotonic() - began < 15


def test_too_many_requests(untouched: Project, queue: Queue) -> None:
    with served(untouched.root, queue, limits=Limits(requests_a_minute=12)) as site, site.client() as client:
        answers = [client.get("/health") for _ in range(6)]
        assert [one.status_code for one in answers] == [200] * 4 + [429] * 2
        assert 1 <= int(answers[-1].headers["Retry-After"]) <= 5


def test_buckets() -> None:
    now = [0.0]
    buckets = Buckets(60, clock=lambda: now[0], most_keys=2)
    assert [buckets.wait("a") for _ in range(20)] == [0.0] * 20
    assert buckets.wait("a") == pytest.approx(1.0) and buckets.wait("b") == 0.0
    now[0] = 2.5
    assert [buckets.wait("a", spend=False), buckets.wait("a"), buckets.wait("a")] == [0.0] * 3
    assert buckets.wait("a") == pytest.approx(0.5)
    # Ten thousand addresses cost no more memory than the table has room for.
    for number in range(10):
        buckets.wait(str(number))
    assert len(buckets._left) == 2


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "", "localhost.evil"])
def test_a_name_of_the_web_is_not_answered_to(untouched: Project, queue: Queue, host: str) -> None:
    """A page whose name was pointed at 127.0.0.1 has the browser of somebody here ask us."""
    with served(untouched.root, queue, only_loopback=True) as site, site.client() as client:
        port = site.address[1]
        assert client.get("/health", headers={"Host": host}).status_code in (400, 421)
        for good in ("localhost", f"localhost:{port}", f"127.0.0.1:{port}", f"[::1]:{port}", "LOCALHOST"):
            assert client.get("/health", headers={"Host": good}).status_code == 200


def test_a_form_of_another_page_starts_nothing(site: Served) -> None:
    """What a page may send without asking first (CORS): forms and plain text."""
    body = json.dumps({"workload": "scan-blocks"})
    with site.client() as client:
        for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""):
            answer = client.post(
                "/runs", content=body, headers={"Content-Type": kind, "Origin": "https://evil.example"}
            )
            assert answer.status_code == 422
            assert not any(name.lower().startswith("access-control") for name in answer.headers)
        assert client.options("/runs", headers={"Origin": "https://evil.example"}).status_code == 405
    assert not any(site.site.queue.counts().values())


def test_security_headers_are_on_every_answer(site: Served) -> None:
    with site.client() as client:
        for path in ("/health", "/nowhere", "/runs/none", "/openapi.json"):
            headers = client.get(path).headers
            assert headers["X-Content-Type-Options"] == "nosniff"
            assert headers["Cache-Control"] == "no-store"
            assert "default-src 'none'" in headers["Content-Security-Policy"]
            assert "server" not in headers


@pytest.mark.parametrize("path", ["/", "/..", "/.git/config", "/runs/../../etc/passwd", "/docs", "/redoc", "/runs/"])
def test_there_are_no_files_and_no_pages(site: Served, path: str) -> None:
    answer = talk(site, f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 404 ") and b"application/problem+json" in answer


HOSTILE = [
    "\x1b[31mred",
    "<script>alert(1)</script>",
    "\u202eabc",
    "../../etc/passwd",
    "%00",
    "x" * 199,
    "'; DROP--",
    "-C",
]


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
def test_hostile_names_are_told_harmlessly(site: Served, name: str) -> None:
    from urllib.parse import quote

    with site.client() as client:
        for path in ("", "/metrics", "/events", "/report"):
            answer = client.get(f"/runs/{quote(name, safe='')}{path}")
            assert answer.status_code == 404, answer.text
            assert answer.headers["Content-Type"] == "application/problem+json"
            detail = answer.json()["detail"]
            assert not re.search("[\x00-\x1f\u202e]", detail)


def test_a_defect_is_told_without_its_traceback(site: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise ZeroDivisionError(f"in {site.site.place}/secret")

    monkeypatch.setattr(site.site, "repository", broken)
    with site.client() as client:
        answer = client.get("/runs")
    assert answer.status_code == 500
    assert re.fullmatch(r"this is a defect; the server's log has it as incident [0-9a-f]{8}", answer.json()["detail"])
    assert "Traceback" not in answer.text and str(site.site.place) not in answer.text


def test_an_error_of_the_store_tells_no_path(site: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreadable() -> None:
        raise StoreError(f"'{site.site.place}/a b/cache.sqlite' cannot be read: no space", next_step="free space there")

    monkeypatch.setattr(site.site, "repository", unreadable)
    with site.client() as client:
        answer = client.get("/runs")
    assert answer.status_code == 503
    assert answer.json()["detail"] == "<path> cannot be read: no space; free space there"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("no file /srv/linux/x.c here", "no file <path> here"),
        ("'/a b/c' is gone", "<path> is gone"),
        ("see https://example.org/a/b", "see https://example.org/a/b"),
        ("lib/sort.c:3 and 1/2", "lib/sort.c:3 and 1/2"),
        ("-I/opt/x -o=/opt/y", "-I<path> -o=<path>"),
        ("a\x1b[1mb\nc", "a [1mb c"),
        ("x" * 900, "x" * 499 + "…"),
    ],
)
def test_what_strangers_are_told(text: str, shown: str) -> None:
    assert told(text) == shown


def test_a_repository_that_is_gone_is_not_healthy(tmp_path: Path, queue: Queue) -> None:
    (tmp_path / "empty").mkdir()
    with served(tmp_path / "empty", queue) as site, site.client() as client:
        answer = client.get("/health")
        assert (answer.status_code, answer.json()["repository"]) == (503, False)
        gone = client.get("/runs")
        assert gone.status_code == 503 and str(tmp_path) not in gone.text
