# SPDX-License-Identifier: Apache-2.0
"""Ring buffers against the kernel's own text of the same pages, and against `trace-cmd report`."""

from __future__ import annotations

import gzip
import itertools
import re
import shutil
import struct
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from git_hmopt.traces import hitrace_raw, ring_buffer, trace_cmd
from git_hmopt.traces.capture import EVENTS, LOST_EVENTS, Format
from git_hmopt.traces.source import Source
from tests.traces import raw_traces, tracefs
from tests.traces.captures import captured

FIXTURES = Path(__file__).parent / "fixtures"
PAGES = FIXTURES / "linux-6.18.sys.gz"
TEXT = FIXTURES / "linux-6.18.sys.txt.gz"
Line = tuple[str, str, int, int, int]
"""Event, arguments, thread, CPU, time."""
_KERNEL = re.compile(
    r"^ *(.*)-(?P<tid>\d+) +(?:\( *[-\d]+\) )?\[(?P<cpu>\d+)\] \S+ +"
    r"(?P<s>\d+)\.(?P<us>\d+): (?P<name>\w+): ?(?P<args>.*)$"
)
_REPORT = re.compile(r"^ *(.*)-(?P<tid>\d+) +\[(?P<cpu>\d+)\] +(?P<s>\d+)\.(?P<us>\d+): (?P<name>\w+): *(?P<args>.*)$")


def _events(reader: Format, path: Path) -> tuple[pl.DataFrame, Counter[str]]:
    losses: Counter[str] = Counter()
    read = reader.read(Source(path)).read_events
    assert read is not None
    frame = pl.concat([pl.DataFrame(schema=EVENTS), *read(losses)])
    assert frame.schema == EVENTS
    return frame, losses


def _lines(text: str, pattern: re.Pattern[str]) -> list[Line]:
    found = [match for line in text.splitlines() if (match := pattern.match(line))]
    return [
        (one["name"], one["args"].rstrip(), int(one["tid"]), int(one["cpu"]), int(one["s"] + one["us"]))
        for one in found
    ]


