# SPDX-License-Identifier: Apache-2.0
"""Hold one commit against another on the configured workloads, with the gate's layouts, floor and bounds.

Nothing is proposed and nothing is recorded in git. The build trees, the floor and the base's layouts are those that
runs use and leave, so that the next check of another commit against the same base starts warm (`git bisect run`).
The configuration is the one that was trusted, for both commits, whatever stands in theirs.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from git_hmopt.adapters import BuildResult
from git_hmopt.config.explain import unknown
from git_hmopt.config.load import LoadedConfig
from git_hmopt.config.schema import Guard, Workload
from git_hmopt.config.settings import with_settings
from git_hmopt.errors import (
    AdapterError,
    ConfigError,
    ExitCode,
    HmoptError,
    MeasurementError,
    MissingProgramError,
    ProgramError,
    UsageError,
)
from git_hmopt.loop.bench import Arm, Bench
from git_hmopt.loop.configuration import CONFIG_FILE, Configuration, other_than_trusted
from git_hmopt.loop.floor import base_floor
from git_hmopt.loop.lock import alone
from git_hmopt.loop.log import Listener, RunLog
from git_hmopt.loop.nodes.judge import deltas_of, verdict_of
from git_hmopt.loop.nodes.verify import same_images
from git_hmopt.loop.plan import RunPlan
from git_hmopt.loop.profiled import latest_profile
from git_hmopt.loop.readings import Measurement, Readings
from git_hmopt.loop.structure import changes_between, not_built, shares_of, structure_at, touched
from git_hmopt.measure.floor import Floor
from git_hmopt.measure.gate import Judgement, bound_of, interval_text, percent
from git_hmopt.process.runner import kill_live
from git_hmopt.psg.compile_database import load_database
from git_hmopt.records.run import Delta, Objective, TouchRecord
from git_hmopt.records.words import Oid, RunId, Verdict, utc_now
from git_hmopt.store.repository import Repository

NAME = RunId("check")
"""Stands where a run's name does: in the lock, and for the directory of its logs."""


@dataclass(frozen=True)
class Question:
    """What is asked: which commits, which workloads, and how hard to try."""

    base: Oid
    head: Oid
    workloads: tuple[str, ...] = ()
    """None named: all of them."""
    seed: int | None = None
    """None: one that `base` gives, so that its layouts are the same in every check."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """A person's own values above the configuration's, as `Settings.texts` gives them."""
    sandboxed: bool = True
    stop_at_first: bool = False
    """Ask no further workload once one regressed."""


@dataclass(frozen=True)
class Checked:
    """One workload's answer: 0 no regression, 1 regressed, 125 cannot be built or told."""

    workload: str
    answer: ExitCode
    verdict: str
    """The gate's word, or why it never came to one: `does not build`, `not measured`."""
    reason: str
    deltas: tuple[Delta, ...] = ()
    touches: tuple[TouchRecord, ...] = ()
    """What head changes, how hot that was when the workload was profiled last, and who reaches it."""


@dataclass(frozen=True)
class Check:
    """All answers, and the one that counts."""

    base: Oid
    head: Oid
    workloads: tuple[Checked, ...]
    notes: tuple[str, ...] = ()

    @property
    def answer(self) -> ExitCode:
        """Return 1 when any workload regressed, else 125 when any cannot be told, else 0."""
        answers = {one.answer for one in self.workloads}
        return next((code for code in (ExitCode.NO, ExitCode.CANNOT_TEST) if code in answers), ExitCode.OK)


def check(
    repository: Repository,
    configuration: Configuration,
    question: Question,
    *,
    own_file: bool = True,
    listener: Listener = lambda line: None,
) -> Check:
    """Measure `head` against `base`. `own_file` says that the configuration is the repository's `.hmopt.yaml`.

    Raises UsageError for an unknown workload, and what keeps the base itself from being built or measured.
    """
    names = _chosen(configuration.loaded, question.workloads)
    log = RunLog(repository.home / "runs" / NAME / "logs/log.jsonl", NAME, listener)
    deadline = time.monotonic() + with_settings(configuration.loaded.config, question.settings).budget.wall_s
    checked: list[Checked] = []
    with alone(repository, NAME):
        log.path.unlink(missing_ok=True)
        try:
            for name in names:
                with log.during(f"check-{name}", 0):
                    one = _Workload(repository, configuration, question, name, names, log, deadline)
                    checked.append(one.answer())
                if question.stop_at_first and checked[-1].answer is ExitCode.NO:
                    break
        except KeyboardInterrupt:
            # What worker threads started (relinks) does not see Ctrl-C.
            kill_live()
            raise
    notes = [*_differing(repository, configuration, question, own_file=own_file)]
    if len(checked) < len(names):
        notes.append(f"not asked any more: {', '.join(names[len(checked) :])}")
    return Check(question.base, question.head, tuple(checked), tuple(notes))


def _chosen(loaded: LoadedConfig, wanted: Sequence[str]) -> tuple[str, ...]:
    known = loaded.config.workloads
    for name in wanted:
        if name not in known:
            raise UsageError(f"{loaded.origin}: {unknown(name, known, what='workload')}")
    return tuple(dict.fromkeys(wanted)) or tuple(known)


