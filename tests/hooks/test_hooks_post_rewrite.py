# SPDX-License-Identifier: Apache-2.0
"""post-rewrite after git's own amend and rebase: no number counts for a tree it was not measured on.

Cases by the numbers in `hmopt_hooks.post_rewrite`.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from git_hmopt.records.words import NOTES_METRICS, NOTES_VERDICTS, Oid, Verdict
from git_hmopt.store.notes import NoteDraft, Notes
from git_hmopt.store.repository import Repository
from hmopt_hooks.post_rewrite import Pair, read_pairs
from tests.hooks.site import OTHER_RUN, RUN, Site, source, written


@pytest.fixture
def hooked(site: Site) -> Site:
    """Return the site with the hook, at a commit that was measured."""
    assert site.run("git", "hmopt", "hooks", "install", "post-rewrite").returncode == 0
    site.judged(site.change())
    return site


def head(site: Site) -> str:
    """Return the commit that is checked out."""
    return site.project.git("rev-parse", "HEAD")


def carried(site: Site, commit: str) -> list[dict[str, Any]]:
    """Return what was carried to a commit, with the run, as git shows its note."""
    lines = site.project.git("notes", "--ref=hmopt/verdicts", "show", commit, check=False).splitlines()
    return [{"run": one["run"], **one["carried"]} for line in lines if "carried" in (one := json.loads(line))]


def others_work(site: Site) -> None:
    """Let `upstream` be a branch with a commit of somebody else's."""
    site.project.git("branch", "upstream", site.base)
    site.project.git("worktree", "add", "-q", str(site.server.parent / "linked"), "upstream")
    there = Site(type(site.project)(site.server.parent / "linked", site.project.home), site.server)
    there.change("int other;\n", path="other.c")


def test_1_an_amend_of_the_words(hooked: Site) -> None:
    old = head(hooked)
    done = hooked.run("git", "commit", "-q", "--amend", "-m", "other words")
    new = head(hooked)
    what = f"the same tree, its evidence holds (improved, iteration 1 of run {RUN})"
    assert (done.returncode, done.stderr) == (0, f"git hmopt: {old[:12]} is now {new[:12]}: {what}\n")
    (one,) = carried(hooked, new)
    assert one == {
        "v": 1, "how": "same tree", "commit": old, "iteration": 1, "run": RUN, "workload": "scan",
        "tree": hooked.project.git("rev-parse", f"{old}^{{tree}}"), "verdict": "improved",
        "patch_id": Repository.open(hooked.project.root).patch_id(Oid(hooked.base), Oid(old)),
    }  # fmt: skip
    assert hooked.project.hmopt("reattach").stdout.startswith("no commit of HEAD makes a change that was measured as")


def test_2_a_rebase_on_the_work_of_others(hooked: Site) -> None:
    old = head(hooked)
    others_work(hooked)
    done = hooked.run("git", "rebase", "-q", "upstream")
    new = head(hooked)
    assert done.returncode == 0
    assert (
        f"is now {new[:12]}: the same change on other code: measured on {old[:12]}, not here (improved" in done.stderr
    )
    assert [(one["how"], one["commit"]) for one in carried(hooked, new)] == [("same change", old)]
    shown = hooked.project.git("log", "-1", "--notes=hmopt/verdicts")
    assert '"how":"same change"' in shown


def test_2_what_was_carried_is_carried_on_and_comes_home(hooked: Site) -> None:
    """Rebased away, reworded there, rebased back: it is the first commit's tree again, and so are the numbers."""
    old = head(hooked)
    others_work(hooked)
    for words in (["rebase", "-q", "upstream"], ["commit", "-q", "--amend", "-m", "again"],
                  ["rebase", "-q", "--onto", hooked.base, "upstream"]):  # fmt: skip
        done = hooked.run("git", *words)
        assert done.returncode == 0, done.stderr
        assert [one["commit"] for one in carried(hooked, head(hooked))] == [old]
    assert "the same tree, its evidence holds" in done.stderr
    assert [one["how"] for one in carried(hooked, head(hooked))] == ["same tree"]


