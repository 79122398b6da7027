# SPDX-License-Identifier: Apache-2.0
"""perf.data written from its layout: both byte orders, pipes, hiperf's features, and everything that can be wrong."""

from __future__ import annotations

import gzip
import io
import struct
import tracemalloc
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from git_hmopt.runtime import call_graph
from git_hmopt.traces import perf_data, perf_header, perf_places, perf_records
from git_hmopt.traces.capture import Losses
from git_hmopt.traces.source import Source
from git_hmopt.traces.stacks import OUT_OF_RANGE
from git_hmopt.traces.tables import Samples, TraceFormatError
from tests.traces.captures import CAPTURES
from tests.traces.perf_writer import KERNEL, KERNEL_CONTEXT, SAMPLE_TYPE, USER_CONTEXT, PerfWriter, large

UNSYMBOLISED = perf_places.UNSYMBOLISED
PROGRAM, LIBRARY = "/srv/program", "/usr/lib/libwork.so"


def read(data: bytes) -> tuple[tuple[Samples, ...], Losses]:
    losses: Losses = Counter()
    return perf_data.samples_of(io.BytesIO(data), losses), losses


def stacks(table: Samples) -> list[list[str]]:
    return [[table.frames[index].symbol for index in table.stacks[stack]] for stack in table.stack]


def small(order: str = "<") -> PerfWriter:
    writer = PerfWriter(order, events=((1, 0), (0, 1)))
    writer.mmap(-1, 0xFFFF0000, 0x1000, 0xFFFF0000, "[kernel.kallsyms]_text", misc=KERNEL)
    writer.comm(7, 8, "worker")
    writer.mmap(7, 0x400000, 0x1000, 0x2000, PROGRAM)
    writer.sample(30, 7, [KERNEL_CONTEXT, 0xFFFF0010, USER_CONTEXT, 0x400004, 0x400008], weight=5, cpu=3, misc=KERNEL)
    writer.sample(20, 7, [USER_CONTEXT, 0x400008], weight=3)
    writer.sample(25, 7, [USER_CONTEXT, 0x400004], weight=9, event=1)
    writer.record(2, writer.pack("QQ", 100, 44) + writer.trailer(7, 26))
    return writer


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("form", [PerfWriter.file, PerfWriter.pipe])
def test_one_table_an_event_in_the_order_of_time(order: str, form: Callable[[PerfWriter], bytes]) -> None:
    (clock, instructions), losses = read(form(small(order)))
    assert (clock.event, clock.unit, instructions.event, instructions.unit) == (
        "cpu-clock",
        "ns",
        "instructions",
        "instructions",
    )
    assert stacks(clock) == [
        [f"{PROGRAM}+0x2008"],
        [f"{PROGRAM}+0x2008", f"{PROGRAM}+0x2004", "[kernel.kallsyms]+0x10"],
    ]
    assert stacks(instructions) == [[f"{PROGRAM}+0x2004"]]
    assert (clock.ts_ns, clock.weight, clock.pid, clock.cpu) == ((20, 30), (3, 5), (7, 7), (0, 3))
    assert clock.threads == {8: "worker"}
    assert losses == {perf_records.LOST_BY_KERNEL: 44, UNSYMBOLISED: 5}


def test_a_wrapped_file_is_read_and_a_plain_one_tells_its_facts(tmp_path: Path) -> None:
    path = tmp_path / "perf.data.gz"
    writer = small()
    writer.features = {3: writer.text("tablet"), 11: writer.pack("I", 2) + writer.text("perf") + writer.text("record")}
    path.write_bytes(gzip.compress(writer.file()))
    capture = perf_data.FORMAT.read(Source(path))
    assert capture.read_samples is not None
    assert sum(len(table) for table in capture.read_samples(Counter())) == 3
    plain = tmp_path / "perf.data"
    plain.write_bytes(writer.file())
    facts = perf_data.FORMAT.read(Source(plain)).facts
    assert (facts["host"], facts["command"], facts["events"]) == ("tablet", "perf record", "cpu-clock instructions")


