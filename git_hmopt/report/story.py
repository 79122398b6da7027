# SPDX-License-Identifier: Apache-2.0
"""A run's story as plain values, folded from the operations of its journals and nothing else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from git_hmopt.errors import CorruptRecordError
from git_hmopt.report import facts
from git_hmopt.report.facts import (
    ArtifactFacts,
    DeltaFacts,
    EvaluationFacts,
    FloorFacts,
    GraphFacts,
    HotspotFacts,
    KpiFacts,
    MessageFacts,
    MetricFacts,
    PatchFacts,
    RunFacts,
    WindowFacts,
)
from git_hmopt.report.fields import Fields, MalformedError

if TYPE_CHECKING:
    from git_hmopt.store.journal import JournalReading  # reading a story from the cache must not pay for pydantic


@dataclass(frozen=True)
class Retraction:
    """Somebody took back a verdict, or with no iteration all that a run claims; nothing is edited for it."""

    iteration: int | None
    reason: str
    at: str


@dataclass(frozen=True)
class Iteration:
    """One decision, patch and verdict; None is what never came to be recorded."""

    number: int
    decision: Mapping[str, str] | None
    patch: PatchFacts | None
    evaluation: EvaluationFacts | None
    metrics: tuple[MetricFacts, ...]
    messages: tuple[MessageFacts, ...]
    artifacts: tuple[ArtifactFacts, ...]
    evidence: str | None
    """sha256 of the evidence pack (artifact kind `evidence-pack`) that was in force."""
    retracted: str | None = None
    """Why its verdict was taken back, or None."""


@dataclass(frozen=True)
class RunStory:
    """All that is told about a run."""

    run: RunFacts
    status: str
    status_reason: str | None
    hotspots: tuple[HotspotFacts, ...]
    """Of the base: those that were recorded first."""
    graphs: tuple[GraphFacts, ...]
    artifacts: tuple[ArtifactFacts, ...]
    metrics: tuple[MetricFacts, ...]
    """What was measured of the run as a whole; KPIs of captures are apart."""
    messages: tuple[MessageFacts, ...]
    """What was said outside of iterations: why the proposer ended, for one."""
    iterations: tuple[Iteration, ...]
    floor: FloorFacts | None
    confirmations: tuple[DeltaFacts, ...]
    """Best against base, measured afresh; one a metric."""
    notes: tuple[str, ...]
    last_at: str
    skipped: Mapping[str, int]
    """Operations this version could not read, by reason."""
    retractions: tuple[Retraction, ...] = ()
    kpis: tuple[KpiFacts, ...] = ()
    """Of captures that were made elsewhere and ingested, as they were recorded."""
    windows: tuple[WindowFacts, ...] = ()
    """The worst late frames of those captures."""
    slow_times: Mapping[str, str] = field(default_factory=dict)
    """By capture the artifact that tells when it was slow and what ran then."""

    @property
    def withdrawn(self) -> Retraction | None:
        """Return the retraction that takes the run's claim along: of the run, or of a patch that is on best."""
        on_best = {one.number for one in self.accepted}
        return next((one for one in self.retractions if one.iteration is None or one.iteration in on_best), None)

    @property
    def accepted(self) -> tuple[Iteration, ...]:
        """Return the iterations whose patches are on best, in order."""
        return tuple(one for one in self.iterations if one.evaluation and one.evaluation.accepted)

    @property
    def said(self) -> tuple[MessageFacts, ...]:
        """Return every message, in iterations or outside of them, by iteration and then as they were recorded."""
        every = [*self.messages, *(message for one in self.iterations for message in one.messages)]
        return tuple(sorted(every, key=lambda message: message.iteration))

    @property
    def best_commit(self) -> str:
        """Return the commit that best stands at: the last accepted one, or the base."""
        commits = [one.evaluation.commit for one in self.accepted if one.evaluation and one.evaluation.commit]
        return commits[-1] if commits else self.run.base_commit


@dataclass
class _Step:
    """An iteration under construction."""

    number: int
    decision: dict[str, str] | None = None
    patch: PatchFacts | None = None
    evaluation: EvaluationFacts | None = None
    metrics: list[MetricFacts] = field(default_factory=list)
    messages: list[MessageFacts] = field(default_factory=list)
    artifacts: list[ArtifactFacts] = field(default_factory=list)

    @property
    def tried(self) -> bool:
        """Say whether anything was decided here; a proposer that ends leaves a message and no candidate."""
        return bool(self.decision or self.patch or self.evaluation)