def test_3_an_amend_of_the_code(hooked: Site) -> None:
    old = head(hooked)
    hooked.project.write("lib.c", source(first="faster"))
    done = hooked.run("git", "commit", "-q", "-a", "--amend", "--no-edit")
    what = "the change is another one, so what was measured of the old one does not count"
    told = f"{old[:12]} is now {head(hooked)[:12]}: {what} (improved, iteration 1 of run {RUN})"
    assert done.stderr == f"git hmopt: {told}\n"
    assert carried(hooked, head(hooked)) == []


def test_3_a_squash(hooked: Site) -> None:
    one = head(hooked)
    two = hooked.change(source(first="fast", last="fast"), title="fixup! a change")
    hooked.recorder(OTHER_RUN).judged(1, two, one, ("80", "90"))
    done = hooked.run(
        "git", "rebase", "-q", "-i", "--autosquash", hooked.base, environment={"GIT_SEQUENCE_EDITOR": "true"}
    )
    assert done.returncode == 0
    # The sum has the second one's tree, so that one's numbers are its own.
    assert f"{one[:12]} is now {head(hooked)[:12]}: the change is another one" in done.stderr
    assert f"{two[:12]} is now {head(hooked)[:12]}: the same tree" in done.stderr
    assert [(each["how"], each["commit"]) for each in carried(hooked, head(hooked))] == [("same tree", two)]


def test_3_a_squash_on_the_work_of_others(hooked: Site) -> None:
    one = head(hooked)
    two = hooked.change(source(first="fast", last="fast"), title="fixup! a change")
    hooked.recorder(OTHER_RUN).judged(1, two, one, ("80", "90"))
    others_work(hooked)
    done = hooked.run(
        "git", "rebase", "-q", "-i", "--autosquash", "upstream", environment={"GIT_SEQUENCE_EDITOR": "true"}
    )
    assert done.returncode == 0
    assert f"{two[:12]} is now {head(hooked)[:12]}: the change is another one" in done.stderr
    assert carried(hooked, head(hooked)) == []


def test_several_commits_each_with_their_own(hooked: Site) -> None:
    one = head(hooked)
    two = hooked.change(source(first="fast", last="wrong"))
    hooked.recorder(OTHER_RUN).judged(1, two, one, None, verdict=Verdict.REJECTED)
    hooked.change("read me\n", path="README")
    others_work(hooked)
    done = hooked.run("git", "rebase", "-q", "upstream")
    assert [line.partition("(")[2].partition(",")[0] for line in done.stderr.splitlines()] == ["improved", "rejected"]
    assert [one["verdict"] for one in carried(hooked, f"{head(hooked)}~1")] == ["rejected"]
    assert carried(hooked, head(hooked)) == []


def test_what_was_retracted_is_not_carried(hooked: Site) -> None:
    assert hooked.project.hmopt("retract", RUN, "--iteration", "1", "--reason", "hot").returncode == 0
    assert hooked.run("git", "commit", "-q", "--amend", "-m", "other words").returncode == 0
    assert carried(hooked, head(hooked)) == []


def test_numbers_without_a_verdict(site: Site) -> None:
    assert site.run("git", "hmopt", "hooks", "install", "post-rewrite").returncode == 0
    recorder = site.recorder()
    recorder.measured(recorder.metric(site.base, "100"))
    done = site.run("git", "commit", "-q", "--amend", "-m", "other words")
    assert done.stderr.endswith("the same tree, its numbers hold\n")
    recorder = site.recorder(OTHER_RUN)
    recorder.measured(recorder.metric(head(site), "100"))
    site.project.write("lib.c", source(first="other"))
    done = site.run("git", "commit", "-q", "-a", "--amend", "--no-edit")
    assert done.stderr.endswith("its numbers were measured on the old tree, not here\n")


