# SPDX-License-Identifier: Apache-2.0
"""Which run's profile is a workload's latest, and which of its rankings is its base's."""

from __future__ import annotations

from pathlib import Path

import pytest

from git_hmopt.loop.profiled import latest_profile
from git_hmopt.records.run import HotspotRecord, RetractionRecord
from git_hmopt.records.words import RunId
from git_hmopt.store.journal import Journal, OpDraft
from git_hmopt.store.repository import Repository
from tests.loop.project import make_project
from tests.store.repositories import run_record

OLD, NEW, BLIND = (RunId(f"2026010{n}-sort-00000{n}") for n in (1, 2, 3))


def ranked(score: str | None, *, iteration: int = 0) -> OpDraft:
    spot = HotspotRecord(
        symbol="do_swap", file="lib/sort.c", first_line=1, last_line=None, ranker="self", unit="ns",
        resolved_by="dwarf", score=score, distance=2 if score is None else None,
    )  # fmt: skip
    return OpDraft("hotspots.ranked", "rank", iter=iteration, data={"hotspots": [spot.model_dump(mode="json")]})


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository.open(make_project(tmp_path, contents={"a.c": "int a;\n"}, trusted=False).root)


def record(repository: Repository, run: RunId, *rankings: OpDraft) -> None:
    journal, made = (
        Journal(repository),
        run_record(run, created=f"{run[:4]}-{run[4:6]}-{run[6:8]}T10:00:00Z", workload="sort"),
    )
    journal.append(run, [OpDraft("run.created", "init_run", data={"run": made.model_dump(mode="json")})])
    for one in rankings:
        journal.append(run, [one])


def share(repository: Repository) -> tuple[str, str] | None:
    found = latest_profile(repository, "sort")
    return None if found is None else (found.run, str(found.hotspots[0]["score"]))


def test_the_newest_run_that_measured_and_its_base_at_that(repository: Repository) -> None:
    assert share(repository) is None
    record(repository, OLD, ranked("0.3"))
    assert share(repository) == (OLD, "0.3")
    # The second ranking is that of a candidate which became the best.
    record(repository, NEW, ranked("0.4"), ranked("0.1", iteration=1))
    assert share(repository) == (NEW, "0.4")
    # Distances are no profile, and a run that was never profiled has none.
    record(repository, BLIND, ranked(None))
    assert share(repository) == (NEW, "0.4") and latest_profile(repository, "crc") is None


def test_a_retracted_run_says_nothing(repository: Repository) -> None:
    record(repository, OLD, ranked("0.3"))
    record(repository, NEW, ranked("0.4"))
    taken_back = RetractionRecord(of_iteration=None, reason="the host was busy").model_dump(mode="json")
    Journal(repository).append(NEW, [OpDraft("retract", "review", data={"retract": taken_back})])
    assert share(repository) == (OLD, "0.3")
