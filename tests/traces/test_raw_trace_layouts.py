# SPDX-License-Identifier: Apache-2.0
"""What raw traces hold beside plain events: other kernels' pages, lost records, threads' names, damage."""

from __future__ import annotations

import gzip
import struct
import time
from collections import Counter
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from git_hmopt.traces import (
    event_formats,
    event_text,
    hitrace_raw,
    ring_buffer,
    trace_cmd,
    trace_cmd_header,
    trace_cmd_packed,
)
from git_hmopt.traces.capture import EVENTS, Capture, Format
from git_hmopt.traces.source import Source
from git_hmopt.traces.tables import TraceFormatError
from tests.traces import raw_traces
from tests.traces.raw_traces import common, format_text, hongmeng_page, linux_page, linux_record

FIXTURE = Path(__file__).parent / "fixtures" / "linux-6.18.sys.gz"
IDLE = format_text(
    "cpu_idle",
    568,
    [("u32", "state"), ("u32", "cpu_id")],
    '"state=%lu cpu_id=%lu", (unsigned long)REC->state, (unsigned long)REC->cpu_id',
)
SWITCH_HM = format_text(
    "sched_switch",
    32768,
    [
        ("char[16]", "pname"),
        ("int", "prev_tid"),
        ("int", "pprio"),
        ("int", "pstate"),
        ("char[16]", "nname"),
        ("int", "next_tid"),
        ("int", "nprio"),
        ("char[8]", "ninfo"),
    ],
    '"prev_comm=%s prev_pid=%d prev_prio=%d prev_state=%s" " ==> next_comm=%s next_pid=%d next_prio=%d next_info=%s", '
    "REC->pname, REC->prev_tid, REC->pprio, hm_trace_tcb_state2str(REC->pstate), REC->nname, REC->next_tid, "
    "REC->nprio, hm_trace_tcb_unpack_schedinfo(REC->ninfo, sizeof(REC->ninfo))",
)
WAKEUP_LITE = format_text(
    "sched_wakeup_lite",
    32770,
    [("int", "pid"), ("int", "prio"), ("int", "target_cpu")],
    '"comm=%s pid=%d prio=%d target_cpu=%03d", trace_cmdline_of(REC->pid, tmp_thread_name_next), REC->pid, REC->prio, '
    "REC->target_cpu",
)
MARK_HM = format_text(
    "tracing_mark_write",
    32771,
    [("__data_loc char[]", "buffer")],
    '"%s", ((void *)((char *)REC + (REC->__data_loc_buffer & 0xffff)))',
)


def _idle(delta: int, state: int) -> bytes:
    return linux_record(delta, common(568, 0) + struct.pack("<II", state, 2))


def _read(reader: Format, content: bytes, path: Path) -> tuple[pl.DataFrame, Counter[str], Capture]:
    path.write_bytes(content)
    losses: Counter[str] = Counter()
    capture = reader.read(Source(path))
    assert capture.read_events is not None
    return pl.concat([pl.DataFrame(schema=EVENTS), *capture.read_events(losses)]), losses, capture


def test_a_driver_that_marks_by_fields_is_read_as_a_marker(tmp_path: Path) -> None:
    text = format_text(
        "tracing_mark_write",
        9,
        [("int", "pid"), ("char[8]", "name"), ("u8", "start")],
        '"%c|%d|%s", "EB"[REC->start], REC->pid, REC->start ? REC->name : ""',
    )
    begin = common(9, 5) + struct.pack("<i8sB", 5, b"work", 1)
    end = common(9, 5) + struct.pack("<i8sB", 5, b"work", 0)
    page = linux_page(1, [linux_record(1, begin), linux_record(1, end)])
    frame, losses, _ = _read(
        hitrace_raw.FORMAT, raw_traces.hitrace_raw([(1, text.encode()), (4, page)]), tmp_path / "a.sys"
    )
    assert frame.select("category", "name", "args").rows() == [
        ("marker", "work", "phase=B pid=5"),
        ("marker", "", "phase=E pid=5"),
    ]
    assert losses == Counter()


