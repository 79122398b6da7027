# SPDX-License-Identifier: Apache-2.0
"""Bottleneck classes from the KPIs of a capture: how long what waited, and how much was late."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from git_hmopt.evidence.families import family_of
from git_hmopt.evidence.rule import Bottleneck, Rule, Undecided, percent
from git_hmopt.records import bottleneck as names
from git_hmopt.records.bottleneck import BottleneckClass
from git_hmopt.runtime.kpi import NS, Kpi

_MAJORITY = 0.5
_TENTH = 0.1


@dataclass(frozen=True)
class Reading:
    """What a rule reads out of the KPIs: a number, and the KPIs it comes from with theirs."""

    value: float
    evidence: tuple[str, ...]


@dataclass(frozen=True)
class KpiRule:
    """A rule over KPIs. `read` gives the number, or in words why nobody knows it."""

    rule: Rule
    read: Callable[[Kpis], Reading | str]
    bound: float
    share: Callable[[float], float] | None = None
    """From the number to the share of the capture's time it explains."""


class Kpis:
    """KPIs by name and whose they are."""

    def __init__(self, records: Sequence[Kpi]) -> None:
        self._records = records

    def one(self, name: str, who: str = "all") -> Reading | str:
        """Return a number, or why it is not known."""
        named = [one for one in self._records if (one.name, one.who) == (name, who)]
        # Of several captures the first that knows it.
        found = next((one for one in named if one.value is not None), next(iter(named), None))
        shown = name if who == "all" else f"{name} of {who}"
        if found is None:
            return f"no capture tells {shown}"
        if found.value is None:
            return f"{shown} is unknown: {found.rule}"
        return Reading(float(found.value), (f"{shown} {found.value} {found.unit} (n={found.n})",))

    def by_who(self, name: str) -> dict[str, float]:
        """Return the known numbers of a name, by whose they are."""
        return {one.who: float(one.value) for one in self._records if one.name == name and one.value is not None}


def _one(name: str, who: str = "all") -> Callable[[Kpis], Reading | str]:
    return lambda kpis: kpis.one(name, who)


def _time_of(*prefixes: str) -> Callable[[Kpis], Reading | str]:
    """Read the least share of one CPU that was spent: at least half of what is counted lasts the median or longer."""

    def read(kpis: Kpis) -> Reading | str:
        total = 0.0
        evidence: list[str] = []
        why: list[str] = []
        for prefix in prefixes:
            rate, median = kpis.one(f"{prefix}_rate"), kpis.one(f"{prefix}_time_p50")
            if isinstance(rate, Reading) and not rate.value:
                evidence += rate.evidence  # of what never happened there is no median
            elif isinstance(rate, Reading) and isinstance(median, Reading):
                total += rate.value * median.value / 2 / NS
                evidence += [*rate.evidence, *median.evidence]
            else:
                why += [one for one in (rate, median) if isinstance(one, str)]
        return Reading(total, tuple(evidence)) if evidence else "; ".join(why)

    return read


def _blocked_on_locks(kpis: Kpis) -> Reading | str:
    """Read which share of the time that threads were blocked they waited for a lock."""
    times = kpis.by_who("blocked_time")
    whole = sum(value for _, value in sorted(times.items()))
    if not whole:
        return "no capture tells blocked_time"
    locks = {who: value for who, value in times.items() if family_of(_caller(who)) == names.LOCK_CONTENTION}
    dearest = sorted(locks, key=lambda who: (-locks[who], who))[:3]
    share = sum(value for _, value in sorted(locks.items())) / whole
    return Reading(share, tuple(f"blocked_time of {who} {percent(times[who] / whole)} of all" for who in dearest))


def _caller(who: str) -> str:
    return who.partition("+")[0].partition("[")[0].strip()


def _stalled(kpis: Kpis) -> Reading | str:
    """Read the share of last-level references that missed, where cycles retire less than an instruction."""
    ipc, misses = kpis.one("ipc"), kpis.one("cache_miss_rate")
    if isinstance(ipc, str) or isinstance(misses, str):
        return "; ".join(one for one in (ipc, misses) if isinstance(one, str))
    return Reading(misses.value if ipc.value < 1 else 0.0, (*ipc.evidence, *misses.evidence))


def _itself(value: float) -> float:
    return value


_PSI = (
    "the example trigger of Documentation/accounting/psi.rst for stalls of everybody: 50 ms within a second; what is"
    " shorter a frame of 16 ms outlives"
)
_TENTH_WHY = "a tenth of the time, as for the families of functions in a profile"

