# SPDX-License-Identifier: Apache-2.0
"""The runtime call graph: self, inclusive and edge costs, and what stays unmeasured."""

from __future__ import annotations

import itertools
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from git_hmopt.runtime import call_graph
from git_hmopt.runtime.call_graph import CallGraph
from git_hmopt.traces import folded
from git_hmopt.traces.stacks import SampleRows
from git_hmopt.traces.tables import Frame, SelfCounts


def graph_of(*lines: str) -> CallGraph:
    return call_graph.from_samples(folded.parse(f"{line}\n".encode() for line in lines))


def test_costs_of_a_small_profile() -> None:
    graph = graph_of("main;a;leaf 5", "main;b;leaf 3", "main;a 2")
    assert graph.total == 10
    assert graph.self_cost == {"a": 2, "b": 0, "leaf": 8, "main": 0}
    assert graph.inclusive_cost == {"a": 7, "b": 3, "leaf": 8, "main": 10}
    assert graph.edge_cost == {("a", "leaf"): 5, ("b", "leaf"): 3, ("main", "a"): 7, ("main", "b"): 3}
    assert graph.callers("leaf") == {"a": 5, "b": 3}
    assert list(graph.callees("main")) == ["a", "b"]


def test_recursion_counts_once_a_sample() -> None:
    graph = graph_of("main;f;f;g;f;g;f 4", "main;f 1")
    assert graph.inclusive_cost == {"f": 5, "g": 4, "main": 5}
    assert graph.edge_cost == {("f", "f"): 4, ("f", "g"): 4, ("g", "f"): 4, ("main", "f"): 5}
    assert graph.inclusive_share("f") == 1.0


def test_frames_the_unwinder_lost_at_the_root_are_no_callers() -> None:
    graph = graph_of("[unknown];[unknown];f;[unknown];g 3", "[unknown] 2")
    assert ("[unknown]", "f") not in (graph.edge_cost or {})
    assert graph.edge_cost == {("[unknown]", "g"): 3, ("f", "[unknown]"): 3}
    assert graph.self_cost == {"[unknown]": 2, "f": 0, "g": 3}


def test_a_flat_profile_leaves_inclusive_and_edges_unmeasured() -> None:
    graph = graph_of("f 3", "g 1")
    assert (graph.inclusive_cost, graph.edge_cost) == (None, None)
    assert graph.inclusive_share("f") is None
    assert graph.self_share("f") == 0.75
    assert graph.self_share("never seen") is None
    assert graph.callers("f") == {}


def test_counts_give_self_costs_in_instructions_only() -> None:
    counts = SelfCounts(
        symbol=("f", "f", "g"),
        file=("x.c", "x.c", None),
        line=(1, 2, None),
        instructions=(10, 20, 70),
        executions=(1, 2, 7),
        skipped={"row": 1},
    )
    graph = call_graph.from_self_counts(counts)
    assert (graph.unit, graph.total, graph.self_cost) == ("instructions", 100, {"f": 30, "g": 70})
    assert (graph.inclusive_cost, graph.edge_cost, graph.skipped) == (None, None, {"row": 1})


def test_an_empty_profile_has_no_shares() -> None:
    graph = graph_of()
    assert (graph.total, graph.self_cost, graph.self_share("f")) == (0, {}, None)


NAMES = st.sampled_from(["[unknown]", "a", "b", "c", "d"])


@given(st.lists(st.tuples(st.lists(NAMES, min_size=1, max_size=7), st.integers(1, 2**62)), max_size=12))
def test_the_graph_is_that_of_looking_at_every_stack_alone(profile: list[tuple[list[str], int]]) -> None:
    rows = SampleRows()
    own: Counter[str] = Counter()
    inclusive: Counter[str] = Counter()
    edges: Counter[tuple[str, str]] = Counter()
    for names, weight in profile:
        rows.add([rows.intern(Frame(name)) for name in names], weight)
        while len(names) > 1 and names[0] == "[unknown]":
            names = names[1:]
        own[names[-1]] += weight
        inclusive.update(dict.fromkeys(names, weight))
        edges.update(dict.fromkeys(itertools.pairwise(names), weight))
    graph = call_graph.from_samples(rows.table(event="cycles", unit="cycles"))
    assert graph.total == sum(weight for _, weight in profile)
    assert graph.self_cost == {name: own[name] for name in inclusive}
    assert list(graph.self_cost) == sorted(graph.self_cost)
    assert graph.edge_cost == (dict(edges) or None)
    assert graph.inclusive_cost == (dict(inclusive) if edges else None)
