# SPDX-License-Identifier: Apache-2.0
"""Cut a capture down to the part that matters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from git_hmopt.errors import MeasurementError
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
    whole = replace(samples, stacks=tuple(stack or () for stack in cut))
    return _only(whole, rows, f"outside {symbol}")


def between(samples: Samples, start_ns: int, end_ns: int) -> Samples:
    """Return the samples whose time lies in `start_ns` <= time < `end_ns`; the others are counted in `skipped`.

    Raises MeasurementError when no sample has a time.
    """
    if len(samples) and all(stamp is None for stamp in samples.ts_ns):
        raise MeasurementError(
            "this capture has no times, so no window can be cut out of it", next_step="leave out --window"
        )
    rows = [row for row, stamp in enumerate(samples.ts_ns) if stamp is not None and start_ns <= stamp < end_ns]
    return _only(samples, rows, "outside the window")


def _only(samples: Samples, rows: Sequence[int], reason: str) -> Samples:
    """Return these rows alone, the others counted by the reason."""
    skipped = dict(samples.skipped)
    if len(rows) < len(samples):
        skipped[reason] = len(samples) - len(rows)
    return replace(
        samples,
        ts_ns=tuple(samples.ts_ns[row] for row in rows),
        stack=tuple(samples.stack[row] for row in rows),
        weight=tuple(samples.weight[row] for row in rows),
        pid=tuple(samples.pid[row] for row in rows),
        tid=tuple(samples.tid[row] for row in rows),
        cpu=tuple(samples.cpu[row] for row in rows),
        skipped=skipped,
    )
