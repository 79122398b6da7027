# SPDX-License-Identifier: Apache-2.0
"""ftrace and hitrace text: dialects, markers of all generations, what is lost, and input that is broken."""

from __future__ import annotations

import io
import re
import time
import zlib
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from git_hmopt.traces.capture import CATEGORIES, EVENTS, LOST_EVENTS, Losses
from git_hmopt.traces.ftrace_text import (
    FORMAT,
    LOST,
    NO_EVENT,
    NO_EVENT_NAME,
    NO_NUMBER,
    TOO_LONG,
    parse_block,
    read_text,
)
from git_hmopt.traces.source import Source
from git_hmopt.traces.tables import TraceFormatError

CAPTURES = Path(__file__).parents[3] / "shared" / "data" / "captures"
TEXTS = (
    "hitrace-bench_v1.ftrace",
    "hitrace-bench_v5_1_1.ftrace",
    "smartperf_ut_bytrace_input_thread.txt",
    "smartperf_ut_bytrace_input_full.txt",
    "trappy_doc_trace.txt",
    "catapult_decompressed_atrace_data.txt",
    "smartperf_zlib.htrace",
)
# How trace_streamer and Perfetto find the parts of a line, as one expression: another program's idea of the format.
LINE = re.compile(
    r"^\s*(?P<comm>.*?)-(?P<tid>\d+)\s+(?:\(\s*(?P<tgid>\d+|-+)\)\s+)?\[(?P<cpu>\d+)\]\s+(?:[a-zA-Z0-9.]{3,9}\s+)?"
    r"(?P<s>\d+)\.(?P<us>\d+):\s+(?P<event>\S+?):"
)
SWITCH = "sched_switch: prev_comm=a prev_pid=1 prev_prio=120 prev_state=S ==> next_comm=b next_pid=2 next_prio=120"


def captured(name: str) -> Path:
    path = CAPTURES / name
    if not path.exists():
        pytest.skip(f"the capture {name} is not here")
    return path


def events(text: str | bytes) -> tuple[pl.DataFrame, Losses]:
    return parse_block(text if isinstance(text, bytes) else text.encode())


def one(text: str) -> dict[str, object]:
    frame, losses = events(text)
    assert not losses
    assert len(frame) == 1
    return frame.row(0, named=True)


@pytest.mark.parametrize("name", TEXTS)
def test_real_captures_yield_what_a_peers_expression_finds(name: str) -> None:
    path = captured(name)
    raw = path.read_bytes()
    lines = (zlib.decompress(raw) if raw[:1] == b"\x78" else raw).decode().splitlines()
    expected = [match for line in lines if (match := LINE.match(line)) and not line.startswith("#")]
    losses = Losses()
    capture = FORMAT.read(Source(path))
    assert capture.read_events is not None
    frame = pl.concat(list(capture.read_events(losses)))
    assert frame.schema == EVENTS
    assert not losses
    assert frame["ts_ns"].to_list() == [int(one["s"]) * 10**9 + int(one["us"].ljust(9, "0")) for one in expected]
    assert frame["tid"].to_list() == [int(one["tid"]) for one in expected]
    assert frame["cpu"].to_list() == [int(one["cpu"]) for one in expected]
    tgids = [int(one["tgid"]) if one["tgid"] and one["tgid"].isdigit() else None for one in expected]
    assert frame["pid"].to_list() == tgids
    kernel = frame.filter(pl.col("category") != "marker")["name"].to_list()
    named = [one["event"] for one in expected if one["event"] != "tracing_mark_write"]
    assert [name for name in kernel if name != "trace_event_clock_sync"] == named
    assert set(frame["category"].unique()) <= set(CATEGORIES)


def test_escaped_lines_of_an_old_systrace_read_like_plain_ones() -> None:
    raw = captured("catapult_android_systrace.txt").read_bytes()
    frame, losses = events(raw)
    plain, _ = events(raw.replace(b"\\n\\\n", b"\n"))
    assert not losses
    assert len(frame) == 91
    assert frame.equals(plain)


def test_hitrace_z_is_inflated() -> None:
    capture = FORMAT.read(Source(captured("smartperf_zlib.htrace")))
    assert capture.facts == {"tracer": "nop", "cpus": "4", "entries": "6138/6138"}
    assert capture.read_events is not None
    assert sum(len(frame) for frame in capture.read_events(Losses())) == 6138


