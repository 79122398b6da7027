# SPDX-License-Identifier: Apache-2.0
"""Measure two builds against each other: layouts from the build adapter, readings from the workload adapter.

Layouts are added look by look, each with all its boots, and the comparison ends at the first look that decides it.
The looks and their error rates are fixed beforehand (`statistics.looks`), so stopping early costs no false verdicts.
"""

from __future__ import annotations

import functools
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, Protocol

from git_hmopt.adapters import BuildResult, Image, Reading, WorkCase
from git_hmopt.config.schema import Inputs, Measure
from git_hmopt.errors import MeasurementError
from git_hmopt.measure.layouts import derived_seed, layout_seeds
from git_hmopt.measure.sampling import MIN_READINGS, Arm, Samples, SamplingPlan, sample
from git_hmopt.measure.statistics import (
    BOOT_LOOKS,
    LAYOUT_LOOKS,
    Estimate,
    Level,
    Look,
    boot_ratios,
    bootstrap_interval,
    estimate_boots,
    estimate_layouts,
    layout_ratios,
    level,
    looks,
)
from git_hmopt.records.words import Seed

CaseMaker = Callable[[int], WorkCase]
"""Gives the input of a round; all binaries of one round get the same."""
Stopped = Literal["decided", "exhausted", "deadline"]
EXTENSION = 2
"""A comparison that twelve layouts leave undecided is worth twelve more before it is given up as `cannot-tell`."""
BASE, CANDIDATE = "base", "candidate"


class LayoutSource(Protocol):
    """What `compare` needs of a BuildAdapter."""

    layout_controlled: bool

    def layouts(self, built: BuildResult, seeds: Sequence[Seed], into: Path) -> Mapping[Seed, Image]:
        """Return one image a seed."""
        ...


class ReadingSource(Protocol):
    """What `compare` needs of a WorkloadAdapter."""

    def measure(self, image: Image, case: WorkCase) -> Reading:
        """Run the marked window once."""
        ...


@dataclass(frozen=True)
class Plan:
    """How much is measured at most."""

    layouts: int = 12
    boots: int = 10
    confidence: float = 0.95
    early_stop: bool = True

    @classmethod
    def from_config(cls, section: Measure, *, early_stop: bool = True) -> Plan:
        """Return the plan that `.hmopt.yaml` asks for.

        A floor, and the number that is claimed, are measured at all configured layouts. A candidate stops early when
        its verdict is clear, and goes on to EXTENSION times as many when it is not.
        """
        layouts = EXTENSION * section.layouts if early_stop else section.layouts
        return cls(layouts, section.boots, section.confidence, early_stop)


@dataclass(frozen=True)
class Side:
    """A built source and where its layouts are kept."""

    built: BuildResult
    layouts: Path


@dataclass(frozen=True)
class Comparison:
    """What was measured of one metric, raw and summed up.

    `estimate` is of the last whole look, and None when there was none before the deadline.
    """

    metric: str
    estimate: Estimate | None
    base: Level | None
    candidate: Level | None
    samples: Samples
    """Everything that was read."""
    looked: Samples = field(repr=False)
    """The readings of the whole looks, on which the estimate stands."""
    stopped: Stopped
    layout_controlled: bool

    def ratios(self) -> tuple[float, ...]:
        """Return the points under the estimate's interval: layouts, or boots where those are all there is."""
        if not self.estimate:
            return ()
        if not self.layout_controlled:
            return boot_ratios(self.looked, base=BASE, candidate=CANDIDATE)
        return layout_ratios(self.looked, base=BASE, candidate=CANDIDATE, paired=self.estimate.paired)

    def bootstrap(self) -> tuple[float, float] | None:
        """Return the bootstrap interval over layouts at the estimate's confidence: a cross-check, decides nothing."""
        if not self.estimate or not self.layout_controlled:
            return None
        return bootstrap_interval(
            self.looked,
            base=BASE,
            candidate=CANDIDATE,
            paired=self.estimate.paired,
            confidence=self.estimate.confidence,
        )


def measured_case(inputs: Inputs, run_seed: int, *, stream: str, counting: bool = False) -> CaseMaker:
    """Return the inputs of measured rounds: the configured size, and fresh data in every round."""
    repetitions = (inputs.count_repetitions if counting else None) or inputs.repetitions

    def make(round_: int) -> WorkCase:
        return WorkCase(derived_seed(run_seed, "data", stream, round_), inputs.size, repetitions)

    return make


