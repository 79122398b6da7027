# SPDX-License-Identifier: Apache-2.0
"""The deterministic conductor: which hotspot to try which strategy on, and when to stop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from git_hmopt.agents.playbook.strategy import Miss, Strategy, View
from git_hmopt.agents.proposer import Attempt, Decision, End, Source
from git_hmopt.errors import HmoptError
from git_hmopt.evidence.structure import source_name
from git_hmopt.psg.syntax import syntax
from git_hmopt.psg.unit import Function, Unit
from git_hmopt.records.evidence import EvidencePack, HotspotEvidence


class Tree:
    """The pack's hotspots in the source; every file is parsed at most once."""

    def __init__(self, pack: EvidencePack, source: Source) -> None:
        self._pack = pack
        self._source = source
        self._units: dict[str, Unit | str] = {}
        self._views: dict[tuple[str, str], tuple[View, ...] | str] = {}
        self._hot = frozenset(source_name(evidence.hotspot.symbol) for evidence in pack.hotspots)

    def views(self, symbol: str, file: str) -> tuple[View, ...] | str:
        """Return what strategies may look at for a hotspot, or why there is nothing.

        The function comes first, then the static functions of its file that it calls and that have no cost under
        their own names: the compiler inlined those, and their cost is the hotspot's.
        """
        key = (symbol, file)
        if key not in self._views:
            self._views[key] = self._look(symbol, file)
        return self._views[key]

    def _look(self, symbol: str, file: str) -> tuple[View, ...] | str:
        evidence = next(
            (one for one in self._pack.hotspots if (one.hotspot.symbol, one.hotspot.file) == (symbol, file)), None
        )
        if evidence is None:
            return "the pack has no such hotspot"
        if not file.endswith(".c"):
            return f"{file} is no C file with a translation unit of its own"
        unit = self._unit(file)
        if isinstance(unit, str):
            return unit
        function = unit.function(source_name(symbol))
        if function is None:
            return f"{file} does not define it"
        if function.from_macro:
            return "its body is written in a macro"
        return tuple(self._view(unit, site, evidence) for site in (function, *self._inlined(unit, function)))

    def _unit(self, file: str) -> Unit | str:
        if file not in self._units:
            try:
                unit = self._source.unit(file)
            except HmoptError as error:
                self._units[file] = str(error)
            else:
                self._units[file] = _flaw(unit) or unit
        return self._units[file]

    def _inlined(self, unit: Unit, function: Function) -> list[Function]:
        called = dict.fromkeys(call.callee for call in function.calls if not call.indirect)
        found = (unit.function(name) for name in called if name not in self._hot and name != function.symbol)
        return [other for other in found if other and other.linkage == "static" and not other.from_macro]

    def _view(self, unit: Unit, function: Function, evidence: HotspotEvidence) -> View:
        return View(unit, function, syntax(unit, function), evidence, self._hot, self._source)


def _flaw(unit: Unit) -> str | None:
    """Return why nothing may be rewritten by a parse: what the parser did not understand is missing from its trees."""
    if not unit.diagnostics:
        return None
    first = unit.diagnostics[0]
    return f"the parser finds errors in {unit.file}, the first at {first.file}:{first.line}: {first.text}"


def choose(
    pack: EvidencePack, attempts: Sequence[Attempt], source: Source, strategies: Sequence[Strategy[Any]]
) -> Decision | End:
    """Return the untried pair of hotspot and strategy with the greatest expected headroom whose shape is there.

    Expected headroom is the hotspot's share of the profile times the share of it that the strategy states it removes.
    A hotspot whose share is below the objective's margin is passed over: even removing all of it could not be accepted
    (Amdahl's law). Where no share was measured nothing is passed over for it: the greatest stated share of whatever the
    function costs comes first, and of equal ones the hotspot that the pack has first.
    """
    tree = Tree(pack, source)
    tried = {attempt.key: attempt.outcome for attempt in attempts}
    passed: list[str] = []
    pairs: list[tuple[float | None, int, HotspotEvidence, Strategy[Any]]] = []
    for place, evidence in enumerate(pack.hotspots):
        reason = _unusable(evidence, float(pack.objective.margin), source)
        if reason:
            passed.append(f"{evidence.hotspot.symbol}: {reason}")
        else:
            pairs += [(_headroom(evidence, one), place, evidence, one) for one in strategies]
    pairs.sort(key=_order)
    for headroom, _, evidence, strategy in pairs:
        decision = _decision(evidence, strategy, headroom)
        why_not = f"tried: {tried[decision.key]}" if decision.key in tried else _misfit(tree, decision, strategy)
        if why_not is None:
            return decision
        passed.append(f"{decision.symbol}, {strategy.name}: {why_not}")
    done = sum(1 for attempt in attempts if attempt.symbol)
    return End(
        f"nothing left to try: {len(pack.hotspots)} hotspots, {len(strategies)} strategies, {done} attempts made, "
        f"{len(passed)} passed over with a reason each",
        tuple(passed),
    )


def _headroom(evidence: HotspotEvidence, strategy: Strategy[Any]) -> float | None:
    score = evidence.hotspot.score
    return None if score is None else float(score) * strategy.prior


def _order(pair: tuple[float | None, int, HotspotEvidence, Strategy[Any]]) -> tuple[float | int | str, ...]:
    """Return what pairs are sorted by: what nobody measured stands behind what was."""
    headroom, place, evidence, strategy = pair
    if headroom is None:
        return (1, -strategy.prior, place, strategy.name)
    return (0, -headroom, evidence.hotspot.symbol, strategy.name)


def _unusable(evidence: HotspotEvidence, margin: float, source: Source) -> str | None:
    share = None if evidence.hotspot.score is None else float(evidence.hotspot.score)
    if share is not None and share < margin:
        return f"{share:.2%} of the profile is below the objective's margin of {margin:.2%}"
    file = evidence.hotspot.file
    return source.closed(file) if file else "its source file is not known"


def _decision(evidence: HotspotEvidence, strategy: Strategy[Any], headroom: float | None) -> Decision:
    hotspot = evidence.hotspot
    if hotspot.score is None or headroom is None:
        reason = f"{hotspot.symbol} has the shape of '{strategy.summary}'; what it costs was not measured, "
        reason += f"expected headroom {strategy.prior:.1%} of that ({strategy.prior_source})"
    else:
        reason = f"{hotspot.symbol} has {float(hotspot.score):.1%} of the profile and the shape of "
        reason += f"'{strategy.summary}'; expected headroom {headroom:.1%} ({strategy.prior_source})"
    return Decision(symbol=hotspot.symbol, file=hotspot.file or "", strategy=strategy.name, reason=reason)


def _misfit(tree: Tree, decision: Decision, strategy: Strategy[Any]) -> str | None:
    """Return why no site of the hotspot has the strategy's shape, or None when one has."""
    views = tree.views(decision.symbol, decision.file)
    if isinstance(views, str):
        return views
    reasons = []
    for view in views:
        match = strategy.match(view)
        if not isinstance(match, Miss):
            return None
        reasons.append(match.reason)
    return "; ".join(dict.fromkeys(reasons))