@pytest.mark.parametrize(
    ("start", "tid", "pid", "cpu"),
    [
        ("  hilogd.server-511   (  338) [002] d... ", 511, 338, 2),
        ("           <...>-6709  (-------) [000] ..... ", 6709, None, 0),
        ("           <...>-6709  (-----) [000] .... ", 6709, None, 0),
        (" adbd-14662 [000] ", 14662, None, 0),
        (" adbd-14662 [011] d..2. ", 14662, None, 11),
        (" adbd-14662   700 [011] d..2. ", 14662, 700, 11),
        (" adbd-14662 ----- [011] d..2. ", 14662, None, 11),
        ("\tadbd-1 (    1) [127] dNZff212 ", 1, 1, 127),
        ("          <idle>-0     (-----) [001] d..3 ", 0, None, 1),
        ("  tppmgr-idle-2-272 (    2) [002] d..1 ", 272, 2, 2),
        (" a b-c (d) [1] #e:f-77 (  70) [003] .... ", 77, 70, 3),
        (" x-12 [003]-511   (  338) [002] d... ", 511, 338, 2),
        ("-5 [000] .... ", 5, None, 0),
    ],
)
def test_every_way_to_write_a_task(start: str, tid: int, pid: int | None, cpu: int) -> None:
    row = one(f"{start}88026.693195: {SWITCH}\n")
    assert (row["tid"], row["pid"], row["cpu"]) == (tid, pid, cpu)
    assert (row["ts_ns"], row["category"], row["name"]) == (88026693195000, "sched", "sched_switch")
    assert row["args"] == SWITCH.partition(": ")[2]


@pytest.mark.parametrize(
    ("written", "ts_ns"),
    [
        ("1.5", 1_500_000_000),
        ("0.000001", 1_000),
        ("9000000.123456789", 9_000_000_123_456_789),
        ("12.000000", 12 * 10**9),
    ],
)
def test_times_are_integers_however_many_digits(written: str, ts_ns: int) -> None:
    assert one(f" a-1 [000] .... {written}: cpu_idle: state=0 cpu_id=0\n")["ts_ns"] == ts_ns


def test_trace_cmd_pads_behind_the_events_name() -> None:
    row = one("   kworker/4:1-51    [004]  1583.767572: cdev_update:          type=devfreq target=1\n")
    assert (row["name"], row["args"]) == ("cdev_update", "type=devfreq target=1")


def test_carriage_returns_and_a_missing_last_line_end() -> None:
    text = f" a-1 (  1) [000] .... 1.000000: {SWITCH}\r\n a-1 (  1) [000] .... 2.000000: {SWITCH}"
    frame, losses = events(text)
    assert not losses
    assert frame["args"].to_list() == [SWITCH.partition(": ")[2]] * 2


@pytest.mark.parametrize(
    ("payload", "name", "args"),
    [
        ("B|46512|H:on_surface_created_cb ", "H:on_surface_created_cb", "phase=B pid=46512"),
        ("B|5|H:a|b|M62", "H:a|b", "phase=B pid=5 level=M62"),
        ("B|5|H:a|M62|b|D", "H:a|M62|b", "phase=B pid=5 level=D"),
        ("B|5|H:a|M0538|key=1,other=2", "H:a", "phase=B pid=5 level=M0538 custom=key=1,other=2"),
        ("B|5|H:[a1,b2,c3]#name", "H:[a1,b2,c3]#name", "phase=B pid=5"),
        ("B|5|M", "M", "phase=B pid=5"),
        ("E|5|M0538", "", "phase=E pid=5 level=M0538"),
        ("E|5|", "", "phase=E pid=5"),
        ("E|5", "", "phase=E pid=5"),
        ("E", "", "phase=E"),
        ("S|5|H:load 17", "H:load", "phase=S pid=5 id=17"),
        ("S|5|H:load|17|M0538|cat|k=v", "H:load", "phase=S pid=5 id=17 level=M0538 custom=cat|k=v"),
        ("F|5|deliverInputEvent|263", "deliverInputEvent", "phase=F pid=5 id=263"),
        ("F|5|H:load|-17|M0538", "H:load", "phase=F pid=5 id=-17 level=M0538"),
        ("C|21667|H:TESTCASE: generatehtml 1720", "H:TESTCASE: generatehtml", "phase=C pid=21667 value=1720"),
        ("C|5|vsize|45766221824|M62", "vsize", "phase=C pid=5 value=45766221824 level=M62"),
        ("I|5|now", "now", "phase=I pid=5"),
        ("G|5|track|name|9", "track|name", "phase=S pid=5 id=9"),
        ("hello | world", "hello | world", "phase=I"),
    ],
)
@pytest.mark.parametrize("event", ["tracing_mark_write", "print", "0", "print: tracing_mark_write"])
def test_markers_of_all_generations(event: str, payload: str, name: str, args: str) -> None:
    row = one(f" a-7 (  5) [000] .... 1.000000: {event}: {payload}\n")
    assert (row["category"], row["name"], row["args"]) == ("marker", name, args)
    assert (row["tid"], row["pid"]) == (7, 5)


