# SPDX-License-Identifier: Apache-2.0
"""Cutting a capture to what ran below one function, or between two times."""

from __future__ import annotations

import pytest

from git_hmopt.errors import MeasurementError
from git_hmopt.runtime import call_graph
from git_hmopt.runtime.window import below, between
from git_hmopt.traces import folded
from git_hmopt.traces.stacks import SampleRows
from git_hmopt.traces.tables import Frame, Samples

LINES = [b"boot;init 7\n", b"boot;window;work;leaf 5\n", b"boot;window 1\n", b"irq;window;window;leaf 2\n"]


def test_only_what_ran_below_the_window_is_kept_and_the_rest_counted() -> None:
    samples = below(folded.parse(LINES), "window")
    graph = call_graph.from_samples(samples)
    assert graph.total == 7
    assert graph.self_cost == {"leaf": 7, "window": 0, "work": 0}
    assert graph.edge_cost == {("window", "leaf"): 2, ("work", "leaf"): 5}
    assert samples.skipped == {"outside window": 2}


def test_a_window_that_was_never_seen_leaves_nothing() -> None:
    samples = below(folded.parse(LINES), "absent")
    assert (len(samples), samples.skipped) == (0, {"outside absent": 4})
    assert call_graph.from_samples(samples).total == 0


def timed(*times: int | None) -> Samples:
    rows = SampleRows()
    for at in times:
        rows.add([rows.intern(Frame(f"at {at}"))], 1, ts_ns=at, cpu=3)
    return rows.table(event="", unit="samples")


def test_a_window_of_time_has_its_beginning_and_not_its_end() -> None:
    samples = between(timed(5, 10, None, 19, 20), 10, 20)
    assert (samples.ts_ns, samples.cpu, samples.skipped) == ((10, 19), (3, 3), {"outside the window": 3})
    assert between(timed(1), 2, 3).ts_ns == ()
    assert between(timed(), 2, 3).skipped == {}


def test_a_capture_without_times_has_no_window() -> None:
    with pytest.raises(MeasurementError, match="this capture has no times"):
        between(timed(None, None), 0, 9)
