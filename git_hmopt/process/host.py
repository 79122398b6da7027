# SPDX-License-Identifier: Apache-2.0
"""What this host has and lacks: programs, counters, confinement, quiet; each asked by trying it where that is possible.

Nothing here changes the host or reaches beyond it.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from git_hmopt.errors import HmoptError
from git_hmopt.process.runner import Limits, run
from git_hmopt.process.sandbox import sandbox_missing

_CPUS = "sys/devices/system/cpu"
_GIB = 1 << 30
FATAL_FREE, WANTED_FREE = _GIB // 4, 4 * _GIB
"""Bytes on the disk: with less than the first nothing can be recorded; two kernel trees with their builds need the
second."""


class State(StrEnum):
    """How it stands with one thing."""

    FOUND = "found"
    LIMITED = "limited"
    """It is there and does less than it could."""
    MISSING = "missing"


@dataclass(frozen=True)
class Finding:
    """One thing, how it stands with it, and what that costs."""

    topic: str
    name: str
    state: State
    detail: str = ""
    lost: str = ""
    """What cannot be done without it, or does not go as well; empty when it is found."""
    remedy: str = ""
    """The command that installs or mends it."""
    fatal: bool = False
    """Whether the tool cannot work at all without it."""

    @property
    def fails(self) -> bool:
        """Say whether it is missing and nothing works without it."""
        return self.fatal and self.state is State.MISSING


@dataclass(frozen=True)
class _Program:
    name: str
    topic: str
    lost: str
    package: str


_PROGRAMS = (
    _Program("bash", "build", "no configured command can be run", "bash"),
    _Program("make", "build", "the profiles linux and make cannot build", "make"),
    _Program("gcc", "build", "the profile linux cannot build, and QEMU's counting plugin cannot be compiled", "gcc"),
    _Program("clang", "build", "nothing where gcc is; projects that want clang cannot be built", "clang"),
    _Program("ld", "build", "nothing can be linked, and code layout cannot be varied", "binutils"),
    _Program("addr2line", "profile", "samples and counts cannot be given source lines", "binutils"),
    _Program("size", "profile", "what a change costs in bytes of text is not known", "binutils"),
    _Program("perf", "profile", "no call stacks from sampling; hotspots come from counts alone", "linux-perf"),
    _Program("valgrind", "profile", "no exact instruction counts of user programs", "valgrind"),
    _Program("qemu-system-x86_64", "profile", "no instruction counts of x86_64 kernels", "qemu-system-x86"),
    _Program("qemu-system-aarch64", "profile", "no instruction counts of arm64 kernels", "qemu-system-arm"),
    _Program("dot", "source", "git hmopt graph draws no SVG", "graphviz"),
)


def programs(*, needed: frozenset[str] = frozenset()) -> list[Finding]:
    """Return what is known of the programs we can use; a missing one is fatal when it is `needed`."""
    return [_program(one, fatal=one.name in needed) for one in _PROGRAMS]


def program_version(name: str) -> str:
    """Return the first line a program says of itself, or where it lies when it says nothing."""
    path = shutil.which(name) or name
    try:
        ended = run([path, "--version"], limits=Limits(wall_s=10))
    except HmoptError:
        return path
    lines = ended.output.decode(errors="replace").strip().splitlines()
    return lines[0].strip()[:100] if ended.ok and lines else path


def sampling() -> list[Finding]:
    """Try perf's software clock and its instruction counter on a program of our own."""
    if shutil.which("perf") is None:
        return []
    paranoid = _read(Path("/"), "proc/sys/kernel/perf_event_paranoid")
    detail = f"perf_event_paranoid is {paranoid or 'unknown'}"
    clock = Finding("profile", "perf sampling", State.FOUND, f"works ({detail})")
    if not _counts("cpu-clock:u"):
        clock = replace(
            clock,
            state=State.LIMITED,
            detail=detail,
            lost="perf may not sample; hotspots come from counts alone",
            remedy="sysctl -w kernel.perf_event_paranoid=2",
        )
    counter = Finding("profile", "hardware counters", State.FOUND, "instructions:u counts")
    if not _counts("instructions:u"):
        counter = replace(
            counter,
            state=State.LIMITED,
            detail="instructions:u does not count here (a virtual machine, for one)",
            lost="nothing: instructions are counted by QEMU or valgrind instead",
        )
    return [clock, counter]


def confinement(root: Path = Path("/")) -> list[Finding]:
    """Try the sandbox, and say what the kernel refuses where it does not work."""
    missing = sandbox_missing()
    lost = "builds, tests and workloads run unconfined"
    if missing is None:
        return [Finding("confinement", "bwrap", State.FOUND, program_version("bwrap"))]
    if shutil.which("bwrap") is None:
        install = "apt-get install bubblewrap"
        return [Finding("confinement", "bwrap", State.MISSING, "not installed", lost, install)]
    reason = missing.partition(": builds")[0]
    bwrap = Finding("confinement", "bwrap", State.LIMITED, reason, lost)
    return [bwrap, *_namespaces(root)]


