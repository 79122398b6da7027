# SPDX-License-Identifier: Apache-2.0
"""What was measured on the way from the baseline to best: as records, and in words."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from git_hmopt.evidence.wording import change_percent
from git_hmopt.records.changes import MetricChange
from git_hmopt.records.run import Delta, EvaluationRecord

_COMMIT = 12


def changes_to(best: str, evaluations: Sequence[EvaluationRecord]) -> tuple[MetricChange, ...]:
    """Return the metrics of every kept change that led to `best`, the oldest change first.

    Where an evaluation is missing on the way back to the baseline, what was before it is left out: the first change is
    then not against the baseline.
    """
    kept = {one.commit: one for one in evaluations if one.accepted and one.commit is not None}
    steps = []
    at = best
    while at in kept:
        # Taken out, so that records which contradict each other lead to no circle.
        steps.append(kept.pop(at))
        at = steps[-1].best
    return tuple(_change(step, delta) for step in reversed(steps) for delta in step.deltas)


def _change(step: EvaluationRecord, delta: Delta) -> MetricChange:
    return MetricChange(
        run=step.run,
        iteration=step.iteration,
        commit=step.commit or "",
        against="baseline" if step.best == step.baseline else "best",
        against_commit=step.best,
        verdict=step.verdict.value,
        metric=delta.metric,
        kind=delta.kind,
        estimate=delta.estimate,
        low=delta.low,
        high=delta.high,
        confidence=delta.confidence,
        layouts=delta.layouts,
        layout_controlled=delta.layout_controlled,
    )


def changes_text(changes: Sequence[MetricChange]) -> str:
    """Return a line for each kept change, with all its metrics; nothing where there is none."""
    lines = []
    if changes and changes[0].against != "baseline":
        lines.append(f"what was kept before {changes[0].against_commit[:_COMMIT]} is not recorded here\n")
    for (run, iteration), found in itertools.groupby(changes, key=lambda one: (one.run, one.iteration)):
        step = list(found)
        first = step[0]
        against = "the baseline" if first.against == "baseline" else f"{first.against_commit[:_COMMIT]} before it"
        told = "; ".join(map(metric_text, step))
        lines.append(f"kept: {run} #{iteration} {first.commit[:_COMMIT]} against {against} ({first.verdict}): {told}\n")
    return "".join(lines)


def metric_text(change: MetricChange | Delta) -> str:
    """Return what was measured of one metric, with its interval, how sure it is, and over what it was measured."""
    name = " ".join(change.metric.split())
    if change.low == change.high:
        return f"{name} {change_percent(change.estimate)}"
    at = "" if change.confidence is None else f" at {100 * float(change.confidence):.9g} %"
    over = f" over {change.layouts} layouts" if change.layout_controlled else ", layouts not controlled"
    estimate, low, high = map(change_percent, (change.estimate, change.low, change.high))
    return f"{name} {estimate} [{low}, {high}]{at}{over}"
