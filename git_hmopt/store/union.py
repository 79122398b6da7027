# SPDX-License-Identifier: Apache-2.0
"""Take what a remote has into this clone: journals by their union, notes line by line, branches forward only.

Nothing here overwrites: a journal has one writer and only grows, notes are merged as git's `cat_sort_uniq` does, and
what stands apart from the remote's is left as it is and told.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from git_hmopt.records.words import ARTIFACTS, BRANCHES, CARE, JOURNALS, NOTES, Oid, RefName
from git_hmopt.store.notes import Drop, merge_notes, without_lines
from git_hmopt.store.objects import TOOL, ObjectBatch, format_commit
from git_hmopt.store.repository import RefUpdate, Repository

_GROWING = (JOURNALS, CARE, ARTIFACTS)


@dataclass
class Taken:
    """What taking a remote's refs did; `apart` says of each ref that was left as it is why."""

    new: list[RefName] = field(default_factory=list)
    grown: list[RefName] = field(default_factory=list)
    apart: dict[RefName, str] = field(default_factory=dict)


def take(
    repository: Repository, theirs: Iterable[tuple[RefName, Oid]], *, drop: Drop | None = None
) -> tuple[Taken, list[RefUpdate]]:
    """Return what is to be moved here so that nothing of `theirs` is missing, and what that means.

    `drop` says of a line of a note that it is not taken, nor kept. The objects of merged notes are written; nothing is
    visible before the moves are made.
    """
    wanted = [(ref, oid) for ref, oid in dict.fromkeys(theirs)]
    ours = repository.list_refs(*{ref for ref, _ in wanted}) if len(wanted) < 100 else _all(repository)
    taken = Taken()
    moves: dict[RefName, RefUpdate] = {}
    in_use = checked_out(repository)
    differing: list[tuple[RefName, Oid, Oid]] = []
    for ref, oid in wanted:
        here = ours.get(ref)
        if here == oid:
            continue
        if here is None and ref not in moves:
            moves[ref] = RefUpdate(ref, oid, None)
            taken.new.append(ref)
        else:
            differing.append((ref, moves[ref].new or oid if here is None else here, oid))
    for ref, here, there in differing:
        new = _joined(repository, ref, here, there, drop, taken, in_use)
        if new is not None and new != here:
            moves[ref] = RefUpdate(ref, new, ours.get(ref))
            if ref not in taken.new:
                taken.grown.append(ref)
    return taken, list(moves.values())


def _all(repository: Repository) -> dict[RefName, Oid]:
    return repository.list_refs(*_GROWING, NOTES, BRANCHES)


def _joined(
    repository: Repository, ref: RefName, here: Oid, there: Oid, drop: Drop | None, taken: Taken, in_use: set[RefName]
) -> Oid | None:
    """Return where a ref goes that stands at two places, or None to leave it."""
    if ref.startswith(NOTES):
        return join_notes(repository, here, there, drop)
    if descends(repository, here, there):
        return None
    if not descends(repository, there, here):
        taken.apart[ref] = _why_apart(ref)
        return None
    if ref in in_use:
        taken.apart[ref] = "it is checked out here: git merge --ff-only brings it forward"
        return None
    return there


def _why_apart(ref: RefName) -> str:
    if ref.startswith(BRANCHES):
        return "the branch was changed here and there"
    return "two clones wrote it as the same writer (was the repository copied with its .git/hmopt?)"


def descends(repository: Repository, later: Oid, earlier: Oid) -> bool:
    """Say whether a commit is, or comes after, another."""
    answer = repository.git.run("merge-base", "--is-ancestor", earlier, later, ok=(0, 1, 128))
    return answer.returncode == 0


def join_notes(repository: Repository, here: Oid, there: Oid, drop: Drop | None = None) -> Oid:
    """Return a notes commit that has the lines of both, after both; one of the two where it has them already.

    Lines that `drop` names are in neither.
    """
    tree_here, tree_there = (repository.tree_of(oid) for oid in (here, there))
    batch = ObjectBatch(repository.objects)
    # Ours lose those lines, too: else this clone would send back for ever what others forgot.
    ours = without_lines(batch, repository, tree_here, drop) if drop and tree_here != tree_there else tree_here
    batch.flush()
    merged = merge_notes(batch, repository, ours, tree_there, drop)
    if merged == tree_there and descends(repository, there, here):
        return there
    if merged == tree_here and descends(repository, here, there):
        return here
    # Parents and time follow from the two alone: clones that merge the same two make the same commit.
    parents = sorted((here, there))
    times = repository.git.run("show", "-s", "--format=%ct", *parents).text.split()
    message = "Notes merged by 'git hmopt'"
    commit = batch.add("commit", format_commit(merged, parents, message, TOOL, max(map(int, times))))
    batch.flush()
    return commit


def checked_out(repository: Repository) -> set[RefName]:
    """Return the branches that a worktree has checked out: moving one under a person's feet makes their tree dirty."""
    listed = repository.git.run("worktree", "list", "--porcelain", "-z", ok=(0, 128, 129)).output
    lines = listed.decode("utf-8", "surrogateescape").split("\0")
    return {RefName(line.removeprefix("branch ")) for line in lines if line.startswith("branch ")}
