# SPDX-License-Identifier: Apache-2.0
"""`git hmopt reattach` after git's own ways to make another commit of a change; a changed change has no evidence.

Cases by the numbers in `git_hmopt.report.elsewhere`.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from git_hmopt.records.run import CutoffRecord
from git_hmopt.records.words import CARE_RUN, NOTES_METRICS, Oid, RunId, Verdict
from git_hmopt.store.care import CUTOFF
from git_hmopt.store.journal import Journal, OpDraft
from git_hmopt.store.notes import NoteDraft, Notes
from git_hmopt.store.patch_ids import patch_ids
from git_hmopt.store.repository import Repository
from tests.cli.runs import Recorder
from tests.loop.project import Project, make_project

RUN = RunId("20260131-scan-0a1b2c")


def source(*, first: str = "slow", last: str = "slow", middle: str = "") -> str:
    """Return a file whose first and last function are far enough apart to be changed by two patches."""
    between = "".join(f"int line_{number};\n" for number in range(30))
    return f"int first = {first};\n{between}{middle}{between}int last = {last};\n"


@dataclass(frozen=True)
class Optimized:
    """A project in which a run accepted two patches and rejected a third; `main` is at the run's base."""

    project: Project
    base: str
    one: str
    two: str
    rejected: str

    def reattach(self, *argv: str) -> list[dict[str, Any]]:
        """Return what was found, as JSON."""
        done = self.project.hmopt("reattach", "--json", *argv)
        assert (done.returncode, done.stderr) == (0, "")
        commits: list[dict[str, Any]] = json.loads(done.stdout)["commits"]
        return commits

    def found(self, *argv: str) -> dict[str, list[tuple[str, int, str | None]]]:
        """Return by title what each commit's change was measured as: commit, number of patches, verdict."""
        return {
            one["commit"]["title"]: [
                (each["commit"], each["patches"], (each["verdict"] or {}).get("evaluation", {}).get("verdict"))
                for each in one["evidence"]
            ]
            for one in self.reattach(*argv)
        }

    def move_main(self) -> None:
        """Let others change something else on main, so that no tree is again what it was."""
        self.project.git("checkout", "-q", "main")
        self.project.write("other.c", "int other;\n")
        self.project.commit("others' work")


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Optimized:
    """Return the project, made once."""
    project = make_project(tmp_path_factory.mktemp("measured"), contents={"lib.c": source()}, trusted=False)
    base = project.git("rev-parse", "HEAD")
    project.git("checkout", "-q", "--detach")
    project.write("lib.c", source(first="fast"))
    one = project.commit("lib: first is fast")
    project.write("lib.c", source(first="fast", last="wrong"))
    rejected = project.commit("lib: last is wrong")
    project.git("checkout", "-q", one)
    project.write("lib.c", source(first="fast", last="fast"))
    two = project.commit("lib: last is fast")
    project.git("checkout", "-q", "main")
    recorder = Recorder(project.root, RUN, "scan", base).begin()
    recorder.later("2026-01-31T11:01:00Z").judged(1, one, base, ("90", "100"))
    recorder.later("2026-01-31T11:02:00Z").judged(2, rejected, one, None, verdict=Verdict.REJECTED, rule="outputs")
    recorder.later("2026-01-31T11:03:00Z").judged(3, two, one, ("80", "91"))
    repository = recorder.repository
    final = recorder.metric(two, "81", patch_id=repository.patch_id(Oid(base), Oid(two))), recorder.metric(base, "102")
    recorder.later("2026-01-31T11:04:00Z").measured(*final)
    return Optimized(project, base, one, two, rejected)


@pytest.fixture
def optimized(recorded: Optimized, tmp_path: Path) -> Optimized:
    """Return a copy that may be changed."""
    shutil.copytree(recorded.project.root, tmp_path / "project", symlinks=True)
    project = Project(tmp_path / "project", recorded.project.home)
    return Optimized(project, recorded.base, recorded.one, recorded.two, recorded.rejected)


