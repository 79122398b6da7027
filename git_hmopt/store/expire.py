# SPDX-License-Identifier: Apache-2.0
"""Expire runs: archive each, record that they are cut off, and remove them, all in one step.

The record (`cutoff`, see `care`) is what counts: a clone that still has the runs, and pushes them, brings nothing back.
What an archive holds: the run's refs, from the commits that the user's own branches and tags lead to (a branch that
stands at such a commit needs no archive). Lines of notes stay in the notes refs' history, and in the journals.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from git_hmopt.errors import RepositoryError, StoreError
from git_hmopt.records.run import CutoffRecord
from git_hmopt.records.words import (
    ARTIFACTS,
    BRANCHES,
    CARE_RUN,
    JOURNALS,
    NOTES_METRICS,
    NOTES_VERDICTS,
    Oid,
    RefName,
    RunId,
    RunStatus,
)
from git_hmopt.store.cache import Cache
from git_hmopt.store.care import CUTOFF, Cutoff, covered, cutoffs, line_dropper, run_of
from git_hmopt.store.journal import Journal, OpDraft
from git_hmopt.store.notes import without_lines
from git_hmopt.store.objects import TOOL, ObjectBatch, format_commit
from git_hmopt.store.remote import BATCH, Namespace, Remote
from git_hmopt.store.repository import MovedRefsError, RefUpdate, Repository
from git_hmopt.store.retry import WRITERS_QUEUE, retried
from git_hmopt.store.transport import push
from git_hmopt.store.union import checked_out

_FORMAT = "%Y-%m-%dT%H:%M:%SZ"
_CLOSED = frozenset(status.value for status in RunStatus if status.closed)


@dataclass(frozen=True)
class Expiring:
    """A run that goes, and all that goes with it."""

    run: RunId
    created: str
    status: str
    accepted: int
    refs: Mapping[RefName, Oid]


@dataclass
class Expiry:
    """What goes, and what stays, and why."""

    runs: list[Expiring] = field(default_factory=list)
    stays: dict[RunId, str] = field(default_factory=dict)
    there: list[tuple[Namespace, RefName, Oid]] = field(default_factory=list)
    """Refs that go from the remote."""
    archives: list[Path] = field(default_factory=list)
    lines: int = 0
    """Notes that lost lines."""

    def __bool__(self) -> bool:
        return bool(self.runs or self.there)


def require_whole(repository: Repository) -> None:
    """Raise RepositoryError in a shallow clone: it has not all of what it would archive."""
    if repository.is_shallow:
        raise RepositoryError("a shallow clone cannot archive what it expires", next_step="run: git fetch --unshallow")


def planned(
    repository: Repository, *, runs: Sequence[RunId] = (), before: str | None = None, accepted: bool = False
) -> Expiry:
    """Return which runs would go: those named, the ones created before a time, or else what others expired already.

    Only closed ones go, and those with accepted patches only with `accepted`, or when others expired them.
    """
    require_whole(repository)
    expiry, in_use = Expiry(), {run_of(ref) for ref in checked_out(repository)}
    heads = repository.list_refs(JOURNALS, BRANCHES, ARTIFACTS)
    refs: dict[RunId, dict[RefName, Oid]] = {}
    for ref, oid in heads.items():
        refs.setdefault(run_of(ref) or RunId(""), {})[ref] = oid
    known = _known(repository)
    over = over_already(repository, heads)
    parents = {one.parent: run for run, one in known.items() if one.parent and one.status not in _CLOSED}
    for run, one in known.items():
        chosen = run in runs if runs else run in over if before is None else one.created < before
        if not chosen:
            continue
        if one.status not in _CLOSED:
            expiry.stays[run] = f"it is {one.status}, not closed"
        elif one.accepted and not accepted and run not in over:
            expiry.stays[run] = f"it has accepted patches ({one.accepted}); --accepted takes it along"
        elif run in in_use:
            expiry.stays[run] = "a branch of it is checked out"
        elif run in parents:
            expiry.stays[run] = f"run {parents[run]} goes on from it and is not closed"
        else:
            expiry.runs.append(Expiring(run, one.created, one.status, one.accepted, refs.get(run, {})))
    return expiry


def over_already(repository: Repository, heads: Mapping[RefName, Oid]) -> set[RunId]:
    """Return the runs among `heads` that are cut off and were not written to since."""
    journals = {(ref, oid) for ref, oid in heads.items() if ref.startswith(JOURNALS)}
    gone = covered(repository, journals, cutoffs(repository))
    grown = {run_of(ref) for ref, _ in journals - gone}
    return {run for ref, _ in gone if (run := run_of(ref)) and run not in grown}


def on_remote(repository: Repository, remote: Remote, expiry: Expiry) -> None:
    """Add to `expiry` the refs that would go from a remote, as it stood when it was last fetched from."""
    cut = cutoffs(repository) | {one.run: Cutoff(one.run, _last(repository, expiry.runs), "") for one in expiry.runs}
    seen = list(remote.seen())
    gone = covered(repository, [(ref, oid) for _, ref, oid in seen], cut)
    expiry.there = [(namespace, ref, oid) for namespace, ref, oid in seen if (ref, oid) in gone]


def expire(repository: Repository, expiry: Expiry, reason: str) -> None:
    """Archive the runs, record the cutoffs and remove the runs; MovedRefsError when a run was written to meanwhile."""
    if not expiry.runs:
        return
    try:
        for one in expiry.runs:
            expiry.archives.append(archive(repository, one))
        retried(
            lambda: _recorded(repository, expiry, reason),
            transient=(_NotesMovedError,),
            queue=repository.home / WRITERS_QUEUE,
        )
    except StoreError:
        # An archive of what is still here would only be in the way of the next one.
        for path in expiry.archives:
            path.unlink(missing_ok=True)
        raise


class _NotesMovedError(MovedRefsError):
    """Somebody wrote a note meanwhile, or recorded a cutoff: build it again."""


def _recorded(repository: Repository, expiry: Expiry, reason: str) -> None:
    before = _last(repository, expiry.runs)
    known = cutoffs(repository)
    why = {one.run: known[one.run].reason if one.run in known else reason for one in expiry.runs}
    cut = {run: Cutoff(run, before, text) for run, text in why.items()}
    gone = [RefUpdate(ref, None, oid) for one in expiry.runs for ref, oid in one.refs.items()]
    noted = list(_notes_without(repository, cut))
    records = [CutoffRecord(of_run=run, before=before, reason=why[run]).model_dump(mode="json") for run in cut]
    journal = Journal(repository)
    # Each is an operation of its own, so it is counted up.
    mine = [one for one in journal.read(CARE_RUN).operations if (one.writer, one.op) == (journal.writer, CUTOFF)]
    draft = OpDraft(CUTOFF, "expire", attempt=len(mine), data={CUTOFF: records})
    try:
        recorded = journal.append(CARE_RUN, [draft], refs=[*gone, *noted])
    except MovedRefsError as error:
        if set(error.refs) & {update.ref for update in gone}:
            raise
        raise _NotesMovedError(error.what, error.refs, next_step=error.next_step) from error
    if not recorded:
        raise _NotesMovedError("another process of this clone recorded a cutoff", (), next_step="run it again")
    expiry.lines = len(noted)


def _notes_without(repository: Repository, cut: Mapping[RunId, Cutoff]) -> Iterator[RefUpdate]:
    """Yield the moves that take the runs' lines out of the notes, forward like any other."""
    for ref, head in repository.list_refs(NOTES_METRICS, NOTES_VERDICTS).items():
        batch, tree = ObjectBatch(repository.objects), repository.tree_of(head)
        new = without_lines(batch, repository, tree, line_dropper(cut))
        if new == tree:
            continue
        message = f"Lines of {len(cut)} expired runs removed by 'git hmopt'"
        commit = batch.add("commit", format_commit(new, [head], message, TOOL, int(time.time())))
        batch.flush()
        yield RefUpdate(ref, commit, head)


