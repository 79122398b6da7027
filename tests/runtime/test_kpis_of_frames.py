# SPDX-License-Identifier: Apache-2.0
"""Frames: rules A to D on markers of both generations, two clocks, and sections of threads in containers."""

from __future__ import annotations

import itertools
from pathlib import Path

import polars as pl
import pytest

from git_hmopt.runtime.frames import NO_FENCES, NO_FRAMES, RULE_A, RULE_B, RULE_C
from git_hmopt.runtime.kpis import Kpis, kpis, kpis_of
from git_hmopt.runtime.sections import NO_BEGIN, NO_END
from git_hmopt.traces.capture import Losses
from git_hmopt.traces.ftrace_text import FORMAT
from git_hmopt.traces.source import Source
from tests.runtime.made_trace import Trace, value

CAPTURES = Path(__file__).parents[3] / "shared" / "data" / "captures"
PERIOD = 10_000
"""Microseconds: 100 frames a second."""
SUSPENDED = 3_000_000_000
"""Microseconds by which boot time is ahead of monotonic time."""
OLD = {
    "vsync": "H:ReceiveVsync [name:rs] dataCount:24bytes now:{now} expectedEnd:{end} vsyncId:{id}",
    "wait": "H:Waiting for Present Fence {id}",
    "rate": "H:RSHardwareThread::CommitAndReleaseLayers rate:100,now:1",
    "tail": "",
}
NEW = {
    "vsync": "H:ReceiveVsync name:rs dataCount: 24bytes now:{now} expectedEnd: {end} vsyncId:{id}, fd:17",
    "wait": "H:Waiting for PresentFence_0 {id}",
    "rate": "H:CommitLayers rate:100,now:12,vsyncId:475870,size:5,Names:x",
    "tail": "|M0538",
}


def render(trace: Trace, number: int, words: dict[str, str], *, took: int, waited: int = 0) -> None:
    """Write the markers of one frame of a render service whose vsync is at least 300 us old when it is received."""
    start = SUSPENDED + number * PERIOD + waited
    now = (number * PERIOD - 300) * 1000
    vsync = words["vsync"].format(now=now, end=now + PERIOD * 1000, id=number)
    tail = words["tail"]
    # The payload's pid is that of a namespace, and the thread's own end has another one.
    trace.mark(start, f"B|12|{vsync}{tail}", tid=800)
    trace.mark(start + 1, f"B|12|H:DoComposition: 1{tail}", tid=800)
    trace.mark(start + 2, f"B|77|{words['rate']}{tail}", tid=801)
    trace.mark(start + 3, f"E|77|{tail[1:]}", tid=801)
    trace.mark(start + took - 1, f"E|13|{tail[1:]}", tid=800)
    trace.mark(start + took, f"E|12|{tail[1:]}", tid=800)


def shown(trace: Trace, us: int, words: dict[str, str]) -> None:
    trace.mark(SUSPENDED + us, f"B|12|{words['wait'].format(id=us)}{words['tail']}", tid=802)
    trace.mark(SUSPENDED + us + 100, f"E|12|{words['tail'][1:]}", tid=802)


def rendered(words: dict[str, str]) -> Trace:
    """Return nine frames in time, one 2,000 us late, and presents of which two are missing, then a pause."""
    trace = Trace()
    for number in range(1, 11):
        render(trace, number, words, took=12_000 if number == 4 else 4_000, waited=2_100 if number == 5 else 0)
        if number not in (4, 7):
            shown(trace, number * PERIOD + 5_000, words)
    render(trace, 50, words, took=4_000)
    shown(trace, 50 * PERIOD + 5_000, words)
    return trace


