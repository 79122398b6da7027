# SPDX-License-Identifier: Apache-2.0
"""Cutting a capture to what ran below one function, or inside windows of time."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from git_hmopt.runtime import call_graph, window
from git_hmopt.runtime.window import below, within
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
    for number, time in enumerate(times):
        rows.add([rows.intern(Frame(f"f{number}"))], number + 1, ts_ns=time)
    return rows.table(event="cycles", unit="cycles")


def test_only_samples_inside_the_windows_are_kept_and_the_rest_counted() -> None:
    inside = within(timed(0, 10, 19, 20, 25, 40, None), [(40, 41), (10, 20), (15, 18), (30, 30)])
    assert inside.ts_ns == (10, 19, 40)
    assert inside.skipped == {window.NO_TIME: 1, window.OUTSIDE: 3}
    graph = call_graph.from_samples(inside)
    assert graph.self_cost["f1"] == 2
    assert graph.total == 2 + 3 + 6


def test_no_windows_and_no_samples_leave_nothing() -> None:
    assert len(within(timed(1, 2), [])) == 0
    assert len(within(timed(), [(0, 9)])) == 0
    assert within(timed(None), [(0, 9)]).skipped == {window.NO_TIME: 1}


@given(
    st.lists(st.none() | st.integers(-50, 50), max_size=30),
    st.lists(st.tuples(st.integers(-50, 50), st.integers(-50, 50)), max_size=8),
)
def test_within_agrees_with_looking_at_every_window(times: list[int | None], windows: list[tuple[int, int]]) -> None:
    expected = [time for time in times if time is not None and any(start <= time < end for start, end in windows)]
    assert list(within(timed(*times), windows).ts_ns) == expected
