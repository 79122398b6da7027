# SPDX-License-Identifier: Apache-2.0
"""Join ranking, call graph, counts, static structure, source and history into the evidence pack."""

from __future__ import annotations

import functools
import posixpath
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from git_hmopt.evidence import taxonomy
from git_hmopt.evidence.contexts import context_notes
from git_hmopt.evidence.families import costs_of, family_of
from git_hmopt.evidence.graph import around
from git_hmopt.evidence.retrieval import Retrieve
from git_hmopt.evidence.risks import risk_notes
from git_hmopt.evidence.rule import Bottleneck
from git_hmopt.evidence.sections import sections_of
from git_hmopt.evidence.strategies import serving
from git_hmopt.evidence.structure import FunctionNode, Location, UnitNode, function_of, source_name
from git_hmopt.evidence.system import System, around_hotspots
from git_hmopt.psg.queries import Structure
from git_hmopt.psg.reach import Reached
from git_hmopt.records.base import decimal_text
from git_hmopt.records.bottleneck import UNKNOWN
from git_hmopt.records.changes import MetricChange
from git_hmopt.records.evidence import (
    Attempt,
    BottleneckNote,
    EvidencePack,
    HotspotEvidence,
    LineCount,
    Neighbour,
    SourceAnchor,
    Template,
    UndecidedNote,
)
from git_hmopt.records.retrieved import Retrieved
from git_hmopt.records.run import HotspotRecord, Objective
from git_hmopt.records.windows import TraceWindows
from git_hmopt.records.words import Without
from git_hmopt.runtime.call_graph import CallGraph
from git_hmopt.runtime.kpi import Kpi
from git_hmopt.runtime.ranking import Ranked
from git_hmopt.traces.tables import SelfCounts

Locate = Callable[[str], Location | None]
UnitOf = Callable[[str], UnitNode | None]
Read = Callable[[str], tuple[str, bytes] | None]
"""From a path in the tree to its blob's id and bytes; None when the tree has no such file."""

_Used = Literal["global", "struct", "macro", "config"]
_USED: Mapping[str, _Used] = {"global": "global", "struct": "struct", "macro": "macro"}

CALL_DISTANCE = "call-distance"
"""The ranker of functions by their distance from the workload's harness."""
_KEPT = 128
"""Files that stay in memory while a pack is built."""


@dataclass(frozen=True)
class _Join:
    """What the pieces of one pack are joined from."""

    locate: Locate
    unit_of: UnitOf
    read: Read
    pcg: CallGraph | None
    counts: Mapping[str, Mapping[int, int]]
    attempts: Mapping[str, Sequence[Attempt]]
    artifacts: tuple[str, ...]
    structure: Structure | None
    without: tuple[Without, ...]
    units: dict[str, UnitNode | None] = field(default_factory=dict)

    def unit(self, path: str) -> UnitNode | None:
        """Return the unit of a path; each is asked for once, since parsing is dear."""
        if path not in self.units:
            self.units[path] = self.unit_of(path)
        return self.units[path]

    def definition(self, symbol: str) -> tuple[Location | None, FunctionNode | None]:
        """Return where `symbol` is defined, and its function if a unit parsed from the tree's own bytes has it."""
        location = self.locate(symbol)
        unit = self.unit(location.file) if location else None
        if location is None or unit is None:
            return location, None
        blob = self.read(location.file)
        if blob is not None and unit.sources.get(location.file) != blob[1]:
            # Extents of another version of the file would cut its text anywhere.
            return location, None
        return location, function_of(unit, symbol, location.file, location.line)