def compare(
    base: Side,
    candidate: Side,
    builder: LayoutSource,
    workload: ReadingSource,
    case: CaseMaker,
    plan: Plan,
    *,
    metric: str,
    run_seed: int,
    stream: str,
    decided: Callable[[Estimate], bool],
    deadline: float | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Comparison:
    """Measure the candidate against base until `decided` or the plan is exhausted, paired by layout seed.

    `deadline` is in the clock's seconds: no look is begun that is not expected to end before it, and no run is started
    that is not. Where the builder does not control layouts, the two images themselves are run and the unit is the boot.
    Raises MeasurementError when readings fail too often, or a layout is missing.
    """
    controlled = builder.layout_controlled
    if controlled:
        seeds = layout_seeds(run_seed, plan.layouts, stream=stream)
        stages = _layout_stages(base, candidate, builder, seeds, plan)
    else:
        stages = _boot_stages(base, candidate, plan)
    session = _Session(workload, case, metric, random.Random(derived_seed(run_seed, "order", stream)), deadline, clock)
    looked = Samples()
    estimate: Estimate | None = None
    stopped: Stopped = "exhausted"
    for stage in stages:
        if not session.extend(stage):
            stopped = "deadline"
            break
        looked = session.samples
        if controlled:
            estimate = estimate_layouts(looked, base=BASE, candidate=CANDIDATE, confidence=stage.look.confidence)
        else:
            estimate = estimate_boots(looked, base=BASE, candidate=CANDIDATE, confidence=stage.look.confidence)
        if decided(estimate):
            stopped = "decided"
            break
    return _summed(session.samples, looked, metric, estimate, stopped, controlled)


def compare_same(
    side: Side,
    builder: LayoutSource,
    workload: ReadingSource,
    case: CaseMaker,
    plan: Plan,
    *,
    metric: str,
    run_seed: int,
    streams: tuple[str, str] = ("floor", "floor-second"),
    deadline: float | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Comparison:
    """Measure one source against itself on two sets of layouts (A/A, unpaired), with all the plan's layouts.

    Raises MeasurementError where layouts are not controlled: one binary against itself understates the floor.
    """
    if not builder.layout_controlled:
        raise MeasurementError(
            "an A/A comparison needs two sets of layouts, and this build adapter does not control layouts",
            next_step="take the noise floor from null patches alone",
        )
    first, second = (layout_seeds(run_seed, plan.layouts, stream=stream) for stream in streams)
    look = Look(plan.layouts, plan.confidence)
    arms = functools.partial(_linked, ((BASE, side, first), (CANDIDATE, side, second)), builder)
    session = _Session(
        workload, case, metric, random.Random(derived_seed(run_seed, "order", *streams)), deadline, clock
    )
    if not session.extend(_Stage(arms, 2 * plan.layouts, plan.boots, look)):
        return _summed(session.samples, Samples(), metric, None, "deadline", True)
    estimate = estimate_layouts(
        session.samples, base=BASE, candidate=CANDIDATE, paired=False, confidence=plan.confidence
    )
    return _summed(session.samples, session.samples, metric, estimate, "exhausted", True)


def count(
    base: Image, candidate: Image, workload: ReadingSource, case: CaseMaker, *, metric: str
) -> tuple[float, float]:
    """Return one reading of a repeatable count for base and candidate, on the same input; it is tried twice."""
    return (
        _counted(base, workload, case, metric, BASE),
        _counted(candidate, workload, case, metric, CANDIDATE),
    )


@dataclass(frozen=True)
class _Stage:
    """What is run between two looks. `arms` links when called, so that a look never reached costs no links."""

    arms: Callable[[], Sequence[Arm]]
    binaries: int
    rounds: int
    look: Look
    min_readings: int = MIN_READINGS


def _layout_stages(
    base: Side, candidate: Side, builder: LayoutSource, seeds: Sequence[Seed], plan: Plan
) -> list[_Stage]:
    """Return stages that add layouts, each with all its boots."""
    shares = LAYOUT_LOOKS if plan.early_stop else ()
    stages: list[_Stage] = []
    done = 0
    for look in looks(len(seeds), plan.confidence, shares):
        new = seeds[done : look.units]
        arms = functools.partial(_linked, ((BASE, base, new), (CANDIDATE, candidate, new)), builder)
        stages.append(_Stage(arms, 2 * len(new), plan.boots, look))
        done = look.units
    return stages


def _boot_stages(base: Side, candidate: Side, plan: Plan) -> list[_Stage]:
    """Return stages that add boots of the two images the builds gave."""
    arms = functools.partial(_unlinked, base, candidate)
    stages: list[_Stage] = []
    done = 0
    for look in looks(plan.layouts * plan.boots, plan.confidence, BOOT_LOOKS if plan.early_stop else ()):
        # A boot is a unit here: a stage may be a single round.
        stages.append(_Stage(arms, 2, look.units - done, look, min_readings=0))
        done = look.units
    return stages


def _linked(sides: Sequence[tuple[str, Side, Sequence[Seed]]], builder: LayoutSource) -> list[Arm]:
    arms = []
    for name, side, seeds in sides:
        images = builder.layouts(side.built, seeds, side.layouts)
        missing = [seed for seed in seeds if seed not in images]
        if missing:
            raise MeasurementError(
                f"arm '{name}': the build adapter gave {len(seeds) - len(missing)} of {len(seeds)} layouts; "
                f"seed {missing[0]} is missing"
            )
        arms.append(Arm(name, {seed: images[seed] for seed in seeds}))
    _refuse_shared(sides, arms)
    return arms


def _refuse_shared(sides: Sequence[tuple[str, Side, Sequence[Seed]]], arms: Sequence[Arm]) -> None:
    """Refuse one file for the layouts of two builds: the later link replaced the earlier, and one arm is run twice."""
    owner: dict[Path, str | None] = {}
    for (_, side, _), arm in zip(sides, arms, strict=True):
        digest = side.built.image.sha256 if side.built.image else None
        for image in arm.images.values():
            if owner.setdefault(image.path, digest) != digest:
                raise MeasurementError(
                    f"the build adapter gave {image.path} as a layout of two different builds",
                    next_step="make its layouts() keep each build's images apart",
                )


def _unlinked(base: Side, candidate: Side) -> list[Arm]:
    arms = []
    for name, side in ((BASE, base), (CANDIDATE, candidate)):
        if side.built.image is None:
            raise MeasurementError(f"arm '{name}' has no image to run: {side.built.failure or 'its build gave none'}")
        arms.append(Arm(name, {Seed(0): side.built.image}))
    return arms


class _Session:
    """The readings of one comparison as they grow, within its deadline."""

    def __init__(
        self,
        workload: ReadingSource,
        case: CaseMaker,
        metric: str,
        rng: random.Random,
        deadline: float | None,
        clock: Callable[[], float],
    ) -> None:
        self.samples = Samples()
        self._workload, self._case, self._metric, self._rng = workload, case, metric, rng
        self._deadline, self._clock = deadline, clock
        self._stage = self._round = self._runs = 0
        self._spent = self._longest = 0.0

    def extend(self, stage: _Stage) -> bool:
        """Run a stage; return whether it was run whole."""
        mean = self._spent / self._runs if self._runs else 0.0
        if self._left() < mean * stage.binaries * stage.rounds:
            return False
        part = sample(
            stage.arms(),
            self._read,
            SamplingPlan(stage.rounds, min_readings=stage.min_readings),
            self._rng,
            stage=self._stage,
            first_round=self._round,
            keep_going=lambda: self._left() > self._longest,
        )
        self.samples = self.samples.joined(part)
        self._stage += 1
        self._round += stage.rounds
        return not part.stopped

    def _left(self) -> float:
        return float("inf") if self._deadline is None else self._deadline - self._clock()

    def _read(self, image: Image, round_: int) -> float:
        started = self._clock()
        try:
            return _value(self._workload.measure(image, self._case(round_)), self._metric)
        finally:
            took = self._clock() - started
            self._runs += 1
            self._spent += took
            self._longest = max(self._longest, took)


def _value(reading: Reading, metric: str) -> float:
    if metric not in reading.values:
        known = ", ".join(sorted(reading.values)) or "nothing"
        raise MeasurementError(f"the reading holds no '{metric}', it holds: {known}")
    return reading.values[metric]


def _counted(image: Image, workload: ReadingSource, case: CaseMaker, metric: str, arm: str) -> float:
    last: MeasurementError | None = None
    for _ in range(2):
        try:
            return _value(workload.measure(image, case(0)), metric)
        except MeasurementError as error:
            last = error
    raise MeasurementError(f"arm '{arm}': no {metric} in two attempts: {last}")


def _summed(
    samples: Samples,
    looked: Samples,
    metric: str,
    estimate: Estimate | None,
    stopped: Stopped,
    controlled: bool,
) -> Comparison:
    """Sum up what the last whole look saw; the raw samples keep what was read after it."""
    return Comparison(
        metric=metric,
        estimate=estimate,
        base=level(looked, BASE) if estimate else None,
        candidate=level(looked, CANDIDATE) if estimate else None,
        samples=replace(samples, stopped=stopped == "deadline"),
        looked=looked,
        stopped=stopped,
        layout_controlled=controlled,
    )
