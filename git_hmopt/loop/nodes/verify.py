# SPDX-License-Identifier: Apache-2.0
"""Nodes that hold a candidate against correctness and then measure it; what is measured is judged by the next node."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from git_hmopt.adapters import BuildResult
from git_hmopt.errors import MeasurementError
from git_hmopt.loop.bench import Arm, Bench
from git_hmopt.loop.book import Book
from git_hmopt.loop.checkpatch import complaints
from git_hmopt.loop.floor import floor_for
from git_hmopt.loop.nodes.judge import record_evaluation
from git_hmopt.loop.nodes.setup import run_tests, tallied
from git_hmopt.loop.outcome import Outcome
from git_hmopt.loop.readings import Measurement, Readings
from git_hmopt.loop.state import RunState
from git_hmopt.loop.structure import changes_between, not_built, structure_at
from git_hmopt.measure.correctness import compare_outputs, compare_tests, compare_warnings, fresh_cases
from git_hmopt.measure.gate import Judgement, incorrect, rejected, unmeasured
from git_hmopt.measure.outcome import check_record
from git_hmopt.records.run import CheckRecord
from git_hmopt.records.words import Oid
from git_hmopt.store.journal import OpDraft


def verify_build_test(bench: Bench, state: RunState) -> Outcome:
    """Build the candidate without new warnings, run the tests and checkpatch, and compare outputs with best's."""
    iteration = state["iteration"]
    best, candidate = Oid(state["best"]), Oid(state["current_patch_id"] or "")
    reference = bench.need_reference(best)
    built = bench.put(Arm.CANDIDATE, candidate)
    checks: list[CheckRecord] = [check_record("apply", (), "applies"), check_record("policy", (), "keeps every rule")]
    data: dict[str, Any] = {"checks": None}
    verdict = (
        _check_build(reference, built, checks)
        or _check_style(bench, best, candidate, checks)
        or _check_tests(bench, reference, built, checks, data)
        or _check_outputs(bench, iteration, reference, built, checks)
    )
    data["checks"] = [check.model_dump(mode="json") for check in checks]
    data["text_bytes"] = _text_growth(reference, built)
    draft = OpDraft("patch.verified", "verify_build_test", iteration, data=data)
    if verdict:
        bench.log.say(f"{verdict.verdict.value}: {verdict.reason}")
        return record_evaluation(bench, state, verdict, checks=checks, extra=[draft], text_bytes=data["text_bytes"])
    return Outcome(state, [draft])


def _check_build(
    reference: Mapping[str, BuildResult], built: Mapping[str, BuildResult], checks: list[CheckRecord]
) -> Judgement | None:
    failures = [f"{name}: {result.failure}" for name, result in built.items() if not result.success]
    if failures:
        checks.append(check_record("build", failures, ""))
        return rejected("build", failures[0])
    new = [text for name in built for text in compare_warnings(reference[name].warnings, built[name].warnings)]
    checks.append(check_record("build", new, "builds without new warnings"))
    return rejected("warnings", new[0]) if new else None


def _check_style(bench: Bench, best: Oid, candidate: Oid, checks: list[CheckRecord]) -> Judgement | None:
    found = complaints(bench, best, candidate)
    if found is None:
        return None
    checks.append(check_record("checkpatch", found, "no errors or warnings"))
    return rejected("checkpatch", found[0]) if found else None


def _check_tests(
    bench: Bench,
    reference: Mapping[str, BuildResult],
    built: Mapping[str, BuildResult],
    checks: list[CheckRecord],
    data: dict[str, Any],
) -> Judgement | None:
    before, after = run_tests(bench, reference), run_tests(bench, built)
    data["tests"] = {name: tallied(result) for name, result in after.items()}
    differences = [f"{name}: {text}" for name in after for text in compare_tests(before[name], after[name])]
    total = sum(len(result.cases) for result in after.values())
    checks.append(check_record("tests", differences, f"{total} tests end as on best"))
    return incorrect(differences) if differences else None


def _check_outputs(
    bench: Bench,
    iteration: int,
    reference: Mapping[str, BuildResult],
    built: Mapping[str, BuildResult],
    checks: list[CheckRecord],
) -> Judgement | None:
    # Seeds that no proposer saw: a patch can be fitted to data that is known.
    cases = fresh_cases(bench.workload.inputs, bench.seed("outputs", iteration))
    differences: list[str] = []
    for meter in bench.own_meters:
        one, two = reference[meter.build].image, built[meter.build].image
        assert one is not None and two is not None
        bench.log.say(f"comparing outputs of {len(cases)} inputs on {meter.build}")
        answers = compare_outputs(meter.adapter.outputs(one, cases), meter.adapter.outputs(two, cases))
        differences += [f"{meter.build}: {text}" for text in answers]
    checks.append(check_record("outputs", differences, f"{len(cases)} fresh inputs give best's outputs"))
    return incorrect(differences) if differences else None


def _text_growth(reference: Mapping[str, BuildResult], built: Mapping[str, BuildResult]) -> int | None:
    """Return the change of the text section in bytes, of the first build that says its size."""
    for name, result in built.items():
        before = reference[name].text_bytes
        if result.text_bytes is not None and before is not None:
            return result.text_bytes - before
    return None


def profile_candidate(bench: Bench, state: RunState) -> Outcome:
    """Measure the candidate against best: counts, time over layouts, guards."""
    iteration = state["iteration"]
    best, candidate = Oid(state["best"]), Oid(state["current_patch_id"] or "")
    reference = bench.need_reference(best)
    built = bench.put(Arm.CANDIDATE, candidate)
    drafts: list[OpDraft] = []
    if same_images(reference, built):
        bench.log.say("no built object changes")
        readings = Readings(same_objects=True, aside=_left_out(bench, best, candidate))
    else:
        floor, floor_drafts = floor_for(bench, state)
        drafts += floor_drafts
        # The floor's null patches were built in the candidate's tree.
        built = bench.put(Arm.CANDIDATE, candidate)
        measurement = Measurement(
            bench, reference, built, "compare", f"iteration-{iteration}", floor, bench.deadline(state)
        )
        try:
            readings = measurement.take()
        except MeasurementError as error:
            return _not_measured(bench, state, error, drafts)
    drafts.append(OpDraft("patch.measured", "profile_candidate", iteration, data={"readings": readings.to_json()}))
    return Outcome(state, drafts)


def _left_out(bench: Bench, best: Oid, candidate: Oid) -> str:
    """Return what leaves a change out of the build, as the structure graph has it."""
    with structure_at(bench, best) as structure:
        return not_built(structure, changes_between(bench.repository, best, candidate))


def _not_measured(bench: Bench, state: RunState, error: MeasurementError, drafts: list[OpDraft]) -> Outcome:
    """End an iteration whose candidate passed every check and gives no readings; the run goes on."""
    verified = Book(bench.journal, bench.run).need("patch.verified", iteration=state["iteration"])
    checks = [CheckRecord.model_validate(check) for check in verified["checks"]]
    checks.append(check_record("measure", [error.what], ""))
    verdict = unmeasured(error.what)
    bench.log.say(f"{verdict.verdict.value}: {verdict.reason}")
    return record_evaluation(bench, state, verdict, checks=checks, extra=drafts, text_bytes=verified["text_bytes"])


def same_images(reference: Mapping[str, BuildResult], built: Mapping[str, BuildResult]) -> bool:
    """Say whether every image is byte-identical."""
    return all(
        (one := reference[name].image) is not None
        and (two := built[name].image) is not None
        and one.sha256 == two.sha256
        for name in built
    )
