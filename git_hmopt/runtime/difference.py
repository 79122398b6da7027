# SPDX-License-Identifier: Apache-2.0
"""Compare two captures, function by function and stack by stack.

Two captures are never equally long, so costs are set against something first, and the result says against what:
`samples`, each side's own total (where does the time go now?), or `duration`, the time between each side's first and
last sample (does it cost more a second?). Of shares one can only grow as another shrinks; rates can all grow. Where
both sides did the same `work`, a benchmark before and after, costs stand side by side as they were counted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from git_hmopt.errors import MeasurementError
from git_hmopt.runtime.call_graph import CallGraph, from_samples
from git_hmopt.runtime.fold import Stack, folded_pairs, plain_name, stacks_of
from git_hmopt.traces.tables import Frame, Samples

By = Literal["samples", "duration", "work"]
SECOND = 1_000_000_000


@dataclass(frozen=True)
class Side:
    """One of the two captures."""

    label: Literal["before", "after"]
    name: str
    """Which capture it is, as it was asked for."""
    event: str
    unit: str
    total: int
    duration_ns: int | None
    """From the first to the last sample; None where the capture has no times."""


@dataclass(frozen=True)
class Pair:
    """One cost on both sides: as it was counted, and normalised (a share of 0..1, cost a second, or as counted)."""

    before: int
    after: int
    before_rate: float
    after_rate: float

    @property
    def change(self) -> float:
        """Return how much more it is after, normalised."""
        return self.after_rate - self.before_rate

    @property
    def ratio(self) -> float | None:
        """Return after by before, normalised; None where there was nothing before."""
        return self.after_rate / self.before_rate if self.before_rate else None


@dataclass(frozen=True)
class FunctionChange:
    """A function on both sides; what it cost with its callees is None where a side has no call stacks."""

    symbol: str
    own: Pair
    inclusive: Pair | None


@dataclass(frozen=True)
class StackChange:
    """A stack on both sides, root first."""

    stack: Stack
    cost: Pair


@dataclass(frozen=True)
class Difference:
    """What changed from one capture to another, largest change first."""

    by: By
    measure: str
    """What a normalised number is, in words."""
    before: Side
    after: Side
    scale: Fraction
    """What costs of `before` are multiplied with to stand beside those of `after`."""
    functions: tuple[FunctionChange, ...]
    stacks: tuple[StackChange, ...]

    def scaled(self) -> dict[Stack, tuple[int, int]]:
        """Return every stack's two costs: of before scaled to after and rounded, of after as they were counted."""
        return {one.stack: (round(one.cost.before * self.scale), one.cost.after) for one in self.stacks}

    def folded(self) -> str:
        """Return the folded difference: two numbers a stack, as `scaled` has them."""
        return folded_pairs(self.scaled())


def compare(before: Samples, after: Samples, *, names: tuple[str, str], by: By = "samples") -> Difference:
    """Return how two captures differ; `names` say which they are.

    Functions are the same when their names are. MeasurementError when a side is empty, or has no times where they are
    needed, or when costs of two units would have to be compared.
    """
    sides = _side("before", names[0], before), _side("after", names[1], after)
    divisors = [_divisor(side, by) for side in sides]
    if by != "samples" and sides[0].unit != sides[1].unit:
        raise MeasurementError(
            f"'{names[0]}' counts {sides[0].unit} and '{names[1]}' {sides[1].unit}: only shares can be compared",
            next_step="compare their shares: --by samples",
        )

    def pair(one: int, two: int) -> Pair:
        return Pair(one, two, float(one / divisors[0]), float(two / divisors[1]))

    return Difference(
        by=by,
        measure={"samples": "share of all cost", "duration": f"{sides[1].unit} a second", "work": sides[1].unit}[by],
        before=sides[0],
        after=sides[1],
        scale=divisors[1] / divisors[0],
        functions=_functions(_graph(before), _graph(after), pair),
        stacks=_stacks(before, after, pair),
    )


def _side(label: Literal["before", "after"], name: str, samples: Samples) -> Side:
    total = sum(samples.weight)
    if not total:
        raise MeasurementError(f"'{name}' has no samples: there is nothing to compare")
    times = [stamp for stamp in samples.ts_ns if stamp is not None]
    # Where only some samples have a time, the time between the first and the last one of all is unknown.
    duration = max(times) - min(times) if len(times) == len(samples) else None
    return Side(label, name, samples.event, samples.unit, total, duration or None)


def _divisor(side: Side, by: By) -> Fraction:
    if by == "work":
        return Fraction(1)
    if by == "samples":
        return Fraction(side.total)
    if side.duration_ns is None:
        raise MeasurementError(
            f"'{side.name}' has no times, so its duration is unknown", next_step="compare shares: --by samples"
        )
    return Fraction(side.duration_ns, SECOND)


def _graph(samples: Samples) -> CallGraph:
    return from_samples(samples, name=_name)


def _name(frame: Frame) -> str:
    return plain_name(frame.label)


def _functions(before: CallGraph, after: CallGraph, pair: Callable[[int, int], Pair]) -> tuple[FunctionChange, ...]:
    one, two = before.inclusive_cost, after.inclusive_cost
    found = []
    for symbol in before.self_cost.keys() | after.self_cost.keys():
        own = pair(before.self_cost.get(symbol, 0), after.self_cost.get(symbol, 0))
        both = None if one is None or two is None else pair(one.get(symbol, 0), two.get(symbol, 0))
        found.append(FunctionChange(symbol, own, both))
    return tuple(sorted(found, key=lambda one: (-abs(one.own.change), one.symbol)))


def _stacks(before: Samples, after: Samples, pair: Callable[[int, int], Pair]) -> tuple[StackChange, ...]:
    one, two = stacks_of(before), stacks_of(after)
    found = [StackChange(stack, pair(one[stack], two[stack])) for stack in one.keys() | two.keys()]
    return tuple(sorted(found, key=lambda change: (-abs(change.cost.change), change.stack)))
