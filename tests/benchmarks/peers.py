# SPDX-License-Identifier: Apache-2.0
"""Other programs side by side with ours: the same capture, the same answer, and what either costs in CPU time.

Programs that are not here have no row: perf and trace-cmd are packages of most distributions, perf brings its own
stackcollapse.py, and npm's `stackvis` a stackcollapse-perf.
"""

from __future__ import annotations

import gzip
import io
import re
import resource
import shutil
import struct
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from git_hmopt.runtime import call_graph, fold
from git_hmopt.runtime.call_graph import CallGraph
from git_hmopt.traces import perf_data, perf_script, trace_cmd
from git_hmopt.traces.capture import LOST_EVENTS, Losses
from git_hmopt.traces.source import Source
from git_hmopt.traces.symbol_files import SymbolFiles
from git_hmopt.traces.tables import Samples
from tests.benchmarks.table import Row
from tests.traces import raw_traces
from tests.traces.perf_writer import large

FIXTURE = Path(__file__).parents[1] / "traces/fixtures/linux-6.18.sys.gz"
COLLAPSE_SCRIPTS = (
    Path("/usr/lib/perf-core/scripts/python/stackcollapse.py"),
    Path("/usr/libexec/perf-core/scripts/python/stackcollapse.py"),
)
PAGE = 4096
_REPORTED = re.compile(r"-(\d+) +\[(\d+)\] +(\d+)\.(\d{9}): (\w+):", re.ASCII)


def seconds(work: Callable[[], object], *, rounds: int) -> float:
    """Return the least CPU time of a few rounds, of this process and those it waited for."""
    best = float("inf")
    for _ in range(rounds):
        start = time.process_time() + _children()
        work()
        best = min(best, time.process_time() + _children() - start)
    return best


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _output(*command: str | Path, stdin: bytes = b"") -> bytes:
    done = subprocess.run(command, input=stdin, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)
    return done.stdout


# -- perf.data -------------------------------------------------------------------------------------------------------


def samples_of(path: Path, symfs: Path | None = None) -> Samples:
    """Read the only event of a perf.data, with names from the files below `symfs`."""
    capture = perf_data.FORMAT.read(Source(path, SymbolFiles(symfs=symfs)))
    assert capture.read_samples is not None
    (table,) = capture.read_samples(Counter())
    return table


def graph_of(path: Path, symfs: Path | None = None) -> CallGraph:
    """Read a perf.data into its call graph."""
    return call_graph.from_samples(samples_of(path, symfs))


def perf_peers(directory: Path, *, samples: int, stacks: int, depth: int, rounds: int) -> Iterator[Row]:
    """Yield what perf report and collapsers cost of the same perf.data, with ours as a share of it."""
    path = directory / "peers.data"
    path.write_bytes(large(samples, stacks=stacks, depth=depth))
    if shutil.which("perf") is None:
        return
    graph, reported = graph_of(path), _reported(path, "--no-children")
    ours_by_place = {_placed(symbol): cost for symbol, cost in graph.self_cost.items() if cost}
    assert reported == ours_by_place, "perf report has other self costs"
    ours = seconds(lambda: graph_of(path), rounds=rounds)
    for what, option in (("", "--no-children"), (" with callers' shares", "--children")):
        theirs = seconds(lambda option=option: _reported(path, option), rounds=1)  # type: ignore[misc]
        yield Row(f"perf.data, to perf report{what}", round(ours / theirs, 3), "x")
    yield from _collapsers(path, rounds=rounds)


def _reported(path: Path, children: str) -> Mapping[tuple[str, int], int]:
    """Return the self cost by object and address that perf report prints."""
    text = _output("perf", "report", "--stdio", "-i", path, children, "-g", "none", "-F", "period,dso,sym").decode()
    rows = (line.split() for line in text.splitlines() if line.strip() and not line.startswith("#"))
    return {(row[1], int(row[-1], 16)): int(row[0]) for row in rows if int(row[0])}


def _placed(symbol: str) -> tuple[str, int]:
    place, _, offset = symbol.rpartition("+")
    return place.rpartition("/")[2], int(offset, 16)


