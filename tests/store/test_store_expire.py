# SPDX-License-Identifier: Apache-2.0
"""`git hmopt expire`: what goes is archived, cut off and gone in one step, and no stale clone brings it back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from git_hmopt.cli.main import main
from git_hmopt.errors import UsageError
from git_hmopt.records.words import (
    ARTIFACTS,
    BRANCHES,
    CARE,
    JOURNALS,
    NOTES_METRICS,
    NOTES_VERDICTS,
    SCRATCH,
    Oid,
    RunId,
    best_ref,
    candidate_ref,
)
from git_hmopt.store.cache import Cache
from git_hmopt.store.expire import expire, planned
from git_hmopt.store.fsck import check
from git_hmopt.store.journal import Journal, OpDraft
from git_hmopt.store.notes import Drop, NoteDraft, Notes, without_lines
from git_hmopt.store.objects import ObjectBatch
from git_hmopt.store.queries import find_run, list_runs
from git_hmopt.store.remote import Namespace, Remote
from git_hmopt.store.repository import MovedRefsError, Repository
from git_hmopt.store.transport import What, fetch, push
from tests.store.repositories import OTHER_RUN, RUN, Shell, make_repository
from tests.store.servers import http_server
from tests.store.worlds import AT, World, record_run

OLD = RunId("20250101-old-000001")
OPEN = RunId("20250101-open-000002")
GOOD = RunId("20250101-good-000003")


@pytest.fixture(params=["sha1", "sha256"])
def world(tmp_path: Path, request: pytest.FixtureRequest) -> World:
    """Return a clone with an old run, one that is open, one with an accepted patch, and a new one."""
    made = World(make_repository(tmp_path / "world", f"--object-format={request.param}"))
    record_run(made.repository, OLD, created="2025-01-01T10:00:00Z", iterations=2)
    record_run(made.repository, OPEN, created="2025-01-01T10:00:00Z", status=None)
    record_run(made.repository, GOOD, created="2025-01-01T10:00:00Z", accepted=1)
    record_run(made.repository, RUN, created="2999-01-01T10:00:00Z")
    return made


def hmopt(world: World, monkeypatch: pytest.MonkeyPatch, *argv: str) -> int:
    """Return the exit code of a command in the clone."""
    monkeypatch.chdir(world.shell.cwd)
    return main(argv)


def refs(world: World, run: RunId) -> dict[str, str]:
    """Return a run's refs by git itself."""
    listed = world.shell.git("for-each-ref", "--format=%(refname) %(objectname)", JOURNALS, BRANCHES, ARTIFACTS)
    pairs = (line.split(" ") for line in listed.splitlines())
    return {ref: oid for ref, oid in pairs if f"/{run}/" in ref}


def listed(world: World) -> set[str]:
    """Return the runs that `list` shows."""
    with Cache(world.repository).reading() as database:
        return {row.name for row in list_runs(database)}


def lines_of(world: World, run: RunId) -> int:
    """Return how many lines of notes name a run."""
    noted = [Notes(world.repository, ref).read() for ref in (NOTES_METRICS, NOTES_VERDICTS)]
    return sum(f'"run":"{run}"' in line for one in noted for lines in one.values() for line in lines)


def everything(world: World) -> str:
    """Return all refs."""
    return world.shell.git("for-each-ref")


# -- what it refuses -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (("--older-than", "soon"), "'soon' is no age; 90d, 12w or 2y is"),
        (("--older-than", "90d", "--run", OLD), "not allowed with argument"),
        (("--run", OLD, "--reason", "  "), "--reason: it is empty; say why"),
        (("--run", "nope", "--yes"), "no run is called 'nope'"),
        (("--run", OLD, "--remote", "nowhere", "--yes"), "unknown remote 'nowhere'"),
    ],
)
def test_a_wrong_command_line(
    shell: Shell,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    argv: tuple[str, ...],
    said: str,
) -> None:
    world = World(shell)
    record_run(world.repository, OLD)
    before = everything(world)
    assert hmopt(world, monkeypatch, "expire", *argv) == 129
    told = capsys.readouterr()
    assert said in told.err and told.err.count("\n") == 1 and told.out == ""
    assert everything(world) == before


