# SPDX-License-Identifier: Apache-2.0
"""What a pack of version 3 says was measured on the way from the baseline to best."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from git_hmopt.records.base import Decimal, Record


class MetricChange(Record):
    """What one kept change did to one metric, as a ratio minus one with its interval, as its evaluation recorded it.

    Changes follow each other: each is against what was best before it, and only the first against the baseline. Their
    product is nobody's measurement; best is measured against the baseline at the end of a run.
    """

    run: str
    iteration: int
    commit: str
    against: Literal["baseline", "best"]
    against_commit: str
    verdict: str
    metric: str
    kind: str
    estimate: Decimal
    low: Decimal
    high: Decimal
    confidence: Decimal | None = Field(description="of the interval, 0..1; null where it is not recorded or exact")
    layouts: int
    layout_controlled: bool
