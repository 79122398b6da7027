# SPDX-License-Identifier: Apache-2.0
"""From raw samples to an estimate with an interval: the layout is the resampling unit, boots are nested inside.

The steps (LAYOUT.md, "The estimate"), all on logarithms of readings:

1. Block: subtract from every reading how far its round lies above the binaries' own medians; the host's drift is gone.
2. Take the median over boots of every binary (arm x layout).
3. Paired: one difference a layout seed. Unpaired: two groups of layouts.
4. Mean over layouts; Student's t over layouts (Welch's for unpaired groups) gives the interval.

Readings inside one layout are not independent draws of what differs between two builds, so their number never enters
the interval: an interval over boots of one layout calls a third of all comparisons of nothing significant.
"""

from __future__ import annotations

import functools
import math
import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median, stdev

from git_hmopt.errors import MeasurementError
from git_hmopt.measure.sampling import Samples
from git_hmopt.records.base import decimal_text
from git_hmopt.records.words import Seed

Cell = tuple[str, Seed]
"""A binary: arm and layout seed."""

EARLY_SPENDING = (0.05, 0.10, 0.20)
"""The shares of the error rate that the looks before the last may use; the last keeps the rest."""
LAYOUT_LOOKS = (1 / 6, 1 / 4, 1 / 2)
"""Where the early looks stand, as shares of the planned layouts: 4, 6 and 12 of 24."""
BOOT_LOOKS = (0.1, 0.2, 0.4)
"""The same for boots, where there are many more units."""
MIN_UNITS = 4
"""No interval is looked at with fewer units: the t quantile with 2 degrees of freedom is of no use."""
_POWER_80 = 0.8416
"""The 80 % quantile of the normal distribution."""


@dataclass(frozen=True)
class Estimate:
    """A change as a ratio minus one, with its interval at `confidence`.

    `layouts` and `boots` say what it stands on; `layout_sd` and `boot_sd` are standard deviations of log readings
    between layouts of one source and between boots of one binary. `layout_sd` is None when it cannot be told.
    """

    ratio_minus_one: float
    low: float
    high: float
    layouts: int
    boots: int
    layout_sd: float | None
    boot_sd: float | None
    paired: bool
    confidence: float = 0.95
    standard_error: float = 0.0
    """Of the mean log ratio."""

    @property
    def half_width(self) -> float:
        """Return half the interval's width, as a ratio."""
        return (self.high - self.low) / 2


@dataclass(frozen=True)
class Level:
    """An arm's own value in the metric's unit: the mean over layouts (geometric) of medians over boots."""

    value: float
    low: float
    high: float
    layouts: int
    n: int
    """Number of readings."""


@dataclass(frozen=True)
class Look:
    """A point of a sequential comparison: after `units` layouts (or boots) the interval at `confidence` is judged."""

    units: int
    confidence: float


def looks(total: int, confidence: float, shares: Sequence[float] = LAYOUT_LOOKS) -> tuple[Look, ...]:
    """Return when a sequential comparison of `total` units is judged, and at which confidence each time.

    The schedule is fixed beforehand and the error rate 1 - confidence is divided over the looks (alpha spending in
    the manner of Lan & DeMets 1983, with Bonferroni's union bound in place of the joint distribution). Whatever rule
    stops the comparison, the probability that any of its intervals misses the truth is at most 1 - confidence. Early
    looks get little of it: they exist for large effects, and the last must not pay for them.
    """
    early = sorted({max(MIN_UNITS, math.ceil(total * share)) for share in shares})
    early = [units for units in early if units < total][: len(EARLY_SPENDING)]
    alpha = 1 - confidence
    spent = EARLY_SPENDING[: len(early)]
    result = [Look(units, 1 - alpha * share) for units, share in zip(early, spent, strict=True)]
    return (*result, Look(total, 1 - alpha * (1 - sum(spent))))


def estimate_layouts(
    samples: Samples, *, base: str = "base", candidate: str = "candidate", paired: bool = True, confidence: float = 0.95
) -> Estimate:
    """Return the candidate's change against base over layouts; see this file's head for the steps.

    Paired needs the same seeds in both arms, unpaired takes any. Raises MeasurementError with fewer than two layouts.
    """
    cells = blocked(samples)
    centres = {cell: median(values) for cell, values in cells.items()}
    of_base, of_candidate = _by_seed(centres, base), _by_seed(centres, candidate)
    if paired:
        if of_base.keys() != of_candidate.keys():
            raise MeasurementError("the arms were not measured on the same layouts and cannot be paired")
        differences = [of_candidate[seed] - of_base[seed] for seed in of_base]
        mean, error, freedom = _one_sample(differences)
    else:
        mean, error, freedom = _welch(list(of_base.values()), list(of_candidate.values()))
    half = _quantile(freedom, confidence) * error
    return Estimate(
        ratio_minus_one=math.expm1(mean),
        low=math.expm1(mean - half),
        high=math.expm1(mean + half),
        layouts=min(len(of_base), len(of_candidate)),
        boots=min(len(values) for values in cells.values()),
        layout_sd=_layout_sd(samples, cells, centres),
        boot_sd=_boot_sd(cells),
        paired=paired,
        confidence=confidence,
        standard_error=error,
    )


