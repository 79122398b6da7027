# SPDX-License-Identifier: Apache-2.0
"""README's two commands, as they stand."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.install.places import ROOT, newcomer, readme_commands, typed


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("apt-get"), reason="needs root and apt-get")
def test_the_first_command_installs_and_runs_the_demo(tmp_path: Path) -> None:
    first = readme_commands()[0]
    assert first.startswith("apt-get update && apt-get install -y ") and first.endswith("git-hmopt demo")
    checkout = tmp_path / "git-hmopt"
    subprocess.run(["git", "clone", "-q", ROOT, checkout], check=True)
    environment = newcomer(tmp_path / "home", DEBIAN_FRONTEND="noninteractive")
    done = typed(first, checkout, environment)
    # 1: nothing could be shown to be better on this machine, which is an answer, too.
    assert done.returncode in (0, 1), (done.stdout[-2000:], done.stderr[-4000:])
    report = re.search(r"^demo: report: (.*)$", done.stderr, re.MULTILINE)
    assert report
    text = Path(report[1]).read_text()
    assert re.search(r"run \d{8}-checksums-[0-9a-f]{6}|\d{8}-checksums-[0-9a-f]{6}", text)
    # The claim is made exactly when the exit code says so.
    assert ("Best against base, measured afresh: time" in done.stdout) is (done.returncode == 0)
    # What it says to type next works, with the tool on the path as README says.
    path = f"{tmp_path}/home/.git-hmopt/bin:{environment['PATH']}"
    shown = re.search(r"^demo: look around: (cd \S+ && git hmopt show); then (rm -r \S+)$", done.stderr, re.MULTILINE)
    assert shown
    told = typed(shown[1], tmp_path, {**environment, "PATH": path})
    assert told.returncode == 0, told.stderr
    assert told.stdout.splitlines()[0] in done.stdout
    assert typed(shown[2], tmp_path, environment).returncode == 0
    assert not Path(report[1]).parent.exists()


def test_the_second_command_is_what_ci_calls() -> None:
    """Who runs this test was called by it: tests/run alone asks for the tests of this directory."""
    second = readme_commands()[1]
    assert second == "bash tests/run"
    assert re.search(rf"^(?:[A-Z_]+=\S+ )?{re.escape(second)}$", (ROOT / ".ci/run").read_text(), re.MULTILINE)


def test_there_are_two_commands_and_no_third() -> None:
    assert len(readme_commands()) == 2
