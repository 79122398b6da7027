# SPDX-License-Identifier: Apache-2.0
"""Rankers: FuncRank against the closed solution of its own equation, self cost, exclusion, choice of profile."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
import pytest

from git_hmopt.errors import MeasurementError
from git_hmopt.runtime import call_graph, ranking
from git_hmopt.runtime.call_graph import CallGraph
from git_hmopt.traces import folded


def graph_of(lines: Sequence[str]) -> CallGraph:
    return call_graph.from_samples(folded.parse(f"{line}\n".encode() for line in lines))


def random_graph(seed: int) -> CallGraph:
    dice = random.Random(seed)
    names = [f"f{number}" for number in range(dice.randint(2, 12))]
    stacks = [";".join(dice.choices(names, k=dice.randint(1, 6))) for _ in range(dice.randint(1, 30))]
    return graph_of([f"{stack} {dice.randint(1, 1000)}" for stack in ["f0;f1", *stacks]])


@pytest.mark.parametrize("seed", range(25))
def test_func_rank_solves_polos_equation(seed: int) -> None:
    graph = random_graph(seed)
    assert graph.edge_cost is not None
    names = sorted(graph.self_cost)
    at = {name: number for number, name in enumerate(names)}
    edges = np.zeros((len(names), len(names)))
    for (caller, callee), cost in graph.edge_cost.items():
        edges[at[caller], at[callee]] = cost
    caused = edges.sum(axis=0)
    weights = np.divide(edges, caused, out=np.zeros_like(edges), where=caused > 0)
    own = np.array([graph.self_cost[name] / graph.total for name in names])
    solved = np.linalg.solve(np.eye(len(names)) - 0.5 * weights, 0.5 * own)
    found = ranking.func_rank(graph)
    assert [found[name] for name in names] == pytest.approx(list(solved), abs=3e-6)
    assert all(0 <= value <= 1 for value in found.values())


def test_func_rank_by_hand() -> None:
    # leaf: I = 0.5 * 0.8; a gets 5/8 of it, b 3/8; main gets all of a and b.
    found = ranking.func_rank(graph_of(["main;a;leaf 5", "main;b;leaf 3", "main;a 2"]))
    leaf, a, b = 0.4, 0.5 * 0.2 + 0.5 * 5 / 8 * 0.4, 0.5 * 3 / 8 * 0.4
    assert found == pytest.approx({"leaf": leaf, "a": a, "b": b, "main": 0.5 * (a + b)}, abs=2e-6)


def test_importance_flows_from_callee_to_caller_not_back() -> None:
    ranked = ranking.rank_by_func_rank(graph_of(["main;driver;leaf 9", "main;other 1"]))
    order = [item.symbol for item in ranked]
    assert order.index("leaf") < order.index("driver") < order.index("other")
    driver = next(item for item in ranked if item.symbol == "driver")
    assert (driver.self_share, driver.inclusive_share, driver.ranker) == (0.0, 0.9, "funcrank")


def test_self_ranking_leaves_out_what_has_no_cost_of_its_own() -> None:
    ranked = ranking.rank_by_self(graph_of(["main;b 3", "main;a 3", "main;c 4"]))
    assert [(item.symbol, item.score) for item in ranked] == [("c", 0.4), ("a", 0.3), ("b", 0.3)]


def test_excluded_symbols_are_not_listed_and_shares_stay_those_of_the_whole() -> None:
    graph = graph_of(["kunit_run;kunit_case;hot 6", "kunit_run 4"])
    ranked = ranking.rank_by_func_rank(graph, exclude=lambda symbol: symbol.startswith("kunit_"))
    assert [(item.symbol, item.self_share) for item in ranked] == [("hot", 0.6)]
    assert ranking.rank_by_self(graph, exclude=lambda symbol: True) == ()


def test_func_rank_refuses_a_profile_without_stacks() -> None:
    with pytest.raises(MeasurementError, match=r"needs call stacks, .* rank by self cost, or record with -g"):
        ranking.func_rank(graph_of(["f 1"]))


def test_time_decides_when_there_is_any_else_the_counts_and_it_is_said() -> None:
    time, flat, empty = graph_of(["a;b 3"]), graph_of(["x 1"]), graph_of([])
    assert ranking.rank(time, flat).basis == "sampled profile (samples); by FuncRank"
    assert ranking.rank(time, None, ranker="self").basis == "sampled profile (samples); by self cost"
    assert ranking.rank(flat, None).basis.endswith("by self cost, since the profile has no call stacks")
    counted = ranking.rank(empty, flat)
    assert counted.basis.startswith("exact instruction counts (the sampled profile is empty)")
    assert counted.graph is flat
    assert ranking.rank(None, flat).basis.startswith("exact instruction counts (no sampled profile)")
    with pytest.raises(MeasurementError, match="nothing to rank: no sampled profile, and no instruction count"):
        ranking.rank(None, None)
    with pytest.raises(MeasurementError, match="the sampled profile is empty"):
        ranking.rank(empty, empty)
