# SPDX-License-Identifier: Apache-2.0
"""What was measured of one candidate: taken, and as values that go into the journal and come back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, TypeVar

from git_hmopt.adapters import BuildResult
from git_hmopt.config.schema import Guard
from git_hmopt.errors import MeasurementError
from git_hmopt.loop.bench import Bench, Meter
from git_hmopt.measure.compare import Comparison, compare, count, measured_case
from git_hmopt.measure.floor import Floor
from git_hmopt.measure.gate import (
    Direction,
    GuardResult,
    decided,
    guard_decided,
    guard_from_count,
    guard_from_estimate,
    interval_text,
)
from git_hmopt.measure.statistics import Estimate, Level, ratio_texts
from git_hmopt.records.base import decimal_text
from git_hmopt.records.run import Objective

_T = TypeVar("_T", Estimate, Level)
Rule = Callable[[Estimate], bool]
"""Says of a look's estimate whether the comparison may end with it."""


@dataclass(frozen=True)
class Measured:
    """One metric that has noise."""

    estimate: Estimate
    base: Level
    candidate: Level
    samples: str
    """sha256 of the raw samples."""
    stopped: str
    bootstrap: tuple[float, float] | None
    failures: int
    """Runs that gave no reading in any attempt and were left out."""
    layout_controlled: bool
    ratios: tuple[float, ...] = ()
    """The points under the interval; readings that were taken by earlier versions have none."""


