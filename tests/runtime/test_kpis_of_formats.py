# SPDX-License-Identifier: Apache-2.0
"""KPIs of captures that are no traces: dumps of /proc, counters, frame timelines."""

from __future__ import annotations

from pathlib import Path

from git_hmopt.runtime.kpis import Kpis, kpis
from git_hmopt.traces.sniff import open_capture
from tests.runtime.test_snapshots import FIRST, SECOND


def of(tmp_path: Path, text: str, name: str = "capture") -> Kpis:
    path = tmp_path / name
    path.write_text(text)
    return kpis(open_capture(path))


def test_one_dump_of_proc_gives_levels_and_two_in_one_file_rates(tmp_path: Path) -> None:
    one = of(tmp_path, FIRST)
    free = one.find("memory_free_ratio")
    assert free is not None and (free.value, free.rule) == (None, "unknown: no MemFree and MemTotal of /proc/meminfo")
    runnable = one.find("tasks_runnable")
    assert runnable is not None and runnable.unit == "tasks"
    assert one.find("context_switch_rate") is None
    both = of(tmp_path, FIRST + SECOND)
    switches = both.find("context_switch_rate")
    assert switches is not None and (switches.value, switches.unit) == ("2000", "1/s")


def test_a_frame_timeline_tells_when_its_worst_frames_were(tmp_path: Path) -> None:
    text = (
        "name,start_ns,end_ns,expected_start_ns,expected_end_ns\n"
        "app,5000000,20000000,4000000,18000000\napp,40000000,50000000,40000000,51000000\n"
    )
    (window,) = of(tmp_path, text, "frames.csv").windows
    assert (window.start_ns, window.end_ns, window.late_ns, window.who) == (4_000_000, 20_000_000, 2_000_000, "app")


def test_counters_give_ratios_and_what_was_not_counted_is_unknown(tmp_path: Path) -> None:
    text = (
        "\n Performance counter stats for 'true':\n\n"
        "         1,000      instructions\n           500      cycles\n\n       0.001 seconds time elapsed\n\n"
    )
    found = of(tmp_path, text)
    values = {one.name: one.value for one in found.records}
    assert values == {"ipc": "2", "branch_miss_rate": None, "cache_miss_rate": None}