def _differing(
    repository: Repository, configuration: Configuration, question: Question, *, own_file: bool
) -> Iterator[str]:
    """Say which commit's own configuration was not used."""
    for what, commit in (("base", question.base), ("head", question.head)):
        paths = other_than_trusted(repository, configuration, commit)
        shown = [path for path in paths if own_file or path != CONFIG_FILE]
        if shown:
            yield (
                f"{what} {commit[:12]} has another {', '.join(shown[:3])}{', ...' if len(shown) > 3 else ''}, or none: "
                "both sides were built and measured with what was trusted here"
            )


@dataclass
class _Workload:
    """One workload's question on the bench."""

    repository: Repository
    configuration: Configuration
    question: Question
    name: str
    all_names: tuple[str, ...]
    log: RunLog
    deadline: float
    bench: Bench = field(init=False)

    def __post_init__(self) -> None:
        self.bench = self._bench()

    def _bench(self) -> Bench:
        question = self.question
        plan = RunPlan(
            run=NAME,
            uuid="",
            workload=self.name,
            proposer="none",
            base_commit=question.base,
            seed=int(question.base[:7], 16) if question.seed is None else question.seed,
            origin=self.configuration.loaded.origin,
            configuration="",
            sandboxed=question.sandboxed,
            settings=dict(question.settings),
            started=utc_now(),
        )
        narrowed = _narrowed(self.configuration.loaded, self.name, self.all_names)
        root = self.configuration.local_root
        bench = Bench(self.repository, plan, narrowed, None, log=self.log, places=root)
        for need in bench.requirements():
            if need.fatal and not need.found:
                raise MissingProgramError(need.program, lost=need.lost, install=need.install)
        return bench

    def answer(self) -> Checked:
        """Build both commits, measure and judge; a head that cannot be asked is an answer, a base is an error."""
        bench, question = self.bench, self.question
        reference = bench.need_reference(question.base)
        touches = self._touches()
        for one in touches:
            hot = f", {float(one.share):.1%} of the profile" if one.share else ""
            self.log.say(f"{self.name}: head touches {one.symbol}{hot}")
        return replace(self._answer(reference), touches=touches)

    def _touches(self) -> tuple[TouchRecord, ...]:
        question = self.question
        changes = changes_between(self.repository, question.base, question.head)
        with structure_at(self.bench, question.base) as structure:
            return touched(structure, changes, shares_of(self._hotspots()))

    def _answer(self, reference: Mapping[str, BuildResult]) -> Checked:
        bench, question = self.bench, self.question
        try:
            built = self._head()
            if same_images(reference, built):
                reason = "no built object differs from base's"
                with structure_at(bench, question.base) as structure:
                    changes = changes_between(self.repository, question.base, question.head)
                    aside = not_built(structure, changes)
                told = f"{reason} ({aside})" if aside else reason
                return Checked(self.name, ExitCode.OK, Verdict.NO_CHANGE.value, told)
            floor = self._floor()
            first = self._judged("compare/check", floor)
            if first.answer is not ExitCode.NO or not first.deltas or all(one.kind == "count" for one in first.deltas):
                return first
            self.log.say("it regressed: measuring again on fresh layouts")
            return _confirmed(first, self._judged("confirmation/check", floor))
        except _UntestableError as error:
            return Checked(self.name, ExitCode.CANNOT_TEST, error.verdict, error.what)
        finally:
            self._prune(reference)

    def _head(self) -> Mapping[str, BuildResult]:
        """Return the builds of head; _UntestableError when it cannot be built."""
        try:
            built = self.bench.put(Arm.CANDIDATE, self.question.head)
        except ConfigError as error:
            # An overlay would replace a file that this commit has.
            raise _UntestableError("cannot be exported", str(error)) from error
        for name, result in built.items():
            if not result.success:
                what = f"build '{name}' fails: {result.failure} (log: {self.bench.shown(result.log)})"
                raise _UntestableError("does not build", what)
        return built

    def _floor(self) -> Floor | None:
        bench = self.bench
        meter = bench.meter(self.name, bench.objective.metric)
        if meter.adapter.repeatable:
            return None
        try:
            floor = base_floor(bench, meter, self._places, deadline=self.deadline)
        except MeasurementError as error:
            raise _UntestableError("not measured", str(error)) from error
        if floor is None:
            raise _UntestableError("not measured", "the time allowed ended before the noise floor was measured")
        return floor

    def _places(self) -> Iterator[str]:
        """Yield files for null patches: those an earlier run found hot, those that head changes, all there are."""
        bench, question = self.bench, self.question
        built = bench.need_reference(question.base)
        databases = [one.compile_commands for one in built.values() if one.compile_commands is not None]
        known = [load_database(path, root=bench.trees[Arm.REFERENCE].root).files for path in databases]
        compiled = sorted({file for files in known for file in files})
        changed = (change.path for change in self.repository.changed_paths(question.base, question.head))
        for path in (*self._hot_files(), *changed):
            if not compiled or path in compiled:
                yield path
        yield from compiled or (path for _, _, path in self.repository.list_tree(question.base))

    def _hotspots(self) -> tuple[Mapping[str, Any], ...]:
        profiled = latest_profile(self.repository, self.name)
        return profiled.hotspots if profiled is not None else ()

    def _hot_files(self) -> list[str]:
        return [one["file"] for one in self._hotspots() if one["file"]]

    def _judged(self, stream: str, floor: Floor | None) -> Checked:
        bench, question = self.bench, self.question
        # The floor's null patches were built in the candidate's tree.
        reference, built = bench.need_reference(question.base), self._head()
        try:
            readings = Measurement(bench, reference, built, stream, stream, floor, self.deadline).take()
        except (MeasurementError, ProgramError, AdapterError) as error:
            raise _UntestableError("not measured", str(error)) from error
        deltas = tuple(deltas_of(bench, readings, floor, against="baseline"))
        return judged(self.name, bench.objective, readings, verdict_of(bench, readings, floor), floor, deltas)

    def _prune(self, reference: Mapping[str, BuildResult]) -> None:
        """Drop old layouts, but never the base's: the next check wants them."""
        for result in reference.values():
            kept = self.repository.home / "layouts" / (result.image.sha256[:16] if result.image else "none")
            if kept.is_dir():
                kept.touch()
        self.bench.prune_layouts()