def build_pack(
    run: str,
    workload: str,
    commit: str,
    tree: str,
    objective: Objective,
    ranked: Sequence[Ranked],
    locate: Locate,
    unit_of: UnitOf,
    read: Read,
    pcg: CallGraph | None,
    self_counts: SelfCounts | None,
    attempts: Mapping[str, Sequence[Attempt]],
    artifacts: Sequence[str],
    limit: int = 8,
    *,
    strategies: Mapping[str, Sequence[str]],
    templates: Sequence[Template] = (),
    kpis: Sequence[Kpi] = (),
    structure: Structure | None = None,
    retrieve: Retrieve | None = None,
    changes: Sequence[MetricChange] = (),
    windows: Sequence[TraceWindows] = (),
    reached: Sequence[Reached] = (),
    without: tuple[Without, ...] = (),
) -> EvidencePack:
    """Return the pack of the `limit` best ranked symbols; the same inputs give the same bytes.

    `attempts` is by symbol, oldest first; `strategies` by bottleneck class; `templates` are what a hotspot of a class
    is shown to try; `kpis` are those of the run's captures; with a `structure` graph a hotspot's callers are those of
    the whole build, and what hot functions share is told; `windows` are the slow times of captures; `retrieve` finds
    what is alike elsewhere; `changes` are those that led to `commit`. Paths are relative to the tree's root, in
    `self_counts` too. What a pack goes `without` is for its caller not to give; without the profile its hotspots are
    the `limit` first that are `reached`, without the graph nothing is said of who calls whom. What cannot be resolved
    is in the pack as unknown (null), with the reason in its sections.
    """
    join = _Join(
        locate=locate,
        unit_of=unit_of,
        # Callers of one hotspot often stand in one file, which is asked for with each of them.
        read=functools.lru_cache(_KEPT)(read),
        pcg=pcg,
        counts=_counts_by_line(self_counts),
        attempts=attempts,
        artifacts=tuple(sorted(set(artifacts))),
        structure=structure,
        without=without,
    )
    survey = _surveyed(join, ranked, kpis)
    first = survey.found[0]
    named = tuple(strategies.get(first.name, ()))
    system = around_hotspots(structure, costs_of(pcg, ranked), locate, pcg, windows)
    # A function that waits for a lock is no loop, whatever the rest of the profile is.
    hotspots = [
        _hotspot(join, item, named, serving(templates, family_of(item.symbol) or first.name), system)
        for item in (reached if "profile" in without else ranked)[:limit]
    ]
    return EvidencePack(
        run=run,
        workload=workload,
        commit=commit,
        tree=tree,
        objective=objective,
        bottleneck=first.name,
        bottleneck_reason=first.reason,
        bottlenecks=tuple(note for one in survey.found if (note := _note(one)) is not None),
        undecided=tuple(UndecidedNote(name=one.name, reason=one.reason) for one in survey.undecided),
        changes=tuple(changes),
        hotspots=_with_sections(hotspots, retrieve and retrieve(f"{first.name} {first.reason}", hotspots), without),
        windows=system.windows,
        joins=system.joins,
        system=system.sections,
        without=without,
        artifacts=join.artifacts,
    )


def _surveyed(join: _Join, ranked: Sequence[Ranked], kpis: Sequence[Kpi]) -> taxonomy.Survey:
    linked = None if "graph" in join.without else functools.partial(_linked, join)
    survey = taxonomy.survey(ranked, linked, graph=join.pcg, kpis=kpis)
    if "profile" not in join.without:
        return survey
    return taxonomy.Survey((Bottleneck(UNKNOWN, "the run goes without a profile"),), survey.undecided)


def _with_sections(
    hotspots: Sequence[HotspotEvidence], found: Sequence[Retrieved] | None, without: tuple[Without, ...]
) -> tuple[HotspotEvidence, ...]:
    """Return the hotspots with what was found for each, where somebody looked, and with their sections."""
    if found is not None:
        hotspots = [one.model_copy(update={"retrieved": what}) for one, what in zip(hotspots, found, strict=True)]
    return tuple(one.model_copy(update={"sections": sections_of(one, without)}) for one in hotspots)


def _note(found: Bottleneck) -> BottleneckNote | None:
    if found.rule is None:
        return None
    return BottleneckNote(
        name=found.name,
        reason=found.reason,
        share=None if found.share is None else decimal_text(found.share),
        condition=found.rule.condition,
        threshold=found.rule.threshold,
        why=found.rule.why,
        evidence=found.evidence,
    )


def _linked(join: _Join, caller: str, callee: str) -> bool:
    """Say whether `caller` calls `callee`, as measured, or as its own unit says: stacks may skip a leaf's caller."""
    if join.pcg is not None and (caller, callee) in (join.pcg.edge_cost or {}):
        return True
    _, function = join.definition(caller)
    return function is not None and any(
        call.callee == source_name(callee) and not call.indirect for call in function.calls
    )


def _hotspot(
    join: _Join, item: Ranked | Reached, strategies: tuple[str, ...], templates: tuple[Template, ...], system: System
) -> HotspotEvidence:
    location, function = join.definition(item.symbol)
    path = function.file if function else location.file if location else None
    blob = join.read(path) if path else None
    source = _anchor(function, blob) if function and blob else None
    record = hotspot_record(
        item,
        file=path,
        first_line=function.first_line if function else location.line if location else None,
        last_line=function.last_line if function else None,
        evidence=join.artifacts,
        resolved_by="psg" if function else location.resolved_by if location else "unresolved",
    )
    around = function if "graph" not in join.without else None
    return HotspotEvidence(
        hotspot=record,
        source=source,
        static=_static(around, join.unit(path), join.structure) if around and path else (),
        runtime=_runtime(join.pcg, item.symbol),
        line_counts=_line_counts(join.counts, function),
        attempts=tuple(join.attempts.get(item.symbol, ())),
        risks=(*_risks(item.symbol, source, blob), *_risks_around(join, function)),
        strategies=strategies,
        templates=templates,
        windows=system.windows_of(item.symbol),
        joins=system.joins_of(item.symbol),
    )


