# SPDX-License-Identifier: Apache-2.0
"""What was measured of one candidate, as values that go into the journal and come back whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, TypeVar

from git_hmopt.adapters import BuildResult
from git_hmopt.config.schema import Guard
from git_hmopt.errors import MeasurementError
from git_hmopt.loop.bench import Bench, Meter
from git_hmopt.measure.compare import Comparison, compare, count, measured_case
from git_hmopt.measure.floor import Floor
from git_hmopt.measure.gate import GuardResult, decided, guard_from_count, guard_from_estimate, interval_text
from git_hmopt.measure.statistics import Estimate, Level
from git_hmopt.records.base import decimal_text
from git_hmopt.records.run import Objective

_T = TypeVar("_T", Estimate, Level)


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
    """Runs that gave no reading and were repeated or left out."""


@dataclass(frozen=True)
class Readings:
    """All of one comparison of two commits."""

    same_objects: bool = False
    layout_controlled: bool = True
    measured: Mapping[str, Measured] = field(default_factory=dict)
    counts: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    guards: tuple[GuardResult, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON; numbers are decimal text, as everywhere in records."""
        return {
            "same_objects": self.same_objects,
            "layout_controlled": self.layout_controlled,
            "measured": {
                metric: {
                    "estimate": _texts(one.estimate),
                    "base": _texts(one.base),
                    "candidate": _texts(one.candidate),
                    "samples": one.samples,
                    "stopped": one.stopped,
                    "bootstrap": [decimal_text(end) for end in one.bootstrap] if one.bootstrap else None,
                    "failures": one.failures,
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
            layout_controlled=data["layout_controlled"],
            measured={
                metric: Measured(
                    estimate=_numbers(Estimate, one["estimate"]),
                    base=_numbers(Level, one["base"]),
                    candidate=_numbers(Level, one["candidate"]),
                    samples=one["samples"],
                    stopped=one["stopped"],
                    bootstrap=(float(one["bootstrap"][0]), float(one["bootstrap"][1])) if one["bootstrap"] else None,
                    failures=one["failures"],
                )
                for metric, one in data["measured"].items()
            },
            counts={metric: (float(pair[0]), float(pair[1])) for metric, pair in data["counts"].items()},
            guards=tuple(GuardResult(**guard) for guard in data["guards"]),
        )


def _texts(value: Estimate | Level) -> dict[str, Any]:
    return {name: decimal_text(one) if isinstance(one, float) else one for name, one in asdict(value).items()}


def _numbers(kind: type[_T], data: Mapping[str, Any]) -> _T:
    known = {one.name for one in fields(kind)}
    if set(data) != known:
        raise ValueError(f"{kind.__name__} with other fields than {sorted(known)}")
    values: dict[str, Any] = {name: float(one) if isinstance(one, str) else one for name, one in data.items()}
    return kind(**values)


def measure_all(
    bench: Bench,
    reference: Mapping[str, BuildResult],
    built: Mapping[str, BuildResult],
    *,
    stream: str,
    data_stream: str,
    floor: Floor | None,
    deadline: float,
    early_stop: bool = True,
) -> Readings:
    """Measure every metric of the workload, and its guards. `stream` names the layouts, `data_stream` the inputs.

    With `early_stop` the measurement ends when the verdict is clear; without, all layouts are run.
    """
    measured: dict[str, Measured] = {}
    counts: dict[str, tuple[float, float]] = {}
    controlled = True
    for meter in bench.meters:
        if meter.workload != bench.plan.workload:
            continue
        if meter.adapter.repeatable:
            counts[meter.metric] = _count(bench, meter, reference, built, data_stream)
            continue
        compared = _compare(bench, meter, reference, built, stream, data_stream, floor, deadline, early_stop)
        controlled = controlled and compared.layout_controlled
        kept = _kept(bench, compared)
        if kept:
            measured[meter.metric] = kept
    guards = tuple(
        _guard(bench, guard, reference, built, stream, data_stream, measured, counts, deadline)
        for guard in bench.workload.guards
    )
    return Readings(False, controlled, measured, counts, guards)


def _count(
    bench: Bench, meter: Meter, reference: Mapping[str, BuildResult], built: Mapping[str, BuildResult], stream: str
) -> tuple[float, float]:
    one, two = reference[meter.build].image, built[meter.build].image
    assert one is not None and two is not None
    bench.log.say(f"counting {meter.metric} on {meter.build}")
    inputs = bench.workloads()[meter.workload].inputs
    case = measured_case(inputs, bench.plan.seed, stream=stream, counting=True)
    return count(one, two, meter.adapter, case, metric=meter.metric)


def _compare(
    bench: Bench,
    meter: Meter,
    reference: Mapping[str, BuildResult],
    built: Mapping[str, BuildResult],
    stream: str,
    data_stream: str,
    floor: Floor | None,
    deadline: float,
    early_stop: bool = True,
) -> Comparison:
    plan = bench.measure_plan(early_stop=early_stop)
    inputs = bench.workloads()[meter.workload].inputs
    objective = bench.objective
    if (meter.workload, meter.metric) != (bench.plan.workload, objective.metric):
        objective = Objective(metric=meter.metric, kind="time" if meter.kind == "time" else "kpi")
        floor = None
    builder = bench.builds[meter.build]
    what = f"{meter.workload}/{meter.metric}"
    bench.log.say(f"measuring {what}: up to {plan.layouts} layouts x {plan.boots} boots an arm")
    return compare(
        bench.side(reference[meter.build]),
        bench.side(built[meter.build]),
        builder,
        meter.adapter,
        measured_case(inputs, bench.plan.seed, stream=data_stream),
        plan,
        metric=meter.metric,
        run_seed=bench.plan.seed,
        stream=stream,
        decided=decided(objective, floor, layout_controlled=builder.layout_controlled) if early_stop else _never,
        deadline=deadline,
    )


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
        compared.estimate,
        compared.base,
        compared.candidate,
        record.sha256,
        compared.stopped,
        compared.bootstrap(),
        len(compared.samples.failures),
    )


def _guard(
    bench: Bench,
    guard: Guard,
    reference: Mapping[str, BuildResult],
    built: Mapping[str, BuildResult],
    stream: str,
    data_stream: str,
    measured: Mapping[str, Measured],
    counts: Mapping[str, tuple[float, float]],
    deadline: float,
) -> GuardResult:
    owner = guard.workload or bench.plan.workload
    name = f"{owner}/{guard.metric}"
    meter = bench.meter(owner, guard.metric)
    own = owner == bench.plan.workload
    if meter.adapter.repeatable:
        pair = counts[guard.metric] if own else _count(bench, meter, reference, built, data_stream)
        return guard_from_count(name, *pair, guard.margin)
    if own and guard.metric in measured:
        return guard_from_estimate(name, measured[guard.metric].estimate, guard.margin)
    try:
        compared = _compare(bench, meter, reference, built, stream, data_stream, None, deadline)
    except MeasurementError as error:
        return GuardResult(name, "undecided", f"{name} could not be measured: {error}")
    if compared.estimate is None:
        return GuardResult(name, "undecided", f"{name} was not measured before the time budget ended")
    return guard_from_estimate(name, compared.estimate, guard.margin)
