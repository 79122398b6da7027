# SPDX-License-Identifier: Apache-2.0
"""The verdict on a candidate, as a pure function of what was measured (DESIGN, "The gate").

Time decides. A count (instructions) is shown beside it and decides nothing alone unless the workload says so: a build
with 13 % fewer instructions was measured to be no faster over layouts (PRACTICE).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from git_hmopt.measure.floor import Floor
from git_hmopt.measure.statistics import Estimate, exact_estimate, smallest_detectable
from git_hmopt.records.run import Objective
from git_hmopt.records.words import Verdict

FLOOR_FACTOR = 2
"""A change must clear twice the floor (PRACTICE, "Accepting a change")."""
WIDENING = 2
"""How much the bound grows when layouts are not controlled or no floor was measured: the unknown is not zero."""
ONE_LAYOUT = 0.05
"""One build an arm decides nothing below about this (PRACTICE), whatever its interval over boots says."""

GuardState = Literal["holds", "broken", "undecided"]
Direction = Literal["lower", "higher"]
"""Which way a metric gets better."""


@dataclass(frozen=True)
class GuardResult:
    """Something that may not get worse, and whether it did. `detail` is a clause with the numbers."""

    name: str
    state: GuardState
    detail: str


@dataclass(frozen=True)
class Judgement:
    """A verdict with its reason in one sentence. `case` is the number in the docstring of `judge` (0: not from it)."""

    verdict: Verdict
    reason: str
    smallest_detectable: float | None
    accepted: bool
    case: int = 0
    rule: str | None = None
    """The named rule of a rejection."""


def bound_of(objective: Objective, floor: Floor | None, *, layout_controlled: bool) -> float:
    """Return what an objective's interval must clear, as a ratio: max(margin, 2 x floor).

    It is doubled where layouts are not controlled (and then at least ONE_LAYOUT), or no floor was measured. A count is
    exact, so its bound is the margin.
    """
    margin = float(objective.margin)
    if objective.kind == "count":
        return margin
    bound = max(margin, FLOOR_FACTOR * floor.ratio) if floor else margin
    if not layout_controlled:
        return _one_layout(bound)
    return bound if floor else WIDENING * bound


def _one_layout(bound: float) -> float:
    """Return what a bound becomes where each arm is one layout that nobody controls."""
    return max(WIDENING * bound, ONE_LAYOUT)


def decided(objective: Objective, floor: Floor | None, *, layout_controlled: bool) -> Callable[[Estimate], bool]:
    """Return the stopping rule of a sequential comparison: whether `judge` could already say something of time."""

    def rule(estimate: Estimate) -> bool:
        bound = bound_of(objective, floor, layout_controlled=layout_controlled)
        seen = _oriented(objective, estimate)
        worse = _worse(seen, objective, floor, bound, layout_controlled)
        return seen.high < -bound or worse or (-bound <= seen.low and seen.high <= bound)

    return rule


def judge(
    objective: Objective,
    comparisons: Mapping[str, Estimate],
    counts: Mapping[str, tuple[float, float]],
    floor: Floor | None,
    *,
    accept: Literal["objective", "count"] = "objective",
    guards: Sequence[GuardResult] = (),
    layout_controlled: bool = True,
    same_objects: bool = False,
    aside: str = "",
) -> Judgement:
    """Return the verdict. `comparisons` are estimates by metric, `counts` are (base, candidate) by metric.

    `aside` says of the same objects what leaves the change out of them.

    For an objective that is a count, every comparison is taken for a time, where less is better. "Worse" and "better"
    below are in the objective's own direction. The bound is `bound_of`; a count "fell" when it did by the margin.
    The first case that holds:

    1. The candidate changes no built object: `no-change`.
    2. A count fell at all while a time's interval lies entirely above zero: `regressed`.
    3. The objective is entirely better than the bound, and a guard is broken: `regressed`, the guard named.
    4. The same, and a guard is undecided: `cannot-tell`, the guard named.
    5. The same, and every guard holds: `improved`, accepted.
    6. The objective's interval lies entirely on the worse side of the floor: `regressed`.
    7. A count fell while the objective is undecided, unchanged or not measured, and a guard is broken: `regressed`.
    8. The same, no guard broken: `improved(count only)`; accepted when the workload says `accept: count` and every
       guard holds.
    9. The objective was not measured: `cannot-tell`.
    10. Its interval lies within the bound on both sides: `no-change`.
    11. Otherwise: `cannot-tell`, with the smallest change that would have been detected.

    In 6 the interval must clear the floor and not just zero, which it does in one null of forty. Where layouts are not
    controlled, 2 and 6 ask for the whole bound: an interval over boots of two builds excludes zero in a third of all
    comparisons of nothing (LAYOUT.md). Without a floor, 6 takes the margin.
    An objective that is a count goes through 12: entirely better than its margin is `improved(count only)`, accepted
    when every guard holds (3 and 4 apply), since the workload says that it is the objective; 13: worse by more than
    the margin: `regressed`; 14: else `no-change`.
    """
    if same_objects:
        reason = "The candidate changes no built object: every image is byte-identical"
        return _no(1, Verdict.NO_CHANGE, f"{reason} ({aside})." if aside else f"{reason}.")
    facts = _Facts(objective, comparisons, counts, floor, accept, tuple(guards), layout_controlled)
    contradiction = _count_against_time(facts)
    if contradiction:
        return contradiction
    if objective.kind == "count":
        return _judge_count(facts)
    return _judge_measured(facts)


def confirm(first: Judgement, second: Judgement) -> Judgement:
    """Return what is said after an accepted candidate was measured again on fresh layouts: only the second counts.

    The first picked it, maybe by luck (of ten null candidates at 5 % one "wins" in 40 % of rounds), so its number is
    never reported. A first judgement that accepted nothing is returned as it is.
    """
    if not first.accepted:
        return first
    if second.accepted:
        return replace(second, reason=f"Confirmed on fresh layouts: {second.reason}")
    return replace(second, reason=f"Passed once, not confirmed on fresh layouts: {second.reason}", accepted=False)


def rejected(rule: str, detail: str) -> Judgement:
    """Return the judgement on a candidate that a policy rule refused before it was built."""
    return Judgement(Verdict.REJECTED, f"Rejected by the rule '{rule}': {detail}.", None, accepted=False, rule=rule)


def unmeasured(why: str) -> Judgement:
    """Return the judgement on a candidate that passed every check and then gave no readings."""
    return _no(0, Verdict.CANNOT_TELL, f"It could not be measured: {why}.")


def incorrect(differences: Sequence[str]) -> Judgement:
    """Return the judgement on a candidate that does not build cleanly, fails tests or answers differently."""
    more = f" (and {len(differences) - 1} more)" if len(differences) > 1 else ""
    return Judgement(Verdict.INCORRECT, f"Incorrect: {differences[0]}{more}.", None, accepted=False)


def guard_from_estimate(
    name: str,
    estimate: Estimate,
    margin: float,
    direction: Direction = "lower",
    *,
    layout_controlled: bool = True,
) -> GuardResult:
    """Say whether a measured guard is non-inferior: its interval's worse end may not pass the margin.

    It is broken when the interval lies entirely on the worse side of zero and the estimate is past the margin; what is
    neither is undecided. Where layouts are not controlled the margin is widened as the objective's bound is, and
    "zero" is the margin.
    """
    seen = estimate if direction == "lower" else _flipped(estimate)
    limit = margin if layout_controlled else _one_layout(margin)
    widened = "" if layout_controlled else " (widened: layouts are not controlled)"
    detail = f"{name} changed by {interval_text(estimate)}, its margin is {percent(limit, sign=False)}{widened}"
    if seen.high <= limit:
        return GuardResult(name, "holds", detail)
    broken = seen.low > (0 if layout_controlled else limit) and seen.ratio_minus_one > limit
    return GuardResult(name, "broken" if broken else "undecided", detail)


def guard_decided(
    margin: float, direction: Direction = "lower", *, layout_controlled: bool
) -> Callable[[Estimate], bool]:
    """Return the stopping rule of a guard's own comparison: its interval lies on one side of the margin."""
    limit = margin if layout_controlled else _one_layout(margin)

    def rule(estimate: Estimate) -> bool:
        seen = estimate if direction == "lower" else _flipped(estimate)
        return seen.high <= limit or seen.low > limit

    return rule