def test_numbers_never_count_twice_and_notes_stay_sound(hooked: Site) -> None:
    log = hooked.project.hmopt("log").stdout
    before = hooked.project.git("rev-parse", NOTES_METRICS)
    hooked.run("git", "commit", "-q", "--amend", "-m", "a change", "--date=2026-01-01T00:00:00Z")
    assert hooked.project.git("rev-parse", NOTES_METRICS) == before
    after = hooked.project.hmopt("log")
    assert (after.returncode, after.stderr) == (0, "")
    assert len(after.stdout.splitlines()) == len(log.splitlines())
    checked = hooked.project.hmopt("fsck").stdout
    assert "4 lines of notes" in checked and "\nnote:" not in f"\n{checked}", checked


def test_lines_that_anybody_wrote_are_passed_over(hooked: Site) -> None:
    old = Oid(head(hooked))
    hooked.project.git("notes", "--ref=hmopt/verdicts", "append", "-m", f"no JSON\n[1]\n{'[' * 9999}", old)
    odd: tuple[dict[str, object], ...] = ({"carried": 7, "run": RUN, "v": 1}, {"carried": {"v": 9}, "run": RUN, "v": 1})
    Notes(Repository.open(hooked.project.root), NOTES_VERDICTS).append([NoteDraft(old, "2026", one) for one in odd])
    done = hooked.run("git", "commit", "-q", "--amend", "-m", "other words")
    assert done.returncode == 0 and len(done.stderr.splitlines()) == 1
    assert len(carried(hooked, head(hooked))) == 1


def test_it_can_be_switched_off(hooked: Site) -> None:
    hooked.project.git("config", "hmopt.hooks.postRewrite", "no")
    assert hooked.run("git", "commit", "-q", "--amend", "-m", "x").stderr == ""


def test_an_answer_of_what_was_there_before_is_git_s(hooked: Site) -> None:
    written(hooked.project.root / ".git/hooks/post-rewrite.hmopt-kept", "#!/bin/sh\ncat >&2\nexit 3\n")
    old = head(hooked)
    done = hooked.run("git", "commit", "-q", "--amend", "-m", "x")
    lines = done.stderr.splitlines()
    assert lines[0] == f"{old} {head(hooked)}" and "its evidence holds" in lines[1]


def test_in_a_linked_worktree(hooked: Site) -> None:
    others_work(hooked)
    old = head(hooked)
    linked = hooked.server.parent / "linked"
    done = hooked.run("git", "cherry-pick", old, cwd=linked)
    assert done.returncode == 0
    hooked.recorder(OTHER_RUN).judged(1, hooked.project.git("rev-parse", "upstream"), hooked.base, ("90", "100"))
    done = hooked.run("git", "commit", "-q", "--amend", "-m", "x", cwd=linked)
    assert "the same tree, its evidence holds" in done.stderr


@pytest.mark.parametrize(
    "data", [b"", b"\n", b"x y\n", b"%s\n" % (b"1" * 40), b"%s %s\n" % (b"1" * 39, b"2" * 40), b"\xff\x00 \xff\n"]
)
def test_other_lines_are_left_out(data: bytes) -> None:
    assert read_pairs(data) == []


def test_pairs_are_read() -> None:
    assert read_pairs(b"%s %s extra words\n" % (b"1" * 40, b"2" * 40)) == [Pair(Oid("1" * 40), Oid("2" * 40))]


def test_commits_that_are_not_here(hooked: Site) -> None:
    pairs = f"{head(hooked)} {'3' * 40}\n{'4' * 40} {head(hooked)}\n".encode()
    done = hooked.run("git", "hmopt", "hooks", "run", "post-rewrite", "rebase", stdin=pairs)
    assert (done.returncode, done.stderr) == (0, "")