def _last(repository: Repository, runs: Sequence[Expiring]) -> str:
    """Return a time that nothing of the runs is after: now, or later when somebody's clock is ahead."""
    heads = sorted({oid for one in runs for ref, oid in one.refs.items() if ref.startswith(JOURNALS)})
    asked = "".join(f"{oid}\n" for oid in heads).encode()
    said = repository.git.run("log", "--no-walk=unsorted", "--stdin", "--format=%ct", stdin=asked).text if heads else ""
    latest = max([int(time.time()), *map(int, said.split())])
    return datetime.fromtimestamp(latest, UTC).strftime(_FORMAT)


# -- the archive --------------------------------------------------------------------------------------------------


def archive(repository: Repository, one: Expiring) -> Path:
    """Write a run's refs as `<home>/archive/<run>.bundle`, which `git fetch` reads, verify it, and return its path."""
    folder = repository.home / "archive"
    target = folder / f"{one.run}.bundle"
    fresh = folder / f".{one.run}.bundle.new"
    wanted = [*one.refs, *(f"^{oid}" for oid in _beginnings(repository, one))]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        stdin = "".join(f"{word}\n" for word in wanted).encode()
        repository.git.run("bundle", "create", "--quiet", str(fresh), "--stdin", stdin=stdin, wall_s=3600)
        repository.git.run("bundle", "verify", str(fresh), wall_s=3600)
        # Of a run that was expired, fetched and expired again the earlier archive is kept.
        number = 1
        while target.exists():
            number += 1
            target = folder / f"{one.run}.{number}.bundle"
        fresh.rename(target)
    except OSError as error:
        raise StoreError(f"'{folder}' cannot be written: {error.strerror}", next_step="free space there") from error
    finally:
        with contextlib.suppress(OSError):
            fresh.unlink(missing_ok=True)
    return target


