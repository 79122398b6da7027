# SPDX-License-Identifier: Apache-2.0
"""Read the packets of OpenHarmony's plugins beside ftrace: hilog, cpu, memory, process, ffrt.

Messages by field number as in developtools_profiler, protos/types/plugins. What was logged is an event of category
`log`, named after its tag; what was sampled one of category `proc`, named after the file of /proc that it was read
from, where there is one, with `snapshot=N` first.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from mmap import mmap

import polars as pl

from git_hmopt.traces import protobuf
from git_hmopt.traces.capture import BATCH, EVENTS, Losses
from git_hmopt.traces.protobuf import Field, fields

BAD_MESSAGE = "messages of plugins that are cut or no message"
BAD_TIME = "messages of plugins whose time is beyond 63 bits"
NO_SECTION = "ffrt events that begin or end nothing"

Row = tuple[int, str, str, int | None, int | None, int | None, str]
"""Time, category, name, pid, tid, cpu, arguments."""
_SECOND = 1_000_000_000
_MOST_ID = (1 << 31) - 1
_REAL, _MONOTONIC, _RAW, _REAL_COARSE, _MONOTONIC_COARSE = 0, 1, 4, 5, 6


@dataclass(frozen=True)
class Packet:
    """Where a plugin's message is, and the clock and time at which it was made."""

    begin: int
    end: int
    clock: int
    ts: int


@dataclass(frozen=True)
class Clocks:
    """The same moment by three clocks, in nanoseconds, as the capture's header has it; 0 is unknown."""

    boot: int
    real: int
    monotonic: int

    def named(self) -> Iterator[tuple[str, int]]:
        """Yield each clock with its name."""
        yield from (("boottime", self.boot), ("realtime", self.real), ("monotonic", self.monotonic))

    def ahead(self, clock: str | None) -> int | None:
        """Return what the boot clock is ahead of another one, by its name; None where the header does not tell."""
        other = {"boottime": self.boot, "realtime": self.real}.get(clock or "")
        if clock in ("monotonic", "monotonic_raw"):
            other = self.monotonic
        return self.boot - other if self.boot and other else None

    def on_boot(self, clock: int, ts: int) -> int:
        """Return the time on the boot clock, which is ftrace's; as it is where the header does not tell."""
        other = self.real if clock in (_REAL, _REAL_COARSE) else self.monotonic
        if clock not in (_REAL, _MONOTONIC, _RAW, _REAL_COARSE, _MONOTONIC_COARSE) or not self.boot or not other:
            return ts
        return ts - other + self.boot


Reader = Callable[[mmap, Packet, Clocks, int, Losses], Iterator[Row]]
"""Yields the events of a packet, given its place among its plugin's."""


def events(
    content: mmap, name: str, packets: Sequence[Packet], clocks: Clocks, losses: Losses
) -> Iterator[pl.DataFrame]:
    """Yield the events of one plugin, with the columns of EVENTS."""
    rows: list[Row] = []
    for number, packet in enumerate(packets):
        try:
            rows.extend(READERS[name](content, packet, clocks, number, losses))
        except protobuf.WireError:
            losses[BAD_MESSAGE] += 1
        if len(rows) >= BATCH:
            yield _frame(rows, losses)
            rows = []
    yield _frame(rows, losses)


def _frame(rows: list[Row], losses: Losses) -> pl.DataFrame:
    good = [row for row in rows if 0 <= row[0] < 1 << 63]
    if len(good) < len(rows):
        losses[BAD_TIME] += len(rows) - len(good)
    table = [(ts, kind, name, None, pid, tid, cpu, args) for ts, kind, name, pid, tid, cpu, args in good]
    return pl.DataFrame(table, schema=EVENTS, orient="row").sort("ts_ns", maintain_order=True)


def _id(value: int) -> int | None:
    return value if 0 <= value <= _MOST_ID else None


def _text(content: mmap, one: Field) -> str:
    return content[one.begin : one.end].decode(errors="replace")


def _numbers(content: mmap, message: Field) -> dict[int, int]:
    """Return the numbers of a message by field."""
    return {one.number: one.signed for one in fields(content, message.begin, message.end) if not one.is_bytes}


def _texts(content: mmap, message: Field) -> dict[int, str]:
    """Return the bytes of a message by field, as texts."""
    return {one.number: _text(content, one) for one in fields(content, message.begin, message.end) if one.is_bytes}


_LEVELS = {3: "debug", 4: "info", 5: "warn", 6: "err", 7: "fatal"} | {
    ord(letter): word for letter, word in zip("DIWEF", ("debug", "info", "warn", "err", "fatal"), strict=True)
}


