# SPDX-License-Identifier: Apache-2.0
"""What it costs to turn a text trace into all KPIs, against a bare two-column pass by the same engine.

`python tests/benchmarks/traces.py [--quick] [--json]`; exits 1 when a budget is missed. The trace is made from a
template of a phone's rendering, 300 MB of it (150 MB when quick). Machines are shared, so the passes take turns and the
fastest of each counts; what has a budget besides the time per MB is the ratio. Memory is that of a process of its own.
Kernel logs and OpenHarmony's .htrace are read into events, by CPU time: other readers of this process take turns, too.

With --gigabytes N nothing but a trace of that size is read, by the command itself in a process of its own: how fast,
and with how much memory. It is written below TMPDIR, and removed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT)]

from git_hmopt.runtime.kpis import Kpis, kpis  # noqa: E402 - the path above makes it importable
from git_hmopt.traces.capture import Losses  # noqa: E402
from git_hmopt.traces.ftrace_text import FORMAT  # noqa: E402
from git_hmopt.traces.sniff import open_capture  # noqa: E402
from git_hmopt.traces.source import Source  # noqa: E402
from tests.benchmarks.made_captures import LOGS, write_htrace, write_log, write_repeated  # noqa: E402
from tests.benchmarks.table import Row, benchmark_parser, told  # noqa: E402

NAME, LARGE = "traces", "traces-large"
TURNS = 3
CPUS = 8
APPS = 6
FRAME_US = 8_333
LINE = r"-(\d+)\s+\(?\s*(?:\d+|-+)?\)?\s?\[\d+\]\s*[a-zA-Z0-9.]{0,5}\s+(\d+\.\d+):\s+\S+:"
"""What trace_streamer tells a line of ftrace by, with two columns of it: the thread and the time."""
LEAST = r"\s(\d+\.\d+): (\w+):"
"""The least that finds two columns, the time and the event; it takes much for a line that is none."""
MEMORY = """
import sys
from pathlib import Path
from git_hmopt.runtime.kpis import kpis
from git_hmopt.traces.ftrace_text import FORMAT
from git_hmopt.traces.source import Source
def peak():
    # What getrusage() says is the parent's, when that was larger.
    status = Path("/proc/self/status").read_text()
    return status.partition("VmHWM:")[2].split()[0]
before = peak()
kpis(FORMAT.read(Source(Path(sys.argv[1]))))
print(before, peak())
"""


def frame_lines(number: int, start: int) -> Iterator[tuple[int, str]]:
    """Yield what a phone's kernel and programs write in the time of one frame, as microseconds and text."""
    us = start
    idle, render = "<idle>-0     (-----)", "render_service-1045  ( 1045)"
    cpu = number % CPUS
    now = f"now:{us * 1000 - 300_000} expectedEnd:{us * 1000 + 16_000_000} vsyncId:{number}"
    yield us, f"{idle} [{cpu:03}] d..2. {{}}: sched_wakeup: comm=render_service pid=1045 prio=98 target_cpu=00{cpu}"
    yield us + 20, _switch(idle, cpu, ("swapper/" + str(cpu), 0, "R"), ("render_service", 1045))
    yield (
        us + 40,
        f"{render} [{cpu:03}] ..... {{}}: tracing_mark_write: B|1045|H:ReceiveVsync dataCount:24bytes {now}|M0538",
    )
    yield (
        us + 50,
        f"{render} [{cpu:03}] ..... {{}}: tracing_mark_write: B|1045|H:RSMainThread::DoComposition: {us}|M0538",
    )
    for burst in range(24):
        yield from _work(us + 60 + burst * 300, (number + burst) % CPUS, (number + burst) % APPS)
    yield us + 7_400, f"{render} [{cpu:03}] ..... {{}}: tracing_mark_write: E|1045|M0538"
    yield us + 7_410, f"{render} [{cpu:03}] ..... {{}}: tracing_mark_write: E|1045|M0538"
    yield (
        us + 7_420,
        f"{render} [{cpu:03}] ..... {{}}: tracing_mark_write: B|1045|H:Waiting for Present Fence {number}|M0538",
    )
    yield us + 7_440, f"{render} [{cpu:03}] ..... {{}}: tracing_mark_write: E|1045|M0538"
    yield us + 7_460, _switch(render, cpu, ("render_service", 1045, "S"), (f"swapper/{cpu}", 0))
    yield (
        us + 7_500,
        f"{idle} [{cpu:03}] d..1. {{}}: cpu_frequency: state={840_000 + number % 5 * 200_000} cpu_id={cpu}",
    )


