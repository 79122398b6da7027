# SPDX-License-Identifier: Apache-2.0
"""Bottleneck classes, decided by stated rules: from how a profile is spread, what its symbols are, and from KPIs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from git_hmopt.evidence.families import FAMILIES, costs_of, family_of, of_families
from git_hmopt.evidence.kpi_rules import RULES, of_kpis
from git_hmopt.evidence.rule import Bottleneck, Rule, Undecided, ordered, percent
from git_hmopt.records.bottleneck import CALL_OVERHEAD, CLASSES, CPU_BOUND_LOOP, UNKNOWN, BottleneckClass
from git_hmopt.runtime.call_graph import CallGraph
from git_hmopt.runtime.kpi import Kpi
from git_hmopt.runtime.ranking import Ranked

MAJORITY = 0.5
"""The bound of both rules: more than everything else together (so Amdahl's law gives at most 2x elsewhere)."""
_CANDIDATES = 5
_WHY = "more than everything else together, so that by Amdahl's law all of the rest gives at most 2x"

LOOP_RULE = Rule(
    CPU_BOUND_LOOP, "one symbol that is of no family has at least half of the ranked self cost", "50 %", _WHY
)
CALL_RULE = Rule(
    CALL_OVERHEAD, "two of the five dearest symbols, of which one calls the other, have half of the ranked self cost"
    " together and neither has it alone", "50 %", _WHY,
)  # fmt: skip


@dataclass(frozen=True)
class Survey:
    """All rules that hold, what explains most first, and the classes that nothing here could decide."""

    found: tuple[Bottleneck, ...]
    """Never empty: where no rule holds it is unknown, with the reason."""
    undecided: tuple[Undecided, ...]


def rules() -> tuple[Rule, ...]:
    """Return every rule there is."""
    return (LOOP_RULE, CALL_RULE, *(one.rule for one in FAMILIES), *(one.rule for one in RULES))


def survey(
    ranked: Sequence[Ranked],
    linked: Callable[[str, str], bool] | None,
    *,
    graph: CallGraph | None = None,
    kpis: Sequence[Kpi] = (),
) -> Survey:
    """Return the classes that a profile and the KPIs of a capture show.

    1. cpu-bound-loop: the dearest symbol by self cost has at least half of the ranked symbols' self cost, and is of no
       family.
    2. call-overhead: two of the five dearest, of which one calls the other (`linked(caller, callee)`), have half of it
       together and neither alone, so the cost is split by a call. Not decided where nobody may say who calls whom
       (`linked` is None).
    3. The families of `families` that have their share of the profile, and the rules of `kpi_rules` that hold.

    A share is of the profile, or of the capture's time where KPIs tell it: the order over both compares unlike things,
    and says where to look first. What holds with an unknown share comes last.
    """
    costs = costs_of(graph, ranked)
    spread = _spread(ranked, linked)
    by_kpi = of_kpis(kpis)
    held = [*([spread] if spread.name != UNKNOWN else []), *of_families(costs), *by_kpi.held]
    decided = {one.name for one in held} | by_kpi.decided | (set(_of_profile(linked)) if costs else set())
    # What a profile decides needs no capture.
    missing = [one for one in by_kpi.undecided if one.name not in decided]
    known = decided | {one.name for one in missing}
    missing += [Undecided(name, "no profile with costs") for name in _of_profile(linked) if name not in known]
    if linked is None and CALL_OVERHEAD not in known:
        missing.append(Undecided(CALL_OVERHEAD, "who calls whom is left out"))
    missing.sort(key=lambda one: CLASSES.index(one.name))
    return Survey(ordered(held) or (spread,), tuple(missing))


def _of_profile(linked: object) -> tuple[BottleneckClass, ...]:
    calls = () if linked is None else (CALL_OVERHEAD,)
    return (CPU_BOUND_LOOP, *calls, *(one.rule.bottleneck for one in FAMILIES))


def _spread(ranked: Sequence[Ranked], linked: Callable[[str, str], bool] | None) -> Bottleneck:
    measured = [(item.self_share, item.symbol) for item in ranked if item.self_share]
    total = sum(share for share, _ in measured)
    if not total:
        return Bottleneck(UNKNOWN, "no ranked symbol has a measured self cost")
    dearest = sorted(((share / total, symbol) for share, symbol in measured), key=lambda pair: (-pair[0], pair[1]))
    share, symbol = dearest[0]
    if share >= MAJORITY:
        return _concentrated(share, symbol, share * total)
    pair = _linked_pair(dearest[:_CANDIDATES], linked) if linked is not None else None
    if pair:
        together, caller, callee = pair
        reason = (
            f"{caller} and its callee {callee} together have {percent(together)} of the ranked self cost, "
            f"neither has half of it alone (rule: 50 %)"
        )
        shares = {name: of for of, name in dearest}
        told = tuple(f"{name} {percent(shares[name])} of the ranked self cost" for name in (caller, callee))
        return Bottleneck(CALL_OVERHEAD, reason, together * total, CALL_RULE, told)
    return Bottleneck(
        UNKNOWN,
        f"the profile is flat: {symbol} leads with {percent(share)} of the ranked self cost"
        + ("" if linked is None else ", and no caller with its callee reaches 50 %"),
    )


def _concentrated(share: float, symbol: str, whole: float) -> Bottleneck:
    # To wait for a lock is no loop to make faster.
    family = family_of(symbol)
    told = f"{symbol} alone has {percent(share)} of the ranked self cost"
    if family is not None:
        return Bottleneck(UNKNOWN, f"{told}, and is of the family of {family}, which has no 10 % of the profile")
    return Bottleneck(CPU_BOUND_LOOP, f"{told} (rule: 50 %)", whole, LOOP_RULE, (told,))


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
