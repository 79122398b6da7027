# SPDX-License-Identifier: Apache-2.0
"""hiperf's report in protocol buffers: what its messages say, a recorded profile written as one, and damage."""

from __future__ import annotations

import gzip
import struct
import tracemalloc
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from git_hmopt.runtime import call_graph
from git_hmopt.traces import hiperf_proto, perf_data
from git_hmopt.traces.capture import Losses
from git_hmopt.traces.registry import parse
from git_hmopt.traces.sniff import open_capture
from git_hmopt.traces.source import Source
from git_hmopt.traces.stacks import OUT_OF_RANGE
from git_hmopt.traces.tables import Frame, Samples, TraceFormatError
from tests.traces.captures import captured, samples_of, stacks
from tests.traces.reading import damaged
from tests.traces.wire import nested, number


def frame(file: int | None, function: int, address: int = 0x40) -> bytes:
    named = number(2, file) + number(3, function) if file is not None else b""
    return nested(3, number(1, address), named, number(4, 0x1000))


def sample(tid: int, time: int, weight: int, *frames: bytes, event: int = 0) -> bytes:
    return nested(1, number(1, time), number(2, tid), *frames, number(4, weight), number(5, event))


def file(identity: int, path: str, *names: str) -> bytes:
    return nested(3, number(1, identity), nested(2, path.encode()), *(nested(3, one.encode()) for one in names))


def thread(tid: int, pid: int, name: str) -> bytes:
    return nested(4, number(1, tid), number(2, pid), nested(3, name.encode()))


def report(*records: bytes, end: bytes = bytes(4), version: int = 1) -> bytes:
    held = b"".join(struct.pack("<I", len(one)) + one for one in records)
    return b"HIPERF_PB_" + struct.pack("<H", version) + held + end


INFO = nested(5, nested(1, b"hw-cpu-cycles"), nested(1, b"sw-task-clock"), nested(2, b"sleep 1"))
RECORDS = (
    sample(8, 1000, 50, frame(0, 1), frame(0, 0), frame(1, 0)),
    sample(8, 2000, 7, frame(1, -1, 0x99), event=1),
    INFO, file(0, "/lib/libc.so", "main", "memcpy"), file(1, "/bin/app", "start"), thread(8, 7, "worker"),
    nested(2, number(1, 2), number(2, 3)),
)  # fmt: skip
WHOLE = report(*RECORDS)


def read(tmp_path: Path, content: bytes) -> tuple[list[Samples], Losses]:
    path = tmp_path / "perf.proto"
    path.write_bytes(content)
    return samples_of(hiperf_proto.FORMAT, path)


# -- damaged --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"HIPERF_PB_", "version 1; write it with"), (report(INFO, version=2), "version 1; write it with"),
        (b"HIPERF_PX_" + WHOLE[10:], "no report of hiperf"), (report(*RECORDS[:2]), "names no event"),
    ],
)  # fmt: skip
def test_what_is_no_report_is_one_error(content: bytes, message: str, tmp_path: Path) -> None:
    with pytest.raises(TraceFormatError, match=message):
        read(tmp_path, content)


def test_a_report_that_ends_anywhere_says_so(tmp_path: Path) -> None:
    for end in range(12, len(WHOLE)):
        try:
            _, losses = read(tmp_path, WHOLE[:end])
        except TraceFormatError as error:
            assert "names no event" in str(error)
        else:
            assert losses[hiperf_proto.CUT] == 1


def test_what_is_too_large_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, most, message in (
        ("_MOST_BYTES", 20, "more than 0 MiB"), ("_MOST_SAMPLES", 1, "more than 1 samples"),
        ("_MOST_NAMES", 3, "more than 3 names"), ("_MOST_EVENTS", 1, "more than 2 names"),
        ("_MOST_IN_STACKS", 3, "more than 3 frames"), ("_MOST_FRAMES", 1, "more than 1 frames"),
    ):  # fmt: skip
        with monkeypatch.context() as patch:
            patch.setattr(hiperf_proto, name, most)
            with pytest.raises(TraceFormatError, match=message):
                read(tmp_path, WHOLE)


def test_a_long_name_is_not_copied_for_each_of_its_frames(tmp_path: Path) -> None:
    long = "x" * (1 << 20)
    bare = [sample(8, one, 1, frame(0, -1, one)) for one in range(500)]
    named = [sample(8, one, 1, frame(0, 0, one)) for one in range(500)]
    tracemalloc.start()
    try:
        ((table, *_), _) = read(tmp_path, report(*bare, *named, INFO, file(0, long, long)))
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 60 << 20
    assert len(table) == 1000
    assert Frame(f"…{'x' * 254}+0x1f3", long) in table.frames and Frame(long, long) in table.frames


