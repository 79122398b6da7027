# SPDX-License-Identifier: Apache-2.0
"""Runs in a project without running any: journals and notes as the loop writes them, on commits of the test's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from git_hmopt.records.base import decimal_text
from git_hmopt.records.run import Delta, EvaluationRecord, MetricRecord, RepositoryState, RunRecord
from git_hmopt.records.words import NOTES_METRICS, NOTES_VERDICTS, Oid, RefName, RunId, Verdict, best_ref
from git_hmopt.store.journal import Journal, OpDraft
from git_hmopt.store.notes import NoteDraft
from git_hmopt.store.repository import RefUpdate, Repository


@dataclass(frozen=True)
class Recorder:
    """Records one run, iteration by iteration."""

    path: Path
    name: RunId
    workload: str
    base: str
    device: str = "alpha"
    created: str = "2026-01-31T10:00:00Z"
    at: str = "2026-01-31T11:00:00Z"
    journal: Journal = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "journal", Journal(self.repository))

    @property
    def repository(self) -> Repository:
        """Return the project's repository."""
        return Repository.open(self.path)

    def later(self, at: str) -> Recorder:
        """Return the same, writing notes of a later time."""
        return replace(self, at=at)

    def begin(self, *, status: str = "succeeded") -> Recorder:
        """Record the run and how it ended."""
        record = RunRecord(
            uuid="01890000-0000-7000-8000-000000000000",
            name=self.name,
            workload=self.workload,
            base_commit=self.base,
            base_tree=self.repository.tree_of(Oid(self.base)),
            proposer="playbook",
            device=self.device,
            toolchain={},
            configuration="c" * 64,
            environment={},
            repository=RepositoryState(uri="https://example.org/linux.git", revision=self.base, dirty=False),
            seed=7,
            created=self.created,
        )
        drafts = [OpDraft("run.created", "init_run", data={"run": record.model_dump(mode="json")})]
        if status != "created":
            drafts.append(OpDraft("run.closed", "export_dataset", data={"status": status}))
        self.journal.append(self.name, drafts)
        return self

    def metric(
        self, commit: str, value: str, *, patch_id: str | None = None, name: str = "time", samples: str | None = None
    ) -> MetricRecord:
        """Return a number, with an interval of one either side."""
        number = int(value)
        return MetricRecord(
            run=self.name,
            commit=commit,
            tree=self.repository.tree_of(Oid(commit)),
            patch_id=patch_id,
            workload=self.workload,
            name=name,
            value=value,
            unit="ns" if name == "time" else "1",
            n=12,
            low=str(number - 1),
            high=str(number + 1),
            samples=samples,
        )

    def measured(self, *metrics: MetricRecord) -> None:
        """Note numbers, as the end of a run does."""
        noted = [NoteDraft(Oid(one.commit), self.at, one.model_dump(mode="json")) for one in metrics]
        data = {"metrics": [one.model_dump(mode="json") for one in metrics]}
        self._append("best.measured", 99, data, {NOTES_METRICS: noted})

    def judged(
        self,
        iteration: int,
        candidate: str,
        best: str,
        values: tuple[str, str] | None,
        *,
        verdict: Verdict = Verdict.IMPROVED,
        rule: str | None = None,
    ) -> None:
        """Record a verdict with the candidate's number and that of the best before it; an accepted one is on best."""
        patch_id = self.repository.patch_id(Oid(best), Oid(candidate))
        accepted = verdict is Verdict.IMPROVED
        samples = f"{iteration:064x}" if values else None
        deltas: tuple[Delta, ...] = ()
        metrics: list[MetricRecord] = []
        if values:
            mine, its = values
            change = decimal_text(round(int(mine) / int(its) - 1, 3))
            deltas = (
                Delta(
                    metric="time", kind="time", against="best", estimate=change, low=change, high=change, layouts=12,
                    boots=10, layout_controlled=True, confidence="0.95",
                ),
            )  # fmt: skip
            metrics = [
                self.metric(candidate, mine, patch_id=patch_id, samples=samples),
                self.metric(best, its, samples=samples),
            ]
        record = EvaluationRecord(
            run=self.name, iteration=iteration, workload=self.workload, commit=candidate,
            tree=self.repository.tree_of(Oid(candidate)), patch_id=patch_id, baseline=self.base, best=best,
            verdict=verdict, rule=rule, reason="as recorded", accepted=accepted, deltas=deltas, samples=samples,
        ).model_dump(mode="json")  # fmt: skip
        notes = {NOTES_VERDICTS: [NoteDraft(Oid(candidate), self.at, record)]}
        if metrics:
            notes[NOTES_METRICS] = [NoteDraft(Oid(one.commit), self.at, one.model_dump(mode="json")) for one in metrics]
        data = {"evaluation": record, "metrics": [one.model_dump(mode="json") for one in metrics]}
        self._append("patch.judged", iteration, data, notes)
        if accepted:
            ref = best_ref(self.name)
            self.repository.update_refs([RefUpdate(ref, Oid(candidate), self.repository.read_ref(ref))])

    def _append(
        self, op: str, iteration: int, data: Mapping[str, object], notes: dict[RefName, list[NoteDraft]]
    ) -> None:
        self.journal.append(self.name, [OpDraft(op, "evaluate", iteration, data=data)], notes=notes)
