# SPDX-License-Identifier: Apache-2.0
"""KPIs from snapshots of /proc: one gives levels, two give rates.

Counters only ever grow, but for a restart of the machine, a wrap of 32 bits or a CPU that went offline: one that went
backwards makes what rests on it unknown, and its `basis` names it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction

import polars as pl

from git_hmopt.records.base import decimal_text
from git_hmopt.runtime.kpi import Kpi, Scope

USER_HZ = 100
"""Ticks of /proc/stat in a second: the same on every Linux but those of alpha and ia64."""
HUGE_ORDER = 9
"""The order of a huge page of 2 MiB in pages of 4 KiB: the size at which fragmentation matters (M. Gorman, 2010)."""

Counters = Mapping[str, int]
_TICKS = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")
_SECOND = 1_000_000_000


@dataclass(frozen=True)
class Snapshot:
    """One look at /proc."""

    ts_ns: int | None
    """When, by the clock of its capture."""
    rows: Mapping[str, Mapping[str, Counters]]
    """By path and name of the row (empty where a file is one row) the numbers that are whole."""
    words: Mapping[str, Mapping[str, Mapping[str, str]]]
    """The same with everything as text."""


@dataclass(frozen=True)
class _Growth:
    """A counter's growth; None with the reason why it is unknown."""

    by: int | None
    why: str = ""


def snapshots(events: Iterable[pl.DataFrame]) -> tuple[Snapshot, ...]:
    """Return the snapshots that one capture's events of category `proc` hold, in their order."""
    found: dict[str, tuple[int | None, dict[str, dict[str, dict[str, str]]]]] = {}
    for batch in events:
        rows = batch.filter(pl.col("category") == "proc").select("ts_ns", "name", "args")
        for ts_ns, path, args in rows.iter_rows():
            pairs = _pairs(args)
            _, files = found.setdefault(pairs.pop("snapshot", "0"), (ts_ns, {}))
            files.setdefault(path, {})[_row_name(pairs)] = pairs
    return tuple(Snapshot(ts_ns, _numbers(files), files) for ts_ns, files in found.values())


def _pairs(args: str) -> dict[str, str]:
    counters, _, text = args.partition(" text=")
    pairs = dict(word.split("=", 1) for word in counters.split(" ") if "=" in word)
    return {**pairs, "text": text} if text else pairs


def _row_name(pairs: Mapping[str, str]) -> str:
    named = [pairs[key] for key in ("row", "of", "node", "zone", "type") if key in pairs]
    return " ".join(named)


def _numbers(files: Mapping[str, Mapping[str, Mapping[str, str]]]) -> dict[str, dict[str, Counters]]:
    return {path: {name: _whole(pairs) for name, pairs in rows.items()} for path, rows in files.items()}


def _whole(pairs: Mapping[str, str]) -> Counters:
    digits = ((key, value.removesuffix("kB")) for key, value in pairs.items())
    return {key: int(value) for key, value in digits if value.isascii() and value.isdigit() and len(value) <= 20}


def ratio(part: int | Fraction, whole: int | Fraction) -> str:
    """Return a quotient as decimal text; `whole` is not 0."""
    return decimal_text(float(Fraction(part) / Fraction(whole)))


# --- one snapshot -----------------------------------------------------------------------------------------------------


def levels(snapshot: Snapshot, *, order: int = HUGE_ORDER) -> tuple[Kpi, ...]:
    """Return what one snapshot says: free memory, fragmentation at `order`, pressure, load."""
    return (*_memory(snapshot), *_fragmentation(snapshot, order), *_pressure_levels(snapshot), *_load(snapshot))


def _memory(snapshot: Snapshot) -> Iterator[Kpi]:
    meminfo = snapshot.rows.get("/proc/meminfo", {}).get("", {})
    total = meminfo.get("MemTotal", 0)
    for name, key in (("memory_available_ratio", "MemAvailable"), ("memory_free_ratio", "MemFree")):
        if total and key in meminfo:
            yield Kpi(name, "system", "all", ratio(meminfo[key], total), "ratio", 1, f"/proc/meminfo: {key} / MemTotal")
        else:
            yield _unknown(name, "ratio", f"no {key} and MemTotal of /proc/meminfo")