@pytest.mark.parametrize("words", [OLD, NEW], ids=["older", "newer"])
def test_both_generations_by_rules_a_and_c(words: dict[str, str]) -> None:
    trace = rendered(words)
    trace.lines.sort(key=lambda line: float(line.split("] d..2. ")[1].split(":")[0]))
    found = trace.kpis()
    assert value(found, "clock_offset") == str((SUSPENDED + 300) * 1000)
    assert value(found, "frames_render_service") == "11"
    # 11 frames: the 95th percentile by nearest rank is the worst.
    assert value(found, "jank_p95_ms") == "2"
    assert value(found, "jank_rate") == "0.0909090909"
    # Eight presents in ten periods, the pause of 400 ms cut off.
    assert value(found, "fps_avg") == "77.7777778"
    assert value(found, "frames_lost") == "2"
    assert value(found, "frame_drop_rate") == "0.222222222"
    # Two gaps of two periods are 5 ms each beyond one and a half, in 90 ms.
    assert value(found, "stall_rate") == "111.111111"
    rule = found.find("frame_drop_rate")
    assert rule is not None and rule.rule.startswith(RULE_C) and "rate:" in rule.rule and rule.n == 7
    worst = found.windows[0]
    assert (worst.late_ns, worst.who, worst.rule) == (2_000_000, "?-800", RULE_A)
    assert (worst.start_ns, worst.end_ns) == ((SUSPENDED + 40_000) * 1000, (SUSPENDED + 52_000) * 1000)
    assert len(found.windows) == 1


@pytest.mark.parametrize("batch", [1, 7])
def test_batches_of_any_size_give_equal_frames(batch: int) -> None:
    trace = rendered(OLD)
    assert trace.kpis(batch) == trace.kpis()


def test_periods_without_new_content_are_not_lost() -> None:
    trace = Trace()
    for number in range(1, 4):
        render(trace, number, OLD, took=4_000)
    shown(trace, 15_000, OLD)
    trace.mark(SUSPENDED + 21_000, "B|1|H:DisplayNodeSkip skip commit", tid=800)
    trace.mark(SUSPENDED + 21_001, "E|1|", tid=800)
    shown(trace, 35_000, OLD)
    assert value(trace.kpis(), "frames_lost") == "0"


@pytest.mark.parametrize(
    ("gap", "lost"), [(16_900, 0), (17_000, 1), (26_900, 1), (27_000, 2), (169_000, 16), (171_000, None)]
)
def test_seven_tenths_of_a_period_are_a_lost_frame(gap: int, lost: int | None) -> None:
    trace = Trace()
    render(trace, 1, OLD, took=100)
    shown(trace, 15_000, OLD)
    shown(trace, 15_000 + gap, OLD)
    assert value(trace.kpis(), "frames_lost") == ("0" if lost is None else str(lost))


def test_a_render_services_frame_lasts_until_the_gpu_has_taken_it() -> None:
    trace = Trace()
    render(trace, 1, OLD, took=4_000)
    start = SUSPENDED + PERIOD
    trace.mark(start + 3_000, "S|12|H:M: Frame queued|7|M0538", tid=800)
    trace.mark(start + 10_500, "F|12|H:M: Frame queued|7|M0538", tid=803)
    found = trace.kpis()
    assert value(found, "jank_p95_ms") == "0.5"
    assert trace.kpis(1) == found


def test_the_stall_rate_of_a_scene_is_over_its_own_time() -> None:
    trace = Trace()
    render(trace, 1, OLD, took=100)
    shown(trace, 15_000, OLD)
    shown(trace, 45_000, OLD)
    trace.mark(SUSPENDED + 50_000, "S|1|H:APP_LIST_FLING,com.example 3", tid=900)
    for us in (55_000, 65_000, 85_000, 95_000):
        shown(trace, us, OLD)
    trace.mark(SUSPENDED + 100_000, "F|1|H:APP_LIST_FLING,com.example 3", tid=900)
    shown(trace, 145_000, OLD)
    scene = trace.kpis().find("stall_rate", "APP_LIST_FLING,com.example")
    # One gap of two periods, 5 ms beyond one and a half, in 50 ms.
    assert scene is not None and (scene.value, scene.n, scene.scope) == ("100", 3, "frame")