def _hilog(content: mmap, packet: Packet, clocks: Clocks, number: int, losses: Losses) -> Iterator[Row]:
    for line in fields(content, packet.begin, packet.end):
        if line.number != 1:
            continue
        details: dict[int, int] = {}
        tag = text = ""
        for one in fields(content, line.begin, line.end):
            if one.number == 1:
                details = _numbers(content, one)
                tag = _texts(content, one).get(6, "")
            elif one.number == 2:
                text = _text(content, one)
        level = _LEVELS.get(details.get(5, 0))
        ts = clocks.on_boot(_REAL, details.get(1, 0) * _SECOND + details.get(2, 0))
        args = (f"level={level} " if level else "") + f"text={text}"
        yield ts, "log", tag, _id(details.get(3, 0)), _id(details.get(4, 0)), None, args


_USAGE = ((1, "prev_process_cpu_time_ms"), (2, "prev_system_cpu_time_ms"), (3, "prev_system_boot_time_ms"),
          (4, "process_cpu_time_ms"), (5, "system_cpu_time_ms"), (6, "system_boot_time_ms"))  # fmt: skip
_CORE = ((2, "prev_system_cpu_time_ms"), (3, "prev_system_boot_time_ms"), (4, "system_cpu_time_ms"),
         (5, "system_boot_time_ms"))  # fmt: skip
_THREAD = ((4, "prev_thread_cpu_time_ms"), (5, "thread_cpu_time_ms"))
_LOADS = ((4, "user_load"), (5, "sys_load"), (6, "total_load"))


def _pairs(values: Mapping[int, int], names: Sequence[tuple[int, str]]) -> str:
    return " ".join(f"{name}={values.get(number, 0)}" for number, name in names)


def _cpu(content: mmap, packet: Packet, clocks: Clocks, number: int, losses: Losses) -> Iterator[Row]:
    ts = clocks.on_boot(packet.clock, packet.ts)
    head = f"snapshot={number} "
    loads: dict[int, int] = {}
    usage = ""
    for one in fields(content, packet.begin, packet.end):
        if one.number == 1:
            usage = _pairs(_numbers(content, one), _USAGE)
            for core in fields(content, one.begin, one.end):
                if core.number == 7 and core.is_bytes:
                    yield _core(content, core, ts, head)
        elif one.number == 2:
            thread = _numbers(content, one)
            name = _texts(content, one).get(2, "")
            yield (
                ts,
                "proc",
                "thread_usage",
                None,
                _id(thread.get(1, 0)),
                None,
                f"{head}{_pairs(thread, _THREAD)} comm={name}",
            )
        else:
            loads[one.number] = one.value
    shares = (f"{name}={struct.unpack('<d', loads.get(key, 0).to_bytes(8, 'little'))[0]:g}" for key, name in _LOADS)
    args = " ".join((usage, f"process_num={loads.get(3, 0)}", *shares)).strip()
    yield ts, "proc", "cpu_usage", None, None, None, head + args


def _core(content: mmap, core: Field, ts: int, head: str) -> Row:
    values = _numbers(content, core)
    args = _pairs(values, _CORE)
    for one in fields(content, core.begin, core.end):
        if one.number == 6 and one.is_bytes:
            args += f" frequency_khz={_numbers(content, one).get(3, 0)}"
    cpu = values.get(1, 0)
    return ts, "proc", "core_usage", None, None, cpu if 0 <= cpu < 1 << 15 else None, head + args


_MEMINFO_WORDS = (
    "MemTotal MemFree MemAvailable Buffers Cached SwapCached Active Inactive Active(anon) Inactive(anon) "
    "Active(file) Inactive(file) Unevictable Mlocked SwapTotal SwapFree Dirty Writeback AnonPages Mapped Shmem Slab "
    "SReclaimable SUnreclaim KernelStack PageTables CommitLimit Committed_AS VmallocTotal VmallocUsed VmallocChunk "
    "CmaTotal CmaFree"
)
_MEMINFO = _MEMINFO_WORDS.split()
_VMSTAT_WORDS = (
    "nr_free_pages nr_alloc_batch nr_inactive_anon nr_active_anon nr_inactive_file nr_active_file nr_unevictable "
    "nr_mlock nr_anon_pages nr_mapped nr_file_pages nr_dirty nr_writeback nr_slab_reclaimable nr_slab_unreclaimable "
    "nr_page_table_pages nr_kernel_stack nr_overhead nr_unstable nr_bounce nr_vmscan_write "
    "nr_vmscan_immediate_reclaim nr_writeback_temp nr_isolated_anon nr_isolated_file nr_shmem nr_dirtied nr_written "
    "nr_pages_scanned workingset_refault workingset_activate workingset_nodereclaim nr_anon_transparent_hugepages "
    "nr_free_cma nr_swapcache nr_dirty_threshold nr_dirty_background_threshold pgpgin pgpgout pgpgoutclean pswpin "
    "pswpout pgalloc_dma pgalloc_normal pgalloc_movable pgfree pgactivate pgdeactivate pgfault pgmajfault "
    "pgrefill_dma pgrefill_normal pgrefill_movable pgsteal_kswapd_dma pgsteal_kswapd_normal pgsteal_kswapd_movable "
    "pgsteal_direct_dma pgsteal_direct_normal pgsteal_direct_movable pgscan_kswapd_dma pgscan_kswapd_normal "
    "pgscan_kswapd_movable pgscan_direct_dma pgscan_direct_normal pgscan_direct_movable pgscan_direct_throttle "
    "pginodesteal slabs_scanned kswapd_inodesteal kswapd_low_wmark_hit_quickly kswapd_high_wmark_hit_quickly "
    "pageoutrun allocstall pgrotated drop_pagecache drop_slab pgmigrate_success pgmigrate_fail "
    "compact_migrate_scanned compact_free_scanned compact_isolated compact_stall compact_fail compact_success "
    "compact_daemon_wake unevictable_pgs_culled unevictable_pgs_scanned unevictable_pgs_rescued "
    "unevictable_pgs_mlocked unevictable_pgs_munlocked unevictable_pgs_cleared unevictable_pgs_stranded nr_zspages "
    "nr_ion_heap nr_gpu_heap allocstall_dma allocstall_movable allocstall_normal compact_daemon_free_scanned "
    "compact_daemon_migrate_scanned nr_fastrpc nr_indirectly_reclaimable nr_ion_heap_pool "
    "nr_kernel_misc_reclaimable nr_shadow_call_stack_bytes nr_shmem_hugepages nr_shmem_pmdmapped "
    "nr_unreclaimable_pages nr_zone_active_anon nr_zone_active_file nr_zone_inactive_anon nr_zone_inactive_file "
    "nr_zone_unevictable nr_zone_write_pending oom_kill pglazyfree pglazyfreed pgrefill pgscan_direct pgscan_kswapd "
    "pgskip_dma pgskip_movable pgskip_normal pgsteal_direct pgsteal_kswapd swap_ra swap_ra_hit workingset_restore"
)
_VMSTAT = _VMSTAT_WORDS.split()
_STATUS = ((3, "VmSize"), (4, "VmRSS"), (5, "RssAnon"), (6, "RssFile"), (7, "RssShmem"), (8, "VmSwap"), (9, "VmLck"),
           (10, "VmHWM"), (11, "oom_score_adj"))  # fmt: skip


