# SPDX-License-Identifier: Apache-2.0
"""Take readings of several binaries so that they can be compared: in rounds, each in a fresh random order.

A round runs every binary once. The host drifts by some per cent over tens of seconds (LAYOUT.md), and what drifts
slowly hits all binaries of one round alike, so that the statistics can take it out again.
"""

from __future__ import annotations

import json
import math
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from git_hmopt.adapters import Image
from git_hmopt.errors import CorruptRecordError, MeasurementError
from git_hmopt.records.base import canonical_json, decimal_text
from git_hmopt.records.words import Seed

Runner = Callable[[Image, int], float]
"""Runs an image once; the number is the round's, so that all binaries of a round can be given the same input."""

MIN_READINGS = 2
"""Fewer readings of a layout than this say nothing about how much its readings vary."""


@dataclass(frozen=True)
class Arm:
    """One side of a comparison: one image a layout seed."""

    name: str
    images: Mapping[Seed, Image]


@dataclass(frozen=True)
class SamplingPlan:
    """How often everything is run and how much may go wrong."""

    rounds: int
    attempts: int = 2
    """How often one run is tried before it counts as failed."""
    max_failed: float = 0.1
    """The share of runs that may fail; beyond it the measurement is none."""
    min_readings: int = MIN_READINGS
    """How many readings of a binary are the fewest that are taken."""


@dataclass(frozen=True)
class Row:
    """One reading. `order` is its place in the round; `value` is in the metric's unit."""

    stage: int
    round: int
    arm: str
    seed: Seed
    order: int
    value: float


@dataclass(frozen=True)
class FailedRun:
    """A run that gave no reading in any of its attempts."""

    stage: int
    round: int
    arm: str
    seed: Seed
    reason: str


@dataclass(frozen=True)
class Samples:
    """All readings of one comparison, raw. `stopped` says that time ran out before the last round was whole."""

    rows: tuple[Row, ...] = ()
    failures: tuple[FailedRun, ...] = ()
    retried: int = 0
    """How many runs gave a reading only when they were tried again."""
    stopped: bool = False

    def joined(self, later: Samples) -> Samples:
        """Return these samples followed by those of a later stage."""
        return Samples(
            rows=self.rows + later.rows,
            failures=self.failures + later.failures,
            retried=self.retried + later.retried,
            stopped=later.stopped,
        )

    def to_bytes(self) -> bytes:
        """Return the canonical JSON that is stored as the comparison's artifact (version 1)."""
        document = {
            "v": 1,
            "columns": ["stage", "round", "arm", "seed", "order", "value"],
            "rows": [[r.stage, r.round, r.arm, r.seed, r.order, decimal_text(r.value)] for r in self.rows],
            "failures": [[f.stage, f.round, f.arm, f.seed, f.reason] for f in self.failures],
            "retried": self.retried,
            "stopped": self.stopped,
        }
        return canonical_json(document).encode() + b"\n"

    @classmethod
    def from_bytes(cls, data: bytes) -> Samples:
        """Read what `to_bytes` wrote; CorruptRecordError when it is something else."""
        try:
            document: dict[str, Any] = json.loads(data)
            if document["v"] != 1:
                raise CorruptRecordError(f"samples of version {document['v']!r}, this version reads 1")
            rows = tuple(
                Row(int(s), int(r), str(a), Seed(int(seed)), int(o), float(v))
                for s, r, a, seed, o, v in document["rows"]
            )
            failures = tuple(
                FailedRun(int(s), int(r), str(a), Seed(int(seed)), str(why))
                for s, r, a, seed, why in document["failures"]
            )
            return cls(rows, failures, int(document["retried"]), bool(document["stopped"]))
        except (ValueError, KeyError, TypeError) as error:
            raise CorruptRecordError(f"not a table of samples: {type(error).__name__}: {error}") from error


def _always() -> bool:
    return True


def sample(
    arms: Sequence[Arm],
    runner: Runner,
    plan: SamplingPlan,
    rng: random.Random,
    *,
    stage: int = 0,
    first_round: int = 0,
    keep_going: Callable[[], bool] = _always,
) -> Samples:
    """Run every binary of every arm once a round, in an order that `rng` draws afresh for each round.

    A reading that is not a positive finite number is a failed run. `keep_going` is asked before every run; when it
    says no, what was read so far comes back with `stopped` set. Raises MeasurementError when more than the plan's
    share of runs failed, or when one binary never gave a reading in its first two rounds.
    """
    binaries = [(arm.name, seed, image) for arm in arms for seed, image in arm.images.items()]
    allowed = max(1, math.floor(plan.max_failed * plan.rounds * len(binaries)))
    rows: list[Row] = []
    failures: list[FailedRun] = []
    retried = 0
    for round_ in range(first_round, first_round + plan.rounds):
        for order, (arm, seed, image) in enumerate(rng.sample(binaries, len(binaries))):
            if not keep_going():
                return Samples(tuple(rows), tuple(failures), retried, stopped=True)
            value, reason, tries = _attempt(runner, image, round_, plan.attempts)
            if value is None:
                failures.append(FailedRun(stage, round_, arm, seed, reason))
                _refuse_failures(failures, rows, allowed)
            else:
                rows.append(Row(stage, round_, arm, seed, order, value))
                retried += tries > 1
    _refuse_thin(binaries, rows, plan.min_readings)
    return Samples(tuple(rows), tuple(failures), retried)


def _attempt(runner: Runner, image: Image, round_: int, attempts: int) -> tuple[float | None, str, int]:
    reason = "not tried"
    for tries in range(1, attempts + 1):
        try:
            value = runner(image, round_)
        except MeasurementError as error:
            reason = str(error)
            continue
        if value > 0 and math.isfinite(value):
            return value, "", tries
        reason = f"the reading was {value!r}, not a positive number"
    return None, reason, attempts


def _refuse_failures(failures: Sequence[FailedRun], rows: Sequence[Row], allowed: int) -> None:
    last = failures[-1]
    where = f"arm '{last.arm}', layout {last.seed}"
    if len(failures) > allowed:
        arms = Counter(failure.arm for failure in failures)
        counted = ", ".join(f"{arm}: {n}" for arm, n in sorted(arms.items()))
        raise MeasurementError(
            f"{len(failures)} runs failed ({counted}), {allowed} are allowed; the last ({where}): {last.reason}"
        )
    same = [f for f in failures if (f.arm, f.seed) == (last.arm, last.seed)]
    if len(same) >= MIN_READINGS and not any((r.arm, r.seed) == (last.arm, last.seed) for r in rows):
        raise MeasurementError(f"{where} never gave a reading in {len(same)} rounds: {last.reason}")


def _refuse_thin(binaries: Sequence[tuple[str, Seed, Image]], rows: Sequence[Row], fewest: int) -> None:
    counts = Counter((row.arm, row.seed) for row in rows)
    for arm, seed, _ in binaries:
        if counts[arm, seed] < fewest:
            raise MeasurementError(
                f"arm '{arm}', layout {seed} gave {counts[arm, seed]} readings, at least {fewest} are needed",
                next_step="raise measure.boots in .hmopt.yaml",
            )
