# SPDX-License-Identifier: Apache-2.0
"""Nodes from the profile to the evidence pack."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from git_hmopt.adapters import ProfileResult
from git_hmopt.agents.playbook.registry import by_class
from git_hmopt.errors import MeasurementError, MissingProgramError, StoreError
from git_hmopt.evidence.changes import changes_to
from git_hmopt.evidence.pack import build_pack, hotspot_record
from git_hmopt.evidence.retrieval import Retrieval, Retrieve
from git_hmopt.evidence.structure import Location
from git_hmopt.loop.ablation import reached_by_harness
from git_hmopt.loop.baseline import reused_profile
from git_hmopt.loop.bench import Bench
from git_hmopt.loop.book import Book
from git_hmopt.loop.kpis import recorded_kpis
from git_hmopt.loop.outcome import Outcome
from git_hmopt.loop.source import source_of
from git_hmopt.loop.state import RunState
from git_hmopt.loop.structure import structure_at
from git_hmopt.loop.windows import Kept, kept_windows
from git_hmopt.measure.compare import measured_case
from git_hmopt.records.evidence import Attempt as PackAttempt
from git_hmopt.records.evidence import EvidencePack, HotspotEvidence
from git_hmopt.records.retrieved import Retrieved
from git_hmopt.records.run import ArtifactRecord
from git_hmopt.records.words import Oid, RunId
from git_hmopt.runtime.call_graph import CallGraph, from_samples, from_self_counts
from git_hmopt.runtime.ranking import RankerName, Ranking, rank
from git_hmopt.runtime.window import below
from git_hmopt.store.artifacts import ArtifactStore
from git_hmopt.store.journal import OpDraft
from git_hmopt.traces.registry import kinds, parse
from git_hmopt.traces.tables import Samples, SelfCounts, Symbols

SELECTED = 8
# A symbol below this share of the profile could give less than the gate can see.
SMALLEST_SHARE = 0.005
_NO_CAPTURES: dict[str, Any] = {"captures": []}


def baseline_profile(bench: Bench, state: RunState) -> Outcome:
    """Run every profiler on the best so far; one that cannot run here is a note, none at all an error.

    A run that goes without its profile runs none.
    """
    if "profile" in bench.plan.without:
        return Outcome(state, [])
    builds = bench.need_reference(Oid(state["best"]))
    taken_over = reused_profile(bench, state["best"])
    if taken_over is not None:
        return Outcome(state, [OpDraft("profile.recorded", "baseline_profile", state["iteration"], data=taken_over)])
    captures: list[dict[str, Any]] = []
    drafts: list[OpDraft] = []
    notes: list[str] = []
    for name, (build, adapter) in bench.profilers.items():
        bench.log.say(f"profiling with {name}")
        counting = any(meter.kind == "count" and meter.build == build for meter in bench.meters)
        case = measured_case(bench.workload.inputs, bench.plan.seed, stream="profile", counting=counting)(0)
        into = bench.logs.parent / f"profile-{state['iteration']:04d}" / name
        try:
            result = adapter.profile(builds[build], case, into=into)
        except (MissingProgramError, MeasurementError) as error:
            notes.append(f"profiler '{name}': {error}")
            bench.log.say(notes[-1], event="note")
            continue
        kept = _keep(bench, name, result)
        notes += result.notes
        for record, manifest in kept:
            # One operation of a name may stand once in a step, so each further capture counts the attempt up.
            stored = {"artifact": record.model_dump(mode="json")}
            drafts.append(OpDraft("artifact.stored", "baseline_profile", state["iteration"], len(drafts), stored))
            captures.append(manifest)
    if bench.profilers and not captures:
        raise MeasurementError("no profiler gave a capture: " + "; ".join(notes))
    data = {"captures": captures, "notes": notes, "commit": state["best"]}
    drafts.append(OpDraft("profile.recorded", "baseline_profile", state["iteration"], data=data))
    return Outcome(state, drafts)


def _keep(bench: Bench, profiler: str, result: ProfileResult) -> list[tuple[ArtifactRecord, dict[str, Any]]]:
    kept = []
    for capture in result.captures:
        record = bench.artifacts.put_file(
            capture.path, kind="capture", name=f"{profiler}-{capture.path.name}", media_type=capture.media_type
        )
        manifest = {"profiler": profiler, "kind": capture.kind, "artifact": record.sha256, "root": result.root}
        kept.append((record, manifest))
    return kept


class Profile:
    """The captures of one `profile.recorded`, parsed."""

    def __init__(self, artifacts: ArtifactStore, recorded: dict[str, Any]) -> None:
        self.artifacts = tuple(capture["artifact"] for capture in recorded["captures"])
        self.time: CallGraph | None = None
        self.counts: CallGraph | None = None
        self.self_counts: SelfCounts | None = None
        self.symbols: list[Symbols] = []
        self.skipped: dict[str, int] = {}
        for capture in recorded["captures"]:
            if capture["kind"] in kinds():
                self._take(capture, _capture_path(artifacts, capture["artifact"]))
            else:
                self.skipped[f"capture of kind '{capture['kind']}'"] = 1

    def _take(self, capture: dict[str, Any], path: Path) -> None:
        table = parse(capture["kind"], path)
        self.skipped.update(table.skipped)
        if isinstance(table, Samples):
            inside = below(table, capture["root"]) if capture["root"] else table
            self.time = from_samples(inside)
        elif isinstance(table, SelfCounts):
            self.self_counts = table if self.self_counts is None else with_lines(self.self_counts, table)
            self.counts = from_self_counts(self.self_counts)
        else:
            self.symbols.append(table)

    def locate(self, symbol: str) -> Location | None:
        """Return where a symbol is defined, as debug information says; None when unknown or ambiguous."""
        for table in self.symbols:
            places = table.definitions(symbol)
            if len(places) == 1:
                return Location(places[0][0], places[0][1], "dwarf")
        return self._counted(symbol)

    def _counted(self, symbol: str) -> Location | None:
        """Return the file most of a symbol's instructions stand in: inlined lines are of other files."""
        cost = self._cost_by_file.get(symbol)
        return Location(max(cost, key=lambda file: (cost[file], file)), None, "dwarf") if cost else None

    @cached_property
    def _cost_by_file(self) -> dict[str, dict[str, int]]:
        """Instructions by symbol and file; headers are left out."""
        found: dict[str, dict[str, int]] = {}
        table = self.self_counts
        if table is None:
            return found
        for name, file, instructions in zip(table.symbol, table.file, table.instructions, strict=True):
            if file is not None and not file.endswith(".h"):
                cost = found.setdefault(name, {})
                cost[file] = cost.get(file, 0) + instructions
        return found


