# SPDX-License-Identifier: Apache-2.0
"""Reports of hiperf in their three forms, recorded ones and damaged ones."""

from __future__ import annotations

import io
import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from git_hmopt.runtime import call_graph
from git_hmopt.traces import hiperf_report
from git_hmopt.traces.capture import Losses
from git_hmopt.traces.source import Source
from git_hmopt.traces.tables import Frame, Samples, TraceFormatError
from tests.traces.captures import captured

TEXT = """loading data
<<Hiperf Report>>
hostname: localhost

Event: hw-cpu-cycles (type 0 id 0)
Samples Count: 3
Event Count: 110
Heating count  comm     pid  tid  dso          func
50.00%      55 my app   1204 1204 /lib/libc.so std::sort<int, std::less<int> >(int*)
           |- 60.00% caller
 9.09%      10 my app   1204 1205 /lib/libc.so memcpy

Event: sw-task-clock (type 1 id 1)
Samples Count: 1
Time in ns: 7
Heating count  func
100.00% 7      memcpy
report done
"""
REPORT = {
    "deviceTime": "now",
    "processNameMap": {"7": "app"},
    "threadNameMap": {"8": "worker"},
    "symbolsFileList": ["/lib/libc.so"],
    "SymbolMap": {"0": {"file": 0, "symbol": "memcpy"}, "1": {"file": 5, "symbol": "main"}},
    "recordSampleInfo": [
        {
            "eventConfigName": "hw-cpu-cycles",
            "eventCount": 12,
            "processes": [
                {
                    "pid": 7,
                    "eventCount": 12,
                    "threads": [
                        {
                            "tid": 8,
                            "eventCount": 12,
                            "libs": [],
                            "CallOrder": {
                                "selfEvents": 0,
                                "subEvents": 12,
                                "symbol": -1,
                                "callStack": [
                                    {
                                        "selfEvents": 2,
                                        "subEvents": 12,
                                        "symbol": 1,
                                        "callStack": [
                                            {"selfEvents": 9, "subEvents": 9, "symbol": 0, "callStack": []},
                                            {"selfEvents": 1, "subEvents": 1, "symbol": 44, "callStack": []},
                                        ],
                                    }
                                ],
                            },
                        }
                    ],
                }
            ],
        }
    ],
}


def parse(text: str | bytes) -> list[Samples]:
    return hiperf_report.parse(io.BytesIO(text.encode() if isinstance(text, str) else text))


def test_a_text_has_a_table_for_each_event_and_counts_what_it_cannot_use() -> None:
    cycles, clock = parse(TEXT)
    assert cycles.frames == (
        Frame("std::sort<int, std::less<int> >(int*)", "/lib/libc.so"),
        Frame("memcpy", "/lib/libc.so"),
    )
    assert (cycles.weight, cycles.pid, cycles.tid) == ((55, 10), (1204, 1204), (1204, 1205))
    assert cycles.threads == {1204: "my app", 1205: "my app"}
    assert cycles.skipped == {hiperf_report.IN_TREE: 1, hiperf_report.NOT_SHOWN: 45}
    assert (clock.event, clock.unit, clock.total(), clock.skipped) == ("sw-task-clock", "ns", 7, {})


@pytest.mark.parametrize(
    "around", ["{}", '<!DOCTYPE html><script id="record_data" type="application/json">{}</script>']
)
def test_json_and_the_page_around_it_have_whole_stacks(around: str) -> None:
    text = json.dumps(REPORT).replace("memcpy", "mem\tcpy")
    (table,) = parse(around.replace("{}", text))
    graph = call_graph.from_samples(table)
    assert graph.self_cost == {"[unknown]": 1, "main": 2, "mem\tcpy": 9}
    assert graph.edge_cost == {("main", "[unknown]"): 1, ("main", "mem\tcpy"): 9}
    assert table.threads == {8: "worker"}
    assert table.skipped == {hiperf_report.UNKNOWN_SYMBOL: 1}
    assert table.unit == "hw-cpu-cycles"


@pytest.mark.parametrize("name", ["i", "callstack", "diff"])
def test_recorded_reports_sum_up_to_what_they_say(name: str) -> None:
    capture = hiperf_report.FORMAT.read(Source(captured(f"hiperf_report_test_{name}.txt")))
    assert capture.read_samples is not None
    losses: Losses = Counter()
    (table,) = capture.read_samples(losses)
    assert table.total() == 271_445
    assert losses == ({hiperf_report.IN_TREE: 7} if name == "callstack" else {})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no line reads"),
        ("Event: cycles\n", "no line reads"),
        ("{", "this is no JSON of 'hiperf report --json'"),
        ('{"recordSampleInfo": 7}', "this is no JSON"),
        ('{"recordSampleInfo": ' + "[" * 100_000, "this is no JSON"),
        ("<html></html>", "without hiperf's record_data"),
        ('<html><script id="record_data"', "without hiperf's record_data"),
    ],
)
def test_what_is_no_report_is_refused(text: str, message: str) -> None:
    with pytest.raises(TraceFormatError, match=message):
        parse(text)


def test_a_report_that_was_cut_says_so(tmp_path: Path) -> None:
    _, clock = parse(TEXT.removesuffix("report done\n"))
    assert clock.skipped == {hiperf_report.CUT: 1}


@settings(max_examples=200)
@given(st.sampled_from([TEXT, json.dumps(REPORT)]), st.data())
def test_damage_gives_a_result_or_one_error(text: str, data: st.DataObject) -> None:
    damaged = bytearray(text.encode())
    for _ in range(data.draw(st.integers(0, 5))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    try:
        tables = parse(bytes(damaged[: data.draw(st.none() | st.integers(0, len(damaged)))]))
    except TraceFormatError:
        return
    for table in tables:
        assert call_graph.from_samples(table).total == table.total()
