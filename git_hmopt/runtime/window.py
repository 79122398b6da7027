# SPDX-License-Identifier: Apache-2.0
"""Cut a capture down to the part that matters."""

from __future__ import annotations

from dataclasses import replace

from git_hmopt.traces.tables import Samples


def below(samples: Samples, symbol: str) -> Samples:
    """Return the samples whose stack passes through `symbol`, each stack from there on, `symbol` left out.

    What stood above it, and samples without it, are counted in `skipped`; a leaf in `symbol` itself is left out too.
    """
    cut: list[tuple[int, ...] | None] = []
    for stack in samples.stacks:
        names = [samples.frames[index].symbol for index in stack]
        below_it = stack[names.index(symbol) + 1 :] if symbol in names else ()
        cut.append(below_it or None)
    rows = [row for row, index in enumerate(samples.stack) if cut[index] is not None]
    outside = len(samples) - len(rows)
    skipped = dict(samples.skipped)
    if outside:
        skipped[f"outside {symbol}"] = outside
    return replace(
        samples,
        stacks=tuple(stack or () for stack in cut),
        ts_ns=tuple(samples.ts_ns[row] for row in rows),
        stack=tuple(samples.stack[row] for row in rows),
        weight=tuple(samples.weight[row] for row in rows),
        pid=tuple(samples.pid[row] for row in rows),
        tid=tuple(samples.tid[row] for row in rows),
        cpu=tuple(samples.cpu[row] for row in rows),
        skipped=skipped,
    )
