# SPDX-License-Identifier: Apache-2.0
"""Which commits a check is about, found in clones that have one commit; by real git over its own transport."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from git_hmopt.errors import RepositoryError, UsageError
from git_hmopt.records.words import Oid
from git_hmopt.store.repository import Repository
from hmopt_bot.action.commits import Commits, Finder
from hmopt_bot.action.job import PullRequest
from tests.bot.action.pulled import Forge, Pull, clone, make_forge, pull_of

_FILES = {"a": "one\n", ".hmopt.yaml": "version: 1\n"}


@pytest.fixture(scope="module")
def forge(tmp_path_factory: pytest.TempPathFactory) -> Forge:
    """Return a forge whose base branch has a hundred commits."""
    forge = make_forge(tmp_path_factory.mktemp("forge"), _FILES)
    project = forge.project
    for number in range(100):
        project.git("commit", "-q", "--allow-empty", "-m", f"{number}")
    project.git("push", "-q", str(forge.bare), "main")
    return Forge(project, forge.bare, project.git("rev-parse", "HEAD"))


def asked(pull: Pull, base: str | None = None) -> PullRequest:
    """Return what the event says of a pull request."""
    return PullRequest(Oid(base or pull.base), Oid(pull.head), from_fork=False)


def finder(pull: Pull) -> Finder:
    """Return the finder of its clone."""
    return Finder(Repository.open(pull.clone.root), "origin")


def here(pull: Pull) -> int:
    """Return how many commits the clone has."""
    return pull.clone.git("cat-file", "--batch-check", "--batch-all-objects").count(" commit ")


def test_case_1_a_commit_that_is_named_is_the_one(forge: Forge, tmp_path: Path) -> None:
    pull = pull_of(forge, {"b": "new\n"}, tmp_path / "pull")
    forge.project.git("push", "-q", "-f", str(forge.bare), f"{forge.base}~3:refs/heads/old")
    old = forge.project.git("rev-parse", f"{forge.base}~3")
    assert finder(pull).commits("old", asked(pull)) == Commits(Oid(old), Oid(pull.base))
    # No pull request, no other base to take the configuration from.
    assert finder(pull).commits(old, None) == Commits(Oid(old), Oid(old))
    with pytest.raises(UsageError, match="there is no pull request whose base HEAD could be held against; name"):
        finder(pull).commits("", None)


def test_case_2_the_forges_merge_is_held_against_its_first_parent(forge: Forge, tmp_path: Path) -> None:
    pull = pull_of(forge, {"b": "new\n"}, tmp_path / "pull")
    assert here(pull) == 1
    # The event's base is older: the base branch moved since the last push to the pull request.
    old = forge.project.git("rev-parse", f"{forge.base}~5")
    assert finder(pull).commits("", asked(pull, old)) == Commits(Oid(pull.base), Oid(old))
    assert here(pull) == 3


def test_case_3_a_head_is_held_against_where_it_left(forge: Forge, tmp_path: Path) -> None:
    project = forge.project
    project.git("checkout", "-q", "--detach", f"{forge.base}~80")
    project.write("b", "new\n")
    head = project.commit("a change")
    project.git("push", "-q", "-f", str(forge.bare), f"{head}:refs/pull/1/head")
    pull = Pull(forge, forge.base, head, head, clone(forge, head, tmp_path / "pull"), tmp_path / "pull/temp")
    left = project.git("rev-parse", f"{forge.base}~80")
    assert here(pull) == 1
    assert finder(pull).commits("", asked(pull)) == Commits(Oid(left), Oid(forge.base))


def test_a_merge_that_a_stranger_made_is_no_forges(forge: Forge, tmp_path: Path) -> None:
    """Its first parent would be the stranger's choice."""
    project = forge.project
    project.git("checkout", "-q", "--detach", f"{forge.base}~2")
    project.write("b", "slow\n")
    slow = project.commit("what makes it slow")
    tree = project.git("rev-parse", f"{slow}^{{tree}}")
    head = project.git("commit-tree", "-p", slow, "-p", forge.base, "-m", "merge", tree)
    project.git("push", "-q", "-f", str(forge.bare), f"{head}:refs/pull/1/head")
    pull = Pull(forge, forge.base, head, head, clone(forge, head, tmp_path / "pull"), tmp_path / "pull/temp")
    assert finder(pull).commits("", asked(pull)).base == forge.base


def test_a_whole_clone_stays_whole(forge: Forge, tmp_path: Path) -> None:
    pull = pull_of(forge, {"b": "new\n"}, tmp_path / "pull")
    pull.clone.git("fetch", "-q", "--unshallow", "origin", "main")
    later = pull_of(forge, {"b": "newer\n"}, tmp_path / "later")
    found = Finder(Repository.open(pull.clone.root), "origin")
    assert found.have(Oid(later.merge)) == later.merge
    assert pull.clone.git("rev-parse", "--is-shallow-repository") == "false"


def test_histories_without_a_common_commit(forge: Forge, tmp_path: Path) -> None:
    project = forge.project
    head = project.git("commit-tree", "-m", "alone", f"{forge.base}^{{tree}}")
    project.git("push", "-q", "-f", str(forge.bare), f"{head}:refs/pull/1/head")
    pull = Pull(forge, forge.base, head, head, clone(forge, head, tmp_path / "pull"), tmp_path / "pull/temp")
    with pytest.raises(RepositoryError) as caught:
        finder(pull).commits("", asked(pull))
    assert re.fullmatch(
        r"HEAD \w{12} and base \w{12} have no commit in common( in the last 16384)?; "
        "check out with 'fetch-depth: 0', or name a commit by the input 'base'",
        str(caught.value),
    )