def test_a_payloads_pid_is_its_writers_and_leaves_the_rows_alone() -> None:
    row = one(" a-9001 (  9000) [000] .... 1.000000: tracing_mark_write: B|12|H:in a container|M62\n")
    assert (row["tid"], row["pid"], row["args"]) == (9001, 9000, "phase=B pid=12 level=M62")


def test_a_clock_sync_is_an_event_of_its_own() -> None:
    row = one(" a-7 (  5) [000] .... 1.0: tracing_mark_write: trace_event_clock_sync: parent_ts=20445.875000\n")
    assert (row["name"], row["category"], row["args"]) == ("trace_event_clock_sync", "other", "parent_ts=20445.875000")


def test_a_counter_without_a_value_is_kept_and_counted() -> None:
    frame, losses = events(" a-7 (  5) [000] .... 1.0: tracing_mark_write: C|5|nothing\n")
    assert losses == {NO_NUMBER: 1}
    assert frame["args"].to_list() == ["phase=C pid=5"]


def test_losses_stand_where_the_trace_has_them() -> None:
    line = " a-7 (  5) [002] .... {}.0: cpu_idle: state=0 cpu_id=2\n"
    text = (
        "##### CPU 2 buffer started ####\n" + line.format(1) + "CPU:2 [LOST 1234 EVENTS]\n" + line.format(2)
        + "CPU 0 is empty\nversion = 6\n# entries\n\n"
    )  # fmt: skip
    frame, losses = events(text)
    assert losses == {LOST: 1234}
    assert frame["name"].to_list() == [LOST_EVENTS, "cpu_idle", LOST_EVENTS, "cpu_idle"]
    assert frame["cpu"].to_list() == [2] * 4
    assert frame["args"].to_list()[::2] == ["", "count=1234"]
    assert frame["ts_ns"].to_list() == [None, 10**9, None, 2 * 10**9]


def test_what_is_no_event_is_counted_by_reason() -> None:
    text = (
        "MarkPositionJSON->{}\n not a line\n a-1 [000] .... 1.0: sys_read <-do_syscall_64 at: x\n"
        " a-99999999999 [000] .... 1.0: cpu_idle: x\n a-1 [99999] .... 1.0: cpu_idle: x\n"
        " a-1 [000] .... 99999999999.0: cpu_idle: x\n a-1 [000] .... 1.0: cpu_idle: x\n"
    )
    frame, losses = events(text)
    assert len(frame) == 1
    assert losses == {NO_EVENT: 6, NO_EVENT_NAME: 1}


def test_bytes_that_are_no_utf8_become_replacement_characters() -> None:
    frame, losses = events(b" \xff\xfe-7 (  5) [000] .... 1.0: tracing_mark_write: B|5|\xe4\xbd\xa0\xc3|M62\n")
    assert not losses
    assert frame["name"].to_list() == ["\u4f60\ufffd"]


def test_a_line_of_any_length_is_left_out_and_nothing_else() -> None:
    event = f" a-1 [000] .... 1.0: {SWITCH}\n".encode()
    stream = io.BytesIO(event + b"x" * (5 << 20) + b"\n" + event)
    losses = Losses()
    assert sum(len(frame) for frame in read_text(stream, losses, block=1 << 16)) == 2
    assert losses == {TOO_LONG: 1}


@pytest.mark.parametrize("block", [300, 1000, 1 << 20])
def test_blocks_of_any_size_yield_the_same(block: int) -> None:
    lines = "".join(
        f" a-{n} (  5) [00{n % 4}] .... {n}.000001: cpu_idle: state=0 cpu_id={n % 4}\n" for n in range(1, 99)
    )
    whole, _ = events(lines)
    parts = pl.concat(list(read_text(io.BytesIO(lines.encode()), Losses(), block=block)))
    assert parts.equals(whole)


