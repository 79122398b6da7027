# SPDX-License-Identifier: Apache-2.0
"""Rank hotspots: by self cost, or by FuncRank (POLO, IJCAI-25, paper 814)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from git_hmopt.errors import MeasurementError
from git_hmopt.runtime.call_graph import CallGraph

RankerName = Literal["self", "funcrank"]
ALPHA = 0.5
CONVERGENCE = 1e-6
MAX_ROUNDS = 100


@dataclass(frozen=True)
class Ranked:
    """One symbol and why it stands where it stands. Shares are of the whole profile, 0..1; None is unmeasured."""

    symbol: str
    score: float
    """What the order is by: the self share, or FuncRank's importance of shares. 0..1."""
    self_share: float | None
    inclusive_share: float | None
    ranker: RankerName
    unit: str


@dataclass(frozen=True)
class Ranking:
    """Ranked symbols, best first, and in words which profile and ranker decided."""

    ranked: tuple[Ranked, ...]
    graph: CallGraph
    basis: str


def nothing(symbol: str) -> bool:
    """Exclude no symbol."""
    return False


def func_rank(graph: CallGraph) -> dict[str, float]:
    """Return FuncRank's importance of every symbol, with costs as shares of the total.

    w_ji = A_ji / sum_u A_ju and I_i = (1 - alpha) A_i + alpha sum_{j in callees(i)} w_ji I_j, alpha = 0.5, iterated
    until no importance moves by 1e-6, at most 100 rounds (POLO, IJCAI-25, paper 814, "FuncRank"). A_i is self cost,
    A_ji the cost on the edge i -> j: importance flows from callee to caller, and there is no uniform term. Raises
    MeasurementError when the profile has no call edges.
    """
    if graph.edge_cost is None:
        raise MeasurementError(
            "FuncRank needs call stacks, and this profile has none", next_step="rank by self cost, or record with -g"
        )
    total = graph.total or 1
    share = {symbol: cost / total for symbol, cost in graph.self_cost.items()}
    caused: dict[str, int] = {}
    for (_, callee), cost in graph.edge_cost.items():
        caused[callee] = caused.get(callee, 0) + cost
    weights = [
        (caller, callee, cost / caused[callee]) for (caller, callee), cost in graph.edge_cost.items() if caused[callee]
    ]
    importance = dict(share)
    for _ in range(MAX_ROUNDS):
        following = {symbol: (1 - ALPHA) * own for symbol, own in share.items()}
        for caller, callee, weight in weights:
            following[caller] += ALPHA * weight * importance[callee]
        moved = max((abs(following[symbol] - importance[symbol]) for symbol in share), default=0.0)
        importance = following
        if moved < CONVERGENCE:
            break
    return importance


def rank_by_self(graph: CallGraph, *, exclude: Callable[[str], bool] = nothing) -> tuple[Ranked, ...]:
    """Return the symbols by their own cost, dearest first; symbols without any cost of their own are left out."""
    total = graph.total or 1
    return _ranked(graph, {symbol: cost / total for symbol, cost in graph.self_cost.items()}, "self", exclude)


def rank_by_func_rank(graph: CallGraph, *, exclude: Callable[[str], bool] = nothing) -> tuple[Ranked, ...]:
    """Return the symbols by FuncRank; excluded symbols pass importance on and are not listed."""
    return _ranked(graph, func_rank(graph), "funcrank", exclude)


def _ranked(
    graph: CallGraph, scores: Mapping[str, float], ranker: RankerName, exclude: Callable[[str], bool]
) -> tuple[Ranked, ...]:
    found = [
        Ranked(symbol, score, graph.self_share(symbol), graph.inclusive_share(symbol), ranker, graph.unit)
        for symbol, score in scores.items()
        if score > 0 and not exclude(symbol)
    ]
    return tuple(sorted(found, key=lambda ranked: (-ranked.score, ranked.symbol)))


def rank(
    time: CallGraph | None,
    counts: CallGraph | None,
    *,
    ranker: RankerName = "funcrank",
    exclude: Callable[[str], bool] = nothing,
) -> Ranking:
    """Rank by the time profile when it holds anything, else by instructions; `basis` says which, and why.

    FuncRank falls back to self cost for a profile without call stacks. Raises MeasurementError when neither profile
    holds any cost.
    """
    graph, why = _choose(time, counts)
    if ranker == "funcrank" and graph.edge_cost is None:
        return Ranking(
            rank_by_self(graph, exclude=exclude), graph, f"{why}; by self cost, since the profile has no call stacks"
        )
    if ranker == "funcrank":
        return Ranking(rank_by_func_rank(graph, exclude=exclude), graph, f"{why}; by FuncRank")
    return Ranking(rank_by_self(graph, exclude=exclude), graph, f"{why}; by self cost")


def _choose(time: CallGraph | None, counts: CallGraph | None) -> tuple[CallGraph, str]:
    if time is not None and time.total:
        return time, f"sampled profile ({time.unit})"
    missing = "no sampled profile" if time is None else "the sampled profile is empty"
    if counts is not None and counts.total:
        return counts, f"exact instruction counts ({missing})"
    raise MeasurementError(
        f"nothing to rank: {missing}, and no instruction count", next_step="configure a profiler for this workload"
    )
