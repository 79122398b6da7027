# SPDX-License-Identifier: Apache-2.0
"""What was measured and tried before, as answers: key figures, attempts, and what a search finds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from git_hmopt.agents.answers import answered, did_you_mean, named, nearest
from git_hmopt.agents.proposer import Attempt
from git_hmopt.evidence.changes import metric_text
from git_hmopt.evidence.retrieval import said
from git_hmopt.evidence.retrieved_sections import delta_text
from git_hmopt.evidence.structure import source_name
from git_hmopt.records.retrieved import PastDelta
from git_hmopt.records.run import EvaluationRecord
from git_hmopt.runtime.kpi import Kpi
from git_hmopt.store.graph import name_of

_SHORT = 12
"""Digits of a hash that are shown."""


# -- key figures ----------------------------------------------------------------------------------------------------


def kpis_told(pattern: str, found: Mapping[str, Sequence[Kpi]]) -> str:
    """Return the key figures whose name, or whose it is, holds the pattern as it is written; cases are equal.

    `found` are the figures by the sha256 of their capture.
    """
    if not any(found.values()):
        return "no key figures are recorded: no trace with events was ingested into this run"
    wanted = pattern.casefold()
    lines = []
    for capture, kpis in found.items():
        holding = [one for one in kpis if wanted in f"{one.name} {one.who}".casefold()]
        if holding:
            lines += [f"capture {capture[:_SHORT]}:", *map(_kpi, holding)]
    if not lines:
        names = sorted({one.name for kpis in found.values() for one in kpis})
        near = did_you_mean(nearest(pattern, names))
        some = ", ".join(map(named, names[:20])) + (", ..." if len(names) > 20 else "")
        return answered(
            [f"no key figure's name holds '{named(pattern)}'{near}", f"there are: {some}"],
            less="name one: kpis PATTERN",
        )
    return answered(lines, less="ask for fewer: kpis PATTERN, a part of a name")


def _kpi(one: Kpi) -> str:
    value = "unknown" if one.value is None else f"{one.value} {one.unit}"
    whose = "" if one.who == "all" else f" of {one.scope} {named(one.who)}"
    n = f"{one.n} observation{'' if one.n == 1 else 's'}"
    return f"- {named(one.name)}{whose}: {value} ({n}; {said(one.rule)})"


# -- attempts -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Tried:
    """An attempt with where it stands, and what it touched and came to where there was a patch that was judged."""

    run: str
    iteration: int
    attempt: Attempt
    title: str = ""
    touched: tuple[str, ...] = ()
    """Symbols, as the structure graph calls them."""
    evaluation: EvaluationRecord | None = None

    @property
    def symbols(self) -> frozenset[str]:
        """Return the names of what it was about."""
        names = (self.attempt.symbol, *(name_of(one) for one in self.touched))
        return frozenset(source_name(one) for one in names if one)


def attempts_told(symbol: str, tried: Sequence[Tried], run: str) -> str:
    """Return the attempts on a symbol, or all of them where none is named, the newest first; `run` is the own one."""
    if not tried:
        return "nothing was tried yet in this run"
    wanted = source_name(name_of(symbol)) if symbol else ""
    found = [one for one in tried if not wanted or wanted in one.symbols]
    if not found:
        names = sorted(set().union(*(one.symbols for one in tried)))
        near = did_you_mean(nearest(wanted, names))
        some = ", ".join(map(named, names[:20])) or "patches that name no symbol"
        return answered(
            [f"nothing was tried on '{named(symbol)}' in this run{near}", f"tried so far: {some}"],
            less="ask for all: attempts",
        )
    lines = [line for one in reversed(found) for line in _tried(one, run)]
    return answered(lines, less="the newest came first; ask for one symbol's: attempts SYMBOL")


def _tried(one: Tried, run: str) -> list[str]:
    where = f"#{one.iteration}" if one.run == run else f"#{one.iteration} of {one.run}, which this run goes on from"
    attempt = one.attempt
    on = f" on {named(attempt.symbol)}" if attempt.symbol else ""
    lines = [
        f"{where}: {named(attempt.strategy)}{on} ({named(attempt.file)}): {attempt.outcome}: {said(attempt.reason)}"
    ]
    if one.title:
        lines.append(f"  patch: {said(one.title)}")
    evaluation = one.evaluation
    if evaluation is not None:
        kept = "kept: it is part of the best" if evaluation.accepted else "not kept"
        commit = f"commit {evaluation.commit[:_SHORT]}" if evaluation.commit else "no commit"
        lines.append(f"  {commit}, {kept}")
        lines += [f"  measured against {delta.against}: {metric_text(delta)}" for delta in evaluation.deltas]
        if not evaluation.deltas:
            lines.append("  nothing was measured")
    return lines


# -- search ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class CodeHit:
    """A function that was found."""

    symbol: str
    path: str
    first: int
    last: int
    summary: str


@dataclass(frozen=True)
class FixHit:
    """A change that another run judged."""

    run: str
    iteration: int
    symbol: str
    strategy: str
    verdict: str
    title: str
    reason: str
    deltas: tuple[PastDelta, ...]


def hits_told(words: str, code: Sequence[CodeHit], fixes: Sequence[FixHit], among: str) -> str:
    """Return what a search found, best first, and among what it looked."""
    lines = [f"functions like '{named(words)}', the nearest first:"]
    for hit in code:
        about = f": {said(hit.summary)}" if hit.summary else ""
        lines.append(f"- {named(hit.symbol)} (source {hit.path}:{hit.first}-{hit.last}){about}")
    lines += [] if code else ["- none"]
    lines.append("changes like it that other runs judged:")
    for fix in fixes:
        on = f" on {named(fix.symbol)}" if fix.symbol else ""
        deltas = "; ".join(map(delta_text, fix.deltas)) or "nothing measured"
        lines.append(f"- {named(fix.run)} #{fix.iteration}: {named(fix.strategy)}{on}: {fix.verdict}: {deltas}")
        lines.append(f"  {said(fix.title)}; because: {said(fix.reason)}")
    lines += [] if fixes else ["- none"]
    lines.append(f"looked through {among}")
    return answered(lines, less="search for fewer or rarer words")
