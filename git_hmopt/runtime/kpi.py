# SPDX-License-Identifier: Apache-2.0
"""One key performance indicator of a capture, and how its number is written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from git_hmopt.records.base import decimal_text

Scope = Literal["system", "process", "thread", "cpu", "frame"]
CROSS_CHECK = "; cross-check: "
"""What follows it in a rule says how another source agrees: of this capture, and no part of the rule."""
NS = 1_000_000_000


@dataclass(frozen=True)
class Kpi:
    """One number. `value` is None where the capture does not tell: unknown is not 0."""

    name: str
    scope: Scope
    who: str
    """`all`, a process or thread with its id, a CPU, an interrupt, a frequency."""
    value: str | None
    """As `decimal_text` writes it."""
    unit: str
    n: int
    """How many observations the value rests on."""
    rule: str
    """What was counted and by which rule, in words."""


def kpi(
    name: str, value: float | None, unit: str, n: int, rule: str, *, scope: Scope = "system", who: str = "all"
) -> Kpi:
    """Return the record of a number that may be unknown."""
    return Kpi(name, scope, who, None if value is None else decimal_text(value), unit, n, rule)


def same_rule(one: Kpi, other: Kpi) -> bool:
    """Say whether two numbers were found alike, so that they can be compared."""
    return one.rule.partition(CROSS_CHECK)[0] == other.rule.partition(CROSS_CHECK)[0]


def share(part: int, whole: int) -> float | None:
    """Return the quotient, None when there is nothing to divide by."""
    return part / whole if whole else None


def per_second(count: int, nanoseconds: int) -> float | None:
    """Return a rate, None when no time was covered."""
    return count * NS / nanoseconds if nanoseconds > 0 else None
