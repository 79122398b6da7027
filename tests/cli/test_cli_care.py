# SPDX-License-Identifier: Apache-2.0
"""fsck, gc and expire where real runs were recorded."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from tests.cli.conftest import TwoRuns
from tests.loop.project import Project


def test_what_real_runs_left_is_sound_and_can_be_expired(two_runs: TwoRuns, tmp_path: Path) -> None:
    shutil.copytree(two_runs.project.root, tmp_path / "project", symlinks=True)
    project = Project(tmp_path / "project", two_runs.project.home)
    done = project.hmopt("fsck", "--json")
    told = json.loads(done.stdout)
    assert (done.returncode, told["faults"], told["states"]) == (0, [], {})
    looked_at = told["looked_at"]
    assert looked_at["journals"] == 2 and looked_at["records"] > 40 and looked_at["artifacts"] > 10
    # Both runs are recent and whole: nothing of them goes.
    assert json.loads(project.hmopt("gc", "--json").stdout)["files"] == []
    stays = json.loads(project.hmopt("expire", "--run", two_runs.first, "--json").stdout)["stays"]
    assert "accepted patches" in stays[two_runs.first]
    taken = project.hmopt("expire", "--run", two_runs.first, "--accepted", "--yes")
    assert taken.returncode == 0, taken.stderr
    assert two_runs.first not in project.hmopt("list").stdout
    assert project.hmopt("show", two_runs.first).returncode == 129
    assert project.hmopt("show", two_runs.second).returncode == 0
    assert project.hmopt("fsck").returncode == 0
