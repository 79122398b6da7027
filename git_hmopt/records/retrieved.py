# SPDX-License-Identifier: Apache-2.0
"""What a pack of version 3 shows of other places and other runs: where it stands, how much it is alike, what it did."""

from __future__ import annotations

from pydantic import Field

from git_hmopt.records.base import Decimal, Record


class SimilarCode(Record):
    """A function that reads like the hotspot: `path@blob:first-last` of a commit."""

    symbol: str
    commit: str
    path: str
    blob: str
    first_line: int
    last_line: int
    summary: str = Field(description="what the comment before it says it does")
    text: str = Field(description="its first lines")
    alike: Decimal = Field(description="cosine of both texts' vectors")


class SimilarRun(Record):
    """Another run whose profile showed something alike."""

    run: str
    commit: str = Field(description="its base")
    workload: str
    symbols: tuple[str, ...] = Field(description="its hotspots, the dearest first, the first eight")
    summary: str
    same_function: bool = Field(description="whether the hotspot was one of that run's, too")
    alike: Decimal


class PastDelta(Record):
    """What a change did to one metric, as a ratio minus one."""

    metric: str
    kind: str
    against: str
    estimate: Decimal
    low: Decimal
    high: Decimal


class PastFix(Record):
    """A change that another run judged, whatever came of it."""

    run: str
    iteration: int
    commit: str | None = Field(description="the candidate; null when its edit did not apply")
    symbol: str | None
    strategy: str
    title: str
    verdict: str
    reason: str
    deltas: tuple[PastDelta, ...]
    same_function: bool
    alike: Decimal


class Retrieved(Record):
    """What was found for one hotspot, best first, and among what it was looked for."""

    code: tuple[SimilarCode, ...]
    runs: tuple[SimilarRun, ...]
    fixes: tuple[PastFix, ...]
    searched: str
