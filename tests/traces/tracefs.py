# SPDX-License-Identifier: Apache-2.0
"""Record a trace with this machine's own kernel, in an instance of its own: pages, and the kernel's text of them."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path("/sys/kernel/tracing")
EVENTS = (
    "sched/sched_switch", "sched/sched_wakeup", "sched/sched_wakeup_new", "sched/sched_waking",
    "sched/sched_process_fork", "sched/sched_process_exec", "sched/sched_process_exit", "sched/sched_migrate_task",
    "irq", "power/cpu_idle", "power/cpu_frequency", "vmscan", "workqueue", "task", "signal",
    "ext4/ext4_da_write_begin", "ext4/ext4_mark_inode_dirty", "raw_syscalls",
)  # fmt: skip


@dataclass(frozen=True)
class Recording:
    """What a kernel wrote, and how it describes it."""

    pages: dict[int, bytes]
    """The pages of each CPU."""
    text: str
    """The same as the kernel prints it."""
    header_page: str
    formats: str
    comms: str
    tgids: str
    symbols: str
    cpus: int


def usable() -> bool:
    """Say whether an instance can be made here."""
    return os.access(ROOT / "instances", os.W_OK) and (ROOT / "events/sched/sched_switch/format").exists()


def record(events: Iterable[str] = EVENTS, *, seconds: float = 0.2, buffer_kb: int = 2048) -> Recording:
    """Trace what a few short programs do, and markers that this one writes."""
    instance = ROOT / "instances" / f"hmopt-test-{os.getpid()}"
    instance.mkdir()
    processes = ROOT / "options/record-tgid"
    before = processes.read_text()
    try:
        (instance / "buffer_size_kb").write_text(str(buffer_kb))
        # Addresses are told apart in the text only when it does not print them hashed.
        (instance / "options/hash-ptr").write_text("0")
        processes.write_text("1")
        known = [event for event in events if (instance / "events" / event / "enable").exists()]
        for event in known:
            (instance / "events" / event / "enable").write_text("1")
        (instance / "tracing_on").write_text("1")
        _work(instance / "trace_marker", seconds)
        (instance / "tracing_on").write_text("0")
        (instance / "events/enable").write_text("0")
        return _recorded(instance, known)
    finally:
        processes.write_text(before)
        instance.rmdir()


def _work(marker: Path, seconds: float) -> None:
    pid = os.getpid()
    end = time.monotonic() + seconds
    with tempfile.NamedTemporaryFile(dir=Path.home()) as file:
        file.write(bytes(1 << 16))
        file.flush()
        os.fsync(file.fileno())
    for number in range(1000):
        marker.write_text(f"B|{pid}|H:span {number}|M62\n")
        subprocess.run(["ls", "-R", "/etc/apt"], stdout=subprocess.DEVNULL, check=False)
        marker.write_text(f"C|{pid}|H:count|{number}|M62\n")
        marker.write_text(f"E|{pid}|M62\n")
        time.sleep(0.01)
        if time.monotonic() > end:
            return


def _recorded(instance: Path, events: Iterable[str]) -> Recording:
    text = (instance / "trace").read_text(errors="replace")
    places = sorted(instance.glob("per_cpu/cpu*"), key=lambda one: int(one.name[3:]))
    pages = {int(one.name[3:]): _drained(one / "trace_pipe_raw") for one in places}
    formats = [path for event in events for path in sorted((ROOT / "events" / event).rglob("format"))]
    formats.append(ROOT / "events/ftrace/print/format")
    return Recording(
        pages=pages,
        text=text,
        header_page=(ROOT / "events/header_page").read_text(),
        formats="".join(path.read_text() for path in formats),
        comms=(ROOT / "saved_cmdlines").read_text(errors="replace"),
        tgids=(ROOT / "saved_tgids").read_text(),
        symbols=_symbols_of(text),
        cpus=len(places),
    )


def _drained(pipe: Path) -> bytes:
    pieces = []
    descriptor = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        while page := os.read(descriptor, 4096):
            pieces.append(page.ljust(4096, b"\0"))
    except BlockingIOError:
        pass
    finally:
        os.close(descriptor)
    return b"".join(pieces)


def _symbols_of(text: str) -> str:
    """Return the lines of /proc/kallsyms of the functions that the text names, and of what follows each."""
    words = set(text.replace("+", " ").replace("=", " ").replace("\n", " ").split())
    lines = sorted(line for line in Path("/proc/kallsyms").read_text().splitlines() if line[:16].strip("0"))
    # The symbol after a function is where that ends.
    addresses = [line[:16] for line in lines]
    wanted: set[int] = set()
    for at, line in enumerate(lines):
        if line.split()[2] in words:
            wanted.update(range(at, min(len(lines), at + 12)))
    kept = sorted(wanted)
    return "".join(f"{lines[at]}\n" for at in kept if addresses[at])