def _work(us: int, cpu: int, app: int) -> Iterator[tuple[int, str]]:
    """Yield one burst of an application's work: it is woken, runs, is interrupted, and sleeps."""
    tid = 4000 + app * 10 + cpu
    idle, thread = "<idle>-0     (-----)", f"com.example.ap-{tid}  ( {4000 + app * 10})"
    yield us, f"{idle} [{cpu:03}] d..1. {{}}: cpu_idle: state=4294967295 cpu_id={cpu}"
    yield (
        us + 3,
        f"{idle} [{cpu:03}] dNh4. {{}}: sched_wakeup: comm=com.example.ap pid={tid} prio=120 target_cpu=00{cpu}",
    )
    yield us + 9, _switch(idle, cpu, (f"swapper/{cpu}", 0, "R"), ("com.example.ap", tid))
    mark = f"{thread} [{cpu:03}] ..... {{}}: tracing_mark_write:"
    yield us + 14, f"{mark} B|{tid}|H:void OHOS::Ace::UITaskScheduler::FlushTask(uint64_t) {us}|M0039"
    yield us + 30, f"{mark} B|{tid}|H:layout node {us % 977}|M0039"
    yield us + 41, f"{thread} [{cpu:03}] d.h1. {{}}: irq_handler_entry: irq=94 name=kirq"
    yield us + 44, f"{thread} [{cpu:03}] d.h1. {{}}: softirq_raise: vec=6 [action=TASKLET]"
    yield us + 48, f"{thread} [{cpu:03}] d.h1. {{}}: irq_handler_exit: irq=94 ret=handled"
    yield us + 50, f"{thread} [{cpu:03}] ..s1. {{}}: softirq_entry: vec=6 [action=TASKLET]"
    yield us + 59, f"{thread} [{cpu:03}] ..s1. {{}}: softirq_exit: vec=6 [action=TASKLET]"
    yield us + 70, f"{mark} E|{tid}|M0039"
    yield us + 80, f"{mark} E|{tid}|M0039"
    yield (
        us + 95,
        f"{thread} [{cpu:03}] d..2. {{}}: sched_blocked_reason: pid={tid} iowait=0 caller=futex_wait+0x14/0x1e delay=7",
    )
    yield us + 99, _switch(thread, cpu, ("com.example.ap", tid, "S"), (f"swapper/{cpu}", 0))
    yield us + 110, f"{idle} [{cpu:03}] d..1. {{}}: cpu_idle: state=1 cpu_id={cpu}"


def _switch(task: str, cpu: int, prev: tuple[str, int, str], following: tuple[str, int]) -> str:
    return (
        f"{task} [{cpu:03}] d..2. {{}}: sched_switch: prev_comm={prev[0]} prev_pid={prev[1]} prev_prio=120 "
        f"prev_state={prev[2]} ==> next_comm={following[0]} next_pid={following[1]} next_prio=120"
    )


HEADER = "# tracer: nop\n#\n#           TASK-PID    TGID   CPU#  |||||  TIMESTAMP  FUNCTION\n"
FIRST_US = 88_026_000_000
TEMPLATE_FRAMES = 500


def frames(number: int, count: int, us: int) -> tuple[str, int]:
    """Return the lines of so many frames from `number` on, and the time of the next one."""
    texts = []
    for one in range(number, number + count):
        lines = sorted(frame_lines(one, us), key=lambda line: line[0])
        texts += [f" {text.format(f'{at // 10**6}.{at % 10**6:06}')}\n" for at, text in lines]
        us += FRAME_US if one % 50 else 3 * FRAME_US
    return "".join(texts), us


