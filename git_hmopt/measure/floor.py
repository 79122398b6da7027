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

from pydantic import ValidationError

from git_hmopt.errors import CorruptRecordError, MeasurementError
from git_hmopt.measure.statistics import Estimate
from git_hmopt.records.base import Decimal, Record, decimal_text

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


def floor_source(name: str, kind: SourceKind, estimate: Estimate) -> FloorSource:
    """Return a null comparison as the floor records it."""
    return FloorSource(
        name=name,
        kind=kind,
        estimate=decimal_text(estimate.ratio_minus_one),
        low=decimal_text(estimate.low),
        high=decimal_text(estimate.high),
        layouts=estimate.layouts,
        boots=estimate.boots,
        paired=estimate.paired,
    )


def floor_of(sources: Sequence[FloorSource], *, host: str, workload: str, metric: str) -> Floor:
    """Return the floor: the root mean square of the sources' estimates, at least half of the largest.

    The truth of every source is zero, so the root mean square is the standard deviation of what comparing nothing
    reports, and the gate's bound of twice the floor is two of them. The second term keeps that bound from ever being
    less than the largest change that a null was seen to make. Half-widths are recorded beside it and not added in: a
    candidate's own interval has to clear the bound, so sampling noise is already paid for once.
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
        value=decimal_text(max(square, max(sizes) / 2)),
        sources=tuple(sources),
    )


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
