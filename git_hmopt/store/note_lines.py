# SPDX-License-Identifier: Apache-2.0
"""Read the notes that many writers made: a set of lines on each commit. Imports no pydantic."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from git_hmopt.records.words import Oid, RefName
from git_hmopt.store.care import cutoffs, line_dropper
from git_hmopt.store.repository import Repository

HEX = frozenset("0123456789abcdef")


def read_lines(repository: Repository, ref: RefName, commits: Iterable[Oid] | None = None) -> dict[Oid, list[str]]:
    """Return the lines of the notes on `commits` (default: on all) as of now; those without a note are left out."""
    found = _lines(repository, ref, commits)
    return {commit: [line.decode("utf-8", "replace") for line in lines] for commit, lines in found.items()}


def standing_lines(repository: Repository, *refs: RefName) -> list[list[str]]:
    """Return all lines of each of the notes refs, in order, without those of runs that are expired."""
    drop = line_dropper(cutoffs(repository))
    return [
        sorted(
            line.decode("utf-8", "replace")
            for lines in _lines(repository, ref, None).values()
            for line in lines
            if not drop(line)
        )
        for ref in refs
    ]


def _lines(repository: Repository, ref: RefName, commits: Iterable[Oid] | None) -> dict[Oid, list[bytes]]:
    head = repository.read_ref(ref)
    return {} if head is None else lines_at(repository, head, commits)


def lines_at(repository: Repository, head: Oid, commits: Iterable[Oid] | None = None) -> dict[Oid, list[bytes]]:
    """Return the lines of the notes on `commits` (default: on all) in a commit of a notes ref."""
    blobs: dict[Oid, list[Oid]] = defaultdict(list)
    wanted = None if commits is None else set(commits)
    width = len(head)
    for _, blob, path in repository.list_tree(head):
        name = Oid(path.replace("/", ""))
        if len(name) == width and HEX.issuperset(name) and (wanted is None or name in wanted):
            blobs[name].append(blob)
    found = repository.objects.read_many([blob for list_ in blobs.values() for blob in list_])
    texts = iter(found)
    return {
        commit: merge_lines(*(next(texts).data for _ in list_)).removesuffix(b"\n").split(b"\n")
        for commit, list_ in blobs.items()
    }


def merge_lines(*notes: bytes) -> bytes:
    """Return what git's `cat_sort_uniq` makes of these notes."""
    lines = {line for note in notes for line in note.split(b"\n") if line}
    return b"".join(line + b"\n" for line in sorted(lines))
