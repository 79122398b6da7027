# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C amid a build, a measurement and a sleep: the run is closed as stopped, and nothing is left running."""

from __future__ import annotations

import json
import signal
import subprocess
import time
import uuid
from pathlib import Path

import pytest
import yaml

from tests.loop.conftest import users_side
from tests.loop.project import Project, configuration
from tests.loop.recorded import recorded_run


def processes_with(marker: str) -> list[str]:
    """Return the command lines that hold a marker, of every process of this machine."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().decode(errors="replace").replace("\0", " ")
        except OSError:
            continue  # it ended meanwhile
        if marker in words:
            found.append(words)
    return found


def sleep_in(project: Project, where: str, marker: str) -> None:
    """Make one of the project's commands sleep, with the marker in a grandchild's arguments."""
    document = configuration()
    build, blocks = document["builds"]["count"], document["workloads"]["scan-blocks"]["measure"]["blocks"]
    # A child in the background, too: the whole group must go.
    sleeping = f"sh -c 'sleep 600 # {marker}' & sh -c 'sleep 600; : {marker}'; "
    if where == "build":
        build["run"] = sleeping + build["run"]
    else:
        document["workloads"]["scan-blocks"]["measure"]["blocks"] = {**blocks, "run": sleeping + blocks["run"]}
        blocks["check"] = blocks["run"]
        document["workloads"]["scan-blocks"]["measure"]["blocks"]["check"] = blocks["run"]
    project.write(".hmopt.yaml", yaml.safe_dump(document, sort_keys=False))
    project.commit("sleep")
    assert project.hmopt("trust").returncode == 0


@pytest.mark.parametrize("confined", ["sandbox", "no-sandbox"])
@pytest.mark.parametrize("where", ["build", "workload"])
def test_ctrl_c_stops_the_run_and_everything_it_started(project: Project, where: str, confined: str) -> None:
    marker = f"hmopt-test-{uuid.uuid4()}"
    sleep_in(project, where, marker)
    before = users_side(project)
    child = subprocess.Popen(
        ["git-hmopt", "optimize", "--workload", "scan-blocks", *(["--no-sandbox"] if confined == "no-sandbox" else [])],
        cwd=project.root,
        env=project.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        text=True,
    )
    try:
        wait_for_process(marker, child)
        child.send_signal(signal.SIGINT)
        output, errors = child.communicate(timeout=60)
    finally:
        child.kill()
    assert child.returncode == 130, errors
    assert output == ""
    run = recorded_run(project)
    assert errors == (
        f"git hmopt: run {run.name} was interrupted and is closed as stopped; "
        f"what it found so far: git hmopt show {run.name}\n"
    )
    assert processes_with(marker) == []
    (closed,) = run.named("run.closed")
    assert (closed["status"], closed["reason"]) == ("stopped", "interrupted")
    ended = [line for line in run.log() if line.get("event") == "end"][-1]
    assert (ended["node"], ended["outcome"]) == (
        "static_analysis_psg" if where == "build" else "profile_candidate",
        "interrupted",
    )
    assert run.branches() == ["best"]
    assert project.git("rev-parse", run.best) == project.git("rev-parse", "HEAD")
    assert project.git("fsck", "--no-dangling") == ""
    assert users_side(project) == before
    listed = json.loads(project.hmopt("list", "--json").stdout)
    assert [row["status"] for row in listed["runs"]] == ["stopped"]
    assert f"run {run.name}  stopped: interrupted" in project.hmopt("show").stdout
    resumed = project.hmopt("resume")
    assert (resumed.returncode, "is closed (stopped: interrupted)" in resumed.stderr) == (128, True)


def wait_for_process(marker: str, child: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while not processes_with(marker):
        if child.poll() is not None or time.monotonic() > deadline:
            raise AssertionError(f"nothing sleeps (exit code {child.poll()}): {child.communicate()[1]}")
        time.sleep(0.02)
