# SPDX-License-Identifier: Apache-2.0
"""Nodes before the first measurement: environment, source, static graph, base build and tests."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from git_hmopt.adapters import BuildResult, TestResult, sha256_of
from git_hmopt.errors import AdapterError, MissingProgramError
from git_hmopt.loop.ablation import reached_by_harness
from git_hmopt.loop.baseline import refuse_other_images
from git_hmopt.loop.bench import Arm, Bench
from git_hmopt.loop.outcome import Outcome
from git_hmopt.loop.source import source_of
from git_hmopt.loop.state import RunState
from git_hmopt.loop.structure import structure_at
from git_hmopt.process.host import host_name
from git_hmopt.psg.unit import Unit
from git_hmopt.records.base import canonical_json
from git_hmopt.records.words import Oid, RunStatus, best_ref
from git_hmopt.store.journal import OpDraft
from git_hmopt.store.repository import RefUpdate


def init_run(bench: Bench, state: RunState) -> Outcome:
    """Look at the host: what nothing works without is an error when missing, what only costs something is a note."""
    notes = list(bench.notes)
    unconfined = bench.missing_sandbox()
    for need in bench.requirements():
        if need.found:
            continue
        if need.fatal:
            raise MissingProgramError(need.program, lost=need.lost, install=need.install)
        if need.lost != unconfined:
            notes.append(f"'{need.program}' is missing: {need.lost}")
    if unconfined:
        notes.append(unconfined)
    for note in notes:
        bench.log.say(note, event="note")
    data: dict[str, Any] = {"status": RunStatus.RUNNING.value, "notes": notes, "host": host_name()}
    return Outcome(state, [OpDraft("run.started", "init_run", data=data)])


def snapshot_repo(bench: Bench, state: RunState) -> Outcome:
    """Export the base commit with the overlays into the base tree, and plant the branch a reviewer will merge."""
    base = Oid(state["best"])
    tree = bench.export_tree(base)
    bench.log.say("exporting the base commit")
    bench.trees[Arm.REFERENCE].checkout(tree)
    data = {
        "commit": base,
        "tree": bench.repository.tree_of(base),
        "export_tree": tree,
        "overlays": {overlay.name: overlay.digest for overlay in bench.overlays},
    }
    # The exported tree is no commit's tree; kept by a commit of its own, or gc would take it.
    kept = bench.repository.commit(tree, [], f"What run {bench.run} built at base\n", seconds=0)
    return Outcome(
        state,
        [OpDraft("repo.snapshotted", "snapshot_repo", data=data)],
        keep=[kept],
        refs=[RefUpdate(best_ref(bench.run), base, None)],
    )


def static_analysis_psg(bench: Bench, state: RunState) -> Outcome:
    """Bring the structure graph to base, and parse what the workload enters: its overlay's units, or a small project's.

    A kernel's units need generated headers, so the base is built first; `baseline_build_test` finds it built. A run
    that goes without the graph makes none, and one without its profile ends here where the graph gives it nothing.
    """
    if "graph" in bench.plan.without:
        bench.log.say("no structure graph is made")
        return Outcome(state, [])
    source = source_of(bench, Oid(state["best"]))
    files, left_out = source.entry_files()
    units: list[Unit] = []
    skipped: dict[str, int] = {}
    if left_out:
        skipped["units outside the workload's entry, parsed when hot"] = left_out
    for path in files:
        unit = source.try_unit(path)
        if unit is None:
            skipped["unit that could not be parsed"] = skipped.get("unit that could not be parsed", 0) + 1
        else:
            units.append(unit)
    with structure_at(bench, Oid(state["best"])) as structure:
        whole = structure.statistics() if structure is not None else {}
        if "profile" in bench.plan.without:
            reached_by_harness(bench, structure, 1)
    graph = {**static_graph(units), "whole": whole}
    artifact = bench.artifacts.put_bytes(
        canonical_json(graph).encode(), kind="graph", name="psg.json", media_type="application/json"
    )
    record = {
        "v": 1,
        "kind": "psg",
        "artifact": artifact.sha256,
        "nodes": len(graph["nodes"]),
        "edges": len(graph["edges"]),
        "skipped": skipped,
    }
    bench.log.say(f"static graph: {len(units)} units, {record['nodes']} functions, {record['edges']} calls")
    data = {"graph": record, "artifact": artifact.model_dump(mode="json"), "notes": source.notes, "whole": whole}
    return Outcome(state, [OpDraft("graph.built", "static_analysis_psg", data=data)])


def static_graph(units: list[Unit]) -> dict[str, Any]:
    """Return nodes (functions with their extents) and edges (direct calls) of parsed units, as JSON."""
    nodes = {
        (function.symbol, function.file): [function.symbol, function.file, function.first_line, function.last_line]
        for unit in units
        for function in unit.functions
    }
    edges = {
        (function.symbol, call.callee)
        for unit in units
        for function in unit.functions
        for call in function.calls
        if not call.indirect
    }
    return {"v": 1, "nodes": [nodes[key] for key in sorted(nodes)], "edges": [list(edge) for edge in sorted(edges)]}


def baseline_build_test(bench: Bench, state: RunState) -> Outcome:
    """Build and test the base, and show that building the same source again gives the same bytes."""
    base = Oid(state["best"])
    builds = bench.need_reference(base)
    refuse_other_images(bench, builds)
    same = _built_again(bench, base, builds)
    drafts = [OpDraft("baseline.built", "baseline_build_test", data={"builds": described(builds), "built_again": same})]
    tests = run_tests(bench, builds)
    for name, result in tests.items():
        if not result.complete:
            log = bench.shown(result.log)
            raise AdapterError(
                f"tests '{name}' do not run to their end on the base: {result.failure} (log: {log})",
                next_step="repair the base or the test adapter's configuration first",
            )
    notes = [
        f"tests '{name}': {result.count('failed')} fail on the base already"
        if result.count("failed")
        else f"tests '{name}' fail on the base already: {result.failure}"
        for name, result in tests.items()
        if not result.success
    ]
    notes += [f"build '{name}': {lost}" for name, built in builds.items() for lost in built.vanished]
    data = {"tests": {name: tallied(result) for name, result in tests.items()}, "notes": notes}
    drafts.append(OpDraft("baseline.tested", "baseline_build_test", data=data))
    return Outcome(state, drafts)


def _built_again(bench: Bench, base: Oid, builds: Mapping[str, BuildResult]) -> dict[str, str]:
    """Build the same source again: in place, where every byte must be the same, and in the candidate's tree.

    A host that builds other bytes from the same source cannot compare two sources: AdapterError.
    """
    first = {name: _whole(built) for name, built in builds.items()}
    key = hashlib.sha256(" ".join(sorted(first.values())).encode()).hexdigest()
    proof = bench.repository.home / "built-again" / key
    if proof.is_file():
        bench.log.say("these images were built twice here before, with the same bytes")
        return first
    for path in bench.overlay_paths:
        target = bench.trees[Arm.REFERENCE].root / path
        if target.suffix in (".c", ".S"):
            target.touch()
    bench.forget(Arm.REFERENCE)
    again = bench.need_reference(base)
    other = bench.put(Arm.CANDIDATE, base)
    for name, built in builds.items():
        image = other[name].image
        # Debug information names the directory, so across trees only what runs must be the same.
        elsewhere = image.sha256 if image else other[name].failure
        same = built.image is not None and built.image.sha256 == elsewhere
        if first[name] != _whole(again[name]) or not same:
            raise AdapterError(
                f"build '{name}' of the same source gave other bytes the second time "
                f"(whole image {first[name][:12]} and {_whole(again[name])[:12]}, in the other tree: {elsewhere})",
                next_step="make the build reproducible: no times, paths or random seeds in the image",
            )
        bench.log.say(f"image {name}: sha256 {first[name]}, the same when built again")
    proof.parent.mkdir(parents=True, exist_ok=True)
    proof.touch()
    return first


def _whole(built: BuildResult) -> str:
    """Return the sha256 of every byte of the image; `Image.sha256` may leave out what does not run."""
    assert built.image is not None
    return sha256_of(built.image.path)


def run_tests(bench: Bench, builds: Mapping[str, BuildResult]) -> dict[str, TestResult]:
    """Run every configured test on its build."""
    results = {}
    for name, (build, adapter) in bench.tests.items():
        bench.log.say(f"testing {name}")
        results[name] = adapter.test(builds[build], log=bench.logs / f"test-{name}-{bench.log.iteration:04d}.log")
    return results


def tallied(result: TestResult) -> dict[str, Any]:
    """Return a test result as it is recorded: every case that did not pass by name, the others counted."""
    return {
        "success": result.success,
        "complete": result.complete,
        "failure": result.failure,
        "counts": {status: result.count(status) for status in ("passed", "failed", "skipped", "crashed")},
        "not_passed": {case.name: case.status for case in result.cases if case.status != "passed"},
    }


def described(builds: Mapping[str, BuildResult]) -> dict[str, Any]:
    """Return builds as they are recorded."""
    return {
        name: {
            "image": built.image.sha256 if built.image else None,
            "text_bytes": built.text_bytes,
            "warnings": list(built.warnings),
            "vanished": list(built.vanished),
            "toolchain": dict(built.toolchain),
        }
        for name, built in builds.items()
    }
