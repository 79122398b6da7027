# SPDX-License-Identifier: Apache-2.0
"""Which format a file is taken for by its first bytes."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from git_hmopt.traces import perf_places, perf_records, registry, symbol_files
from git_hmopt.traces.sniff import recognise
from git_hmopt.traces.tables import TraceFormatError
from tests.traces.captures import captured
from tests.traces.perf_writer import PerfWriter

BEGINNINGS = {
    "perf-data": PerfWriter().file(),
    "self-counts": b"hmopt-self-counts 1\n",
    "symbols": b"hmopt-symbols 1\nmain\ta.c\t3\n",
    "hiperf-report": b"loading data\nprepare report\n<<Hiperf Report>>\nhostname: x\n",
    "callgrind": b"version: 1\nevents: Ir\nfn=(1) main\n3 4\n",
    "perf-script": b"# header\nmain 7/7 [001] 1.000001: 5 cycles: \n\t 1234 leaf+0x1 (/bin/main)\n\n",
    "perf-stat": b"\n Performance counter stats for 'true':\n\n   1,234      cycles\n",
    "folded": b"main;leaf 3\nmain 1\n",
    "pprof": b"\x0a\x04\x08\x01\x10\x02\x12\x06\x0a\x01\x01\x12\x01\x05\x32\x00\x32\x04work\x32\x02ms",
}


@pytest.mark.parametrize("name", BEGINNINGS)
def test_every_format_knows_its_own(tmp_path: Path, name: str) -> None:
    path = tmp_path / "capture"
    path.write_bytes(BEGINNINGS[name])
    found, _ = recognise(path)
    assert found.name == name
    path.write_bytes(gzip.compress(BEGINNINGS[name]))
    assert recognise(path)[0] is found


@pytest.mark.parametrize(
    "data", [b"", b"\x7fELF\x02\x01\x01", b"just words\nand more\n", b"PERFFILE", b"{}", b"\n", b"\n\0\0junk"]
)
def test_what_is_no_capture_is_taken_for_none(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "capture"
    path.write_bytes(data)
    with pytest.raises(TraceFormatError, match="no capture that is known"):
        recognise(path)


@pytest.mark.parametrize(
    ("capture", "name"),
    [
        ("hiperf_fp.uncompress.data", "perf-data"),
        ("pdc_perf.data.piped.target-3.8", "perf-data"),
        ("flamegraph_example-perf-stacks.txt.gz", "perf-script"),
        ("flamegraph_perf-cycles-instructions-01.txt", "perf-script"),
        ("flamegraph_perf-iperf-stacks-pidtid-01.txt", "perf-script"),
        ("flamegraph_perf-java-stacks-01.txt", "perf-script"),
        ("flamegraph_perf-rust-Yamakaky-dcpu.txt", "perf-script"),
        ("speedscope_system-wide.linux-perf.txt", "perf-script"),
        ("hiperf_report_test_callstack.txt", "hiperf-report"),
        ("inferno_example-perf-stacks-collapsed.txt", "folded"),
        ("speedscope_callgrind.name-compression.log", "callgrind"),
        ("hitrace-bench_v1.ftrace", "ftrace"),
        ("catapult_android_systrace.txt", "ftrace"),
        ("smartperf_zlib.htrace", "ftrace"),
        ("smartperf_pbreader_ffrt.htrace", "htrace"),
        ("procfs/stat", "proc"),
        ("inferno_example-perf-stacks.svg", "flamegraph-svg"),
        ("speedscope_simple.speedscope.json", "speedscope"),
        ("speedscope_simple.prof", "pprof"),
    ],
)
def test_other_peoples_captures_are_recognised(capture: str, name: str) -> None:
    assert recognise(captured(capture))[0].name == name


def test_the_loop_is_told_what_was_lost_of_no_event(tmp_path: Path) -> None:
    writer = PerfWriter()
    writer.mmap(7, 0x400000, 0x1000, 0, "/srv/program")
    writer.sample(1, 7, [0x400004])
    writer.record(2, writer.pack("QQ", 100, 44) + writer.trailer(7, 26))
    path = tmp_path / "perf.data"
    path.write_bytes(writer.file())
    table = registry.parse("perf-data", path)
    assert table.skipped == {
        perf_records.LOST_BY_KERNEL: 44, perf_places.UNSYMBOLISED: 1, symbol_files.NO_SYMBOL_FILE: 1,
    }  # fmt: skip
    path.write_bytes(PerfWriter().file())
    with pytest.raises(TraceFormatError, match=r"perf\.data: no samples: the file has none"):
        registry.parse("perf-data", path)
