# SPDX-License-Identifier: Apache-2.0
"""Cut a capture down to the part that matters: below a function, or inside windows of time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import polars as pl

from git_hmopt.traces.tables import Samples

NO_TIME = "sample without a time"
OUTSIDE = "outside the windows"


def below(samples: Samples, symbol: str) -> Samples:
    """Return the samples whose stack passes through `symbol`, each stack from there on, `symbol` left out.

    What stood above it, and samples without it, are counted in `skipped`; a leaf in `symbol` itself is left out too.
    """
    roots = {index for index, frame in enumerate(samples.frames) if frame.symbol == symbol}
    cut = [_after_first(stack, roots) for stack in samples.stacks]
    inside = pl.Series("inside", [bool(stack) for stack in cut], dtype=pl.Boolean())
    return _kept(replace(samples, stacks=tuple(cut)), inside.gather(samples.rows["stack"]), f"outside {symbol}")


def _after_first(stack: tuple[int, ...], roots: set[int]) -> tuple[int, ...]:
    place = next((place for place, frame in enumerate(stack) if frame in roots), len(stack))
    return stack[place + 1 :]


def within(samples: Samples, windows: Sequence[tuple[int, int]]) -> Samples:
    """Return the samples inside any of the windows, each [start_ns, end_ns) of the samples' own clock.

    Windows may overlap and come in any order. The others, and samples without a time, are counted in `skipped`.
    """
    merged = _merged(windows)
    starts = np.array([start for start, _ in merged], dtype=np.int64)
    ends = np.array([end for _, end in merged], dtype=np.int64)
    timed = _kept(samples, samples.rows["ts_ns"].is_not_null(), NO_TIME)
    times = timed.rows["ts_ns"].to_numpy()
    last = np.searchsorted(starts, times, side="right") - 1
    inside = last >= 0
    inside[inside] = times[inside] < ends[last[inside]]
    return _kept(timed, pl.Series("inside", inside), OUTSIDE)


def later(samples: Samples, nanoseconds: int) -> Samples:
    """Return the samples with their times so much later: by a clock that is so much ahead of theirs."""
    return replace(samples, rows=samples.rows.with_columns(pl.col("ts_ns") + nanoseconds))


def _merged(windows: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    merged: list[tuple[int, int]] = []
    for start, end in sorted(windows):
        if merged and start <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(end, merged[-1][1])
        elif start < end:
            merged.append((start, end))
    return merged


def _kept(samples: Samples, inside: pl.Series, reason: str) -> Samples:
    rows = samples.rows.filter(inside)
    skipped = dict(samples.skipped)
    if lost := len(samples) - rows.height:
        skipped[reason] = skipped.get(reason, 0) + lost
    return replace(samples, rows=rows, skipped=skipped)
