# SPDX-License-Identifier: Apache-2.0
"""Ratios of counters out of sampled events."""

from __future__ import annotations

from collections import Counter

import pytest

from git_hmopt.runtime import counters
from git_hmopt.traces import perf_data
from git_hmopt.traces.source import Source
from git_hmopt.traces.stacks import SampleRows
from git_hmopt.traces.tables import Frame, Samples
from tests.traces.captures import captured


def sampled(event: str, unit: str, *weights: int) -> Samples:
    rows = SampleRows()
    for weight in weights:
        rows.add([rows.intern(Frame("main"))], weight)
    return rows.table(event=event, unit=unit)


def test_periods_of_two_events_give_their_ratio() -> None:
    tables = [sampled("cycles", "cycles", 100, 100), sampled("instructions", "instructions", 300)]
    assert counters.rates(counters.totals_of_samples(tables)).ipc == 1.5


def test_samples_without_periods_are_no_counts() -> None:
    tables = [sampled("cycles", "samples", 1, 1), sampled("instructions", "samples", 1)]
    assert counters.rates(counters.totals_of_samples(tables)) == counters.Rates(None, None, None)


def test_a_recorded_profile_of_six_events_has_all_rates() -> None:
    capture = perf_data.FORMAT.read(Source(captured("pdc_perf.data.piped.target-3.8")))
    assert capture.read_samples is not None
    found = counters.rates(counters.totals_of_samples(capture.read_samples(Counter())))
    assert found.ipc == pytest.approx(789_445_922 / 718_664_058)
    assert found.branch_miss_rate == pytest.approx(3_178_224 / 176_712_963)
    assert found.cache_miss_rate == pytest.approx(4_300_229 / 7_498_835)
