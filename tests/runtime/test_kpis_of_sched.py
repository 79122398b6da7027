# SPDX-License-Identifier: Apache-2.0
"""Scheduling KPIs: against a state machine that walks event by event, and equal whatever the batches."""

from __future__ import annotations

from collections import defaultdict

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from git_hmopt.runtime.kpis import kpis_of
from git_hmopt.traces.capture import Losses
from tests.runtime.made_trace import Trace, value

CPUS, THREADS = 3, 5


def drawn(steps: list[tuple[int, int, int, int]]) -> Trace:
    """Return a trace of random switches, wakeups, rows and losses, not all of which make sense."""
    trace, running, us = Trace(), [0] * CPUS, 1_000_000
    for what, cpu, tid, gap in steps:
        us += gap
        if what <= 4:
            trace.switch(us, running[cpu], "RSDR+"[what] if what < 4 else "R+", tid, cpu=cpu)
            running[cpu] = tid
        elif what <= 6 or (what == 7 and not gap % 2):
            trace.wake(us, tid or 1, by=running[cpu], cpu=cpu)
        elif what == 8:
            trace.event(us, "irq_handler_entry", "irq=9 name=eth 0", cpu=cpu, tid=running[cpu], pid=7)
        elif what == 7 and gap % 2:
            trace.event(us, "sched_waking", f"comm=x pid={tid} prio=1 target_cpu=000", cpu=cpu, tid=running[cpu])
        elif what == 9:
            trace.event(us, "irq_handler_exit", "irq=9 ret=handled", cpu=cpu, tid=tid, pid=7)
        elif what == 10 and gap > 30:
            trace.lost(cpu)
        elif what == 11:
            trace.event(us, "cpu_frequency", f"state={840000 + gap} cpu_id={cpu}", cpu=cpu, tid=tid)
        elif what == 12:
            trace.event(us, "cpu_idle", f"state={(0, 1, 4294967295)[gap % 3]} cpu_id={cpu}", cpu=cpu)
        elif what == 13:
            trace.event(us, ("softirq_raise", "softirq_entry", "softirq_exit")[gap % 3], "vec=6 [action=X]", cpu=cpu)
        else:
            trace.mark(us, "B|1|H:ReceiveVsync now:1 expectedEnd:9 vsyncId:3" if gap % 2 else "E|1|", tid=tid, cpu=cpu)
    return trace


STEPS = st.lists(
    st.tuples(st.integers(0, 14), st.integers(0, CPUS - 1), st.integers(0, THREADS), st.integers(1, 40)), max_size=120
)


def sensible(steps: list[tuple[int, int, int, int]]) -> list[tuple[int, int, int, int]]:
    """Return the steps without rows of a thread that is not the CPU's, and without a thread on two CPUs at once."""
    found, running = [], [0] * CPUS
    for what, cpu, tid, gap in steps:
        if what <= 4:
            tid = 0 if tid in running[:cpu] + running[cpu + 1 :] else tid
            running[cpu] = tid
        if what <= 8 or what == 10:
            found.append((what, cpu, tid, gap))
    return found


def walked(frame: pl.DataFrame) -> tuple[list[int], list[int]]:
    """Return all latencies and those of wakeups by walking over the events, one by one."""
    state: dict[int, tuple[str, int]] = {}
    waits, wakeups = [], []
    for row in frame.iter_rows(named=True):
        words = dict(part.split("=", 1) for part in row["args"].replace("t ", "t_").split() if "=" in part)
        ts, tid = row["ts_ns"], row["tid"]
        if row["name"] == "lost_events":
            state.clear()
        elif row["name"] == "sched_switch":
            prev, following = int(words["prev_pid"]), int(words["next_pid"])
            state[prev] = ("runnable" if words["prev_state"].startswith("R") else "asleep", ts)
            how, since = state.get(following, ("unknown", 0))
            if following and how in ("runnable", "woken"):
                waits.append(ts - since)
                if how == "woken":
                    wakeups.append(ts - since)
            state[following] = ("running", ts)
        else:
            state[tid] = ("running", ts)
            if row["name"] == "sched_wakeup":
                woken = int(words["pid"])
                if state.get(woken, ("asleep", 0))[0] == "asleep":
                    state[woken] = ("woken", ts)
    return sorted(waits), sorted(wakeups)