def hotspot_record(
    item: Ranked | Reached,
    *,
    file: str | None,
    first_line: int | None,
    last_line: int | None,
    evidence: tuple[str, ...],
    resolved_by: str,
) -> HotspotRecord:
    """Return a symbol as a record: with its share of the profile, or with its distance where nothing was measured."""
    return HotspotRecord(
        symbol=item.symbol,
        file=file,
        first_line=first_line,
        last_line=last_line,
        score=decimal_text(item.score) if isinstance(item, Ranked) else None,
        distance=item.distance if isinstance(item, Reached) else None,
        ranker=item.ranker if isinstance(item, Ranked) else CALL_DISTANCE,
        unit=item.unit if isinstance(item, Ranked) else "calls",
        evidence=evidence,
        resolved_by=resolved_by,
    )


def _anchor(function: FunctionNode, blob: tuple[str, bytes]) -> SourceAnchor:
    oid, data = blob
    return SourceAnchor(
        path=function.file,
        blob=oid,
        first_line=function.first_line,
        last_line=function.last_line,
        text=data[function.start : function.end].decode(errors="replace"),
    )


def _risks(symbol: str, source: SourceAnchor | None, blob: tuple[str, bytes] | None) -> tuple[str, ...]:
    if source is None or blob is None:
        return ()
    file_text = blob[1].decode(errors="replace")
    return risk_notes(source_name(symbol), source.text, first_line=source.first_line, file_text=file_text)


def _risks_around(join: _Join, function: FunctionNode | None) -> tuple[str, ...]:
    if join.structure is None or function is None:
        return ()
    return context_notes(join.structure, function, join.read)


def _static(function: FunctionNode, unit: UnitNode | None, structure: Structure | None) -> tuple[Neighbour, ...]:
    """Return callers and callees with the place of the first call, and what the function uses and hangs on."""
    beyond = around(structure, function) if structure is not None else ()
    found: dict[tuple[str, str], Neighbour] = {}
    for neighbour in (*_callees(function), *_callers(function, unit), *_uses(function), *beyond):
        found.setdefault((neighbour.relation, neighbour.symbol), neighbour)
    return tuple(found[key] for key in sorted(found))


def _callees(function: FunctionNode) -> Iterator[Neighbour]:
    for call in function.calls:
        # An indirect call is shown as C writes it: the pointer's name is not the name of a function.
        name = f"(*{call.callee or '?'})" if call.indirect else call.callee
        yield Neighbour(symbol=name, relation="callee", file=function.file, line=call.line)


def _callers(function: FunctionNode, unit: UnitNode | None) -> Iterator[Neighbour]:
    for other in unit.functions if unit else ():
        for call in other.calls:
            itself = (other.file, other.start) == (function.file, function.start)
            if call.callee == function.symbol and not call.indirect and not itself:
                yield Neighbour(symbol=other.symbol, relation="caller", file=other.file, line=call.line)


def _uses(function: FunctionNode) -> Iterator[Neighbour]:
    for use in function.references:
        relation: _Used | None = "config" if use.name.startswith("CONFIG_") else _USED.get(use.kind)
        if relation:
            yield Neighbour(symbol=use.name, relation=relation, file=use.file, line=use.line)


def _runtime(pcg: CallGraph | None, symbol: str) -> tuple[Neighbour, ...]:
    if pcg is None or not pcg.total:
        return ()
    callers = [
        Neighbour(symbol=name, relation="caller", cost=decimal_text(cost / pcg.total))
        for name, cost in pcg.callers(symbol).items()
    ]
    callees = [
        Neighbour(symbol=name, relation="callee", cost=decimal_text(cost / pcg.total))
        for name, cost in pcg.callees(symbol).items()
    ]
    return (*callers, *callees)


def _counts_by_line(counts: SelfCounts | None) -> dict[str, dict[int, int]]:
    """Sum executions by file and line: a line inlined into several symbols has a row in each."""
    found: dict[str, dict[int, int]] = {}
    if counts is None:
        return found
    for file, line, executions in zip(counts.file, counts.line, counts.executions, strict=True):
        if file is not None and line is not None:
            lines = found.setdefault(posixpath.normpath(file), {})
            lines[line] = lines.get(line, 0) + executions
    return found


def _line_counts(counts: Mapping[str, Mapping[int, int]], function: FunctionNode | None) -> tuple[LineCount, ...]:
    if function is None:
        return ()
    lines = counts.get(function.file, {})
    inside = range(function.first_line, function.last_line + 1)
    return tuple(LineCount(line=line, count=lines[line]) for line in sorted(lines) if line in inside)
