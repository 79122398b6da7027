# SPDX-License-Identifier: Apache-2.0
"""Two exact profiles of one workload: who gives costs, and who only lines."""

from __future__ import annotations

import pytest

from git_hmopt.loop.nodes.profile import with_lines
from git_hmopt.traces.tables import SelfCounts


def counts(*rows: tuple[str, int, int, int]) -> SelfCounts:
    """Return a table of (symbol, line, instructions, executions) in one file."""
    return SelfCounts(
        symbol=tuple(row[0] for row in rows),
        file=("a.c",) * len(rows),
        line=tuple(row[1] for row in rows),
        instructions=tuple(row[2] for row in rows),
        executions=tuple(row[3] for row in rows),
        skipped={},
    )


COSTS = counts(("f", 10, 500, 50), ("f.isra.0", 11, 90, 30))
LINES = counts(("f", 10, 0, 49), ("f", 12, 0, 0), ("g", 30, 0, 7))


@pytest.mark.parametrize("pair", [(COSTS, LINES), (LINES, COSTS)])
def test_lines_are_added_to_costs_in_either_order(pair: tuple[SelfCounts, SelfCounts]) -> None:
    expected = counts(("f", 10, 500, 50), ("f.isra.0", 11, 90, 30), ("f", 12, 0, 0), ("g", 30, 0, 7))
    assert with_lines(*pair) == expected


def test_of_two_costs_the_later_counts() -> None:
    later = counts(("f", 10, 1, 1))
    assert with_lines(COSTS, later) == later
    assert with_lines(later, COSTS) == COSTS