def _memory(content: mmap, packet: Packet, clocks: Clocks, number: int, losses: Losses) -> Iterator[Row]:
    ts = clocks.on_boot(packet.clock, packet.ts)
    head = f"snapshot={number}"
    whole: dict[str, list[str]] = {"/proc/meminfo": [head], "/proc/vmstat": [head]}
    for one in fields(content, packet.begin, packet.end):
        if one.number == 1 and one.is_bytes:
            values = _numbers(content, one)
            name = _texts(content, one).get(2, "")
            args = f"{head} {_pairs(values, _STATUS)} Name={name}"
            yield ts, "proc", "/proc/PID/status", _id(values.get(1, 0)), None, None, args
        elif one.number in (2, 3) and one.is_bytes:
            values = _numbers(content, one)
            path, names = ("/proc/meminfo", _MEMINFO) if one.number == 2 else ("/proc/vmstat", _VMSTAT)
            key = values.get(1, 0)
            called = names[key - 1] if 0 < key <= len(names) else f"key_{key}"
            whole[path].append(f"{called}={values.get(2, 0)}")
    for path, parts in whole.items():
        if len(parts) > 1:
            yield ts, "proc", path, None, None, None, " ".join(parts)


def _process(content: mmap, packet: Packet, clocks: Clocks, number: int, losses: Losses) -> Iterator[Row]:
    ts = clocks.on_boot(packet.clock, packet.ts)
    for one in fields(content, packet.begin, packet.end):
        if one.number == 1 and one.is_bytes:
            pid = _id(_numbers(content, one).get(1, 0))
            yield ts, "proc", "process", pid, None, None, f"snapshot={number} name={_texts(content, one).get(2, '')}"


def _ffrt(content: mmap, packet: Packet, clocks: Clocks, number: int, losses: Losses) -> Iterator[Row]:
    """Yield the begins and ends of FFRT's tasks as the markers that they are."""
    for event in fields(content, packet.begin, packet.end):
        if event.number != 1:
            continue
        values: dict[int, int] = {}
        trace: dict[int, str] = {}
        cpu = 0
        for one in fields(content, event.begin, event.end):
            if one.number == 8 and one.is_bytes:
                trace, cpu = _texts(content, one), _numbers(content, one).get(1, 0)
            elif not one.is_bytes:
                values[one.number] = one.signed
        phase = trace.get(2, "")
        if phase not in ("B", "E"):
            losses[NO_SECTION] += 1
            continue
        ts = values.get(1, 0) * _SECOND + values.get(2, 0)
        pid, tid = _id(values.get(4, 0)), _id(values.get(5, 0))
        cpu_known = cpu if 0 <= cpu < 1 << 15 else None
        yield ts, "marker", trace.get(3, "") if phase == "B" else "", pid, tid, cpu_known, f"phase={phase} pid={pid}"


READERS: Mapping[str, Reader] = {
    "hilog-plugin": _hilog,
    "cpu-plugin": _cpu,
    "memory-plugin": _memory,
    "process-plugin": _process,
    "ffrt-profiler": _ffrt,
}
