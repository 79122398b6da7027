# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C and SIGKILL of a process that runs programs: what is left of them."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time

import pytest

from git_hmopt.process.sandbox import sandbox_missing
from tests.process.processes import appeared, gone, mark, swept

RUNS_ONE = """
import sys
from pathlib import Path
from git_hmopt.process.runner import run, live_children
from git_hmopt.process.sandbox import Sandbox
mark, confined = sys.argv[1], sys.argv[2] == "sandboxed"
try:
    print("ready", flush=True)
    while True:
        run(["sh", "-c", f"sleep {mark} & sleep {mark}"], sandbox=Sandbox(writable=()) if confined else None)
except KeyboardInterrupt:
    sys.exit(130 if not live_children() else 1)
"""
# Programs of a moment, so that an interrupt meets every state: being started, running, being reaped.
RUNS_MANY = RUNS_ONE.replace('sleep {mark} & sleep {mark}"', 'sleep {mark} & exit 0"')
SANDBOXED = pytest.param(
    "sandboxed", marks=pytest.mark.skipif(sandbox_missing() is not None, reason=str(sandbox_missing()))
)


def start(code: str, marked: str, confined: str) -> subprocess.Popen[bytes]:
    """Start a Python process that runs programs, and wait until it is about to."""
    parent = subprocess.Popen([sys.executable, "-c", code, marked, confined], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    assert parent.stdout.readline() == b"ready\n"
    return parent


@pytest.mark.parametrize("confined", ["unconfined", SANDBOXED])
def test_ctrl_c_leaves_no_process(confined: str) -> None:
    with swept(mark()) as marked, start(RUNS_ONE, marked, confined) as parent:
        assert appeared(marked)
        parent.send_signal(signal.SIGINT)
        assert parent.wait(60) == 130
        assert gone(marked)


def test_ctrl_c_at_any_moment_leaves_no_process() -> None:
    rng = random.Random(20260131)
    with swept(mark()) as marked:
        for _ in range(12):
            with start(RUNS_MANY, marked, "unconfined") as parent:
                time.sleep(rng.uniform(0, 0.03))
                parent.send_signal(signal.SIGINT)
                assert parent.wait(60) == 130
        assert gone(marked)


@pytest.mark.skipif(sandbox_missing() is not None, reason=str(sandbox_missing()))
def test_a_sandboxed_program_dies_with_a_killed_parent() -> None:
    with swept(mark()) as marked, start(RUNS_ONE, marked, "sandboxed") as parent:
        assert appeared(marked)
        os.kill(parent.pid, signal.SIGKILL)
        parent.wait(60)
        assert gone(marked)
