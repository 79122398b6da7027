# SPDX-License-Identifier: Apache-2.0
"""Two runs side by side: whether they can be compared, what each tried, the verdicts, the numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from git_hmopt.report.facts import DeltaFacts, MetricFacts
from git_hmopt.report.story import Iteration, RunStory
from git_hmopt.report.wording import (
    UNKNOWN,
    delta_of,
    fit,
    interval,
    is_open,
    outcome,
    percent,
    plain,
    verdict_label,
)

_WHAT, _SIDE = 30, 44
_NUMBERS = ("time", "kpi", "count")


@dataclass(frozen=True)
class Tried:
    """One idea and what became of it in each run; None where a run did not try it."""

    what: str
    one: str | None
    two: str | None
    same_verdict: bool | None
    """None where only one of the runs tried it."""


@dataclass(frozen=True)
class Numbers:
    """One number of each run, as text with its interval; None where it was not measured."""

    what: str
    one: str | None
    two: str | None


@dataclass(frozen=True)
class TwoRuns:
    """All that is said of two runs."""

    one: str
    two: str
    comparable: bool
    reasons: tuple[str, ...]
    """Why not, or with what reservation; none when everything is the same."""
    tried: tuple[Tried, ...]
    changes: tuple[Numbers, ...]
    """Best against base by metric, measured afresh; the only change a run claims."""
    levels: tuple[Numbers, ...]
    """Absolute values of the base, by metric."""
    floor: Numbers
    results: tuple[str, str]


def compare_runs(one: RunStory, two: RunStory) -> TwoRuns:
    """Return two runs side by side; the same candidate stands in one row."""
    reasons = _differences(one, two)
    return TwoRuns(
        one=one.run.name,
        two=two.run.name,
        comparable=not reasons,
        reasons=tuple(reasons + _reservations(one, two)),
        tried=tuple(_tried(one, two)),
        changes=tuple(_changes(one, two)),
        levels=tuple(_levels(one, two)),
        floor=Numbers("noise floor", _floor(one), _floor(two)),
        results=(" ".join(outcome(one)), " ".join(outcome(two))),
    )


def _differences(one: RunStory, two: RunStory) -> list[str]:
    """Name what makes the numbers of two runs answers to different questions."""
    first, second = one.run, two.run
    found = []
    if first.workload != second.workload:
        found.append(f"other workloads: {first.workload} and {second.workload}")
    if first.base_tree != second.base_tree:
        found.append(f"other base source: {first.base_commit[:12]} and {second.base_commit[:12]}")
    if first.configuration != second.configuration:
        found.append("other configurations: builds, inputs or how it is measured may differ")
    if first.device != second.device:
        found.append(f"other hosts: {first.device} and {second.device}")
    # What a run goes without changes what it tries, and nothing of how that is measured.
    for key in sorted({*first.environment, *second.environment} - {"without"}):
        values = first.environment.get(key, UNKNOWN), second.environment.get(key, UNKNOWN)
        if values[0] != values[1]:
            found.append(f"other {key}: {values[0]} and {values[1]}")
    return found


def _reservations(one: RunStory, two: RunStory) -> list[str]:
    found = [f"{story.run.name} has not ended: it is {story.status}" for story in (one, two) if is_open(story)]
    if one.run.without != two.run.without:
        each = (", ".join(story.run.without) or "nothing" for story in (one, two))
        found.append("they differ in what they go without: {} and {}; it is measured alike".format(*each))
    return found


def _tried(one: RunStory, two: RunStory) -> Iterable[Tried]:
    left, right = _keyed(one), _keyed(two)
    for key in dict.fromkeys([*left, *right]):
        here, there = left.get(key), right.get(key)
        same = None if here is None or there is None else verdict_label(here) == verdict_label(there)
        yield Tried(key[0], _judged(here), _judged(there), same)


def _keyed(story: RunStory) -> dict[tuple[str, int], Iteration]:
    """Return the iterations by what they tried; what a run tried twice is numbered."""
    seen: Counter[str] = Counter()
    found = {}
    for one in story.iterations:
        what = _what(one)
        found[(what, seen[what])] = one
        seen[what] += 1
    return found


def _what(one: Iteration) -> str:
    decision = one.decision or {}
    strategy = one.patch.strategy if one.patch else decision.get("strategy", UNKNOWN)
    # A person's patch names no symbol; its title tells it from others.
    symbol = (one.patch.symbol or one.patch.title) if one.patch else decision.get("symbol") or decision.get("file")
    return f"{plain(strategy)}: {plain(symbol or UNKNOWN)}"


def _judged(one: Iteration | None) -> str | None:
    if one is None:
        return None
    delta = delta_of(one.evaluation.deltas if one.evaluation else (), _NUMBERS)
    mark = "* " if one.evaluation and one.evaluation.accepted else ""
    return f"{mark}{verdict_label(one)}" + (f", {plain(delta.metric)} {interval(delta)}" if delta else "")


def _changes(one: RunStory, two: RunStory) -> Iterable[Numbers]:
    sides = [{delta.metric: delta for delta in story.confirmations} for story in (one, two)]
    for metric in sorted({*sides[0], *sides[1]}):
        yield Numbers(metric, _interval(sides[0].get(metric)), _interval(sides[1].get(metric)))


def _interval(delta: DeltaFacts | None) -> str | None:
    return None if delta is None else interval(delta)


def _levels(one: RunStory, two: RunStory) -> Iterable[Numbers]:
    sides = [_base_levels(story) for story in (one, two)]
    for metric in sorted({*sides[0], *sides[1]}):
        yield Numbers(metric, sides[0].get(metric), sides[1].get(metric))


def _base_levels(story: RunStory) -> dict[str, str]:
    """Return the base's own values; of several measurements the last."""
    measured = [*story.metrics, *(metric for one in story.iterations for metric in one.metrics)]
    return {
        f"{metric.workload}/{metric.name}": _level(metric)
        for metric in measured
        if metric.commit == story.run.base_commit
    }