def with_lines(one: SelfCounts, two: SelfCounts) -> SelfCounts:
    """Return one profile of exact counts out of two: costs of the one that has instructions, lines of both.

    gcov counts executions and no instructions. Of two that both have instructions the later one counts.
    """
    costs, lines = (one, two) if any(one.instructions) and not any(two.instructions) else (two, one)
    if any(lines.instructions):
        return costs
    known = set(zip(costs.file, costs.line, strict=True))
    new = [index for index, place in enumerate(zip(lines.file, lines.line, strict=True)) if place not in known]
    return SelfCounts(
        symbol=(*costs.symbol, *(lines.symbol[index] for index in new)),
        file=(*costs.file, *(lines.file[index] for index in new)),
        line=(*costs.line, *(lines.line[index] for index in new)),
        instructions=(*costs.instructions, *(0 for _ in new)),
        executions=(*costs.executions, *(lines.executions[index] for index in new)),
        skipped={**lines.skipped, **costs.skipped},
        unit=costs.unit,
    )


def profile_of(bench: Bench, recorded: dict[str, Any]) -> Profile:
    """Return a recorded profile, parsed once."""
    key = " ".join(capture["artifact"] for capture in recorded["captures"])
    known = bench.remembered.get(("profile", key))
    if isinstance(known, Profile):
        return known
    made = Profile(bench.artifacts, recorded)
    bench.remember("profile", key, made)
    return made


def _capture_path(artifacts: ArtifactStore, sha256: str) -> Path:
    path = artifacts.path(sha256)
    if path is None:
        raise StoreError(f"capture {sha256} is not in this clone", next_step="go where the run was made")
    return path


def ranking_of(bench: Bench, profile: Profile) -> Ranking:
    """Rank the profile's symbols, the workload's own harness left out."""
    return rank_profile(profile, bench.overlay_paths, without=bench.plan.without)


def rank_profile(profile: Profile, overlay_paths: Collection[str], *, without: Collection[str] = ()) -> Ranking:
    """Rank the symbols of a profile that are not defined in the paths of overlays.

    FuncRank passes importance along calls: a run that goes without the graph ranks by self cost.
    """
    ranker: RankerName = "self" if "graph" in without else "funcrank"

    def harness(symbol: str) -> bool:
        location = profile.locate(symbol)
        return location is not None and location.file in overlay_paths

    found = rank(profile.time, profile.counts, ranker=ranker, exclude=harness)
    return replace(found, ranked=tuple(item for item in found.ranked if item.score >= SMALLEST_SHARE))


def runtime_analysis_pcg_hotspots(bench: Bench, state: RunState) -> Outcome:
    """Turn the captures into the runtime call graph and rank its symbols; without them, go by the structure alone."""
    if "profile" in bench.plan.without:
        return _by_distance(bench, state)
    book = Book(bench.journal, bench.run)
    profile = profile_of(bench, book.need("profile.recorded"))
    ranking = ranking_of(bench, profile)
    hotspots = []
    for item in ranking.ranked[:SELECTED]:
        location = profile.locate(item.symbol)
        record = hotspot_record(
            item,
            file=location.file if location else None,
            first_line=location.line if location else None,
            last_line=None,
            evidence=profile.artifacts,
            resolved_by=location.resolved_by if location else "unresolved",
        )
        hotspots.append(record.model_dump(mode="json"))
    return _ranked(bench, state, {"hotspots": hotspots, "skipped": profile.skipped, "basis": ranking.basis})