def test_a_mapping_that_takes_the_place_of_another_counts_from_its_time_on() -> None:
    writer = PerfWriter()
    writer.mmap(7, 0x400000, 0x1000, 0, "/lib/one.so", time=10)
    writer.sample(15, 7, [USER_CONTEXT, 0x400004])
    # Records of another CPU's buffer may stand later in the file.
    writer.sample(35, 7, [USER_CONTEXT, 0x400004])
    writer.mmap(7, 0x400000, 0x1000, 0, "/lib/two.so", time=20)
    writer.fork(7, 9, time=30)
    writer.mmap(7, 0x400000, 0x1000, 0, "/lib/three.so", time=40)
    writer.sample(50, 7, [USER_CONTEXT, 0x400004])
    writer.sample(50, 9, [USER_CONTEXT, 0x400004])
    (table,), _ = read(writer.file())
    assert [stack[0] for stack in stacks(table)] == [f"/lib/{name}.so+0x4" for name in ("one", "two", "three", "two")]


def generations(count: int) -> PerfWriter:
    """Return a row of processes, each forked by the one before it, and each with a library of its own."""
    writer = PerfWriter()
    writer.mmap(1, 0x400000, 0x1000, 0, PROGRAM, time=1)
    for pid in range(1, count):
        writer.mmap(pid, 0x500000, 0x1000, 0, f"/lib/{pid}.so", time=2 * pid)
        writer.fork(pid, pid + 1, time=2 * pid + 1)
    return writer


def test_in_a_long_row_of_forks_each_process_has_its_own_mappings_and_those_before_it() -> None:
    count = 300
    writer = generations(count)
    for pid in range(1, count):
        writer.sample(10_000 + pid, pid, [USER_CONTEXT, 0x400004, 0x500004])
    (table,), losses = read(writer.file())
    assert stacks(table) == [[f"/lib/{pid}.so+0x4", f"{PROGRAM}+0x4"] for pid in range(1, count)]
    assert set(losses) == {UNSYMBOLISED}


def test_a_mapping_that_changes_often_is_read_as_it_was_at_each_time() -> None:
    writer = PerfWriter()
    writer.mmap(7, 0x400000, 0x3000, 0, PROGRAM, time=1)
    for number in range(1, 300):
        writer.mmap(7, 0x401000, 0x1000, 0, f"/lib/{number}.so", time=10 * number)
        writer.sample(10 * number + 5, 7, [USER_CONTEXT, 0x401004, 0x402004, 0x400004])
    (table,), losses = read(writer.file())
    beside = [f"{PROGRAM}+0x4", f"{PROGRAM}+0x2004"]
    assert stacks(table) == [[*beside, f"/lib/{number}.so+0x4"] for number in range(1, 300)]
    assert set(losses) == {UNSYMBOLISED}


def test_mappings_beyond_all_bounds_are_forgotten_and_never_those_of_another_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(perf_places, "_MOST_COPIED", 0)
    count = 70
    writer = generations(count)
    for pid in range(1, count):
        writer.sample(10_000 + pid, pid, [USER_CONTEXT, 0x500004])
    (table,), losses = read(writer.file())
    assert stacks(table) == [[f"/lib/{pid}.so+0x4"] for pid in range(1, count)]
    assert losses[perf_places.FORGOTTEN] > 0


def test_a_long_path_is_not_copied_for_each_of_its_frames() -> None:
    writer = PerfWriter()
    writer.mmap(7, 0x400000, 0x100000, 0, "/" + "x" * 60_000)
    for number in range(2000):
        writer.sample(number, 7, [USER_CONTEXT, 0x400000 + number])
    tracemalloc.start()
    try:
        (table,), _ = read(writer.file())
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 30 << 20
    assert (len(table), len(table.frames)) == (2000, 2000)


def test_hiperf_symbols_are_found_by_the_address_in_the_object() -> None:
    writer = PerfWriter()
    writer.mmap(7, 0x400000, 0x1000, 0x3000, LIBRARY)
    writer.mmap(-1, 2**64 - 1, 0, 0, "[kernel.kallsyms]", misc=KERNEL)
    writer.sample(1, 7, [USER_CONTEXT, 0x400010, 0x400100])
    writer.sample(2, 7, [KERNEL_CONTEXT, 0xC0001008], misc=KERNEL)
    objects = [
        (LIBRARY, 0x8000, 0x3000, [(0x8000, 0x20, "work")]),
        ("[kernel.kallsyms]", 2**64 - 1, 0, [(0xC0001000, 0, "schedule"), (0xC0002000, 0, "later")]),
    ]
    writer.features = {192: writer.files_symbol(objects)}
    (table,), losses = read(writer.file())
    assert stacks(table) == [[f"{LIBRARY}+0x8100", "work"], ["schedule"]]
    assert losses == {UNSYMBOLISED: 1}


