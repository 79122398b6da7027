# SPDX-License-Identifier: Apache-2.0
"""`--replay RUN`: the patches of a run, made again of what models said in it, and no model is asked."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.loop.project import Project
from tests.loop.recorded import Recorded, run_names
from tests.loop.replayed import replayed_project, scan_byte
from tests.loop.scripted import (
    CONDUCTOR,
    Scripted,
    analyst,
    asked,
    candidate,
    coder,
    conductor,
    edit,
    function,
    new_run,
    reviewer,
)
from tests.loop.test_kill import killed

TOO_LONG = {"status": 400, "error": {"message": "too many", "code": "context_length_exceeded"}}
REFUSED = {"status": 400, "error": {"message": "no such thing"}}


def whole(pointer: str, number: int = 1) -> str:
    return candidate(function(scan_byte(pointer)), number=number, title=f"lib/scan: the {pointer} way")


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Scripted:
    """Return a run in which a prompt had to shrink, answers were repaired, and two requests had none."""
    turns = [
        analyst("cpu-bound-loop", ["F99"]),
        analyst("cpu-bound-loop", ["F1"]),
        {**conductor(), **TOO_LONG},
        conductor("wider-steps"),
        coder(candidate(edit("lib/scan.c", "while (n-- > 0) {", "while (n--) {"))),
        coder(whole("wrong") + whole("faster", 2)),
        reviewer("safe"),
        reviewer("safe"),
        analyst("cpu-bound-loop", ["F1"]),
        conductor("own-idea"),
        coder(whole("same")),
        {**reviewer(""), **REFUSED},
        conductor("better-algorithm"),
        coder(whole("fastest")),
        reviewer("safe"),
        analyst(),
        conductor("one-pointer"),
        coder(whole("slower")),
        reviewer("unsafe", "it waits"),
        {"when": CONDUCTOR, **REFUSED},
        coder(whole("slower")),
        reviewer("safe"),
    ]
    project = replayed_project(tmp_path_factory.mktemp("original"))
    # So many iterations and no more: what a person asked for is part of what is replayed.
    run = asked(project, turns, "--iterations", "6", review="true")
    for name in ("profile", "url"):
        project.git("config", "--global", "--unset", f"hmopt.gateway.{name}")
    return run


FATES = ["incorrect", "improved", "regressed", "improved", "refused", "regressed"]


def patches(run: Recorded) -> list[tuple[Any, ...]]:
    applied = [one["patch"] for one in run.named("patch.applied")]
    return [(one["iteration"], one["tree"], one["patch_id"], one["title"], one["strategy"]) for one in applied]


def same(again: Scripted, original: Scripted) -> None:
    assert again.fates() == original.fates()
    assert again.run.trees() == original.run.trees()
    assert patches(again.run) == patches(original.run)
    assert again.ended() == original.ended()
    decided = [[one["decision"] for one in scripted.run.named("decision.made")] for scripted in (again, original)]
    assert decided[0] == decided[1]
    told = [[(one["agent"], one["role"], one["text"]) for one in of.messages()] for of in (again, original)]
    assert told[0] == told[1]


def replayed(project: Project, *arguments: str) -> Scripted:
    before = set(run_names(project))
    said = project.hmopt(*arguments)
    return Scripted(said, new_run(project, before, said), ())


def test_the_original_is_what_it_should_be(original: Scripted) -> None:
    assert original.said.returncode == 0, original.said.stderr
    assert original.fates() == FATES
    assert original.ended() == "the budget of 6 iterations is used up"


@pytest.fixture(scope="module")
def again(original: Scripted) -> Scripted:
    """Return its replay."""
    return replayed(original.run.project, "optimize", "--replay", original.run.name)


def test_a_replay_gives_the_same_patches_and_asks_nobody(original: Scripted, again: Scripted) -> None:
    assert again.said.returncode == 0, again.said.stderr
    same(again, original)
    exchanges = [one["data"] for one in again.messages() if one["role"] in ("answer", "no-answer")]
    assert {one["replayed"] for one in exchanges} == {original.run.name}
    assert not any(key in one for one in exchanges for key in ("prompt_tokens", "cost", "attempts"))
    assert f"proposer replay:{original.run.name}, seed 7" in again.said.stdout


@pytest.mark.slow
def test_a_replay_that_is_killed_and_resumed_gives_the_same_patches(original: Scripted, again: Scripted) -> None:
    project, before = original.run.project, set(run_names(original.run.project))
    # It replays a replay, which is a run with a record as any other.
    killed(project, "end", "conductor_decide", "optimize", "--replay", again.run.name)
    (name,) = set(run_names(project)) - before
    killed(project, "end", "coder_generate_patch", "resume", name)
    killed(project, "end", "evaluate_delta_and_update_best", "resume", name)
    # In this iteration the analyst was not asked: a new process needs its word all the same.
    killed(project, "better-algorithm on", "conductor_decide", "resume", name)
    killed(project, "start", "apply_patch", "resume", name)
    said = project.hmopt("resume", name)
    assert said.returncode == 0, said.stderr
    third = Scripted(said, Recorded(project, name), ())
    assert (third.fates(), third.ended()) == (FATES, original.ended())
    assert third.run.trees() == original.run.trees()
    assert patches(third.run) == patches(original.run)
    assert project.git("fsck", "--no-dangling") == ""


def test_a_replay_ends_where_the_record_does(original: Scripted) -> None:
    longer = replayed(original.run.project, "optimize", "--replay", original.run.name, "--iterations", "9")
    assert longer.fates() == FATES
    assert patches(longer.run) == patches(original.run)
    assert longer.ended() == (
        f"no model may be asked any more: run {original.run.name} recorded no further answer of the conductor in "
        "iteration 7"
    )


def test_what_cannot_be_replayed_is_refused(original: Scripted, tmp_path: Path) -> None:
    project = original.run.project
    name = original.run.name
    plain = replayed(project, "optimize", "--workload", "scan", "--iterations", "0")
    before = set(run_names(project))
    for arguments, code, said in (
        (("--replay", plain.run.name), 128, f"run {plain.run.name} recorded no exchange with a model"),
        (("--replay", "20250101-scan-000000"), 129, "20250101-scan-000000"),
        (("--replay", name, "--proposer", "llm"), 129, "give one of them"),
        (("--replay", name, "--proposer", "playbook"), 129, "give one of them"),
        (("--replay", name, "--allow-endpoint", "gateway.example.org", "--because", "x"), 129, "that ask models"),
    ):
        done = project.hmopt("optimize", *arguments)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (code, "", 1), done.stderr
        assert said in done.stderr
    # What models said is in the clone that asked them; without it no replay can be what it says.
    copy = replace(project, root=tmp_path / "copy")
    shutil.copytree(project.root, copy.root, symlinks=True)
    answer = next(one["data"]["answer"] for one in original.messages("coder") if one["role"] == "answer")
    (path,) = (copy.root / ".git/hmopt/artifacts" / answer[:2]).glob(f"{answer}*")
    path.unlink()
    done = copy.hmopt("optimize", "--replay", name)
    assert done.returncode == 128 and "1 of 19 answers that models gave in run" in done.stderr, done.stderr
    assert set(run_names(project)) == set(run_names(copy)) == before
