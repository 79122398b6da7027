# SPDX-License-Identifier: Apache-2.0
"""Cutting a capture to what ran below one function."""

from __future__ import annotations

from git_hmopt.runtime import call_graph
from git_hmopt.runtime.window import below
from git_hmopt.traces import folded

LINES = [b"boot;init 7\n", b"boot;window;work;leaf 5\n", b"boot;window 1\n", b"irq;window;window;leaf 2\n"]


def test_only_what_ran_below_the_window_is_kept_and_the_rest_counted() -> None:
    samples = below(folded.parse(LINES), "window")
    graph = call_graph.from_samples(samples)
    assert graph.total == 7
    assert graph.self_cost == {"leaf": 7, "window": 0, "work": 0}
    assert graph.edge_cost == {("window", "leaf"): 2, ("work", "leaf"): 5}
    assert samples.skipped == {"outside window": 2}


def test_a_window_that_was_never_seen_leaves_nothing() -> None:
    samples = below(folded.parse(LINES), "absent")
    assert (len(samples), samples.skipped) == (0, {"outside absent": 4})
    assert call_graph.from_samples(samples).total == 0
