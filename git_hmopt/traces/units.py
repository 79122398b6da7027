# SPDX-License-Identifier: Apache-2.0
"""What profiles call their unit, as the unit our tables use: every unit of time becomes ns."""

from __future__ import annotations

from fractions import Fraction

_NS = {
    "ns": 1, "nanoseconds": 1, "us": 1_000, "usecs": 1_000, "microseconds": 1_000, "ms": 1_000_000,
    "milliseconds": 1_000_000, "s": 1_000_000_000, "seconds": 1_000_000_000,
}  # fmt: skip


def unit_of(word: str) -> tuple[str, int]:
    """Return our name of a unit and how many of ours one of theirs is; without a word it is samples."""
    if word in _NS:
        return "ns", _NS[word]
    return (word if word not in ("", "none") else "samples"), 1


def whole(number: int | float, factor: int) -> tuple[int, bool]:
    """Return `number` times `factor` as a whole number, and whether it had to be rounded.

    Raises ValueError for what is no number that a count can be: infinite, not a number, or beyond 2**62.
    """
    try:
        exact = Fraction(number) * factor
    except (OverflowError, ValueError) as error:
        raise ValueError("no number") from error
    if abs(exact) > 1 << 62:
        raise ValueError("out of range")
    value = round(exact)
    # Half a nanosecond is no loss; a fraction of a sample is one.
    return value, factor == 1 and value != exact
