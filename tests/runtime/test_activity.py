# SPDX-License-Identifier: Apache-2.0
"""What ran while something was slow: known answers, a walk over the events as oracle, and traces that are broken."""

from __future__ import annotations

from collections import defaultdict

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from git_hmopt.runtime import activity, symptoms
from git_hmopt.runtime.activity import (
    Activity,
    Blocked,
    Contended,
    Handled,
    Ran,
    Spent,
    Stalled,
    Woke,
    activities,
    activities_in,
)
from git_hmopt.runtime.kpis import kpis, kpis_of
from git_hmopt.runtime.symptoms import Kind, Symptom
from git_hmopt.traces.capture import Losses
from git_hmopt.traces.sniff import open_capture
from tests.runtime.made_trace import Trace
from tests.runtime.test_kpis_of_sched import CPUS, STEPS, drawn
from tests.traces.captures import captured

MS = 1_000_000


def during(trace: Trace, start_us: int, end_us: int, *, tid: int | None = None, cpu: int | None = None) -> Activity:
    kind: Kind = "late-frame"
    asked = Symptom(kind, start_us * 1000, end_us * 1000, 1, tid, cpu, "somebody", "a rule")
    [found] = activities_in([trace.frame()], [asked])
    return found


def symptoms_of(trace: Trace) -> list[tuple[str, int, int, str]]:
    return [(one.kind, one.start_ns // 1000, one.end_ns // 1000, one.who) for one in trace.kpis().symptoms]


def slow_wakeup() -> Trace:
    """Thread 5 waits 6 ms while 8 has the only CPU, an interrupt takes 1 ms of it, and 8 wakes 9 twice."""
    trace = Trace()
    trace.switch(1_000, 0, "R", 8)
    trace.wake(2_000, 5, by=8)
    trace.wake(3_000, 9, by=8)
    trace.event(4_000, "irq_handler_entry", "irq=9 name=eth 0", tid=8)
    trace.event(5_000, "irq_handler_exit", "irq=9 ret=handled", tid=8)
    trace.switch(6_000, 8, "R+", 9)
    trace.switch(6_500, 9, "D", 8)
    trace.event(7_000, "sched_blocked_reason", "pid=9 iowait=1 caller=io_schedule+0x10/0x20 delay=500", tid=8)
    trace.wake(7_000, 9, by=8)
    trace.switch(8_000, 8, "R", 5)
    trace.switch(9_000, 5, "S", 8)
    return trace


def test_who_ran_who_woke_whom_and_what_was_waited_for() -> None:
    found = during(slow_wakeup(), 2_000, 8_000, tid=5)
    assert found.ran == (Ran(0, 8, "t 8-8", 5_500_000), Ran(0, 9, "t 9-9", 500_000))
    assert found.known_ns == ((0, 6 * MS),)
    # 5 and 9 waited 6 and 3 ms; the second wait of 9 had not ended when the trace did.
    assert found.woke == (Woke("t 8-8", "t 5-5", 1, 6 * MS, 6 * MS), Woke("t 8-8", "t 9-9", 1, 3 * MS, 3 * MS))
    assert found.blocked == (Blocked("t 9-9", "io_schedule", True, 1, 500_000),)
    assert found.uninterruptible == (("t 9-9", 500_000),)
    assert found.handled == (Handled("irq", "9 eth 0", 1, MS),)
    assert found.interrupted_ns == ((0, MS),)
    assert found.spent == Spent(0, 6 * MS, 0, 0, 0)
    assert (found.events, found.lost, found.left_out) == (9, 0, 0)
    assert [line.split(": ")[0] for line in found.excerpt] == [
        "0.002000 [000] 8 sched_wakeup", "0.008000 [000] 8 sched_switch"
    ]  # fmt: skip


def test_what_runs_over_both_ends_counts_with_its_part_alone() -> None:
    found = during(slow_wakeup(), 6_250, 6_750)
    assert found.ran == (Ran(0, 8, "t 8-8", 250_000), Ran(0, 9, "t 9-9", 250_000))
    # The wait began before, and is told where it began.
    assert found.woke == ()
    # What a CPU runs when the trace ends is known until there.
    assert during(slow_wakeup(), 8_500, 20_000).ran == (Ran(0, 5, "t 5-5", 500_000),)


def test_a_time_without_events_has_what_the_cpus_were_in() -> None:
    trace = slow_wakeup()
    trace.event(30_000, "cpu_frequency", "state=1 cpu_id=0", tid=8)
    found = during(trace, 15_000, 20_000, tid=9)
    assert (found.events, found.excerpt, found.ran) == (0, (), (Ran(0, 8, "t 8-8", 5 * MS),))
    assert found.spent == Spent(0, 0, 0, 0, 5 * MS)
    beyond = during(trace, 40_000, 50_000)
    assert (beyond.events, beyond.ran, beyond.known_ns) == (0, (), ())


def test_a_thread_s_time_is_told_by_what_it_did() -> None:
    trace = Trace()
    trace.switch(1_000, 0, "R", 5)
    trace.switch(2_000, 5, "D", 0)
    trace.wake(4_000, 5, by=0)
    trace.switch(4_500, 0, "R", 5)
    trace.switch(5_000, 5, "S", 0)
    trace.wake(9_000, 5, by=0)
    trace.switch(9_500, 0, "R", 5)
    assert during(trace, 1_000, 9_500, tid=5).spent == Spent(1_500_000, MS, 2 * MS, 4 * MS, 0)
    assert during(trace, 0, 3_000, tid=5).spent == Spent(MS, 0, MS, 0, MS)


def test_what_spans_lost_events_is_unknown_and_it_is_said() -> None:
    trace = Trace()
    trace.switch(1_000, 0, "R", 5)
    trace.event(1_500, "cpu_frequency", "state=1 cpu_id=0", tid=5)
    trace.lost(0)
    trace.switch(3_000, 6, "S", 0)
    trace.switch(4_000, 0, "R", 7)
    trace.lost(0)
    trace.event(6_000, "cpu_frequency", "state=1 cpu_id=1", cpu=1, tid=9)
    found = during(trace, 1_000, 6_000)
    assert found.ran == (Ran(0, 0, "idle", MS),)
    assert found.known_ns == ((0, MS),)


def test_the_waker_is_who_asked_for_it() -> None:
    trace = Trace()
    trace.event(1_000, "sched_waking", "comm=t 5 pid=5 prio=120 target_cpu=001", tid=7)
    trace.wake(1_010, 5, by=0, cpu=1)
    trace.switch(1_020, 0, "R", 5, cpu=1)
    trace.switch(1_030, 5, "S", 0, cpu=1)
    trace.wake(1_040, 5, by=3, cpu=1)
    trace.switch(1_050, 0, "R", 5, cpu=1)
    for size in (1, 2, 100):
        asked = Symptom("late-frame", 0, 2 * MS, 1, None, None, "", "")
        [found] = activities_in(trace.frame().iter_slices(size), [asked])
        assert [(one.waker, one.wakee, one.total_ns) for one in found.woke] == [
            ("?-3", "t 5-5", 10_000), ("?-7", "t 5-5", 10_000)
        ]  # fmt: skip


def test_waits_without_a_length_are_counted() -> None:
    trace = Trace()
    trace.event(1_000, "sched_blocked_reason", "pid=3 iowait=0 caller=f+0x1/0x2")
    trace.event(1_100, "sched_blocked_reason", "pid=3 iowait=0 caller=f+0x1/0x2 delay=99999999999999999999")
    assert during(trace, 0, 2_000).blocked == (Blocked("?-3", "f", False, 2, None),)


def test_waits_for_locks_are_told_by_thread_and_lock() -> None:
    trace = Trace()
    trace.event(1_000, "contention_begin", "00000000c2a1ff04 (flags=MUTEX)", tid=5)
    # A mutex that is spun for says so between, and has one end.
    trace.event(1_500, "contention_begin", "00000000c2a1ff04 (flags=SPIN|MUTEX)", tid=5)
    trace.event(2_000, "contention_begin", "00000000aaaaaaaa (flags=SPIN)", tid=6, cpu=1)
    trace.event(2_250, "contention_end", "00000000aaaaaaaa (ret=0)", tid=6, cpu=1)
    trace.event(3_000, "contention_end", "00000000c2a1ff04 (ret=0)", tid=5)
    trace.event(3_100, "contention_end", "00000000c2a1ff04 (ret=0)", tid=7)
    trace.event(3_200, "contention_begin", "00000000c2a1ff04 (flags=MUTEX)", tid=7)
    assert during(trace, 2_000, 9_000).contended == (
        Contended("?-5", "00000000c2a1ff04 (flags=MUTEX)", 1, MS),
        Contended("?-6", "00000000aaaaaaaa (flags=SPIN)", 1, MS // 4),
    )


def test_more_locks_than_are_told_apart_are_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(activity, "MOST_LOCKS", 1)
    trace = Trace()
    for tid in (5, 6):
        trace.event(1_000, "contention_begin", f"{tid:016x} (flags=SPIN)", tid=tid)
        trace.event(1_001, "contention_end", f"{tid:016x} (ret=0)", tid=tid)
    assert [one.lock for one in during(trace, 0, 9_000).contended] == [
        "0000000000000005 (flags=SPIN)", "one of many locks"
    ]  # fmt: skip


def test_stalls_of_allocations_are_told_by_thread() -> None:
    trace = Trace()
    trace.event(1_000, "mm_vmscan_direct_reclaim_begin", "order=0 gfp_flags=GFP_KERNEL", tid=5)
    trace.event(3_000, "mm_vmscan_direct_reclaim_end", "nr_reclaimed=9", tid=5)
    trace.event(3_000, "mm_compaction_begin", "zone_start=0x1 migrate_pfn=0x1", tid=6)
    trace.event(3_500, "mm_compaction_end", "zone_start=0x1 status=complete", tid=6)
    found = during(trace, 2_000, 9_000)
    assert found.stalled == (Stalled("reclaim", "?-5", MS), Stalled("compaction", "?-6", MS // 2))
    assert symptoms_of(trace) == [("reclaim", 1_000, 3_000, "?-5"), ("compaction", 3_000, 3_500, "?-6")]


def test_long_waits_are_symptoms_and_short_ones_are_none() -> None:
    assert symptoms_of(slow_wakeup()) == [
        ("wakeup-wait", 2_000, 8_000, "t 5-5"), ("wakeup-wait", 3_000, 6_000, "t 9-9"),
        ("preempted-wait", 8_000, 9_000, "t 8-8"),
    ]  # fmt: skip
    quiet = Trace()
    quiet.wake(1_000, 5)
    quiet.switch(1_999, 0, "R", 5)
    assert symptoms_of(quiet) == []


def storm(us: int, handled: int, *, softirq: bool = False) -> Trace:
    """Interrupts on CPU 1 from 20 ms on, one each `us`, that take `handled` us each, for 30 ms."""
    trace = Trace()
    for at in range(20_000, 50_000, us):
        trace.event(at, "irq_handler_entry", "irq=9 name=eth 0", cpu=1, tid=5)
        if softirq:
            trace.event(at + 1, "softirq_entry", "vec=3 [action=NET_RX]", cpu=1, tid=5)
            trace.event(at + handled - 1, "softirq_exit", "vec=3 [action=NET_RX]", cpu=1, tid=5)
        trace.event(at + handled, "irq_handler_exit", "irq=9 ret=handled", cpu=1, tid=5)
    return trace


def test_half_of_a_cpu_in_handlers_is_a_storm_and_less_is_none() -> None:
    assert symptoms_of(storm(1_000, 500)) == [("interrupts", 20_000, 50_000, "cpu1")]
    assert symptoms_of(storm(1_000, 490)) == []
    # What lies in each other counts once.
    assert symptoms_of(storm(1_000, 490, softirq=True)) == []
    long = storm(30_000, 12_345)
    assert symptoms_of(long) == [("interrupts", 20_000, 32_345, "cpu1")]
    found = during(storm(1_000, 500, softirq=True), 20_000, 50_000, cpu=1)
    assert found.interrupted_ns == ((1, 15 * MS),)
    assert [(one.kind, one.name, one.count, one.ns) for one in found.handled] == [
        ("irq", "9 eth 0", 30, 15 * MS), ("softirq", "3 NET_RX", 30, 14_940_000)
    ]  # fmt: skip


def test_storms_are_found_however_many_quiet_steps_follow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(symptoms, "_BUCKETS", 4)
    monkeypatch.setattr(symptoms, "_KEPT_BUCKETS", 2)
    trace = storm(1_000, 600)
    for at in range(100_000, 300_000, 10_000):
        trace.event(at, "irq_handler_entry", "irq=9 name=eth 0", cpu=2, tid=5)
        trace.event(at + 3, "irq_handler_exit", "irq=9 ret=handled", cpu=2, tid=5)
    found = kpis_of(list(trace.frame().iter_slices(1)), Losses()).symptoms
    assert {(one.cpu, one.start_ns // MS, one.end_ns // MS) for one in found} <= {(1, 20, 50), (1, 20, 40), (1, 30, 50)}
    assert found


def test_late_frames_are_symptoms_with_their_thread() -> None:
    trace = Trace()
    trace.mark(1_000, "B|7|H:ReceiveVsync dataCount:24bytes now:1000000 expectedEnd:2000000 vsyncId:3", tid=7)
    trace.mark(1_100, "B|7|H:RSMainThread::DoComposition", tid=7)
    trace.mark(4_000, "E|7|", tid=7)
    trace.mark(5_000, "E|7|", tid=7)
    [one] = trace.kpis().symptoms
    assert (one.kind, one.tid, one.start_ns, one.end_ns, one.lost_ns) == ("late-frame", 7, MS, 5 * MS, 3 * MS)


def test_each_kind_has_its_turn_and_there_is_an_end() -> None:
    trace = Trace()
    for tid in range(10, 60):
        trace.wake(1_000, tid)
    for number, tid in enumerate(range(10, 60)):
        trace.switch(9_000 + 100 * number, tid - 1 if number else 0, "S", tid)
    trace.event(20_000, "mm_vmscan_direct_reclaim_begin", "order=0", tid=5)
    trace.event(20_001, "mm_vmscan_direct_reclaim_end", "nr_reclaimed=9", tid=5)
    found = trace.kpis().symptoms
    assert len(found) == symptoms.OF_A_KIND + 1
    assert [one.tid for one in found[:3]] == [59, 58, 57]
    assert found[-1].kind == "reclaim"


def test_a_long_excerpt_has_both_ends_and_long_lines_are_cut() -> None:
    trace = Trace()
    for us in range(1_000, 1_100):
        trace.event(us, "cpu_frequency", f"state={us} cpu_id=0 {'x' * 500}", tid=5)
    found = during(trace, 0, 9_000)
    assert len(found.excerpt) == 2 * activity.LINES and found.left_out == 100 - 2 * activity.LINES
    assert "state=1000 " in found.excerpt[0] and "state=1099 " in found.excerpt[-1]
    assert max(map(len, found.excerpt)) == 160 and found.excerpt[0].endswith("…")


def test_more_threads_than_are_told_apart_are_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(activity, "MOST", 3)
    trace = Trace()
    for number in range(1, 9):
        trace.switch(1_000 * number, number, "S", number + 1)
    found = during(trace, 1_000, 8_000)
    assert [(one.who, one.ns // MS) for one in found.ran] == [("others", 4), ("t 2-2", 1), ("t 3-3", 1), ("t 4-4", 1)]


def walked(frame: pl.DataFrame, start: int, end: int) -> dict[tuple[int, int], int]:
    """Return the time of each thread on each CPU by walking from switch to switch."""
    on: dict[int, tuple[int, int]] = {}
    found: dict[tuple[int, int], int] = defaultdict(int)
    last = max((row["ts_ns"] for row in frame.iter_rows(named=True) if row["ts_ns"] is not None), default=0)

    def add(cpu: int, until: int) -> None:
        tid, since = on.pop(cpu)
        part = min(until, end) - max(since, start)
        if part > 0:
            found[cpu, tid] += part

    for row in frame.iter_rows(named=True):
        if row["name"] == "lost_events":
            on.pop(row["cpu"], None)
        elif row["name"] == "sched_switch":
            words = dict(part.split("=", 1) for part in row["args"].replace("t ", "t_").split() if "=" in part)
            if row["cpu"] in on and on[row["cpu"]][0] == int(words["prev_pid"]):
                add(row["cpu"], row["ts_ns"])
            on[row["cpu"]] = int(words["next_pid"]), row["ts_ns"]
    for cpu in list(on):
        add(cpu, last)
    return dict(found)


WINDOWS = st.tuples(st.integers(999_000, 1_003_000), st.integers(1, 3_000))


@settings(max_examples=100, deadline=None)
@given(STEPS, WINDOWS, st.integers(1, 50))
def test_time_on_cpus_is_that_of_a_walk_over_the_events(
    steps: list[tuple[int, int, int, int]], window: tuple[int, int], size: int
) -> None:
    start, end = window[0] * 1000, (window[0] + window[1]) * 1000
    frame = drawn(steps).frame()
    [found] = activities_in(frame.iter_slices(size), [Symptom("reclaim", start, end, 1, 1, None, "", "")])
    assert {(one.cpu, one.tid): one.ns for one in found.ran} == walked(frame, start, end)
    [whole] = activities_in([frame], [Symptom("reclaim", start, end, 1, 1, None, "", "")])
    assert (whole.ran, whole.woke, whole.spent, whole.excerpt) == (found.ran, found.woke, found.spent, found.excerpt)


@settings(max_examples=150, deadline=None)
@given(STEPS, WINDOWS, st.lists(st.integers(-50, 40), min_size=120, max_size=120), st.integers(1, 50))
def test_cpus_have_no_more_time_than_there_is_whatever_the_clock_does(
    steps: list[tuple[int, int, int, int]], window: tuple[int, int], gaps: list[int], size: int
) -> None:
    start, end = window[0] * 1000, (window[0] + window[1]) * 1000
    back = [(what, cpu, tid, gap) for (what, cpu, tid, _), gap in zip(steps, gaps, strict=False)]
    frame = drawn(back).frame()
    [found] = activities_in(frame.iter_slices(size), [Symptom("reclaim", start, end, 1, 1, None, "", "")])
    assert sum(one.ns for one in found.ran) <= CPUS * (end - start)
    assert all(ns <= end - start for _, ns in (*found.known_ns, *found.interrupted_ns))
    assert found.spent is not None and found.spent.unknown_ns >= 0


@pytest.mark.parametrize(
    "name", ["smartperf_ut_bytrace_input_full.txt", "catapult_android_systrace.txt", "smartperf_pbreader_ffrt.htrace"]
)
def test_real_captures(name: str) -> None:
    path = captured(name)
    told = kpis(open_capture(path))
    assert told.start_ns is not None and told.end_ns is not None
    whole = Symptom("late-frame", told.start_ns, told.end_ns + 1, 1, None, None, "all", "")
    found = activities(open_capture(path), [whole, *told.symptoms])
    assert len(found) == 1 + len(told.symptoms)
    assert found[0].events == told.events
    for one in found:
        length = one.symptom.end_ns - one.symptom.start_ns
        assert all(ns <= length for _, ns in one.known_ns)
