# SPDX-License-Identifier: Apache-2.0
"""Remove what no run needs any more: branches of candidates turned down, files that nothing names, old caches.

No commit is lost by it: a branch goes only while a journal keeps its commit. When journals cannot be read whole, nobody
knows what they name, and no artifact goes.
"""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from git_hmopt.records.words import ARTIFACTS, BRANCHES, JOURNALS, NOTES, RefName, RunId, RunStatus
from git_hmopt.store.artifacts import ArtifactStore
from git_hmopt.store.cache import Cache
from git_hmopt.store.care import run_of
from git_hmopt.store.expire import over_already
from git_hmopt.store.faults import Findings
from git_hmopt.store.fsck_journals import Journals, check_journals
from git_hmopt.store.repository import RefUpdate, Repository
from git_hmopt.store.union import checked_out

DAY_S = 86_400
UNUSED_S = 30 * DAY_S
"""For so long what a run may use again is kept after its last use."""
LOOSE_REFS = 100
"""From so many files on, refs are packed."""
_CANDIDATE = re.compile(rf"{re.escape(BRANCHES)}[^/]+/iter-(?P<iteration>\d+)")


@dataclass(frozen=True)
class Going:
    """A file or directory that goes, and why."""

    what: str
    path: Path
    bytes: int
    why: str


@dataclass
class Sweep:
    """What goes, and what stays although it looks like it should go."""

    branches: list[RefUpdate] = field(default_factory=list)
    files: list[Going] = field(default_factory=list)
    loose: int = 0
    """Refs to pack; 0 for none."""
    stays: list[str] = field(default_factory=list)

    @property
    def bytes(self) -> int:
        """Return how many bytes go."""
        return sum(one.bytes for one in self.files)

    def __bool__(self) -> bool:
        return bool(self.branches or self.files or self.loose)


def planned(repository: Repository, *, busy: str | None = None, now: float | None = None) -> Sweep:
    """Return what goes, and touch nothing; while `busy` (who is at work here) files that a run may need stay."""
    at = time.time() if now is None else now
    sweep = Sweep()
    journals = check_journals(repository, Findings())
    closed, accepted = _known(repository)
    _branches(repository, sweep, journals, closed, accepted)
    store = ArtifactStore.of(repository).root
    for path in _below(store / "incoming"):
        if at - path.lstat().st_mtime > DAY_S:
            sweep.files.append(Going("incoming", path, _size(path), "left over from a write that did not end"))
    if busy:
        sweep.stays.append(f"artifacts, layouts, floors, structure graphs and scratch files: {busy} is at work here")
    else:
        _artifacts(repository, sweep, journals, at)
        _caches(repository, sweep, journals, closed, at)
    over = over_already(repository, repository.list_refs(JOURNALS))
    if over:
        sweep.stays.append(f"{len(over)} runs that others expired: git hmopt expire --yes archives and removes them")
    loose = sum(1 for prefix in (BRANCHES, JOURNALS, ARTIFACTS, NOTES) for _ in _files(repository.common_dir / prefix))
    sweep.loose = loose if loose > LOOSE_REFS else 0
    return sweep


def swept(repository: Repository, sweep: Sweep) -> None:
    """Do it: MovedRefsError when a branch moved meanwhile, and nothing is removed."""
    repository.update_refs(sweep.branches, reason="git hmopt: gc")
    for one in sweep.files:
        if one.path.is_dir() and not one.path.is_symlink():
            shutil.rmtree(one.path, ignore_errors=True)
        else:
            one.path.unlink(missing_ok=True)
    if sweep.loose:
        # All refs, as `git gc` packs them: git before 2.43 cannot pack only some.
        repository.git.run("pack-refs", "--all")


def _known(repository: Repository) -> tuple[set[RunId], set[tuple[RunId, int]]]:
    """Return the runs that are closed, and the candidates that were accepted."""
    with Cache(repository).reading() as database:
        statuses = {RunId(name): status for name, status in database.execute("SELECT name, status FROM runs")}
        accepted = {
            (RunId(run), int(number))
            for run, number in database.execute("SELECT run, iteration FROM evaluations WHERE accepted")
        }
    ends = {status.value for status in RunStatus if status.closed}
    return {run for run, status in statuses.items() if status in ends}, accepted


def _branches(
    repository: Repository, sweep: Sweep, journals: Journals, closed: set[RunId], accepted: set[tuple[RunId, int]]
) -> None:
    in_use = checked_out(repository)
    for ref, oid in repository.list_refs(BRANCHES).items():
        found, run = _CANDIDATE.fullmatch(ref), run_of(ref)
        if found is None or run not in closed or (run, int(found["iteration"])) in accepted:
            continue
        if oid not in journals.kept[run]:
            sweep.stays.append(f"{ref}: no journal keeps its commit")
        elif ref in in_use:
            sweep.stays.append(f"{ref}: it is checked out")
        else:
            sweep.branches.append(RefUpdate(ref, None, oid))


def _artifacts(repository: Repository, sweep: Sweep, journals: Journals, at: float) -> None:
    if journals.not_whole:
        sweep.stays.append("artifacts: some journals cannot be read whole (see: git hmopt fsck)")
        return
    named = {name for names in journals.named.values() for name in names}
    for head in repository.list_refs(ARTIFACTS).values():
        named.update(path[:64] for _, _, path in repository.list_tree(head))
    for path in ArtifactStore.of(repository).root.glob("[0-9a-f][0-9a-f]/*"):
        # A younger one may be of a step that is about to be recorded.
        if path.name[:64] not in named and at - path.lstat().st_mtime > DAY_S:
            sweep.files.append(Going("artifact", path, _size(path), "no journal names it"))


def _caches(repository: Repository, sweep: Sweep, journals: Journals, closed: set[RunId], at: float) -> None:
    """Find what saves a later run time and was not used for long: by its times, and by what recent runs name."""
    recent = _recent(repository, journals, closed, at)
    images = {name[:16] for run in recent for name in journals.named[run]}
    for what in ("layouts", "floors", "scratch", "structure"):
        for path in _below(repository.home / what):
            if path.name not in images and at - _used(path) > UNUSED_S:
                sweep.files.append(Going(what, path, _size(path), "no run of the last 30 days used it"))


def _recent(repository: Repository, journals: Journals, closed: set[RunId], at: float) -> set[RunId]:
    """Return the runs that are open, or were written to in the last 30 days."""
    asked = "--format=%(committerdate:unix) %(refname)"
    listed = repository.git.run("for-each-ref", asked, JOURNALS.rstrip("/")).text.splitlines()
    heads = [(float(seconds or 0), run_of(RefName(ref))) for seconds, _, ref in (one.partition(" ") for one in listed)]
    written = {run for seconds, run in heads if run and at - seconds <= UNUSED_S}
    return written | (journals.kept.keys() - closed)


def _below(folder: Path) -> Sequence[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else ()


def _files(path: Path) -> Iterator[Path]:
    """Yield a path and all below it that is no directory, links not followed."""
    if path.is_dir() and not path.is_symlink():
        for inner in path.iterdir():
            yield from _files(inner)
    elif path.is_symlink() or path.exists():
        yield path


def _size(path: Path) -> int:
    return sum(one.lstat().st_size for one in _files(path))


def _used(path: Path) -> float:
    """Return when anything in a directory, or a file, was written last."""
    return max(one.lstat().st_mtime for one in (path, *_files(path)))
