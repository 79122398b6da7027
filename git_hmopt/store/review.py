# SPDX-License-Identifier: Apache-2.0
"""What others than a run's writer record of it, in journals of their own."""

from __future__ import annotations

from collections.abc import Iterable

from git_hmopt.records.run import CarriedRecord, RetractionRecord
from git_hmopt.records.words import NOTES_VERDICTS, Oid, RunId, utc_now
from git_hmopt.store.journal import Journal, OpDraft
from git_hmopt.store.notes import NoteDraft, Notes
from git_hmopt.store.repository import Repository

_NODE = "review"


def retract(repository: Repository, run: RunId, iteration: int | None, reason: str, *, commit: str | None) -> None:
    """Record that a verdict (None: all that the run claims) is taken back, and note it on `commit`."""
    journal = Journal(repository)
    record = RetractionRecord(of_iteration=iteration, reason=reason).model_dump(mode="json")
    # Each is an operation of its own: the same verdict may be retracted again for another reason.
    mine = [one for one in journal.read(run).operations if (one.writer, one.op) == (journal.writer, "retract")]
    draft = OpDraft("retract", _NODE, iteration or 0, attempt=len(mine), data={"retract": record})
    noted = {"retract": {"run": run, "iteration": iteration, "reason": reason}, "run": run}
    notes = {NOTES_VERDICTS: [NoteDraft(Oid(commit), utc_now(), noted)]} if commit else None
    journal.append(run, [draft], notes=notes)


def carry(repository: Repository, carried: Iterable[tuple[Oid, RunId, CarriedRecord]]) -> None:
    """Note on commits that took the place of others where the evidence for their change is, and of which run."""
    at = utc_now()
    Notes(repository, NOTES_VERDICTS).append(
        [
            NoteDraft(commit, at, {"v": 1, "run": run, "carried": record.model_dump(mode="json")})
            for commit, run, record in carried
        ]
    )
