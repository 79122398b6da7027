# SPDX-License-Identifier: Apache-2.0
"""`git hmopt gc`: what goes, what stays, and that a dry run is dry."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from git_hmopt.cli.main import main
from git_hmopt.loop.lock import alone
from git_hmopt.records.run import AgentMessage
from git_hmopt.records.words import ARTIFACTS, RunId, best_ref, candidate_ref, journal_ref
from git_hmopt.store.artifacts import ArtifactStore
from git_hmopt.store.fsck import check
from git_hmopt.store.gc import LOOSE_REFS, planned, swept
from git_hmopt.store.journal import Journal, OpDraft
from git_hmopt.store.parcel import Listed, pack_run
from git_hmopt.store.repository import MovedRefsError, RefUpdate
from tests.store.repositories import OTHER_RUN, RUN, fields, foreign, make_repository
from tests.store.worlds import World, record_run

DAY_S = 86_400


@pytest.fixture(params=["sha1", "sha256"])
def world(tmp_path: Path, request: pytest.FixtureRequest) -> World:
    """Return a clone with a closed run of two candidates, the first accepted, and an open one."""
    made = World(make_repository(tmp_path / "world", f"--object-format={request.param}"))
    record_run(made.repository, iterations=2, accepted=1)
    record_run(made.repository, OTHER_RUN, status=None)
    return made


def aged(path: Path, days: float) -> Path:
    """Make a file or directory look as if it was written so long ago."""
    os.utime(path, (time.time() - days * DAY_S,) * 2)
    return path


def stored(world: World, text: str, days: float) -> Path:
    """Put an artifact into the store that no journal names."""
    store = ArtifactStore.of(world.repository)
    record = store.put_bytes(text.encode(), kind="log", name="x.log", media_type="text/plain")
    path = store.path(record.sha256)
    assert path
    return aged(path, days)


def kept_for_runs(world: World, what: str, name: str, days: float) -> Path:
    """Make a directory as a run keeps one for the next."""
    inner = world.home / what / name / "inner"
    inner.mkdir(parents=True)
    (inner / "vmlinux").write_bytes(b"12345")
    for path in (inner / "vmlinux", inner, inner.parent):
        aged(path, days)
    return inner.parent


def branches(world: World) -> set[str]:
    """Return our branches by git."""
    return set(world.shell.git("for-each-ref", "--format=%(refname)", "refs/heads/hmopt").splitlines())


# -- branches ------------------------------------------------------------------------------------------------------


def test_branches_of_candidates_that_were_turned_down_go(world: World) -> None:
    commit = world.repository.read_ref(candidate_ref(RUN, 2))
    before = branches(world)
    sweep = planned(world.repository)
    assert branches(world) == before
    assert [update.ref for update in sweep.branches] == [candidate_ref(RUN, 2)]
    swept(world.repository, sweep)
    assert before - branches(world) == {candidate_ref(RUN, 2)}
    world.shell.git("reflog", "expire", "--expire=now", "--all")
    world.shell.git("-c", "gc.pruneExpire=now", "gc", "-q")
    assert world.shell.git("cat-file", "-t", str(commit)) == "commit"
    assert check(world.repository).faults == []
    assert not planned(world.repository)


def test_a_branch_that_is_checked_out_stays(world: World, tmp_path: Path) -> None:
    short = candidate_ref(RUN, 2).removeprefix("refs/heads/")
    world.shell.git("worktree", "add", "-q", str(tmp_path / "linked"), short)
    sweep = planned(world.repository)
    assert sweep.branches == [] and sweep.stays == [f"{candidate_ref(RUN, 2)}: it is checked out"]


def test_a_branch_that_somebody_wrote_to_stays(world: World) -> None:
    world.shell.git("update-ref", candidate_ref(RUN, 2), "HEAD~1")
    sweep = planned(world.repository)
    assert sweep.branches == [] and sweep.stays == [f"{candidate_ref(RUN, 2)}: no journal keeps its commit"]


def test_a_branch_that_moves_meanwhile_stops_it(world: World) -> None:
    gone = stored(world, "old", 2)
    sweep = planned(world.repository)
    world.shell.git("update-ref", candidate_ref(RUN, 2), "HEAD")
    with pytest.raises(MovedRefsError, match="somebody else moved"):
        swept(world.repository, sweep)
    assert gone.exists() and candidate_ref(RUN, 2) in branches(world)


def test_users_own_branches_stay(world: World) -> None:
    for name in ("hmopt/iter-0001", f"hmopt/{RUN}/iter-mine", "iter-0002"):
        world.shell.git("branch", name)
    swept(world.repository, planned(world.repository))
    assert {"refs/heads/hmopt/iter-0001", f"refs/heads/hmopt/{RUN}/iter-mine", best_ref(RUN)} <= branches(world)


# -- files ---------------------------------------------------------------------------------------------------------


def test_artifacts_that_nothing_names_go_after_a_day(world: World) -> None:
    old, young = stored(world, "old", 1.1), stored(world, "young", 0.9)
    named = [path for path in world.home.glob("artifacts/??/*") if path not in (old, young)]
    for path in named:
        aged(path, 400)
    sweep = planned(world.repository)
    assert [(one.what, one.path, one.bytes) for one in sweep.files] == [("artifact", old, 3)]
    assert sweep.bytes == 3
    swept(world.repository, sweep)
    assert not old.exists() and young.exists() and all(path.exists() for path in named) and len(named) == 3


def test_what_an_operation_nobody_understands_names_stays(world: World) -> None:
    path = stored(world, "new", 3)
    writer = "bbbbbbbb-0000-4000-8000-000000000000"
    foreign(world.shell, fields(writer, v=99, data={"later": {"bytes": path.name[:64]}}), writer=writer)
    assert planned(world.repository).files == []


def test_what_a_parcel_names_stays(world: World) -> None:
    path = stored(world, "pushed", 3)
    pack_run(world.repository, RUN, "w", [Listed(path.name[:64], "x.log", 6)])
    assert world.shell.git("for-each-ref", ARTIFACTS) and planned(world.repository).files == []


def test_what_was_said_to_models_stays_while_a_message_names_it(world: World) -> None:
    """A message names its artifacts in its data, by sha256 alone."""
    paths = [stored(world, part, 400) for part in ("prompt", "answer", "thinking")]
    data = dict(zip(("prompt", "answer", "thinking"), (path.name[:64] for path in paths), strict=True))
    message = AgentMessage(iteration=1, agent="coder", role="answer", text="one edit", data=data)
    drafts = [OpDraft("agent.asked", "coder", 1, data={"message": message.model_dump(mode="json")})]
    assert {one.path for one in planned(world.repository).files} == set(paths)
    Journal(world.repository).append(RUN, drafts)
    assert planned(world.repository).files == []


def test_where_a_journal_is_broken_no_artifact_goes(world: World) -> None:
    stored(world, "old", 3)
    world.lose(world.shell.git("rev-parse", f"{world.journal(OTHER_RUN)}~1"))
    sweep = planned(world.repository)
    assert [one.what for one in sweep.files] == []
    assert "artifacts: some journals cannot be read whole (see: git hmopt fsck)" in sweep.stays


def test_leftovers_of_writes_go_after_a_day(world: World) -> None:
    incoming = world.home / "artifacts/incoming"
    for name, days in (("old", 1.1), ("young", 0.9)):
        (incoming / name).write_bytes(b"half")
        aged(incoming / name, days)
    swept(world.repository, planned(world.repository))
    assert [path.name for path in incoming.iterdir()] == ["young"]


@pytest.mark.parametrize("what", ["layouts", "floors", "scratch", "structure"])
def test_what_no_run_used_for_a_month_goes(world: World, what: str, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("mine")
    old, young = kept_for_runs(world, what, "0123456789abcdef", 31), kept_for_runs(world, what, "f" * 16, 29)
    mixed = kept_for_runs(world, what, "mixed", 31)
    aged(mixed / "inner/vmlinux", 1)
    (old / "link").symlink_to(outside)
    os.utime(old / "link", (time.time() - 31 * DAY_S,) * 2, follow_symlinks=False)
    aged(old, 31)
    sweep = planned(world.repository)
    assert [(one.what, one.path) for one in sweep.files] == [(what, old)] and sweep.bytes >= 5
    swept(world.repository, sweep)
    assert not old.exists() and young.is_dir() and mixed.is_dir() and outside.read_text() == "mine"


def test_layouts_of_an_image_that_a_recent_run_built_stay(world: World) -> None:
    kept_for_runs(world, "layouts", "ab" * 8, 90)
    Journal(world.repository).append(RUN, [OpDraft("baseline.built", "build", data={"builds": {"x": "ab" * 32}})])
    assert planned(world.repository).files == []
    later = planned(world.repository, now=time.time() + 40 * DAY_S)
    assert [one.what for one in later.files] == ["layouts"]


def test_while_a_run_is_at_work_what_it_may_need_stays(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    old = (stored(world, "old", 3), kept_for_runs(world, "layouts", "0123456789abcdef", 90))
    leftover = world.home / "artifacts/incoming/old"
    leftover.write_bytes(b"half")
    aged(leftover, 2)
    monkeypatch.chdir(world.shell.cwd)
    with alone(world.repository, OTHER_RUN):
        assert main(["gc", "--yes"]) == 0
        said = capsys.readouterr().err
    assert (
        f"stays: artifacts, layouts, floors, structure graphs and scratch files: run {OTHER_RUN} is at work here"
        in said
    )
    assert all(path.exists() for path in old) and not leftover.exists()
    assert main(["gc", "--yes"]) == 0
    assert not any(path.exists() for path in old)


# -- refs, and the command -----------------------------------------------------------------------------------------


def test_many_loose_refs_are_packed(world: World) -> None:
    repository = world.repository
    head = repository.read_ref(journal_ref(RUN, Journal(repository).writer))
    names = [journal_ref(RunId(f"20260201-many-{number:06x}"), "w") for number in range(LOOSE_REFS)]
    repository.update_refs([RefUpdate(name, head, None) for name in names])
    before = world.shell.git("for-each-ref")
    sweep = planned(repository)
    assert sweep.loose > LOOSE_REFS
    sweep.branches.clear()
    swept(repository, sweep)
    assert world.shell.git("for-each-ref") == before
    assert planned(repository).loose == 0


def test_the_command(world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(world.shell.cwd)
    path = stored(world, "old", 3)
    branch = candidate_ref(RUN, 2).removeprefix("refs/heads/")
    assert main(["gc"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"branch {branch}: its candidate was not accepted",
        f"artifact {path}: no journal names it (3 bytes)",
        "would remove 1 artifact, 1 branches: 3 bytes; do it: --yes",
    ]
    assert path.exists() and f"refs/heads/{branch}" in branches(world)
    assert main(["gc", "-f", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["v"], told["done"], told["branches"]) == (1, True, [f"refs/heads/{branch}"])
    assert told["bytes"] == 3 and not path.exists()
    assert main(["gc", "--yes"]) == 0
    assert capsys.readouterr().out == "nothing to remove\n"