def guard_from_count(
    name: str, base: float, candidate: float, margin: float, direction: Direction = "lower"
) -> GuardResult:
    """Say whether an exact count stayed within its margin; from 0 on base, whether it stayed 0 or got better."""
    if base <= 0:
        better = candidate <= base if direction == "lower" else candidate >= base
        return GuardResult(name, "holds" if better else "broken", f"{name} changed from {base:g} to {candidate:g}")
    change = exact_estimate(base, candidate).ratio_minus_one
    worse = change if direction == "lower" else -change
    detail = f"{name} changed by {percent(change)}, its margin is {percent(margin, sign=False)}"
    return GuardResult(name, "holds" if worse <= margin else "broken", detail)


def guard_from_text(growth: int | None, limit: int) -> GuardResult:
    """Say whether the text section grew by no more than `limit` bytes; an unknown size is undecided."""
    if growth is None:
        return GuardResult("text size", "undecided", "the size of the text section is not known")
    state: GuardState = "holds" if growth <= limit else "broken"
    return GuardResult("text size", state, f"text grew by {growth:+d} bytes, {limit} are allowed")


def percent(ratio: float, *, sign: bool = True) -> str:
    """Return a ratio as people read it, `-76.52 %`."""
    text = f"{100 * ratio:+.2f}" if sign else f"{100 * ratio:.2f}"
    return f"{text} %" if float(text) else "0.00 %"


