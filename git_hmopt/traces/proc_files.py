# SPDX-License-Identifier: Apache-2.0
"""Read the text of single files of /proc into rows of `key=value`.

The layouts are those of Linux's fs/proc/stat.c, kernel/sched/stats.c, mm/vmstat.c, kernel/sched/psi.c and of
Documentation/scheduler/sched-stats.rst.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from git_hmopt.traces.capture import Losses

BAD_ROW = "row of a /proc file that is not as the kernel writes it"
ABOVE = "count that the kernel cuts off at 100000 (pagetypeinfo)"
PAGESETS = "line about the page lists of a CPU (zoneinfo)"
OLD_SCHEDSTAT = "line of a schedstat version that is not 15, 16 or 17"

Pairs = Sequence[tuple[str, str]]

_CPU_TIMES = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal", "guest", "guest_nice")
_SOFTIRQS = ("HI", "TIMER", "NET_TX", "NET_RX", "BLOCK", "IRQ_POLL", "TASKLET", "SCHED", "HRTIMER", "RCU")
_RUN_QUEUE = ("yld_count", "", "sched_count", "sched_goidle", "ttwu_count", "ttwu_local", "run_ns", "rundelay_ns",
              "timeslices")  # fmt: skip
_BALANCE = {
    15: ("lb_count", "lb_balanced", "lb_failed", "lb_imbalance", "lb_gained", "lb_hot_gained", "lb_nobusyq",
         "lb_nobusyg"),
    17: ("lb_count", "lb_balanced", "lb_failed", "lb_imbalance_load", "lb_imbalance_util", "lb_imbalance_task",
         "lb_imbalance_misfit", "lb_gained", "lb_hot_gained", "lb_nobusyq", "lb_nobusyg"),
}  # fmt: skip
_DOMAIN_TAIL = ("alb_count", "alb_failed", "alb_pushed", "sbe_count", "sbe_balanced", "sbe_pushed", "sbf_count",
                "sbf_balanced", "sbf_pushed", "ttwu_wake_remote", "ttwu_move_affine", "ttwu_move_balance")  # fmt: skip
_KEY = re.compile(r"[A-Za-z_][\w().-]{0,80}")


@dataclass(frozen=True)
class Row:
    """One row of one file."""

    pairs: Pairs
    cpu: int | None = None


def numbers(words: Sequence[str]) -> bool:
    """Say whether every word is a whole number that 64 bits can hold, about."""
    digits = "".join(words)
    return digits.isascii() and digits.isdigit() and "" not in words and len(max(words, key=len)) <= 20


def _cpu_number(word: str) -> int | None:
    digits = word[3:]
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 5 else None


def _stat(lines: Sequence[str], losses: Losses) -> Iterator[Row]:
    for line in lines:
        name, *values = line.split()
        if not values or not numbers(values):
            losses[BAD_ROW] += 1
        elif name.startswith("cpu") and len(values) >= 4:
            pairs = zip(_CPU_TIMES, values, strict=False)
            yield Row([("row", name), *pairs], cpu=_cpu_number(name))
        elif name == "intr":
            # One position an interrupt number; thousands of them never fire, and an absent one is 0.
            fired = [(str(at), value) for at, value in enumerate(values[1:]) if value != "0"]
            yield Row([("row", name), ("total", values[0]), *fired])
        elif name == "softirq":
            yield Row([("row", name), ("total", values[0]), *zip(_SOFTIRQS, values[1:], strict=False)])
        elif len(values) == 1 and _KEY.fullmatch(name):
            yield Row([("row", name), ("value", values[0])])
        else:
            losses[BAD_ROW] += 1


def _flat(lines: Sequence[str], losses: Losses) -> Iterator[Row]:
    pairs = []
    for line in lines:
        key, *values = line.replace(":", " ").split()
        if not values or len(values) > 2 or not numbers(values[:1]) or not _KEY.fullmatch(key):
            losses[BAD_ROW] += 1
        else:
            pairs.append((key, "".join(values)))
    if pairs:
        yield Row(pairs)


def _schedstat(lines: Sequence[str], losses: Losses) -> Iterator[Row]:
    version, cpu = 0, ""
    for line in lines:
        name, *values = line.split()
        if name in ("version", "timestamp") and len(values) == 1 and numbers(values):
            version = int(values[0]) if name == "version" else version
            yield Row([("row", name), ("value", values[0])])
        elif version not in (15, 16, 17):
            losses[OLD_SCHEDSTAT] += 1
        elif name.startswith("cpu") and len(values) == len(_RUN_QUEUE) and numbers(values):
            cpu = name
            pairs = [(key, value) for key, value in zip(_RUN_QUEUE, values, strict=True) if key]
            yield Row([("row", name), *pairs], cpu=_cpu_number(name))
        elif name.startswith("domain") and (domain := _domain(values, version)):
            yield Row([("row", name), ("of", cpu), *domain], cpu=_cpu_number(cpu))
        else:
            losses[BAD_ROW] += 1


def _domain(values: Sequence[str], version: int) -> Pairs | None:
    named: Pairs = [("name", values[0])] if version == 17 and values else []
    mask, counts = values[len(named) : len(named) + 1], values[len(named) + 1 :]
    # Version 16 put busy before idle; 17 split the imbalance and named the domain.
    kinds = ("idle", "busy", "newidle") if version == 15 else ("busy", "idle", "newidle")
    fields = _BALANCE[17 if version == 17 else 15]
    keys = [f"{kind}_{field}" for kind in kinds for field in fields] + list(_DOMAIN_TAIL)
    if len(counts) != len(keys) or not numbers(counts):
        return None
    return [*named, ("mask", mask[0]), *zip(keys, counts, strict=True)]


def _by_cpu(lines: Sequence[str], losses: Losses) -> Iterator[Row]:
    cpus: list[str] = []
    for line in lines:
        words = line.split()
        if words[0].startswith("CPU"):
            cpus = words if all(_cpu_number(word) is not None for word in words) else []
            continue
        name, rest = words[0].removesuffix(":"), words[1:]
        many = len(cpus)
        if cpus and len(rest) >= many and numbers(rest[:many]):
            counts, text = list(zip(cpus, rest[:many], strict=True)), rest[many:]
        elif rest and numbers(rest[:1]) and not numbers(rest[1:2] or ["-"]):
            counts, text = [("total", rest[0])], rest[1:]  # ERR and MIS are not counted by CPU
        else:
            losses[BAD_ROW] += 1
            continue
        yield Row([("row", name), *counts, *([("text", " ".join(text))] if text else [])])


_ZONE = re.compile(r"Node +(\d{1,5}), zone +(\S+)(.*)$")


def _buddyinfo(lines: Sequence[str], losses: Losses) -> Iterator[Row]:
    for line in lines:
        match = _ZONE.match(line.strip())
        counts = match[3].split() if match else []
        if match is None or not counts or not numbers(counts):
            losses[BAD_ROW] += 1
            continue
        yield Row([("node", match[1]), ("zone", match[2]), *_orders(counts)])


def _orders(counts: Sequence[str]) -> Pairs:
    return [(f"order{order}", count) for order, count in enumerate(counts) if not count.startswith(">")]


def _pagetypeinfo(lines: Sequence[str], losses: Losses) -> Iterator[Row]:
    kinds: list[str] = []
    for line in lines:
        text = line.strip()
        match = _ZONE.match(text)
        if text.startswith("Number of blocks type"):
            kinds = text.split()[4:]
        elif text.startswith("Free pages count per migrate type"):
            kinds = []
        elif (size := re.fullmatch(r"(Page block order|Pages per block): +(\d{1,9})", text)) is not None:
            yield Row([("row", size[1].lower().replace(" ", "_")), ("value", size[2])])
        elif match is not None and (row := _typed_zone(match, kinds, losses)):
            yield row
        else:
            losses[BAD_ROW] += 1


def _typed_zone(match: re.Match[str], kinds: Sequence[str], losses: Losses) -> Row | None:
    node, zone, words = match[1], match[2].removesuffix(","), match[3].replace(",", " ").split()
    if kinds and len(words) == len(kinds) and numbers(words):
        return Row([("row", "blocks"), ("node", node), ("zone", zone), *zip(kinds, words, strict=True)])
    if len(words) < 3 or words[0] != "type" or not numbers([word.removeprefix(">") for word in words[2:]]):
        return None
    if above := sum(word.startswith(">") for word in words):
        losses[ABOVE] += above
    return Row([("row", "free"), ("node", node), ("zone", zone), ("type", words[1]), *_orders(words[2:])])


def _zoneinfo(lines: Sequence[str], losses: Losses) -> Iterator[Row]:
    pairs: list[tuple[str, str]] = []
    in_pagesets = False
    for line in lines:
        text = line.strip()
        if match := _ZONE.match(text):
            if pairs:
                yield Row(pairs)
            pairs, in_pagesets = [("node", match[1]), ("zone", match[2])], False
            continue
        words = text.removeprefix("pages ").replace(":", " ").split()
        if text.startswith("pagesets"):
            in_pagesets = True
        elif len(words) == 2 and numbers(words[1:]) and line.startswith(("  node_", "  start_")):
            pairs.append((words[0], words[1]))
        elif in_pagesets:
            losses[PAGESETS] += 1
        elif len(words) == 2 and numbers(words[1:]) and pairs:
            pairs.append((words[0], words[1]))
        elif not text.startswith(("protection:", "per-node stats")):
            losses[BAD_ROW] += 1
    if pairs:
        yield Row(pairs)


_PRESSURE = re.compile(r"(some|full) avg10=(\d+\.\d+) avg60=(\d+\.\d+) avg300=(\d+\.\d+) total=(\d{1,20})")


def _pressure(lines: Sequence[str], losses: Losses) -> Iterator[Row]:
    for line in lines:
        match = _PRESSURE.fullmatch(line.strip())
        if match is None:
            losses[BAD_ROW] += 1
            continue
        yield Row(list(zip(("row", "avg10", "avg60", "avg300", "total"), match.groups(), strict=True)))


def _words(keys: Sequence[str], pattern: str) -> Callable[[Sequence[str], Losses], Iterator[Row]]:
    shape = re.compile(pattern)

    def read(lines: Sequence[str], losses: Losses) -> Iterator[Row]:
        for line in lines:
            match = shape.fullmatch(line.strip())
            if match is None:
                losses[BAD_ROW] += 1
            else:
                yield Row(list(zip(keys, match.groups(), strict=True)))

    return read


_N, _D = r"(\d{1,20})", r"(\d{1,12}\.\d{1,9})"
READERS: Mapping[str, Callable[[Sequence[str], Losses], Iterator[Row]]] = MappingProxyType(
    {
        "stat": _stat,
        "vmstat": _flat,
        "meminfo": _flat,
        "schedstat": _schedstat,
        "task-schedstat": _words(("run_ns", "rundelay_ns", "timeslices"), rf"{_N} {_N} {_N}"),
        "interrupts": _by_cpu,
        "softirqs": _by_cpu,
        "buddyinfo": _buddyinfo,
        "pagetypeinfo": _pagetypeinfo,
        "zoneinfo": _zoneinfo,
        "pressure": _pressure,
        "loadavg": _words(
            ("load1", "load5", "load15", "running", "threads", "last_pid"), rf"{_D} {_D} {_D} {_N}/{_N} {_N}"
        ),
        "uptime": _words(("uptime", "idle"), rf"{_D} {_D}"),
    }
)
"""Reads the lines that are not blank of one file, by its kind."""
