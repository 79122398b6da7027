# SPDX-License-Identifier: Apache-2.0
"""Bottleneck classes from the names of hot symbols: what families of the kernel's own functions cost together."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from git_hmopt.evidence.rule import Bottleneck, Rule, percent
from git_hmopt.evidence.structure import source_name
from git_hmopt.records import bottleneck as names
from git_hmopt.records.bottleneck import BottleneckClass
from git_hmopt.runtime.call_graph import CallGraph
from git_hmopt.runtime.ranking import Ranked

LEAST = 0.1
_WHY = (
    "removing half of a tenth wins 5 %, about the least that one build of each side tells from code layout;"
    " below it a whole family is worth no more than a hotspot's own loop"
)
_SHOWN = 3


@dataclass(frozen=True)
class Family:
    """Functions that cost for one reason. With `below`, what they call belongs to it."""

    rule: Rule
    pattern: re.Pattern[str]
    below: bool


@dataclass(frozen=True)
class Cost:
    """What a symbol costs, as shares of the whole profile; None is unmeasured."""

    own: float
    inclusive: float | None


def _family(name: BottleneckClass, what: str, pattern: str, *, below: bool) -> Family:
    counted = "self cost, or the cost below the dearest of them where stacks tell" if below else "self cost"
    condition = f"{what} have at least 10 % of the profile's {counted}"
    return Family(Rule(name, condition, "10 % of the profile", _WHY), re.compile(pattern), below)


# The first family whose pattern matches has the symbol. Names are those of the kernel from 5.10 to 6.12; a function
# that was renamed stands under both names.
FAMILIES: tuple[Family, ...] = (
    _family(
        names.PRIORITY_INVERSION,
        "slow paths of rt_mutex, which boost the holder's priority,",
        r"_*rt_mutex_(?:slowlock|slowtrylock|slowunlock|adjust_prio)\w*|task_blocks_on_rt_mutex|rtlock_slowlock\w*",
        below=True,
    ),
    # Unlocking is left out: where interrupts come on again, delayed samples are booked on it.
    _family(
        names.LOCK_CONTENTION,
        "functions that take or wait for a spinlock, mutex or rwsem",
        r"_*(?:pv_|native_)*queued_(?:spin|read|write)_lock_slowpath|(?:do|__|_)_?raw_(?:spin|read|write)_(?:try)?lock\w*"
        r"|__mutex_lock\w*|mutex_spin_on_owner|mutex_optimistic_spin|osq_lock"
        r"|rwsem_(?:down_\w+_slowpath|spin_on_owner|optimistic_spin)|percpu_rwsem_wait|__down(?:_(?:common|interruptible|killable|timeout|read|write)\w*)?",
        below=True,
    ),
    _family(
        names.RECLAIM,
        "functions of page reclaim and compaction",
        r"shrink_(?:node|lruvec|slab|zones|many|one|list|(?:in)?active_list|page_list|folio_list)\w*|do_shrink_slab"
        r"|kswapd(?:_\w*(?:sleep|node))?|balance_pgdat|(?:do_)?try_to_free_(?:mem_cgroup_)?pages|evict_folios"
        r"|(?:__alloc_pages|__perform)_(?:direct_)?(?:reclaim|compact)|compact_(?:zone|node)\w*|kcompactd(?:_do_work)?"
        r"|isolate_(?:migratepages|lru|freepages)\w*",
        below=True,
    ),
    _family(
        names.INTERRUPTS,
        "entries of interrupts and softirqs",
        r"(?:asm_)?sysvec_\w+|(?:asm_)?common_interrupt|(?:__)?do_softirq\w*|handle_softirqs|(?:__)?irq_exit\w*"
        r"|(?:__)?handle_irq_event\w*|generic_handle_\w*irq\w*|el[01]_(?:irq|interrupt)|el[01][ht]_64_irq\w*"
        r"|gic_handle_irq|net_rx_action|tasklet_action\w*|run_timer_softirq|hrtimer_interrupt|run_ksoftirqd",
        below=True,
    ),
    _family(
        names.ALLOCATION,
        "functions that allocate and free memory",
        r"_*(?:kmem_cache_(?:alloc|free)|k[mzc]alloc|slab_(?:alloc|free))\w*|_*v[mz]alloc(?!_(?:to|info|init|dump|nr)_?)\w*|kfree(?:_sensitive)?|k?vfree"
        r"|get_page_from_freelist|rmqueue\w*|_*alloc_(?:frozen_)?pages\w*|_*free_(?:frozen_)?pages\w*|free_unref_\w+"
        r"|__free_one_page|free_pcppages_bulk|clear_(?:huge_)?page(?:_(?:erms|orig|rep))?|pcpu_alloc\w*",
        below=True,
    ),
    # Everything runs below a system call, so that only the entry's own cost is overhead.
    _family(
        names.SYSCALL_OVERHEAD,
        "the entry and exit of system calls and copies from and to user memory",
        r"entry_SYS\w+|do_syscall_64|(?:do_)?el0_svc\w*|el0t_64_sync\w*|invoke_syscall"
        r"|syscall_(?:enter_from|exit_to|exit_work|return_via|trace)\w*|exit_to_user_mode\w*"
        r"|_*(?:arch_|raw_)*copy_(?:from|to)_user(?:_nofault|_nmi)?|copy_user_(?:generic|enhanced|fast)\w*|rep_movs_alternative"
        r"|_*(?:get|put)_user_(?:nocheck_)?[1248]|strn(?:cpy_from|len)_user",
        below=False,
    ),
)


def family_of(symbol: str) -> BottleneckClass | None:
    """Return the class whose family a symbol belongs to."""
    found = _of(source_name(symbol))
    return found.rule.bottleneck if found else None


def _of(name: str) -> Family | None:
    return next((family for family in FAMILIES if family.pattern.fullmatch(name)), None)


def costs_of(graph: CallGraph | None, ranked: Sequence[Ranked]) -> Mapping[str, Cost]:
    """Return the symbols' costs: of the whole profile where its graph is there, else of the ranked symbols."""
    if graph is not None and graph.total:
        return {
            symbol: Cost(cost / graph.total, graph.inclusive_share(symbol)) for symbol, cost in graph.self_cost.items()
        } | {
            symbol: Cost(0.0, graph.inclusive_share(symbol))
            for symbol in (graph.inclusive_cost or {})
            if symbol not in graph.self_cost
        }
    return {
        item.symbol: Cost(item.self_share or 0.0, item.inclusive_share)
        for item in ranked
        if item.self_share is not None or item.inclusive_share is not None
    }


