# SPDX-License-Identifier: Apache-2.0
"""Estimates and judgements as the records that are stored: numbers become decimal text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from git_hmopt.measure.floor import Floor
from git_hmopt.measure.gate import Judgement
from git_hmopt.measure.statistics import Estimate, exact_estimate, ratio_texts
from git_hmopt.records.base import decimal_text
from git_hmopt.records.run import CheckRecord, Delta, EvaluationRecord

Against = Literal["baseline", "best"]


@dataclass(frozen=True)
class Subject:
    """Which candidate is judged, against which commits. `commit`, `tree`, `patch_id` are None for one never made."""

    run: str
    iteration: int
    workload: str
    commit: str | None
    tree: str | None
    patch_id: str | None
    baseline: str
    best: str


def measured_delta(
    metric: str,
    estimate: Estimate,
    *,
    kind: Literal["time", "kpi"],
    against: Against,
    layout_controlled: bool,
    floor: Floor | None = None,
    ratios: Sequence[float] = (),
) -> Delta:
    """Return a measured change as it is recorded, with the points under its interval."""
    return Delta(
        metric=metric,
        kind=kind,
        against=against,
        estimate=decimal_text(estimate.ratio_minus_one),
        low=decimal_text(estimate.low),
        high=decimal_text(estimate.high),
        layouts=estimate.layouts,
        boots=estimate.boots,
        layout_controlled=layout_controlled,
        confidence=decimal_text(estimate.confidence),
        floor=floor.value if floor else None,
        layout_sd=_decimal(estimate.layout_sd),
        boot_sd=_decimal(estimate.boot_sd),
        ratios=ratio_texts(ratios),
    )


def exact_delta(
    metric: str, base: float, candidate: float, *, kind: Literal["count", "size"], against: Against
) -> Delta:
    """Return the change of a number that has no noise: a count, the size of the text section."""
    change = decimal_text(exact_estimate(base, candidate).ratio_minus_one)
    return Delta(
        metric=metric,
        kind=kind,
        against=against,
        estimate=change,
        low=change,
        high=change,
        layouts=1,
        boots=1,
        # Neither depends on where the code lies.
        layout_controlled=True,
    )


def check_record(
    name: Literal["apply", "policy", "build", "tests", "checkpatch", "outputs", "measure", "guards", "confirmation"],
    differences: Sequence[str],
    passed: str,
) -> CheckRecord:
    """Return a gate as it is recorded: passed with `passed` as its detail, or failed with all differences."""
    return CheckRecord(name=name, passed=not differences, detail="; ".join(differences) or passed)


def evaluation(
    subject: Subject,
    judgement: Judgement,
    *,
    deltas: Sequence[Delta] = (),
    checks: Sequence[CheckRecord] = (),
    text_bytes: int | None = None,
    samples: str | None = None,
) -> EvaluationRecord:
    """Return the record of a judgement; `samples` is the sha256 of the raw samples."""
    return EvaluationRecord(
        run=subject.run,
        iteration=subject.iteration,
        workload=subject.workload,
        commit=subject.commit,
        tree=subject.tree,
        patch_id=subject.patch_id,
        baseline=subject.baseline,
        best=subject.best,
        verdict=judgement.verdict,
        rule=judgement.rule,
        reason=judgement.reason,
        smallest_detectable=_decimal(judgement.smallest_detectable),
        accepted=judgement.accepted,
        deltas=tuple(deltas),
        checks=tuple(checks),
        text_bytes=text_bytes,
        samples=samples,
    )


def _decimal(value: float | None) -> str | None:
    return None if value is None else decimal_text(value)
