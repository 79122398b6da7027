# SPDX-License-Identifier: Apache-2.0
"""The node that judges a candidate, and moves best when it is better."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from git_hmopt.loop.bench import Arm, Bench
from git_hmopt.loop.book import Book
from git_hmopt.loop.floor import floor_for
from git_hmopt.loop.message import accepted_message
from git_hmopt.loop.outcome import Outcome
from git_hmopt.loop.readings import Readings, measure_all
from git_hmopt.loop.state import RunState
from git_hmopt.measure.floor import Floor
from git_hmopt.measure.gate import GuardResult, Judgement, confirm, guard_from_text, judge
from git_hmopt.measure.outcome import Subject, check_record, evaluation, exact_delta, measured_delta
from git_hmopt.records.base import decimal_text
from git_hmopt.records.run import CheckRecord, Delta, EvaluationRecord, MetricRecord
from git_hmopt.records.words import (
    NOTES_METRICS,
    NOTES_VERDICTS,
    Oid,
    Verdict,
    best_ref,
    candidate_ref,
    utc_now,
)
from git_hmopt.store.journal import OpDraft
from git_hmopt.store.notes import NoteDraft
from git_hmopt.store.repository import RefUpdate


def evaluate_delta_and_update_best(bench: Bench, state: RunState) -> Outcome:
    """Judge what was measured; what clears the gate is measured again on fresh layouts before best moves."""
    iteration = state["iteration"]
    book = Book(bench.journal, bench.run)
    verified = book.need("patch.verified", iteration=iteration)
    first = Readings.from_json(book.need("patch.measured", iteration=iteration)["readings"])
    floor, drafts = floor_for(bench, state) if not first.same_objects else (None, [])
    text_guard = _text_guard(bench, verified["text_bytes"])
    judgement = verdict_of(bench, first, floor, text_guard)
    readings = first
    checks = [CheckRecord.model_validate(check) for check in verified["checks"]]
    if judgement.accepted:
        readings = _measure_again(bench, state, floor)
        judgement = confirm(judgement, verdict_of(bench, readings, floor, text_guard))
        checks.append(check_record("confirmation", () if judgement.accepted else (judgement.reason,), "confirmed"))
    bench.log.say(f"{judgement.verdict.value}: {judgement.reason}")
    deltas = deltas_of(readings, floor, bench.objective.kind, against="best")
    samples = next((one.samples for one in readings.measured.values()), None)
    return record_evaluation(
        bench,
        state,
        judgement,
        checks=checks,
        extra=drafts,
        deltas=deltas,
        readings=readings,
        text_bytes=verified["text_bytes"],
        samples=samples,
    )


def verdict_of(bench: Bench, readings: Readings, floor: Floor | None, extra: Sequence[GuardResult] = ()) -> Judgement:
    """Return the gate's word on readings."""
    return judge(
        bench.objective,
        {metric: one.estimate for metric, one in readings.measured.items()},
        readings.counts,
        floor,
        accept=bench.workload.accept,
        guards=(*readings.guards, *extra),
        layout_controlled=readings.layout_controlled,
        same_objects=readings.same_objects,
    )


def _text_guard(bench: Bench, growth: int | None) -> tuple[GuardResult, ...]:
    limit = bench.workload.max_text_growth
    return () if limit is None else (guard_from_text(growth, limit),)


def _measure_again(bench: Bench, state: RunState, floor: Floor | None) -> Readings:
    best, candidate = Oid(state["best"]), Oid(state["current_patch_id"] or "")
    bench.log.say("clears the gate: measuring again on fresh layouts")
    reference = bench.need_reference(best)
    built = bench.put(Arm.CANDIDATE, candidate)
    return measure_all(
        bench,
        reference,
        built,
        stream=f"confirmation/{state['iteration']}",
        data_stream=f"confirmation-{state['iteration']}",
        floor=floor,
        deadline=bench.deadline(state),
    )


def deltas_of(readings: Readings, floor: Floor | None, kind: str, *, against: str) -> list[Delta]:
    """Return the changes as records: what has noise with its interval, what has none without."""
    found = [
        measured_delta(
            metric,
            one.estimate,
            kind="time" if kind == "time" else "kpi",
            against=against,  # type: ignore[arg-type]
            layout_controlled=readings.layout_controlled,
            floor=floor,
        )
        for metric, one in readings.measured.items()
    ]
    found += [
        exact_delta(metric, *pair, kind="count", against=against)  # type: ignore[arg-type]
        for metric, pair in readings.counts.items()
    ]
    return found


