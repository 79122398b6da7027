# SPDX-License-Identifier: Apache-2.0
"""The node that judges a candidate, and moves best when it is better."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from git_hmopt.errors import MeasurementError
from git_hmopt.loop.bench import Arm, Bench
from git_hmopt.loop.book import Book
from git_hmopt.loop.floor import floor_for
from git_hmopt.loop.message import accepted_message
from git_hmopt.loop.outcome import Outcome
from git_hmopt.loop.readings import Measurement, Readings
from git_hmopt.loop.state import RunState
from git_hmopt.measure.floor import Floor
from git_hmopt.measure.gate import GuardResult, Judgement, confirm, guard_from_text, judge, unmeasured
from git_hmopt.measure.outcome import Against, Subject, check_record, evaluation, exact_delta, measured_delta
from git_hmopt.records.base import decimal_text
from git_hmopt.records.run import CheckRecord, Delta, EvaluationRecord, MetricRecord
from git_hmopt.records.words import (
    NOTES_METRICS,
    NOTES_VERDICTS,
    Oid,
    RefName,
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
        readings, second = _judged_again(bench, state, floor, text_guard)
        judgement = confirm(judgement, second)
        checks.append(check_record("confirmation", () if judgement.accepted else (judgement.reason,), "confirmed"))
    return record_evaluation(
        bench,
        state,
        judgement,
        checks=checks,
        extra=drafts,
        deltas=deltas_of(bench, readings, floor, against="best"),
        readings=readings,
        text_bytes=verified["text_bytes"],
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
        layout_controlled=readings.layout_controlled(bench.objective.metric),
        same_objects=readings.same_objects,
        aside=readings.aside,
    )


def _text_guard(bench: Bench, growth: int | None) -> tuple[GuardResult, ...]:
    limit = bench.workload.max_text_growth
    return () if limit is None else (guard_from_text(growth, limit),)


def _judged_again(
    bench: Bench, state: RunState, floor: Floor | None, text_guard: Sequence[GuardResult]
) -> tuple[Readings, Judgement]:
    """Measure the candidate on layouts and inputs that did not pick it, and judge that alone."""
    iteration = state["iteration"]
    best, candidate = Oid(state["best"]), Oid(state["current_patch_id"] or "")
    bench.log.say("clears the gate: measuring again on fresh layouts")
    reference = bench.need_reference(best)
    built = bench.put(Arm.CANDIDATE, candidate)
    streams = f"confirmation/{iteration}", f"confirmation-{iteration}"
    try:
        readings = Measurement(bench, reference, built, *streams, floor, bench.deadline(state)).take()
    except MeasurementError as error:
        return Readings(), unmeasured(error.what)
    return readings, verdict_of(bench, readings, floor, text_guard)


def deltas_of(bench: Bench, readings: Readings, floor: Floor | None, *, against: Against) -> list[Delta]:
    """Return the changes as records: what has noise with its interval, what has none without.

    A count of nothing on base has no ratio and is left out.
    """
    found = [
        measured_delta(
            metric,
            one.estimate,
            kind="time" if bench.meter(bench.plan.workload, metric).kind == "time" else "kpi",
            against=against,
            layout_controlled=one.layout_controlled,
            # The floor is the objective's alone.
            floor=floor if metric == bench.objective.metric else None,
            ratios=one.ratios,
        )
        for metric, one in readings.measured.items()
    ]
    counted = readings.counts.items()
    return found + [
        exact_delta(metric, *pair, kind="count", against=against) for metric, pair in counted if pair[0] > 0
    ]


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
    keep: Sequence[Oid] = (),
    refs: Sequence[RefUpdate] = (),
) -> Outcome:
    """Return what an iteration's end publishes: the evaluation, its notes, and the new best where there is one."""
    iteration, best = state["iteration"], Oid(state["best"])
    candidate = Oid(state.get("current_patch_id") or "") or None
    subject = _subject(bench, state, candidate)
    objective = readings.measured.get(bench.objective.metric) if readings else None
    record = evaluation(
        subject,
        judgement,
        deltas=deltas,
        checks=checks,
        text_bytes=text_bytes,
        samples=objective.samples if objective else None,
    )
    bench.log.say(
        f"{judgement.verdict.value}: {judgement.reason}",
        event="verdict",
        verdict=judgement.verdict.value,
        accepted="yes" if judgement.accepted else "no",
        change=decimal_text(objective.estimate.ratio_minus_one) if objective else "",
    )
    new = _counted(state, judgement)
    keep, refs = list(keep), list(refs)
    commit = candidate
    if judgement.accepted and candidate and subject.tree:
        commit = _accepted_commit(bench, state, record, Oid(subject.tree))
        record = record.model_copy(update={"commit": commit})
        refs += [
            RefUpdate(best_ref(bench.run), commit, best),
            RefUpdate(candidate_ref(bench.run, iteration), commit, candidate),
        ]
        keep.append(commit)
        new = {**new, "best": commit}
        bench.adopt(Arm.CANDIDATE, candidate, commit)
    metrics = metrics_of(bench, readings, commit, best, subject.patch_id) if readings and commit else []
    data: dict[str, Any] = {"evaluation": record.model_dump(mode="json")}
    if metrics:
        data["metrics"] = [metric.model_dump(mode="json") for metric in metrics]
    op = OpDraft("patch.judged", "evaluate_delta_and_update_best", iteration, data=data)
    notes = _notes_of(commit, record, metrics) if commit else {}
    return Outcome(new, [*extra, op], keep=keep, refs=refs, notes=notes)


def _subject(bench: Bench, state: RunState, candidate: Oid | None) -> Subject:
    best = Oid(state["best"])
    return Subject(
        run=bench.run,
        iteration=state["iteration"],
        workload=bench.plan.workload,
        commit=candidate,
        tree=bench.repository.tree_of(candidate) if candidate else None,
        patch_id=bench.repository.patch_id(best, candidate) if candidate else None,
        baseline=bench.plan.base_commit,
        best=best,
    )


def _notes_of(commit: Oid, record: EvaluationRecord, metrics: Sequence[MetricRecord]) -> dict[RefName, list[NoteDraft]]:
    at = utc_now()
    notes = {NOTES_VERDICTS: [NoteDraft(commit, at, record.model_dump(mode="json"))]}
    if metrics:
        notes[NOTES_METRICS] = [NoteDraft(Oid(metric.commit), at, metric.model_dump(mode="json")) for metric in metrics]
    return notes


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
    sides = ((commit, patch_id), (best, None))

    def record(side: int, name: str, value: float, n: int, **more: Any) -> MetricRecord:
        where, patch = sides[side]
        return MetricRecord(
            run=bench.run,
            commit=where,
            tree=bench.repository.tree_of(where),
            patch_id=patch,
            workload=bench.plan.workload,
            name=name,
            value=decimal_text(value),
            unit="ns" if bench.meter(bench.plan.workload, name).kind == "time" else "1",
            n=n,
            **more,
        )

    found: list[MetricRecord] = []
    for metric, one in readings.measured.items():
        for side, level in enumerate((one.candidate, one.base)):
            low, high = decimal_text(level.low), decimal_text(level.high)
            found.append(
                record(
                    side, metric, level.value, level.n, low=low, high=high, layouts=level.layouts, samples=one.samples
                )
            )
    for metric, (of_base, of_candidate) in readings.counts.items():
        found += [record(side, metric, value, 1) for side, value in enumerate((of_candidate, of_base))]
    return found
