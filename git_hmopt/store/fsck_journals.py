# SPDX-License-Identifier: Apache-2.0
"""Check the journals: their chains of commits, each operation, and every record in it against its schema.

This reads on its own, not by `chain.read_chains`: a reader passes over what it cannot use, and this says what it is.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import get_args

from pydantic import ValidationError

from git_hmopt.errors import CorruptRecordError
from git_hmopt.records.base import Record
from git_hmopt.records.run import (
    AgentMessage,
    ArtifactRecord,
    CutoffRecord,
    EvaluationRecord,
    GraphRecord,
    HotspotRecord,
    KpisRecord,
    MetricRecord,
    NodeRecord,
    PatchRecord,
    RetractionRecord,
    RunRecord,
)
from git_hmopt.records.words import CARE, JOURNALS, Oid, RefName, RunId
from git_hmopt.store.chain import (
    CHAINS_AT_ONCE,
    MALFORMED,
    OPERATION_FILE,
    OTHER_JOURNAL,
    UNKNOWN_VERSION,
    ChainEntry,
    JournalName,
    entry_of,
)
from git_hmopt.store.faults import Findings, Reader, What
from git_hmopt.store.objects import Commit, GitObject, TreeEntry, commit_of
from git_hmopt.store.repository import Repository

ONE: Mapping[str, type[Record]] = {
    "run": RunRecord,
    "artifact": ArtifactRecord,
    "graph": GraphRecord,
    "kpis": KpisRecord,
    "patch": PatchRecord,
    "evaluation": EvaluationRecord,
    "message": AgentMessage,
    "took": NodeRecord,
    "retract": RetractionRecord,
}
"""The record that stands under a key of an operation's data, whatever the operation is called."""
MANY: Mapping[str, type[Record]] = {
    "artifacts": ArtifactRecord,
    "metrics": MetricRecord,
    "hotspots": HotspotRecord,
    "cutoff": CutoffRecord,
}
"""The same, where the key holds a list of them."""

_SHA256 = re.compile(rb"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")
_FETCH = "a clone that has it can push it again: git hmopt fetch"
_PASSED_OVER = "readers pass over it; what comes before and after it counts"
_STEPS = {
    MALFORMED: ("op.json is malformed", _PASSED_OVER),
    UNKNOWN_VERSION: ("op.json is of a version that is not known here", "upgrade git-hmopt"),
    OTHER_JOURNAL: ("op.json is of another journal", _PASSED_OVER),
}


@dataclass
class Journals:
    """What the journals say that other checks need."""

    kept: dict[RunId, set[Oid]] = field(default_factory=lambda: defaultdict(set))
    """The commits each run keeps alive, and the base it started from; a run that has a journal is here."""
    not_whole: set[RunId] = field(default_factory=set)
    """Runs of which some journal could not be read whole."""
    artifacts: set[str] = field(default_factory=set)
    """The sha256 of every artifact that a record describes."""
    named: dict[RunId, set[str]] = field(default_factory=lambda: defaultdict(set))
    """All that looks like a sha256 in a run's operations, whatever it stands for."""


@dataclass(frozen=True)
class _Step:
    oid: Oid
    commit: Commit
    tree: list[TreeEntry]


def check_journals(repository: Repository, findings: Findings) -> Journals:
    """Check every journal here, and return what they keep."""
    checker = _Checker(repository, findings)
    heads: dict[RefName, Oid] = {}
    for ref, oid in repository.list_refs(JOURNALS, CARE).items():
        if JournalName.of(ref):
            heads[ref] = oid
        else:
            findings.fault(What.JOURNAL, ref, "is no journal's name", f"look, then: git update-ref -d {ref}")
    rest = iter(heads.items())
    while some := dict(islice(rest, CHAINS_AT_ONCE)):
        checker.check(some)
    checker.check_kept()
    return checker.journals