def of_families(costs: Mapping[str, Cost]) -> list[Bottleneck]:
    """Return the families that have their share."""
    members: dict[int, dict[str, Cost]] = {}
    for symbol, cost in costs.items():
        family = _of(source_name(symbol))
        if family is not None:
            members.setdefault(FAMILIES.index(family), {})[symbol] = cost
    found = (_held(FAMILIES[index], of) for index, of in sorted(members.items()))
    return [one for one in found if one is not None]


def _held(family: Family, members: Mapping[str, Cost]) -> Bottleneck | None:
    """Return the class when its members have the share: both ways of counting are lower bounds of the same time."""
    shares = {symbol: _share(family, cost) for symbol, cost in members.items()}
    together = sum(cost.own for _, cost in sorted(members.items()))
    share = min(1.0, max(together, max(shares.values())))
    # Sums of shares may miss a whole tenth by the last bit.
    if round(share, 9) < LEAST:
        return None
    dearest = sorted(shares, key=lambda symbol: (-shares[symbol], symbol))[:_SHOWN]
    evidence = tuple(_told(symbol, members[symbol], below=family.below) for symbol in dearest)
    what = family.rule.condition.partition(" have at least")[0].rstrip(",")
    reason = f"{what} have {percent(share)} of the profile ({', '.join(evidence)}; rule: 10 %)"
    return Bottleneck(family.rule.bottleneck, reason, share, family.rule, evidence)


def _share(family: Family, cost: Cost) -> float:
    return max(cost.own, cost.inclusive or 0.0) if family.below else cost.own


def _told(symbol: str, cost: Cost, *, below: bool) -> str:
    with_callees = below and cost.inclusive is not None and cost.inclusive > cost.own
    return f"{symbol} {percent(cost.own)} self" + (
        f", {percent(cost.inclusive or 0.0)} with callees" if with_callees else ""
    )
