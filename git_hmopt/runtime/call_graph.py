# SPDX-License-Identifier: Apache-2.0
"""The runtime call graph (PCG): what every symbol cost by itself, with its callees, and on each call edge."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from git_hmopt.traces.tables import UNKNOWN, Frame, Samples, SelfCounts


@dataclass(frozen=True)
class CallGraph:
    """Costs by symbol. `inclusive_cost` and `edge_cost` are None when the profile has no call stacks: unmeasured."""

    unit: str
    total: int
    self_cost: Mapping[str, int]
    inclusive_cost: Mapping[str, int] | None
    edge_cost: Mapping[tuple[str, str], int] | None
    """Cost by (caller, callee)."""
    skipped: Mapping[str, int]

    def self_share(self, symbol: str) -> float | None:
        """Return the symbol's own share of all cost, 0..1; None when the profile never saw it."""
        cost = self.self_cost.get(symbol)
        return None if cost is None or not self.total else cost / self.total

    def inclusive_share(self, symbol: str) -> float | None:
        """Return the share of all cost spent in the symbol or below it, 0..1; None when unmeasured."""
        cost = None if self.inclusive_cost is None else self.inclusive_cost.get(symbol)
        return None if cost is None or not self.total else cost / self.total

    def callers(self, symbol: str) -> dict[str, int]:
        """Return what each measured caller of `symbol` caused in it, dearest first."""
        return self._around(symbol, callee=True)

    def callees(self, symbol: str) -> dict[str, int]:
        """Return what `symbol` caused in each measured callee, dearest first."""
        return self._around(symbol, callee=False)

    def _around(self, symbol: str, *, callee: bool) -> dict[str, int]:
        here, there = (1, 0) if callee else (0, 1)
        found = [(edge[there], cost) for edge, cost in (self.edge_cost or {}).items() if edge[here] == symbol]
        return dict(sorted(found, key=lambda pair: (-pair[1], pair[0])))


def _label(frame: Frame) -> str:
    return frame.label


def from_samples(samples: Samples, *, name: Callable[[Frame], str] = _label) -> CallGraph:
    """Return the graph of sampled stacks; a symbol or edge counts once a sample, however often it recurs.

    Frames without name or object at a stack's root are where the unwinder lost its way, not callers: they are left
    out. With frame pointers the leaf's direct caller may be missing from a stack (gcc gives leaf functions none): such
    an edge then starts at the caller's caller. A profile in which no stack is deeper than one frame was taken without
    call stacks: self costs only.
    """
    self_cost: Counter[str] = Counter()
    inclusive: Counter[str] = Counter()
    edges: Counter[tuple[str, str]] = Counter()
    for stack, weight in samples.weight_by_stack().items():
        names = _without_lost_root([name(samples.frames[index]) for index in stack])
        self_cost[names[-1]] += weight
        for symbol in set(names):
            inclusive[symbol] += weight
        for edge in set(itertools.pairwise(names)):
            edges[edge] += weight
    for symbol in inclusive:
        # A symbol that was only ever seen as a caller was sampled zero times at its leaf: measured, and 0.
        self_cost.setdefault(symbol, 0)
    return CallGraph(
        unit=samples.unit,
        total=sum(samples.weight),
        self_cost=dict(sorted(self_cost.items())),
        inclusive_cost=dict(sorted(inclusive.items())) if edges else None,
        edge_cost=dict(sorted(edges.items())) if edges else None,
        skipped=dict(samples.skipped),
    )


def _without_lost_root(names: list[str]) -> list[str]:
    first = 0
    while first < len(names) - 1 and names[first] == UNKNOWN:
        first += 1
    return names[first:]


def from_self_counts(counts: SelfCounts) -> CallGraph:
    """Return the graph of an exact self profile, in instructions; it knows no callers."""
    self_cost: Counter[str] = Counter()
    for symbol, instructions in zip(counts.symbol, counts.instructions, strict=True):
        self_cost[symbol] += instructions
    return CallGraph(
        unit="instructions",
        total=sum(counts.instructions),
        self_cost=dict(sorted(self_cost.items())),
        inclusive_cost=None,
        edge_cost=None,
        skipped=dict(counts.skipped),
    )
