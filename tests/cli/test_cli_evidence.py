# SPDX-License-Identifier: Apache-2.0
"""`git hmopt evidence`: the packs that a run stored, as text within a budget and as they are kept."""

from __future__ import annotations

import json
import re
import shutil
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from git_hmopt.evidence.schema import pack_schema_text
from git_hmopt.evidence.tokens import Usage, usages_of
from git_hmopt.records.words import RunId
from git_hmopt.store.journal import Journal, OpDraft
from git_hmopt.store.repository import Repository
from tests.cli.conftest import TwoRuns
from tests.loop.project import Project
from tests.loop.recorded import Recorded
from tests.report.exchange_operations import exchange_data


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


def _note(project: Project, *argv: str) -> str:
    done = project.hmopt("evidence", *argv, "--tokens", "2000")
    assert done.returncode == 0 and len(done.stdout.encode()) <= 2000
    return done.stderr


def test_what_servers_counted_goes_before_bytes_and_a_tokenizer_before_both(two_runs: TwoRuns, tmp_path: Path) -> None:
    project = Project(tmp_path / "copy", two_runs.project.home)
    shutil.copytree(two_runs.project.root, project.root, symlinks=True)
    first, second = RunId(two_runs.first), RunId(two_runs.second)

    def asked(run: RunId, place: int, **changed: Any) -> None:
        data = exchange_data(**changed)
        Journal(Repository.open(project.root)).append(run, [OpDraft("agent.asked", "coder", 1, place, data)])

    # What is no figure of a server is none: a bound, an answer of another run, bytes that are unknown or no number.
    asked(first, 0, counted_by="bound")
    asked(first, 1, replayed=second)
    asked(first, 2, prompt_bytes=None)
    assert _note(project, first).endswith(" of 2000 tokens, by bytes\n")
    asked(first, 3, prompt_bytes="many")
    asked(first, 4, prompt_bytes="0")
    assert _note(project, first).endswith(" of 2000 tokens, by bytes\n")
    asked(first, 5, prompt_bytes="4000", prompt_tokens="1000")
    asked(second, 0, prompt_bytes="1000", prompt_tokens="500", model="other")
    assert "by 0.300 tokens a byte, as the server counted in 2 calls\n" in _note(project, first)
    assert "by 0.250 tokens a byte, as the server counted in 1 calls\n" in _note(
        project, first, "--model", "qwen3-coder-30b"
    )
    assert _note(project, first, "--model", "nobody's").endswith(", by bytes\n")
    repository = Repository.open(project.root)
    # The newest runs alone, and of them those that have figures.
    assert usages_of(repository, runs=1) == [Usage(1000, 500)]
    assert usages_of(repository, model="qwen3-coder-30b", runs=1) == [Usage(0, 800), Usage(0, 800), Usage(4000, 1000)]
    project.git("config", "hmopt.tokenizer", str(tmp_path / "none.json"))
    assert _refused(project, first, "--tokens", "2000").startswith(f"the tokenizer '{tmp_path}/none.json' cannot be")


def test_a_model_without_a_budget_is_refused(two_runs: TwoRuns) -> None:
    said = _refused(two_runs.project, two_runs.first, "--model", "qwen3")
    assert said == "evidence: --model is only for --tokens; see: git hmopt evidence -h"


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