def write_trace(path: Path, megabytes: int) -> None:
    """Write a trace of about that size."""
    with path.open("w") as file:
        file.write(HEADER)
        number, us = 1, FIRST_US
        while file.tell() < megabytes * 1_000_000:
            text, us = frames(number, 200, us)
            file.write(text)
            number += 200


def bare(path: Path, expression: str = LINE) -> pl.DataFrame:
    """Find two columns in every line, and nothing else."""
    columns = pl.col("line").str.extract_groups(expression).struct.unnest()
    lines = pl.scan_lines(path, name="line").select(columns)
    return lines.select(pl.col("1").count(), pl.col("2").n_unique()).collect(engine="streaming")


def barest(path: Path) -> pl.DataFrame:
    """Find two columns with the least expression."""
    return bare(path, LEAST)


def parsed(path: Path) -> int:
    """Read all events and drop them."""
    capture = FORMAT.read(Source(path))
    assert capture.read_events is not None
    return sum(len(frame) for frame in capture.read_events(Losses()))


def all_kpis(path: Path) -> Kpis:
    """Read all events into all KPIs."""
    return kpis(FORMAT.read(Source(path)))


def fastest(passes: dict[str, Callable[[Path], object]], path: Path) -> dict[str, tuple[float, float]]:
    """Return the least seconds, elapsed and of the CPUs, of each pass; the passes take turns."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in passes}
    for _ in range(TURNS):
        for name, one in passes.items():
            began, cpu = time.perf_counter(), time.process_time()
            one(path)
            times[name].append((time.perf_counter() - began, time.process_time() - cpu))
    return {name: (min(wall for wall, _ in taken), min(cpu for _, cpu in taken)) for name, taken in times.items()}


def memory(path: Path) -> tuple[int, int]:
    """Return the peak memory, in KiB, before and after a process reads the trace into all KPIs."""
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, str(path)], capture_output=True, text=True, check=True, cwd=ROOT
    )
    before, after = done.stdout.split()
    return int(before), int(after)


def read_events(path: Path) -> int:
    """Read all events of a capture of any format, and drop them; none of them may be lost."""
    losses = Losses()
    capture = open_capture(path)
    assert capture.read_events is not None
    count = sum(len(frame) for frame in capture.read_events(losses))
    assert count and not losses, f"the benchmark's own capture has losses: {losses}"
    return count


def format_rows(scratch: Path, *, megabytes: float) -> Iterator[Row]:
    """Yield how fast other formats are read into events."""
    for dialect, line in LOGS.items():
        path = scratch / "a.log"
        write_log(path, megabytes, line)
        yield from _speed(f"kernel log, {dialect}", path)
    path = scratch / "a.htrace"
    write_htrace(path, megabytes / 2)
    yield from _speed(".htrace", path)


def _speed(what: str, path: Path) -> Iterator[Row]:
    size = path.stat().st_size / 1_000_000
    (wall, cpu) = fastest({what: read_events}, path)[what]
    # Budgets are the most that a number may be: so they are of the time, not of the speed.
    yield Row(f"{what}, 1,000 MB, CPU time", round(1000 * cpu / size, 2), "s")
    yield Row(f"{what}, MB a second", round(size / wall, 1), "1/s")


def large_rows(scratch: Path, gigabytes: float) -> Iterator[Row]:
    """Yield what it costs to have `git hmopt kpis` read a trace that is larger than memory should be."""
    path = scratch / "large.ftrace"
    text, after = frames(100_001, TEMPLATE_FRAMES, FIRST_US)
    size = write_repeated(path, gigabytes, text.encode(), after - FIRST_US) / 1_000_000
    began = time.perf_counter()
    child = subprocess.Popen(
        [sys.executable, "-m", "git_hmopt.cli.main", "kpis", str(path), "--json"], stdout=subprocess.PIPE, cwd=ROOT
    )
    assert child.stdout is not None
    answer = json.loads(child.stdout.read())
    child.stdout.close()
    _, status, used = os.wait4(child.pid, 0)
    took = time.perf_counter() - began
    child.returncode = os.waitstatus_to_exitcode(status)
    assert child.returncode == 0
    known = {one["name"]: one["value"] for one in answer["records"] if one["who"] == "all"}
    expected = text.count("\n") * round(size * 1_000_000 / len(text))
    assert answer["events"] == expected, f"{answer['events']} events were read of {expected}"
    assert not answer["losses"], f"the benchmark's own trace has losses: {answer['losses']}"
    yield Row("text trace", round(size / 1000, 2), "GB")
    yield Row("events", round(answer["events"] / 1e6, 2), "M")
    yield Row("frames a second that were found", round(float(known["fps_avg"]), 2), "1/s")
    yield Row("all KPIs, MB a second", round(size / took, 1), "1/s")
    yield Row("all KPIs, CPU time", round(used.ru_utime + used.ru_stime, 1), "s")
    # What this process had when it started the other one counts, too, where that is more: it is not.
    yield Row("peak memory", round(used.ru_maxrss / 1024), "MiB")


def main() -> int:
    """Measure, print, and return 1 when a budget is missed."""
    parser = benchmark_parser(__doc__)
    parser.add_argument("--gigabytes", type=float, metavar="N", help="read nothing but a trace of that size")
    options = parser.parse_args()
    if options.gigabytes is not None:
        with tempfile.TemporaryDirectory(prefix="hmopt-benchmark-") as scratch:
            return told(LARGE, list(large_rows(Path(scratch), options.gigabytes)), as_json=options.json)
    with tempfile.TemporaryDirectory(prefix="hmopt-benchmark-") as scratch:
        large, small = Path(scratch) / "large.ftrace", Path(scratch) / "small.ftrace"
        write_trace(large, 150 if options.quick else 300)
        write_trace(small, 20 if options.quick else 60)
        found = all_kpis(small)
        assert found.events and not found.losses, f"the benchmark's own trace has losses: {found.losses}"
        size = large.stat().st_size / 1_000_000
        taken = fastest({"bare": bare, "barest": barest, "parsed": parsed, "kpis": all_kpis}, large)
        (_, little), (before, much) = memory(small), memory(large)
        grown = large.stat().st_size / small.stat().st_size
        others = list(format_rows(Path(scratch), megabytes=12 if options.quick else 40))
    rows = [
        Row("text trace", round(size, 1), "MB"),
        Row("a bare pass, 1,000 MB", round(1000 * taken["bare"][0] / size, 2), "s"),
        Row("the least pass, 1,000 MB", round(1000 * taken["barest"][0] / size, 2), "s"),
        Row("events alone, 1,000 MB", round(1000 * taken["parsed"][0] / size, 2), "s"),
        Row("all KPIs, 1,000 MB", round(1000 * taken["kpis"][0] / size, 2), "s"),
        Row("all KPIs, MB a second", round(size / taken["kpis"][0], 1), "1/s"),
        Row("all KPIs, to a bare pass", round(taken["kpis"][0] / taken["bare"][0], 2), "x"),
        Row("all KPIs, to a bare pass, CPU time", round(taken["kpis"][1] / taken["bare"][1], 2), "x"),
        Row("all KPIs, to the least pass", round(taken["kpis"][0] / taken["barest"][0], 2), "x"),
        Row("all KPIs, to the least pass, CPU time", round(taken["kpis"][1] / taken["barest"][1], 2), "x"),
        Row("peak memory, small trace", round(little / 1024), "MiB"),
        Row("peak memory, large trace", round(much / 1024), "MiB"),
        Row("of which before reading", round(before / 1024), "MiB"),
        Row("peak memory, growth to the trace's", round((much - little) / little / (grown - 1), 3), "x"),
        *others,
    ]
    return told(NAME, rows, as_json=options.json)


if __name__ == "__main__":
    sys.exit(main())
