# SPDX-License-Identifier: Apache-2.0
"""What counters say of a run: instructions per cycle and the shares of misses, unknown where a counter is missing."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from git_hmopt.traces.tables import Samples

INSTRUCTIONS = ("instructions", "hw-instructions")
CYCLES = ("cycles", "cpu-cycles", "hw-cpu-cycles")
BRANCHES = ("branches", "branch-instructions", "hw-branch-instructions")
BRANCH_MISSES = ("branch-misses", "hw-branch-misses")
REFERENCES = ("cache-references", "hw-cache-references")
MISSES = ("cache-misses", "hw-cache-misses")

_OF_PMU = re.compile(r"(?P<pmu>[\w.]+)/(?P<name>[\w.-]+)/(?P<modifier>\w*)")


@dataclass(frozen=True)
class Rates:
    """Ratios of counters, None where one of the two was not counted or counted nothing."""

    ipc: float | None
    """Instructions per cycle."""
    branch_miss_rate: float | None
    """Mispredicted share of branches, 0..1."""
    cache_miss_rate: float | None
    """Share of the references to the last cache level that missed, 0..1."""


def totals(batches: Iterable[pl.DataFrame]) -> dict[str, float]:
    """Return the sum of each counter of `perf stat` or `hiperf stat`, by its name, over intervals, cores and threads.

    `batches` have the columns of EVENTS; only rows of category `proc` with a value count.
    """
    summed: dict[str, float] = {}
    for batch in batches:
        value = pl.col("args").str.extract(r"(?:^| )value=(\S+)").cast(pl.Float64(), strict=False).alias("value")
        found = batch.filter(pl.col("category") == "proc").select("name", value).drop_nulls()
        for name, total in found.group_by("name").agg(pl.col("value").sum()).sort("name").iter_rows():
            summed[name] = summed.get(name, 0.0) + total
    return summed


def totals_of_samples(tables: Sequence[Samples]) -> dict[str, float]:
    """Return the sum of each event's weights; an event that was sampled without its period has none."""
    return {table.event: float(table.total()) for table in tables if table.unit != "samples"}


def rates(counted: Mapping[str, float]) -> Rates:
    """Return the ratios of two counters that were counted alike: of the same unit, and both in user mode or not."""
    by_place: dict[tuple[str, str], dict[str, float]] = {}
    for name, value in counted.items():
        bare, place = _split(name)
        by_place.setdefault(place, {})[bare] = value
    return Rates(
        ipc=_ratio(by_place, INSTRUCTIONS, CYCLES),
        branch_miss_rate=_ratio(by_place, BRANCH_MISSES, BRANCHES),
        cache_miss_rate=_ratio(by_place, MISSES, REFERENCES),
    )


def _split(name: str) -> tuple[str, tuple[str, str]]:
    """Return a counter's bare name, and the unit and mode it was counted in: `cpu_core/cycles/u`, `cycles:u`."""
    match = _OF_PMU.fullmatch(name)
    if match:
        return match["name"], (match["pmu"], match["modifier"])
    bare, _, modifier = name.partition(":")
    return bare, ("", modifier)


def _ratio(
    by_place: Mapping[tuple[str, str], Mapping[str, float]], above: Sequence[str], below: Sequence[str]
) -> float | None:
    # Where the whole was counted it comes first: its unit and mode are empty.
    for _, counted in sorted(by_place.items()):
        one = next((counted[name] for name in above if name in counted), None)
        other = next((counted[name] for name in below if name in counted), None)
        if one is not None and other:
            return one / other
    return None