def test_time_extends_time_stamps_and_padding_move_the_time(tmp_path: Path) -> None:
    extend = struct.pack("<II", 30 | 5 << 5, 1)
    stamp = struct.pack("<II", 31 | 7 << 5, 100)
    discarded = struct.pack("<II", 29 | 3 << 5, 8) + bytes(4)
    page = linux_page(1000, [_idle(10, 1), extend, _idle(1, 2), discarded, _idle(1, 3), stamp, _idle(2, 4)])
    raw = raw_traces.hitrace_raw([(1, IDLE.encode()), (4, page)])
    frame, losses, _ = _read(hitrace_raw.FORMAT, raw, tmp_path / "a.sys")
    after = 1010 + 5 + (1 << 27)
    assert frame["ts_ns"].to_list() == [1010, after + 1, after + 5, 7 + (100 << 27) + 2]
    assert frame["args"].to_list() == [f"state={state} cpu_id=2" for state in (1, 2, 3, 4)]
    assert losses == Counter()


def test_lost_records_are_counted_and_stand_among_the_events(tmp_path: Path) -> None:
    told = linux_page(500, [_idle(1, 1)], flags=3 << 30, tail=struct.pack("<Q", 42))
    untold = linux_page(900, [_idle(1, 2)], flags=1 << 31)
    frame, losses, _ = _read(
        hitrace_raw.FORMAT, raw_traces.hitrace_raw([(1, IDLE.encode()), (6, told + untold)]), tmp_path / "a.sys"
    )
    assert frame.select("ts_ns", "name", "cpu", "args").rows() == [
        (500, "lost_events", 2, "count=42"),
        (501, "cpu_idle", 2, "state=1 cpu_id=2"),
        (900, "lost_events", 2, ""),
        (901, "cpu_idle", 2, "state=2 cpu_id=2"),
    ]
    assert losses == Counter({ring_buffer.LOST_RECORDS: 42, ring_buffer.LOST_UNCOUNTED: 1})


def test_hongmeng_events_read_as_its_own_text_has_them(tmp_path: Path) -> None:
    information = struct.pack("<II", 0x3FFF, 44 | 3 << 10 | 1 << 16)
    switch = common(32768, 24) + struct.pack(
        "<16siii16sii8s", b"render_service", 24, 40, 0x100, b"tppmgr-idle-3", 0, -2, information
    )
    mark = common(32771, 77) + struct.pack("<I", 17 << 16 | 12) + b"B|9|H:draw|M0538\0"
    pages = hongmeng_page(10_000, 3, [(5, switch), (9, common(32770, 24) + struct.pack("<iii", 77, 30, 1))])
    pages += hongmeng_page(10_000, 1, [(7, mark)])
    segments = [
        (4, pages),
        (1, (SWITCH_HM + WAKEUP_LITE + MARK_HM).encode()),
        (2, b"77 com.example.app\n"),
        (3, b"77 70\n24 24\n"),
    ]
    frame, losses, capture = _read(
        hitrace_raw.FORMAT, raw_traces.hitrace_raw(segments, hongmeng=True, cpus=8), tmp_path / "a.sys"
    )
    assert frame.drop("dur_ns").rows() == [
        (
            10_005, "sched", "sched_switch", 24, 24, 3,
            "prev_comm=render_service prev_pid=24 prev_prio=40 prev_state=R+ ==> next_comm=tppmgr-idle-3 next_pid=0 "
            "next_prio=-2 next_info=3fff,88,3,0,0,1",
        ),
        (10_007, "marker", "H:draw", 70, 77, 1, "phase=B pid=9 level=M0538"),
        (10_009, "sched", "sched_wakeup", 24, 24, 3, "comm=com.example.app pid=77 prio=30 target_cpu=001"),
    ]  # fmt: skip
    assert losses == Counter()
    assert capture.facts == {"kernel": "HongMeng", "cpus": "8"}


GFP = (
    '"order=%d gfp_flags=%s", REC->order, (REC->gfp_flags) ? __print_flags(REC->gfp_flags, "|", '
    '{(unsigned long)((1UL << 6) | (1UL << 7)), "GFP_KERNEL"}, {( unsigned long)(1UL << 8), "__GFP_ZERO"}) : "none"'
)
NEGATIVE = "-3 4294967289 fffffff9 002"
SYMBOLIC = '"state=%s", __print_symbolic(REC->state, { UNKNOWN_CONSTANT, "X" }, { 2, "two" })'