def _namespaces(root: Path) -> Iterator[Finding]:
    """Yield the kernel's switches that forbid user namespaces."""
    switches = (
        ("user/max_user_namespaces", "0", "user.max_user_namespaces=16384"),
        ("kernel/unprivileged_userns_clone", "0", "kernel.unprivileged_userns_clone=1"),
        ("kernel/apparmor_restrict_unprivileged_userns", "1", "kernel.apparmor_restrict_unprivileged_userns=0"),
    )
    for path, refusing, setting in switches:
        if _read(root, f"proc/sys/{path}") == refusing:
            lost = "bwrap cannot confine programs of an ordinary user"
            detail, remedy = f"{setting.partition('=')[0]} is {refusing}", f"sysctl -w {setting}"
            yield Finding("confinement", "user namespaces", State.LIMITED, detail, lost, remedy)


def quiet(root: Path = Path("/"), *, cpus: Sequence[int] | None = None) -> list[Finding]:
    """Say what makes time noisy here: too few CPUs, changing frequencies, other work."""
    allowed = sorted(os.sched_getaffinity(0)) if cpus is None else list(cpus)
    found = [_pinning(allowed)]
    governors = {_read(root, f"{_CPUS}/cpu{cpu}/cpufreq/scaling_governor") for cpu in allowed} - {""}
    if governors - {"performance"}:
        lost = "the clock changes while time is measured: wider intervals"
        remedy = "cpupower frequency-set -g performance"
        found.append(_noisy("frequency governor", ", ".join(sorted(governors)), lost, remedy))
    for path, on, off in (("cpufreq/boost", "1", "0"), ("intel_pstate/no_turbo", "0", "1")):
        if _read(root, f"{_CPUS}/{path}") == on:
            lost = "the clock depends on heat: wider intervals"
            found.append(_noisy("turbo", f"{path} is {on}", lost, f"echo {off} >/{_CPUS}/{path}"))
    if _read(root, f"{_CPUS}/smt/active") == "1":
        lost = "work beside a measurement slows it"
        found.append(_noisy("SMT", "two threads share a core", lost, f"echo off >/{_CPUS}/smt/control"))
    return [*found, *_load(root, len(allowed))]


def _noisy(name: str, detail: str, lost: str, remedy: str = "") -> Finding:
    return Finding("noise", name, State.LIMITED, detail, lost, remedy)


def _pinning(allowed: Sequence[int]) -> Finding:
    if len(allowed) > 1:
        detail = f"measured programs run on CPU {allowed[-1]} alone, one of {len(allowed)}"
        return Finding("noise", "CPU pinning", State.FOUND, detail)
    return _noisy("CPU pinning", "one CPU", "measured programs share it with everything: wider intervals")


def _load(root: Path, cpus: int) -> Iterator[Finding]:
    text = _read(root, "proc/loadavg").split(" ")[0]
    if re.fullmatch(r"[0-9.]+", text) and float(text) > cpus / 2:
        detail = f"{text} over the last minute on {cpus} CPUs"
        yield _noisy("load", detail, "other work disturbs measurements: wider intervals")


def disk(where: Path, *, free: int | None = None) -> Finding:
    """Say whether the disk that `where` is on has room for two build trees."""
    if free is None:
        free = shutil.disk_usage(where).free
    detail = f"{free / _GIB:.1f} GiB free at {where}"
    if free >= WANTED_FREE:
        return Finding("host", "disk space", State.FOUND, detail)
    lost = "two build trees of a kernel do not fit" if free >= FATAL_FREE else "nothing can be built or recorded"
    state = State.LIMITED if free >= FATAL_FREE else State.MISSING
    return Finding("host", "disk space", state, detail, lost, f"free space there (du -xsh {where})", fatal=True)


def _program(one: _Program, *, fatal: bool) -> Finding:
    if shutil.which(one.name) is None:
        install = f"apt-get install {one.package}"
        return Finding(one.topic, one.name, State.MISSING, "not installed", one.lost, install, fatal)
    return Finding(one.topic, one.name, State.FOUND, program_version(one.name), fatal=fatal)


def _counts(event: str) -> bool:
    """Say whether perf really counts an event of one of our processes."""
    try:
        ended = run(["perf", "stat", "-x,", "-e", event, "--", "true"], limits=Limits(wall_s=10))
    except HmoptError:
        return False
    first = ended.output.decode(errors="replace").strip().split(",")[0]
    return ended.ok and bool(re.fullmatch(r"[0-9.]+", first))


def _read(root: Path, path: str) -> str:
    """Return a kernel file's text, nothing where there is none."""
    try:
        return (root / path).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def host_name() -> str:
    """Return what makes numbers of two machines incomparable, without naming the machine: its CPU and kernel."""
    model = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as lines:  # noqa: PTH123
            model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), model)
    except OSError:
        pass
    return f"{platform.system()} {platform.release()} on {model}"
