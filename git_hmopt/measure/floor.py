# SPDX-License-Identifier: Apache-2.0
"""The noise floor of a host and workload: what a change of nothing looks like there.

Sources are comparisons whose truth is zero: the same source on two different sets of layouts (A/A, unpaired), and null
patches (padding, renamed locals, moved functions) against base, paired by seed like a candidate. A/A on one binary is
no source: it cannot see layouts (PRACTICE, "Accepting a change").
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from pydantic import Field, ValidationError

from git_hmopt.errors import CorruptRecordError, MeasurementError
from git_hmopt.measure.statistics import Estimate, ratio_texts
from git_hmopt.records.base import Decimal, Record, decimal_text

HALF_WIDTH_SHARE = 0.75
"""Of a null patch's half-width; chosen by simulation (tests/measure/test_measure_error_rates.py): a larger share costs
power at 3 %, a smaller one leaves changes of nothing undecided."""

SourceKind = Literal["a/a", "null-patch"]


class FloorSource(Record):
    """One comparison of nothing with nothing: ratios minus one."""

    name: str
    kind: SourceKind
    estimate: Decimal
    low: Decimal
    high: Decimal
    layouts: int
    boots: int
    paired: bool
    # Left out where there are none, so that what was stored before they were is still written as the same bytes.
    ratios: tuple[Decimal, ...] = Field(
        default=(), exclude_if=lambda value: not value, description="as in `records.run.Delta`"
    )


class Floor(Record):
    """The floor as a ratio, and what it was computed from. Stored a host, workload and metric."""

    v: Literal[1] = 1
    host: str
    workload: str
    metric: str
    value: Decimal
    sources: tuple[FloorSource, ...]

    @property
    def ratio(self) -> float:
        """Return the floor as a number, 0.01 for one per cent."""
        return float(self.value)

    def to_json(self) -> str:
        """Return the canonical one-line JSON; numbers are text."""
        return self.canonical()


def floor_source(name: str, kind: SourceKind, estimate: Estimate, ratios: Sequence[float] = ()) -> FloorSource:
    """Return a null comparison as the floor records it, with the points under its interval."""
    return FloorSource(
        name=name,
        kind=kind,
        estimate=decimal_text(estimate.ratio_minus_one),
        low=decimal_text(estimate.low),
        high=decimal_text(estimate.high),
        layouts=estimate.layouts,
        boots=estimate.boots,
        paired=estimate.paired,
        ratios=ratio_texts(ratios),
    )


def floor_of(sources: Sequence[FloorSource], *, host: str, workload: str, metric: str) -> Floor:
    """Return the floor: what comparing nothing with nothing reports here, its uncertainty included.

    The truth of every source is zero. Their root mean square is the standard deviation of what nulls report. A null
    patch is measured as a candidate is, paired by seed, so its half-width at the floor's number of layouts is what a
    candidate's interval will have there. The floor is the largest of the root mean square, half of the largest null
    (so that the gate's bound, twice the floor, is above every null that was seen) and HALF_WIDTH_SHARE of the
    half-width: the bound then leaves room for a null's narrower interval after twice as many layouts, around whatever
    a null reports; with a bound below the half-width a change of nothing could never be told to be none. An A/A
    comparison is unpaired and much wider; its estimate counts alone.
    Raises MeasurementError without a source.
    """
    if not sources:
        raise MeasurementError("a noise floor needs at least one comparison of nothing with nothing")
    sizes = [abs(float(source.estimate)) for source in sources]
    square = math.sqrt(sum(size**2 for size in sizes) / len(sizes))
    return Floor(
        host=host,
        workload=workload,
        metric=metric,
        value=decimal_text(max(square, max(sizes) / 2, HALF_WIDTH_SHARE * _half_width(sources))),
        sources=tuple(sources),
    )


def _half_width(sources: Sequence[FloorSource]) -> float:
    """Return the largest half-width of a paired null; 0 where there is none."""
    return max(((float(one.high) - float(one.low)) / 2 for one in sources if one.paired), default=0.0)


def read_floor(text: str | bytes) -> Floor:
    """Read what `Floor.to_json` wrote; CorruptRecordError names the first thing that is wrong."""
    try:
        return Floor.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the text"
        raise CorruptRecordError(
            f"not a stored noise floor: {where}: {first['msg']}", next_step="measure the floor again"
        ) from error
