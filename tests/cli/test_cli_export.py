# SPDX-License-Identifier: Apache-2.0
"""`git hmopt export`: one line a judged candidate, of one run, several or all."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.cli.conftest import TwoRuns
from tests.loop.project import Project


def test_a_run_as_lines(two_runs: TwoRuns) -> None:
    project = two_runs.project
    done = project.hmopt("export", two_runs.first)
    assert (done.returncode, done.stderr) == (0, "")
    examples = [json.loads(line) for line in done.stdout.splitlines()]
    assert [one["run"] for one in examples] == [two_runs.first] * 2
    assert [one["strategy"] for one in examples] == ["crc-slicing", "word-at-a-time"]
    for one in examples:
        assert (one["verdict"], one["accepted"], one["missing"]) == ("improved(count only)", True, [])
        assert one["evidence"]["hotspots"] and one["evidence"]["run"] == two_runs.first
        assert [delta["metric"] for delta in one["deltas"]] == ["blocks"]
    # The diffs are those of the commits on best, in order: applied one after the other they give its tree.
    base = project.git("rev-parse", "main")
    listed = project.git("rev-list", "--reverse", f"{base}..hmopt/{two_runs.first}/best").split()
    for one, commit in zip(examples, listed, strict=True):
        assert one["diff"].startswith("diff --git ")
        assert project.git("show", "--format=", "--full-index", commit).splitlines()[-1] in one["diff"]


def test_several_runs_all_runs_and_the_latest(two_runs: TwoRuns) -> None:
    project = two_runs.project
    first, second = (project.hmopt("export", name).stdout for name in (two_runs.first, two_runs.second))
    assert project.hmopt("export").stdout == second
    assert project.hmopt("export", two_runs.second, two_runs.first).stdout == second + first
    every = project.hmopt("export", "--all").stdout
    assert sorted(every.splitlines()) == sorted((first + second).splitlines())
    assert project.hmopt("export", "--all", "--workload", "scan-blocks").stdout == every


def test_as_json_and_into_a_file(two_runs: TwoRuns, tmp_path: Path) -> None:
    lines = two_runs.project.hmopt("export", two_runs.first).stdout.splitlines()
    done = two_runs.project.hmopt("export", two_runs.first, "--json", "-o", str(tmp_path / "out.json"))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert json.loads((tmp_path / "out.json").read_text()) == {"v": 1, "examples": [json.loads(one) for one in lines]}
    done = two_runs.project.hmopt("export", "-o", str(tmp_path / "none/out"))
    assert done.stderr == f"git hmopt: cannot write '{tmp_path}/none/out': No such file or directory\n"
    assert done.returncode == 129


def test_what_is_gone_is_named(two_runs: TwoRuns, tmp_path: Path) -> None:
    shutil.copytree(two_runs.project.root, tmp_path / "project", symlinks=True)
    project = Project(tmp_path / "project", two_runs.project.home)
    shutil.rmtree(project.root / ".git/hmopt/artifacts")
    done = project.hmopt("export", two_runs.second)
    assert done.returncode == 0, done.stderr
    (example,) = [json.loads(line) for line in done.stdout.splitlines()]
    assert (example["evidence"], example["diff"]) == (None, None)
    assert [reason.partition(":")[0] for reason in example["missing"]] == ["evidence", "diff"]
    assert all(reason.endswith(" is no longer stored") for reason in example["missing"])


@pytest.mark.parametrize(
    ("argv", "stderr"),
    [
        (("--all", "x"), "export: --all and a RUN exclude each other; give one of them"),
        (("--workload", "scan"), "export: --workload is only for --all; see: git hmopt export -h"),
        (
            ("--all", "--workload", "scan-block"),
            "export: unknown workload 'scan-block', expected 'scan-blocks'? (known: scan-blocks)",
        ),
    ],
)
def test_wrong_command_lines(two_runs: TwoRuns, argv: tuple[str, ...], stderr: str) -> None:
    done = two_runs.project.hmopt("export", *argv)
    assert (done.returncode, done.stdout, done.stderr) == (129, "", f"git hmopt: {stderr}\n")


def test_no_run_at_all(project: Project) -> None:
    done = project.hmopt("export", "--all")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    done = project.hmopt("export")
    assert (done.returncode, done.stderr) == (
        129,
        "git hmopt: there is no run here yet; start one: git hmopt optimize --workload NAME\n",
    )