def estimate_boots(
    samples: Samples, *, base: str = "base", candidate: str = "candidate", confidence: float = 0.95
) -> Estimate:
    """Return the candidate's change over boots of one layout, paired by round.

    For builds whose layout nobody controls. Its interval knows nothing of layouts and is therefore no verdict by
    itself: the gate widens its bound. Raises MeasurementError with fewer than two whole rounds.
    """
    rounds: dict[int, dict[str, float]] = defaultdict(dict)
    for row in samples.rows:
        rounds[row.round][row.arm] = math.log(row.value)
    differences = [arms[candidate] - arms[base] for arms in rounds.values() if base in arms and candidate in arms]
    mean, error, freedom = _one_sample(differences)
    half = _quantile(freedom, confidence) * error
    return Estimate(
        ratio_minus_one=math.expm1(mean),
        low=math.expm1(mean - half),
        high=math.expm1(mean + half),
        layouts=1,
        boots=len(differences),
        layout_sd=None,
        # The difference of two boots has twice the variance of one.
        boot_sd=stdev(differences) / math.sqrt(2),
        paired=True,
        confidence=confidence,
        standard_error=error,
    )


def layout_ratios(
    samples: Samples, *, base: str = "base", candidate: str = "candidate", paired: bool = True
) -> tuple[float, ...]:
    """Return the points under the interval of `estimate_layouts`, a ratio minus one a layout, in order of seeds.

    Unpaired they are the candidate's layouts against base's mean. The mean of their logarithms is the estimate.
    """
    centres = {cell: median(values) for cell, values in blocked(samples).items()}
    of_base, of_candidate = _by_seed(centres, base), _by_seed(centres, candidate)
    mean = fmean(of_base.values())
    return tuple(
        math.expm1(value - (of_base[seed] if paired else mean)) for seed, value in sorted(of_candidate.items())
    )


def boot_ratios(samples: Samples, *, base: str = "base", candidate: str = "candidate") -> tuple[float, ...]:
    """Return the points under the interval of `estimate_boots`, a ratio minus one a round."""
    rounds: dict[int, dict[str, float]] = defaultdict(dict)
    for row in samples.rows:
        rounds[row.round][row.arm] = row.value
    return tuple(
        arms[candidate] / arms[base] - 1 for _, arms in sorted(rounds.items()) if base in arms and candidate in arms
    )


def ratio_texts(ratios: Sequence[float]) -> tuple[str, ...]:
    """Return points as they are recorded: to a millionth, for they are there to be looked at."""
    return tuple(decimal_text(round(ratio, 6)) for ratio in ratios)


def exact_estimate(base: float, candidate: float) -> Estimate:
    """Return the change of a repeatable count: an interval without width. MeasurementError unless base > 0."""
    if base <= 0:
        raise MeasurementError(f"a count of {base:g} on base cannot be compared with anything")
    # Rounded, so that 1010 against 1000 is 1 % and not a hair more than a margin of 1 %.
    change = round(candidate / base - 1, 12)
    return Estimate(change, change, change, 1, 1, None, None, paired=True, confidence=1.0)


def bootstrap_interval(
    samples: Samples,
    *,
    base: str = "base",
    candidate: str = "candidate",
    paired: bool = True,
    confidence: float = 0.95,
    seed: int = 0,
    resamples: int = 2000,
) -> tuple[float, float]:
    """Return the percentile bootstrap interval over layouts, as ratios minus one: a cross-check of the t interval.

    With eight layouts it is a little narrow (LAYOUT.md), so nothing is decided by it.
    """
    centres = {cell: median(values) for cell, values in blocked(samples).items()}
    of_base, of_candidate = _by_seed(centres, base), _by_seed(centres, candidate)
    rng = random.Random(seed)
    means: list[float] = []
    if paired:
        differences = [of_candidate[key] - of_base[key] for key in of_base]
        means = [fmean(rng.choices(differences, k=len(differences))) for _ in range(resamples)]
    else:
        left, right = list(of_base.values()), list(of_candidate.values())
        for _ in range(resamples):
            means.append(fmean(rng.choices(right, k=len(right))) - fmean(rng.choices(left, k=len(left))))
    means.sort()
    cut = (1 - confidence) / 2
    low, high = means[math.floor(cut * (resamples - 1))], means[math.ceil((1 - cut) * (resamples - 1))]
    return math.expm1(low), math.expm1(high)


