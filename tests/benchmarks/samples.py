# SPDX-License-Identifier: Apache-2.0
"""What it costs to read sampled profiles into a call graph: perf.data and folded stacks.

`python tests/benchmarks/samples.py [--quick] [--json]`; exits 1 when a budget is missed. The perf.data is written from
its layout: a million samples, 200,000 when quick, every 50 of them with the same stack. perf script reads a tenth of
them in the same run, since it also has to print them; and with it comes what a reader of its text has to do then.
perf report, perf's stackcollapse.py, stackvis and trace-cmd report, where they are, read what we read, and their answer
has to be ours.
"""

from __future__ import annotations

import io
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT)]

from git_hmopt.runtime import call_graph  # noqa: E402 - the path above makes it importable
from git_hmopt.runtime.call_graph import CallGraph  # noqa: E402
from git_hmopt.traces import folded, perf_script  # noqa: E402
from tests.benchmarks.peers import graph_of, perf_peers, seconds, trace_cmd_peer  # noqa: E402
from tests.benchmarks.table import Row, benchmark_parser, told  # noqa: E402
from tests.traces.elf_writer import ElfWriter, Symbol  # noqa: E402
from tests.traces.perf_writer import large  # noqa: E402

NAME = "samples"
SAMPLES_A_STACK, DEPTH = 50, 16
PEAK = """
import re, sys
from pathlib import Path
from tests.benchmarks.samples import graph_of
graph_of(Path(sys.argv[1]))
print(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
"""


def perf_rows(directory: Path, *, samples: int, rounds: int) -> Iterator[Row]:
    """Yield what a sample costs, the memory, and the ratio to perf script."""
    path, part = directory / "perf.data", directory / "part.data"
    # Before the capture: what was touched since is not used.
    root = objects(directory / "root")
    path.write_bytes(large(samples, stacks=samples // SAMPLES_A_STACK, depth=DEPTH))
    cost = seconds(lambda: graph_of(path), rounds=rounds)
    yield Row("perf.data into a call graph, a sample", 1e6 * cost / samples, "us")
    assert sum("function_" in symbol for symbol in graph_of(path, root).self_cost) > 1000
    named = seconds(lambda: graph_of(path, root), rounds=rounds)
    yield Row("perf.data with names out of files, a sample", 1e6 * named / samples, "us")
    peak = subprocess.run([sys.executable, "-c", PEAK, str(path)], cwd=ROOT, capture_output=True, check=True)
    yield Row("perf.data, memory at most", int(peak.stdout) / 1024, "MiB")
    if shutil.which("perf") is None:
        return
    few = samples // 10
    part.write_bytes(large(few, stacks=few // SAMPLES_A_STACK, depth=DEPTH))
    assert graph_of(part).total == _through_perf_script(part).total
    ours = seconds(lambda: graph_of(part), rounds=rounds)
    printed = seconds(lambda: _printed(part), rounds=1)
    through = seconds(lambda: _through_perf_script(part), rounds=1)
    yield Row("perf.data, to perf script alone", ours / printed, "x")
    yield Row("perf.data, to perf script and its text parsed", ours / through, "x")


def objects(root: Path) -> Path:
    """Write the program and the library that `large` maps, with a function every 64 bytes."""
    for name, address, offset in (("srv/program", 0x400100, 0x100), ("usr/lib/libwork.so", 0x1000, 0x1000)):
        path = root / name
        path.parent.mkdir(parents=True)
        symbols = [Symbol(f"function_{number}", address + 64 * number, 64) for number in range(2000)]
        size = 0x200000 - offset % 0x1000
        path.write_bytes(ElfWriter(symbols, address=address, offset=offset, size=size).file())
    return root


def _printed(path: Path) -> bytes:
    command = ["perf", "script", "-i", str(path), "--ns", "-F", perf_script.FIELDS]
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True).stdout


def _through_perf_script(path: Path) -> CallGraph:
    return call_graph.from_samples(perf_script.parse(io.BytesIO(_printed(path))))


def folded_rows(*, lines: int, rounds: int) -> Iterator[Row]:
    """Yield what folded stacks cost, every line another stack as collapsers write them."""
    chance = random.Random(1)
    words = ("irq", "page", "sched", "vfs", "read", "write", "lock", "alloc", "queue", "timer", "skb", "inode")
    names = ["_".join(chance.choices(words, k=3)) + str(number) for number in range(3000)]
    stacks = (";".join(chance.choices(names, k=chance.randrange(4, 28))) for _ in range(lines))
    data = "".join(f"{stack} {chance.randrange(1, 99)}\n" for stack in stacks).encode()
    cost = seconds(lambda: folded.parse(io.BytesIO(data)), rounds=rounds)
    yield Row("folded stacks, a megabyte", 1e3 * cost / (len(data) / 1e6), "ms")


def main() -> int:
    """Measure and print."""
    options = benchmark_parser(__doc__).parse_args()
    samples, lines, rounds = (200_000, 50_000, 2) if options.quick else (1_000_000, 150_000, 3)
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        rows = [
            *perf_rows(place, samples=samples, rounds=rounds),
            *folded_rows(lines=lines, rounds=rounds),
            *perf_peers(place, samples=samples // 10, stacks=samples // 500, depth=DEPTH, rounds=rounds),
            *trace_cmd_peer(place, repeated=100 if options.quick else 400, rounds=rounds),
        ]
    return told(NAME, rows, as_json=options.json)


if __name__ == "__main__":
    sys.exit(main())
