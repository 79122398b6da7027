# SPDX-License-Identifier: Apache-2.0
"""Check the notes: every line by itself, since `cat_sort_uniq` knows lines and nothing else."""

from __future__ import annotations

import json
import re
import time
from collections import Counter, defaultdict
from functools import partial

from git_hmopt.errors import HmoptError
from git_hmopt.records.words import NOTES_METRICS, NOTES_VERDICTS, Oid, RefName
from git_hmopt.store.faults import Findings, Reader, What
from git_hmopt.store.fsck_journals import commit_in
from git_hmopt.store.note_lines import merge_lines
from git_hmopt.store.notes import is_note_name, note_line, rewritten
from git_hmopt.store.objects import TOOL, TREE, GitObject, ObjectBatch, format_commit
from git_hmopt.store.repository import MovedRefsError, RefUpdate, Repository
from git_hmopt.store.retry import WRITERS_QUEUE, retried

_AT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
_FETCH = "a clone that has it can push it again: git hmopt fetch"
_LEFT = "readers pass over it; record it again, and take it out by: git notes --ref={} edit {}"
_MERGE = "merge them: git hmopt fsck --repair"


def check_notes(repository: Repository, findings: Findings) -> None:
    """Check the notes of both refs."""
    heads = repository.list_refs(NOTES_METRICS, NOTES_VERDICTS)
    for ref, head in heads.items():
        _Checker(repository, findings, ref).check(head)


class _Checker:
    def __init__(self, repository: Repository, findings: Findings, ref: RefName) -> None:
        self._repository = repository
        self._findings = findings
        self._reader = Reader(repository)
        self._ref = ref
        self._merge = partial(_merged, repository, ref)

    def check(self, head: Oid) -> None:
        ((_, found),) = self._reader.find([head])
        commit = commit_in(head, found)
        if isinstance(commit, str):
            self._fault("", f"the notes commit {head[:12]} {commit}", _FETCH)
            return
        notes: dict[Oid, list[Oid]] = defaultdict(list)
        for path, blob in self._listed(commit.tree):
            if is_note_name(path, head):
                notes[Oid(path.replace("/", ""))].append(blob)
            else:
                self._fault(path, "is no commit's name", f"look at it: git show {self._ref}:{path}")
        on: dict[Oid, list[Oid]] = defaultdict(list)
        for commit_oid, blobs in notes.items():
            for blob in blobs:
                on[blob].append(commit_oid)
        for blob, one in self._reader.find(list(on)):
            for commit_oid in on[blob]:
                self._check_note(commit_oid, one)
        for commit_oid, several in notes.items():
            if len(several) > 1:
                self._fault(commit_oid, "the note stands twice in the tree", _MERGE, repair=True)
        self._check_targets(list(notes))

    def _fault(self, where: str, wrong: str, step: str, *, repair: bool = False) -> None:
        at = f"{self._ref} {where}".rstrip()
        self._findings.fault(What.NOTE, at, wrong, step, self._merge if repair else None)

    def _listed(self, root: Oid) -> list[tuple[str, Oid]]:
        """Return what is in the notes tree, as far as it can be read."""
        listed, level = [], [("", root)]
        while level:
            below = []
            trees = {oid: self._reader.entries(oid, found) for oid, found in self._reader.find([o for _, o in level])}
            for prefix, oid in level:
                entries = trees[oid]
                if isinstance(entries, str):
                    self._fault(prefix, f"the directory of notes {oid[:12]} {entries}", _FETCH)
                    continue
                for entry in entries:
                    path = prefix + entry.name
                    if entry.mode == TREE:
                        below.append((f"{path}/", entry.oid))
                    else:
                        listed.append((path, entry.oid))
            level = below
        return listed

    def _check_note(self, commit: Oid, found: GitObject | str) -> None:
        self._findings.looked_at["notes"] += 1
        if isinstance(found, str):
            self._fault(commit, f"the note {found}", _FETCH)
            return
        lines = [line for line in found.data.split(b"\n") if line]
        self._findings.looked_at["lines of notes"] += len(lines)
        if len(lines) != len(set(lines)):
            self._fault(commit, f"{len(lines) - len(set(lines))} lines stand twice", _MERGE, repair=True)
        elif found.data != merge_lines(found.data):
            self._fault(commit, "its lines are not sorted as git's cat_sort_uniq sorts them", _MERGE, repair=True)
        wrong = Counter(why for line in set(lines) if (why := _wrong_with(line)))
        if len(wrong) == 1 and wrong[_NO_JSON] > 1:
            wrong = Counter({"it is in pieces: JSON that spanned lines, which git's cat_sort_uniq sorted apart": 1})
        for why, count in sorted(wrong.items()):
            ref = self._ref.removeprefix("refs/notes/")
            self._fault(commit, f"{count} lines: {why}" if count > 1 else why, _LEFT.format(ref, commit[:12]))

    def _check_targets(self, commits: list[Oid]) -> None:
        if self._repository.is_partial:
            # Git would try to fetch every commit that is not here, one by one.
            return
        away = sum(1 for _, found in self._reader.find(commits) if isinstance(found, str))
        if away:
            self._findings.states["notes on commits that are not here"] += away


_NO_JSON = "a line is no JSON"


def _wrong_with(line: bytes) -> str | None:
    """Return what is wrong with a line, or None."""
    try:
        text = line.decode()
        record = json.loads(text)
    except (ValueError, RecursionError):
        return _NO_JSON
    if not isinstance(record, dict):
        return _NO_JSON + " object"
    at = record.get("at")
    if not isinstance(at, str) or not _AT.fullmatch(at):
        return "a line has no time under `at`"
    if next(iter(record)) != "at":
        return "a line does not begin with `at`, by which lines are sorted"
    try:
        canonical = note_line(at, {key: value for key, value in record.items() if key != "at"})
    except (TypeError, HmoptError) as error:
        return f"a line is not canonical: {error}"
    return None if canonical == text else "a line is not canonical: equal lines would not meet"


def _merged(repository: Repository, ref: RefName) -> str:
    """Write every note of a ref once, each of its lines once, as a commit after the last."""
    touched: list[int] = []

    def step() -> None:
        head = repository.read_ref(ref)
        assert head is not None
        notes: dict[str, list[Oid]] = defaultdict(list)
        tree = repository.tree_of(head)
        for _, blob, path in repository.list_tree(tree):
            if is_note_name(path, head):
                notes[path.replace("/", "")].append(blob)
        found = repository.objects.find_many([blob for blobs in notes.values() for blob in blobs])
        texts = iter(found)
        changed: dict[str, bytes] = {}
        for name, blobs in notes.items():
            parts = [next(texts) for _ in blobs]
            whole = [part.data for part in parts if part is not None]
            # What cannot be read is left as it is.
            if len(whole) == len(blobs) and (len(whole) > 1 or merge_lines(*whole) != whole[0]):
                changed[name] = merge_lines(*whole)
        batch = ObjectBatch(repository.objects)
        new = rewritten(batch, repository, tree, changed)
        message = f"Lines that stood twice merged by 'git hmopt' on {len(changed)} commits"
        commit = batch.add("commit", format_commit(new, [head], message, TOOL, int(time.time())))
        batch.flush()
        repository.update_refs([RefUpdate(ref, commit, head)], reason="git hmopt: fsck")
        touched[:] = [len(changed)]

    retried(step, transient=(MovedRefsError,), queue=repository.home / WRITERS_QUEUE)
    return f"merged the lines of {touched[0]} notes of {ref}"
