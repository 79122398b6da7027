# SPDX-License-Identifier: Apache-2.0
"""kill -9 at every node, and `git hmopt resume`: the same run as if nothing had happened.

The workload is judged by an exact count, so every number of two runs with one seed must be equal.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from git_hmopt.loop.lock import alone
from git_hmopt.loop.state import NODES
from git_hmopt.records.words import RESUMED, RunId
from git_hmopt.store.repository import Repository
from tests.loop.conftest import SEED, Finished, users_side
from tests.loop.project import Project
from tests.loop.recorded import Recorded, recorded_run, run_names

ROOT = Path(__file__).parents[2]
START = ("optimize", "--workload", "scan-blocks", "--seed", SEED)


def killed(project: Project, event: str, node: str, *arguments: str) -> None:
    """Run `git hmopt arguments` until it is killed at a point of a node."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.loop.killed", event, node, "-C", str(project.root), *arguments],
        cwd=ROOT,
        env={**project.environment, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'adapters'}"},
        capture_output=True,
        start_new_session=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, (node, done.returncode, done.stderr.decode())


def sound(run: Recorded) -> None:
    """Check what must hold after a kill: git's own check, no operation twice, branches that the journal explains."""
    project = run.project
    assert project.git("fsck", "--no-dangling") == ""
    operations = run.operations()
    identities = [tuple(operation[key] for key in ("iter", "node", "attempt", "op")) for operation in operations]
    assert len(identities) == len(set(identities))
    accepted = [one["evaluation"]["commit"] for one in run.named("patch.judged") if one["evaluation"]["accepted"]]
    if "best" in run.branches():
        assert project.git("rev-parse", run.best) == (accepted[-1] if accepted else project.git("rev-parse", "HEAD"))
    listed = project.hmopt("list")
    assert listed.returncode == 0, listed.stderr


def same_as_unkilled(run: Recorded, unkilled: Recorded) -> None:
    assert run.trees() == unkilled.trees(), "\n".join(one.project.hmopt("show").stdout for one in (run, unkilled))
    assert run.branches() == unkilled.branches()
    assert run.comparable() == unkilled.comparable()
    for ref in ("hmopt/metrics", "hmopt/verdicts"):
        assert run.notes(ref) == unkilled.notes(ref) != []


@pytest.mark.parametrize("event", [pytest.param("start", marks=pytest.mark.slow), "end"])
def test_a_run_killed_at_every_one_of_the_16_nodes_is_the_run_that_never_was(
    project: Project, played: Finished, event: str
) -> None:
    before = users_side(project)
    command: tuple[str, ...] = START
    for number, node in enumerate(NODES):
        killed(project, event, node, *command)
        run = recorded_run(project)
        command = ("resume", run.name)
        last = [line for line in run.log() if line.get("event")][-1]
        assert (last["event"], last["node"]) == (event, node)
        done = {operation["node"] for operation in run.operations()}
        # What a killed node did is not there, and all before it is, unless the way there forks around a node.
        assert node not in done - {"init_run", "stop_or_continue", "export_dataset"}
        assert number == 0 or NODES[number - 1] in done
        if number % 4 == 3:
            sound(run)
    ended = project.hmopt("resume")
    assert ended.returncode == 0, ended.stderr
    run = recorded_run(project)
    sound(run)
    same_as_unkilled(run, played.run)
    assert users_side(project) == before
    assert len([one for one in run.operations() if one["op"] == RESUMED]) == len(NODES)
    took = [one["data"]["took"] for one in run.operations() if "took" in one["data"]]
    assert {one["node"] for one in took} == set(NODES)
    assert {one["outcome"] for one in took} == {"ok"}


def test_a_run_killed_twice_in_the_same_node_goes_on(project: Project, played: Finished) -> None:
    killed(project, "counting", "evaluate_delta_and_update_best", *START)
    killed(project, "counting", "evaluate_delta_and_update_best", "resume")
    ended = project.hmopt("resume")
    assert ended.returncode == 0, ended.stderr
    run = recorded_run(project)
    sound(run)
    same_as_unkilled(run, played.run)


