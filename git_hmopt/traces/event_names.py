# SPDX-License-Identifier: Apache-2.0
"""Which category of `CATEGORIES` a kernel event is of, by the name that every trace gives it."""

from __future__ import annotations

_EXACT = {
    "cpu_idle": "power",
    "cpu_frequency": "power",
    "cpu_frequency_limits": "power",
    "clock_set_rate": "power",
    "suspend_resume": "power",
    "mark_victim": "reclaim",
    "tracing_mark_write": "marker",
    "print": "marker",
    "0": "marker",
}
_BEGINNING = (
    ("sched_", "sched"), ("irq_handler_", "irq"), ("ipi_", "irq"), ("softirq_", "softirq"), ("tasklet_", "softirq"),
    ("mm_vmscan_", "reclaim"), ("lowmemory", "reclaim"), ("oom_", "reclaim"), ("mm_compaction_", "reclaim"),
    ("mm_", "memory"), ("kmem", "memory"), ("rss_stat", "memory"), ("block_", "io"), ("mmc_", "io"), ("ufshcd_", "io"),
    ("ext4_", "io"), ("f2fs_", "io"), ("erofs_", "io"), ("workqueue_", "workqueue"), ("binder_", "binder"),
    ("dma_fence_", "sync"), ("sync_", "sync"), ("regulator_", "power"), ("clk_", "power"), ("thermal_", "power"),
)  # fmt: skip


def category_of(event: str) -> str:
    """Return the category of a kernel event; `other` for one that belongs to none."""
    if event in _EXACT:
        return _EXACT[event]
    return next((category for beginning, category in _BEGINNING if event.startswith(beginning)), "other")
