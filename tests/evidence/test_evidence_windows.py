# SPDX-License-Identifier: Apache-2.0
"""What is said of a slow time: what had a part in it, in words, ranked, with the code's places."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from git_hmopt.evidence.windows import notes_for, places_in, told_windows
from git_hmopt.psg.queries import Structure
from git_hmopt.records.windows import TraceWindow, TraceWindows
from git_hmopt.runtime.activity import activities_in
from git_hmopt.runtime.kpis import kpis_of
from git_hmopt.runtime.symptoms import Symptom
from git_hmopt.traces.ftrace_text import parse_block
from git_hmopt.traces.tables import SAMPLES, Frame, Samples
from tests.psg.structure_tree import tree_in
from tests.runtime.made_trace import Trace
from tests.runtime.test_activity import slow_wakeup
from tests.runtime.test_kpis_of_broken_captures import ABSURD, EVENTS


def told(trace: Trace, symptom: Symptom, samples: Samples | None = None) -> TraceWindow:
    found = told_windows("a" * 64, "trace", activities_in([trace.frame()], [symptom]), samples, places)
    assert TraceWindows.model_validate_json(found.canonical()) == found
    return found.windows[0]


def places(symbols: object) -> dict[str, tuple[str, int | None]]:
    return {"io_schedule": ("kernel/sched/core.c", 7), "mix": ("lib/mix.c", None)}


def sampled(*at: tuple[int, str]) -> Samples:
    names = tuple(dict.fromkeys(name for _, name in at))
    rows = [(us * 1000, names.index(name), 1, None, None, None) for us, name in at]
    frames = tuple(Frame(name) for name in names)
    stacks = tuple((index,) for index in range(len(names)))
    return Samples("cycles", "cycles", frames, stacks, pl.DataFrame(rows, schema=SAMPLES, orient="row"), {})


def test_a_wait_for_a_cpu_says_who_had_it() -> None:
    [waited, *_] = slow_wakeup().kpis().symptoms
    found = told(slow_wakeup(), waited)
    assert found.what == "t 5-5 waited 6 ms for a CPU after it was woken"
    assert [(one.about, one.own, one.share, one.text) for one in found.reasons] == [
        ("thread", True, "1", "t 5-5 waited for a CPU for 6 ms (100.0 % of the time); meanwhile there ran t 8-8 on"
                              " cpu0, t 9-9 on cpu0"),
        ("wakeup", True, "1", "t 8-8 woke t 5-5 once, which then waited 6 ms for a CPU"),
        ("cpu", False, "0.916666667", "t 8-8 had cpu0 for 5.5 ms (91.7 % of the time)"),
        ("wakeup", False, "0.5", "t 8-8 woke t 9-9 once, which then waited 3 ms for a CPU"),
        ("interrupts", False, "0.166666667", "interrupts took 1 ms (16.7 % of the time) of cpu0, most of it irq 9 eth 0"
                                             " (once, 1 ms)"),
        ("cpu", False, "0.0833333333", "t 9-9 had cpu0 for 500 us (8.3 % of the time)"),
        ("wait", False, "0.0833333333", "t 9-9 waited for I/O in io_schedule (kernel/sched/core.c:7) once:"
                                        " 500 us (8.3 % of the time) together"),
    ]  # fmt: skip
    assert [(one.who, one.share) for one in found.ran] == [("t 8-8", "0.916666667"), ("t 9-9", "0.0833333333")]
    assert (found.blocked[0].file, found.blocked[0].line) == ("kernel/sched/core.c", 7)


def test_a_thread_that_was_blocked_itself_comes_before_whoever_ran() -> None:
    trace = slow_wakeup()
    found = told(trace, Symptom("late-frame", 6_400_000, 7_600_000, 900_000, 9, None, "t 9-9", "late"))
    assert found.what == "a frame of t 9-9 was 900 us late"
    assert [(one.own, one.text) for one in found.reasons] == [
        (True, "t 9-9 was blocked, asleep uninterruptibly, for 500 us (41.7 % of the time)"),
        (
            True,
            "t 9-9 waited for I/O in io_schedule (kernel/sched/core.c:7) once: 500 us (41.7 % of the time) together",
        ),
        (True, "t 9-9 ran for 100 us (8.3 % of the time)"),
        (False, "t 8-8 had cpu0 for 1.1 ms (91.7 % of the time)"),
    ]  # fmt: skip


def test_functions_are_those_of_samples_inside_alone() -> None:
    [waited, *_] = slow_wakeup().kpis().symptoms
    samples = sampled((1_999, "before"), (2_000, "mix"), (5_000, "mix_[k]"), (7_999, "other"), (8_000, "behind"))
    found = told(slow_wakeup(), waited, samples)
    assert [(one.symbol, one.share, one.file) for one in found.functions] == [
        ("mix", "0.666666667", "lib/mix.c"), ("other", "0.333333333", None)
    ]  # fmt: skip
    assert [one.text for one in found.reasons if one.about == "function"] == [
        "mix (lib/mix.c) has 66.7 % of the samples", "other has 33.3 % of the samples"
    ]  # fmt: skip
    assert notes_for("mix.constprop.0", [found]) == (f"{found.what}: mix (lib/mix.c) has 66.7 % of the samples",)
    assert notes_for("before", [found]) == ()


def test_a_time_without_events_has_no_reasons() -> None:
    found = told(Trace(), Symptom("late-frame", 5, 9, 1, 3, None, "?-3", "late"), sampled())
    assert (found.reasons, found.functions, found.excerpt) == ((), (), ())
    beyond = told(slow_wakeup(), Symptom("interrupts", 10**12, 10**12, 1, None, 0, "cpu0", "storm"))
    assert (beyond.reasons, beyond.events) == ((), 0)


def test_waits_of_many_threads_in_a_function_are_told_together_and_without_a_length_last() -> None:
    trace = Trace()
    for tid in range(3, 8):
        trace.event(1_000, "sched_blocked_reason", f"pid={tid} iowait=0 caller=mutex_lock+0x1/0x2 delay=100")
        trace.event(1_000, "sched_blocked_reason", f"pid={tid} iowait=0 caller=untimed+0x1/0x2")
    found = told(trace, Symptom("late-frame", 0, 1_000_000, 1, None, None, "somebody", ""))
    assert [one.text for one in found.reasons] == [
        "5 threads (?-3, ?-4, ...) waited in mutex_lock 5 times: 500 us (50.0 % of the time) together",
        "5 threads (?-3, ?-4, ...) waited in untimed 5 times: nobody knows how long",
    ]


def test_the_lock_that_the_slow_thread_waited_for_comes_first() -> None:
    trace = Trace()
    for tid in (5, 6, 7):
        trace.event(1_000, "contention_begin", "00000000c2a1ff04 (flags=MUTEX)", tid=tid, cpu=tid)
        trace.event(1_000 + 100 * tid, "contention_end", "00000000c2a1ff04 (ret=0)", tid=tid, cpu=tid)
    found = told(trace, Symptom("late-frame", 1_000_000, 2_000_000, 1, 5, None, "?-5", ""))
    assert [(one.own, one.text) for one in found.reasons] == [
        (True, "?-5 waited for the lock 00000000c2a1ff04 (flags=MUTEX) once: 500 us (50.0 % of the time) together"),
        (False, "2 threads (?-7, ?-6, ...) waited for the lock 00000000c2a1ff04 (flags=MUTEX) 2 times: 1.3 ms"
                " (130.0 % of the time) together"),
    ]  # fmt: skip


def test_names_that_look_like_formats_are_told_as_they_are() -> None:
    trace, hostile = Trace(), "{0} <b>\x1b[31m"
    for us, prev, following in ((1_000, 1, 8), (9_000, 8, 5)):
        names = {one: hostile if one == 8 else f"t {one}" for one in (prev, following)}
        said = f"prev_comm={names[prev]} prev_pid={prev} prev_prio=1 prev_state=S ==> "
        trace.event(
            us, "sched_switch", f"{said}next_comm={names[following]} next_pid={following} next_prio=1", tid=prev
        )
        trace.wake(us, 5)
    [waited] = trace.kpis().symptoms
    assert told(trace, waited).reasons[0].text == (
        f"t 5-5 waited for a CPU for 8 ms (100.0 % of the time); meanwhile there ran {hostile}-8 on cpu0"
    )


MORE = (
    "sched_waking: comm={0} pid={1} prio=1 target_cpu={0}",
    "softirq_exit: vec={0} [action={1}]",
    "mm_vmscan_direct_reclaim_begin: order={0}",
    "mm_compaction_begin: zone_start={0}",
    "mm_compaction_end: zone_start={0}",
    "contention_begin: {0} (flags={1})",
    "contention_end: {0} (ret={1})",
)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from((*EVENTS, *MORE)), st.sampled_from(ABSURD), st.sampled_from(ABSURD),
                  st.integers(0, 3), st.sampled_from([0, 1, 5, 9_000_000_000])),
        max_size=40,
    ),
    st.sampled_from([(0, 2**63 - 1), (5_000_000_000, 6_000_000_000), (7, 7)]),
    st.none() | st.integers(0, 4),
)  # fmt: skip
def test_absurd_events_are_no_crash(
    drawn: list[tuple[str, str, str, int, int]], window: tuple[int, int], tid: int | None
) -> None:
    lines = [
        f" a-{cpu + 1} (    1) [00{cpu}] .... {second}.000001: {event.format(one, other)}"
        for event, one, other, cpu, second in drawn
    ]
    frame, losses = parse_block("\n".join(lines).encode())
    asked = Symptom("late-frame", *window, 1, tid, None, "x", "")
    symptoms = [asked, *kpis_of([frame], losses).symptoms]
    found = told_windows("", "x", activities_in([frame[:5], frame[5:]], symptoms), None)
    assert TraceWindows.model_validate_json(found.canonical()) == found
    assert all(0 <= float(reason.share) <= 1 for one in found.windows for reason in one.reasons)


@pytest.fixture
def structure(tmp_path: Path) -> Iterator[Structure]:
    tree = tree_in(tmp_path)
    tree.write("kernel/same.c", "static int box_open(void) { return 1; }\nint same(void) { return box_open(); }\n")
    tree.compiled.append("kernel/same.c")
    tree.update()
    with tree.graph.reading() as tables:
        assert tables is not None
        yield Structure(tables)


def test_places_are_those_of_names_that_the_graph_has_once(structure: Structure) -> None:
    found = places_in(structure)(["go.isra.0", "box_open", "total", "nowhere"])
    assert found == {"go.isra.0": ("kernel/go.c", 4)}