def _ours(frame: pl.DataFrame, *, unit_ns: int) -> list[Line]:
    """Return the events as the kernel writes them, a marker's payload put together again."""
    rows = []
    written = frame.filter(pl.col("name") != LOST_EVENTS)
    for name, args, tid, cpu, ts in written.select("name", "args", "tid", "cpu", "ts_ns").iter_rows():
        if marker := re.fullmatch(r"phase=(\w) pid=(\d+)(?: value=(\d+))? level=(\w+)", args):
            parts = [marker[1], marker[2], *([name] if name else []), *([marker[3]] if marker[3] else []), marker[4]]
            name, args = "tracing_mark_write", "|".join(parts)
        rows.append((name, args, tid, cpu, (ts + unit_ns // 2) // unit_ns))
    return rows


def _by_cpu(lines: list[Line]) -> list[Line]:
    # Events of two CPUs within a microsecond stand in any order in the text.
    return sorted(lines, key=lambda line: line[3])


def test_events_read_as_the_kernel_prints_them() -> None:
    frame, losses = _events(hitrace_raw.FORMAT, PAGES)
    kernel = _lines(gzip.decompress(TEXT.read_bytes()).decode(), _KERNEL)
    assert len(kernel) > 500
    assert _by_cpu(_ours(frame, unit_ns=1000)) == _by_cpu(kernel)
    assert losses == Counter()
    assert frame["ts_ns"].is_sorted()
    assert frame.filter(pl.col("tid") != 0)["pid"].is_not_null().all()


def test_the_raw_trace_and_its_text_are_the_same_events() -> None:
    reader = pytest.importorskip("git_hmopt.traces.ftrace_text", reason="there is no reader of ftrace text yet")
    raw, _ = _events(hitrace_raw.FORMAT, PAGES)
    text, losses = _events(reader.FORMAT, TEXT)
    columns = ["category", "name", "pid", "tid", "cpu", "args"]
    assert (
        raw.sort("cpu", maintain_order=True)
        .select(columns)
        .equals(text.sort("cpu", maintain_order=True).select(columns))
    )
    assert losses == Counter()


@pytest.mark.skipif(not tracefs.usable(), reason="tracefs is not mounted here, or not for us")
def test_events_of_this_machine_read_as_its_kernel_prints_them(tmp_path: Path) -> None:
    recording = tracefs.record(seconds=0.3)
    path = tmp_path / "trace.sys"
    pages = [(4 + cpu, data) for cpu, data in recording.pages.items()]
    described = [(30, recording.header_page), (1, recording.formats), (2, recording.comms), (32, recording.symbols)]
    path.write_bytes(raw_traces.hitrace_raw([*pages, *((kind, text.encode()) for kind, text in described)]))
    frame, losses = _events(hitrace_raw.FORMAT, path)
    ours, kernel = _by_cpu(_ours(frame, unit_ns=1000)), _by_cpu(_lines(recording.text, _KERNEL))
    assert len(kernel) > 500
    # Constants that only the kernel's source tells are printed as their numbers, or as `?`.
    assert [line for line in ours if "=?" not in line[1]] == [
        line for line, own in zip(kernel, ours, strict=True) if "=?" not in own[1]
    ]
    # A busy machine may have overwritten what is older than the buffer.
    assert set(losses) <= {ring_buffer.LOST_RECORDS, ring_buffer.LOST_UNCOUNTED}


def _segments(content: bytes) -> dict[int, bytes]:
    found, at = {}, 12
    while at < len(content):
        kind, length = struct.unpack_from("<BxxxI", content, at)
        found[kind] = content[at + 8 : at + 8 + length]
        at += 8 + length
    return found


needs_trace_cmd = pytest.mark.skipif(shutil.which("trace-cmd") is None, reason="trace-cmd is not installed")


@needs_trace_cmd
@pytest.mark.parametrize("write", [raw_traces.trace_cmd, raw_traces.trace_cmd_7], ids=["6", "7"])
def test_a_trace_cmd_file_reads_as_trace_cmd_reports_it(write: Callable[..., bytes], tmp_path: Path) -> None:
    _assert_as_reported(_dat(write, tmp_path / "trace.dat"))


@needs_trace_cmd
@pytest.mark.parametrize("compression", ["none", "zlib", "zstd"])
def test_what_trace_cmd_converts_to_version_7_reads_as_it_reports_it(compression: str, tmp_path: Path) -> None:
    six, seven = _dat(raw_traces.trace_cmd, tmp_path / "6.dat"), tmp_path / "7.dat"
    convert = ["trace-cmd", "convert", "--file-version", "7", "--compression", compression, "-i"]
    done = subprocess.run([*convert, str(six), "-o", str(seven)], capture_output=True, text=True, check=False)
    if "is not supported" in done.stderr + done.stdout:
        pytest.skip(f"this trace-cmd was built without {compression}")
    assert done.returncode == 0, done.stderr
    assert (compression == "none") == (seven.stat().st_size > six.stat().st_size // 2)
    _assert_as_reported(seven)


def _dat(write: Callable[..., bytes], path: Path) -> Path:
    segments = _segments(gzip.decompress(PAGES.read_bytes()))
    pages = {kind - 4: data for kind, data in segments.items() if 4 <= kind < 30}
    formats, comms, symbols = (segments[kind].decode() for kind in (1, 2, 32))
    path.write_bytes(write(formats, pages, comms=comms, symbols=symbols))
    return path


def _assert_as_reported(path: Path) -> None:
    report = subprocess.run(["trace-cmd", "report", "-N", "-t", path], capture_output=True, text=True, check=True)
    theirs = _lines(report.stdout, _REPORT)
    frame, losses = _events(trace_cmd.FORMAT, path)
    ours = _ours(frame, unit_ns=1)
    assert len(theirs) > 500
    assert [line[2:] for line in ours] == [line[2:] for line in theirs]
    assert [_as_reported(line) for line in ours] == [_without_spelling(line) for line in theirs]
    assert losses == Counter()


def _as_reported(line: Line) -> tuple[str, str]:
    name, args = line[:2]
    if name == "tracing_mark_write":
        return "print", args
    # trace-cmd leaves out how long a function is.
    return name, re.sub(r"(\+0x[0-9a-f]+)/0x[0-9a-f]+", r"\1", args)


def _without_spelling(line: Line) -> tuple[str, str]:
    if line[0] == "print":
        return line[0], line[1].split(": ", 1)[1]
    # trace-cmd prints pointers as 0x..., the kernel with all their digits.
    return line[0], re.sub(r"0x([0-9a-f]{16})\b", r"\1", line[1])


@pytest.mark.skipif(not tracefs.usable(), reason="tracefs is not mounted here, or not for us")
@pytest.mark.skipif(shutil.which("trace-cmd") is None, reason="trace-cmd is not installed")
def test_a_file_that_trace_cmd_wrote_reads_as_it_reports_it(tmp_path: Path) -> None:
    recording = tracefs.record(seconds=0.05)
    names = []
    for cpu, data in recording.pages.items():
        (tmp_path / f"cpu{cpu}").write_bytes(data)
        names.append(f"cpu{cpu}")
    path = tmp_path / "trace.dat"
    subprocess.run(["trace-cmd", "restore", "-o", path, *names], cwd=tmp_path, capture_output=True, check=True)
    report = subprocess.run(["trace-cmd", "report", "-N", "-t", path], capture_output=True, text=True, check=True)
    theirs = _lines(report.stdout, _REPORT)
    ours = _ours(_events(trace_cmd.FORMAT, path)[0], unit_ns=1)
    assert len(theirs) > 500
    assert [(line[0].replace("tracing_mark_write", "print"), *line[2:]) for line in ours] == [
        (line[0], *line[2:]) for line in theirs
    ]


def test_pages_of_a_device_hold_the_events_that_its_own_parser_counts() -> None:
    losses: Counter[str] = Counter()
    data = captured("ohosprofiler_ftrace_test_raw_0").read_bytes()
    records = ring_buffer.linux_records(data, cpu=0, layout=ring_buffer.PageLayout(), losses=losses)
    # 51 pages and 3042 events is what its profiler's test expects of the file.
    assert (len(data) // 4096, len(records)) == (51, 3042)
    assert (records.ts[1:] >= records.ts[:-1]).all()
    tids = {int.from_bytes(records.content[at + 4 : at + 8].tobytes(), "little") for at in records.begin.tolist()}
    named = {int(line.split()[0]) for line in captured("ohosprofiler_ftrace_test_comm").read_text().splitlines()}
    assert len(tids - named - {0}) <= 2 < len(tids)
    assert losses == Counter()


SCHED_SWITCH = raw_traces.format_text(
    "sched_switch",
    186,
    [
        ("char[16]", "prev_comm"), ("int", "prev_pid"), ("int", "prev_prio"), ("long", "prev_state"),
        ("char[16]", "next_comm"), ("int", "next_pid"), ("int", "next_prio"),
    ],
    '"prev_comm=%s prev_pid=%d next_comm=%s next_pid=%d",'
    " REC->prev_comm, REC->prev_pid, REC->next_comm, REC->next_pid",
)  # fmt: skip


def test_a_page_of_an_openharmony_board_switches_from_thread_to_thread(tmp_path: Path) -> None:
    dump = captured("smartperf_rawtrace.data").read_bytes()
    page = dump[dump.index(b"cpuData:\n") + 9 :][:4096].ljust(4096, b"\0")
    path = tmp_path / "trace.sys"
    path.write_bytes(raw_traces.hitrace_raw([(1, SCHED_SWITCH.encode()), (4, page)]))
    frame, losses = _events(hitrace_raw.FORMAT, path)
    switches = [
        re.fullmatch(r"prev_comm=(.+) prev_pid=(\d+) next_comm=(.+) next_pid=(\d+)", one) for one in frame["args"]
    ]
    assert len(switches) == 37
    assert all(before and after and before[4] == after[2] for before, after in itertools.pairwise(switches))
    assert losses == Counter({"records of events whose format the capture does not have": 34})