EVIDENCE_KIND = "evidence-pack"


class _Fold:
    """Takes operations in order; every handler reads one key of an operation's data."""

    def __init__(self) -> None:
        self.run: RunFacts | None = None
        self.status = "created"
        self.reason: str | None = None
        self.steps: dict[int, _Step] = {}
        self.hotspots: tuple[HotspotFacts, ...] = ()
        self.graphs: list[GraphFacts] = []
        self.kpis: dict[tuple[str, str, str, str], KpiFacts] = {}
        self.windows: dict[WindowFacts, None] = {}
        self.slow_times: dict[str, str] = {}
        self.floor: FloorFacts | None = None
        self.confirmations: dict[str, DeltaFacts] = {}
        self.notes: dict[str, None] = {}
        self.toolchain: dict[str, str] = {}
        self.last_at = ""
        self.skipped: Counter[str] = Counter()
        self.retractions: list[Retraction] = []
        self.at = ""
        self.handlers: dict[str, Callable[[_Step, Fields], None]] = {
            "run": self._run,
            "artifact": lambda step, data: step.artifacts.append(facts.read_artifact(data.inner("artifact"))),
            "metrics": self._metrics,
            "hotspots": self._hotspots,
            "graph": lambda step, data: self.graphs.append(facts.read_graph(data.inner("graph"))),
            "patch": self._patch,
            "evaluation": self._evaluation,
            "message": self._message,
            "status": self._status,
            "floor": self._floor,
            "decision": self._decision,
            "confirmation": self._confirmation,
            "notes": self._notes,
            "builds": self._builds,
            "retract": self._retract,
            "kpis": self._windows,
            "windows": self._slow_times,
        }

    def take(self, operation: Fields) -> None:
        if operation.data.get("v", 1) != 1:
            self.skipped[f"operation of version {operation.data.get('v')}"] += 1
            return
        number = operation.maybe_whole("iter") or 0
        self.at = operation.maybe_text("at") or ""
        self.last_at = max(self.last_at, self.at)
        data = operation.inner("data")
        # Keys without a handler are the loop's own (captures, checkpoints, proposals): nothing a reader is told about.
        for key in [key for key in data.data if key in self.handlers]:
            try:
                step = self.steps.get(number) or _Step(number)
                self.handlers[key](step, data)
                self.steps[number] = step
            except MalformedError as error:
                self.skipped[f"malformed {key}: {error}"] += 1

    def _run(self, step: _Step, data: Fields) -> None:
        found = facts.read_run(data.inner("run"))
        self.run = self.run or found

    def _hotspots(self, step: _Step, data: Fields) -> None:
        found = tuple(facts.read_hotspot(one) for one in data.many("hotspots"))
        self.hotspots = self.hotspots or found

    def _metrics(self, step: _Step, data: Fields) -> None:
        measured, kpis = [], []
        for one in data.many("metrics"):
            if facts.is_kpi(one):
                kpis.append(facts.read_kpi(one))
            else:
                measured.append(facts.read_metric(one))
        step.metrics.extend(measured)
        for kpi in kpis:
            # Two clones that had not met may both have ingested the same capture.
            self.kpis.setdefault((kpi.capture, kpi.scope, kpi.name, kpi.of), kpi)

    def _patch(self, step: _Step, data: Fields) -> None:
        step.patch = facts.read_patch(data.inner("patch"))

    def _message(self, step: _Step, data: Fields) -> None:
        step.messages.append(facts.read_message(data.inner("message"), step.number))

    def _evaluation(self, step: _Step, data: Fields) -> None:
        step.evaluation = facts.read_evaluation(data.inner("evaluation"))

    def _status(self, step: _Step, data: Fields) -> None:
        self.status, self.reason = data.text("status"), data.maybe_text("reason")

    def _floor(self, step: _Step, data: Fields) -> None:
        self.floor = facts.read_floor(data)

    def _decision(self, step: _Step, data: Fields) -> None:
        step.decision = data.text_map("decision")

    def _confirmation(self, step: _Step, data: Fields) -> None:
        delta = facts.read_delta(data.inner("confirmation"))
        self.confirmations[delta.metric] = delta

    def _notes(self, step: _Step, data: Fields) -> None:
        self.notes.update(dict.fromkeys(data.texts("notes")))

    def _windows(self, step: _Step, data: Fields) -> None:
        self.windows.update(dict.fromkeys(facts.read_windows(data.inner("kpis"))))

    def _slow_times(self, step: _Step, data: Fields) -> None:
        one = data.inner("windows")
        self.slow_times[one.text("capture")] = one.text("artifact")

    def _retract(self, step: _Step, data: Fields) -> None:
        one = data.inner("retract")
        self.retractions.append(Retraction(one.maybe_whole("of_iteration"), one.text("reason"), self.at))

    def _builds(self, step: _Step, data: Fields) -> None:
        # A run is created before anything is built: what built it is known of the base's builds.
        builds = data.inner("builds")
        found = {
            f"{name} {tool}": version
            for name in sorted(builds.data)
            for tool, version in builds.inner(name).text_map("toolchain").items()
        }
        self.toolchain = self.toolchain or found

    def story(self) -> RunStory:
        if self.run is None:
            raise CorruptRecordError("this journal does not say which run it belongs to: it holds no 'run' record")
        return RunStory(
            run=replace(self.run, toolchain={**self.run.toolchain, **self.toolchain}),
            status=self.status,
            status_reason=self.reason,
            hotspots=self.hotspots,
            graphs=tuple(self.graphs),
            artifacts=tuple(artifact for step in self._untried() for artifact in step.artifacts),
            metrics=tuple(metric for step in self._untried() for metric in step.metrics),
            messages=tuple(message for step in self._untried() for message in step.messages),
            iterations=self._iterations(),
            floor=self.floor,
            confirmations=tuple(self.confirmations[metric] for metric in sorted(self.confirmations)),
            notes=tuple(self.notes),
            last_at=self.last_at,
            skipped=dict(sorted(self.skipped.items())),
            retractions=tuple(self.retractions),
            kpis=tuple(self.kpis.values()),
            windows=tuple(self.windows),
            slow_times=self.slow_times,
        )

    def _untried(self) -> list[_Step]:
        """Return what belongs to the run as a whole: before the first iteration, and where nothing more was tried."""
        return [step for number, step in sorted(self.steps.items()) if number == 0 or not step.tried]

    def _iterations(self) -> tuple[Iteration, ...]:
        told = []
        evidence: str | None = None
        retracted = {one.iteration: one.reason for one in self.retractions}
        for number in sorted(self.steps):
            step = self.steps[number]
            packs = [artifact.sha256 for artifact in step.artifacts if artifact.kind == EVIDENCE_KIND]
            evidence = packs[-1] if packs else evidence
            if number > 0 and step.tried:
                told.append(_iteration(number, step, evidence, retracted.get(number)))
        return tuple(told)


