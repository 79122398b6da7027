# SPDX-License-Identifier: Apache-2.0
"""What a run has recorded so far, for the nodes that need it: the journal is the loop's memory."""

from __future__ import annotations

from typing import Any

from git_hmopt.agents.proposer import Attempt, Decision, Proposal
from git_hmopt.errors import StoreError
from git_hmopt.loop.plan import RunPlan
from git_hmopt.records.run import EvaluationRecord, PatchRecord
from git_hmopt.records.words import RunId
from git_hmopt.store.artifacts import ArtifactStore
from git_hmopt.store.journal import Journal, JournalEntry


class Book:
    """One reading of a run's journal."""

    def __init__(self, journal: Journal, run: RunId) -> None:
        self.run = run
        self._journal = journal
        self.reading = journal.read(run)

    @property
    def entries(self) -> tuple[JournalEntry, ...]:
        """Return the operations in order."""
        return self.reading.entries

    def last(self, op: str, *, iteration: int | None = None) -> dict[str, Any] | None:
        """Return the data of the newest operation of that name, or None."""
        for entry in reversed(self.entries):
            if entry.operation.op == op and iteration in (None, entry.operation.iter):
                return entry.operation.data
        return None

    def need(self, op: str, *, iteration: int | None = None) -> dict[str, Any]:
        """Return the same, or raise StoreError: a node before this one did not do its part."""
        found = self.last(op, iteration=iteration)
        if found is None:
            raise StoreError(
                f"run {self.run} has no '{op}' recorded", next_step=f"look with: git hmopt show {self.run}"
            )
        return found

    def plan(self) -> RunPlan:
        """Return what the run was started with."""
        return RunPlan.model_validate(self.need("run.created")["plan"])

    def attempts(self) -> list[Attempt]:
        """Return everything tried so far, refusals included, in order."""
        tried = []
        for entry in self.entries:
            data, op = entry.operation.data, entry.operation.op
            if op in ("patch.judged", "patch.refused"):
                decision = self.decision(entry.operation.iter)
                outcome = data["evaluation"]["verdict"] if op == "patch.judged" else "refused"
                reason = data["evaluation"]["reason"] if op == "patch.judged" else data["message"]["text"]
                tried.append(Attempt(decision.symbol, decision.file, decision.strategy, outcome, reason))
        return tried

    def decision(self, iteration: int) -> Decision:
        """Return what was decided in an iteration."""
        data = self.need("decision.made", iteration=iteration)["decision"]
        turn, _, number = data.get("candidate", "").partition(".")
        candidate = (int(turn), int(number)) if number else None
        return Decision(data["symbol"], data["file"], data["strategy"], data["reason"], candidate)

    def patch(self, iteration: int) -> PatchRecord:
        """Return the candidate of an iteration."""
        return PatchRecord.model_validate(self.need("patch.applied", iteration=iteration)["patch"])

    def evaluations(self) -> list[EvaluationRecord]:
        """Return every evaluation, in order."""
        found = (entry.operation.data.get("evaluation") for entry in self.entries)
        return [EvaluationRecord.model_validate(one) for one in found if one]

    def proposal(self, iteration: int, artifacts: ArtifactStore) -> Proposal:
        """Return the proposal of an iteration, its edits from the artifact store."""
        return read_proposal(self.need("patch.proposed", iteration=iteration)["proposal"], artifacts)


def without_of(book: Book) -> tuple[str, ...]:
    """Return what a recorded run went without."""
    plan = (book.last("run.created") or {}).get("plan")
    found = plan.get("without", ()) if isinstance(plan, dict) else ()
    return tuple(str(one) for one in found)


def write_proposal(proposal: Proposal, artifacts: ArtifactStore) -> dict[str, Any]:
    """Put a proposal's contents into the artifact store and return its manifest."""

    def kept(data: bytes, name: str) -> str:
        return artifacts.put_bytes(data, kind="proposal", name=name, media_type="text/plain").sha256

    return {
        "title": proposal.title,
        "rationale": proposal.rationale,
        "strategy": proposal.strategy,
        "symbol": proposal.symbol,
        "author": proposal.author,
        "edits": {path: None if new is None else kept(new, path) for path, new in proposal.edits.items()},
        "diff": None if proposal.diff is None else kept(proposal.diff, "proposal.diff"),
    }


def read_proposal(data: dict[str, Any], artifacts: ArtifactStore) -> Proposal:
    """Return a proposal from its manifest; StoreError when its contents are gone."""

    def bytes_of(sha256: str) -> bytes:
        found = artifacts.read(sha256)
        if found is None:
            raise StoreError(
                f"artifact {sha256} of the proposal is not in this clone", next_step="resume where it was made"
            )
        return found

    return Proposal(
        title=data["title"],
        rationale=data["rationale"],
        strategy=data["strategy"],
        symbol=data["symbol"],
        author=data["author"],
        edits={path: None if sha is None else bytes_of(sha) for path, sha in data["edits"].items()},
        diff=None if data["diff"] is None else bytes_of(data["diff"]),
    )
