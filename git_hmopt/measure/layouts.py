# SPDX-License-Identifier: Apache-2.0
"""Seeds of code layouts and of measured inputs, derived from the run's seed alone.

Purposes that must not share layouts have a stream each: a confirmation on the layouts that already picked the winner
confirms nothing (PRACTICE, "Accepting a change").
"""

from __future__ import annotations

import hashlib

from git_hmopt.records.words import Seed

STREAMS = ("floor", "floor-second", "nulls", "compare", "confirmation", "final")
"""The purposes of layout seeds, at most eight. A stream may carry a suffix after `/`, as in `confirmation/3`."""


def layout_seeds(run_seed: int, n: int, *, stream: str) -> tuple[Seed, ...]:
    """Return the first `n` layout seeds of a stream: distinct, and the same for the same arguments.

    A longer list starts with the shorter one, so that links made for an early look are reused at the next. Streams of
    different purposes never share a seed: the purpose is the seed's low three bits. ValueError on an unknown purpose.
    """
    purpose = stream.partition("/")[0]
    if purpose not in STREAMS:
        raise ValueError(f"no layout stream is called '{stream}'; there are: {', '.join(STREAMS)}")
    low = STREAMS.index(purpose)
    seeds: dict[Seed, None] = {}
    index = 0
    while len(seeds) < n:
        seeds[Seed((_number(run_seed, "layout", stream, index) & ~7) | low)] = None
        index += 1
    return tuple(seeds)


def derived_seed(run_seed: int, *labels: str | int) -> Seed:
    """Return one seed for what the labels name (a workload's data, the order of runs)."""
    return Seed(_number(run_seed, *labels))


def _number(run_seed: int, *labels: str | int) -> int:
    # repr keeps ("a", 11) and ("a1", 1) apart.
    digest = hashlib.sha256(repr((run_seed, *labels)).encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1