def _iteration(number: int, step: _Step, evidence: str | None, retracted: str | None) -> Iteration:
    return Iteration(
        number=number,
        decision=step.decision,
        patch=step.patch,
        evaluation=step.evaluation,
        metrics=tuple(step.metrics),
        messages=tuple(step.messages),
        artifacts=tuple(step.artifacts),
        evidence=evidence,
        retracted=retracted,
    )


def story_of(reading: JournalReading) -> RunStory:
    """Return the story that a reading of a run's journals tells; what the reading could not read is in `skipped`."""
    story = fold([operation.model_dump(mode="json") for operation in reading.operations])
    return replace(story, skipped=dict(Counter(reading.skipped) + Counter(story.skipped)))


def fold(operations: Iterable[Mapping[str, Any]]) -> RunStory:
    """Return the story that journal operations tell, in whatever order they come; repeated ones count once.

    Operations of another version, unknown or malformed ones are left out and counted in `skipped`. Raises
    CorruptRecordError when no operation says which run this is.
    """
    fold_state = _Fold()
    seen: set[tuple[str, ...]] = set()
    for operation in sorted(operations, key=_order):
        identity = tuple(str(operation.get(key)) for key in ("run", "writer", "iter", "node", "attempt", "op"))
        if identity in seen:
            continue
        seen.add(identity)
        try:
            fold_state.take(Fields(operation))
        except MalformedError as error:
            fold_state.skipped[f"malformed operation: {error}"] += 1
    return fold_state.story()


def _order(operation: Mapping[str, Any]) -> tuple[int, str]:
    lamport = operation.get("lamport")
    return (lamport if isinstance(lamport, int) else 0, str(operation.get("writer")))