@settings(max_examples=150, deadline=None)
@given(STEPS)
def test_latencies_are_those_of_a_walk_over_the_events(steps: list[tuple[int, int, int, int]]) -> None:
    # Rows whose thread is another than the CPU's say so; a walk takes every row for that, so rows here do make sense.
    frame = drawn(sensible(steps)).frame()
    waits, wakeups = walked(frame)
    found = kpis_of([frame], Losses())
    for name, expected in (("sched_latency", waits), ("wakeup_latency", wakeups)):
        for percent in (50, 95, 99):
            rank = -(-len(expected) * percent // 100) - 1
            said = value(found, f"{name}_p{percent}")
            assert said == (str(expected[rank]) if expected else None)


@settings(max_examples=60, deadline=None)
@given(STEPS)
def test_batches_of_any_size_give_equal_kpis(steps: list[tuple[int, int, int, int]]) -> None:
    trace = drawn(steps)
    whole = trace.kpis()
    assert trace.kpis(1) == whole
    assert trace.kpis(7) == whole


def test_a_wakeup_and_a_preemption_are_both_waits_and_only_one_is_a_wakeup() -> None:
    trace = Trace()
    trace.wake(1000, 5)
    trace.switch(1010, 0, "R", 5)
    trace.switch(1050, 5, "R+", 6)
    trace.switch(1090, 6, "S", 5)
    found = trace.kpis()
    assert value(found, "sched_latency_p50") == "10000"
    assert value(found, "sched_latency_p99") == "40000"
    assert value(found, "wakeup_latency_p99") == "10000"
    assert value(found, "sched_latency_p99", "t 5-5") == "40000"
    assert value(found, "preemption_ratio") == "0.5"


def test_waking_is_a_number_of_its_own_where_it_was_recorded() -> None:
    trace = Trace()
    trace.event(1000, "sched_waking", "comm=t 5 pid=5 prio=120 target_cpu=000")
    trace.wake(1004, 5)
    trace.switch(1010, 0, "R", 5)
    found = trace.kpis()
    assert (value(found, "waking_latency_p50"), value(found, "wakeup_latency_p50")) == ("4000", "6000")


def test_numbers_that_nothing_holds_are_unknown() -> None:
    trace = Trace()
    for delay in ("99999999999999999999", "9223372036854775807", "999999999999999999", "3"):
        trace.event(1000, "sched_blocked_reason", f"pid=3 iowait=0 caller=f+0x1 delay={delay}")
    assert value(trace.kpis(), "blocked_time", "f") == "3000"


def test_a_thread_that_is_seen_running_has_not_waited_since() -> None:
    trace = Trace()
    trace.wake(1000, 5, by=9)
    trace.event(1020, "cpu_frequency", "state=1 cpu_id=1", cpu=1, tid=5)
    trace.switch(1100, 9, "S", 5)
    assert value(trace.kpis(), "sched_latency_p50") is None


def test_a_wait_across_lost_events_is_unknown() -> None:
    trace = Trace()
    trace.wake(1000, 5)
    trace.lost(3)
    trace.switch(1100, 0, "R", 5)
    assert value(trace.kpis(), "sched_latency_p50") is None


@pytest.mark.parametrize(
    ("state", "waits"), [("R", True), ("R+", True), ("0x1000", True), ("0", True), ("0x0", True), ("256", True),
                         ("S", False), ("D|K", False), ("0x2", False), ("1", False), ("0x1001", False)],
)  # fmt: skip
def test_states_as_letters_and_as_numbers(state: str, waits: bool) -> None:
    trace = Trace()
    trace.switch(1000, 5, state, 0)
    trace.switch(1100, 0, "R", 5)
    assert value(trace.kpis(), "sched_latency_p50") == ("100000" if waits else None)


def test_utilisation_is_by_switches_and_checked_by_idle_events() -> None:
    trace = Trace()
    trace.switch(1000, 0, "R", 5)
    trace.switch(1250, 5, "S", 0)
    trace.event(1250, "cpu_idle", "state=1 cpu_id=0")
    trace.event(2000, "cpu_idle", "state=4294967295 cpu_id=0")
    trace.switch(2000, 0, "R", 5)
    trace.event(2250, "cpu_idle", "state=1 cpu_id=0", tid=5)
    found = trace.kpis()
    assert value(found, "cpu_idle_ratio") == "0.75"
    assert value(found, "cpu_util_avg", "cpu0") == "0.25"
    assert value(found, "cpu_util_avg", "t 5-5") == "0.2"
    ratio = found.find("cpu_idle_ratio")
    assert ratio is not None and ratio.rule.endswith("cross-check: cpu_idle agrees, 0.7500")


def test_without_switches_idle_events_are_used_and_it_is_said() -> None:
    trace = Trace()
    for us, state in ((1000, 0), (1900, 4294967295), (2000, 0)):
        trace.event(us, "cpu_idle", f"state={state} cpu_id=2", cpu=2)
    ratio = trace.kpis().find("cpu_idle_ratio")
    assert ratio is not None and ratio.value == "0.9"
    assert ratio.rule.startswith("time between cpu_idle's enter and exit") and "cross-check: none" in ratio.rule


def test_a_switch_that_is_missing_leaves_its_time_out() -> None:
    trace = Trace()
    trace.switch(1000, 0, "R", 5)
    trace.switch(5000, 6, "S", 0)
    trace.switch(6000, 0, "R", 5)
    trace.switch(9000, 5, "S", 0)
    assert value(trace.kpis(), "cpu_util_avg", "cpu0") == "0.75"


def test_processes_are_the_sum_of_their_threads_that_are_known() -> None:
    trace = Trace()
    trace.event(900, "cpu_frequency", "state=1 cpu_id=0", tid=5, pid=4)
    trace.event(900, "cpu_frequency", "state=1 cpu_id=0", tid=6, pid=4)
    trace.switch(1000, 6, "S", 5)
    trace.switch(1100, 5, "S", 6)
    trace.switch(1200, 6, "S", 7)
    found = trace.kpis()
    assert value(found, "context_switch_rate", "?-4") == "10000"
    assert [one.who for one in found.records if one.scope == "process" and one.name == "cpu_util_avg"] == ["?-4"]


def test_reasons_of_blocking_by_caller() -> None:
    trace = Trace()
    for caller, delay in (("a_b+0x1/0x2[x.elf]", "delay=5"), ("a_b+0x9/0x2", "delay=7"), ("other", "")):
        trace.event(1000, "sched_blocked_reason", f"pid=3 iowait=1 caller={caller} {delay}")
    found = trace.kpis()
    assert value(found, "blocked_time", "a_b") == "12000"
    assert value(found, "blocked_time", "other") is None
    assert value(found, "blocked_iowait_ratio") == "1"


def test_an_idle_thread_of_hongmeng_is_idle_by_its_name() -> None:
    trace = Trace()
    args = "prev_comm=x prev_pid=3 prev_prio=2 prev_state=S ==> next_comm=tppmgr-idle-2 next_pid=272 next_prio=-2"
    trace.event(1000, "sched_switch", args, cpu=2, tid=3)
    args = "prev_comm=tppmgr-idle-2 prev_pid=272 prev_prio=65534 prev_state=R+ ==> next_comm=x next_pid=3 next_prio=2"
    trace.event(1900, "sched_switch", f"{args} next_info=3fff,89,3,0,2,0", cpu=2, tid=272)
    found = trace.kpis()
    assert value(found, "cpu_idle_ratio", "cpu2") == "1"
    assert not [one for one in found.records if one.scope == "thread" and one.who.endswith("-272")]


def test_time_that_goes_back_is_counted_and_dropped() -> None:
    trace = Trace()
    trace.wake(2000, 5)
    trace.switch(1000, 0, "R", 5)
    found = trace.kpis()
    assert value(found, "sched_latency_p50") is None
    assert found.losses == {"wait of a thread whose time goes back": 1}


def test_a_capture_without_such_events_knows_nothing() -> None:
    trace = Trace()
    trace.mark(1, "B|1|x", tid=3)
    unknown = defaultdict(set)
    for one in trace.kpis().records:
        unknown[one.value].add(one.name)
    assert set(unknown) == {None}
    assert {"sched_latency_p99", "cpu_util_avg", "context_switch_rate", "fps_avg", "irq_rate"} <= unknown[None]