def test_what_points_nowhere_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hiperf_proto, "_MOST_SAMPLE", 60)
    bad = (
        sample(8, 1, 1, event=5), sample(8, 1, 1), sample(8, 1, 1, frame(44, 0)), sample(8, 1, 1, frame(0, 44)),
        sample(8, 1, 1, frame(None, 0)), sample(8, 2**63, 1, frame(0, 0)), sample(8, 1, 2**64 - 1, frame(0, 0)),
        sample(2**32 - 1, 1, 1, frame(0, 0)), nested(1, b"\x0a\x7f"), b"\x0a\x7f", nested(2, number(1, 99)),
        sample(8, 1, 1, *[frame(0, 0)] * 9), nested(1, b"\x1a\x7f"),
    )  # fmt: skip
    tables, losses = read(tmp_path, report(*RECORDS[2:], *bad))
    assert stacks(tables[0]) == {"[unknown]": 2, "/lib/libc.so+0x40": 1}
    assert losses == {
        hiperf_proto.NO_EVENT: 1, hiperf_proto.NO_STACK: 1, hiperf_proto.NO_FILE: 2, hiperf_proto.NO_FUNCTION: 1,
        hiperf_proto.BAD_RECORD: 4, hiperf_proto.LOST: 3, hiperf_proto.MISSING: 88, OUT_OF_RANGE: 3,
    }  # fmt: skip


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(content=damaged(WHOLE))
def test_damage_gives_a_result_or_one_error(tmp_path: Path, content: bytes) -> None:
    try:
        path = tmp_path / "perf.proto"
        path.write_bytes(content)
        capture = hiperf_proto.FORMAT.read(Source(path))
        losses = Losses()
        assert capture.read_samples
        tables = capture.read_samples(losses)
    except TraceFormatError:
        return
    assert all(count > 0 for count in losses.values())
    for table in tables:
        assert call_graph.from_samples(table).total == table.total()


# -- whole ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [WHOLE, gzip.compress(WHOLE)], ids=["bare", "gzip"])
def test_every_event_is_a_table_with_times_and_threads(content: bytes, tmp_path: Path) -> None:
    (cycles, clock), losses = read(tmp_path, content)
    assert (cycles.event, cycles.unit, stacks(cycles)) == ("hw-cpu-cycles", "hw-cpu-cycles", {"start;main;memcpy": 50})
    assert (clock.event, clock.unit, stacks(clock)) == ("sw-task-clock", "ns", {"/bin/app+0x99": 7})
    assert (cycles.ts_ns, cycles.pid, cycles.tid, cycles.threads) == ((1000,), (7,), (8,), {8: "worker"})
    assert Frame("memcpy", "/lib/libc.so") in cycles.frames
    assert losses == {hiperf_proto.LOST: 3, hiperf_proto.UNSYMBOLISED: 1}
    assert open_capture(tmp_path / "perf.proto").format == "hiperf-proto"
    assert parse("hiperf-proto", tmp_path / "perf.proto").skipped == {
        **losses, "sample of another event (sw-task-clock)": 1,
    }  # fmt: skip


def _written(table: Samples) -> bytes:
    """Return a table as hiperf would report it."""
    paths = list(dict.fromkeys(one.object for one in table.frames))
    names: dict[str, dict[str, int]] = {path: {} for path in paths}
    frames = []
    for one in table.frames:
        function = names[one.object].setdefault(one.symbol, len(names[one.object]))
        frames.append(frame(paths.index(one.object), function))
    rows = zip(table.stack, table.ts_ns, table.pid, table.tid, table.weight, strict=True)
    return report(nested(5, nested(1, table.event.encode())), *_records(table, frames, rows), *(
        file(at, path, *names[path]) for at, path in enumerate(paths)
    ))  # fmt: skip


def _records(
    table: Samples, frames: Sequence[bytes], rows: zip[tuple[int, int | None, int | None, int | None, int]]
) -> list[bytes]:
    found = [thread(tid, pid or 0, table.threads.get(tid, "")) for tid, pid in _processes(table).items()]
    for stack, time, _, tid, weight in rows:
        found.append(sample(tid or 0, time or 0, weight, *(frames[one] for one in reversed(table.stacks[stack]))))
    return found


def _processes(table: Samples) -> dict[int, int | None]:
    return {tid: pid for tid, pid in zip(table.tid, table.pid, strict=True) if tid is not None}


def test_a_recorded_profile_is_the_same_as_a_report(tmp_path: Path) -> None:
    (recorded,), _ = samples_of(perf_data.FORMAT, captured("hiperf_fp.uncompress.data"))
    (reported,), losses = read(tmp_path, _written(recorded))
    assert stacks(reported) == stacks(recorded) and len(stacks(recorded)) > 20
    assert (reported.ts_ns, reported.tid, reported.pid) == (recorded.ts_ns, recorded.tid, recorded.pid)
    assert losses == {}
