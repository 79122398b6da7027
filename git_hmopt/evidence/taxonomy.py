# SPDX-License-Identifier: Apache-2.0
"""Bottleneck classes, decided by stated rules from how concentrated a profile is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from git_hmopt.runtime.ranking import Ranked

CPU_BOUND_LOOP = "cpu-bound-loop"
CALL_OVERHEAD = "call-overhead"
UNKNOWN = "unknown"

MAJORITY = 0.5
"""The bound of both rules: more than everything else together (so Amdahl's law gives at most 2x elsewhere)."""
_CANDIDATES = 5


@dataclass(frozen=True)
class Bottleneck:
    """A class and why, in words with the numbers that decided."""

    name: str
    reason: str


def classify(ranked: Sequence[Ranked], linked: Callable[[str, str], bool]) -> Bottleneck:
    """Return the bottleneck class of a ranked profile. Rules, the first that holds:

    1. cpu-bound-loop: the dearest symbol by self cost has at least half of the ranked symbols' self cost.
    2. call-overhead: two of the five dearest, of which one calls the other (`linked(caller, callee)`), have half of it
       together, so the cost is split by a call.
    3. unknown, with the reason.
    """
    measured = [(item.self_share, item.symbol) for item in ranked if item.self_share]
    total = sum(share for share, _ in measured)
    if not total:
        return Bottleneck(UNKNOWN, "no ranked symbol has a measured self cost")
    dearest = sorted(((share / total, symbol) for share, symbol in measured), key=lambda pair: (-pair[0], pair[1]))
    share, symbol = dearest[0]
    if share >= MAJORITY:
        return Bottleneck(CPU_BOUND_LOOP, f"{symbol} alone has {_percent(share)} of the ranked self cost (rule: 50 %)")
    pair = _linked_pair(dearest[:_CANDIDATES], linked)
    if pair:
        together, caller, callee = pair
        return Bottleneck(
            CALL_OVERHEAD,
            f"{caller} and its callee {callee} together have {_percent(together)} of the ranked self cost, "
            f"neither has half of it alone (rule: 50 %)",
        )
    return Bottleneck(
        UNKNOWN,
        f"the profile is flat: {symbol} leads with {_percent(share)} of the ranked self cost, "
        f"and no caller with its callee reaches 50 %",
    )


def _linked_pair(
    dearest: Sequence[tuple[float, str]], linked: Callable[[str, str], bool]
) -> tuple[float, str, str] | None:
    pairs = [
        (one + other, caller, callee)
        for one, caller in dearest
        for other, callee in dearest
        if caller != callee and one + other >= MAJORITY and linked(caller, callee)
    ]
    return min(pairs, key=lambda pair: (-pair[0], pair[1], pair[2]), default=None)


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
