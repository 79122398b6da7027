# SPDX-License-Identifier: Apache-2.0
"""`git hmopt serve`: what it refuses, how it ends, and that kill -9 of server or worker loses no run."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.bot.web.serving import bearer, command, forges_file, heard, post, processes_of, tokens_file
from tests.loop.project import Project
from tests.loop.recorded import run_names

RUN = {"workload": "scan-blocks", "iterations": 0, "seed": 7}


def until(true: Callable[[], object], *, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.05)


REFUSED = {
    "no address": (["--listen", "here"], 129, "'here' is no ADDRESS:PORT; such as 127.0.0.1:8642 or [::1]:8642"),
    "no port": (["--listen", "127.0.0.1"], 129, "'127.0.0.1' is no ADDRESS:PORT"),
    "a large port": (["--listen", "127.0.0.1:65536"], 129, "is no ADDRESS:PORT"),
    "no IP address": (["--listen", "1.2.3.4.5:80"], 129, "has no IP address"),
    "the world without tokens": (
        ["--listen", "0.0.0.0:0"], 129,
        "0.0.0.0:0 can be reached from other machines, and there are no tokens; "
        "make one: git hmopt serve --new-token NAME, or listen on 127.0.0.1",
    ),
    "the world in six": (["--listen", "[::]:0"], 129, "can be reached from other machines"),
    "too many workers": (["--workers", "65"], 129, "--workers: got the number 65, expected at most 64"),
    "a token without a file": (["--new-token", "ci"], 129, "no file of tokens is set; run: git config hmopt.serve"),
    "a scope without a token": (["--write"], 129, "--write says what a new token may do; give --new-token NAME"),
}  # fmt: skip


@pytest.mark.parametrize(("argv", "code", "message"), REFUSED.values(), ids=REFUSED)
def test_what_is_refused(untouched: Project, argv: list[str], code: int, message: str) -> None:
    done = untouched.hmopt("serve", *argv)
    assert (done.returncode, done.stdout) == (code, "")
    assert message in done.stderr and done.stderr.count("\n") == 1


def test_without_the_extra_it_says_what_installs_it(untouched: Project) -> None:
    program = (
        "import importlib.util as u, sys\nreal = u.find_spec\n"
        "u.find_spec = lambda name, *a: None if name == 'fastapi' else real(name, *a)\n"
        "from git_hmopt.cli.main import main\nsys.exit(main(['serve']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=untouched.root, env=untouched.environment, capture_output=True, text=True
    )
    assert done.returncode == 128
    assert done.stderr.startswith("git hmopt: 'fastapi' is not installed: nothing can be served; install it with: ")
    assert done.stderr.endswith("-m pip install 'git-hmopt[bot]'\n")


def test_a_port_that_is_taken_is_said(untouched: Project) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        done = untouched.hmopt("serve", "--listen", address)
    assert done.returncode == 128
    assert done.stderr == (
        f"git hmopt: cannot listen on {address}: Address already in use; see what listens there: ss -ltnp\n"
    )


def test_tokens_and_webhooks_of_the_configuration(project: Project, tmp_path: Path) -> None:
    path = tokens_file(tmp_path)
    project.git("config", "hmopt.serve.tokens", str(path))
    made = project.hmopt("serve", "--new-token", "ci", "--write")
    token = made.stdout.strip()
    assert made.returncode == 0 and len(token) >= 43
    forges = forges_file(tmp_path)
    project.git("config", "hmopt.serve.forges", str(forges))
    with command(project, "--workers", "0") as server, server.client() as client:
        assert client.get("/runs").status_code == 401
        assert client.get("/runs", headers=bearer(token)).status_code == 200
        assert post(client, heard()).status_code == 202
        assert post(client, heard(id="two", secret="another secret of 16")).status_code == 401
    forges.write_text(forges.read_text().replace("token =", "taken ="))
    refused = project.hmopt("serve")
    assert (refused.returncode, refused.stdout) == (129, "")
    assert refused.stderr.startswith(
        f"git hmopt: hmopt.serve.forges: {forges}: [github] unknown key 'taken', expected "
    )
    path.chmod(0o644)
    refused = project.hmopt("serve")
    assert refused.returncode == 129 and "others can read" in refused.stderr


def test_ctrl_c_ends_it(untouched: Project) -> None:
    with command(untouched) as server:
        until(lambda: any(str(untouched.root) in line for line in processes_of("hmopt_bot.worker").values()))
        assert server.ended(signal.SIGINT) == (0, "")
    assert not processes_of(str(untouched.root))


def test_it_ends_cleanly_with_all_it_started(project: Project) -> None:
    with command(project) as server, server.client() as client:
        run = client.post("/runs", json=RUN).json()["run"]
        until(lambda: run in set(run_names(project)))
        assert processes_of(str(project.root))
        began = time.monotonic()
        assert server.ended() == (0, "") and time.monotonic() - began < 15
    until(lambda: not processes_of(str(project.root)), seconds=5)
    assert json.loads(project.hmopt("list", "--json").stdout)["runs"][0]["status"] == "interrupted"
    # What was at work is gone on with by the next server, without waiting for a lease.
    with command(project) as server, server.client() as client:
        until(lambda: client.get(f"/runs/{run}").json()["story"]["status"] == "succeeded", seconds=90)
    assert list(run_names(project)) == [run]


@pytest.mark.slow
@pytest.mark.parametrize("victim", ["hmopt_bot.worker", "git-hmopt serve"])
def test_kill_9_loses_no_run(project: Project, victim: str) -> None:
    """What runs ends with what was killed, and the run is gone on with when the lease ended."""
    with command(project) as server, server.client() as client:
        run = client.post("/runs", json=RUN).json()["run"]
        until(lambda: run in set(run_names(project)))
        workers = [pid for pid, line in processes_of("hmopt_bot.worker").items() if str(project.root) in line]
        assert len(workers) == 1
        os.kill(workers[0] if "worker" in victim else server.process.pid, signal.SIGKILL)
        until(lambda: not any("driven" in line for line in processes_of(run).values()), seconds=10)
        if "serve" in victim:
            server.process.communicate(timeout=30)
            until(lambda: not processes_of(str(project.root)), seconds=15)
        else:
            until(lambda: client.get(f"/runs/{run}").json()["story"]["status"] == "succeeded", seconds=90)
    if "serve" in victim:
        with command(project) as server, server.client() as client:
            until(lambda: client.get(f"/runs/{run}").json()["story"]["status"] == "succeeded", seconds=90)
    assert list(run_names(project)) == [run]


def test_systemd_is_told(untouched: Project, tmp_path: Path) -> None:
    place = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind(str(place))
        heard.settimeout(20)
        with command(untouched, "--workers", "0", environment={"NOTIFY_SOCKET": str(place)}) as server:
            assert heard.recv(100) == b"READY=1"
            assert server.ended()[0] == 0
            assert heard.recv(100) == b"STOPPING=1"