def test_hitrace_z_that_is_cut_short_is_one_error(tmp_path: Path) -> None:
    path = tmp_path / "cut.htrace"
    lines = "".join(f" a-{n} (  5) [000] .... {n}.5: cpu_idle: state=0 cpu_id=0\n" for n in range(1, 9000))
    packed = zlib.compress(lines.encode())
    path.write_bytes(packed[: len(packed) // 2])
    # The head is what could be inflated of it, or the error already.
    with pytest.raises(TraceFormatError, match="damaged after"):
        capture = FORMAT.read(Source(path))
        assert capture.read_events is not None
        list(capture.read_events(Losses()))


def test_dialects_may_change_from_line_to_line() -> None:
    frame, losses = events(
        f" a-1 [000] 1.0: {SWITCH}\r\n a-1 (  7) [001] d..2. 2.000001: {SWITCH}\n a-1 [002] 3.0: {SWITCH}\\n\\\n"
    )
    assert not losses
    assert frame["pid"].to_list() == [None, 7, None]
    assert frame["args"].n_unique() == 1


def test_recognised_with_a_header_and_without() -> None:
    assert FORMAT.recognise(b"# tracer: nop\n#\n", "x")
    assert FORMAT.recognise(b"version = 6\ncpus=6\n     kworker/4:1-51    [004]  1583.765274: thermal: a=1\n", "x")
    assert FORMAT.recognise(b"MarkPositionJSON->{}\n a-1 (  1) [000] .... 1.0: cpu_idle: x\n", "x")
    for other in (b"", b"PERFILE2", b"perf 123 [000] 1.0: cycles:\n", b"main;a 12\n", b"<html>\n a-1 [0] 1.0: a: b\n"):
        assert not FORMAT.recognise(other, "x")


def test_another_format_is_one_error(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    path.write_text("main;a 12\n")
    with pytest.raises(TraceFormatError, match=r"x\.txt: no line of ftrace's text"):
        FORMAT.read(Source(path))


SEED = (
    "# tracer: nop\n##### CPU 1 buffer started ####\n"
    f"  tppmgr-idle-2-272 (    2) [002] d..1 7.000001: {SWITCH}\r\n"
    " a b-1 (  1) [000] dNh2. 8.000001: sched_wakeup: comm=x y pid=4 prio=1 target_cpu=000\n"
    " a-1 (-----) [000] .... 9.000001: tracing_mark_write: S|1|H:x|3|M0538\nCPU:1 [LOST 3 EVENTS]\n"
    " a-1 [000] 9.000002: print: 0xffff: B|1|H:\u4f60|y|M62\n a-1 [000] 9.000003: 0: E|1|\n"
).encode()


@settings(max_examples=200, deadline=None)
@given(st.integers(0, len(SEED)), st.lists(st.tuples(st.integers(0, len(SEED) - 1), st.binary(max_size=6)), max_size=8))
def test_broken_anywhere_it_is_a_result(cut: int, changes: list[tuple[int, bytes]]) -> None:
    text = bytearray(SEED)
    for at, with_ in changes:
        text[at : at + 1] = with_
    frame, _ = parse_block(bytes(text[:cut]))
    assert frame.schema == EVENTS
    assert set(frame["category"].unique()) <= set(CATEGORIES)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=400))
def test_garbage_is_no_event_and_no_crash(garbage: bytes) -> None:
    assert parse_block(garbage)[0].schema == EVENTS


@settings(max_examples=100, deadline=None)
@given(st.text(alphabet="|BESFCGHINMDI 0123456789-:[]()\n\u4f60x", max_size=60))
def test_payloads_of_marks_only(payload: str) -> None:
    frame, _ = events(f" a-7 (  5) [000] .... 1.0: tracing_mark_write: {payload}\n")
    assert frame.schema == EVENTS


@pytest.mark.parametrize("piece", [b"\n", b"1] ", b"[1] ", b":", b"|", b"a-1 [0] 1.0: a: ", b"- 1)[1]  1.1: ", b"\xff"])
def test_floods_of_what_a_line_is_found_by_take_bounded_time(piece: bytes) -> None:
    began = time.process_time()
    frame, _ = parse_block(piece * ((1 << 20) // len(piece)))
    assert frame.schema == EVENTS
    assert time.process_time() - began < 10
