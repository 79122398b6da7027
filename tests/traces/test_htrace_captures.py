# SPDX-License-Identifier: Apache-2.0
"""OpenHarmony's profiler captures: events as the raw trace of the same records has them, plugins, damage."""

from __future__ import annotations

import gzip
import struct
from collections import Counter
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from git_hmopt.traces import (
    event_formats,
    event_text,
    hitrace_raw,
    htrace,
    htrace_ftrace,
    htrace_plugins,
    perf_data,
    protobuf,
    ring_buffer,
)
from git_hmopt.traces.capture import EVENTS
from git_hmopt.traces.source import Source
from git_hmopt.traces.tables import TraceFormatError
from tests.traces.captures import captured, samples_of
from tests.traces.htrace_bytes import (
    BOOT,
    MONOTONIC,
    REAL,
    double,
    ftrace,
    ftrace_event,
    message,
    number,
    packet,
    section,
)

FIXTURE = Path(__file__).parent / "fixtures" / "linux-6.18.sys.gz"
# The fields of each event in the order of the profiler's messages.
FIELDS = {
    "irq_handler_entry": (1500, "irq name"),
    "irq_handler_exit": (1501, "irq ret"),
    "softirq_entry": (1502, "vec"),
    "softirq_exit": (1503, "vec"),
    "softirq_raise": (1504, "vec"),
    "sched_migrate_task": (2402, "comm pid prio orig_cpu dest_cpu"),
    "sched_process_exec": (2405, "filename pid old_pid"),
    "sched_process_fork": (2407, "parent_comm parent_pid child_comm child_pid"),
    "sched_switch": (2417, "prev_comm prev_pid prev_prio prev_state next_comm next_pid next_prio"),
    "sched_wakeup": (2420, "comm pid prio - target_cpu"),
    "sched_wakeup_new": (2421, "comm pid prio - target_cpu"),
    "sched_waking": (2422, "comm pid prio - target_cpu"),
    "workqueue_execute_end": (3101, "work function"),
    "workqueue_execute_start": (3102, "work function"),
    "workqueue_queue_work": (3103, "work function - req_cpu cpu workqueue"),
    "print": (1109, "ip buf"),
}


def _read(content: bytes, path: Path) -> tuple[pl.DataFrame, Counter[str]]:
    path.write_bytes(content)
    losses: Counter[str] = Counter()
    read = htrace.FORMAT.read(Source(path)).read_events
    assert read is not None
    return pl.concat([pl.DataFrame(schema=EVENTS), *read(losses)]), losses


def _segments() -> dict[int, bytes]:
    content, found, at = gzip.decompress(FIXTURE.read_bytes()), {}, 12
    while at < len(content):
        kind, length = struct.unpack_from("<BxxxI", content, at)
        found[kind] = content[at + 8 : at + 8 + length]
        at += 8 + length
    return found


def _taken_apart(records: ring_buffer.Records, formats: event_formats.Formats) -> list[bytes]:
    """Return the records as the profiler's plugin writes them."""
    found = []
    for at in range(len(records)):
        begin = records.begin[at : at + 1]
        event = formats.get(int.from_bytes(records.content[begin[0] : begin[0] + 2].tobytes(), "little"), Counter())
        if event is None or event.name not in FIELDS:
            continue
        rows = event_text.Rows(event, records.content, begin, records.size[at : at + 1])
        kind, names = FIELDS[event.name]
        parts = []
        for place, name in enumerate(names.split(), 1):
            one = event.by_name.get(name)
            if one is not None:
                text = one.is_text or one.location
                parts.append(message(place, *rows.texts(one)) if text else number(place, int(rows.ints(one)[0])))
        tid = int(rows.ints(event.by_name["common_pid"])[0])
        found.append(ftrace_event(int(records.ts[at]), tid, kind, *parts, tgid=tid))
    return found


