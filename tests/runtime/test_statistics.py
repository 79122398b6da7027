# SPDX-License-Identifier: Apache-2.0
"""Counting what captures hold: names are bounded, free text is counted by category."""

from __future__ import annotations

import polars as pl

from git_hmopt.runtime import statistics
from git_hmopt.traces.capture import EVENTS, Capture, Losses
from git_hmopt.traces.folded import parse


def frame(*rows: tuple[int, str, str]) -> pl.DataFrame:
    table = [(ts, category, name, None, 7, 7, 0, "") for ts, category, name in rows]
    return pl.DataFrame(table, schema=EVENTS, orient="row")


def of(*frames: pl.DataFrame) -> statistics.EventStatistics:
    def read(losses: Losses) -> object:
        losses["line that is none"] += 2
        return iter(frames)

    found = statistics.event_statistics(Capture("ftrace", read_events=read))  # type: ignore[arg-type]
    assert found is not None
    return found


def test_markers_and_log_lines_are_counted_by_category() -> None:
    rows = [(1, "marker", f"section {number}") for number in range(50)]
    found = of(frame(*rows, (2, "sched", "sched_switch")), frame((3, "log", "wifi"), (4, "sched", "sched_switch")))
    assert found.by_name == {"marker": 50, "sched_switch": 2, "log": 1}
    assert next(iter(found.by_name)) == "marker"
    assert (found.count, found.start_ns, found.end_ns) == (53, 1, 4)
    assert found.losses["line that is none"] == 2


def test_names_without_end_are_counted_together() -> None:
    made_up = [(number, "other", f"event_{number:06}") for number in range(statistics.MOST_NAMES + 5)]
    found = of(frame(*made_up), frame((9, "other", "event_000000"), (9, "other", "event_new")))
    assert len(found.by_name) == statistics.MOST_NAMES + 1
    assert found.by_name[statistics.OTHER_NAMES] == 6
    assert found.by_name["event_000000"] == 2
    assert sum(found.by_name.values()) == found.count


def test_a_capture_without_events_has_no_counts_of_them() -> None:
    assert statistics.event_statistics(Capture("folded")) is None


def test_a_call_graph_is_measured_only_with_stacks() -> None:
    flat = statistics.sample_statistics(parse([b"alone 3\n", b"other 1\n"]), limit=1)
    assert (flat.calls, flat.deepest, flat.functions, flat.stacks, list(flat.ranked)) == (None, 1, 2, 2, ["self"])
    assert [one.symbol for one in flat.ranked["self"]] == ["alone"]
    empty = statistics.sample_statistics(parse([]), limit=3)
    assert (empty.samples, empty.cost, empty.functions, empty.deepest, empty.threads) == (0, 0, 0, 0, None)
    assert empty.ranked == {"self": ()}
    assert empty.losses == {"empty file": 1}
