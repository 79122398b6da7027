# SPDX-License-Identifier: Apache-2.0
"""`git hmopt evidence`: the packs that a run stored, as text within a budget and as they are kept."""

from __future__ import annotations

import json
import re
from importlib.resources import files
from pathlib import Path

import jsonschema
import pytest

from git_hmopt.evidence.schema import pack_schema_text
from tests.cli.conftest import TwoRuns
from tests.loop.project import Project
from tests.loop.recorded import Recorded


def _refused(project: Project, *argv: str, code: int = 129) -> str:
    done = project.hmopt("evidence", *argv)
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    assert done.stderr.count("\n") == 1
    return done.stderr.removeprefix("git hmopt: ").removesuffix("\n")


def test_the_last_pack_is_told_with_its_source(two_runs: TwoRuns) -> None:
    done = two_runs.project.hmopt("evidence", two_runs.first)
    assert (done.returncode, done.stderr) == (0, "")
    last = Recorded(two_runs.project, two_runs.first).named("evidence.packed")[-1]["artifact"]["sha256"]
    first, *rest = done.stdout.splitlines()
    assert first.startswith("evidence before iteration ") and first.endswith(f", artifact {last[:12]}")
    assert "# 1. " in done.stdout and "source: lib/" in done.stdout
    assert rest[-1] == "nothing was left out"


def test_each_iteration_has_its_own(two_runs: TwoRuns) -> None:
    project, run = two_runs.project, two_runs.first
    packs = [json.loads(project.hmopt("evidence", run, "--iteration", str(n), "--json").stdout) for n in (1, 2)]
    artifacts = [one["artifact"]["sha256"] for one in Recorded(project, run).named("evidence.packed")]
    for pack, artifact in zip(packs, artifacts, strict=False):
        (path,) = (project.root / ".git/hmopt/artifacts" / artifact[:2]).glob(f"{artifact}*")
        assert pack == json.loads(path.read_bytes())
    assert packs[0] != packs[1]
    assert "it has those of 1, 2" in _refused(project, run, "--iteration", "99")


def test_one_hotspot(two_runs: TwoRuns) -> None:
    project, run = two_runs.project, two_runs.first
    pack = json.loads(project.hmopt("evidence", run, "scan_byte", "--json").stdout)
    assert [one["hotspot"]["symbol"] for one in pack["hotspots"]] == ["scan_byte"]
    assert "'walk' is no hotspot of this pack; it has " in _refused(project, run, "walk")


def test_a_later_run_is_shown_what_came_of_the_first(two_runs: TwoRuns) -> None:
    project = two_runs.project
    first, second = (
        json.loads(project.hmopt("evidence", run, "--json").stdout) for run in (two_runs.first, two_runs.second)
    )
    judged = {(two_runs.first, one["evaluation"]["iteration"]): one["evaluation"]["verdict"]
              for one in Recorded(project, two_runs.first).named("patch.judged")}  # fmt: skip
    fixes = [fix for one in second["hotspots"] for fix in one["retrieved"]["fixes"]]
    assert fixes and all(judged[fix["run"], fix["iteration"]] == fix["verdict"] for fix in fixes)
    assert any(fix["deltas"] and fix["same_function"] and fix["commit"] for fix in fixes)
    assert {run["run"] for one in second["hotspots"] for run in one["retrieved"]["runs"]} == {two_runs.first}
    # There was no other run before the first, and it is none to itself.
    assert all(not one["retrieved"]["runs"] and not one["retrieved"]["fixes"] for one in first["hotspots"])
    told = project.hmopt("evidence", two_runs.second).stdout
    assert f"past_fixes: {two_runs.first} #" in told and f"similar_runs: {two_runs.first} (base " in told


def test_what_was_kept_so_far_is_told_with_its_numbers(two_runs: TwoRuns) -> None:
    project, run = two_runs.project, two_runs.first
    kept = [one["evaluation"] for one in Recorded(project, run).named("patch.judged") if one["evaluation"]["accepted"]]
    first = json.loads(project.hmopt("evidence", run, "--iteration", "1", "--json").stdout)
    assert kept and "changes" not in first
    done = project.hmopt("evidence", run, "--json")
    changes = json.loads(done.stdout)["changes"]
    assert [(one["iteration"], one["metric"], one["estimate"]) for one in changes] == [
        (one["iteration"], delta["metric"], delta["estimate"]) for one in kept for delta in one["deltas"]
    ]
    assert changes[0]["against"] == "baseline"
    assert f"kept: {run} #{kept[0]['iteration']} " in project.hmopt("evidence", run).stdout


@pytest.mark.parametrize("tokens", [500, 900, 4000])
def test_a_budget_holds_by_bytes(two_runs: TwoRuns, tokens: int) -> None:
    done = two_runs.project.hmopt("evidence", two_runs.first, "--tokens", str(tokens))
    assert done.returncode == 0 and 0 < len(done.stdout.encode()) <= tokens
    assert done.stdout.startswith(f"run {two_runs.first}, ")


def test_how_many_tokens_that_is_stands_beside_it(two_runs: TwoRuns, tmp_path: Path) -> None:
    project = two_runs.project
    done = project.hmopt("evidence", two_runs.first, "--tokens", "900")
    assert re.fullmatch(r"git hmopt: note: about \d+ of 900 tokens, by bytes\n", done.stderr)
    project.git("config", "hmopt.tokenizer", str(tmp_path / "none.json"))
    try:
        said = _refused(project, two_runs.first, "--tokens", "900")
        assert said.startswith(f"the tokenizer '{tmp_path}/none.json' cannot be read: No such file")
        # Nobody asks it where no budget is to be kept.
        assert project.hmopt("evidence", two_runs.first).returncode == 0
    finally:
        project.git("config", "--unset", "hmopt.tokenizer")


def test_a_budget_that_says_nothing_is_refused(two_runs: TwoRuns) -> None:
    said = _refused(two_runs.project, two_runs.first, "--tokens", "499")
    assert said.startswith("a prompt budget of 499 tokens is too small")


def test_bytes_that_are_elsewhere(two_runs: TwoRuns) -> None:
    project = two_runs.project
    artifact = Recorded(project, two_runs.first).named("evidence.packed")[0]["artifact"]["sha256"]
    (path,) = (project.root / ".git/hmopt/artifacts" / artifact[:2]).glob(f"{artifact}*")
    away = path.rename(path.with_name("away"))
    try:
        said = _refused(project, two_runs.first, "--iteration", "1", code=128)
    finally:
        away.rename(path)
    assert said.startswith("the evidence pack of iteration 1 is not in this clone")


def test_the_schema_is_shipped_and_every_pack_keeps_it(two_runs: TwoRuns) -> None:
    shipped = files("git_hmopt.evidence").joinpath("evidence-pack.schema.json").read_text(encoding="utf-8")
    assert shipped == pack_schema_text() == two_runs.project.hmopt("evidence", "--schema").stdout
    schema = json.loads(shipped)
    jsonschema.Draft202012Validator.check_schema(schema)
    pack = json.loads(two_runs.project.hmopt("evidence", two_runs.first, "--json").stdout)
    jsonschema.validate(pack, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**pack, "v": 5}, schema)
