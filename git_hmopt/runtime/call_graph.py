# SPDX-License-Identifier: Apache-2.0
"""The runtime call graph (PCG): what every symbol cost by itself, with its callees, and on each call edge."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

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

    def flat(self) -> CallGraph:
        """Return the same costs without who caused them, as a profile without call stacks has them."""
        return replace(self, inclusive_cost=None, edge_cost=None)

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
    of_frame = [name(frame) for frame in samples.frames]
    # Numbered in the order of their names, so that what is sorted by number is sorted by name.
    names = sorted(set(of_frame))
    numbers = {symbol: number for number, symbol in enumerate(names)}
    calls = _calls(samples, [numbers[symbol] for symbol in of_frame], lost=numbers.get(UNKNOWN))
    inclusive = {names[callee]: cost for callee, cost in _costs(calls, "callee")}
    edges = {
        (names[caller], names[callee]): cost
        for caller, callee, cost in _costs(calls.filter(pl.col("caller").is_not_null()), "caller", "callee")
    }
    # A symbol that was only ever seen as a caller was sampled zero times at its leaf: measured, and 0.
    self_cost = dict.fromkeys(inclusive, 0)
    self_cost.update((names[leaf], cost) for leaf, cost in _costs(calls.filter("is_leaf"), "callee"))
    return CallGraph(
        unit=samples.unit,
        total=samples.total(),
        self_cost=self_cost,
        inclusive_cost=inclusive if edges else None,
        edge_cost=edges if edges else None,
        skipped=dict(samples.skipped),
    )


def _calls(samples: Samples, of_frame: list[int], *, lost: int | None) -> pl.DataFrame:
    """Return one row for each frame of each stack that was sampled: caller, callee, is_leaf, stack, weight.

    Group by stack first: profiles have far fewer stacks than samples. `lost` is the symbol of frames without a name.
    """
    weights = {index: weight for index, weight in samples.weight_by_index().items() if samples.stacks[index]}
    depths = np.fromiter((len(samples.stacks[index]) for index in weights), dtype=np.int64, count=len(weights))
    flat = itertools.chain.from_iterable(samples.stacks[index] for index in weights)
    callees = np.array(of_frame, dtype=np.int64)[np.fromiter(flat, dtype=np.int64, count=int(depths.sum()))]
    ends = np.cumsum(depths)
    is_leaf = np.zeros(len(callees), dtype=bool)
    is_leaf[ends - 1] = True
    # A frame is left out while nothing named has stood at or above it in its own stack.
    named = np.concatenate(([0], np.cumsum((callees != (-1 if lost is None else lost)) | is_leaf)))
    before = np.repeat(named[ends - depths], depths)
    kept = named[1:] > before
    is_root = named[:-1] == before
    callers = np.roll(callees, 1)
    table = pl.DataFrame(
        {
            "stack": np.repeat(np.arange(len(weights)), depths)[kept],
            "caller": callers[kept],
            "callee": callees[kept],
            "is_leaf": is_leaf[kept],
            "is_root": is_root[kept],
        }
    )
    weight = pl.Series("weight", list(weights.values()), dtype=pl.Int128())
    caller = pl.when(pl.col("is_root").not_()).then(pl.col("caller")).alias("caller")
    return table.with_columns(caller, weight=weight.gather(table["stack"]))


def _costs(calls: pl.DataFrame, *by: str) -> Iterator[tuple[int, ...]]:
    """Yield the symbols `by` with their cost, in their order; what recurs in a stack counts once."""
    once = calls.unique(["stack", *by])
    return once.group_by(by).agg(pl.col("weight").sum()).sort(by).iter_rows()


def from_self_counts(counts: SelfCounts) -> CallGraph:
    """Return the graph of an exact self profile, in its unit; it knows no callers."""
    self_cost: Counter[str] = Counter()
    for symbol, instructions in zip(counts.symbol, counts.instructions, strict=True):
        self_cost[symbol] += instructions
    return CallGraph(
        unit=counts.unit,
        total=sum(counts.instructions),
        self_cost=dict(sorted(self_cost.items())),
        inclusive_cost=None,
        edge_cost=None,
        skipped=dict(counts.skipped),
    )