@pytest.mark.parametrize(
    ("fields", "print_format", "layout", "values", "text"),
    [
        ("int order, u64 gfp_flags", GFP, "<i4xQ", (3, 0x11C0), "order=3 gfp_flags=GFP_KERNEL|__GFP_ZERO|0x1000"),
        ("int order, u64 gfp_flags", GFP, "<i4xQ", (0, 0), "order=0 gfp_flags=none"),
        ("u64 n", '"n=%lu", REC->n', "<Q", (2**63,), f"n={2**63}"),
        ("int a, int b", '"%d %u %x %03d", REC->a / REC->b, REC->a, REC->a, REC->b', "<ii", (-7, 2), NEGATIVE),
        (
            "u8 start, char[4] name",
            '"%c|%s", "EB"[REC->start], REC->start ? REC->name : ""',
            "<B4s",
            (1, b"ab"),
            "B|ab",
        ),
        ("u32 state", SYMBOLIC, "<I", (2,), "state=two"),
        ("u32 state", '"state=%d age=%lu", REC->state, jiffies - REC->state', "<I", (2,), "state=2 age=?"),
        ("u32 state", '"state=%s", some_function(REC->state)', "<I", (2,), "state=2"),
        ("u32 zero", '"%d %d", 5 / REC->zero, 5 % REC->zero', "<I", (0,), "0 0"),
        ("u8 a", '"' + "(" * 5000 + '"', "<B", (7,), "a=7"),
        ("u8 a", '"%d", ' + "(" * 500 + "REC->a" + ")" * 500, "<B", (7,), "a=7"),
        ("u8 a", '"%d %d", 089, REC->a', "<B", (7,), "a=7"),
        ("u8 a", '"%d", ' + "9" * 5000, "<B", (7,), "a=7"),
        ("u8 a", '"' + "%999d" * 900 + '"' + ", REC->a" * 900, "<B", (7,), "a=7"),
        ("u8 a", '"%d", ' + "+".join(["REC->a"] * 9000), "<B", (7,), "a=7"),
        ("u8 a", '"%d", ' + "(int)" * 5000 + "REC->a", "<B", (7,), "a=7"),
        ("u8 a", '"%d", ' + "REC->a ? 1 : " * 5000 + "1", "<B", (7,), "a=7"),
        ("u8 a", '"%d", REC->a' + "[0]" * 5000, "<B", (7,), "a=7"),
        ("u8 a", '"%d", ' + "__builtin_expect(" * 3000 + "REC->a", "<B", (7,), "a=7"),
        ("u8 a", '"%d", ' + "-" * 5000 + "REC->a", "<B", (7,), "a=7"),
    ],
)
def test_print_formats_of_the_kernel(
    fields: str, print_format: str, layout: str, values: tuple[int | bytes, ...], text: str
) -> None:
    described = [(kind, name) for kind, name in (field.split(" ") for field in fields.split(", "))]
    event = event_formats.parse(format_text("event", 9, described, print_format), Counter())
    assert event is not None
    content = np.frombuffer(common(9, 1) + struct.pack(layout, *values), dtype=np.uint8)
    rows = event_text.Rows(event, content, np.array([0]), np.array([len(content)]))
    assert event_text.printed(rows)[0] == text


def test_formats_that_lie_on_each_other_are_not_believed() -> None:
    losses: Counter[str] = Counter()
    lines = "".join(f"\tfield:u64 f{number};\toffset:8;\tsize:8;\tsigned:0;\n" for number in range(9))
    event = event_formats.parse(f'name: x\nID: 1\nformat:\n{lines}\nprint fmt: ""\n', losses)
    assert event is not None
    assert len(event.fields) == 1
    assert losses == Counter({event_formats.BAD_FIELD: 8})


TRACE_CMD = raw_traces.trace_cmd(IDLE, {0: linux_page(5, [_idle(1, 1)] * 3), 1: linux_page(6, [_idle(1, 2)] * 3)})


def test_two_cpus_of_a_trace_cmd_file_are_merged_by_time(tmp_path: Path) -> None:
    frame, losses, capture = _read(trace_cmd.FORMAT, TRACE_CMD, tmp_path / "a.dat")
    assert frame.select("ts_ns", "cpu").rows() == [(6, 0), (7, 0), (7, 1), (8, 0), (8, 1), (9, 1)]
    assert losses == Counter()
    assert capture.facts == {"tracer": "trace-cmd", "cpus": "2", "clock": "local"}