def _beginnings(repository: Repository, one: Expiring) -> Sequence[Oid]:
    """Return the commits that an archive need not hold: the run's base where the user's own refs lead to it.

    Without them it would hold the whole history of a kernel.
    """
    own = [f"--exclude={BRANCHES.removeprefix('refs/heads/')}*", "--branches", "--tags", "--remotes"]
    with Cache(repository).reading() as database:
        base = database.execute("SELECT base_commit FROM runs WHERE name = ?", (one.run,)).get
    if base and not repository.git.run("rev-list", "--max-count=1", base, "--not", *own, "HEAD", ok=(0, 128)).output:
        return [Oid(base)]
    users = repository.list_refs("refs/heads", "refs/tags", "refs/remotes")
    return [oid for ref, oid in users.items() if not ref.startswith(BRANCHES)]


# -- the remote ---------------------------------------------------------------------------------------------------


def delete_there(repository: Repository, remote: Remote, expiry: Expiry) -> None:
    """Send the cutoffs, then delete what they cover on the remote; StoreError names what it refuses.

    A ref that moved there meanwhile stays: it has become something else than what was listed.
    """
    push(repository, remote, ())
    on_remote(repository, remote, expiry)
    for namespace in Namespace:
        refs = {ref: oid for where, ref, oid in expiry.there if where is namespace}
        for start in range(0, len(refs), BATCH):
            _deleted(remote, dict(list(refs.items())[start : start + BATCH]), namespace)
    remote.fetch()


def _deleted(remote: Remote, refs: Mapping[RefName, Oid], namespace: Namespace) -> None:
    done = remote.delete(refs, namespace=namespace)
    if done is None:
        done = remote.delete(refs, namespace=namespace, atomic=False)
    assert done is not None
    for ref, why in done.refused.items():
        raise StoreError(
            f"'{remote.name}' does not delete {ref}: {why}",
            next_step="the runs are expired all the same; try again: git hmopt expire --remote",
        )


@dataclass(frozen=True)
class _Known:
    created: str
    status: str
    parent: str | None
    accepted: int


def _known(repository: Repository) -> dict[RunId, _Known]:
    with Cache(repository).reading() as database:
        return {
            RunId(name): _Known(created, status, parent, accepted)
            for name, created, status, parent, accepted in database.execute(
                "SELECT name, created, status, parent, (SELECT count(DISTINCT iteration) FROM evaluations AS e"
                " WHERE e.run = runs.name AND accepted) FROM runs ORDER BY created, name"
            )
        }