def test_1_what_has_numbers_of_its_own_is_not_told(optimized: Optimized) -> None:
    git = optimized.project.git
    git("checkout", "-q", "-b", "topic", optimized.two)
    assert optimized.found() == {}
    git("commit", "-q", "--amend", "-m", "the same tree under another message")
    assert optimized.found() == {}
    git("checkout", "-q", "main")
    git("merge", "-q", "--squash", optimized.two)
    git("commit", "-q", "-m", "a squash on the base itself has the tree that was measured")
    assert optimized.found() == {}
    shown = optimized.project.hmopt("reattach")
    said = "no commit of HEAD makes a change that was measured as another commit only\n"
    assert (shown.returncode, shown.stdout, shown.stderr) == (0, said, "")


def test_2_rebase(optimized: Optimized) -> None:
    optimized.move_main()
    optimized.project.git("checkout", "-q", "-b", "topic", optimized.two)
    optimized.project.git("rebase", "-q", "main")
    assert optimized.found() == {
        "lib: last is fast": [(optimized.two, 1, "improved")],
        "lib: first is fast": [(optimized.one, 1, "improved")],
    }
    assert list(optimized.found("HEAD~1..HEAD")) == ["lib: last is fast"]
    assert list(optimized.found("HEAD~1")) == ["lib: first is fast"]


def test_2_cherry_pick_of_one_that_was_rejected(optimized: Optimized) -> None:
    optimized.move_main()
    optimized.project.git("cherry-pick", optimized.one)
    optimized.project.git("cherry-pick", optimized.rejected)
    assert optimized.found() == {
        "lib: last is wrong": [(optimized.rejected, 1, "rejected")],
        "lib: first is fast": [(optimized.one, 1, "improved")],
    }


def test_3_squash(optimized: Optimized) -> None:
    optimized.move_main()
    optimized.project.git("merge", "-q", "--squash", optimized.two)
    optimized.project.git("commit", "-q", "-m", "both at once")
    (found,) = optimized.reattach()
    (evidence,) = found["evidence"]
    assert (evidence["commit"], evidence["patches"], evidence["verdict"]) == (optimized.two, 2, None)
    (reading,) = evidence["readings"]
    # Measured afresh against the base, not what the second patch was measured at against the first.
    assert (reading["number"]["metric"]["value"], reading["beside"]["metric"]["value"]) == ("81", "102")


def test_3_merge_of_the_branch(optimized: Optimized) -> None:
    optimized.move_main()
    optimized.project.git("merge", "-q", "--no-ff", "-m", "merge best", optimized.two)
    assert optimized.found() == {"merge best": [(optimized.two, 2, None)]}


def test_4_an_amend_to_different_code_has_no_evidence(optimized: Optimized) -> None:
    optimized.move_main()
    optimized.project.git("cherry-pick", optimized.one)
    assert list(optimized.found()) == ["lib: first is fast"]
    optimized.project.write("lib.c", source(first="faster"))
    optimized.project.git("commit", "-q", "-a", "--amend", "--no-edit")
    assert optimized.project.git("log", "-1", "--format=%s") == "lib: first is fast"
    assert optimized.found() == {}


def test_4_a_squash_with_something_more_in_it_has_no_evidence(optimized: Optimized) -> None:
    optimized.move_main()
    optimized.project.git("merge", "-q", "--squash", optimized.two)
    optimized.project.write("lib.c", source(first="fast", last="fast", middle="int more;\n"))
    optimized.project.commit("both at once, and more")
    assert optimized.found() == {}


def test_it_is_said_what_was_measured_where_and_how_to_measure_here(optimized: Optimized) -> None:
    optimized.move_main()
    optimized.project.git("cherry-pick", optimized.one)
    head = optimized.project.git("rev-parse", "HEAD")
    before = optimized.project.git("for-each-ref")
    assert optimized.project.hmopt("reattach").stdout.splitlines() == [
        f"{head[:12]} lib: first is fast",
        f"    measured on {optimized.one[:12]}, not here: improved (run {RUN})",
        "      time -10.0 % against best",
        "      time 90 ns [89, 91], 100 ns [99, 101] without the change",
        "",
        "nothing of this was measured here: the code around the change is other code; to measure it here:",
        f"  git checkout {head[:12]} && git hmopt check {head[:12]}^    (is it slower than before)",
        f"  git hmopt optimize --workload scan --base {head[:12]}    (record its numbers, and go on from it)",
    ]
    assert optimized.project.git("for-each-ref") == before, "nothing is recorded"
    log = optimized.project.hmopt("log").stdout
    assert head[:12] not in log
    assert log.splitlines()[-1] == (
        "1 commit makes a change measured as another commit only; see: git hmopt reattach HEAD"
    )


