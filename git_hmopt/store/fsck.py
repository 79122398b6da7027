# SPDX-License-Identifier: Apache-2.0
"""Find, name and count what is wrong with what is stored here; repair what is derived and nothing else.

Journals are never touched: what is wrong in one is told, readers pass over it, and a sound copy comes by a fetch.
Objects that nothing of ours names are not looked at; that is `git fsck`.
"""

from __future__ import annotations

import hashlib
import re
import stat
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from git_hmopt.records.words import ARTIFACTS, BRANCHES, Oid, is_run_id
from git_hmopt.store.artifacts import ArtifactStore
from git_hmopt.store.cache import Cache
from git_hmopt.store.care import run_of
from git_hmopt.store.faults import Findings, Reader, What
from git_hmopt.store.fsck_journals import Journals, check_journals, commit_in
from git_hmopt.store.fsck_notes import check_notes
from git_hmopt.store.repository import Repository

WRITING_S = 3600
"""For so long a file among the incoming is one that somebody may still be writing."""
_NAME = re.compile(r"(?P<sha256>[0-9a-f]{64})(\.[a-z0-9]{1,8})?")
_PARCEL_NAME = re.compile(r"(?P<sha256>[0-9a-f]{64})")
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Repaired:
    """What a repair did, and what is wrong after it."""

    done: tuple[str, ...]
    left: Findings


def check(repository: Repository) -> Findings:
    """Look at all that is stored here, and return what was found; nothing is written."""
    findings = Findings()
    journals = check_journals(repository, findings)
    _check_branches(repository, findings, journals)
    _check_parcels(repository, findings, journals)
    check_notes(repository, findings)
    _check_artifacts(repository, findings, journals)
    _check_cache(repository, findings, journals)
    _check_writer(repository, findings)
    return findings


def repair(repository: Repository, findings: Findings) -> Repaired:
    """Repair what is derived among the faults, and look again."""
    acts = dict.fromkeys(fault.repair for fault in findings.faults if fault.repair)
    return Repaired(tuple(act() for act in acts), check(repository))


# -- refs ---------------------------------------------------------------------------------------------------------


def _check_branches(repository: Repository, findings: Findings, journals: Journals) -> None:
    for ref, oid in repository.list_refs(BRANCHES).items():
        run = run_of(ref)
        if run is None or not is_run_id(run):
            continue  # a branch of the user's own
        findings.looked_at["branches"] += 1
        short = ref.removeprefix("refs/heads/")
        if run not in journals.kept:
            step = f"fetch it (git hmopt fetch), or delete the branch: git branch -D {short}"
            findings.fault(What.BRANCH, ref, "dangling: its run has no journal here", step)
        elif oid not in journals.kept[run] and run not in journals.not_whole:
            step = f"keep it under a name of your own: git branch -m {short} NAME"
            findings.fault(What.BRANCH, ref, f"dangling: no journal of its run keeps {oid[:12]}", step)


def _check_parcels(repository: Repository, findings: Findings, journals: Journals) -> None:
    reader = Reader(repository)
    for ref, head in repository.list_refs(ARTIFACTS).items():
        findings.looked_at["parcels of artifacts"] += 1
        if run_of(ref) not in journals.kept:
            step = f"fetch it (git hmopt fetch), or delete the ref: git update-ref -d {ref}"
            findings.fault(What.ARTIFACT, ref, "dangling: its run has no journal here", step)
        for name, wrong in _wrong_in_parcel(reader, head):
            findings.fault(What.ARTIFACT, f"{ref} {name}".rstrip(), wrong, "it is never taken for the artifact")


def _wrong_in_parcel(reader: Reader, head: Oid) -> Iterator[tuple[str, str]]:
    ((oid, found),) = reader.find([head])
    commit = commit_in(oid, found)
    entries = commit if isinstance(commit, str) else reader.tree(commit.tree)
    if isinstance(entries, str):
        yield "", entries
        return
    for entry in entries:
        name = _PARCEL_NAME.fullmatch(entry.name)
        if name is None:
            continue  # a copy that redaction changed
        ((_, blob),) = reader.find([entry.oid])
        if isinstance(blob, str):
            yield entry.name, blob
        elif hashlib.sha256(blob.data).hexdigest() != name["sha256"]:
            yield entry.name, "its bytes are not what its name says"


# -- files --------------------------------------------------------------------------------------------------------


def _check_artifacts(repository: Repository, findings: Findings, journals: Journals) -> None:
    root = ArtifactStore.of(repository).root
    here = set()
    for path in sorted(root.glob("*/*")) if root.is_dir() else ():
        if path.parent.name == "incoming":
            _check_incoming(path, findings)
            continue
        findings.looked_at["artifacts"] += 1
        name = _NAME.fullmatch(path.name)
        wrong = _wrong_with(path) if name else "is no artifact's name"
        if wrong is None:
            here.add(path.name[:64])
            continue
        aside = partial(_moved_aside, path, repository.home / "damaged")
        step = "move it aside, so that it shows as missing: git hmopt fsck --repair"
        findings.fault(What.ARTIFACT, str(path), wrong, step, aside)
    away = len(journals.artifacts - here)
    if away:
        findings.states["artifacts that are not here (expired, or made on another machine)"] += away


def _check_incoming(path: Path, findings: Findings) -> None:
    if time.time() - path.lstat().st_mtime < WRITING_S:
        findings.states["artifacts that are just being written"] += 1
        return
    step = "remove it: git hmopt fsck --repair"
    findings.fault(What.INCOMING, str(path), "left over from a write that did not end", step, partial(_removed, path))


def _wrong_with(path: Path) -> str | None:
    if not stat.S_ISREG(path.lstat().st_mode):
        return "is no file"
    if path.parent.name != path.name[:2]:
        return "lies in the wrong directory"
    digest = hashlib.sha256()
    try:
        with path.open("rb") as stream:
            while chunk := stream.read(_CHUNK):
                digest.update(chunk)
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    return None if digest.hexdigest() == path.name[:64] else "is damaged: its bytes are not what its name says"


def _moved_aside(path: Path, folder: Path) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    # What was moved here under the same name before is kept, too.
    target = folder / path.name
    number = 1
    while target.exists() or target.is_symlink():
        number += 1
        target = folder / f"{path.name}.{number}"
    path.rename(target)
    return f"moved {path} aside: {target}"


def _removed(path: Path) -> str:
    path.unlink(missing_ok=True)
    return f"removed {path}"


def _check_cache(repository: Repository, findings: Findings, journals: Journals) -> None:
    cache = Cache(repository)
    if journals.not_whole:
        # A rebuild would know less than the cache does.
        findings.states["database not compared with git: journals cannot be read whole"] += 1
    wrong = cache.check(compare=not journals.not_whole)
    if wrong is not None:
        step = "rebuild it: git hmopt fsck --repair"
        findings.fault(What.CACHE, str(cache.path), wrong, step, partial(_rebuilt, cache))


def _rebuilt(cache: Cache) -> str:
    cache.rebuild()
    return f"rebuilt {cache.path}"


def _check_writer(repository: Repository, findings: Findings) -> None:
    path = repository.home / "writer"
    try:
        text = path.read_text(encoding="ascii", errors="replace").strip()
        uuid.UUID(text)
    except FileNotFoundError:
        return  # nothing was ever recorded here
    except ValueError:
        findings.fault(What.WRITER, str(path), "holds no UUID", "delete it: this clone gets a new name to write under")
    except OSError as error:
        findings.fault(What.WRITER, str(path), f"cannot be read: {error.strerror}", "check its permissions")
