# SPDX-License-Identifier: Apache-2.0
"""A recorded run with its bench set up again, as a node has it when it asks: in a copy that may be spoilt."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from git_hmopt.config.load import load_config
from git_hmopt.loop.bench import Bench
from git_hmopt.loop.book import Book
from git_hmopt.loop.configuration import LocalOverlays
from git_hmopt.loop.log import RunLog
from git_hmopt.loop.lookup import RunLookup, lookup_for
from git_hmopt.loop.packs import pack_before
from git_hmopt.loop.state import CheckpointRecord
from git_hmopt.records.evidence import EvidencePack
from git_hmopt.records.words import Oid, RunId
from git_hmopt.store.artifacts import ArtifactStore
from git_hmopt.store.journal import Journal
from git_hmopt.store.repository import Repository
from tests.loop.project import Project
from tests.loop.recorded import recorded_run


@dataclass(frozen=True)
class Asked:
    """A run that can be asked, and what its questions are answered from."""

    project: Project
    bench: Bench
    best: Oid
    pack: EvidencePack

    def lookup(self) -> RunLookup:
        """Return what answers."""
        return lookup_for(self.bench, self.best, self.pack)


def copied(project: Project, into: Path) -> Project:
    """Return a copy of a project and all that its runs left."""
    shutil.copytree(project.root, into, symlinks=True)
    return Project(into, project.home)


def asked_in(project: Project) -> Asked:
    """Return the project's only run at its best commit."""
    repository = Repository.open(project.root)
    run = RunId(recorded_run(project).name)
    journal = Journal(repository)
    plan = Book(journal, run).plan()
    configuration = ArtifactStore.of(repository).read(plan.configuration)
    assert configuration is not None
    log = RunLog(project.root.parent / "asked.jsonl", run)
    places = LocalOverlays(repository, Oid(plan.base_commit), plan.origin, project.root)
    bench = Bench(repository, plan, load_config(configuration, origin=plan.origin), None, log=log, places=places)
    last = journal.latest_checkpoint(run)
    assert last is not None
    best = Oid(CheckpointRecord.model_validate(last.data["checkpoint"]).state.best)
    return Asked(project, bench, best, pack_before(repository, run, None)[1])