def fragmentation_index(free: Mapping[int, int], order: int) -> int | None:
    """Return the kernel's index of external fragmentation in thousandths, for an allocation that would fail.

    Linux, mm/vmstat.c, __fragmentation_index(): 1000 - (1000 + 1000 free_pages / 2^order) / free_blocks, in whole
    numbers; towards 0 memory is short, towards 1000 it is in pieces. None where the allocation would succeed (the
    kernel writes -1000) and 0 without a free block. `free` are the free blocks by order.
    """
    blocks = sum(free.values())
    pages = sum(count << size for size, count in free.items())
    if not blocks:
        return 0
    if any(count for size, count in free.items() if size >= order):
        return None
    return 1000 - (1000 + pages * 1000 // (1 << order)) // blocks


def unusable_index(free: Mapping[int, int], order: int) -> int:
    """Return the kernel's share, in thousandths, of free memory in blocks too small for an allocation of `order`.

    Linux, mm/vmstat.c, unusable_free_index(): 1000 (free_pages - usable_blocks 2^order) / free_pages, and 1000 when
    nothing is free.
    """
    pages = sum(count << size for size, count in free.items())
    usable = sum(count << size for size, count in free.items() if size >= order)
    return (pages - usable) * 1000 // pages if pages else 1000


def _fragmentation(snapshot: Snapshot, order: int) -> Iterator[Kpi]:
    zones = snapshot.rows.get("/proc/buddyinfo", {})
    for name, pairs in zones.items():
        free = {int(key[5:]): value for key, value in pairs.items() if key.startswith("order")}
        node, _, zone = name.partition(" ")
        who, pages = f"node {node} zone {zone}", sum(count << size for size, count in free.items())
        basis = f"/proc/buddyinfo, order {order}, mm/vmstat.c"
        index = fragmentation_index(free, order)
        yield Kpi(
            "fragmentation_index", "system", who, None if index is None else ratio(index, 1000), "ratio", pages,
            f"{basis}: __fragmentation_index" + ("; undefined, an allocation would succeed" if index is None else ""),
        )  # fmt: skip
        unusable = ratio(unusable_index(free, order), 1000)
        yield Kpi("unusable_free_index", "system", who, unusable, "ratio", pages, f"{basis}: unusable_free_index")
    if not zones:
        yield _unknown("fragmentation_index", "ratio", "no /proc/buddyinfo")


def _pressure_levels(snapshot: Snapshot) -> Iterator[Kpi]:
    for path, row, pairs in _pressures(snapshot):
        if "avg10" in pairs:
            who = path.rpartition("/")[2]
            value = ratio(Fraction(pairs["avg10"]), 100)
            yield Kpi(f"pressure_{row}_avg10", "system", who, value, "ratio", 1, f"{path}: the kernel's mean over 10 s")


def _pressures(snapshot: Snapshot) -> Iterator[tuple[str, str, Mapping[str, str]]]:
    # Without a file's name nobody knows which resource a pressure is of.
    for path, rows in snapshot.words.items():
        if path.startswith("/proc/pressure/"):
            yield from ((path, row, pairs) for row, pairs in rows.items())


def _load(snapshot: Snapshot) -> Iterator[Kpi]:
    stat = snapshot.rows.get("/proc/stat", {})
    for name, row in (("tasks_runnable", "procs_running"), ("tasks_blocked", "procs_blocked")):
        if row in stat and "value" in stat[row]:
            yield Kpi(name, "system", "all", str(stat[row]["value"]), "tasks", 1, f"/proc/stat: {row}")
        else:
            yield _unknown(name, "tasks", f"no {row} of /proc/stat")


# --- two snapshots ----------------------------------------------------------------------------------------------------


def rates(before: Snapshot, after: Snapshot) -> tuple[Kpi, ...]:
    """Return what happened between two snapshots of the same machine: CPU, interrupts, run queues, memory, pressure."""
    pair = _Between(before, after)
    return (*_cpu(pair), *_switches_and_interrupts(pair), *_imbalance(pair), *_run_queues(pair), *_reclaim(pair),
            *_memory_rates(pair), *_pressure_rates(pair))  # fmt: skip


class _Between:
    """Two snapshots, and how every counter grew between them."""

    def __init__(self, before: Snapshot, after: Snapshot) -> None:
        self.before, self.after = before, after
        self.restarted = self._restarted()
        self.seconds, self.clock = self._elapsed()

    def _restarted(self) -> str:
        stats = [one.rows.get("/proc/stat", {}) for one in (self.before, self.after)]
        starts = [stat.get("btime", {}).get("value") for stat in stats]
        # The kernel derives btime anew at each reading: it moves by a second when the clock is adjusted.
        if None not in starts and abs(starts[0] - starts[1]) > 2:  # type: ignore[operator]  # neither is None
            return "the machine was started again between the snapshots (btime of /proc/stat differs)"
        if self.before.ts_ns is not None and self.after.ts_ns is not None and self.after.ts_ns < self.before.ts_ns:
            return "time went backwards between the snapshots: a restart, or they are swapped"
        return ""

    def _elapsed(self) -> tuple[Fraction | None, str]:
        if self.restarted:
            return None, self.restarted
        if self.before.ts_ns is not None and self.after.ts_ns is not None and self.after.ts_ns > self.before.ts_ns:
            seconds = Fraction(self.after.ts_ns - self.before.ts_ns, _SECOND)
            return seconds, f"over {decimal_text(float(seconds))} s of the capture's clock"
        ticks = [
            sum(grown.by for grown in parts if grown.by is not None)
            for row in self.rows("/proc/stat")
            if row.startswith("cpu") and row != "cpu" and (parts := _tick_growth(self, row))
        ]
        if not ticks or not sum(ticks):
            return None, "the time between the snapshots is unknown: neither has a clock, nor /proc/stat ticks of CPUs"
        seconds = Fraction(sum(ticks), len(ticks) * USER_HZ)
        text = f"over {decimal_text(float(seconds))} s by the ticks of /proc/stat ({USER_HZ} a second)"
        return seconds, text

    def rows(self, path: str) -> tuple[str, ...]:
        """Return the names of the rows that both snapshots have of a file."""
        first, second = self.before.rows.get(path, {}), self.after.rows.get(path, {})
        return tuple(name for name in first if name in second)

    def growth(self, path: str, row: str, key: str) -> _Growth:
        """Return by how much a counter grew; unknown where one side lacks it, or it went backwards."""
        first = self.before.rows.get(path, {}).get(row, {}).get(key)
        second = self.after.rows.get(path, {}).get(row, {}).get(key)
        name = " ".join(word for word in (path, row, key) if word)
        if self.restarted:
            return _Growth(None, self.restarted)
        if first is None or second is None:
            return _Growth(None, f"not both snapshots have {name}")
        if second < first:
            return _Growth(None, f"{name} went backwards ({first} to {second}): a wrap or a CPU that went offline")
        return _Growth(second - first)

    def total(self, path: str, row: str, keys: Iterable[str]) -> _Growth:
        """Return the summed growth of several counters of a row; unknown when there are none or one is."""
        parts = [self.growth(path, row, key) for key in keys]
        why = next((part.why for part in parts if part.by is None), "" if parts else f"no such counters in {path}")
        return _Growth(None, why) if why else _Growth(sum(part.by or 0 for part in parts))

    def rate(
        self, name: str, growth: _Growth, unit: str, basis: str, *, scope: Scope = "system", who: str = "all"
    ) -> Kpi:
        """Return a growth by second."""
        if growth.by is None:
            return Kpi(name, scope, who, None, unit, 0, f"unknown: {growth.why}")
        if self.seconds is None:
            return Kpi(name, scope, who, None, unit, growth.by, f"unknown: {self.clock}")
        return Kpi(name, scope, who, ratio(growth.by, self.seconds), unit, growth.by, f"{basis}, {self.clock}")


def _unknown(name: str, unit: str, why: str, *, scope: Scope = "system", who: str = "all") -> Kpi:
    return Kpi(name, scope, who, None, unit, 0, f"unknown: {why}")


def _share(name: str, part: _Growth, whole: _Growth, basis: str, *, unit: str = "ratio", scope: Scope = "system",
           who: str = "all") -> Kpi:  # fmt: skip
    if part.by is None or whole.by is None:
        return _unknown(name, unit, part.why or whole.why, scope=scope, who=who)
    if not whole.by:
        return _unknown(name, unit, f"{basis}: nothing to divide by, the divisor did not grow", scope=scope, who=who)
    return Kpi(name, scope, who, ratio(part.by, whole.by), unit, whole.by, basis)


def _tick_growth(pair: _Between, row: str) -> list[_Growth]:
    """Return the growth of each kind of tick; iowait may go backwards (Documentation/filesystems/proc.rst): then 0.

    guest and guest_nice are left out: they are already in user and nice.
    """
    present = [key for key in _TICKS if key in pair.before.rows["/proc/stat"][row]]
    parts = [pair.growth("/proc/stat", row, key) for key in present]
    return [
        _Growth(0) if key == "iowait" and part.by is None and not pair.restarted and _both(pair, row, key) else part
        for key, part in zip(present, parts, strict=True)
    ]


def _both(pair: _Between, row: str, key: str) -> bool:
    return all(key in side.rows["/proc/stat"][row] for side in (pair.before, pair.after))


def _cpu(pair: _Between) -> Iterator[Kpi]:
    rows = [row for row in pair.rows("/proc/stat") if row.startswith("cpu")]
    for row in rows:
        scope: Scope = "system" if row == "cpu" else "cpu"
        who = "all" if row == "cpu" else row
        present = [key for key in _TICKS if key in pair.before.rows["/proc/stat"][row]]
        parts = dict(zip(present, _tick_growth(pair, row), strict=True))
        broken = next((part.why for part in parts.values() if part.by is None), "")
        if broken:
            yield _unknown("cpu_util_avg", "ratio", broken, scope=scope, who=who)
            continue
        ticks = {key: part.by or 0 for key, part in parts.items()}
        total, idle = sum(ticks.values()), ticks["idle"] + ticks.get("iowait", 0)
        back = pair.growth("/proc/stat", row, "iowait").by is None and "iowait" in ticks
        basis = "/proc/stat: 1 - (idle + iowait) / all ticks" + ("; iowait went backwards, taken as 0" if back else "")
        yield _share("cpu_util_avg", _Growth(total - idle), _Growth(total), basis, scope=scope, who=who)
    if not rows:
        yield _unknown("cpu_util_avg", "ratio", "not both snapshots have the cpu line of /proc/stat")


def _switches_and_interrupts(pair: _Between) -> Iterator[Kpi]:
    stat = "/proc/stat"
    yield pair.rate("context_switch_rate", pair.growth(stat, "ctxt", "value"), "1/s", f"{stat}: ctxt")
    yield pair.rate("irq_rate", pair.growth(stat, "intr", "total"), "1/s", f"{stat}: intr")
    yield pair.rate("softirq_rate", pair.growth(stat, "softirq", "total"), "1/s", f"{stat}: softirq")
    for vector in pair.after.rows.get(stat, {}).get("softirq", {}):
        if vector != "total" and (grown := pair.growth(stat, "softirq", vector)).by != 0:
            yield pair.rate("softirq_rate", grown, "1/s", f"{stat}: softirq", who=vector)
    for row in pair.rows("/proc/interrupts"):
        cpus = _cpus(pair, "/proc/interrupts", row)
        if cpus and (grown := pair.total("/proc/interrupts", row, cpus)).by != 0:
            text = pair.after.words["/proc/interrupts"][row].get("text", "")
            yield pair.rate("irq_rate", grown, "1/s", "/proc/interrupts", who=f"{row} {text}".strip())


def _cpus(pair: _Between, path: str, row: str) -> list[str]:
    return [key for key in pair.after.rows[path][row] if key.startswith("CPU")]


def _imbalance(pair: _Between) -> Iterator[Kpi]:
    """Yield the busiest CPU's share of the interrupts with a number (devices) and of the softirqs, and each's rate."""
    for name, path in (("irq", "/proc/interrupts"), ("softirq", "/proc/softirqs")):
        rows = [row for row in pair.rows(path) if name == "softirq" or row.isdigit()]
        cpus = dict.fromkeys(cpu for row in rows for cpu in _cpus(pair, path, row))
        of = "numbered rows, " if name == "irq" else ""
        by_cpu = {cpu: _of_cpu(pair, path, rows, cpu) for cpu in cpus}
        broken = next((part.why for part in by_cpu.values() if part.by is None), "")
        if broken or not cpus:
            yield _unknown(f"{name}_imbalance", "ratio", broken or f"not both snapshots have {path}")
            continue
        counts = [part.by or 0 for part in by_cpu.values()]
        basis = f"{path}: {of}largest share of one of {len(cpus)} CPUs; even is {ratio(1, len(cpus))}"
        yield _share(f"{name}_imbalance", _Growth(max(counts)), _Growth(sum(counts)), basis)
        for cpu, part in by_cpu.items():
            yield pair.rate(f"{name}_rate", part, "1/s", f"{path}: {of}summed", scope="cpu", who=cpu.lower())


def _of_cpu(pair: _Between, path: str, rows: Iterable[str], cpu: str) -> _Growth:
    parts = [pair.growth(path, row, cpu) for row in rows]
    why = next((part.why for part in parts if part.by is None), "")
    return _Growth(None, why) if why else _Growth(sum(part.by or 0 for part in parts))


def _run_queues(pair: _Between) -> Iterator[Kpi]:
    name, path = "run_queue_delay_mean", "/proc/schedstat"
    cpus = [row for row in pair.rows(path) if row.startswith("cpu")]
    parts = [
        (row, pair.growth(path, row, "rundelay_ns"), pair.growth(path, row, "timeslices")) for row in cpus
    ]  # fmt: skip
    basis = f"{path}: rundelay_ns / timeslices"
    if cpus:
        yield _share(name, _summed([part[1] for part in parts]), _summed([part[2] for part in parts]), basis, unit="ns")
    else:
        yield _unknown(name, "ns", f"not both snapshots have {path} of version 15 to 17")
    for row, delay, slices in parts:
        yield _share(name, delay, slices, basis, unit="ns", scope="cpu", who=row)
    for task in pair.before.rows:
        words = task.split("/")
        if words[-1] == "schedstat" and len(words) > 3 and task in pair.after.rows:
            delay, slices = (pair.growth(task, "", key) for key in ("rundelay_ns", "timeslices"))
            scope: Scope = "thread" if "task" in words else "process"
            basis = f"{task}: rundelay_ns / timeslices"
            yield _share(name, delay, slices, basis, unit="ns", scope=scope, who=words[-2])


def _summed(parts: Iterable[_Growth]) -> _Growth:
    kept = list(parts)
    why = next((part.why for part in kept if part.by is None), "")
    return _Growth(None, why) if why else _Growth(sum(part.by or 0 for part in kept))


_VMSTAT = "/proc/vmstat"


def _vmstat(pair: _Between, *starts: str) -> _Growth:
    """Return the growth of the counters of /proc/vmstat that are named so, or so with the name of a zone or list."""
    keys = [
        key
        for key in pair.after.rows.get(_VMSTAT, {}).get("", {})
        if any(key == start or key.startswith(f"{start}_") for start in starts) and not key.endswith("_throttle")
    ]
    return pair.total(_VMSTAT, "", keys)


_RECLAIMERS = ("kswapd", "direct", "khugepaged", "proactive")


def _reclaim(pair: _Between) -> Iterator[Kpi]:
    scanned = _vmstat(pair, *(f"pgscan_{who}" for who in _RECLAIMERS))
    stolen = _vmstat(pair, *(f"pgsteal_{who}" for who in _RECLAIMERS))
    yield _share("reclaim_efficiency", stolen, scanned, f"{_VMSTAT}: pgsteal / pgscan")
    yield _share("direct_reclaim_share", _vmstat(pair, "pgscan_direct"), scanned, f"{_VMSTAT}: pgscan_direct / pgscan")
    for who in ("kswapd", "direct"):
        yield pair.rate("reclaim_scan_rate", _vmstat(pair, f"pgscan_{who}"), "pages/s", _VMSTAT, who=who)
    worked, failed = (pair.growth(_VMSTAT, "", f"compact_{end}") for end in ("success", "fail"))
    yield _share("compaction_success", worked, _summed([worked, failed]), f"{_VMSTAT}: success / (success + fail)")


def _memory_rates(pair: _Between) -> Iterator[Kpi]:
    for name, start, unit in (
        ("allocation_stall_rate", "allocstall", "1/s"),
        ("refault_rate", "workingset_refault", "pages/s"),
        ("compaction_stall_rate", "compact_stall", "1/s"),
        ("oom_kill_rate", "oom_kill", "1/s"),
        ("major_fault_rate", "pgmajfault", "1/s"),
        ("swap_in_rate", "pswpin", "pages/s"),
        ("swap_out_rate", "pswpout", "pages/s"),
    ):
        yield pair.rate(name, _vmstat(pair, start), unit, f"{_VMSTAT}: {start}")


def _pressure_rates(pair: _Between) -> Iterator[Kpi]:
    for path, row, _ in _pressures(pair.after):
        grown = pair.growth(path, row, "total")
        stalled = _Growth(None, grown.why) if grown.by is None else grown
        name, who = f"pressure_{row}", path.rpartition("/")[2]
        kpi = pair.rate(name, stalled, "ratio", f"{path}: microseconds stalled / time", who=who)
        if kpi.value is None or pair.seconds is None or stalled.by is None:
            yield kpi
        else:
            value = ratio(Fraction(stalled.by, 1_000_000), pair.seconds)
            yield Kpi(name, "system", who, value, "ratio", stalled.by, kpi.rule)