def level(samples: Samples, arm: str, *, confidence: float = 0.95) -> Level:
    """Return an arm's absolute value over its layouts (not blocked: it still holds the host's drift)."""
    readings: dict[Seed, list[float]] = defaultdict(list)
    for row in samples.rows:
        if row.arm == arm:
            readings[row.seed].append(math.log(row.value))
    if not readings:
        raise MeasurementError(f"arm '{arm}' has no readings")
    n = sum(len(values) for values in readings.values())
    # With one layout the boots are all there is to tell a spread from.
    units = [median(values) for values in readings.values()] if len(readings) > 1 else next(iter(readings.values()))
    half = 0.0
    if len(units) > 1:
        _, error, freedom = _one_sample(units)
        half = _quantile(freedom, confidence) * error
    centre = fmean(units) if len(readings) > 1 else median(units)
    return Level(math.exp(centre), math.exp(centre - half), math.exp(centre + half), len(readings), n)


def smallest_detectable(estimate: Estimate, bound: float) -> float:
    """Return the true change that a measurement as wide as this one would call `improved` four times out of five.

    It must clear the bound by the half-width, and by 0.84 standard errors more for the 80 %.
    """
    return bound + estimate.half_width + _POWER_80 * estimate.standard_error


def blocked(samples: Samples) -> dict[Cell, list[float]]:
    """Return the log readings of every binary, each less its round's level.

    The level is the median over all binaries of how far each lies above its own median (one step of Tukey's median
    polish). The median of the readings themselves would jump by half the arms' distance in a round where one run of
    a four times faster candidate failed, and be taken for the host's drift.
    """
    readings: dict[Cell, list[float]] = defaultdict(list)
    for row in samples.rows:
        readings[row.arm, row.seed].append(math.log(row.value))
    centres = {cell: median(values) for cell, values in readings.items()}
    rounds: dict[int, list[float]] = defaultdict(list)
    for row in samples.rows:
        rounds[row.round].append(math.log(row.value) - centres[row.arm, row.seed])
    levels = {number: median(values) for number, values in rounds.items()}
    cells: dict[Cell, list[float]] = defaultdict(list)
    for row in samples.rows:
        cells[row.arm, row.seed].append(math.log(row.value) - levels[row.round])
    return dict(cells)


def _by_seed(centres: Mapping[Cell, float], arm: str) -> dict[Seed, float]:
    return {seed: value for (name, seed), value in centres.items() if name == arm}


def _one_sample(values: Sequence[float]) -> tuple[float, float, float]:
    """Return mean, standard error and degrees of freedom."""
    if len(values) < 2:
        raise MeasurementError(f"{len(values)} units (layouts, or rounds of boots) give no interval; at least 2 do")
    return fmean(values), stdev(values) / math.sqrt(len(values)), len(values) - 1


def _welch(left: Sequence[float], right: Sequence[float]) -> tuple[float, float, float]:
    """Return right - left, its standard error and Welch & Satterthwaite's degrees of freedom."""
    mean_left, error_left, freedom_left = _one_sample(left)
    mean_right, error_right, freedom_right = _one_sample(right)
    variance = error_left**2 + error_right**2
    if variance == 0:
        return mean_right - mean_left, 0.0, freedom_left + freedom_right
    freedom = variance**2 / (error_left**4 / freedom_left + error_right**4 / freedom_right)
    return mean_right - mean_left, math.sqrt(variance), freedom


@functools.lru_cache(maxsize=1024)
def _quantile(freedom: float, confidence: float) -> float:
    """Return Student's t for a two-sided interval."""
    # Imported here: scipy costs half a second, and most commands never compute an interval.
    from scipy.special import stdtrit

    return float(stdtrit(freedom, (1 + confidence) / 2))


def _boot_sd(cells: Mapping[Cell, Sequence[float]]) -> float:
    """Return the standard deviation between boots of one binary, pooled over binaries."""
    squares, freedom = 0.0, 0
    for values in cells.values():
        centre = fmean(values)
        squares += sum((value - centre) ** 2 for value in values)
        freedom += len(values) - 1
    return math.sqrt(squares / freedom) if freedom else 0.0


def _layout_sd(samples: Samples, cells: Mapping[Cell, Sequence[float]], centres: Mapping[Cell, float]) -> float | None:
    """Return the standard deviation between layouts of one source, the boots' contribution taken off.

    Taken within stages: blocking gives every stage its own zero.
    """
    stages = {(row.arm, row.seed): row.stage for row in samples.rows}
    groups: dict[tuple[str, int], list[float]] = defaultdict(list)
    for cell, stage in stages.items():
        groups[cell[0], stage].append(centres[cell])
    freedom = sum(len(group) - 1 for group in groups.values())
    if not freedom:
        return None
    squares = sum((value - fmean(group)) ** 2 for group in groups.values() for value in group)
    # pi/2: the variance of a median of normal values against that of their mean.
    from_boots = _boot_sd(cells) ** 2 * (math.pi / 2) * fmean([1 / len(values) for values in cells.values()])
    return math.sqrt(max(0.0, squares / freedom - from_boots))
