# SPDX-License-Identifier: Apache-2.0
"""Static x runtime: knobs that hot functions hang on, tables that hot calls go through, fields that they use.

What the graph says of one function is told with what the profile says of all that share it. A function whose name the
graph has several times is joined only where it is known which one ran.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from git_hmopt.evidence.families import Cost
from git_hmopt.evidence.rule import percent
from git_hmopt.evidence.structure import Location, source_name
from git_hmopt.psg.facts import Relation
from git_hmopt.psg.queries import Direction, Guarded, Structure
from git_hmopt.records.base import decimal_text
from git_hmopt.records.windows import FunctionShare, Joined
from git_hmopt.runtime.call_graph import CallGraph
from git_hmopt.store.graph import name_of

Locate = Callable[[str], Location | None]

HOT = 0.005
"""The share of the profile from which a function is looked at: less than the gate can see."""
FUNCTIONS = 48
"""Functions that are looked at: those with the most cost, with callees or without."""
OF_A_KIND = 8
_SHOWN = 3
_TARGETS = 16
_USES = {"read": "read", "write": "written", "address": "address taken"}


@dataclass(frozen=True)
class Hot:
    """A function that is looked at: its name in the profile and in the graph, and its shares."""

    symbol: str
    node: str
    own: float
    inclusive: float


def hot_functions(structure: Structure, costs: Mapping[str, Cost], locate: Locate) -> tuple[Hot, ...]:
    """Return the functions with the most cost that the graph has, what costs most first."""
    shares = {symbol: max(cost.own, cost.inclusive or 0.0) for symbol, cost in costs.items()}
    hottest = sorted((one for one in shares if shares[one] >= HOT), key=lambda one: (-shares[one], one))[:FUNCTIONS]
    found = ((symbol, node_of(structure, symbol, locate)) for symbol in hottest)
    return tuple(Hot(symbol, node, costs[symbol].own, shares[symbol]) for symbol, node in found if node is not None)


def node_of(structure: Structure, symbol: str, locate: Locate) -> str | None:
    """Return how the graph calls a symbol of a profile; None where it has none, or several and nothing tells which."""
    known = structure.functions_named(source_name(symbol))
    if len(known) < 2:
        return known[0] if known else None
    location = locate(symbol)
    here = [one for one in known if location and any(place.file == location.file for place in structure.places(one))]
    return here[0] if len(here) == 1 else None


def joins(structure: Structure, hot: tuple[Hot, ...], pcg: CallGraph | None) -> tuple[Joined, ...]:
    """Return the knobs, the tables and the fields of hot functions, those of each kind with the most cost first."""
    # What only calls what is hot costs nothing that a knob or a field could take away.
    costing = tuple(one for one in hot if one.own > 0)
    kinds = (_knobs(structure, costing), _tables(structure, hot, pcg), _fields(structure, costing))
    found = [
        one
        for kind in kinds
        for one in sorted(kind, key=lambda one: (-float(one.share), one.name))[:OF_A_KIND]
    ]  # fmt: skip
    return tuple(found)


def _shares(functions: Mapping[str, float]) -> tuple[FunctionShare, ...]:
    ordered = sorted(functions.items(), key=lambda pair: (-pair[1], pair[0]))
    return tuple(FunctionShare(symbol=symbol, share=decimal_text(share)) for symbol, share in ordered)


def _told(functions: Mapping[str, float]) -> str:
    ordered = sorted(functions.items(), key=lambda pair: (-pair[1], pair[0]))
    shown = ", ".join(f"{symbol} ({percent(share)})" for symbol, share in ordered[:_SHOWN])
    return shown + (f" and {len(ordered) - _SHOWN} more" if len(ordered) > _SHOWN else "")


# -- knobs ----------------------------------------------------------------------------------------------------------


@dataclass
class _Knob:
    whole: dict[str, float] = field(default_factory=dict)
    parts: dict[str, tuple[Guarded, float]] = field(default_factory=dict)


def _knobs(structure: Structure, hot: tuple[Hot, ...]) -> Iterator[Joined]:
    values = structure.knob_values()
    found: defaultdict[str, _Knob] = defaultdict(_Knob)
    for one in hot:
        for guard in structure.knobs_of(one.node):
            if guard.whole:
                found[guard.knob].whole[one.symbol] = one.own
            else:
                found[guard.knob].parts.setdefault(one.symbol, (guard, one.own))
    for knob, guarded in found.items():
        parts = {symbol: own for symbol, (_, own) in guarded.parts.items() if symbol not in guarded.whole}
        every = {**guarded.whole, **parts}
        are = "is" if len(guarded.whole) == 1 else "are"
        said = [f"decides whether {_told(guarded.whole)} {are} built"] if guarded.whole else []
        hottest = sorted(parts.items(), key=lambda pair: (-pair[1], pair[0]))[:_SHOWN]
        said += [f"guards {_lines(guarded.parts[symbol][0])} of {symbol} ({percent(own)})" for symbol, own in hottest]
        value = f"={values[knob]}" if knob in values else "not set here"
        yield Joined(
            kind="knob",
            name=knob,
            share=decimal_text(min(1.0, sum(every.values()))),
            functions=_shares(every),
            reason=f"{knob} ({value}) {' and '.join(said)}",
        )


def _lines(part: Guarded) -> str:
    first, last = part.first_line, part.last_line
    return f"line {first}" if first == last else f"lines {first}-{last}"


# -- tables ---------------------------------------------------------------------------------------------------------


def _tables(structure: Structure, hot: tuple[Hot, ...], pcg: CallGraph | None) -> Iterator[Joined]:
    callers: defaultdict[str, list[Hot]] = defaultdict(list)
    for one in hot:
        direct = structure.candidates(one.node)
        for through in dict.fromkeys([*direct, *_through_inlined(structure, one, pcg)]):
            callers[through].append(one)
    for through, calling in callers.items():
        found = _table(through, calling, structure.implementers(through), pcg)
        if found is not None:
            yield found


def _table(through: str, calling: list[Hot], standing: list[str], pcg: CallGraph | None) -> Joined | None:
    """Return what is told of a table's field; None where nothing that calls through it costs anything."""
    names = {name_of(one): one for one in standing}
    measured: defaultdict[str, float] = defaultdict(float)
    for one in calling:
        for callee, share in _measured(one, pcg).items():
            if source_name(callee) in names:
                measured[callee] += share
    own = {one.symbol: one.own for one in calling}
    share = sum(measured.values()) if measured else max(own.values())
    if share < HOT:
        return None
    stand = f"{len(standing)} functions stand" if len(standing) != 1 else "1 function stands"
    went = f"; measured: {_told(measured)}" if measured else "; which of them ran was not measured"
    # What was seen to run comes first: of hundreds that stand in a table few are of interest.
    seen = [names[source_name(one)] for one in sorted(measured, key=lambda one: (-measured[one], one))]
    return Joined(
        kind="table",
        name=through,
        share=decimal_text(min(1.0, share)),
        functions=_shares(own),
        targets=tuple(dict.fromkeys([*seen, *standing]))[:_TARGETS],
        reason=f"{_told(own)} {'calls' if len(own) == 1 else 'call'} through {through}: {stand} there{went}",
    )