PAGES = {0: linux_page(5, [_idle(1, 1)] * 3) * 7, 1: linux_page(6, [_idle(1, 2)] * 3)}
VERSION_7 = raw_traces.trace_cmd_7(IDLE, PAGES)
PACKED, ZSTD = (raw_traces.trace_cmd_7(IDLE, PAGES, packed=algorithm) for algorithm in ("zlib", "zstd"))


def test_version_7_packed_or_not_reads_as_version_6(tmp_path: Path) -> None:
    expected = _read(trace_cmd.FORMAT, raw_traces.trace_cmd(IDLE, PAGES), tmp_path / "6.dat")[0]
    for content in (VERSION_7, PACKED, ZSTD):
        frame, losses, capture = _read(trace_cmd.FORMAT, content, tmp_path / "7.dat")
        assert frame.sort("ts_ns", "cpu").equals(expected.sort("ts_ns", "cpu"))
        assert losses == Counter()
        assert capture.facts == {"tracer": "trace-cmd", "cpus": "2", "clock": "local"}


def test_thousands_of_cpus_with_an_event_each_are_merged_in_seconds(tmp_path: Path) -> None:
    page = linux_page(5, [_idle(1, 1)])
    content = raw_traces.trace_cmd(IDLE, dict.fromkeys(range(4000), page))
    begun = time.monotonic()
    frame, losses, _ = _read(trace_cmd.FORMAT, content, tmp_path / "a.dat")
    assert frame["cpu"].to_list() == [*range(4000)]
    assert losses == Counter()
    assert time.monotonic() - begun < 60


def test_pages_that_two_cpus_claim_are_read_once(tmp_path: Path) -> None:
    content = bytearray(TRACE_CMD)
    at = content.index(b"flyrecord\0") + 10
    content[at + 16 : at + 32] = content[at : at + 16]
    frame, losses, _ = _read(trace_cmd.FORMAT, bytes(content), tmp_path / "a.dat")
    assert len(frame) == 3
    assert losses == Counter({trace_cmd_header.SHARED_PAGES: 1})


def test_a_compression_that_is_not_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(TraceFormatError, match="compressed with lzma") as error:
        _read(trace_cmd.FORMAT, VERSION_7.replace(b"none\0", b"lzma\0", 1), tmp_path / "a.dat")
    assert error.value.next_step is not None
    assert "--compression none" in error.value.next_step


@pytest.mark.parametrize("algorithm", raw_traces.PACKERS)
def test_chunks_that_unpack_without_end_are_refused(
    algorithm: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trace_cmd_packed, "_FREE", 1 << 20)
    monkeypatch.setattr(trace_cmd_packed, "_MOST_GROWTH", 10)
    bomb = raw_traces.trace_cmd_7(IDLE, {0: linux_page(5, [_idle(1, 1)]) * 2000}, packed=algorithm)
    assert len(bomb) < 1 << 18
    with pytest.raises(TraceFormatError, match="more than 10 times its size: a bomb"):
        _read(trace_cmd.FORMAT, bomb, tmp_path / "a.dat")


@pytest.mark.parametrize("whole", [PACKED, ZSTD], ids=["zlib", "zstd"])
def test_a_damaged_section_is_one_error_and_a_damaged_chunk_is_counted(whole: bytes, tmp_path: Path) -> None:
    begin = b"\x78\x9c" if whole is PACKED else b"\x28\xb5\x2f\xfd"
    first, last = whole.index(begin), whole.index(begin, whole.rindex(b"\3\0\1\0\0\0\0\0"))
    with pytest.raises(TraceFormatError, match="a damaged section at byte"):
        _read(trace_cmd.FORMAT, whole[:first] + b"\xff\xff" + whole[first + 2 :], tmp_path / "a.dat")
    frame, losses, _ = _read(trace_cmd.FORMAT, whole[:last] + b"\xff\xff" + whole[last + 2 :], tmp_path / "a.dat")
    assert losses == Counter({trace_cmd.BAD_CHUNK: 1})
    assert 0 < len(frame) < 24