def interval_text(estimate: Estimate) -> str:
    """Return an estimate with its interval, `-76.52 % [-76.61, -76.40] at 99.75 %`; an exact one without.

    The confidence is said because it differs from look to look (`statistics.looks`).
    """
    if estimate.low == estimate.high:
        return percent(estimate.ratio_minus_one)
    ends = f"[{100 * estimate.low:+.2f}, {100 * estimate.high:+.2f}]"
    return f"{percent(estimate.ratio_minus_one)} {ends} at {100 * estimate.confidence:.4g} %"


@dataclass(frozen=True)
class _Facts:
    objective: Objective
    comparisons: Mapping[str, Estimate]
    counts: Mapping[str, tuple[float, float]]
    floor: Floor | None
    accept: Literal["objective", "count"]
    guards: tuple[GuardResult, ...]
    layout_controlled: bool

    @property
    def bound(self) -> float:
        return bound_of(self.objective, self.floor, layout_controlled=self.layout_controlled)

    @property
    def zero(self) -> float:
        """Where "above zero" begins: at zero only when layouts are in the interval."""
        time = self.objective if self.objective.kind != "count" else self.objective.model_copy(update={"kind": "time"})
        return 0.0 if self.layout_controlled else bound_of(time, self.floor, layout_controlled=False)

    def guard(self, state: GuardState) -> GuardResult | None:
        return next((guard for guard in self.guards if guard.state == state), None)

    def fallen(self, by: float) -> tuple[str, float] | None:
        """Return the count that fell most, if one fell by more than `by`."""
        changes = {name: candidate / base - 1 for name, (base, candidate) in self.counts.items() if base > 0}
        name = min(changes, key=lambda key: changes[key], default=None)
        return (name, changes[name]) if name is not None and changes[name] < -by else None


def _count_against_time(facts: _Facts) -> Judgement | None:
    """Case 2."""
    count = facts.fallen(0)
    if not count:
        return None
    for metric, estimate in facts.comparisons.items():
        is_objective = metric == facts.objective.metric
        if facts.objective.kind != "count" and not is_objective:
            continue
        seen = _oriented(facts.objective, estimate) if is_objective else estimate
        if seen.low > facts.zero:
            worse = f"the {metric} got worse" if is_objective and facts.objective.kind == "kpi" else "time rose"
            reason = (
                f"The {count[0]} fell by {percent(-count[1], sign=False)}, yet {worse}: "
                f"{_measured(metric, estimate)}, all of it beyond {percent(facts.zero, sign=False)}."
            )
            return _no(2, Verdict.REGRESSED, reason)
    return None


def _judge_measured(facts: _Facts) -> Judgement:
    """Cases 3 to 11."""
    objective, bound = facts.objective, facts.bound
    estimate = facts.comparisons.get(objective.metric)
    if estimate is None:
        return _count_only(facts, f"while the {objective.metric} was not measured") or _no(
            9,
            Verdict.CANNOT_TELL,
            f"The {objective.metric} has no estimate: no whole look was reached within the time allowed.",
        )
    seen = _oriented(objective, estimate)
    measured = _measured(objective.metric, estimate)
    if seen.high < -bound:
        return _better(facts, f"{measured}, all of it beyond {_bound_text(facts)}", Verdict.IMPROVED, 5, accepted=True)
    if _worse(seen, objective, facts.floor, bound, facts.layout_controlled):
        name = "floor" if facts.floor else "margin"
        limit = f"the {name} of {percent(_floor_or_margin(objective, facts.floor), sign=False)}"
        beyond = limit if facts.layout_controlled else _bound_text(facts)
        return _no(6, Verdict.REGRESSED, _sentence(f"{measured}, all of it worse than {beyond}."))
    inside = -bound <= seen.low and seen.high <= bound
    state = f"while {measured}, which is {'within' if inside else 'undecided against'} {_bound_text(facts)}"
    only = _count_only(facts, state)
    if only:
        return only if inside else replace(only, smallest_detectable=smallest_detectable(estimate, bound))
    if inside:
        return _no(10, Verdict.NO_CHANGE, _sentence(f"{measured}, all of it within {_bound_text(facts)}."))
    least = smallest_detectable(estimate, bound)
    reason = (
        f"{measured} neither clears {_bound_text(facts)} nor lies within it; "
        f"a change of {percent(least, sign=False)} would have been detected."
    )
    return replace(_no(11, Verdict.CANNOT_TELL, _sentence(reason)), smallest_detectable=least)