def _collapsers(path: Path, *, rounds: int) -> Iterator[Row]:
    depths = _depths_of(samples_of(path))
    ours = seconds(lambda: fold.folded(samples_of(path)), rounds=rounds)
    script = next((one for one in COLLAPSE_SCRIPTS if one.exists()), None)
    if script is not None:
        command = ("perf", "script", "-s", script, "-i", path)
        assert _depths(_output(*command).decode()) == depths, "perf's stackcollapse.py has other stacks"
        theirs = seconds(lambda: _output(*command), rounds=1)
        yield Row("perf.data to folded stacks, to perf's stackcollapse.py", round(ours / theirs, 3), "x")
    if (program := shutil.which("stackcollapse-perf")) is not None:
        text = _output("perf", "script", "-i", path, "-F", "comm,tid,time,period,event,ip,sym,dso")
        assert _depths(_output(program, stdin=text).decode(), separator=",") == depths, "stackvis has other stacks"
        theirs = seconds(lambda: _output(program, stdin=text), rounds=1)
        parsed = seconds(lambda: fold.folded(perf_script.parse(io.BytesIO(text))), rounds=rounds)
        yield Row("perf script's text to folded stacks, to stackvis", round(parsed / theirs, 3), "x")


def _depths(text: str, *, separator: str = ";") -> Counter[int]:
    """Return how many samples have so many frames: what nothing has a symbol for is called the same everywhere."""
    found: Counter[int] = Counter()
    for line in text.splitlines():
        stack, _, count = line.rpartition(" ")
        # Of perf's collapser the first is the thread's name; the other one has it in every frame.
        found[stack.count(separator) + (separator == ",")] += int(count)
    return found


def _depths_of(table: Samples) -> Counter[int]:
    found: Counter[int] = Counter()
    for index, count in table.rows.group_by("stack").len().iter_rows():
        found[len(table.stacks[index])] += count
    return found


# -- trace-cmd -------------------------------------------------------------------------------------------------------


def trace_cmd_peer(directory: Path, *, repeated: int, rounds: int) -> Iterator[Row]:
    """Yield what `trace-cmd report` costs of the same .dat, with ours as a share of it."""
    if shutil.which("trace-cmd") is None:
        return
    path = directory / "peer.dat"
    path.write_bytes(_dat(repeated))
    command = ("trace-cmd", "report", "-N", "-t", path)
    told = [
        found for line in _output(*command).decode(errors="replace").splitlines() if (found := _REPORTED.search(line))
    ]
    theirs = sorted((int(one[3] + one[4]), int(one[2]), int(one[1])) for one in told)
    assert theirs == sorted(_events(path)), "trace-cmd reports other events"
    assert len(theirs) > 400 * repeated
    ours = seconds(lambda: sum(1 for _ in _read(path)), rounds=rounds)
    cost = seconds(lambda: _output(*command), rounds=1)
    yield Row("trace-cmd's .dat", round(path.stat().st_size / 1e6, 1), "MB")
    yield Row(".dat into events, to trace-cmd report", round(ours / cost, 3), "x")


def _dat(repeated: int) -> bytes:
    """Return a .dat with the pages of a recording over and over, each time later."""
    content, segments, at = gzip.decompress(FIXTURE.read_bytes()), {}, 12
    while at < len(content):
        kind, length = struct.unpack_from("<BxxxI", content, at)
        segments[kind] = content[at + 8 : at + 8 + length]
        at += 8 + length
    pages = {kind - 4: data for kind, data in segments.items() if 4 <= kind < 30}
    lasts = 1_000_000_000
    later = {
        cpu: b"".join(
            struct.pack("<Q", int.from_bytes(data[at : at + 8], "little") + turn * lasts) + data[at + 8 : at + PAGE]
            for turn in range(repeated)
            for at in range(0, len(data), PAGE)
        )
        for cpu, data in pages.items()
    }
    formats, comms, symbols = (segments[kind].decode() for kind in (1, 2, 32))
    return raw_traces.trace_cmd(formats, later, comms=comms, symbols=symbols)


def _read(path: Path) -> Iterator[object]:
    capture = trace_cmd.FORMAT.read(Source(path))
    assert capture.read_events is not None
    return capture.read_events(Losses())


def _events(path: Path) -> Iterator[tuple[int, int, int]]:
    capture = trace_cmd.FORMAT.read(Source(path))
    assert capture.read_events is not None
    for frame in capture.read_events(Losses()):
        for ts, cpu, tid, name in frame.select("ts_ns", "cpu", "tid", "name").iter_rows():
            if name != LOST_EVENTS:
                yield ts, cpu, tid
