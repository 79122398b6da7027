# SPDX-License-Identifier: Apache-2.0
"""A profiler's capture with a trace and samples: functions of a slow time, by the trace's clock."""

from __future__ import annotations

from pathlib import Path

import pytest

from git_hmopt.loop.windows import read_windows
from git_hmopt.runtime.call_graph import from_samples
from git_hmopt.runtime.fold import plain_name
from git_hmopt.runtime.kpis import kpis
from git_hmopt.traces import perf_data
from git_hmopt.traces.capture import Losses
from git_hmopt.traces.sniff import open_capture
from git_hmopt.traces.source import Source
from tests.traces.captures import captured, samples_of
from tests.traces.htrace_bytes import BOOT, MONOTONIC, ftrace, ftrace_event, message, number, packet, section

SWITCH, WAKEUP = 2417, 2420


def profiled(path: Path, start: int, end: int) -> None:
    """Write a capture in which thread 5 waits for a CPU in that time, with a profile that hiperf recorded."""
    woken = ftrace_event(start, 8, WAKEUP, message(1, "five"), number(2, 5), number(3, 120))
    switched = ftrace_event(
        end, 8, SWITCH, message(1, "eight"), number(2, 8), number(3, 120), message(5, "five"), number(6, 5)
    )
    trace = section(packet("ftrace-plugin", ftrace(0, [woken, switched])))
    path.write_bytes(trace + section(captured("hiperf_fp.compress.data").read_bytes(), kind=1))


def functions(path: Path) -> list[tuple[str, float]]:
    found = read_windows(path, "x", kpis(open_capture(path)), lambda symbols: {})
    [window] = found.windows
    assert window.kind == "wakeup-wait"
    return [(one.symbol, float(one.share)) for one in window.functions]


def test_samples_inside_are_those_of_the_traces_own_clock(tmp_path: Path) -> None:
    [samples], _ = samples_of(perf_data.FORMAT, captured("hiperf_fp.compress.data"))
    times = sorted(time for time in samples.ts_ns if time is not None)
    ahead = BOOT - MONOTONIC
    graph = from_samples(samples, name=lambda frame: plain_name(frame.label))
    expected = {symbol: cost / graph.total for symbol, cost in graph.self_cost.items() if cost}
    path = tmp_path / "both.htrace"
    profiled(path, times[0] + ahead, times[-1] + ahead + 2_000_000)
    found = functions(path)
    assert found and dict(found) == pytest.approx({symbol: expected[symbol] for symbol, _ in found})
    assert [share for _, share in found] == sorted((share for _, share in found), reverse=True)
    # By the samples' own clock they would lie in a time that ended before they began by the trace's.
    profiled(path, times[0] - 2_000_000, times[0] + ahead - 1)
    assert functions(path) == []


def test_samples_of_a_clock_that_nobody_knows_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "both.htrace"
    [samples], _ = samples_of(perf_data.FORMAT, captured("hiperf_fp.compress.data"))
    times = sorted(time for time in samples.ts_ns if time is not None)
    profiled(path, times[0], times[-1] + 2_000_000_000)
    content = bytearray(path.read_bytes())
    # The header's monotonic clock, of the first section.
    content[84:92] = bytes(8)
    path.write_bytes(content)
    capture = open_capture(path)
    assert capture.samples_behind is not None and capture.samples_behind() is None
    assert functions(path) == []


def test_a_profile_alone_has_no_clock_to_be_held_against(tmp_path: Path) -> None:
    capture = perf_data.FORMAT.read(Source(captured("hiperf_fp.compress.data")))
    assert capture.samples_behind is None and capture.read_events is None
    nothing = tmp_path / "x.htrace"
    nothing.write_bytes(section(packet("process-plugin", b"")))
    read = open_capture(nothing)
    assert read.samples_behind is not None and read.samples_behind() is None
    assert read.read_samples is not None and list(read.read_samples(Losses())) == []
