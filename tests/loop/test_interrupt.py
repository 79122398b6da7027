# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C or SIGTERM amid a build or a measurement: the run is closed as stopped, and nothing is left running."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest
import yaml

from tests.loop.conftest import users_side
from tests.loop.project import Project, configuration
from tests.loop.recorded import recorded_run, run_names


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


def interrupted(
    project: Project, marker: str, number: signal.Signals, *arguments: str, times: int = 1
) -> tuple[int, str, str]:
    """Start a run, send it a signal once something sleeps, and return how it ended."""
    child = subprocess.Popen(
        ["git-hmopt", "optimize", "--workload", "scan-blocks", *arguments],
        cwd=project.root,
        env=project.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        text=True,
    )
    try:
        wait_for_process(marker, child)
        for _ in range(times):
            child.send_signal(number)
        output, errors = child.communicate(timeout=60)
    finally:
        child.kill()
    return child.returncode, output, errors


@pytest.mark.parametrize(
    ("where", "number", "arguments"),
    [
        ("build", signal.SIGINT, ()),
        pytest.param("build", signal.SIGINT, ("--no-sandbox",), marks=pytest.mark.slow),
        ("workload", signal.SIGINT, ()),
        pytest.param("workload", signal.SIGINT, ("--no-sandbox",), marks=pytest.mark.slow),
        ("build", signal.SIGTERM, ()),
        ("workload", signal.SIGTERM, ("--no-sandbox",)),
    ],
)
def test_an_interrupt_stops_the_run_and_everything_it_started(
    project: Project, where: str, number: signal.Signals, arguments: tuple[str, ...]
) -> None:
    marker = f"hmopt-test-{uuid.uuid4()}"
    sleep_in(project, where, marker)
    before = users_side(project)
    code, output, errors = interrupted(project, marker, number, *arguments)
    assert (code, output) == (130, ""), errors
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
    assert closed["took"] == {"v": 1} | {
        key: int(ended[key]) if key == "iteration" else ended[key]
        for key in ("node", "iteration", "outcome", "wall_s", "cpu_s")
    }
    assert run.branches() == ["best"]
    assert project.git("rev-parse", run.best) == project.git("rev-parse", "HEAD")
    assert project.git("fsck", "--no-dangling") == ""
    assert users_side(project) == before
    listed = json.loads(project.hmopt("list", "--json").stdout)
    assert [row["status"] for row in listed["runs"]] == ["stopped"]
    assert f"run {run.name}  stopped: interrupted" in project.hmopt("show").stdout
    resumed = project.hmopt("resume")
    head = project.git("rev-parse", "HEAD")[:12]
    assert resumed.stderr == (
        f"git hmopt: run {run.name} is closed (stopped: interrupted); look at it with: git hmopt show {run.name}; "
        f"start another from where it stood: git hmopt optimize --workload scan-blocks --base {head}\n"
    )
    assert (resumed.returncode, resumed.stdout) == (128, "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_impatient_interrupt_still_closes_the_run_once(project: Project, number: signal.Signals) -> None:
    marker = f"hmopt-test-{uuid.uuid4()}"
    sleep_in(project, "build", marker)
    code, _, errors = interrupted(project, marker, number, "--no-sandbox", times=20)
    assert (code, errors.count("\n")) == (130, 1), errors
    (closed,) = recorded_run(project).named("run.closed")
    assert closed["status"] == "stopped"
    assert processes_with(marker) == []


# Ctrl-C at the one moment at which there is a run and nothing is known of it.
BEFORE_ANYTHING = """
import sys
from git_hmopt.cli.main import main
from git_hmopt.loop.saver import JournalSaver

def put(*arguments, **named):
    raise KeyboardInterrupt

JournalSaver.put = put
sys.exit(main(sys.argv[1:]))
"""


def test_an_interrupt_before_anything_was_recorded_leaves_no_half_a_run(project: Project) -> None:
    done = subprocess.run(
        [sys.executable, "-c", BEFORE_ANYTHING, "optimize", "--workload", "scan-blocks"],
        cwd=project.root, env=project.environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (130, "git hmopt: interrupted before anything of the run was recorded\n")
    assert list(run_names(project)) == []
    assert project.hmopt("list").stdout.startswith("no runs yet")


def wait_for_process(marker: str, child: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while not processes_with(marker):
        if child.poll() is not None or time.monotonic() > deadline:
            raise AssertionError(f"nothing sleeps (exit code {child.poll()}): {child.communicate()[1]}")
        time.sleep(0.02)