def test_a_run_killed_from_outside_amid_a_build_goes_on(project: Project, played: Finished) -> None:
    child = subprocess.Popen(
        ["git-hmopt", *START],
        cwd=project.root,
        env=project.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    log = wait_for_line(project, "building count (candidate tree)", child, node="verify_build_test")
    os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    assert '"node": "profile_candidate"' not in log.read_text()
    # What a compiler leaves that is killed while it writes: half an object, newer than its source.
    half = project.root / ".git/hmopt/trees/candidate/src/build-count/lib/crc.o"
    half.write_bytes(half.read_bytes()[:200] if half.exists() else b"")
    ended = project.hmopt("resume")
    assert ended.returncode == 0, ended.stderr
    run = recorded_run(project)
    sound(run)
    same_as_unkilled(run, played.run)


def wait_for_line(project: Project, text: str, child: subprocess.Popen[bytes], *, node: str) -> Path:
    """Wait until the run's log has a line of `node` with `text`, and return the log."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and child.poll() is None:
        for log in (project.root / ".git/hmopt/runs").glob("*/logs/log.jsonl"):
            if any(text in line and f'"node": "{node}"' in line for line in log.read_text().splitlines()):
                return log
        time.sleep(0.002)
    raise AssertionError(f"no '{text}' in the log of the run (exit code {child.poll()})")


def resumed_elsewhere(project: Project, run: str, forge: Path) -> tuple[Project, dict[str, Any]]:
    """Push a run to a bare repository that is made for it, resume it in a clone; return the clone and the story."""
    project.git("init", "-q", "--bare", str(forge))
    project.git("push", "-q", str(forge), "main")
    assert project.hmopt("push", str(forge)).returncode == 0
    clone = Project(forge.with_name("clone"), project.home)
    project.git("clone", "-q", "-b", "main", str(forge), str(clone.root))
    assert clone.hmopt("fetch").returncode == 0
    assert clone.hmopt("trust").returncode == 0
    done = clone.hmopt("resume", run, "--json")
    assert done.returncode in (0, 1), done.stderr
    story: dict[str, Any] = json.loads(done.stdout)["story"]
    return clone, story


def test_in_another_clone_a_child_goes_on_with_it(project: Project, tmp_path: Path) -> None:
    """With what was accepted as its base, without trying again what was tried, and with what is left of the budget."""
    killed(project, "end", "stop_or_continue", "optimize", "--workload", "scan", "--seed", "7", "--iterations", "2")
    parent = recorded_run(project)
    (judged,) = parent.named("patch.judged")
    best = judged["evaluation"]["commit"] if judged["evaluation"]["accepted"] else project.git("rev-parse", "HEAD")
    forge = tmp_path / "forge.git"
    clone, story = resumed_elsewhere(project, parent.name, forge)
    assert story["run"]["parent"] == parent.name != story["run"]["name"]
    assert story["run"]["base_commit"] == best
    assert story["run"]["seed"] == 7
    assert len(story["iterations"]) <= 1
    tried = [(one["decision"]["symbol"], one["decision"]["strategy"]) for one in story["iterations"]]
    (before,) = parent.named("decision.made")
    assert (before["decision"]["symbol"], before["decision"]["strategy"]) not in tried
    assert f"goes on with run {parent.name}\n" in clone.hmopt("show").stdout
    # The parent's own journal has one writer, and did not grow.
    assert clone.hmopt("sync").returncode == 0
    assert project.hmopt("fetch", str(forge)).returncode == 0
    assert {row["name"] for row in json.loads(project.hmopt("list", "--json").stdout)["runs"]} == {
        parent.name, story["run"]["name"]
    }  # fmt: skip


def test_a_killed_run_is_called_interrupted_until_somebody_goes_on_with_it(project: Project, tmp_path: Path) -> None:
    killed(project, "start", "conductor_decide", *START)
    name = recorded_run(project).name
    base = project.git("rev-parse", "HEAD")[:12]
    listed = project.hmopt("list")
    assert listed.stdout == f"{name}  interrupted  {base}  no candidate  (go on with: git hmopt resume {name})\n"
    assert json.loads(project.hmopt("list", "--json").stdout)["runs"][0]["status"] == "interrupted"
    shown = project.hmopt("show").stdout
    assert shown.startswith(f"run {name}  interrupted\n") and f"  git hmopt resume {name}\n" in shown
    assert project.hmopt("report").stdout.startswith(f"# Run {name}\n\nStatus: **interrupted** (it has not ended).")
    # Of a run that was fetched nobody can tell from here whether it is at work; it is no clone's that looks first.
    clone = Project(tmp_path / "clone", project.home)
    project.git("clone", "-q", str(project.root), str(clone.root))
    clone.git("fetch", "-q", "origin", "refs/hmopt/runs/*:refs/hmopt/runs/*")
    for _ in range(2):
        assert clone.hmopt("list").stdout == f"{name}  running    {base}  no candidate\n"
    # A clone brings no right to run its commands.
    resumed = clone.hmopt("resume")
    assert (resumed.returncode, "never trusted here" in resumed.stderr) == (128, True)
    # While it is at work, it runs; another one that was killed meanwhile does not.
    killed(project, "start", "init_run", *START)
    child = subprocess.Popen(
        ["git-hmopt", "resume", name], cwd=project.root, env=project.environment, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        wait_for_line(project, "start", child, node="coder_generate_patch")
        statuses = {row["name"]: row["status"] for row in json.loads(project.hmopt("list", "--json").stdout)["runs"]}
        assert statuses.pop(name) == "running"
        assert list(statuses.values()) == ["interrupted"]
    finally:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()


def test_reading_the_list_refuses_no_run(project: Project) -> None:
    """Hold the lock as a reader does, for longer than one ever will, while a run begins."""
    (project.root / ".git/hmopt").mkdir(exist_ok=True)
    with (project.root / ".git/hmopt/trees.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        threading.Timer(0.05, fcntl.flock, (lock, fcntl.LOCK_UN)).start()
        with alone(Repository.open(project.root), RunId("20260131-scan-0a1b2c")):
            assert (project.root / ".git/hmopt/trees.lock").read_text().startswith("run 20260131-scan-0a1b2c (pid ")


def test_a_run_that_failed_is_not_resumed_and_says_how_to_go_on(project: Project) -> None:
    project.write("lib/scan.c", (project.root / "lib/scan.c").read_text() + "this is no C\n")
    head = project.commit("broken")
    failed = project.hmopt(*START)
    assert failed.returncode == 125, failed.stderr
    name = recorded_run(project).name
    again = project.hmopt("resume")
    assert again.returncode == 128
    assert again.stderr.startswith(
        f"git hmopt: run {name} is closed (failed: build 'count' of commit {head[:12]} fails"
    )
    assert again.stderr.endswith(
        f"; look at it with: git hmopt show {name}; "
        f"start another from where it stood: git hmopt optimize --workload scan-blocks --base {head[:12]}\n"
    )
    assert again.stderr.count("\n") == 1


def test_a_run_that_ended_is_not_resumed(played: Finished) -> None:
    done = played.project.hmopt("resume")
    assert done.returncode == 128
    assert done.stderr.startswith(f"git hmopt: run {played.run.name} is closed (succeeded: ")
    assert done.stderr.endswith(f"look at it with: git hmopt show {played.run.name}\n")
    assert done.stderr.count("\n") == 1
    assert list(run_names(played.project)) == [played.run.name]