def app(trace: Trace, number: int, *, took: int, commits: bool) -> None:
    start = number * PERIOD
    now = (start - 300) * 1000
    vsync = f"H:ReceiveVsync dataCount:24bytes now:{now} expectedEnd:{now + PERIOD * 1000} vsyncId:{number}"
    trace.mark(start, f"B|1|{vsync}", tid=900)
    trace.mark(start + 1, "B|1|H:OnVsyncEvent now:1", tid=900)
    if commits:
        trace.mark(start + 2, "B|1|H:MarshRSTransactionData cmdCount:2 transactionFlag:[9,1]", tid=900)
        trace.mark(start + 3, "E|1|", tid=900)
    trace.mark(start + took, "E|1|", tid=900)
    trace.mark(start + took + 1, "E|1|", tid=900)


def test_an_applications_frame_ends_with_its_event_and_needs_content() -> None:
    trace = Trace()
    for number, took in ((1, 100), (2, 10_100), (4, 100)):
        app(trace, number, took=took, commits=number != 4)
    found = trace.kpis()
    assert value(found, "frames_app") == "2"
    assert value(found, "frames_without_content") == "1"
    assert value(found, "jank_p95_ms") == "0.1"
    assert value(found, "frame_drop_rate") == "0.5"
    drop = found.find("frame_drop_rate")
    assert drop is not None and drop.rule.startswith(RULE_A)


def test_a_vsync_without_its_numbers_is_no_frame() -> None:
    trace = Trace()
    trace.mark(1000, "B|1|H:ReceiveVsync dataCount:24bytes now:0 expectedEnd:5 vsyncId:1", tid=9)
    trace.mark(1001, "B|1|H:DoComposition", tid=9)
    trace.mark(1002, "E|1|", tid=9)
    trace.mark(1003, "E|1|", tid=9)
    assert value(trace.kpis(), "frames_render_service") is None


def test_ends_and_begins_without_another_half_are_counted_and_pair_nothing() -> None:
    trace = Trace()
    trace.mark(900, "E|1|", tid=800)
    trace.mark(901, "E|1|", tid=800)
    render(trace, 1, OLD, took=4_000)
    trace.mark(SUSPENDED + 99_000, "B|1|open", tid=800)
    found = trace.kpis()
    assert value(found, "frames_render_service") == "1"
    assert found.losses == {NO_BEGIN: 2, NO_END: 1}


def test_a_section_across_lost_events_is_no_section() -> None:
    trace = Trace()
    render(trace, 1, OLD, took=4_000)
    trace.lines.insert(2, "CPU:0 [LOST 5 EVENTS]")
    assert value(trace.kpis(), "frames_render_service") is None


def of_capture(name: str) -> Kpis:
    path = CAPTURES / name
    if not path.exists():
        pytest.skip(f"the capture {name} is not here")
    return kpis(FORMAT.read(Source(path)))


def test_an_android_capture_has_frames_of_its_choreographer_by_rule_b() -> None:
    found = of_capture("catapult_decompressed_atrace_data.txt")
    jank = found.find("jank_p95_ms")
    assert jank is not None and jank.rule.startswith(RULE_B) and "doFrame" in jank.rule and jank.value is not None
    capture = FORMAT.read(Source(CAPTURES / "catapult_decompressed_atrace_data.txt"))
    assert capture.read_events is not None
    frame = pl.concat(list(capture.read_events(Losses())))
    starts = frame.filter(pl.col("name") == "Choreographer#doFrame")["ts_ns"].to_list()
    gaps = [after - before for before, after in itertools.pairwise(starts) if after - before <= 170_000_000]
    fps = found.find("fps_avg")
    assert fps is not None and fps.value is not None
    drop = found.find("frame_drop_rate")
    assert drop is not None and (drop.value, drop.rule) == (None, NO_FENCES)
    assert float(fps.value) == pytest.approx(len(gaps) * 1e9 / sum(gaps), rel=1e-8)


def test_a_capture_without_frames_says_so() -> None:
    found = of_capture("smartperf_ut_bytrace_input_full.txt")
    fps = found.find("fps_avg")
    assert fps is not None and (fps.value, fps.n, fps.rule) == (None, 0, NO_FRAMES)


def test_empty_captures_have_no_windows() -> None:
    found = kpis_of([], Losses())
    assert (found.windows, found.start_ns, found.events) == ((), None, 0)
    assert {one.value for one in found.records} == {None}
