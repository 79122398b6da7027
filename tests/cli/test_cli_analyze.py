# SPDX-License-Identifier: Apache-2.0
"""`git hmopt analyze`: hotspots and call graph once more, from nothing but what a run stored."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from git_hmopt.cli.analyze import _told
from git_hmopt.loop.analysis import Edge, _analysis
from git_hmopt.store.artifacts import ArtifactStore
from git_hmopt.store.repository import Repository
from tests.cli.conftest import TwoRuns
from tests.loop.project import Project
from tests.loop.recorded import Recorded, run_names


def test_every_profile_ranks_as_the_run_recorded_it(two_runs: TwoRuns) -> None:
    done = two_runs.project.hmopt("analyze", two_runs.first, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    answer = json.loads(done.stdout)
    assert (answer["v"], answer["run"]) == (1, two_runs.first)
    recorded = Recorded(two_runs.project, two_runs.first)
    ranked, profiled = recorded.named("hotspots.ranked"), recorded.named("profile.recorded")
    assert len(answer["profiles"]) == len(ranked) == 3
    for found, spots, profile in zip(answer["profiles"], ranked, profiled, strict=True):
        assert found["commit"] == profile["commit"]
        assert found["as_recorded"] is True
        assert (found["unit"], found["has_stacks"]) == ("instructions", False)
        assert [(one["symbol"], one["file"]) for one in found["spots"]] == [
            (one["symbol"], one["file"]) for one in spots["hotspots"]
        ]
        for one, old in zip(found["spots"], spots["hotspots"], strict=True):
            assert one["score"] == pytest.approx(float(old["score"]), rel=1e-6)
            assert (one["inclusive_share"], one["callers"], one["callees"]) == (None, [], [])
    # The harness runs too, and is no hotspot.
    assert not any(spot["file"] == "harness/main.c" for one in answer["profiles"] for spot in one["spots"])


def test_the_screen_shows_shares_and_places(two_runs: TwoRuns) -> None:
    done = two_runs.project.hmopt("analyze", two_runs.first, "-n", "1")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == f"run {two_runs.first}"
    assert [line.partition(" ")[0] for line in lines if line.endswith("captured by places (self-counts)")] == [
        "base", "best", "best",
    ]  # fmt: skip
    (first, *_) = [line.split() for line in lines if "lib/crc.c" in line]
    assert first[-2:] == ["crc32c_update", "lib/crc.c"]
    assert first[1] == "%" and float(first[0]) > 60
    assert sum("lib/" in line for line in lines) == 3


@pytest.fixture(scope="module")
def sampled(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Return a project with a run whose profile has call stacks, and no iteration."""
    from tests.loop.project import make_project

    project = make_project(tmp_path_factory.mktemp("sampled"))
    done = project.hmopt("optimize", "--workload", "scan", "--iterations", "0", "--seed", "7")
    assert done.returncode == 1, done.stderr
    return project


def test_stacks_give_callers_and_callees(sampled: Project) -> None:
    # What the profiler left, summed up here by other means.
    (folded,) = [
        capture["artifact"]
        for profile in Recorded(sampled, next(run_names(sampled))).named("profile.recorded")
        for capture in profile["captures"]
        if capture["kind"] == "folded"
    ]
    (path,) = (sampled.root / ".git/hmopt/artifacts" / folded[:2]).glob(f"{folded}*")
    leaves: dict[str, int] = {}
    for line in path.read_text().splitlines():
        stack, _, weight = line.rpartition(" ")
        names = stack.split(";")
        if "bench_window" in names and names[-1] != "bench_window":
            leaves[names[-1]] = leaves.get(names[-1], 0) + int(weight)
    done = sampled.hmopt("analyze", "--json")
    (found,) = json.loads(done.stdout)["profiles"]
    assert found["total"] == sum(leaves.values())
    spots: dict[str, dict[str, Any]] = {one["symbol"]: one for one in found["spots"]}
    # A sampler may miss the small one in a short window: what it did see is what must come out.
    seen = leaves.keys() & {"crc32c_update", "scan_byte"}
    assert "crc32c_update" in seen
    for symbol in seen:
        assert spots[symbol]["self_share"] == pytest.approx(leaves[symbol] / found["total"])


def test_callers_and_callees_with_their_shares(project: Project) -> None:
    repository = Repository.open(project.root)
    folded = b"main;walk;step 6\nmain;walk;turn 3\nmain;rest 1\n"
    kept = ArtifactStore.of(repository).put_bytes(folded, kind="capture", name="folded.txt", media_type="text/plain")
    capture = {"profiler": "samples", "kind": "folded", "artifact": kept.sha256, "root": None}
    recorded = {"captures": [capture], "notes": [], "commit": "1" * 40}
    found = _analysis(repository, recorded, (), 0, ["walk", "step"], 4)
    spots = {spot.symbol: spot for spot in found.spots}
    assert (found.total, found.has_stacks, found.as_recorded) == (10, True, False)
    assert spots["step"].callers == (Edge("walk", 0.6),)
    assert spots["walk"].callees == (Edge("step", 0.6), Edge("turn", 0.3))
    assert (spots["walk"].self_share, spots["walk"].inclusive_share) == (0, 0.9)
    told = "\n".join(_told(found))
    assert "the run itself recorded another order" in told
    assert re.search(r"step +unknown place\n +from walk 60\.0 %\n", told)
    assert re.search(r"walk +unknown place\n +from main 90\.0 %\n +calls step 60\.0 %, turn 30\.0 %\n", told)


def without_artifacts(project: Project, to: Path) -> Project:
    """Return a copy that has the journals and not the bytes, like a clone that fetched them."""
    shutil.copytree(project.root, to, symlinks=True)
    shutil.rmtree(to / ".git/hmopt/artifacts")
    return Project(to, project.home)


def test_captures_that_are_not_here_are_said(two_runs: TwoRuns, tmp_path: Path) -> None:
    project = without_artifacts(two_runs.project, tmp_path / "project")
    done = project.hmopt("analyze", two_runs.first)
    assert (done.returncode, done.stdout) == (128, "")
    assert done.stderr.startswith("git hmopt: capture ")
    assert done.stderr.endswith(" is not in this clone; go where the run was made\n")


def test_it_changes_nothing(two_runs: TwoRuns) -> None:
    project = two_runs.project
    before = project.git("for-each-ref"), sorted((project.root / ".git/hmopt").rglob("*"))
    assert project.hmopt("analyze").returncode == 0
    assert (project.git("for-each-ref"), sorted((project.root / ".git/hmopt").rglob("*"))) == before


def test_a_run_without_a_profile(project: Project) -> None:
    project.write("lib/crc.c", "syntax error\n")
    project.commit("broken")
    assert project.hmopt("optimize", "--workload", "scan-blocks").returncode == 125
    (name,) = run_names(project)
    done = project.hmopt("analyze")
    assert (done.returncode, done.stderr) == (
        128,
        f"git hmopt: run {name} stored no profile; see how far it came: git hmopt show {name}\n",
    )
    done = project.hmopt("analyze", "-n", "x")
    assert (done.returncode, done.stderr) == (
        129,
        "git hmopt: analyze: argument -n: 'x' is no whole number of 0 or more; see: git hmopt analyze -h\n",
    )