@dataclass(frozen=True)
class Readings:
    """All of one comparison of two commits."""

    same_objects: bool = False
    measured: Mapping[str, Measured] = field(default_factory=dict)
    counts: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    guards: tuple[GuardResult, ...] = ()
    aside: str = ""
    """Of the same objects: what leaves the change out of the build, where that is known."""

    def layout_controlled(self, objective: str) -> bool:
        """Say whether layouts are in the objective's interval; without one, whether they are in every other's."""
        own = self.measured.get(objective)
        return all(one.layout_controlled for one in ([own] if own else self.measured.values()))

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON; numbers are decimal text of nine digits, as everywhere in records."""
        return {
            "same_objects": self.same_objects,
            "aside": self.aside,
            "measured": {
                metric: {
                    **{name: getattr(one, name) for name in _PLAIN},
                    **{name: _texts(getattr(one, name)) for name in ("estimate", "base", "candidate")},
                    "bootstrap": [decimal_text(end) for end in one.bootstrap] if one.bootstrap else None,
                    "ratios": list(ratio_texts(one.ratios)),
                }
                for metric, one in self.measured.items()
            },
            "counts": {metric: [decimal_text(one) for one in pair] for metric, pair in self.counts.items()},
            "guards": [asdict(guard) for guard in self.guards],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Readings:
        """Read what `to_json` wrote; KeyError, TypeError or ValueError when it is not that."""
        return cls(
            same_objects=data["same_objects"],
            aside=data.get("aside", ""),
            measured={
                metric: Measured(
                    **{name: one[name] for name in _PLAIN},
                    estimate=_numbers(Estimate, one["estimate"]),
                    base=_numbers(Level, one["base"]),
                    candidate=_numbers(Level, one["candidate"]),
                    bootstrap=(float(one["bootstrap"][0]), float(one["bootstrap"][1])) if one["bootstrap"] else None,
                    ratios=tuple(float(ratio) for ratio in one.get("ratios", ())),
                )
                for metric, one in data["measured"].items()
            },
            counts={metric: (float(pair[0]), float(pair[1])) for metric, pair in data["counts"].items()},
            guards=tuple(GuardResult(**guard) for guard in data["guards"]),
        )


_PLAIN = ("samples", "stopped", "failures", "layout_controlled")


def _texts(value: Estimate | Level) -> dict[str, Any]:
    return {name: decimal_text(one) if isinstance(one, float) else one for name, one in asdict(value).items()}


def _numbers(kind: type[_T], data: Mapping[str, Any]) -> _T:
    known = {one.name for one in fields(kind)}
    if set(data) != known:
        raise ValueError(f"{kind.__name__} with other fields than {sorted(known)}")
    values: dict[str, Any] = {name: float(one) if isinstance(one, str) else one for name, one in data.items()}
    return kind(**values)


@dataclass(frozen=True)
class Measurement:
    """A comparison of two built commits that is to be made: every metric of the workload, and its guards."""

    bench: Bench
    reference: Mapping[str, BuildResult]
    built: Mapping[str, BuildResult]
    stream: str
    """Names the layouts (`measure.layouts.STREAMS`)."""
    data_stream: str
    """Names the inputs."""
    floor: Floor | None
    deadline: float
    early_stop: bool = True
    """End when the verdict is clear; without, all layouts are run."""

    def take(self) -> Readings:
        """Measure. Raises MeasurementError when a metric of the workload itself cannot be read."""
        measured: dict[str, Measured] = {}
        counts: dict[str, tuple[float, float]] = {}
        for meter in self.bench.own_meters:
            if meter.adapter.repeatable:
                counts[meter.metric] = self._count(meter)
                continue
            found = _kept(self.bench, self._compare(meter, self._rule(meter)))
            if found:
                measured[meter.metric] = found
        guards = tuple(self._guard(guard, measured, counts) for guard in self.bench.workload.guards)
        return Readings(False, measured, counts, guards)

    def _count(self, meter: Meter) -> tuple[float, float]:
        one, two = self.reference[meter.build].image, self.built[meter.build].image
        assert one is not None and two is not None
        self.bench.log.say(f"counting {meter.metric} on {meter.build}")
        inputs = self.bench.workloads()[meter.workload].inputs
        case = measured_case(inputs, self.bench.plan.seed, stream=self.data_stream, counting=True)
        return count(one, two, meter.adapter, case, metric=meter.metric)

    def _compare(self, meter: Meter, rule: Rule) -> Comparison:
        bench = self.bench
        plan = bench.measure_plan(early_stop=self.early_stop)
        inputs = bench.workloads()[meter.workload].inputs
        what = f"{meter.workload}/{meter.metric}"
        bench.log.say(f"measuring {what}: up to {plan.layouts} layouts x {plan.boots} boots an arm")
        return compare(
            bench.side(self.reference[meter.build]),
            bench.side(self.built[meter.build]),
            bench.builds[meter.build],
            meter.adapter,
            measured_case(inputs, bench.plan.seed, stream=self.data_stream),
            plan,
            metric=meter.metric,
            run_seed=bench.plan.seed,
            stream=self.stream,
            decided=rule if self.early_stop else _never,
            deadline=self.deadline,
        )

    def _rule(self, meter: Meter) -> Rule:
        """Return when a metric of the workload itself needs no more layouts: by the objective, its guard, or zero."""
        controlled = self.bench.builds[meter.build].layout_controlled
        if meter.metric == self.bench.objective.metric:
            return decided(self.bench.objective, self.floor, layout_controlled=controlled)
        for guard in self.bench.workload.guards:
            if guard.workload in (None, meter.workload) and guard.metric == meter.metric:
                return guard_decided(guard.margin, self._direction(guard), layout_controlled=controlled)
        shown = Objective(metric=meter.metric, kind="time" if meter.kind == "time" else "kpi")
        return decided(shown, None, layout_controlled=controlled)

    def _guard(
        self, guard: Guard, measured: Mapping[str, Measured], counts: Mapping[str, tuple[float, float]]
    ) -> GuardResult:
        owner = guard.workload or self.bench.plan.workload
        name = f"{owner}/{guard.metric}"
        meter = self.bench.meter(owner, guard.metric)
        own = owner == self.bench.plan.workload
        direction = self._direction(guard)
        controlled = self.bench.builds[meter.build].layout_controlled
        try:
            if meter.adapter.repeatable:
                pair = counts[guard.metric] if own else self._count(meter)
                return guard_from_count(name, *pair, guard.margin, direction)
            if own:
                estimate = measured[guard.metric].estimate if guard.metric in measured else None
            else:
                rule = guard_decided(guard.margin, direction, layout_controlled=controlled)
                found = _kept(self.bench, self._compare(meter, rule))
                estimate = found.estimate if found else None
        except MeasurementError as error:
            return GuardResult(name, "undecided", f"{name} could not be measured: {error.what}")
        if estimate is None:
            return GuardResult(name, "undecided", f"{name} was not measured before the time budget ended")
        return guard_from_estimate(name, estimate, guard.margin, direction, layout_controlled=controlled)

    def _direction(self, guard: Guard) -> Direction:
        """Return which way a guarded metric gets better: its workload's objective says so, everything else falls."""
        objective = self.bench.workloads()[guard.workload or self.bench.plan.workload].objective
        return objective.direction if objective.metric == guard.metric else "lower"


def _never(estimate: Estimate) -> bool:
    return False


def _kept(bench: Bench, compared: Comparison) -> Measured | None:
    """Put the raw samples away and return the summary; None when the deadline came before the first look."""
    record = bench.artifacts.put_bytes(
        compared.samples.to_bytes(), kind="samples", name=f"{compared.metric}.json", media_type="application/json"
    )
    if compared.estimate is None or compared.base is None or compared.candidate is None:
        return None
    bench.log.say(f"{compared.metric}: {interval_text(compared.estimate)} over {compared.estimate.layouts} layouts")
    return Measured(
        estimate=compared.estimate,
        base=compared.base,
        candidate=compared.candidate,
        samples=record.sha256,
        stopped=compared.stopped,
        bootstrap=compared.bootstrap(),
        failures=len(compared.samples.failures),
        layout_controlled=compared.layout_controlled,
        ratios=compared.ratios(),
    )
