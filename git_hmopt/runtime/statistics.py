# SPDX-License-Identifier: Apache-2.0
"""How much there is of everything in a capture: events by name, samples, the call graph, and the time they cover."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from git_hmopt.runtime.call_graph import from_samples, from_self_counts
from git_hmopt.runtime.kpis import Kpis, kpis_read
from git_hmopt.runtime.ranking import Ranked, rank_by_func_rank, rank_by_self
from git_hmopt.traces.capture import Capture, Losses
from git_hmopt.traces.tables import Samples, SelfCounts

MOST_NAMES = 10_000
"""Names of events that are told apart; whoever writes markers and logs can make up any number of them."""
OTHER_NAMES = "[other names]"
_FREE_TEXT = ("marker", "log", "frame")


@dataclass(frozen=True)
class EventStatistics:
    """The events of one capture."""

    count: int
    by_name: Mapping[str, int]
    """The most frequent first; markers, log lines and frames by their category, since their names are free text."""
    start_ns: int | None
    end_ns: int | None
    losses: Mapping[str, int]
    kpis: Kpis


@dataclass(frozen=True)
class GraphStatistics:
    """The samples of one event, or exact counts, and the runtime call graph (PCG) that they make."""

    event: str
    unit: str
    samples: int | None
    """Where they have no times, the stacks that a format has put them together to; None of exact counts."""
    cost: int
    stacks: int
    deepest: int
    """Frames of the deepest stack that was sampled; 0 where there are no stacks."""
    functions: int
    calls: int | None
    """Different calls from one function to another; None where there were no stacks: unmeasured."""
    threads: int | None
    start_ns: int | None
    end_ns: int | None
    ranked: Mapping[str, tuple[Ranked, ...]]
    """By ranker; without call stacks by self cost alone."""
    losses: Mapping[str, int]


def event_statistics(capture: Capture) -> EventStatistics | None:
    """Count a capture's events, and find its KPIs, in one pass; None of a capture without events."""
    if capture.read_events is None:
        return None
    losses: Losses = Losses()
    names: Counter[str] = Counter()
    found = kpis_read(capture.format, _counted(capture.read_events(losses), names), losses)
    by_name = dict(sorted(names.items(), key=lambda pair: (-pair[1], pair[0])))
    return EventStatistics(found.events, by_name, found.start_ns, found.end_ns, found.losses, found)


def _counted(frames: Iterator[pl.DataFrame], names: Counter[str]) -> Iterator[pl.DataFrame]:
    free = pl.col("category").is_in(_FREE_TEXT)
    called = pl.when(free).then("category").otherwise("name").alias("name")
    for frame in frames:
        for name, count in frame.group_by(called).agg(pl.len().alias("count")).sort("name").iter_rows():
            known = name in names or len(names) < MOST_NAMES
            names[name if known else OTHER_NAMES] += count
        yield frame


def sample_statistics(table: Samples, *, limit: int) -> GraphStatistics:
    """Count what one event's samples hold; `limit` symbols are ranked by each ranker."""
    graph = from_samples(table)
    sampled = table.rows["stack"].unique().to_list()
    ranked = {"self": rank_by_self(graph)[:limit]}
    if graph.edge_cost is not None:
        ranked["funcrank"] = rank_by_func_rank(graph)[:limit]
    tids = table.rows["tid"].drop_nulls()
    return GraphStatistics(
        event=table.event,
        unit=table.unit,
        samples=len(table),
        cost=graph.total,
        stacks=len(sampled),
        deepest=max((len(table.stacks[index]) for index in sampled), default=0),
        functions=len(graph.self_cost),
        calls=None if graph.edge_cost is None else len(graph.edge_cost),
        threads=tids.n_unique() if len(tids) else None,
        start_ns=_whole(table.rows["ts_ns"].min()),
        end_ns=_whole(table.rows["ts_ns"].max()),
        ranked=ranked,
        losses=dict(table.skipped),
    )


def count_statistics(table: SelfCounts, *, limit: int) -> GraphStatistics:
    """Count what exact counts hold."""
    graph = from_self_counts(table)
    ranked: dict[str, Sequence[Ranked]] = {"self": rank_by_self(graph)[:limit]}
    return GraphStatistics(
        event="instructions", unit=graph.unit, samples=None, cost=graph.total, stacks=0, deepest=0,
        functions=len(graph.self_cost), calls=None, threads=None, start_ns=None, end_ns=None,
        ranked={name: tuple(found) for name, found in ranked.items()}, losses=dict(table.skipped),
    )  # fmt: skip


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) else None