def test_deduplicated_stacks_are_walked_and_a_missing_one_is_counted() -> None:
    writer = PerfWriter()
    writer.mmap(7, 0x400000, 0x1000, 0, PROGRAM)
    for index, depth in ((2, 3), (9, 1)):
        writer.sample(index, 7, [], after=writer.pack("Q", index | depth << 23))
    nodes = [(2, 0xFFFFFFFE00 | 1 << 63 | 3 << 40), (3, 0x400004 | 4 << 40), (4, 0x400008)]
    table_of_7 = writer.pack("III", 7, 1 << 22, len(nodes)) + b"".join(writer.pack("IQ", *node) for node in nodes)
    writer.features = {192: writer.files_symbol([]), 197: writer.pack("I", 1) + table_of_7}
    (table,), losses = read(writer.file())
    assert stacks(table) == [[f"{PROGRAM}+0x8", f"{PROGRAM}+0x4"], ["[unknown]"]]
    assert losses == {perf_data.NO_TABLE: 1, perf_data.NO_STACK: 1, UNSYMBOLISED: 2}


def test_frames_of_hiperf_servers_are_looked_up_in_the_servers() -> None:
    writer = PerfWriter(sample_type=SAMPLE_TYPE | perf_records.SERVER_PID)
    writer.mmap(7, 0x400000, 0x1000, 0, PROGRAM)
    writer.mmap(9, 0x400000, 0x1000, 0, "/bin/server")
    stack = [USER_CONTEXT, 0x400004, USER_CONTEXT, 0x400008]
    writer.sample(1, 7, stack, after=writer.pack("3Q", 2, 9, 7))
    writer.features = {192: writer.files_symbol([])}
    (table,), _ = read(writer.file())
    assert stacks(table) == [[f"{PROGRAM}+0x8", "/bin/server+0x4"]]


def compressed(*pieces: bytes) -> bytes:
    writer = small()
    pack = zstandard.ZstdCompressor().compressobj()
    bodies = [pack.compress(piece) + pack.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK) for piece in pieces]
    writer.records = []
    for body in bodies:
        writer.record(81, body, 0)
    return writer.file()


def test_records_that_are_cut_between_compressed_pieces_are_joined() -> None:
    whole = b"".join(small().records)
    (clock, _), losses = read(compressed(whole[:100], whole[100:333], whole[333:]))
    assert len(clock) == 2
    assert losses == {perf_records.LOST_BY_KERNEL: 44, UNSYMBOLISED: 5}


def test_compressed_records_that_are_none_are_counted() -> None:
    writer = small()
    writer.record(81, b"nonsense")
    _, losses = read(writer.file())
    assert losses[perf_data.NOT_ZSTD] == 8


def test_compressed_records_that_grow_without_bounds_are_left() -> None:
    packed = zstandard.ZstdCompressor(level=19).compress(struct.pack("<IHH120x", 77, 0, 128) * (1 << 20))
    writer = small()
    for at in range(0, len(packed), 60_000):
        writer.record(81, packed[at : at + 60_000], 0)
    tracemalloc.start()
    _, losses = read(writer.file())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert losses[perf_data.BOMB] > 0
    assert peak < 200 << 20


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "does not begin with PERFILE2"),
        (b"PERFFILE" * 20, "does not begin with PERFILE2"),
        (b"PERFILE2", "cut inside its header"),
        (b"PERFILE2" + struct.pack("<Q", 104), "cut inside its header"),
        (b"PERFILE2" + struct.pack("<Q", 77) + b"\0" * 100, "says it has 77 bytes"),
        (b"PERFILE2" + struct.pack("<9Q", 104, 1, 104, 1, 104, 0, 0, 0, 0) + b"\0" * 40, "it has none to read"),
        (b"PERFILE2" + struct.pack("<9Q", 104, 128, 1 << 60, 128, 104, 0, 0, 0, 0) + b"\0" * 40, "beyond its end"),
    ],
)
def test_what_is_no_perf_data_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(TraceFormatError, match=message):
        read(data)


