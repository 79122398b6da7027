# SPDX-License-Identifier: Apache-2.0
"""Frames by second, dropped frames and lateness by rule A, worked out by hand; windows of the worst janks."""

from __future__ import annotations

from itertools import pairwise

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from git_hmopt.runtime.kpi import Kpi
from git_hmopt.runtime.timeline import JankWindow, frames, timeline_kpis, worst_janks
from git_hmopt.traces.capture import EVENTS

MS = 1_000_000


def table(*rows: tuple[str, int, int, str]) -> pl.DataFrame:
    """Return events from name, start and end in ms, and args."""
    return pl.DataFrame(
        [(start * MS, "frame", name, (end - start) * MS, None, None, None, args) for name, start, end, args in rows],
        schema=EVENTS,
        orient="row",
    )


def due(end: int, flag: int | None = None) -> str:
    return f"expected_start=0 expected_end={end * MS}" + ("" if flag is None else f" flag={flag}")


def by_name(events: pl.DataFrame, who: str = "all") -> dict[str, Kpi]:
    return {kpi.name: kpi for kpi in timeline_kpis([events]) if kpi.who == who}


def test_one_surface_is_the_whole_system() -> None:
    events = table(
        ("ui", 0, 10, due(16)), ("ui", 16, 36, due(32)), ("ui", 33, 50, due(50)), ("ui", 50, 90, due(66)),
        # 910 ms of idleness, and a frame that is no frame.
        ("ui", 990, 1000, due(1010)), ("ui", 1000, 1020, due(1030)), ("ui", 1021, 1500, due(1040, 2)),
    )  # fmt: skip
    found = by_name(events)
    # Four gaps of 26, 14, 40 and 20 ms.
    assert (found["fps_avg"].value, found["fps_avg"].n) == ("40", 6)
    assert "without the 1 gaps of more than 170 ms" in found["fps_avg"].rule
    assert (found["frame_drop_rate"].value, found["frame_drop_rate"].n) == ("0.333333333", 6)
    assert (found["jank_p95_ms"].value, found["jank_p95_ms"].unit, found["jank_p95_ms"].n) == ("24", "ms", 6)
    assert "rule A" in found["frame_drop_rate"].rule
    assert [kpi.value for kpi in by_name(events, "ui").values()] == [kpi.value for kpi in found.values()]


def test_several_surfaces_have_no_common_rate() -> None:
    events = table(("a", 0, 10, due(10)), ("a", 10, 20, due(20)), ("b", 0, 10, due(5)), ("b", 10, 30, due(31)))
    found = by_name(events)
    assert found["fps_avg"].value is None
    assert found["fps_avg"].rule == "unknown: 2 surfaces; see each"
    assert found["frame_drop_rate"].value == "0.25"
    assert by_name(events, "a")["fps_avg"].value == "100"
    assert by_name(events, "b")["fps_avg"].value == "50"
    assert by_name(events, "b")["jank_p95_ms"].value == "5"


def test_the_ends_decide_where_they_are_known_and_the_flag_where_not() -> None:
    # SmartPerf's 3 is a gap between application and render service, which says nothing about the end.
    events = table(("a", 0, 10, due(9, 0)), ("a", 10, 20, "flag=1"), ("a", 20, 30, "flag=3"), ("a", 30, 40, ""))
    found = by_name(events)
    assert (found["frame_drop_rate"].value, found["frame_drop_rate"].n) == ("1", 2)
    assert (found["jank_p95_ms"].value, found["jank_p95_ms"].n) == ("1", 1)


def test_nothing_is_unknown_and_not_zero() -> None:
    for events in (table(), table(("a", 0, 10, ""))):
        assert {kpi.value for kpi in timeline_kpis([events])} == {None}
        assert all("unknown" in kpi.rule for kpi in timeline_kpis([events]))
    assert {kpi.value for kpi in timeline_kpis([])} == {None}


def test_windows_of_the_worst_janks_begin_where_the_frame_should_have() -> None:
    events = table(
        ("a", 5, 20, f"expected_start={4 * MS} expected_end={18 * MS} flag=1"),
        ("a", 19, 50, f"expected_start={18 * MS} expected_end={32 * MS} flag=1"),
        ("a", 60, 70, f"expected_start={60 * MS} expected_end={80 * MS} flag=0"),
        ("b", 10, 99, f"expected_end={90 * MS} flag=1"),
    )
    worst = JankWindow("a", 4 * MS, 50 * MS, 18 * MS, 2)
    assert worst_janks([events]) == (worst, JankWindow("b", 10 * MS, 99 * MS, 9 * MS, 1))
    assert worst_janks([events], most=1) == (worst,)
    assert worst_janks([]) == ()


@given(st.lists(st.tuples(st.integers(0, 400), st.integers(0, 60), st.integers(0, 460)), max_size=40))
def test_against_the_rules_written_out(drawn: list[tuple[int, int, int]]) -> None:
    events = table(*(("x", start, start + took, due(end)) for start, took, end in drawn))
    found = by_name(events)
    # An expected end of 0 is one like any other here.
    late = sorted(max(0, start + took - end) for start, took, end in drawn)
    dropped = sum(one > 0 for one in late)
    assert found["frame_drop_rate"].n == len(drawn)
    if drawn:
        assert abs(float(found["frame_drop_rate"].value or "x") - dropped / len(drawn)) < 1e-8
        assert float(found["jank_p95_ms"].value or "x") == next(
            one for one in late if 100 * sum(other <= one for other in late) >= 95 * len(late)
        )
    ends = sorted(start + took for start, took, _ in drawn)
    gaps = [after - before for before, after in pairwise(ends) if after - before <= 170]
    if sum(gaps):
        assert abs(float(found["fps_avg"].value or "x") - 1000 * len(gaps) / sum(gaps)) < 1e-5
    else:
        assert found["fps_avg"].value is None
    assert len(frames([events])) == len(drawn)