def test_events_read_as_those_of_the_raw_trace(tmp_path: Path) -> None:
    segments = _segments()
    formats = event_formats.Formats()
    formats.add(segments[1].decode(), Counter())
    symbols = [line.split() for line in segments[32].decode().splitlines()]
    data = b"".join(message(5, number(1, int(one[0], 16)), message(2, one[2])) for one in symbols)
    for kind in (4, 5):
        records = ring_buffer.linux_records(
            segments[kind], cpu=kind - 4, layout=ring_buffer.PageLayout(), losses=Counter()
        )
        data += ftrace(kind - 4, _taken_apart(records, formats))
    frame, losses = _read(section(packet("ftrace-plugin", data)), tmp_path / "a.htrace")
    read = hitrace_raw.FORMAT.read(Source(FIXTURE)).read_events
    assert read is not None
    raw = pl.concat(read(Counter()))
    raw = raw.filter(pl.col("name").is_in([*FIELDS]) | (pl.col("category") == "marker"))
    assert len(raw) > 400
    columns = ["ts_ns", "category", "name", "tid", "cpu", "args"]
    order = ["ts_ns", "cpu"]
    assert (
        frame.select(columns)
        .sort(order, maintain_order=True)
        .equals(raw.select(columns).sort(order, maintain_order=True))
    )
    assert losses == Counter()


def test_names_come_from_the_dictionary_and_lost_events_stand_before_the_rest(tmp_path: Path) -> None:
    switch = ftrace_event(90, 7, 2417, number(2, 7), number(4, 0x100), number(6, 9), number(7, 120), tgid=5)
    blocked = ftrace_event(95, 7, 4002, number(1, 9), number(2, 0x1234), number(3, 1))
    named = ftrace_event(96, 7, 4002, number(1, 9), number(2, 0x1234), message(4, "do_wait+0x1/0x2"))
    unknown = ftrace_event(97, 0, 9999, number(3, 4), message(5, "text"))
    data = ftrace(3, [switch, blocked, named, unknown], overwrite=12)
    data += message(8, number(1, 7), message(2, "app")) + message(8, number(1, 9), message(2, "render thread"))
    frame, losses = _read(section(packet("ftrace-plugin", data)), tmp_path / "a.htrace")
    assert frame.select("ts_ns", "name", "pid", "tid", "cpu", "args").rows() == [
        (90, "lost_events", None, None, 3, "count=12"),
        (90, "sched_switch", 5, 7, 3, "prev_comm=app prev_pid=7 prev_prio=0 prev_state=R+ ==> next_comm=render thread "
         "next_pid=9 next_prio=120"),
        (95, "sched_blocked_reason", None, 7, 3, "pid=9 iowait=1 caller=0x1234"),
        (96, "sched_blocked_reason", None, 7, 3, "pid=9 iowait=0 caller=do_wait+0x1/0x2"),
        (97, "event_9999", None, 0, 3, "field_3=4 field_5=text"),
    ]  # fmt: skip
    assert losses == Counter({ring_buffer.LOST_RECORDS: 12})