def _judge_count(facts: _Facts) -> Judgement:
    """Cases 3, 4, 9 and 12 to 14: the workload's objective is a count."""
    metric = facts.objective.metric
    if metric not in facts.counts:
        return _no(9, Verdict.CANNOT_TELL, f"The {metric} was not counted, so there is nothing to judge.")
    base, candidate = facts.counts[metric]
    estimate = exact_estimate(base, candidate)
    seen = _oriented(facts.objective, estimate)
    text = f"the {metric} changed by {interval_text(estimate)} ({base:.12g} to {candidate:.12g})"
    margin = f"the margin of {percent(facts.bound, sign=False)}"
    if seen.high < -facts.bound:
        return _better(facts, f"{text}, beyond {margin}", Verdict.IMPROVED_COUNT, 12, accepted=True)
    if seen.low > facts.bound:
        return _no(13, Verdict.REGRESSED, _sentence(f"{text}, worse than {margin}."))
    return _no(14, Verdict.NO_CHANGE, _sentence(f"{text}, within {margin}."))


def _better(facts: _Facts, what: str, verdict: Verdict, case: int, *, accepted: bool) -> Judgement:
    """Cases 3, 4 and the given one: the objective is better, what do the guards say."""
    broken, undecided = facts.guard("broken"), facts.guard("undecided")
    if broken:
        return _no(
            3, Verdict.REGRESSED, _sentence(f"{what}, but the guard '{broken.name}' is broken: {broken.detail}.")
        )
    if undecided:
        reason = f"{what}, but the guard '{undecided.name}' is undecided: {undecided.detail}."
        return _no(4, Verdict.CANNOT_TELL, _sentence(reason))
    guards = f"; every guard holds ({len(facts.guards)})" if facts.guards else ""
    return Judgement(verdict, _sentence(f"{what}{guards}."), None, accepted=accepted, case=case)


def _count_only(facts: _Facts, state: str) -> Judgement | None:
    """Cases 7 and 8: a count fell by the margin while the objective shows nothing."""
    count = facts.fallen(float(facts.objective.margin))
    if not count:
        return None
    fell = f"The {count[0]} fell by {percent(-count[1], sign=False)} {state}"
    broken, undecided = facts.guard("broken"), facts.guard("undecided")
    if broken:
        return _no(7, Verdict.REGRESSED, f"{fell}, and the guard '{broken.name}' is broken: {broken.detail}.")
    accepted = facts.accept == "count" and not undecided
    tail = "this workload accepts counts" if facts.accept == "count" else "a count alone is not accepted"
    if undecided:
        tail = f"the guard '{undecided.name}' is undecided: {undecided.detail}"
    return Judgement(Verdict.IMPROVED_COUNT, f"{fell}; {tail}.", None, accepted=accepted, case=8)


def _worse(seen: Estimate, objective: Objective, floor: Floor | None, bound: float, layout_controlled: bool) -> bool:
    """Case 6, of an estimate for which less is better."""
    if not layout_controlled:
        return seen.low > bound
    return seen.low > _floor_or_margin(objective, floor)


def _floor_or_margin(objective: Objective, floor: Floor | None) -> float:
    return floor.ratio if floor else float(objective.margin)


def _oriented(objective: Objective, estimate: Estimate) -> Estimate:
    return estimate if objective.direction == "lower" else _flipped(estimate)


def _flipped(estimate: Estimate) -> Estimate:
    return replace(estimate, ratio_minus_one=-estimate.ratio_minus_one, low=-estimate.high, high=-estimate.low)


def _measured(metric: str, estimate: Estimate) -> str:
    layouts = f"{estimate.layouts} layouts" if estimate.layouts > 1 else "one layout"
    return f"the {metric} changed by {interval_text(estimate)} over {layouts} of {estimate.boots} boots"


def _bound_text(facts: _Facts) -> str:
    text = f"the bound of {percent(facts.bound, sign=False)}"
    if not facts.layout_controlled:
        return f"{text} (widened: layouts are not controlled)"
    return text if facts.floor else f"{text} (widened: no floor was measured)"


def _sentence(text: str) -> str:
    # Only the first letter: capitalize() would lower the rest, symbols and units included.
    return text[:1].upper() + text[1:]


def _no(case: int, verdict: Verdict, reason: str) -> Judgement:
    return Judgement(verdict, reason, None, accepted=False, case=case)
