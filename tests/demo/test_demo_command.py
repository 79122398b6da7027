# SPDX-License-Identifier: Apache-2.0
"""`git hmopt demo` from end to end: a fresh machine's first five minutes, shortened by settings alone."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.programs import search_path

QUICK = {"HMOPT_MEASURE_LAYOUTS": "4", "HMOPT_MEASURE_BOOTS": "3", "HMOPT_MEASURE_NULL_PATCHES": "1"}


def demo(home: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the demo as somebody with an empty home directory."""
    return subprocess.run(
        ["git-hmopt", "demo", *arguments],
        cwd=home,
        env={**os.environ, "HOME": str(home), **QUICK, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_demo_ends_with_a_verdict_a_report_and_the_next_command(tmp_path: Path) -> None:
    place = tmp_path / "tree"
    # Without valgrind the count is left out, and said. The sandbox hides a search path below the temporary directory.
    path = {"HMOPT_SANDBOX": "false", **search_path(tmp_path / "bin", without=("valgrind",))}
    done = demo(tmp_path, "--directory", str(place), "--iterations", "1", "--seed", "3", "--json", **path)
    assert done.returncode in (0, 1), done.stderr
    story = json.loads(done.stdout)["story"]
    (iteration,) = story["iterations"]
    assert iteration["evaluation"]["accepted"] is (done.returncode == 0)
    assert [delta["metric"] for delta in iteration["evaluation"]["deltas"]] == ["time"]
    assert any(note.startswith("instructions is not measured: 'valgrind' is missing") for note in story["notes"])
    assert story["run"]["name"] in (place / "report.md").read_text()
    assert ("nothing cleared the gate" in done.stderr) is (done.returncode == 1)
    assert "git hmopt init --profile linux" in done.stderr
    branches = subprocess.run(
        ["git", "branch", "--format=%(refname:short)"], cwd=place, capture_output=True, text=True, check=True
    ).stdout.split()
    assert f"hmopt/{story['run']['name']}/best" in branches
    assert {entry.name for entry in tmp_path.iterdir()} <= {"tree", "bin", ".cache"}


def test_a_workload_that_is_not_there_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    done = demo(tmp_path, "--workload", "checksum", "--directory", str(tmp_path / "tree"))
    assert (done.returncode, done.stdout) == (129, "")
    assert "checksums, runqueue, messages, path-lookup" in done.stderr
    assert not (tmp_path / "tree").exists()


@pytest.mark.parametrize("what", ["file", "directory"])
def test_what_is_there_is_not_overwritten(tmp_path: Path, what: str) -> None:
    place = tmp_path / "mine"
    if what == "file":
        place.write_text("mine\n")
    else:
        place.mkdir()
        (place / "thesis.tex").write_text("mine\n")
    done = demo(tmp_path, "--directory", str(place))
    assert done.returncode == 129
    assert len(done.stderr.splitlines()) == 1
    assert "is not an empty directory" in done.stderr
    kept = place if what == "file" else place / "thesis.tex"
    assert kept.read_text() == "mine\n"