def test_logs_and_samples_of_other_plugins_are_events_on_the_boot_clock(tmp_path: Path) -> None:
    late = REAL + 3_000_000_000
    detail = (number(1, late // 10**9), number(2, late % 10**9), number(3, 50), number(4, 51), number(5, ord("W")))
    log = message(1, message(1, *detail, message(6, "MyTag")), message(2, "what happened"))
    memory = message(2, number(1, 1), number(2, 2048)) + message(2, number(1, 3), number(2, 99))
    memory += message(3, number(1, 119), number(2, 7)) + message(1, number(1, 50), message(2, "app"), number(4, 321))
    core = message(7, number(1, 1), number(4, 30), message(6, number(3, 1800)))
    cpu = message(1, number(4, 10), core) + message(2, number(1, 51), message(2, "worker"), number(5, 6))
    cpu += number(3, 88) + double(6, 12.5)
    process = message(1, number(1, 50), message(2, "com.example.app"))
    packets = [
        packet("hilog-plugin", log),
        packet("hilog-plugin_config", b""),
        packet("memory-plugin", memory, clock=1, ts=MONOTONIC + 5),
        packet("cpu-plugin", cpu, ts=BOOT + 6),
        packet("process-plugin", process, ts=BOOT + 7),
        packet("nativehook", b""),
    ]
    frame, losses = _read(section(b"".join(packets)), tmp_path / "a.htrace")
    usage = "prev_system_cpu_time_ms=0 prev_system_boot_time_ms=0 "
    assert frame.drop("dur_ns").rows() == [
        (BOOT + 5, "proc", "/proc/PID/status", 50, None, None, "snapshot=0 VmSize=0 VmRSS=321 RssAnon=0 RssFile=0 "
         "RssShmem=0 VmSwap=0 VmLck=0 VmHWM=0 oom_score_adj=0 Name=app"),
        (BOOT + 5, "proc", "/proc/meminfo", None, None, None, "snapshot=0 MemTotal=2048 MemAvailable=99"),
        (BOOT + 5, "proc", "/proc/vmstat", None, None, None, "snapshot=0 pgscan_direct=7"),
        (BOOT + 6, "proc", "core_usage", None, None, 1, f"snapshot=0 {usage}system_cpu_time_ms=30 "
         "system_boot_time_ms=0 frequency_khz=1800"),
        (BOOT + 6, "proc", "thread_usage", None, 51, None, "snapshot=0 prev_thread_cpu_time_ms=0 "
         "thread_cpu_time_ms=6 comm=worker"),
        (BOOT + 6, "proc", "cpu_usage", None, None, None, f"snapshot=0 prev_process_cpu_time_ms=0 {usage}"
         "process_cpu_time_ms=10 system_cpu_time_ms=0 system_boot_time_ms=0 process_num=88 user_load=0 sys_load=0 "
         "total_load=12.5"),
        (BOOT + 7, "proc", "process", 50, None, None, "snapshot=0 name=com.example.app"),
        (BOOT + 3_000_000_000, "log", "MyTag", 50, 51, None, "level=warn text=what happened"),
    ]  # fmt: skip
    assert losses == Counter({htrace.UNKNOWN_PLUGIN: 1})


PERF = b"PERFILE2" + bytes(range(200))


def embedded(path: Path) -> bytes | None:
    with htrace.embedded_profile(Source(path)) as stream:
        return None if stream is None else stream.read()


def test_the_profile_inside_is_handed_on(tmp_path: Path) -> None:
    path = tmp_path / "a.htrace"
    path.write_bytes(section(packet("process-plugin", b"")) + section(PERF, kind=1))
    assert embedded(path) == PERF
    path.write_bytes(section(packet("hiperf-plugin", PERF[:50]) + packet("hiperf-plugin", PERF[50:])))
    assert embedded(path) == PERF
    path.write_bytes(section(packet("process-plugin", b"")))
    assert embedded(path) is None


def test_the_profile_inside_has_its_samples(tmp_path: Path) -> None:
    profile = captured("hiperf_fp.compress.data")
    path = tmp_path / "a.htrace"
    path.write_bytes(section(packet("process-plugin", b"")) + section(profile.read_bytes(), kind=1))
    own, theirs = (samples_of(form, one) for form, one in ((htrace.FORMAT, path), (perf_data.FORMAT, profile)))
    assert own == theirs
    assert len(own[0][0]) == 25
    path.write_bytes(section(packet("process-plugin", b"")))
    assert samples_of(htrace.FORMAT, path) == ([], Counter())
    path.write_bytes(section(PERF, kind=1))
    assert samples_of(htrace.FORMAT, path) == ([], Counter({htrace.BAD_PROFILE: 1}))


def test_a_capture_of_a_device_holds_the_sections_of_its_tasks() -> None:
    path = captured("smartperf_pbreader_ffrt.htrace")
    capture = htrace.FORMAT.read(Source(path))
    assert capture.read_events is not None
    losses: Counter[str] = Counter()
    frame = pl.concat(capture.read_events(losses))
    assert losses == Counter({htrace_plugins.NO_SECTION: 46})
    assert len(frame) == 221
    begin, end = int(capture.facts["boottime_ns"]), int(capture.facts["duration_ns"])
    assert frame["ts_ns"].is_between(begin, begin + end).all()
    # What begins ends, but for the four that were still open.
    phases = frame.group_by("tid", "args").len()
    assert phases["args"].str.contains(r"^phase=[BE] pid=2535$").all()
    assert abs(int((frame["name"] != "").sum()) * 2 - len(frame)) <= 4


def _encoded(pairs: list[tuple[int, int]]) -> bytes:
    return b"".join(number(key, value) + message(key + 1, str(value)) + double(key + 2, value) for key, value in pairs)


ONE = packet("ftrace-plugin", ftrace(1, [ftrace_event(9, 4, 2005, number(2, 1))]))


@pytest.mark.parametrize(
    ("content", "events", "losses"),
    [
        (section(ONE, length=0), 1, {htrace.NO_LENGTH: 1}),
        (section(ONE, length=1024), 1, {htrace.NO_LENGTH: 1}),
        (section(ONE, length=1 << 62), 1, {htrace.CUT_SECTION: 1}),
        (section(ONE + b"\xff\xff\xff\x7f"), 1, {htrace.CUT_PACKET: 1}),
        (section(ONE) + b"behind", 1, {htrace.NO_SECTION: 6}),
        (section(ONE) + section(b"x" * 50, kind=1000), 1, {htrace.UNKNOWN_SECTION: 1}),
        (section(struct.pack("<I", 2) + b"\xff\xff" + ONE), 1, {htrace.BAD_PACKET: 1}),
        (section(ONE + packet("ftrace-plugin", message(2, b"\x10\xff"))), 1, {htrace.BAD_PACKET: 1}),
        (section(ONE + packet("ftrace-plugin", message(2, number(1, 1), b"\x07"))), 1, {htrace_ftrace.BAD_EVENT: 1}),
        (section(packet("ftrace-plugin", ftrace(0, [ftrace_event(1 << 63, 4, 2005)]))), 0, {ring_buffer.BAD_TIME: 1}),
        (section(packet("ftrace-plugin", ftrace(0, [message(2, number(1, 5))]))), 0, {htrace_ftrace.NO_EVENT: 1}),
        (section(packet("hilog-plugin", message(1, message(1, b"\x08")))), 0, {htrace_plugins.BAD_MESSAGE: 1}),
    ],
)
def test_damage_costs_what_it_damages(content: bytes, events: int, losses: dict[str, int], tmp_path: Path) -> None:
    frame, lost = _read(content, tmp_path / "a.htrace")
    assert len(frame) == events
    assert lost == Counter(losses)


@pytest.mark.parametrize("content", [b"", b"OHOSPROF", b"OHOSPROF" + bytes(1015), b"\0" * 2000])
def test_what_is_hardly_a_beginning_is_one_error(content: bytes, tmp_path: Path) -> None:
    with pytest.raises(TraceFormatError):
        _read(content, tmp_path / "a.htrace")


@settings(max_examples=400)
@given(st.binary(max_size=60) | st.lists(st.tuples(st.integers(1, 3000), st.integers(0, 2**64 - 1))).map(_encoded))
def test_the_fast_reader_of_messages_reads_what_the_other_does(content: bytes) -> None:
    numbers: dict[int, int] = {}
    places: dict[int, tuple[int, int]] = {}
    try:
        for one in protobuf.fields(content, 0, len(content)):
            if one.is_bytes:
                places[one.number] = (one.begin, one.end)
            else:
                numbers[one.number] = one.value
    except protobuf.WireError:
        with pytest.raises(protobuf.WireError):
            protobuf.flat(content, 0, len(content))
        return
    assert protobuf.flat(content, 0, len(content)) == (numbers, places)


WHOLE = section(
    ONE * 3
    + packet("hilog-plugin", message(1, message(1, number(1, 5), message(6, "t")), message(2, "x")))
    + packet("memory-plugin", message(2, number(1, 1), number(2, 2)) + message(1, number(1, 1)))
    + packet("cpu-plugin", message(1, message(7, number(1, 1), message(6, number(3, 4)))) + double(4, 1.0))
    + packet("process-plugin", message(1, number(1, 1), message(2, "n")))
    + packet("ffrt-profiler", message(1, number(1, 1), number(5, 3), message(8, message(2, "B"), message(3, "l"))))
) + section(PERF, kind=1)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(data=st.data())
def test_damaged_captures_yield_events_or_one_error(tmp_path: Path, data: st.DataObject) -> None:
    content = bytearray(WHOLE[: data.draw(st.integers(900, len(WHOLE)))])
    for _ in range(data.draw(st.integers(0, 12))):
        # What lies between the header's fields and its end is never read.
        at = data.draw(st.integers(0, 260) | st.integers(1024, max(1024, len(content) - 1)))
        piece = data.draw(st.binary(min_size=1, max_size=8) | st.just(b"\xff" * 8))
        content[at : at + len(piece)] = piece
    try:
        frame, losses = _read(bytes(content), tmp_path / "damaged")
        profile = embedded(tmp_path / "damaged")
        samples_of(htrace.FORMAT, tmp_path / "damaged")
    except TraceFormatError:
        return
    assert len(frame) <= len(content)
    assert all(count > 0 for count in losses.values())
    assert profile is None or len(profile) <= len(content)