def test_records_that_say_nonsense_are_counted() -> None:
    writer = small()
    writer.record(9, writer.pack("QQ", 100, 1))
    writer.record(9, writer.pack("QQiiQIIQQ", 100, 1, 7, 7, 1, 0, 0, 1, 1 << 40))
    writer.record(9, writer.pack("QQiiQIIQQ", 999, 1, 7, 7, 1, 0, 0, 1, 0))
    writer.record(9, writer.pack("QQiiQIIQQ", 100, 1, 7, 7, 1 << 63, 0, 0, 1, 0))
    writer.record(1, b"\0" * 4)
    writer.record(4242, b"\0" * 8)
    writer.sample(40, 7, [2**64 - 5, 0x400004])
    writer.records.append(b"\1\0\0\0\0\0\3\0rest")
    tables, losses = read(writer.file())
    assert [len(table) for table in tables] == [3, 1]
    assert losses == {
        perf_records.LOST_BY_KERNEL: 44,
        UNSYMBOLISED: 5,
        perf_records.BAD_SAMPLE: 1,
        perf_records.BAD_STACK: 1,
        perf_records.NO_EVENT: 1,
        perf_records.SHORT_RECORD: 1,
        perf_records.BAD_SIZE: 12,
        perf_data.BAD_CONTEXT: 1,
        perf_data.NO_STACK: 1,
        OUT_OF_RANGE: 1,
        "record not used: type 4242": 1,
    }


def test_trace_data_beside_its_record_is_stepped_over() -> None:
    writer = small()
    writer.records.insert(2, writer.pack("IHHII", 66, 0, 16, 20, 0) + b"\xff" * 24)
    writer.records.insert(4, writer.pack("IHHQQQQIIII", 71, 0, 56, 40, 0, 0, 0, 0, 0, 0, 0) + b"\xff" * 40)
    (clock, _), losses = read(writer.pipe())
    assert len(clock) == 2
    assert losses["record not used: TRACING_DATA"] == losses["record not used: AUXTRACE"] == 1
    assert not losses[perf_records.BAD_SIZE]


def test_a_file_of_a_writer_that_was_killed_is_read_to_its_end() -> None:
    data = bytearray(small().file())
    data[48:56] = bytes(8)
    (clock, _), _ = read(bytes(data))
    assert len(clock) == 2


def corpus() -> list[bytes]:
    """Return what is damaged: our own files, and recorded ones where they are."""
    hiperf = small()
    objects = [(PROGRAM, 0, 0, [(0, 64, "main")])]
    hiperf.features = {3: hiperf.text("host"), 192: hiperf.files_symbol(objects), 197: hiperf.pack("I", 0)}
    own = [small().file(), small(">").file(), small().pipe(), hiperf.file(), compressed(b"".join(small().records))]
    names = ("hiperf_report_test.data", "hiperf_fp.compress.data", "pdc_perf.data.systemwide.0-3.8")
    return own + [(CAPTURES / name).read_bytes() for name in names if (CAPTURES / name).is_file()]


CORPUS = corpus()


@settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, len(CORPUS) - 1), st.data())
def test_damaged_files_give_a_result_or_one_error(which: int, data: st.DataObject) -> None:
    damaged = bytearray(CORPUS[which])
    for _ in range(data.draw(st.integers(0, 6))):
        at = data.draw(st.integers(0, len(damaged) - 1))
        damaged[at] = data.draw(st.sampled_from([0, 1, 0x7F, 0x80, 0xFF]) | st.integers(0, 255))
    cut = data.draw(st.none() | st.integers(0, len(damaged)))
    tracemalloc.start()
    try:
        tables, losses = read(bytes(damaged[:cut]))
    except TraceFormatError:
        return
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 64 << 20
    assert all(count > 0 for count in losses.values())
    for table in tables:
        assert call_graph.from_samples(table).total == table.total()


def test_a_file_cut_anywhere_loses_the_rest_and_says_so() -> None:
    whole = small().file()
    full = sum(len(table) for table in read(whole)[0])
    data_at = perf_header.read_header(io.BytesIO(whole), Counter()).data_at
    for cut in range(data_at, len(whole)):
        tables, losses = read(whole[:cut])
        assert sum(len(table) for table in tables) <= full
        assert losses[perf_header.DATA_CUT] == len(whole) - cut


def test_a_hundred_thousand_samples_keep_their_stacks() -> None:
    (table,), losses = read(large(100_000, stacks=500, depth=8))
    assert len(table) == 100_000
    assert set(losses) == {UNSYMBOLISED}
    assert table.total() == 100_000 * 250_000
    assert len(table.stacks) <= 500


@pytest.mark.parametrize(("period", "known"), [(0, None), (250_000, 250_000), (2**63 - 1, 2**63 - 1), (2**63, None)])
def test_a_period_of_all_samples_that_is_beyond_all_bounds_is_unknown(period: int, known: int | None) -> None:
    raw = struct.pack("<IIQQQQQ", 1, 112, 0, period, SAMPLE_TYPE, 0, 0)
    assert perf_header.attr_of(raw, "<", ()).period == known
