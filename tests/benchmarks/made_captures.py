# SPDX-License-Identifier: Apache-2.0
"""Captures for benchmarks, made from templates: kernel logs, OpenHarmony's .htrace, and text traces of any size."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tests.traces.htrace_bytes import ftrace, ftrace_event, message, number, packet, section

_SAID = (
    "usb 1-1: new high-speed USB device number 5 using xhci_hcd",
    "EXT4-fs (sda1): mounted filesystem with ordered data mode. Quota mode: none.",
    "oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null),cpuset=/,mems_allowed=0,global_oom,task_memcg=/,task=app,pid=55",
    "binder: 1234:1250 transaction failed 29189/-22, size 100-0 line 3011",
    "init: Service 'hdf_devmgr' (pid 331) exited with status 0",
    "wlan0: deauthenticated from an access point (Reason: 3=DEAUTH_LEAVING)",
    "thermal thermal_zone0: critical temperature reached (95 C)",
    "random: crng init done",
)


def _dmesg(us: int, count: int, text: str) -> str:
    return f"[{us // 10**6:5d}.{us % 10**6:06d}] {text}\n"


def _caller(us: int, count: int, text: str) -> str:
    return f"<6>[{us // 10**6:5d}.{us % 10**6:06d}][  T{count % 900:3d}] {text}\n"


def _kmsg(us: int, count: int, text: str) -> str:
    return f"6,{count},{us},-;{text}\n"


def _hilog(us: int, count: int, text: str) -> str:
    clock = f"17:{us // 60_000_000 % 60:02d}:{us // 10**6 % 60:02d}.{us // 1000 % 1000:03d}"
    return f"04-19 {clock}  {1000 + count % 50}  {1000 + count % 300} I A03200/testTag: {text}\n"


LOGS: dict[str, Callable[[int, int, str], str]] = {
    "dmesg": _dmesg, "dmesg with callers": _caller, "/dev/kmsg": _kmsg, "hilog": _hilog,
}  # fmt: skip
"""How a line is written, by dialect."""


def write_log(path: Path, megabytes: float, line: Callable[[int, int, str], str]) -> None:
    """Write a kernel log of about that size."""
    chance = random.Random(3)
    us, count = 1_000_000, 0
    with path.open("w") as file:
        while file.tell() < megabytes * 1_000_000:
            for _ in range(2000):
                us, count = us + chance.randrange(3000), count + 1
                file.write(line(us, count, chance.choice(_SAID)))


# -- .htrace ---------------------------------------------------------------------------------------------------------

_CPUS, _APPS, _BURST_US, _BURSTS = 8, 6, 300, 400
_CALLER = 0xFFFFFFC010101010


def write_htrace(path: Path, megabytes: float) -> None:
    """Write a profiler's capture of applications' work, a message a CPU in each packet, as the plugin flushes them."""
    us, size, packets = 88_026_000_000, 0, []
    while size < megabytes * 1_000_000:
        by_cpu: list[list[bytes]] = [[] for _ in range(_CPUS)]
        for burst in range(_BURSTS):
            by_cpu[burst % _CPUS] += _burst(us + burst * _BURST_US, burst % _CPUS, burst % _APPS)
        us += _BURSTS * _BURST_US
        data = b"".join(ftrace(cpu, events) for cpu, events in enumerate(by_cpu))
        data += message(5, number(1, _CALLER & ~0xFFF), message(2, "futex_wait"))
        packets.append(packet("ftrace-plugin", data))
        size += len(packets[-1])
    path.write_bytes(section(b"".join(packets)))


def _burst(us: int, cpu: int, app: int) -> Iterator[bytes]:
    """Yield what one application's work writes: it is woken, runs, is interrupted, and sleeps."""
    tid = 2001 + app * 7

    def event(after: int, thread: int, kind: int, *parts: bytes) -> bytes:
        return ftrace_event((us + after) * 1000, thread, kind, *parts, tgid=thread)

    def mark(after: int, text: str) -> bytes:
        return event(after, tid, 1109, number(1, _CALLER), message(2, f"{text}\n"))

    name, idle = message(1, "com.example.ap"), f"swapper/{cpu}"
    yield event(3, 0, 2420, name, number(2, tid), number(3, 120), number(5, cpu))
    yield event(
        9, 0, 2417, message(1, idle), number(3, 120), message(5, "com.example.ap"), number(6, tid), number(7, 120)
    )
    yield mark(14, f"B|{tid}|H:void OHOS::Ace::UITaskScheduler::FlushTask(uint64_t) {us}|M0039")
    yield mark(30, f"B|{tid}|H:layout node {us % 977}|M0039")
    yield event(41, tid, 1500, number(1, 94), message(2, "kirq"))
    yield event(44, tid, 1504, number(1, 6))
    yield event(48, tid, 1501, number(1, 94), number(2, 1))
    yield event(50, tid, 1502, number(1, 6))
    yield event(59, tid, 1503, number(1, 6))
    yield mark(70, f"E|{tid}|M0039")
    yield mark(80, f"E|{tid}|M0039")
    yield event(95, tid, 4002, number(1, tid), number(2, _CALLER), number(3, 0))
    yield event(99, tid, 2417, name, number(2, tid), number(3, 120), number(4, 1), message(5, idle), number(7, 120))
    yield event(110, 0, 2005, number(1, 1), number(2, cpu))


# -- a text trace of any size ----------------------------------------------------------------------------------------

_SHIFTED = (
    (re.compile(rb" (\d{5})\.(\d{6}): "), 1),
    (re.compile(rb"now:(\d{14}) "), 1000),
    (re.compile(rb"expectedEnd:(\d{14}) "), 1000),
    (re.compile(rb"FlushTask\(uint64_t\) (\d{11})\|"), 1),
    (re.compile(rb"DoComposition: (\d{11})\|"), 1),
)
"""The times in a text: of rows as seconds and microseconds, of vsync in nanoseconds, of work in microseconds."""


class _Digits:
    """Numbers of one width in a text, which can be moved on."""

    def __init__(self, text: bytes, pattern: re.Pattern[bytes], unit: int) -> None:
        places = [
            [at for group in range(1, found.re.groups + 1) for at in range(*found.span(group))]
            for found in pattern.finditer(text)
        ]
        self._at = np.array(places, np.int64)
        self._unit = unit
        self._powers = 10 ** np.arange(self._at.shape[1] - 1, -1, -1, dtype=np.int64)
        digits = np.frombuffer(text, np.uint8)[self._at].astype(np.int64) - ord("0")
        self._values = digits @ self._powers

    def move(self, text: npt.NDArray[np.uint8], us: int) -> None:
        """Write the numbers as they are so many microseconds later."""
        moved = self._values + us * self._unit
        if moved.max() >= 10 * self._powers[0]:
            raise SystemExit("the trace is too long: its times have more digits than the template's")
        text[self._at] = (moved[:, None] // self._powers % 10 + ord("0")).astype(np.uint8)


def write_repeated(path: Path, gigabytes: float, template: bytes, lasts_us: int) -> int:
    """Write a template of a trace over and over, every time as much later as it lasts; return the bytes."""
    numbers = [_Digits(template, pattern, unit) for pattern, unit in _SHIFTED]
    text = np.frombuffer(template, np.uint8).copy()
    with path.open("wb") as file:
        turn = 0
        while file.tell() < gigabytes * 1_000_000_000:
            for one in numbers:
                one.move(text, turn * lasts_us)
            file.write(text.tobytes())
            turn += 1
        return file.tell()
