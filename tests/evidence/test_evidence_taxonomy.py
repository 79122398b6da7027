# SPDX-License-Identifier: Apache-2.0
"""Bottleneck classes beyond how a profile is spread: families of symbols, KPIs, their order, and what stays unknown."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from git_hmopt.evidence import taxonomy
from git_hmopt.evidence.families import FAMILIES, family_of
from git_hmopt.records.bottleneck import CLASSES
from git_hmopt.runtime.call_graph import CallGraph, from_samples
from git_hmopt.runtime.kpi import Kpi, Scope
from git_hmopt.runtime.ranking import rank_by_self
from git_hmopt.traces import folded


def graph_of(*stacks: str) -> CallGraph:
    return from_samples(folded.parse(f"{stack}\n".encode() for stack in stacks))


def kpi(name: str, value: str | None, unit: str = "1", *, who: str = "all", rule: str = "counted") -> Kpi:
    scope: Scope = "system"
    return Kpi(name, scope, who, value, unit, 9, rule)


def survey(*stacks: str, kpis: tuple[Kpi, ...] = ()) -> taxonomy.Survey:
    graph = graph_of(*stacks) if stacks else None
    ranked = rank_by_self(graph) if graph else ()
    return taxonomy.survey(ranked, lambda caller, callee: False, graph=graph, kpis=kpis)


def held(found: taxonomy.Survey) -> list[str]:
    return [one.name for one in found.found]


def reasons(found: taxonomy.Survey) -> Mapping[str, str]:
    return {one.name: one.reason for one in found.undecided}


def test_every_rule_says_its_condition_its_number_and_where_that_is_from() -> None:
    rules = taxonomy.rules()
    assert all(rule.condition and rule.threshold and len(rule.why) > 20 for rule in rules)
    assert {rule.bottleneck for rule in rules} == set(CLASSES) - {"unknown"}


@pytest.mark.parametrize(
    ("symbol", "name"),
    [
        ("native_queued_spin_lock_slowpath", "lock-contention"),
        ("queued_write_lock_slowpath", "lock-contention"),
        ("_raw_spin_lock_irqsave", "lock-contention"),
        ("__mutex_lock.constprop.0", "lock-contention"),
        ("rwsem_down_write_slowpath", "lock-contention"),
        ("osq_lock", "lock-contention"),
        ("rt_mutex_adjust_prio_chain", "priority-inversion"),
        ("__rt_mutex_slowlock_locked.constprop.0", "priority-inversion"),
        ("_copy_from_user", "syscall-overhead"),
        ("__arch_copy_to_user", "syscall-overhead"),
        ("entry_SYSCALL_64_after_hwframe", "syscall-overhead"),
        ("el0_svc_common.constprop.0", "syscall-overhead"),
        ("shrink_lruvec", "reclaim"),
        ("shrink_inactive_list", "reclaim"),
        ("kswapd", "reclaim"),
        ("compact_zone", "reclaim"),
        ("__alloc_pages_direct_reclaim", "reclaim"),
        ("kmem_cache_alloc_noprof", "allocation"),
        ("__alloc_pages", "allocation"),
        ("kfree", "allocation"),
        ("___slab_alloc", "allocation"),
        ("asm_sysvec_apic_timer_interrupt", "interrupts"),
        ("__do_softirq", "interrupts"),
        ("handle_softirqs", "interrupts"),
        ("el1h_64_irq_handler", "interrupts"),
    ],
)
def test_a_symbol_is_of_its_family(symbol: str, name: str) -> None:
    assert family_of(symbol) == name


@pytest.mark.parametrize(
    "symbol",
    ["_raw_spin_unlock_irqrestore", "shrink_dentry_list", "kfree_skb", "my_kmalloc_test", "mutex_unlock", "sort_r",
     "get_user_pages_fast", "put_user_ns", "copy_to_user_state", "copy_user_large_folio", "clear_page_dirty_for_io",
     "vmalloc_to_page", "kswapd_run", "__down_trylock_console_sem", "syscall_enter_register", "get_user_ifreq",
     "copy_page", "irqsoff", "lockref_get", "", "é"],
)  # fmt: skip
def test_look_alikes_are_of_no_family(symbol: str) -> None:
    assert family_of(symbol) is None


@pytest.mark.parametrize(("lock", "holds"), [(9, False), (10, True), (40, True)])
def test_a_family_holds_from_a_tenth_on(lock: int, holds: bool) -> None:
    found = survey(f"main;osq_lock {lock}", "main;walk 30", f"main;scan {70 - lock}")
    assert ("lock-contention" in held(found)) is holds


def test_the_members_of_a_family_add_up_and_are_named_with_their_numbers() -> None:
    found = survey("main;a 45", "main;b 40", "main;kfree 8", "main;__alloc_pages 7")
    [one] = found.found
    assert one.name == "allocation" and one.share == pytest.approx(0.15)
    assert one.evidence == ("kfree 8.0 % self", "__alloc_pages 7.0 % self")
    assert one.reason == (
        "functions that allocate and free memory have 15.0 % of the profile"
        " (kfree 8.0 % self, __alloc_pages 7.0 % self; rule: 10 %)"
    )
    assert one.rule is not None and "10 %" in one.rule.threshold


def test_what_a_family_calls_belongs_to_it_and_what_a_system_call_runs_does_not() -> None:
    found = survey("do_syscall_64;read;f 45", "do_syscall_64;shrink_node;g 30", "do_syscall_64;h 25")
    assert held(found) == ["reclaim"]
    assert found.found[0].evidence == ("shrink_node 0.0 % self, 30.0 % with callees",)


def test_waiting_for_a_lock_is_no_loop() -> None:
    found = survey("main;native_queued_spin_lock_slowpath 70", "main;walk 30")
    assert held(found) == ["lock-contention"]
    rest = survey("main;walk 70", "main;native_queued_spin_lock_slowpath 30")
    assert held(rest) == ["cpu-bound-loop", "lock-contention"]


def test_what_explains_most_comes_first_and_unknown_shares_last() -> None:
    kpis = (kpi("memory_kills", "1"), kpi("pressure_full", "0.4", "ratio", who="io"), kpi("frame_drop_rate", "0.3"))
    found = survey("main;walk 80", "main;kfree 20", kpis=kpis)
    assert held(found) == ["cpu-bound-loop", "io-wait", "allocation", "frame-stability", "reclaim"]


@pytest.mark.parametrize(
    ("kpis", "name"),
    [
        ((kpi("hitch_ms_per_s", "5", "ms/s"),), "frame-stability"),
        ((kpi("frame_drop_rate", "0.01"),), "frame-stability"),
        ((kpi("sched_latency_p99", "6000000", "ns"),), "scheduler-latency"),
        ((kpi("pressure_some", "0.1", who="cpu"),), "scheduler-latency"),
        ((kpi("wakeup_latency_p95", "1000000", "ns"),), "wakeup-latency"),
        ((kpi("irq_rate", "10000", "1/s"), kpi("irq_time_p50", "20000", "ns")), "interrupts"),
        ((kpi("pressure_full", "0.05", who="memory"),), "reclaim"),
        ((kpi("direct_reclaim_rate", "100", "1/s"), kpi("direct_reclaim_time_p50", "1000000", "ns")), "reclaim"),
        ((kpi("memory_kills", "1"),), "reclaim"),
        ((kpi("blocked_iowait_ratio", "0.5"),), "io-wait"),
        ((kpi("ipc", "0.6", "ratio"), kpi("cache_miss_rate", "0.1", "ratio")), "memory-bound"),
        (
            (kpi("blocked_time", "60", "ns", who="rwsem_down_read_slowpath+0x1b/0x2c"),
             kpi("blocked_time", "40", "ns", who="io_schedule+0x1/0x2")),
            "lock-contention",
        ),
    ],
)  # fmt: skip
def test_a_rule_over_kpis_holds_from_its_number_on(kpis: tuple[Kpi, ...], name: str) -> None:
    assert held(survey(kpis=kpis)) == [name]
    value = float(kpis[-1].value or 0)
    short = str(0.999 * value) if name != "lock-contention" else "61"
    below = survey(kpis=(*kpis[:-1], kpi(kpis[-1].name, short, who=kpis[-1].who)))
    assert held(below) == ["unknown"]
    # Decided, and no longer unknown.
    assert name in reasons(survey()) and (name not in reasons(below) or name == "lock-contention")


def test_numbers_stand_in_the_reason() -> None:
    [one] = survey(kpis=(kpi("wakeup_latency_p95", "2500000", "ns"),)).found
    assert one.reason == (
        "one in twenty wakeups takes 1 ms or longer until the thread runs: wakeup_latency_p95 2500000 ns (n=9)"
        " (rule: 1 ms at p95)"
    )


def test_an_idle_cache_miss_rate_is_no_bottleneck() -> None:
    assert held(survey(kpis=(kpi("ipc", "2.5"), kpi("cache_miss_rate", "0.9")))) == ["unknown"]


def test_reclaim_that_never_happened_is_decided() -> None:
    kpis = (kpi("direct_reclaim_rate", "0", "1/s"), kpi("direct_reclaim_time_p50", None, "ns"))
    assert "reclaim" not in reasons(survey(kpis=kpis))


def test_unknown_stays_unknown_with_the_reason() -> None:
    why = reasons(survey("main;walk 9", kpis=(kpi("hitch_ms_per_s", None, "ms/s", rule="there is no frame event"),)))
    assert (
        why["frame-stability"] == "hitch_ms_per_s is unknown: there is no frame event; no capture tells frame_drop_rate"
    )
    assert why["memory-bound"] == "no capture tells ipc; no capture tells cache_miss_rate"
    # A profile decides about what has families.
    assert not {one.rule.bottleneck for one in FAMILIES} & why.keys()
    nothing = survey()
    assert held(nothing) == ["unknown"] and nothing.found[0].reason
    assert set(reasons(nothing)) == set(CLASSES) - {"unknown"}


def test_the_order_of_inputs_changes_nothing() -> None:
    stacks = ["main;walk 50", "main;kfree 12", "main;osq_lock 12", "main;__alloc_pages 3", "main;_copy_to_user 23"]
    kpis = (kpi("memory_kills", "1"), kpi("frame_drop_rate", "0.3"), kpi("pressure_full", "0.4", who="io"))
    assert survey(*stacks, kpis=kpis) == survey(*reversed(stacks), kpis=tuple(reversed(kpis)))