def test_a_section_or_chunk_that_claims_to_be_huge_is_not_made(tmp_path: Path) -> None:
    at = ZSTD.index(b"\x28\xb5\x2f\xfd") - 4
    with pytest.raises(TraceFormatError, match=r"a section that unpacks from .* to 4294967295 bytes"):
        _read(trace_cmd.FORMAT, ZSTD[:at] + b"\xff" * 4 + ZSTD[at + 4 :], tmp_path / "a.dat")
    at = ZSTD.index(b"\x28\xb5\x2f\xfd", ZSTD.rindex(b"\3\0\1\0\0\0\0\0")) - 4
    _, losses, _ = _read(trace_cmd.FORMAT, ZSTD[:at] + b"\xff" * 4 + ZSTD[at + 4 :], tmp_path / "a.dat")
    assert losses == Counter({trace_cmd.BAD_CHUNK: 1})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ((10, b"9"), "version 9"),
        ((12, b"\1"), "big-endian"),
        ((14, b"\xff\xff\xff\xff"), "pages of"),
        ((30, b"\xff" * 8), "cut at byte"),
    ],
)
def test_a_trace_cmd_header_that_makes_no_sense_is_one_error(
    change: tuple[int, bytes], message: str, tmp_path: Path
) -> None:
    content = bytearray(TRACE_CMD)
    content[change[0] : change[0] + len(change[1])] = change[1]
    with pytest.raises(TraceFormatError, match=message):
        _read(trace_cmd.FORMAT, bytes(content), tmp_path / "a.dat")


def test_a_clock_that_counts_no_time_is_refused(tmp_path: Path) -> None:
    counted = raw_traces.trace_cmd(IDLE, {0: linux_page(5, [_idle(1, 1)])}, clock="local [counter]")
    with pytest.raises(TraceFormatError, match="'counter' counts no nanoseconds"):
        _read(trace_cmd.FORMAT, counted, tmp_path / "a.dat")


SYS = gzip.decompress(FIXTURE.read_bytes())
SMALL = raw_traces.hitrace_raw(
    [(1, IDLE.encode()), (4, linux_page(5, [_idle(1, 1)] * 9)), (2, b"1 init\n"), (3, b"1 1\n")]
)
MARK = common(32771, 7) + struct.pack("<I", 4 << 16 | 12) + b"E|9\0"
HM = raw_traces.hitrace_raw(
    [(1, (SWITCH_HM + MARK_HM).encode()), (4, hongmeng_page(7, 1, [(5, MARK)] * 5))], hongmeng=True
)
WHOLE: list[tuple[Format, bytes]] = [
    (hitrace_raw.FORMAT, SYS),
    (hitrace_raw.FORMAT, SMALL),
    (hitrace_raw.FORMAT, HM),
    (trace_cmd.FORMAT, TRACE_CMD),
    (trace_cmd.FORMAT, VERSION_7),
    (trace_cmd.FORMAT, PACKED),
    (trace_cmd.FORMAT, ZSTD),
]


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(data=st.data())
def test_damaged_raw_traces_yield_events_or_one_error(tmp_path: Path, data: st.DataObject) -> None:
    reader, whole = data.draw(st.sampled_from(WHOLE))
    content = bytearray(whole[: data.draw(st.integers(0, len(whole)))])
    for _ in range(data.draw(st.integers(0, 12))):
        if content:
            at = data.draw(st.integers(0, len(content) - 1))
            piece = data.draw(st.binary(min_size=1, max_size=8) | st.just(b"\xff" * 8))
            content[at : at + len(piece)] = piece
    try:
        frame, losses, _ = _read(reader, bytes(content), tmp_path / "damaged")
    except TraceFormatError:
        return
    # Each record has a header of four bytes at least, so there are not more events than that; zlib packs 1032 in one.
    assert len(frame) <= (len(content) // 4 + 1) * (1032 if whole in (PACKED, ZSTD) else 1)
    assert all(count > 0 for count in losses.values())
    assert frame["args"].str.len_bytes().sum() <= 100 * len(content) + 4096 or whole in (PACKED, ZSTD)


@pytest.mark.parametrize(
    "content", [b"", b"\x49", b"\x49\xdf\0\0", b"\x17\x08\x44tracing", b"\0" * 64, b"\x17\x08\x44tracing6\0"]
)
@pytest.mark.parametrize("reader", [hitrace_raw.FORMAT, trace_cmd.FORMAT], ids=lambda one: one.name)
def test_what_is_hardly_a_beginning_is_one_error(reader: Format, content: bytes, tmp_path: Path) -> None:
    with pytest.raises(TraceFormatError):
        _read(reader, content, tmp_path / "cut")
