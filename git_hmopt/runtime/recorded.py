# SPDX-License-Identifier: Apache-2.0
"""Which KPIs of a capture are recorded and as what, and the KPIs that such records tell where the capture is not.

A capture has a dozen numbers a thread, and records go wherever a run is fetched: what is of the whole system is kept,
of the rest what says most. A number that is unknown is no metric; it is recorded that it is unknown.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from git_hmopt.errors import CorruptRecordError
from git_hmopt.records.run import KpisRecord, LateFrame, MetricRecord, UnknownKpi
from git_hmopt.runtime.frames import JankWindow
from git_hmopt.runtime.kpi import Kpi, Scope
from git_hmopt.runtime.kpis import Kpis

BUSIEST = 8
"""Processes, and threads, whose numbers are recorded: those with the most CPU time."""
OF_A_NAME = 64
"""Numbers that are recorded of one KPI by interrupt, caller, frequency, CPU or scene: those with the most
observations."""
RULE = (
    f"of processes and threads the {BUSIEST} each with the most CPU time; of interrupts, callers, CPUs and the like the"
    f" {OF_A_NAME} with the most observations"
)

ARTIFACT, OF, PER, FOUND_BY = "artifact", "of", "per", "rule"
"""The tags of a metric that is a KPI: the capture's sha256, whose number it is, `cpu` for one of a CPU, its rule."""
_CPU_TIME = "cpu_util_avg"


@dataclass(frozen=True)
class Chosen:
    """What of a capture's KPIs is recorded."""

    known: tuple[Kpi, ...]
    unknown: tuple[Kpi, ...]
    left_out: int
    """Known numbers that are not recorded."""


def chosen(found: Kpis) -> Chosen:
    """Return which KPIs are recorded, in their order."""
    busiest = {scope: _busiest(found.records, scope) for scope in ("process", "thread")}
    most = _most_observed(found.records)
    known = [one for one in found.records if one.value is not None]
    kept = [
        one
        for one in known
        if one.who == "all" or one.who in busiest.get(one.scope, ()) or (one.name, one.scope, one.who) in most
    ]
    unknown = tuple(one for one in found.records if one.value is None and one.who == "all")
    return Chosen(tuple(kept), unknown, len(known) - len(kept))


def _busiest(records: Iterable[Kpi], scope: str) -> frozenset[str]:
    """Return who had the most CPU time; where nothing tells of it, who has the most observations."""
    time: Counter[str] = Counter()
    seen: Counter[str] = Counter()
    for one in records:
        if one.scope == scope and one.value is not None:
            seen[one.who] = max(seen[one.who], one.n)
            if one.name == _CPU_TIME:
                # Whole numbers: the order must not hang on how floats add up.
                time[one.who] = round(float(one.value) * 1e9)
    ranked = sorted(seen, key=lambda who: (-time[who], -seen[who], who))
    return frozenset(ranked[:BUSIEST])


def _most_observed(records: Iterable[Kpi]) -> frozenset[tuple[str, str, str]]:
    by_name: defaultdict[tuple[str, str], list[Kpi]] = defaultdict(list)
    for one in records:
        if one.scope not in ("process", "thread") and one.value is not None and one.who != "all":
            by_name[one.name, one.scope].append(one)
    return frozenset(
        (one.name, one.scope, one.who)
        for group in by_name.values()
        for one in sorted(group, key=lambda kpi: (-kpi.n, kpi.who))[:OF_A_NAME]
    )


@dataclass(frozen=True)
class Measured:
    """The run that a capture is ingested into, which its KPIs are metrics of."""

    run: str
    commit: str
    tree: str
    workload: str


def metrics_of(kept: Chosen, of: Measured, *, sha256: str) -> list[MetricRecord]:
    """Return the metric records of a capture's KPIs."""
    return [_metric(one, of, sha256) for one in kept.known]


def _metric(one: Kpi, of: Measured, sha256: str) -> MetricRecord:
    tags = {ARTIFACT: sha256, OF: one.who, FOUND_BY: one.rule}
    if one.scope == "cpu":
        # A metric's scopes were chosen before there were numbers of single CPUs.
        tags[PER] = "cpu"
    assert one.value is not None, "an unknown KPI is no metric"
    return MetricRecord(
        run=of.run,
        commit=of.commit,
        tree=of.tree,
        scope="system" if one.scope == "cpu" else one.scope,
        workload=of.workload,
        name=one.name,
        value=one.value,
        unit=one.unit,
        n=one.n,
        tags=tags,
    )


def beside(found: Kpis, kept: Chosen, *, sha256: str, name: str, form: str) -> KpisRecord:
    """Return what is recorded beside the metrics."""
    return KpisRecord(
        capture=sha256,
        name=name,
        format=form,
        events=found.events,
        start_ns=found.start_ns,
        end_ns=found.end_ns,
        losses=dict(found.losses),
        untold=tuple(_unknown(one) for one in kept.unknown),
        windows=tuple(
            LateFrame(start_ns=one.start_ns, end_ns=one.end_ns, late_ns=one.late_ns, who=one.who, rule=one.rule)
            for one in found.windows
        ),
        left_out=kept.left_out,
        rule=RULE,
    )  # fmt: skip


def _unknown(one: Kpi) -> UnknownKpi:
    fields = {"name": one.name, "scope": one.scope, "unit": one.unit, "n": one.n, "rule": one.rule}
    return UnknownKpi.model_validate(fields)


@dataclass(frozen=True)
class Recorded:
    """The KPIs of a capture as they were recorded."""

    record: KpisRecord
    kpis: Kpis


def read(data: Mapping[str, Any]) -> Recorded:
    """Return what an operation says of a capture's KPIs. CorruptRecordError when it is malformed."""
    try:
        record = KpisRecord.model_validate(data["kpis"])
        metrics = [MetricRecord.model_validate(one) for one in data["metrics"]]
        known = [_kpi(one) for one in metrics]
    except (ValidationError, KeyError, TypeError) as error:
        raise CorruptRecordError(
            f"the KPIs that are recorded of a capture are malformed: {str(error).splitlines()[0]}",
            next_step="see what else is: git hmopt fsck",
        ) from error
    unknown = [Kpi(one.name, one.scope, "all", None, one.unit, one.n, one.rule) for one in record.untold]
    windows = tuple(JankWindow(one.start_ns, one.end_ns, one.late_ns, one.who, one.rule) for one in record.windows)
    found = Kpis(
        (*known, *unknown), windows, record.start_ns, record.end_ns, record.events, dict(sorted(record.losses.items()))
    )
    return Recorded(record, found)


def _kpi(one: MetricRecord) -> Kpi:
    scope: Scope = "cpu" if one.tags.get(PER) == "cpu" else one.scope
    return Kpi(one.name, scope, one.tags[OF], one.value, one.unit, one.n, one.tags[FOUND_BY])
