# SPDX-License-Identifier: Apache-2.0
"""What an accepted percent of improvement cost in tokens and money.

Tokens per accepted percent are all tokens, in and out, that the exchanges of a run used, those for candidates that
came to nothing too, divided by the percent by which best beats base in the run's objective, measured afresh at the
run's end. Cost per accepted percent is the same with what the exchanges cost, by currency. Over several runs of one
workload the tokens of all of them are divided by the sum of their percents. Nothing is divided where nothing was
accepted, where the claim does not show a gain or was taken back, and where some exchange does not say what it used.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from git_hmopt.report.exchanges import Used, sums_text
from git_hmopt.report.facts import DeltaFacts
from git_hmopt.report.story import RunStory
from git_hmopt.report.wording import UNKNOWN, delta_of, direction


@dataclass(frozen=True)
class Gain:
    """By how many percent best beats base; None where that is not claimed, and why not."""

    percent: float | None
    metric: str | None
    why: str


@dataclass(frozen=True)
class PerPercent:
    """What one accepted percent cost; None or empty where it cannot be said, and why not."""

    tokens: float | None
    tokens_why: str
    costs: Mapping[str, str]
    """Decimals by currency."""
    costs_why: str


def gain_of(story: RunStory) -> Gain:
    """Return what a run claims."""
    if not story.accepted:
        return Gain(None, None, "none accepted")
    if story.withdrawn:
        return Gain(None, None, "none: what was accepted was retracted")
    judged = [delta for one in story.accepted if one.evaluation for delta in one.evaluation.deltas]
    return claimed(story.confirmations, judged)


def claimed(confirmations: Sequence[DeltaFacts], accepted: Iterable[DeltaFacts]) -> Gain:
    """Return the gain that best against base shows; `accepted` are the changes of the candidates on best.

    The floor is the objective's alone, so that it tells which metric that is; without one it is the time or KPI, then
    the count. Times and counts want to be less; whether a KPI does is told by the candidates that were accepted for it.
    """
    with_floor = [delta for delta in confirmations if delta.floor is not None]
    found = delta_of(with_floor or confirmations, ("time", "kpi", "count"))
    if found is None:
        return Gain(None, None, f"{UNKNOWN}: best was not measured afresh against base")
    wanted = {-1}
    if found.kind == "kpi":
        signs = [
            (float(one.estimate) > 0) - (float(one.estimate) < 0) for one in accepted if one.metric == found.metric
        ]
        wanted = set(signs) - {0}
    if len(wanted) != 1:
        return Gain(None, found.metric, f"{UNKNOWN}: the record does not say whether more or less of it is better")
    if direction(found) not in wanted:
        word = "no difference is shown" if direction(found) == 0 else "it got worse"
        return Gain(None, found.metric, f"none: of best against base {word}")
    percent = 100 * abs(float(found.estimate))
    return Gain(percent, found.metric, "") if math.isfinite(percent) else Gain(None, found.metric, UNKNOWN)


def per_percent(of: Used, gain: Gain) -> PerPercent:
    """Return what one percent of a gain cost."""
    if gain.percent is None or gain.percent <= 0:
        why = gain.why or "none: the change is 0"
        return PerPercent(None, why, {}, why)
    if not of.asked:
        return PerPercent(None, "none: no model was asked", {}, "none: no model was asked")
    tokens_why = _missing(of.tokens_unknown, of)
    costs_why = _missing(of.cost_unknown, of)
    percent = Decimal(str(gain.percent))
    return PerPercent(
        tokens=None if tokens_why else of.tokens / gain.percent,
        tokens_why=tokens_why,
        costs={} if costs_why else {unit: str(Decimal(amount) / percent) for unit, amount in of.costs.items()},
        costs_why=costs_why,
    )


def _missing(unknown: int, of: Used) -> str:
    return f"{UNKNOWN}: {unknown} of {of.asked} exchanges do not say" if unknown else ""


def per_percent_text(found: PerPercent, of: Used) -> str:
    """Return both in words."""
    if found.tokens is None and found.tokens_why == found.costs_why:
        return f"Tokens and cost per accepted percent: {found.tokens_why}."
    most = "at most " if of.tokens_at_most else ""
    tokens = found.tokens_why if found.tokens is None else f"{most}{found.tokens:.0f}"
    costs = found.costs_why or sums_text(found.costs)
    return f"Tokens per accepted percent: {tokens}; cost per accepted percent: {costs}."
