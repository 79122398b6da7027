# SPDX-License-Identifier: Apache-2.0
"""Interrupts, frequencies, memory reclaim, and what became worse than a baseline."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import numpy as np
import pytest

from git_hmopt.runtime import distribution
from git_hmopt.runtime.distribution import Distribution
from git_hmopt.runtime.kpi import Kpi, kpi
from git_hmopt.runtime.kpis import Kpis, regression_flags
from git_hmopt.runtime.reclaim import NO_EVENTS
from tests.runtime.made_trace import Trace, value


def interrupts() -> Trace:
    trace = Trace()
    for us, cpu in ((1000, 0), (2000, 0), (3000, 0), (4000, 1)):
        trace.event(us, "irq_handler_entry", "irq=94 name=kirq", cpu=cpu)
        trace.event(us + 5, "softirq_raise", "vec=6 [action=TASKLET]", cpu=cpu)
        trace.event(us + 7, "softirq_raise", "vec=6 [action=TASKLET]", cpu=cpu)
        trace.event(us + 10, "irq_handler_exit", "irq=94 ret=handled", cpu=cpu)
        trace.event(us + 25, "softirq_entry", "vec=6 [action=TASKLET]", cpu=cpu)
        trace.event(us + 65, "softirq_exit", "vec=6 [action=TASKLET]", cpu=cpu)
    trace.event(1_001_000, "cpu_idle", "state=0 cpu_id=1", cpu=1)
    return trace


def test_interrupts_by_number_with_their_times_and_their_spread() -> None:
    found = interrupts().kpis()
    assert value(found, "irq_rate") == "4"
    assert value(found, "irq_rate", "94 kirq") == "4"
    assert value(found, "irq_rate", "cpu0") == "3"
    assert value(found, "irq_time_p99", "94 kirq") == "10000"
    assert value(found, "softirq_time_p50", "6 TASKLET") == "40000"
    # Asked for twice, it has waited since the first time.
    assert value(found, "softirq_latency_p50") == "20000"
    assert value(found, "irq_max_cpu_share") == "0.75"
    assert value(found, "irq_imbalance") == "0.5"


def test_an_interrupt_across_lost_events_of_its_cpu_is_left_out_and_others_stay() -> None:
    trace = Trace()
    for cpu in (0, 1):
        trace.event(1000, "irq_handler_entry", "irq=9 name=x y", cpu=cpu)
    trace.lost(0)
    for cpu in (0, 1):
        trace.event(1010 + cpu, "irq_handler_exit", "irq=9 ret=handled", cpu=cpu)
    found = trace.kpis()
    times = found.find("irq_time_p50", "9 x y")
    assert times is not None and (times.value, times.n) == ("11000", 1)


def test_frequencies_are_held_until_the_next_and_the_last_to_the_end() -> None:
    trace = Trace()
    trace.event(1000, "cpu_frequency", "state=1000 cpu_id=3")
    trace.event(1300, "cpu_frequency", "state=2000 cpu_id=3")
    trace.event(2000, "irq_handler_entry", "irq=1 name=x")
    found = trace.kpis()
    assert value(found, "frequency_residency", "cpu3 at 1000 kHz") == "0.3"
    assert value(found, "frequency_residency", "cpu3 at 2000 kHz") == "0.7"
    assert value(found, "cpu_frequency_avg", "cpu3") == "1700"


def test_reclaim_by_thread_and_by_kswapd() -> None:
    trace = Trace()
    trace.event(1000, "mm_vmscan_direct_reclaim_begin", "order=0 may_writepage=1 gfp_flags=GFP", tid=5)
    trace.event(1100, "mm_vmscan_direct_reclaim_begin", "order=0 gfp_flags=GFP", tid=6)
    trace.event(1300, "mm_vmscan_direct_reclaim_end", "nr_reclaimed=32", tid=5)
    trace.event(1400, "mm_vmscan_kswapd_wake", "nid=0 order=0", tid=70)
    trace.event(1900, "mm_vmscan_kswapd_sleep", "nid=0", tid=70)
    trace.event(2000, "mm_vmscan_lru_shrink_inactive", "nid=0 nr_scanned=40 nr_reclaimed=10", tid=70)
    trace.event(2000, "lowmemory_kill", "comm=x pid=9", tid=70)
    found = trace.kpis()
    assert value(found, "direct_reclaim_rate") == "2000"
    assert value(found, "direct_reclaim_time_p50") == "300000"
    assert value(found, "direct_reclaim_time_p50", "?-5") == "300000"
    assert value(found, "direct_reclaim_pages") == "32"
    assert value(found, "kswapd_active_time_p99") == "500000"
    assert value(found, "reclaim_efficiency") == "0.25"
    assert value(found, "memory_kills") == "1"


def test_a_quiet_memory_is_not_told_from_one_that_was_not_recorded() -> None:
    kills = interrupts().kpis().find("memory_kills")
    assert kills is not None and (kills.value, kills.rule) == (None, NO_EVENTS)


def test_percentiles_are_exact_until_there_are_too_many_values(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.arange(1, 10_001, dtype=np.int64) * 1_000_003
    exact, rounded = Distribution(), Distribution()
    exact.add(values % 3, values)
    true = exact.overall()
    monkeypatch.setattr(distribution, "MOST", 500)
    rounded.add(values % 3, values)
    near = rounded.overall()
    assert true is not None and near is not None
    assert (exact.exact, rounded.exact) == (True, False)
    assert dict(true.at) == {50: 5000 * 1_000_003, 95: 9500 * 1_000_003, 99: 9900 * 1_000_003}
    assert near.n == true.n
    assert all(0 <= true.at[percent] - near.at[percent] <= true.at[percent] * 0.002 for percent in true.at)


def of(*records: Kpi) -> Kpis:
    return Kpis(records, (), 0, 1, 1, {})


def test_what_became_worse_is_flagged_in_the_direction_of_its_name() -> None:
    names = ("fps_avg", "jank_p95_ms", "sched_latency_p99", "cpu_frequency_avg", "memory_kills", "irq_rate")
    before, after = (
        of(*(kpi(name, number, "x", 9, "r") for name, number in zip(names, numbers, strict=True)))
        for numbers in ((60, 10, 5, 9, 0, 1), (30, 12, 4, 1, 1, 1))
    )
    flags = regression_flags(after, before)
    assert [(flag.kpi.name, flag.change) for flag in flags] == [
        ("memory_kills", None), ("fps_avg", "-0.5"), ("jank_p95_ms", "0.2"),
    ]  # fmt: skip
    assert flags[1].baseline.value == "60"


def test_unknown_numbers_other_rules_and_small_changes_are_no_regressions() -> None:
    known = kpi("jank_p95_ms", 10, "ms", 9, "r")
    assert not regression_flags(of(known), of(replace(known, value=None)))
    assert not regression_flags(of(replace(known, value=None)), of(known))
    assert not regression_flags(of(replace(known, value="20", rule="other")), of(known))
    assert not regression_flags(of(replace(known, value="10.4")), of(known))
    assert regression_flags(of(replace(known, value="10.4")), of(known), margin=0.01)
    assert not regression_flags(of(known), of())
    checked = replace(known, value="20", rule="r; cross-check: cpu_idle agrees, 0.5")
    assert regression_flags(of(checked), of(known))


def test_values_are_decimals_as_records_hold_them() -> None:
    for one in interrupts().kpis().records:
        assert one.value is None or Decimal(one.value) == Decimal(one.value).normalize()
        assert one.value is None or "E" not in one.value
