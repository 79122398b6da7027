# SPDX-License-Identifier: Apache-2.0
"""Memory pressure from mm_vmscan_*, kill and page cache events."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from git_hmopt.runtime.batches import UNKNOWN, Batch, Integers
from git_hmopt.runtime.distribution import Distribution
from git_hmopt.runtime.kpi import Kpi, kpi, per_second, share
from git_hmopt.runtime.pairing import Pairing, Spans
from git_hmopt.runtime.sched import Sched, percentile_kpis

_BEGIN, _END = "mm_vmscan_direct_reclaim_begin", "mm_vmscan_direct_reclaim_end"
_WAKE, _SLEEP = "mm_vmscan_kswapd_wake", "mm_vmscan_kswapd_sleep"
_SHRINK = ("mm_vmscan_lru_shrink_inactive", "mm_vmscan_lru_shrink_active")
_COMPACT, _COMPACTED = "mm_compaction_begin", "mm_compaction_end"
_KILLS = ("lowmemory_kill", "lowmemorykiller", "mark_victim")
_EVICTED = "mm_filemap_delete_from_page_cache"
_RECLAIMERS = ("kswapd", "sysmgr-reclaim")
_COMPACTOR = "kcompactd"
_ALL = (_BEGIN, _END, _WAKE, _SLEEP, *_SHRINK, *_KILLS)
NO_EVENTS = "the capture has no event of memory reclaim: it was quiet, or they were not recorded"


@dataclass(frozen=True)
class Stalls:
    """What a batch ended, by thread: in either an allocation waits."""

    reclaim: Spans
    compaction: Spans
    """Those of the threads whose work it is are left out."""


class Reclaim:
    """Accumulates direct reclaim, kswapd's work, kills and evictions."""

    def __init__(self, losses: Counter[str], sched: Sched) -> None:
        self._sched = sched
        self._direct, self._kswapd = Pairing(losses, first=False), Pairing(losses, first=True)
        self._compacting = Pairing(losses, first=False)
        self._stalls, self._active = Distribution(), Distribution()
        self._reclaimed = self._events = self._kills = self._direct_count = 0
        self._scanned, self._taken = 0, 0
        self._evictions: Counter[int] = Counter()

    def feed(self, batch: Batch) -> Stalls:
        """Take the next batch; return what it ends."""
        self._events += len(batch.rows(*_ALL))
        rows = batch.rows(_BEGIN, _END)
        self._direct_count += len(batch.rows(_BEGIN))
        direct = self._spans(self._direct, batch, rows, batch.tid[rows], _BEGIN)
        self._stalls.add(direct.key, direct.length)
        self._reclaimed += _sum(batch.args(_END).number("nr_reclaimed"))
        rows = batch.rows(_WAKE, _SLEEP)
        found = self._spans(self._kswapd, batch, rows, batch.args(_WAKE, _SLEEP).number("nid"), _WAKE)
        self._active.add(found.key, found.length)
        shrunk = batch.args(_SHRINK[0])
        self._scanned += _sum(shrunk.number("nr_scanned"))
        self._taken += _sum(shrunk.number("nr_reclaimed"))
        self._kills += len(batch.rows(*_KILLS))
        tids, counts = np.unique(batch.tid[batch.rows(_EVICTED)], return_counts=True)
        self._evictions.update(dict(zip(tids.tolist(), counts.tolist(), strict=True)))
        rows = batch.rows(_COMPACT, _COMPACTED)
        return Stalls(
            direct, self._not_the_worker(self._spans(self._compacting, batch, rows, batch.tid[rows], _COMPACT))
        )

    def _not_the_worker(self, spans: Spans) -> Spans:
        names = self._sched.names
        return spans.at(
            np.array([not names.get(one, "").startswith(_COMPACTOR) for one in spans.key.tolist()], np.bool_)
        )

    def _spans(self, pairing: Pairing, batch: Batch, rows: Integers, key: Integers, opening: str) -> Spans:
        opens = batch.are(opening)[rows]
        known = key > UNKNOWN
        rows, key, opens = rows[known], key[known], opens[known]
        return pairing.feed(key, opens, batch.ts[rows], batch.epoch[rows])

    def results(self, span: int) -> Iterator[Kpi]:
        """Yield the KPIs; `span` is the capture's length in nanoseconds."""
        seen = self._events > 0
        rule = "mm_vmscan_direct_reclaim_begin to its end in the same thread" if seen else NO_EVENTS
        rate = per_second(self._direct_count, span) if seen else None
        yield kpi("direct_reclaim_rate", rate, "1/s", self._direct_count, rule)
        yield from percentile_kpis("direct_reclaim_time", self._stalls.overall(), rule)
        for tid, found in self._stalls.percentiles().items():
            who = self._sched.who(tid)
            yield from percentile_kpis("direct_reclaim_time", found, rule, scope="thread", who=who)
        pages = self._reclaimed if seen else None
        yield kpi("direct_reclaim_pages", pages, "pages", self._direct_count, "sum of nr_reclaimed" if seen else rule)
        rule = "mm_vmscan_kswapd_wake until kswapd_sleep of the node" if seen else NO_EVENTS
        yield from percentile_kpis("kswapd_active_time", self._active.overall(), rule)
        yield kpi(
            "reclaim_efficiency", share(self._taken, self._scanned), "1", self._scanned,
            "pages reclaimed of those scanned in mm_vmscan_lru_shrink_inactive",
        )  # fmt: skip
        yield kpi(
            "memory_kills", self._kills if seen else None, "1", self._kills,
            "kills by the low memory killer or the OOM killer" if seen else NO_EVENTS,
        )  # fmt: skip
        yield from self._evicting()

    def _evicting(self) -> Iterator[Kpi]:
        total = self._evictions.total()
        background = sum(
            count for tid, count in self._evictions.items()
            if self._sched.names.get(tid, "").startswith(_RECLAIMERS)
        )  # fmt: skip
        yield kpi(
            "reclaim_eviction_ratio", share(background, total), "1", total,
            f"{_EVICTED} by kswapd or sysmgr-reclaim threads, of all of them",
        )  # fmt: skip


def _sum(values: Integers) -> int:
    """Return the sum of the numbers of pages that can be; two to the fortieth are more than any memory has."""
    return int(values[(values >= 0) & (values < 1 << 40)].sum())
