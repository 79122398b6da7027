# SPDX-License-Identifier: Apache-2.0
"""What the notes say: numbers and verdicts, each bound to a tree, without what was taken back. Nothing but a fold."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

from git_hmopt.report.facts import EvaluationFacts, MetricFacts, read_evaluation, read_metric
from git_hmopt.report.fields import Fields, MalformedError

Retracted = tuple[str, int | None]
"""A run and the iteration whose verdict was taken back; None is all that the run claims."""


@dataclass(frozen=True)
class Number:
    """One number. What was measured together in a run has the same `at`, the candidate and what it was held against."""

    at: str
    run: str
    patch_id: str | None
    metric: MetricFacts


@dataclass(frozen=True)
class Judged:
    """One verdict."""

    at: str
    run: str
    iteration: int
    workload: str
    commit: str
    tree: str
    patch_id: str | None
    evaluation: EvaluationFacts


@dataclass(frozen=True)
class Noted:
    """All that the notes say and that still stands; lines that could not be read are counted by reason."""

    numbers: tuple[Number, ...]
    verdicts: tuple[Judged, ...]
    skipped: Mapping[str, int]


def noted(metrics: Iterable[str], verdicts: Iterable[str], retracted: Collection[Retracted]) -> Noted:
    """Fold the lines of both notes; what was retracted is known from the verdicts' notes and from `retracted`.

    A retracted verdict takes the numbers with it that were measured for it, on both sides.
    """
    skipped: Counter[str] = Counter()
    judged: list[Judged] = []
    back = set(retracted)
    for line in _records(verdicts, skipped):
        try:
            if "retract" in line.data:
                one = line.inner("retract")
                back.add((one.text("run"), one.maybe_whole("iteration")))
            elif _is_known(line, skipped) and line.maybe_text("commit"):
                judged.append(_judged(line))
        except MalformedError:
            skipped["malformed verdict"] += 1
    numbers: list[Number] = []
    for line in _records(metrics, skipped):
        try:
            if _is_known(line, skipped):
                number = Number(line.text("at"), line.text("run"), line.maybe_text("patch_id"), read_metric(line))
                numbers.append(number)
        except MalformedError:
            skipped["malformed number"] += 1
    gone = {(one.run, one.at) for one in judged if (one.run, one.iteration) in back}
    return Noted(
        numbers=tuple(one for one in numbers if (one.run, None) not in back and (one.run, one.at) not in gone),
        verdicts=tuple(one for one in judged if not {(one.run, None), (one.run, one.iteration)} & back),
        skipped=skipped,
    )


def _records(lines: Iterable[str], skipped: Counter[str]) -> Iterator[Fields]:
    for line in lines:
        try:
            yield Fields.of(json.loads(line), "a line")
        except (ValueError, RecursionError):
            # Anybody may write notes with git itself.
            skipped["no record"] += 1


def _is_known(line: Fields, skipped: Counter[str]) -> bool:
    known = line.data.get("v") == 1
    skipped.update({} if known else {"unknown version": 1})
    return known


def _judged(line: Fields) -> Judged:
    return Judged(
        at=line.text("at"),
        run=line.text("run"),
        iteration=line.whole("iteration"),
        workload=line.text("workload"),
        commit=line.text("commit"),
        tree=line.text("tree"),
        patch_id=line.maybe_text("patch_id"),
        evaluation=read_evaluation(line),
    )
