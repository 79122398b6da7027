# SPDX-License-Identifier: Apache-2.0
"""KPIs of captures that are broken anywhere: a result with its losses, whatever the events claim."""

from __future__ import annotations

import time
import zlib
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from git_hmopt.runtime import batches, pairing
from git_hmopt.runtime.kpis import Kpis, kpis, kpis_of
from git_hmopt.runtime.pairing import NEVER_ENDED
from git_hmopt.runtime.sections import TOO_DEEP
from git_hmopt.traces.capture import Capture, Losses
from git_hmopt.traces.ftrace_text import parse_block
from tests.runtime.made_trace import Trace

CAPTURES = Path(__file__).parents[3] / "shared" / "data" / "captures"
REAL = ("smartperf_ut_bytrace_input_full.txt", "catapult_decompressed_atrace_data.txt", "smartperf_zlib.htrace")


def found_in(text: bytes) -> Kpis:
    frame, losses = parse_block(text)
    return kpis_of([frame[:5], frame[5:]], losses)


def real(name: str) -> bytes:
    path = CAPTURES / name
    if not path.exists():
        pytest.skip(f"the capture {name} is not here")
    raw = path.read_bytes()
    return (zlib.decompress(raw) if raw[:1] == b"\x78" else raw)[:12_000]


@pytest.mark.parametrize("name", REAL)
@settings(max_examples=25, deadline=None)
@given(st.data())
def test_real_captures_cut_and_changed_anywhere(name: str, data: st.DataObject) -> None:
    text = bytearray(real(name))
    for at, with_ in data.draw(st.lists(st.tuples(st.integers(0, len(text) - 1), st.binary(max_size=5)), max_size=20)):
        text[at : at + 1] = with_
    began = time.process_time()
    found = found_in(bytes(text[: data.draw(st.integers(0, len(text)))]))
    assert found.records
    assert time.process_time() - began < 10


ABSURD = ("0", "-1", "4294967295", "9223372036854775807", "99999999999999999999", "0x", "", "a=b=c", "\u4f60")
EVENTS = (
    "sched_switch: prev_comm=x prev_pid={0} prev_prio={0} prev_state={1} ==> next_comm={1} next_pid={1} next_prio=1",
    "sched_wakeup: comm={0} pid={1} prio=1 target_cpu={0}",
    "sched_blocked_reason: pid={0} iowait={1} caller={0} delay={1}",
    "irq_handler_entry: irq={0} name={1}",
    "irq_handler_exit: irq={0} ret={1}",
    "softirq_raise: vec={0} [action={1}]",
    "softirq_entry: vec={0} [action={1}]",
    "cpu_idle: state={0} cpu_id={1}",
    "cpu_frequency: state={0} cpu_id={1}",
    "mm_vmscan_direct_reclaim_end: nr_reclaimed={0}",
    "mm_vmscan_kswapd_wake: nid={0} order={1}",
    "mm_vmscan_lru_shrink_inactive: nid=0 nr_scanned={0} nr_reclaimed={1}",
    "tracing_mark_write: B|{0}|H:ReceiveVsync now:{0} expectedEnd:{1} vsyncId:{0}|M0538",
    "tracing_mark_write: B|{0}|H:RSMainThread::DoComposition: {1}",
    "tracing_mark_write: B|{0}|H:CommitLayers rate:{1},now:{0}",
    "tracing_mark_write: B|{0}|H:Waiting for Present Fence {1}",
    "tracing_mark_write: B|{0}|H:GenerateVsyncCount:1, period:{1}",
    "tracing_mark_write: E|{0}|{1}",
)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(EVENTS), st.sampled_from(ABSURD), st.sampled_from(ABSURD), st.integers(0, 3)),
        max_size=40,
    )
)
def test_absurd_numbers_are_no_crash(drawn: list[tuple[str, str, str, int]]) -> None:
    lines = [
        f" a-{cpu + 1} (    1) [00{cpu}] .... {(index * 7) % 20}.000001: {event.format(one, other)}"
        for index, (event, one, other, cpu) in enumerate(drawn)
    ]
    found = found_in("\n".join(lines).encode())
    assert {one.name for one in found.records} >= {"fps_avg", "sched_latency_p50", "irq_rate", "memory_kills"}


def test_begins_without_ends_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairing, "MOST_OPEN", 100)
    trace = Trace()
    for number in range(300):
        trace.mark(1000 + number, "B|1|x", tid=number % 3 + 1)
    assert trace.kpis().losses[NEVER_ENDED] == 250


def test_a_thread_that_nests_without_end_is_bounded() -> None:
    line = b" a-7 (    5) [000] .... 1.000001: tracing_mark_write: B|5|x\n"
    frame, losses = parse_block(line * 5000)
    assert kpis_of([frame], losses).losses[TOO_DEEP] == 5000 - 4096


def test_a_capture_without_events_has_no_number() -> None:
    assert {one.value for one in kpis(Capture("folded")).records} == {None}


def test_losses_of_the_reader_stand_beside_those_of_the_kpis() -> None:
    assert kpis_of([], Losses({"line that is no event of ftrace": 3})).losses == {"line that is no event of ftrace": 3}


def test_small_batches_are_put_together_and_say_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = [0, 3, 0, 4, 1, 9, 2]
    frames = [pl.DataFrame({"at": [f"{number}:{place}" for place in range(size)]}) for number, size in enumerate(sizes)]
    frames = [frame.cast(pl.String) for frame in frames]
    monkeypatch.setattr(batches, "AT_ONCE", 5)
    together = list(batches.gathered(iter(frames)))
    assert [len(one) for one in together] == [7, 10, 2]
    assert pl.concat(together).equals(pl.concat(frames))
    assert list(batches.gathered(iter(()))) == []
    monkeypatch.setattr(batches, "AT_ONCE", 1)
    assert [len(one) for one in batches.gathered(iter(frames))] == [size for size in sizes if size]