def test_a_shallow_clone_is_refused(
    tmp_path: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Shell(tmp_path).git("clone", "-q", "--depth=1", f"file://{shell.cwd}", "shallow")
    world = World(Shell(tmp_path / "shallow"))
    record_run(world.repository, OLD)
    assert hmopt(world, monkeypatch, "expire", "--run", OLD, "--yes") == 128
    assert "a shallow clone cannot archive what it expires; run: git fetch --unshallow" in capsys.readouterr().err
    assert refs(world, OLD)


def test_what_is_open_accepted_or_checked_out_stays(world: World) -> None:
    world.shell.git("checkout", "-q", candidate_ref(OLD, 1).removeprefix("refs/heads/"))
    expiry = planned(world.repository, before="2026-01-01T00:00:00Z")
    assert expiry.runs == []
    assert expiry.stays == {
        OLD: "a branch of it is checked out",
        OPEN: "it is created, not closed",
        GOOD: "it has accepted patches (1); --accepted takes it along",
    }
    world.shell.git("checkout", "-q", "main")
    taken = planned(world.repository, before="2026-01-01T00:00:00Z", accepted=True)
    assert [one.run for one in taken.runs] == [GOOD, OLD]
    assert [one.run for one in planned(world.repository, runs=[OLD]).runs] == [OLD]


def test_a_run_that_another_goes_on_from_stays(world: World) -> None:
    child = RunId("20260401-child-000004")
    record_run(world.repository, child, status=None)
    journal = Journal(world.repository)
    described = journal.read(child).operations[0].data["run"]
    later = RunId("20260401-child-000005")
    journal.append(later, [OpDraft("run.created", "init", data={"run": described | {"name": later, "parent": OLD}})])
    expiry = planned(world.repository, runs=[OLD])
    assert (expiry.runs, expiry.stays) == ([], {OLD: f"run {later} goes on from it and is not closed"})


# -- what it does --------------------------------------------------------------------------------------------------


def test_a_dry_run_changes_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = everything(world)
    assert hmopt(world, monkeypatch, "expire", "--older-than", "90d") == 0
    told = capsys.readouterr()
    assert told.out == f"would expire run {OLD} (succeeded, 0 accepted, 4 refs)\ndo it: --yes\n"
    assert f"run {OPEN} stays: it is created, not closed" in told.err
    assert everything(world) == before and not (world.home / "archive").exists()


def test_it_is_gone_in_one_step_and_archived(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    had, notes = refs(world, OLD), world.shell.git("rev-parse", NOTES_METRICS)
    assert lines_of(world, OLD) == 4
    assert hmopt(world, monkeypatch, "expire", "--older-than", "90d", "--reason", "a broken host", "--yes") == 0
    bundle = world.home / "archive" / f"{OLD}.bundle"
    assert capsys.readouterr().out.splitlines() == [
        f"expired run {OLD} (succeeded, 0 accepted, 4 refs)",
        f"archived in {bundle}",
        "others see it after: git hmopt push",
    ]
    assert refs(world, OLD) == {} and lines_of(world, OLD) == 0
    assert lines_of(world, RUN) == 2 and listed(world) == {OPEN, GOOD, RUN}
    # The notes went forward.
    world.shell.git("merge-base", "--is-ancestor", notes, NOTES_METRICS)
    assert check(world.repository).faults == []
    assert hmopt(world, monkeypatch, "show", OLD) == 129
    assert f"run {OLD} is expired since 20" in (said := capsys.readouterr().err) and ": a broken host; " in said
    assert hmopt(world, monkeypatch, "show", OLD[-6:]) == 129
    assert f"run {OLD} is expired since 20" in capsys.readouterr().err
    _restored(world, bundle, had, tmp_path)


def _restored(world: World, bundle: Path, had: dict[str, str], tmp_path: Path) -> None:
    """Take the archive back in a clone that never saw the run, and after everything unreachable is gone here."""
    world.shell.git("reflog", "expire", "--expire=now", "--all")
    world.shell.git("-c", "gc.pruneExpire=now", "gc", "-q")
    journal = next(oid for ref, oid in had.items() if ref.startswith(JOURNALS))
    assert world.shell.git("cat-file", "-t", journal, check=False) == ""
    world.shell.git("bundle", "verify", "-q", str(bundle))
    Shell(tmp_path).git("clone", "-q", str(world.shell.cwd), "fresh")
    fresh = Shell(tmp_path / "fresh")
    fresh.git("fetch", "-q", str(bundle), "refs/*:refs/*")
    back = refs(World(fresh), OLD)
    # A branch at the base itself needs no archive.
    assert back == {ref: oid for ref, oid in had.items() if ref != best_ref(OLD)}
    assert [one.op for one in Journal(Repository.open(fresh.cwd)).read(OLD).operations][-1] == "run.closed"
    fresh.git("fsck", "--strict")


def test_a_run_whose_branch_was_merged_is_restored_whole(world: World, tmp_path: Path) -> None:
    world.shell.git("merge", "-q", "--ff-only", best_ref(GOOD))
    had = refs(world, GOOD)
    expiry = planned(world.repository, runs=[GOOD], accepted=True)
    expire(world.repository, expiry, "merged")
    Shell(tmp_path).git("clone", "-q", str(world.shell.cwd), "fresh")
    fresh = Shell(tmp_path / "fresh")
    fresh.git("fetch", "-q", str(expiry.archives[0]), "refs/*:refs/*")
    assert refs(World(fresh), GOOD) == had


def test_expiring_again_and_again_is_recorded_each_time(world: World) -> None:
    for run in (OLD, RUN):
        expire(world.repository, planned(world.repository, runs=[run]), f"{run} is old")
    cutoffs = [one for one in Journal(world.repository).read(RunId("care")).operations if one.op == "cutoff"]
    assert [one.data["cutoff"][0]["of_run"] for one in cutoffs] == [OLD, RUN]
    assert listed(world) == {OPEN, GOOD}
    with Cache(world.repository).reading() as database, pytest.raises(UsageError, match=f"{RUN} is old"):
        find_run(database, RUN)


def test_when_every_run_is_expired_show_still_says_why(shell: Shell) -> None:
    world = World(shell)
    record_run(world.repository, OLD)
    expire(world.repository, planned(world.repository, runs=[OLD]), "the last")
    with Cache(world.repository).reading() as database:
        with pytest.raises(UsageError, match=r"is expired since .*: the last; "):
            find_run(database, OLD)
        with pytest.raises(UsageError, match="there is no run here yet"):
            find_run(database)


def test_a_run_that_was_written_to_meanwhile_stays_whole(world: World) -> None:
    expiry = planned(world.repository, runs=[OLD])
    Journal(world.repository).append(OLD, [OpDraft("retract", "review")])
    before = everything(world)
    with pytest.raises(MovedRefsError, match="somebody else moved"):
        expire(world.repository, expiry, "old")
    assert everything(world) == before
    assert list((world.home / "archive").iterdir()) == []


def test_a_note_that_is_written_meanwhile_is_kept(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    head = world.repository.resolve("HEAD")
    met: list[int] = []

    def written_first(batch: ObjectBatch, repository: Repository, tree: Oid, drop: Drop) -> Oid:
        made = without_lines(batch, repository, tree, drop)
        if not met:
            met.append(1)
            Notes(world.repository).append([NoteDraft(head, AT, {"run": RUN, "meanwhile": "1"})])
        return made

    monkeypatch.setattr("git_hmopt.store.expire.without_lines", written_first)
    expire(world.repository, planned(world.repository, runs=[OLD]), "old")
    assert any("meanwhile" in line for line in Notes(world.repository).read()[head])
    assert lines_of(world, OLD) == 0 and refs(world, OLD) == {}


# -- others --------------------------------------------------------------------------------------------------------


def cloned(tmp_path: Path, name: str, address: str) -> World:
    """Clone as a person does."""
    Shell(tmp_path).git("clone", "-q", address, name)
    return World(Shell(tmp_path / name))


def test_a_stale_clone_brings_nothing_back_over_http(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source = make_repository(tmp_path / "source")
    forge = Shell(tmp_path / "served/forge.git")
    forge.cwd.mkdir(parents=True)
    forge.git("init", "-q", "--bare")
    forge.git("config", "http.receivepack", "true")
    source.git("push", "-q", str(forge.cwd), "main")
    with http_server(tmp_path / "served") as address:
        alice, bob, carol = (cloned(tmp_path, name, f"{address}/forge.git") for name in ("alice", "bob", "carol"))
        record_run(alice.repository, OLD)
        record_run(alice.repository, OTHER_RUN)
        assert hmopt(alice, monkeypatch, "push", "--what", "all") == 0
        for stale in (bob, carol):
            fetch(stale.repository, Remote.of(stale.repository, "origin"))
            assert listed(stale) == {OLD, OTHER_RUN}
        before = forge.git("for-each-ref")
        capsys.readouterr()
        assert hmopt(alice, monkeypatch, "expire", "--run", OLD, "--remote", "origin") == 0
        told = capsys.readouterr().out
        assert "would delete 4 refs from origin" in told and candidate_ref(OLD, 1) in told
        assert forge.git("for-each-ref") == before
        assert hmopt(alice, monkeypatch, "expire", "--run", OLD, "--remote", "origin", "--yes") == 0
        said = capsys.readouterr()
        assert f"git hmopt: deleting {best_ref(OLD)} from origin" in said.err
        assert "deleted 4 refs from origin" in said.out
        assert OLD not in forge.git("for-each-ref") and OTHER_RUN in forge.git("for-each-ref")
        assert CARE in forge.git("for-each-ref")
        commit = next(iter(Notes(bob.repository).read()))
        Notes(bob.repository).append([NoteDraft(commit, AT, {"run": OLD, "late": "1"})])
        for stale in (bob, carol):
            # One pushes at once, the other has taken in what is new before.
            if stale is carol:
                fetch(stale.repository, Remote.of(stale.repository, "origin"))
            push(stale.repository, Remote.of(stale.repository, "origin"), tuple(What))
            assert OLD not in forge.git("for-each-ref")
            assert listed(stale) == {OTHER_RUN}
        for one in (alice, bob, carol):
            push(one.repository, Remote.of(one.repository, "origin"), tuple(What))
        after = forge.git("for-each-ref")
        for one in (alice, bob, carol):
            outcome = push(one.repository, Remote.of(one.repository, "origin"), tuple(What))
            assert not outcome.sent and lines_of(one, OLD) == 0 and listed(one) == {OTHER_RUN}
            assert lines_of(one, OTHER_RUN) == 2
        assert refs(alice, OLD) == {} and check(alice.repository).faults == []
        # They agree, and nothing goes to and fro between them.
        assert forge.git("for-each-ref") == after
        assert OLD not in forge.git("grep", "-h", "run", NOTES_METRICS) + forge.git("grep", "-h", "run", NOTES_VERDICTS)


def test_a_clone_that_still_has_what_others_expired_can_clean_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source = make_repository(tmp_path / "source")
    Shell(tmp_path).git("init", "-q", "--bare", "forge.git")
    source.git("push", "-q", str(tmp_path / "forge.git"), "main")
    alice, bob = (cloned(tmp_path, name, str(tmp_path / "forge.git")) for name in ("alice", "bob"))
    record_run(alice.repository, OLD, accepted=1)
    record_run(alice.repository, OTHER_RUN)
    push(alice.repository, Remote.of(alice.repository, "origin"), tuple(What))
    fetch(bob.repository, Remote.of(bob.repository, "origin"))
    had = refs(bob, OLD)
    expire(alice.repository, planned(alice.repository, runs=[OLD], accepted=True), "a broken host")
    push(alice.repository, Remote.of(alice.repository, "origin"))
    assert hmopt(bob, monkeypatch, "expire", "--yes") == 0
    assert capsys.readouterr().out == "nothing to expire\n" and refs(bob, OLD) == had != {}
    fetch(bob.repository, Remote.of(bob.repository, "origin"))
    assert refs(bob, OLD) == had and listed(bob) == {OTHER_RUN}
    assert hmopt(bob, monkeypatch, "gc") == 0
    assert "stays: 1 runs that others expired: git hmopt expire --yes archives" in capsys.readouterr().err
    assert hmopt(bob, monkeypatch, "expire", "--yes") == 0
    assert f"expired run {OLD} (succeeded, 1 accepted, {len(had)} refs)" in capsys.readouterr().out
    assert refs(bob, OLD) == {} and (bob.home / "archive" / f"{OLD}.bundle").is_file()
    assert hmopt(bob, monkeypatch, "show", OLD) == 129
    assert ": a broken host; " in capsys.readouterr().err
    assert check(bob.repository).faults == []


def test_a_run_that_somebody_wrote_to_after_the_cutoff_is_not_over(shell: Shell) -> None:
    world = World(shell)
    record_run(world.repository, OLD)
    care = {"cutoff": [{"v": 1, "of_run": OLD, "before": "2026-01-01T00:00:00Z", "reason": "old"}]}
    Journal(world.repository).append(RunId("care"), [OpDraft("cutoff", "expire", data=care)])
    assert planned(world.repository).runs == []


@pytest.mark.parametrize("options", [("--bare",), ("--filter=blob:none",)], ids=["bare", "partial"])
def test_in_other_kinds_of_clones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...]) -> None:
    forge = make_repository(tmp_path / "forge")
    forge.git("config", "uploadpack.allowFilter", "true")
    Shell(tmp_path).git("clone", "-q", *options, f"file://{forge.cwd}", "other")
    world = World(Shell(tmp_path / "other"))
    record_run(world.repository, OLD)
    assert hmopt(world, monkeypatch, "expire", "--run", OLD, "--yes") == 0
    assert refs(world, OLD) == {} and listed(world) == set()
    world.shell.git("bundle", "verify", "-q", str(world.home / "archive" / f"{OLD}.bundle"))
    assert hmopt(world, monkeypatch, "gc", "--yes") == 0
    assert hmopt(world, monkeypatch, "fsck") == 0


def test_a_ref_that_moved_on_the_remote_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lease: what was listed is deleted, not what came after."""
    source = make_repository(tmp_path / "source")
    Shell(tmp_path).git("init", "-q", "--bare", "forge.git")
    forge = Shell(tmp_path / "forge.git")
    source.git("push", "-q", str(forge.cwd), "main")
    alice = cloned(tmp_path, "alice", str(forge.cwd))
    record_run(alice.repository, OLD)
    push(alice.repository, Remote.of(alice.repository, "origin"), tuple(What))
    remote = Remote.of(alice.repository, "origin")
    branch, oid = candidate_ref(OLD, 1), alice.repository.read_ref(candidate_ref(OLD, 1))
    assert oid
    forge.git("update-ref", branch, forge.git("rev-parse", "main"))
    done = remote.delete({branch: oid}, namespace=Namespace.PLAIN)
    assert done is not None and done.moved == () and set(done.refused) == {branch}
    assert forge.git("rev-parse", branch) == forge.git("rev-parse", "main")


def test_what_is_expired_already_can_go_from_a_remote_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source = make_repository(tmp_path / "source")
    Shell(tmp_path).git("init", "-q", "--bare", "forge.git")
    forge = Shell(tmp_path / "forge.git")
    source.git("push", "-q", str(forge.cwd), "main")
    alice = cloned(tmp_path, "alice", str(forge.cwd))
    record_run(alice.repository, OLD)
    push(alice.repository, Remote.of(alice.repository, "origin"), tuple(What))
    assert hmopt(alice, monkeypatch, "expire", "--run", OLD, "--yes") == 0
    assert OLD in forge.git("for-each-ref")
    capsys.readouterr()
    assert hmopt(alice, monkeypatch, "expire", "--remote", "origin", "--yes", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["runs"] == [] and sorted(told["refs_there"]) == sorted(
        ref for ref in told["refs_there"] if f"/{OLD}/" in ref
    )
    assert len(told["refs_there"]) == 4 and OLD not in forge.git("for-each-ref")
    assert OLD not in alice.shell.git("for-each-ref", SCRATCH)