class _Checker:
    def __init__(self, repository: Repository, findings: Findings) -> None:
        self._findings = findings
        self._partial = repository.is_partial
        self._reader = Reader(repository)
        shallow = repository.common_dir / "shallow"
        self._cut = set(shallow.read_text(encoding="ascii").split()) if shallow.is_file() else set()
        self._kept_by: dict[Oid, tuple[RefName, Oid]] = {}
        self.journals = Journals()

    def check(self, heads: Mapping[RefName, Oid]) -> None:
        chains = self._walked(heads)
        wanted = [entry.oid for steps in chains.values() for step in steps for entry in _operation(step)]
        blobs = dict(self._reader.find(wanted))
        for ref, steps in chains.items():
            self._findings.looked_at["journals"] += 1
            self._check_chain(ref, steps, blobs)

    def _fault(self, ref: RefName, commit: Oid, wrong: str, step: str) -> None:
        self._findings.fault(What.JOURNAL, f"{ref} {commit[:12]}", wrong, step)

    # -- the chains -------------------------------------------------------------------------------------------------

    def _walked(self, heads: Mapping[RefName, Oid]) -> dict[RefName, list[_Step]]:
        """Return each journal's commits, newest first, as far as they can be read; all chains a step at a time."""
        chains: dict[RefName, list[_Step]] = {ref: [] for ref in heads}
        at = dict(heads)
        while at:
            commits = {oid: commit_in(oid, found) for oid, found in self._reader.find(list(at.values()))}
            wanted = [one.tree for one in commits.values() if isinstance(one, Commit)]
            trees = {oid: self._reader.entries(oid, found) for oid, found in self._reader.find(wanted)}
            after: dict[RefName, Oid] = {}
            for ref, oid in at.items():
                commit = commits[oid]
                if isinstance(commit, str):
                    self._broken(ref, oid, commit)
                    continue
                tree = trees[commit.tree]
                parent = self._next(ref, chains[ref], _Step(oid, commit, [] if isinstance(tree, str) else tree), tree)
                if parent is not None:
                    after[ref] = parent
            at = after
        return chains

    def _next(self, ref: RefName, steps: list[_Step], step: _Step, tree: list[TreeEntry] | str) -> Oid | None:
        """Take a commit into its chain and return the one to go on with."""
        parent = next(iter(step.commit.parents), None)
        if isinstance(tree, str):
            self._cut_off(ref)
            self._fault(ref, step.oid, f"the commit's tree {tree}", _FETCH)
        elif not any(_operation(step)):
            self._fault(ref, step.oid, f"the commit has no {OPERATION_FILE}", _PASSED_OVER)
            if steps and not any(_operation(steps[-1])):
                # Two in a row: this is somebody's history and no journal, and may be very long.
                parent = None
        steps.append(step)
        if parent is not None and step.oid in self._cut:
            self._findings.states["journals whose older part is not in this shallow clone"] += 1
            self._cut_off(ref)
            return None
        return parent

    def _broken(self, ref: RefName, oid: Oid, why: str) -> None:
        self._cut_off(ref)
        self._fault(ref, oid, f"the chain is broken: the commit {why}", _FETCH)

    def _cut_off(self, ref: RefName) -> None:
        name = JournalName.of(ref)
        if name:
            self.journals.not_whole.add(name.run)

    def _check_chain(self, ref: RefName, steps: Sequence[_Step], blobs: Mapping[Oid, GitObject | str]) -> None:
        name = JournalName.of(ref)
        assert name is not None
        kept = self.journals.kept[name.run]
        last, seen = 0, set()
        for step in reversed(steps):
            self._findings.looked_at["operations"] += 1
            kept.update(step.commit.parents[1:])
            self._kept_by |= dict.fromkeys(step.commit.parents[1:], (ref, step.oid))
            entry = self._entry(ref, step, blobs)
            if entry is None:
                continue
            lamport = entry.fields["lamport"]
            if lamport <= last:
                self._fault(ref, step.oid, f"lamport {lamport} after {last}: it does not grow", _PASSED_OVER)
            last = max(last, lamport)
            same = tuple(entry.fields[key] for key in ("iter", "node", "attempt", "op"))
            if same in seen:
                self._fault(ref, step.oid, f"'{same[3]}' is recorded twice", "readers take the first")
            seen.add(same)
            self._check_records(ref, entry, kept)

    def _entry(self, ref: RefName, step: _Step, blobs: Mapping[Oid, GitObject | str]) -> ChainEntry | None:
        entry = next(_operation(step), None)
        if entry is None:
            return None
        found = blobs[entry.oid]
        if isinstance(found, str):
            self._cut_off(ref)
            self._fault(ref, step.oid, f"{OPERATION_FILE} {found}", _FETCH)
            return None
        name = JournalName.of(ref)
        assert name is not None
        self.journals.named[name.run].update(one.decode() for one in _SHA256.findall(found.data))
        read = entry_of(step.oid, step.commit, step.tree, found.data, ref)
        if isinstance(read, str):
            self._fault(ref, step.oid, *_STEPS[read])
            return None
        return read

    def check_kept(self) -> None:
        """Check that the candidates which operations keep are commits, and here."""
        trees: dict[Oid, Oid] = {}
        for oid, found in self._reader.find(list(self._kept_by)):
            commit = commit_in(oid, found)
            if isinstance(commit, str):
                self._fault(*self._kept_by[oid], f"the kept commit {oid[:12]} {commit}", _FETCH)
            else:
                trees[oid] = commit.tree
        if self._kept_by:
            self._findings.looked_at["kept commits"] += len(self._kept_by)
        if self._partial:
            # A tree that a partial clone left out is fetched when it is wanted.
            return
        missing = {oid for oid, found in self._reader.find(list(trees.values())) if isinstance(found, str)}
        for oid, tree in trees.items():
            if tree in missing:
                self._fault(*self._kept_by[oid], f"the kept commit {oid[:12]} has lost its tree {tree[:12]}", _FETCH)

    # -- the records ------------------------------------------------------------------------------------------------

    def _check_records(self, ref: RefName, entry: ChainEntry, kept: set[Oid]) -> None:
        where = f"{ref} {entry.commit[:12]}"
        for key, kind, record in _records(entry.fields["data"]):
            self._findings.looked_at["records"] += 1
            read = _read(kind, record)
            if isinstance(read, RunRecord) and read.name != entry.fields["run"]:
                read = f"it describes run {read.name}"
            if isinstance(read, str):
                step = "upgrade git-hmopt" if read.startswith("version") else "readers leave this record out"
                self._findings.fault(What.RECORD, where, f"'{key}' of '{entry.fields['op']}': {read}", step)
            elif isinstance(read, ArtifactRecord):
                self.journals.artifacts.add(read.sha256)
            elif isinstance(read, RunRecord):
                kept.add(Oid(read.base_commit))


def _operation(step: _Step) -> Iterator[TreeEntry]:
    return (entry for entry in step.tree if entry.name == OPERATION_FILE)


def commit_in(oid: Oid, found: GitObject | str) -> Commit | str:
    """Return a commit that was read, or what is wrong with it."""
    if isinstance(found, str):
        return found
    try:
        return commit_of(found, oid)
    except CorruptRecordError as error:
        return f"is no commit: {error.what}"


def _records(data: Mapping[str, object]) -> Iterator[tuple[str, type[Record], object]]:
    for key, kind in ONE.items():
        if data.get(key) is not None:
            yield key, kind, data[key]
    for key, kind in MANY.items():
        if key in data:
            listed = data[key]
            for one in listed if isinstance(listed, list) else [listed]:
                yield key, kind, one


def _read(kind: type[Record], record: object) -> Record | str:
    version = record.get("v") if isinstance(record, dict) else None
    if isinstance(version, int) and version not in get_args(kind.model_fields["v"].annotation):
        return f"version {version} is not known here"
    try:
        return kind.model_validate(record)
    except ValidationError as error:
        first = error.errors()[0]
        return ": ".join([*filter(None, [".".join(map(str, first["loc"]))]), first["msg"]])