def _measured(one: Hot, pcg: CallGraph | None) -> dict[str, float]:
    """Return what a function was seen to call, with the share of the profile of each edge."""
    if pcg is None or not pcg.total:
        return {}
    return {callee: cost / pcg.total for callee, cost in pcg.callees(one.symbol).items()}


def _through_inlined(structure: Structure, one: Hot, pcg: CallGraph | None) -> Iterator[str]:
    """Yield the fields that a function was seen to call through, where the call stands in what was inlined into it.

    It called, by the profile, what stands in the field and what it does not call by name; and a function that it does
    call, or one called by such a one, calls through that field.
    """
    measured = _measured(one, pcg)
    called = set(structure.callees(one.node)) if measured else set()
    by_name = {name_of(callee) for callee in called}
    for callee in measured:
        if source_name(callee) in by_name:
            continue
        for node in structure.functions_named(source_name(callee)):
            for field_, callers in structure.callers_through(node).items():
                if any(caller in called or called & set(structure.callers(caller)) for caller in callers):
                    yield field_


# -- fields ---------------------------------------------------------------------------------------------------------


def is_field(symbol: str) -> bool:
    """Say whether a node of the graph is a field of a record."""
    tail = symbol.rpartition(":")[2]
    return tail.startswith(("struct ", "union ")) and "." in tail


def _fields(structure: Structure, hot: tuple[Hot, ...]) -> Iterator[Joined]:
    uses: defaultdict[str, defaultdict[str, dict[str, float]]] = defaultdict(lambda: defaultdict(dict))
    for one in hot:
        for link in structure.links(one.node, Direction.OUT, (Relation.REF,)):
            if link.detail in _USES and is_field(link.target):
                uses[link.target][link.detail][one.symbol] = one.own
    for name, by_detail in uses.items():
        every = {symbol: own for users in by_detail.values() for symbol, own in users.items()}
        said = "; ".join(
            f"{_USES[detail]} by {_told(by_detail[detail])}" for detail in _USES if detail in by_detail
        )  # fmt: skip
        share = min(1.0, sum(every.values()))
        yield Joined(
            kind="field",
            name=name,
            share=decimal_text(share),
            functions=_shares(every),
            reason=f"{name}: {said}; functions with {percent(share)} of the profile use it",
        )


def lines_for(symbol: str, found: tuple[Joined, ...]) -> tuple[str, ...]:
    """Return what concerns one function, a line each."""
    return tuple(one.reason for one in found if any(each.symbol == symbol for each in one.functions))
