# SPDX-License-Identifier: Apache-2.0
"""Derive hotspots and call graph of a run once more, from the captures it stored: nothing is built, run or recorded."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from git_hmopt.errors import StoreError
from git_hmopt.loop.book import Book, without_of
from git_hmopt.loop.nodes.profile import SELECTED, Profile, rank_profile
from git_hmopt.records.words import Oid, RunId
from git_hmopt.store.artifacts import ArtifactStore
from git_hmopt.store.journal import Journal
from git_hmopt.store.repository import Repository


@dataclass(frozen=True)
class Edge:
    """A neighbour in the call graph and the share of the profile's cost on the way to or from it, 0..1."""

    symbol: str
    share: float


@dataclass(frozen=True)
class Spot:
    """A ranked symbol with its neighbours; None is unmeasured."""

    symbol: str
    file: str | None
    line: int | None
    score: float
    self_share: float | None
    inclusive_share: float | None
    callers: tuple[Edge, ...]
    callees: tuple[Edge, ...]


@dataclass(frozen=True)
class Analysis:
    """One profile of a run."""

    iteration: int
    """0 is the base; a later one is the best after that iteration."""
    commit: str
    captures: tuple[str, ...]
    """What was captured, as `<profiler> (<format>)`."""
    basis: str
    ranker: str
    unit: str
    total: int
    """The cost of the whole profile, in `unit`."""
    has_stacks: bool
    spots: tuple[Spot, ...]
    skipped: Mapping[str, int]
    as_recorded: bool | None
    """Whether the symbols that the run recorded rank first here too, in the same order; None when it recorded none."""


def analyses(repository: Repository, run: RunId, *, limit: int = SELECTED) -> list[Analysis]:
    """Return what every stored profile of a run says, in order; StoreError when a capture is not in this clone."""
    book = Book(Journal(repository), run)
    harness, without = overlay_paths(repository, book), without_of(book)
    found = []
    for index, entry in enumerate(book.entries):
        if entry.operation.op != "profile.recorded":
            continue
        following = (one.operation.data for one in book.entries[index:] if one.operation.op == "hotspots.ranked")
        ranked = next(following, None)
        recorded = None if ranked is None else [one["symbol"] for one in ranked["hotspots"]]
        made = _analysis(repository, entry.operation.data, harness, entry.operation.iter, recorded, limit, without)
        found.append(made)
    if not found:
        why = ": it goes without" if "profile" in without else ""
        raise StoreError(f"run {run} stored no profile{why}", next_step=f"see how far it came: git hmopt show {run}")
    return found


def overlay_paths(repository: Repository, book: Book) -> frozenset[str]:
    """Return the paths that the run's overlays made or changed: what it built differs there from its base."""
    snapshot = book.last("repo.snapshotted")
    if snapshot is None:
        return frozenset()
    changes = repository.changed_paths(Oid(snapshot["tree"]), Oid(snapshot["export_tree"]))
    # What is deleted there is what the configuration excludes.
    return frozenset(change.path for change in changes if change.status != "D")


def _analysis(
    repository: Repository,
    recorded: Mapping[str, object],
    harness: Collection[str],
    iteration: int,
    symbols: list[str] | None,
    limit: int,
    without: Collection[str] = (),
) -> Analysis:
    profile = Profile(ArtifactStore.of(repository), dict(recorded))
    ranking = rank_profile(profile, harness, without=without)
    graph = ranking.graph
    spots = []
    for item in ranking.ranked[:limit]:
        location = profile.locate(item.symbol)
        spot = Spot(
            symbol=item.symbol,
            file=location.file if location else None,
            line=location.line if location else None,
            score=item.score,
            self_share=item.self_share,
            inclusive_share=item.inclusive_share,
            callers=_edges(graph.callers(item.symbol), graph.total),
            callees=_edges(graph.callees(item.symbol), graph.total),
        )
        spots.append(spot)
    ranked = [item.symbol for item in ranking.ranked]
    return Analysis(
        iteration=iteration,
        commit=str(recorded["commit"]),
        captures=tuple(f"{one['profiler']} ({one['kind']})" for one in recorded["captures"]),  # type: ignore[attr-defined]
        basis=ranking.basis,
        ranker=ranking.ranked[0].ranker if ranking.ranked else "none",
        unit=graph.unit,
        total=graph.total,
        has_stacks=graph.edge_cost is not None,
        spots=tuple(spots),
        skipped={**graph.skipped, **profile.skipped},
        as_recorded=None if symbols is None else ranked[: len(symbols)] == symbols,
    )


def _edges(costs: Mapping[str, int], total: int) -> tuple[Edge, ...]:
    return tuple(Edge(symbol, cost / (total or 1)) for symbol, cost in costs.items())
