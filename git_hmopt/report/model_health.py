# SPDX-License-Identifier: Apache-2.0
"""How models fare over many runs: how often they answer, how long that takes, what an accepted percent cost."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from git_hmopt.report.facts import DeltaFacts, read_delta
from git_hmopt.report.fields import Fields, MalformedError
from git_hmopt.report.price import claimed
from git_hmopt.report.wording import UNKNOWN
from git_hmopt.store.health import RunSpent


@dataclass(frozen=True)
class Price:
    """What an accepted percent of a workload cost over its runs that asked models (see `report.price`)."""

    workload: str
    runs: int
    unknown: int
    """Runs in which some exchange does not say what it used."""
    tokens: int | None
    """Of all those runs; None where it is not known of each."""
    at_most: bool
    percent: float
    """The sum of what the runs claim; one that claims nothing adds nothing."""
    tokens_per_percent: float | None


def prices(spent: Iterable[RunSpent]) -> tuple[Price, ...]:
    """Return them by workload."""
    by_workload: defaultdict[str, list[RunSpent]] = defaultdict(list)
    for one in spent:
        by_workload[one.workload].append(one)
    return tuple(_price(workload, by_workload[workload]) for workload in sorted(by_workload))


def _price(workload: str, runs: Sequence[RunSpent]) -> Price:
    known = [one.tokens for one in runs if one.tokens is not None]
    tokens = sum(known) if len(known) == len(runs) else None
    percent = sum(map(_percent, runs))
    return Price(
        workload=workload,
        runs=len(runs),
        unknown=len(runs) - len(known),
        tokens=tokens,
        at_most=any(one.at_most for one in runs),
        percent=percent,
        tokens_per_percent=tokens / percent if tokens is not None and percent > 0 else None,
    )


def _percent(one: RunSpent) -> float:
    accepted = _deltas(one.accepted)
    return (claimed(_deltas(one.claims), accepted).percent or 0.0) if accepted else 0.0


def _deltas(records: Iterable[Mapping[str, object]]) -> list[DeltaFacts]:
    found = []
    for record in records:
        try:
            found.append(read_delta(Fields(record)))
        except MalformedError:
            # What is no number claims nothing; `Recorded.no_numbers` counts it.
            continue
    return found


def price_text(one: Price) -> str:
    """Return the price of a percent in words."""
    if one.tokens is None:
        return f"{UNKNOWN}: {one.unknown} of {one.runs} runs do not say what they used"
    if one.tokens_per_percent is None:
        return "none accepted"
    return f"{'at most ' if one.at_most else ''}{one.tokens_per_percent:.0f}"
