# SPDX-License-Identifier: Apache-2.0
"""perf.data against what perf script says of the same bytes, sample by sample, and hiperf's against its own report.

What is compared here is the capture alone: where in which object each frame is. Names out of files are compared in
test_perf_names_oracle.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pytest

from git_hmopt.runtime import call_graph
from git_hmopt.traces import hiperf_report, perf_data, perf_places, perf_records
from git_hmopt.traces.capture import Losses
from git_hmopt.traces.source import Source
from git_hmopt.traces.tables import UNKNOWN, Samples
from tests.traces.captures import captured

PROGRAM = """
#include <sys/wait.h>
#include <unistd.h>
#define KEEP __attribute__((noinline))
static volatile unsigned long sink;
KEEP void leaf(unsigned long n) { for (unsigned long i = 0; i < n; i++) sink += i; }
KEEP void deep(int n) { if (n) deep(n - 1); leaf(100000); sink++; }
int main(void)
{
    for (int i = 0; i < 6; i++) {
        deep(8);
        if (!fork()) { leaf(1000000); execl("/bin/true", "true", (char *)0); }
        wait(0);
    }
    return 0;
}
"""
SAMPLE = re.compile(
    r"\s*(?P<pid>-?\d+)/(?P<tid>-?\d+)\s+(?P<sec>\d+)\.(?P<ns>\d{9}):\s+(?P<period>\d+)\s+(?P<event>\S+):\s*"
)
FRAME = re.compile(r"\s*(?P<ip>[0-9a-f]+) (?P<symbol>.+?) \((?P<object>[/\[].*)\)\s*")
MAPPED = re.compile(
    r".*PERF_RECORD_MMAP2? (?P<pid>-?\d+)/-?\d+: \[(?P<start>0x[0-9a-f]+|0)\((?P<size>0x[0-9a-f]+|0)\) @ "
    r"(?P<offset>0x[0-9a-f]+|0)[^\]]*\]: \S+ (?P<object>.*)"
)


@dataclass
class Said:
    """One sample as perf script tells it: the addresses leaf first, with the object of each."""

    time: int
    pid: int
    tid: int
    period: int
    event: str
    frames: list[tuple[int, str]]


def perf(*arguments: str, cwd: Path) -> str:
    done = subprocess.run(["perf", *arguments], cwd=cwd, capture_output=True, text=True, check=True, timeout=120)
    return done.stdout


def said(path: Path) -> Iterator[Said]:
    fields = "pid,tid,time,period,event,ip,sym,dso"
    sample: Said | None = None
    for line in perf("script", "-i", str(path), "--ns", "-F", fields, cwd=path.parent).splitlines():
        start = SAMPLE.match(line)
        frame = FRAME.fullmatch(line[start.end() :] if start else line)
        if start:
            time = int(start["sec"]) * 10**9 + int(start["ns"])
            sample = Said(time, int(start["pid"]), int(start["tid"]), int(start["period"]), start["event"], [])
            yield sample
        if frame and sample is not None:
            sample.frames.append((int(frame["ip"], 16), frame["object"]))


def mapped(path: Path) -> list[tuple[int, int, int, int, str]]:
    """Return what perf says was mapped: pid, start, end, offset and object."""
    found = []
    for line in perf("script", "-i", str(path), "--show-mmap-events", cwd=path.parent).splitlines():
        match = MAPPED.fullmatch(line)
        if match:
            start, size, offset = (int(match[name], 16) for name in ("start", "size", "offset"))
            found.append((int(match["pid"]), start, start + size, offset, match["object"].strip()))
    return found


def read(path: Path) -> tuple[list[Samples], Losses]:
    losses: Losses = Counter()
    capture = perf_data.FORMAT.read(Source(path, symbols=None))
    assert capture.read_samples is not None
    return list(capture.read_samples(losses)), losses


def assert_equal_to_perf_script(path: Path) -> Counter[str]:
    """Compare every sample and every frame; return how many samples of each event there were."""
    tables, losses = read(path)
    theirs = sorted(said(path), key=lambda one: one.time)
    maps = mapped(path)
    counted: Counter[str] = Counter()
    for table in tables:
        own = [one for one in theirs if one.event.split(":")[0] == table.event.split(":")[0]]
        rows = list(zip(table.ts_ns, table.pid, table.tid, table.weight, table.stack, strict=True))
        assert sorted(row[:4] for row in rows) == sorted((one.time, one.pid, one.tid, one.period) for one in own)
        # perf prints no frame of a sample without a stack; its address is known all the same.
        assert [len(table.stacks[row[4]]) for row in rows] == [len(one.frames) or 1 for one in own]
        for row, one in zip(rows, own, strict=True):
            for index, (address, object_) in zip(reversed(table.stacks[row[4]]), one.frames, strict=bool(one.frames)):
                frame = table.frames[index]
                if object_ == UNKNOWN or object_.startswith("[guest"):
                    continue
                if object_.startswith("["):
                    # perf shows modules of the kernel by their names in brackets.
                    assert frame.object == object_ or Path(frame.object).stem.replace("-", "_") == object_.strip("[]")
                    continue
                if frame.object == "//anon":
                    # perf looks for the names of compiled code in a file of the host.
                    assert re.fullmatch(r"//anon|/tmp/perf-\d+\.map", object_)
                    continue
                assert frame.object == object_
                # In stacks perf prints where in the object a frame is, without stacks its address.
                offsets = {address - m[1] + m[3] for m in maps if m[4] == object_ and m[1] <= address < m[2]}
                offsets.add(address)
                assert frame.symbol in {f"{object_}+0x{offset:x}" for offset in offsets}
        counted[table.event] += len(table)
    assert sum(counted.values()) == len(theirs) > 0
    assert not losses[perf_records.BAD_SAMPLE]
    return counted


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build a small program that recurses, forks and executes another."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if shutil.which("perf") is None or compiler is None:
        pytest.skip("needs perf and a C compiler, and one of them is not installed")
    there = tmp_path_factory.mktemp("perf-data")
    (there / "p.c").write_text(PROGRAM)
    build = [compiler, "-O0", "-fno-omit-frame-pointer", "-o", "p", "p.c"]
    subprocess.run(build, cwd=there, check=True, timeout=60)
    return there


def recorded(program: Path, name: str, *options: str, output: str | None = None) -> Path:
    path = program / name
    command = ["perf", "record", "-F", "4999", *options, "-o", output or name, "./p"]
    with path.open("wb") if output else (program / "log").open("wb") as stream:
        done = subprocess.run(command, cwd=program, stdout=stream, stderr=subprocess.PIPE, timeout=120)
    if done.returncode != 0:
        pytest.skip(f"perf cannot record here: {done.stderr.decode()[-200:]}")
    return path


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("flat", ("-e", "cpu-clock")),
        ("stacks", ("-g", "-e", "cpu-clock")),
        ("two-events", ("-g", "-e", "cpu-clock", "-e", "page-faults")),
        ("grouped", ("-g", "-e", "{cpu-clock,page-faults}:S")),
        ("everything", ("-g", "-a", "-d", "--sample-cpu", "-e", "cpu-clock")),
    ],
)
def test_what_perf_records_here_reads_as_perf_script_reads_it(
    program: Path, name: str, options: tuple[str, ...]
) -> None:
    counted = assert_equal_to_perf_script(recorded(program, name, *options))
    assert counted["cpu-clock"] > 5


def test_compressed_records_are_read(program: Path) -> None:
    path = recorded(program, "compressed", "-z", "-g", "-e", "cpu-clock")
    assert_equal_to_perf_script(path)
    _, losses = read(path)
    assert not any("compressed" in reason for reason in losses)


def test_a_pipe_is_read(program: Path) -> None:
    assert_equal_to_perf_script(recorded(program, "pipe", "-g", "-e", "cpu-clock", output="-"))


def test_user_stacks_as_memory_are_counted_as_not_unwound(program: Path) -> None:
    path = recorded(program, "memory", "--call-graph", "dwarf", "-e", "cpu-clock")
    tables, losses = read(path)
    assert losses[perf_records.NOT_UNWOUND] == sum(len(table) for table in tables) > 0
    theirs = list(said(path))
    assert sorted(time for table in tables for time in table.ts_ns if time) == sorted(one.time for one in theirs)


@pytest.mark.parametrize(
    ("name", "samples"),
    [
        ("pdc_single-event-single-process.perf.data", 45937),
        ("pdc_perf.data.systemwide.0-3.8", 28),
        ("pdc_perf.data.piped.target-3.8", 5218),
    ],
)
def test_other_peoples_captures_read_as_perf_script_reads_them(name: str, samples: int) -> None:
    if shutil.which("perf") is None:
        pytest.skip("needs perf, and it is not installed")
    assert sum(assert_equal_to_perf_script(captured(name)).values()) == samples


@pytest.mark.parametrize("name", ["hiperf_fp.uncompress.data", "hiperf_perf.data", "hiperf_report_test.data"])
def test_hiperf_captures_have_the_samples_perf_script_finds(name: str) -> None:
    if shutil.which("perf") is None:
        pytest.skip("needs perf, and it is not installed")
    path = captured(name)
    (table,), _ = read(path)
    theirs = sorted(said(path), key=lambda one: one.time)
    ours = sorted(zip(table.ts_ns, table.pid, table.tid, table.weight, strict=True))
    assert ours == sorted((one.time, one.pid, one.tid, one.period) for one in theirs)
    depths = Counter(len(table.stacks[index]) for index in table.stack)
    assert depths == Counter(len(one.frames) or 1 for one in theirs)


def test_a_hiperf_capture_has_the_costs_of_hiperfs_own_report() -> None:
    (ours,), _ = read(captured("hiperf_report_test.data"))
    (theirs,) = hiperf_report.parse_text(captured("hiperf_report_test_i.txt").read_bytes().splitlines(keepends=True))
    assert len(ours) == 20
    assert ours.total() == theirs.total() == 271_445
    assert call_graph.from_samples(ours).self_cost == call_graph.from_samples(theirs).self_cost
    by_thread = [table.rows.group_by("tid").agg(pl.col("weight").sum()).sort("tid") for table in (ours, theirs)]
    assert by_thread[0].rows() == by_thread[1].rows()


@pytest.mark.parametrize(
    ("name", "samples", "stacks_missing"),
    [
        ("hiperf_fp.compress.data", 25, 0),
        ("hiperf_dwarf.compress.data", 16, 0),
        ("smartperf_perfCompressed.data", 378, 0),
    ],
)
def test_deduplicated_stacks_are_found_in_their_table(name: str, samples: int, stacks_missing: int) -> None:
    (table,), losses = read(captured(name))
    assert len(table) == samples
    assert losses["sample whose deduplicated stack is not in the file"] == stacks_missing
    assert max(len(stack) for stack in table.stacks) > 5
    named = [frame for frame in table.frames if "+0x" not in frame.symbol]
    assert len(named) > len(table.frames) / 4
    assert losses[perf_places.UNMAPPED] < len(table)