def test_what_was_retracted_or_is_expired_is_no_evidence(optimized: Optimized) -> None:
    optimized.move_main()
    optimized.project.git("cherry-pick", optimized.one)
    optimized.project.git("cherry-pick", optimized.two)
    done = optimized.project.hmopt("retract", RUN, "--iteration", "1", "--reason", "hot")
    assert done.returncode == 0, done.stderr
    assert list(optimized.found()) == ["lib: last is fast"]
    cut = CutoffRecord(of_run=RUN, before="2026-12-31T00:00:00Z", reason="old").model_dump(mode="json")
    Journal(Repository.open(optimized.project.root)).append(CARE_RUN, [OpDraft(CUTOFF, "x", data={CUTOFF: [cut]})])
    assert optimized.found() == {}


def test_a_retraction_travels_with_the_notes_alone(optimized: Optimized, tmp_path: Path) -> None:
    assert optimized.project.hmopt("retract", RUN, "--iteration", "1", "--reason", "hot").returncode == 0
    optimized.move_main()
    optimized.project.git("cherry-pick", optimized.one)
    optimized.project.git("cherry-pick", optimized.two)
    clone = Optimized(Project(tmp_path / "clone", optimized.project.home), "", "", "", "")
    optimized.project.git("clone", "-q", str(optimized.project.root), str(clone.project.root))
    clone.project.git("fetch", "-q", "origin", "refs/notes/*:refs/notes/*")
    assert clone.found() == {"lib: last is fast": [(optimized.two, 1, "improved")]}


def test_lines_that_are_no_records_are_counted(optimized: Optimized) -> None:
    git = optimized.project.git
    git("notes", "--ref=hmopt/metrics", "append", "-m", "not JSON\n[1]", optimized.base)
    newer = {"v": 9, "run": RUN, "tree": "0" * 40}
    odd = {"v": 1, "run": RUN, "tree": 7}
    Notes(Repository.open(optimized.project.root), NOTES_METRICS).append(
        [NoteDraft(Oid(optimized.base), "2026-01-31T12:00:00Z", one) for one in (newer, odd)]
    )
    done = optimized.project.hmopt("reattach")
    assert done.returncode == 0
    assert done.stderr.endswith("left out: 1 x malformed number, 2 x no record, 1 x unknown version\n")


@pytest.mark.parametrize("revisions", ["v9", "HEAD..v9", "main...HEAD", ""])
def test_what_is_no_revision_is_one_line(optimized: Optimized, revisions: str) -> None:
    done = optimized.project.hmopt("reattach", revisions)
    assert done.returncode in (128, 129)
    assert (done.stdout, len(done.stderr.splitlines())) == ("", 1)


def test_patch_ids_are_those_of_one_at_a_time(optimized: Optimized) -> None:
    """Of a root, a merge, an empty commit and a binary file too."""
    optimized.move_main()
    git = optimized.project.git
    git("merge", "-q", "--no-ff", "-m", "merge", optimized.two)
    (optimized.project.root / "image").write_bytes(bytes(range(256)))
    optimized.project.commit("binary")
    git("commit", "-q", "--allow-empty", "-m", "empty")
    repository = Repository.open(optimized.project.root)
    pairs: dict[Oid, Oid | None] = {}
    for line in git("rev-list", "--parents", "HEAD").splitlines():
        commit, *parents = line.split()
        pairs[Oid(commit)] = Oid(parents[0]) if parents else None
    empty_tree = Oid(git("hash-object", "-t", "tree", "/dev/null"))
    expected = {commit: repository.patch_id(parent or empty_tree, commit) for commit, parent in pairs.items()}
    assert len(pairs) == 7 and list(expected.values()).count(None) == 1
    assert patch_ids(repository, pairs) == {commit: found for commit, found in expected.items() if found}
    missing = {Oid("1" * 40): Oid(optimized.base), Oid(optimized.one): Oid("2" * 40)}
    assert patch_ids(repository, missing) == {}