class _UntestableError(HmoptError):
    """Head cannot be asked; caught above."""

    def __init__(self, verdict: str, what: str) -> None:
        super().__init__(what)
        self.verdict = verdict


def _narrowed(loaded: LoadedConfig, name: str, asked: Sequence[str]) -> LoadedConfig:
    """Return the configuration of one question: the objective and the guards; no profilers, no tests.

    A guard on a workload that is asked itself is answered there.
    """
    workload = loaded.config.workloads[name]
    guards = tuple(guard for guard in workload.guards if _owner(guard, name) == name or guard.workload not in asked)
    wanted = {workload.objective.metric, *(guard.metric for guard in guards if _owner(guard, name) == name)}
    measure = {metric: section for metric, section in workload.measure.items() if metric in wanted}
    workloads: dict[str, Workload] = {
        other: section.model_copy(update={"profile": {}}) for other, section in loaded.config.workloads.items()
    }
    workloads[name] = workload.model_copy(update={"profile": {}, "measure": measure, "guards": guards})
    return replace(loaded, config=loaded.config.model_copy(update={"workloads": workloads, "tests": {}}))


def _owner(guard: Guard, name: str) -> str:
    return guard.workload or name


def judged(
    workload: str,
    objective: Objective,
    readings: Readings,
    judgement: Judgement,
    floor: Floor | None,
    deltas: tuple[Delta, ...],
) -> Checked:
    """Turn the gate's verdict into a check's answer. The first case that holds:

    1. A guard is broken, or the gate says `regressed`: 1.
    2. A guard is undecided: 125.
    3. The gate says `cannot-tell` of the objective, but its interval's worse end is within the bound: 0, since a check
       asks whether it is worse and not whether it is better.
    4. The gate says `cannot-tell`: 125.
    5. Otherwise: 0.
    """

    def answered(code: ExitCode, reason: str) -> Checked:
        return Checked(workload, code, judgement.verdict.value, reason, deltas)

    broken = next((guard for guard in readings.guards if guard.state == "broken"), None)
    if broken is not None:
        return answered(ExitCode.NO, f"The guard '{broken.name}' is broken: {broken.detail}.")
    if judgement.verdict is Verdict.REGRESSED:
        return answered(ExitCode.NO, judgement.reason)
    undecided = next((guard for guard in readings.guards if guard.state == "undecided"), None)
    if undecided is not None:
        return answered(ExitCode.CANNOT_TEST, f"The guard '{undecided.name}' is undecided: {undecided.detail}.")
    if judgement.verdict is not Verdict.CANNOT_TELL:
        return answered(ExitCode.OK, judgement.reason)
    measured = readings.measured.get(objective.metric)
    if measured is not None:
        estimate = measured.estimate
        worst = estimate.high if objective.direction == "lower" else -estimate.low
        bound = bound_of(objective, floor, layout_controlled=readings.layout_controlled(objective.metric))
        if worst <= bound:
            text = f"the {objective.metric} changed by {interval_text(estimate)}"
            return answered(ExitCode.OK, f"No worse: {text}, none of it beyond {percent(bound, sign=False)}.")
    return answered(ExitCode.CANNOT_TEST, judgement.reason)


def _confirmed(first: Checked, second: Checked) -> Checked:
    """Return what is said of a regression after it was measured again on fresh layouts."""
    if second.answer is ExitCode.NO:
        return replace(second, reason=f"Confirmed on fresh layouts: {second.reason}")
    reason = f"Worse once, not confirmed on fresh layouts: {second.reason}"
    return replace(second, answer=ExitCode.CANNOT_TEST, verdict=Verdict.CANNOT_TELL.value, reason=reason)