def record_evaluation(
    bench: Bench,
    state: RunState,
    judgement: Judgement,
    *,
    checks: Sequence[CheckRecord],
    extra: Sequence[OpDraft] = (),
    deltas: Sequence[Delta] = (),
    readings: Readings | None = None,
    text_bytes: int | None = None,
    samples: str | None = None,
    keep: Sequence[Oid] = (),
    refs: Sequence[RefUpdate] = (),
) -> Outcome:
    """Return what an iteration's end publishes: the evaluation, its notes, and the new best where there is one."""
    iteration = state["iteration"]
    candidate = state.get("current_patch_id")
    commit = Oid(candidate) if candidate else None
    tree = bench.repository.tree_of(commit) if commit else None
    patch_id = bench.repository.patch_id(Oid(state["best"]), commit) if commit else None
    subject = Subject(
        run=bench.run,
        iteration=iteration,
        workload=bench.plan.workload,
        commit=commit,
        tree=tree,
        patch_id=patch_id,
        baseline=bench.plan.base_commit,
        best=state["best"],
    )
    record = evaluation(subject, judgement, deltas=deltas, checks=checks, text_bytes=text_bytes, samples=samples)
    new = _counted(state, judgement)
    keep, refs = list(keep), list(refs)
    if judgement.accepted and commit and tree:
        commit = _accepted_commit(bench, state, record, tree)
        record = record.model_copy(update={"commit": commit})
        refs += [
            RefUpdate(best_ref(bench.run), commit, Oid(state["best"])),
            RefUpdate(candidate_ref(bench.run, iteration), commit, Oid(candidate or "")),
        ]
        keep.append(commit)
        new = {**new, "best": commit}
        bench.adopt(Arm.CANDIDATE, Oid(candidate or ""), commit)
    data: dict[str, Any] = {"evaluation": record.model_dump(mode="json")}
    notes: dict[Any, list[NoteDraft]] = {}
    if commit:
        at = utc_now()
        notes[NOTES_VERDICTS] = [NoteDraft(commit, at, record.model_dump(mode="json"))]
        metrics = metrics_of(bench, readings, commit, Oid(state["best"]), patch_id) if readings else []
        if metrics:
            data["metrics"] = [metric.model_dump(mode="json") for metric in metrics]
            notes[NOTES_METRICS] = [
                NoteDraft(Oid(metric.commit), at, metric.model_dump(mode="json")) for metric in metrics
            ]
    op = OpDraft("patch.judged", "evaluate_delta_and_update_best", iteration, data=data)
    return Outcome(new, [*extra, op], keep=keep, refs=refs, notes=notes)


def _accepted_commit(bench: Bench, state: RunState, record: EvaluationRecord, tree: Oid) -> Oid:
    """Commit the measured tree again with its numbers in the message: the same tree, so they count for it."""
    patch = Book(bench.journal, bench.run).patch(state["iteration"])
    return bench.repository.commit(tree, [Oid(state["best"])], accepted_message(bench, state, patch, record))


def _counted(state: RunState, judgement: Judgement) -> RunState:
    new: RunState = {**state, "verdict": judgement.verdict.value}
    if judgement.accepted:
        return {**new, "regressions": 0, "no_gain": 0}
    if judgement.verdict is Verdict.REGRESSED:
        new = {**new, "regressions": state.get("regressions", 0) + 1}
    return {**new, "no_gain": state.get("no_gain", 0) + 1}


def metrics_of(bench: Bench, readings: Readings, commit: Oid, best: Oid, patch_id: str | None) -> list[MetricRecord]:
    """Return the absolute values that were measured, of the candidate and of what it was held against."""
    found: list[MetricRecord] = []
    sides = ((commit, patch_id, "candidate"), (best, None, "base"))
    for metric, one in readings.measured.items():
        for (where, patch, _), level in zip(sides, (one.candidate, one.base), strict=True):
            found.append(
                MetricRecord(
                    run=bench.run,
                    commit=where,
                    tree=bench.repository.tree_of(where),
                    patch_id=patch,
                    workload=bench.plan.workload,
                    name=metric,
                    value=decimal_text(level.value),
                    unit="ns" if bench.meter(bench.plan.workload, metric).kind == "time" else "1",
                    n=level.n,
                    low=decimal_text(level.low),
                    high=decimal_text(level.high),
                    layouts=level.layouts,
                    samples=one.samples,
                )
            )
    for metric, pair in readings.counts.items():
        for (where, patch, _), value in zip(sides, (pair[1], pair[0]), strict=True):
            found.append(
                MetricRecord(
                    run=bench.run,
                    commit=where,
                    tree=bench.repository.tree_of(where),
                    patch_id=patch,
                    workload=bench.plan.workload,
                    name=metric,
                    value=decimal_text(value),
                    unit="1",
                    n=1,
                )
            )
    return found