RULES: tuple[KpiRule, ...] = (
    KpiRule(
        Rule(names.FRAME_STABILITY, "frames are late by 5 ms or more in every second of activity", "5 ms/s",
              "the hitch time ratio from which a user notices (Apple, WWDC20, session 10077: below 5 good, above 10"
              " critical)"),
        _one("hitch_ms_per_s"), 5.0, lambda value: value / 1000,
    ),
    KpiRule(
        Rule(names.FRAME_STABILITY, "one frame of a hundred or more is dropped", "1 % of frames",
              "at 60 Hz this is one in two seconds, so that every scroll of some seconds shows one"),
        _one("frame_drop_rate"), 0.01,
    ),
    KpiRule(
        Rule(names.SCHEDULER_LATENCY, "one in a hundred waits for a CPU lasts 6 ms or longer", "6 ms at p99",
              "sysctl_sched_latency of kernel/sched/fair.c up to 6.5: every runnable thread of a CPU runs once in it"),
        _one("sched_latency_p99"), 6e6,
    ),
    KpiRule(
        Rule(names.SCHEDULER_LATENCY, "somebody waits for a CPU in at least a tenth of the time", "10 % of the time",
              _TENTH_WHY),
        _one("pressure_some", "cpu"), _TENTH, _itself,
    ),
    KpiRule(
        Rule(names.WAKEUP_LATENCY, "one in twenty wakeups takes 1 ms or longer until the thread runs", "1 ms at p95",
              "sysctl_sched_wakeup_granularity of kernel/sched/fair.c up to 6.5: who is woken and lags more preempts"),
        _one("wakeup_latency_p95"), 1e6,
    ),
    KpiRule(
        Rule(names.INTERRUPTS, "handlers of interrupts and softirqs take at least a tenth of one CPU",
              "10 % of one CPU", _TENTH_WHY),
        _time_of("irq", "softirq"), _TENTH, _itself,
    ),
    KpiRule(
        Rule(names.RECLAIM, "everybody waits for memory in at least 5 % of the time", "5 % of the time", _PSI),
        _one("pressure_full", "memory"), 0.05, _itself,
    ),
    KpiRule(
        Rule(names.RECLAIM, "threads reclaim memory themselves in at least 5 % of one CPU's time", "5 % of one CPU",
              _PSI),
        _time_of("direct_reclaim"), 0.05, _itself,
    ),
    KpiRule(
        Rule(names.RECLAIM, "something was killed for its memory", "1 kill",
              "a kill is what reclaim that fails ends in: one is one too many"),
        _one("memory_kills"), 1.0,
    ),
    KpiRule(
        Rule(names.IO_WAIT, "everybody waits for I/O in at least 5 % of the time", "5 % of the time", _PSI),
        _one("pressure_full", "io"), 0.05, _itself,
    ),
    KpiRule(
        Rule(names.IO_WAIT, "at least half of what threads block on is I/O", "50 % of blockings",
              "more than everything else together"),
        _one("blocked_iowait_ratio"), _MAJORITY,
    ),
    KpiRule(
        Rule(names.LOCK_CONTENTION, "threads wait for locks in at least half of the time they are blocked",
              "50 % of the blocked time", "more than everything else together"),
        _blocked_on_locks, _MAJORITY,
    ),
    KpiRule(
        Rule(names.MEMORY_BOUND, "a cycle retires less than one instruction, and a tenth or more of the references to"
              " the last cache level miss", "1 instruction a cycle, 10 % misses",
              "below one the core is mostly stalled (Gregg, CPU Utilization is Wrong, 2017); where fewer than a tenth"
              " miss, the last level serves and something else stalls it"),
        _stalled, _TENTH,
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Decided:
    """What KPIs decide."""

    held: tuple[Bottleneck, ...]
    decided: frozenset[BottleneckClass]
    """The classes of which at least one rule was decided, whether it holds or not."""
    undecided: tuple[Undecided, ...]


def of_kpis(records: Sequence[Kpi]) -> Decided:
    """Return the rules that hold, and the classes of which no rule could be decided, with the reasons."""
    kpis = Kpis(records)
    held: list[Bottleneck] = []
    why: dict[BottleneckClass, list[str]] = {}
    decided: set[BottleneckClass] = set()
    for one in RULES:
        found = one.read(kpis)
        name = one.rule.bottleneck
        if isinstance(found, str):
            why.setdefault(name, []).append(found)
            continue
        decided.add(name)
        if found.value >= one.bound:
            held.append(_held(one, found))
    undecided = (
        Undecided(name, "; ".join(dict.fromkeys(reasons))) for name, reasons in why.items() if name not in decided
    )
    return Decided(tuple(held), frozenset(decided), tuple(undecided))


def _held(one: KpiRule, found: Reading) -> Bottleneck:
    share = min(1.0, one.share(found.value)) if one.share else None
    reason = f"{one.rule.condition}: {', '.join(found.evidence)} (rule: {one.rule.threshold})"
    return Bottleneck(one.rule.bottleneck, reason, share, one.rule, found.evidence)