def _by_distance(bench: Bench, state: RunState) -> Outcome:
    """Record the functions nearest to the workload's harness in the place of ranked ones."""
    with structure_at(bench, Oid(state["best"])) as structure:
        found = reached_by_harness(bench, structure, SELECTED)
    hotspots = [
        hotspot_record(
            one, file=one.file, first_line=one.line, last_line=None, evidence=(), resolved_by="psg"
        ).model_dump(mode="json")
        for one in found
    ]
    basis = "no profile; by calls from the workload's harness in the structure graph"
    return _ranked(bench, state, {"hotspots": hotspots, "skipped": {}, "basis": basis})


def _ranked(bench: Bench, state: RunState, data: dict[str, Any]) -> Outcome:
    selected = [str(record["symbol"]) for record in data["hotspots"]]
    bench.log.say("hotspots: " + (", ".join(selected[:4]) or "none"))
    draft = OpDraft("hotspots.ranked", "runtime_analysis_pcg_hotspots", state["iteration"], data=data)
    return Outcome({**state, "selected_hotspots": selected}, [draft])


def build_evidence_pack(bench: Bench, state: RunState) -> Outcome:
    """Join profile, source and history into the pack of the coming iteration, but for what the run goes without."""
    book, without = Book(bench.journal, bench.run), bench.plan.without
    measured = "profile" not in without
    profile = profile_of(bench, book.need("profile.recorded") if measured else _NO_CAPTURES)
    graph = profile.time or profile.counts
    best = Oid(state["best"])
    source = source_of(bench, best)
    tried: dict[str, list[PackAttempt]] = {}
    for number, attempt in enumerate(book.attempts(), start=1):
        entry = PackAttempt(
            run=bench.run,
            iteration=number,
            strategy=attempt.strategy,
            verdict=attempt.outcome,
            reason=attempt.reason,
        )
        tried.setdefault(attempt.symbol, []).append(entry)
    # Captures that were ingested tell what is hot, too.
    kpis = recorded_kpis(book) if measured else {}
    parent = Book(bench.journal, RunId(bench.plan.parent)).evaluations() if bench.plan.parent else []
    slow = kept_windows(bench.artifacts, book.entries) if measured else Kept((), ())
    for missing in slow.missing:
        bench.log.say(missing, event="note")
    with structure_at(bench, best) as structure:
        reached = () if measured else reached_by_harness(bench, structure, SELECTED)
        places = {one.symbol: Location(one.file, one.line, "psg") for one in reached}
        pack = build_pack(
            bench.run,
            bench.plan.workload,
            best,
            bench.repository.tree_of(best),
            bench.objective,
            ranking_of(bench, profile).ranked if measured else (),
            profile.locate if measured else places.get,
            source.try_unit,
            source.blob,
            graph.flat() if graph is not None and "graph" in without else graph,
            profile.self_counts,
            tried,
            (*profile.artifacts, *kpis),
            SELECTED,
            strategies=by_class(),
            templates=bench.templates,
            kpis=[one for found in kpis.values() for one in found],
            structure=structure,
            retrieve=_retrieval(bench, best),
            changes=changes_to(best, [*parent, *book.evaluations()]),
            windows=slow.found,
            reached=reached,
            without=without,
        )
    record = bench.artifacts.put_bytes(
        pack.canonical().encode(), kind="evidence-pack", name="evidence.json", media_type="application/json"
    )
    data = {"artifact": record.model_dump(mode="json"), "notes": source.notes}
    draft = OpDraft("evidence.packed", "build_evidence_pack", state["iteration"] + 1, data=data)
    return Outcome({**state, "evidence_pack_id": record.sha256}, [draft])


def _retrieval(bench: Bench, best: Oid) -> Retrieve:
    """Return what looks for likes of hotspots; a run goes on where no index can be kept."""
    profiles = "profile" not in bench.plan.without
    looking = Retrieval(bench.repository, bench.run, bench.plan.workload, best, profiles)

    def retrieve(bottleneck: str, hotspots: Sequence[HotspotEvidence]) -> Sequence[Retrieved]:
        try:
            return looking(bottleneck, hotspots)
        except StoreError as error:
            bench.log.say(f"nothing alike was looked for: {error}", event="note")
            nothing = Retrieved(code=(), runs=(), fixes=(), searched="nothing: no search index can be kept")
            return [nothing for _ in hotspots]

    return retrieve


def read_pack(bench: Bench, state: RunState) -> EvidencePack:
    """Return the pack in force."""
    data = bench.artifacts.read(state["evidence_pack_id"] or "")
    if data is None:
        raise StoreError("the evidence pack is not in this clone", next_step="resume where the run was made")
    return EvidencePack.model_validate_json(data)
