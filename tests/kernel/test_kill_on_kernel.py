# SPDX-License-Identifier: Apache-2.0
"""Kill -9 in the middle of a run on the kernel; `resume` ends where an undisturbed run ends."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.kernel.conftest import PATCHES, Kernel, evaluation_of

pytestmark = pytest.mark.kernel
KILLED_AT = ("verify_build_test", "profile_candidate", "stop_or_continue")
LIMIT_S = 900


def started_nodes(kernel: Kernel, before: set[str]) -> tuple[str | None, list[str]]:
    """Return the run that is new since `before`, and the nodes it has started."""
    runs = kernel.root / ".git/hmopt/runs"
    new = sorted(path.name for path in runs.iterdir() if path.name not in before) if runs.is_dir() else []
    if not new:
        return None, []
    log = runs / new[-1] / "logs/log.jsonl"
    if not log.is_file():
        return new[-1], []
    lines = [line for line in log.read_text().splitlines() if line.endswith("}")]
    return new[-1], [one["node"] for one in map(json.loads, lines) if one.get("event") == "start"]


def kill_when(kernel: Kernel, child: subprocess.Popen[bytes], before: set[str], node: str, already: int) -> str:
    """Kill the whole process group when `node` has started once more than `already` times; return the run's name."""
    deadline = time.monotonic() + LIMIT_S
    while time.monotonic() < deadline:
        run, nodes = started_nodes(kernel, before)
        if run and nodes.count(node) > already:
            os.killpg(child.pid, signal.SIGKILL)
            assert child.wait() == -signal.SIGKILL
            return run
        assert child.poll() is None, f"the run ended by itself before {node}"
        time.sleep(0.01)
    raise AssertionError(f"{node} did not start within {LIMIT_S} s")


def test_a_run_killed_at_three_nodes_ends_as_an_undisturbed_one(
    kernel: Kernel, crc64_run: dict[str, Any], tmp_path: Path
) -> None:
    shutil.copy(PATCHES / "crc64/0006-slice-by-4.patch", tmp_path)
    undisturbed = evaluation_of(crc64_run, "process four bytes at a time")
    runs = kernel.root / ".git/hmopt/runs"
    before = {path.name for path in runs.iterdir()}
    command = ["git", "hmopt", "optimize", "--workload", "lib-crc64", "--seed", "20260101", "--iterations", "1"]
    command += ["--proposer", f"patches:{tmp_path}"]
    run = ""
    for node in KILLED_AT:
        _, nodes = started_nodes(kernel, before) if run else (None, [])
        child = subprocess.Popen(
            command, cwd=kernel.root, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        run = kill_when(kernel, child, before, node, nodes.count(node))
        print(f"killed run {run} at {node}")
        command = ["git", "hmopt", "resume", run]
    kernel.hmopt("resume", run, codes=(0,))
    story = json.loads(kernel.hmopt("show", run, "--json").stdout)["story"]
    assert story["status"] == "succeeded"
    resumed = evaluation_of(story, "process four bytes at a time")
    assert (resumed["verdict"], resumed["accepted"]) == (undisturbed["verdict"], undisturbed["accepted"])
    trees = [kernel.git("rev-parse", f"hmopt/{one}/best^{{tree}}") for one in (run, crc64_run["run"]["name"])]
    assert trees[0] == trees[1]
    assert "missing" not in kernel.git("fsck", "--connectivity-only", f"hmopt/{run}/best")