def _level(metric: MetricFacts) -> str:
    # A count's unit is 1.
    value = f"{float(metric.value):.6g} {metric.unit}".removesuffix(" 1")
    if metric.low is None or metric.high is None:
        return value
    return f"{value} [{float(metric.low):.6g}, {float(metric.high):.6g}]"


def _floor(story: RunStory) -> str | None:
    return percent(story.floor.value).lstrip("+") if story.floor else None


def two_runs_screen(found: TwoRuns) -> str:
    """Return the comparison as plain text of at most 120 columns."""
    lines = [f"one {found.one}", f"two {found.two}"]
    lines.append("comparable" if found.comparable else "NOT comparable:")
    lines += [f"  {plain(reason)}" for reason in found.reasons]
    lines += ["", *_table("tried (* on best)", [(row.what, row.one, row.two) for row in found.tried], "not tried")]
    lines += _section("best against base", found.changes)
    lines += _section("base", found.levels)
    lines += _section("", [found.floor])
    lines += ["", f"one: {found.results[0]}", f"two: {found.results[1]}"]
    return "".join(f"{line}\n" for line in lines)


def _section(title: str, rows: Sequence[Numbers]) -> list[str]:
    measured = [row for row in rows if row.one is not None or row.two is not None]
    return ["", *_table(title, [(row.what, row.one, row.two) for row in measured], "not measured")] if measured else []


def _table(title: str, rows: Sequence[tuple[str, str | None, str | None]], absent: str) -> list[str]:
    head = f"{title:<{_WHAT}} {'one':<{_SIDE}} two"
    body = [
        f"{fit(what, _WHAT):<{_WHAT}} {fit(one or absent, _SIDE):<{_SIDE}} {fit(two or absent, _SIDE)}".rstrip()
        for what, one, two in rows
    ]
    return [head, *(body or ["nothing"])]
