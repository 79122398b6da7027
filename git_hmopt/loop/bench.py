# SPDX-License-Identifier: Apache-2.0
"""The workbench: one run's instruments - repository, build trees, adapters - set up from its plan."""

from __future__ import annotations

import fnmatch
import os
import re
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Literal, TypeVar

from git_hmopt.adapters import (
    AdapterContext,
    BuildAdapter,
    BuildResult,
    Kind,
    ProfilerAdapter,
    Requirement,
    SourceTree,
    TestAdapter,
    WorkloadAdapter,
)
from git_hmopt.agents.proposer import Proposer
from git_hmopt.config.explain import unknown
from git_hmopt.config.load import LoadedConfig
from git_hmopt.config.overlay import Overlay, apply_overlays, resolve_overlays
from git_hmopt.config.schema import AdapterSection, Workload
from git_hmopt.config.settings import with_settings
from git_hmopt.errors import AdapterError, ConfigError, ProgramError
from git_hmopt.loop.configuration import LocalOverlays
from git_hmopt.loop.log import RunLog
from git_hmopt.loop.needs import section_adapter
from git_hmopt.loop.plan import RunPlan
from git_hmopt.loop.state import RunState
from git_hmopt.measure.compare import Plan, Side
from git_hmopt.measure.layouts import derived_seed
from git_hmopt.process.runner import Limits, run
from git_hmopt.process.sandbox import sandbox_missing
from git_hmopt.records.base import decimal_text
from git_hmopt.records.evidence import Template
from git_hmopt.records.run import Objective
from git_hmopt.records.words import Oid, RunId, Seed
from git_hmopt.store.artifacts import ArtifactStore
from git_hmopt.store.journal import Journal
from git_hmopt.store.repository import Repository
from git_hmopt.store.trees import BuildTree, copy_build_tree, disk_full

_A = TypeVar("_A", BuildAdapter, TestAdapter, WorkloadAdapter, ProfilerAdapter)

MetricKind = Literal["time", "count", "kpi"]

# Layouts of this many images are kept between iterations and runs; an image's twelve are about 65 MB.
KEPT_LAYOUTS = 8


class Arm(StrEnum):
    """The two persistent build trees."""

    REFERENCE = "base"
    CANDIDATE = "candidate"


@dataclass(frozen=True)
class Meter:
    """One measuring adapter of a workload: what it measures, on which build."""

    workload: str
    metric: str
    kind: MetricKind
    build: str
    adapter: WorkloadAdapter


class Bench:
    """What the nodes work with; holds no state of the run that the journal does not."""

    def __init__(
        self,
        repository: Repository,
        plan: RunPlan,
        loaded: LoadedConfig,
        proposer: Proposer | None,
        *,
        log: RunLog,
        places: Path | LocalOverlays,
    ) -> None:
        self.repository = repository
        self.plan = plan
        self.run = RunId(plan.run)
        self.loaded = loaded
        self.config = with_settings(loaded.config, plan.settings)
        self._proposer = proposer
        self.log = log
        self.templates: tuple[Template, ...] = ()
        """What a hotspot of a class is shown to try; a check shows none."""
        self.notes: tuple[str, ...] = ()
        """What a reader of the run must know of how it was set up."""
        self.journal = Journal(repository)
        self.artifacts = ArtifactStore.of(repository)
        self.workload = self._find_workload(plan.workload)
        self.overlays = self._find_overlays(places)
        self.cpus = measuring_cpus()
        self.trees = {arm: BuildTree.named(arm.value, repository) for arm in Arm}
        self.builds = self._load_builds()
        self.tests = self._load_tests()
        self.meters = self._load_meters()
        self.profilers = self._load_profilers()
        self._exported: dict[Oid, Oid] = {}
        self.remembered: dict[tuple[str, str], object] = {}
        """What can be made again from the journal and the trees, and is dear to make: parsed source and captures."""
        self._ready: dict[Arm, tuple[Oid, Mapping[str, BuildResult]]] = {}
        self.entered = time.monotonic()
        """When the node at work began; the budget in its state is of that moment."""
        self.uncharged = 0.0
        """Seconds of ended nodes that are not yet taken off the budget, less than one."""

    @property
    def proposer(self) -> Proposer:
        """Return what proposes in this run; a check has none and never asks."""
        if self._proposer is None:
            raise RuntimeError(f"{self.run}: nothing proposes here")
        return self._proposer

    # -- configuration ----------------------------------------------------------------------------------------------

    def _find_workload(self, name: str) -> Workload:
        found = self.config.workloads.get(name)
        if found is None:
            raise ConfigError(f"{self.loaded.origin}: {unknown(name, self.config.workloads, what='workload')}")
        return found

    def workloads(self) -> dict[str, Workload]:
        """Return the run's workload and those its guards name."""
        names = [self.plan.workload, *(guard.workload for guard in self.workload.guards if guard.workload)]
        return {name: self._find_workload(name) for name in dict.fromkeys(names)}

    def _find_overlays(self, places: Path | LocalOverlays) -> tuple[Overlay, ...]:
        names = dict.fromkeys(name for workload in self.workloads().values() for name in workload.overlays)
        return resolve_overlays(tuple(names), repository_root=places)

    @property
    def overlay_paths(self) -> frozenset[str]:
        """Return every path of the exported tree that an overlay made or appended to."""
        return frozenset(path for overlay in self.overlays for path in (*overlay.files, *overlay.append))

    @property
    def harness_paths(self) -> frozenset[str]:
        """Return what no candidate may touch of the harness: what overlays put into the tree, and where they lie.

        A file they only append to (lib/Makefile) is the tree's own and has rules of its own.
        """
        own = {overlay.name.removeprefix("./") for overlay in self.overlays if overlay.name.startswith("./")}
        return frozenset(path for overlay in self.overlays for path in overlay.files) | own

    @property
    def objective(self) -> Objective:
        """Return what the workload wants less or more of."""
        section = self.workload.objective
        meter = self.meter(self.plan.workload, section.metric)
        return Objective(
            metric=section.metric, direction=section.direction, kind=meter.kind, margin=decimal_text(section.margin)
        )

    def measure_plan(self, *, early_stop: bool = True) -> Plan:
        """Return how much is measured."""
        return Plan.from_config(self.config.measure, early_stop=early_stop)

    # -- adapters ---------------------------------------------------------------------------------------------------

    def _context(self, name: str, kind: str) -> AdapterContext:
        return AdapterContext(
            name=name,
            scratch=self.repository.home / "scratch" / kind,
            overlays=tuple(overlay.directory for overlay in self.overlays),
            jobs=int(self.plan.settings.get("jobs", 0)) or len(os.sched_getaffinity(0)),
            cpus=self.cpus,
            sandboxed=self.plan.sandboxed,
            progress=self.log.say,
        )

    def _adapter(self, kind: Kind, protocol: type[_A], name: str, section: AdapterSection, *path: str) -> _A:
        made, options = section_adapter(self.loaded, kind, section, path)
        context = self._context(name, kind)
        context.scratch.mkdir(parents=True, exist_ok=True)
        adapter = made(options, context)
        if not isinstance(adapter, protocol):
            raise AdapterError(f"{kind} adapter '{section.adapter}' lacks a part of the protocol {protocol.__name__}")
        return adapter

    def _load_builds(self) -> dict[str, BuildAdapter]:
        used = dict.fromkeys(
            section.build
            for workload in self.workloads().values()
            for section in (*workload.measure.values(), *workload.profile.values())
        )
        made: dict[str, BuildAdapter] = {}
        for name in used:
            adapter = self._adapter("build", BuildAdapter, name, self.config.builds[name], "builds", name)
            made[name] = adapter
        return made

    def _load_tests(self) -> dict[str, tuple[str, TestAdapter]]:
        made: dict[str, tuple[str, TestAdapter]] = {}
        for name, section in self.config.tests.items():
            if section.build in self.builds:
                adapter = self._adapter("test", TestAdapter, name, section, "tests", name)
                made[name] = (section.build, adapter)
        return made

    def _load_meters(self) -> tuple[Meter, ...]:
        made = []
        for owner, workload in self.workloads().items():
            for metric, section in workload.measure.items():
                adapter = self._adapter(
                    "workload", WorkloadAdapter, metric, section, "workloads", owner, "measure", metric
                )
                kind = adapter.metrics.get(metric)
                if kind is None:
                    known = ", ".join(adapter.metrics)
                    raise self.loaded.at("workloads", owner, "measure", metric).refuse(
                        f"adapter '{section.adapter}' does not measure '{metric}', it measures: {known}"
                    )
                made.append(Meter(owner, metric, _judged_as(kind, adapter), section.build, adapter))
        return tuple(meter for meter in made if not self._does_without(meter))

    def _does_without(self, meter: Meter) -> bool:
        """Say whether a metric is left out, and note it: its program is missing, and no verdict hangs on it."""
        lacking = _lacking(meter.adapter)
        guards = {(guard.workload or self.plan.workload, guard.metric) for guard in self.workload.guards}
        needed = {(self.plan.workload, self.workload.objective.metric), *guards}
        if lacking is None or (meter.workload, meter.metric) in needed:
            return False
        self.notes = (*self.notes, f"{meter.metric} is not measured: '{lacking.program}' is missing: {lacking.lost}")
        return True

    def _load_profilers(self) -> dict[str, tuple[str, ProfilerAdapter]]:
        if "profile" in self.plan.without:
            return {}
        made: dict[str, tuple[str, ProfilerAdapter]] = {}
        for name, section in self.workload.profile.items():
            path = ("workloads", self.plan.workload, "profile", name)
            adapter = self._adapter("profiler", ProfilerAdapter, name, section, *path)
            made[name] = (section.build, adapter)
        lacking = {name: need for name, (_, adapter) in made.items() if (need := _lacking(adapter)) is not None}
        if len(lacking) == len(made):
            return made  # there is nothing to fall back on: told when the run begins
        for name, need in lacking.items():
            self.notes = (*self.notes, f"profiler '{name}' is left out: '{need.program}' is missing: {need.lost}")
            del made[name]
        return made

    @property
    def own_meters(self) -> tuple[Meter, ...]:
        """Return the meters of the run's own workload."""
        return tuple(meter for meter in self.meters if meter.workload == self.plan.workload)

    def meter(self, workload: str, metric: str) -> Meter:
        """Return the meter of a workload's metric."""
        for meter in self.meters:
            if (meter.workload, meter.metric) == (workload, metric):
                return meter
        raise ConfigError(f"workload '{workload}' does not measure '{metric}'")

    def requirements(self) -> list[Requirement]:
        """Return what every adapter of this run needs, found or not."""
        adapters: list[BuildAdapter | TestAdapter | WorkloadAdapter | ProfilerAdapter] = [
            *self.builds.values(),
            *(adapter for _, adapter in self.tests.values()),
            *(meter.adapter for meter in self.meters),
            *(adapter for _, adapter in self.profilers.values()),
        ]
        found = [need for adapter in adapters for need in adapter.requirements()]
        return list(dict.fromkeys(found))

    def shown(self, path: Path) -> str:
        """Return a path as messages give it, which are recorded: below the working tree it names no directory above."""
        root = self.repository.worktree
        return str(path.relative_to(root)) if root is not None and path.is_relative_to(root) else str(path)

    def missing_sandbox(self) -> str | None:
        """Return why programs run unconfined, or None when they are confined."""
        if not self.plan.sandboxed:
            return "the sandbox is switched off: builds, tests and workloads run unconfined"
        return sandbox_missing()

    # -- trees ------------------------------------------------------------------------------------------------------

    def export_tree(self, commit: Oid) -> Oid:
        """Return the tree that is built for a commit: without what is excluded, with the base side's overlays."""
        if commit not in self._exported:
            tree = self.repository.tree_of(commit)
            changes: dict[str, bytes | None] = dict(
                apply_overlays(self.overlays, lambda path: self.repository.read_path(tree, path))
            )
            self._exported[commit] = self.repository.write_filtered_tree(tree, self._kept, changes)
        return self._exported[commit]

    def _kept(self, path: str) -> bool:
        section = self.config.tree
        if not section.exclude:
            return True
        return not _any_of(section.exclude).match(path) or bool(section.keep and _any_of(section.keep).match(path))

    def put(self, arm: Arm, commit: Oid) -> Mapping[str, BuildResult]:
        """Make an arm's build tree hold `commit` and build it; incremental, and remembered."""
        ready = self._ready.get(arm)
        if ready and ready[0] == commit:
            return ready[1]
        self._hold(arm, self.export_tree(commit))
        results = {name: self._build(arm, name) for name in self.builds}
        if all(result.success for result in results.values()):
            self._ready[arm] = (commit, results)
        return results

    def build_once(self, tree: Oid, build: str) -> BuildResult:
        """Build an exported tree that is no candidate's (a null patch) in the candidate tree, one build of it."""
        self._hold(Arm.CANDIDATE, tree)
        return self._build(Arm.CANDIDATE, build)

    def _hold(self, arm: Arm, tree: Oid) -> None:
        self._ready.pop(arm, None)
        target, reference = self.trees[arm], self.trees[Arm.REFERENCE]
        self._drop_cut_off(arm)
        if arm is Arm.CANDIDATE and target.tree is None and reference.tree is not None:
            self.log.say("copying the built base tree for candidates")
            copy_build_tree(reference, target)
        target.checkout(tree)

    def remember(self, what: str, key: str, value: object) -> None:
        """Keep the newest value of a kind; an older one is of a best or a profile that is gone."""
        for old in [one for one in self.remembered if one[0] == what]:
            del self.remembered[old]
        self.remembered[(what, key)] = value

    def forget(self, arm: Arm) -> None:
        """Make the next use of an arm build again: something in its tree was touched."""
        self._ready.pop(arm, None)

    def adopt(self, arm: Arm, candidate: Oid, accepted: Oid) -> None:
        """Know an arm's built tree by the accepted commit as well: it has the candidate's tree."""
        ready = self._ready.get(arm)
        if ready and ready[0] == candidate:
            self._ready[arm] = (accepted, ready[1])

    def _copy_output(self, arm: Arm, name: str) -> None:
        """Give the candidate tree the base's output of a build that is new since the tree was copied.

        Only while both hold the same source: over another one, make would take the base's newer objects for its own.
        """
        reference, target = self.trees[Arm.REFERENCE], self.trees[arm]
        source, output = reference.root / f"build-{name}", target.root / f"build-{name}"
        same = reference.tree is not None and reference.tree == target.tree
        if arm is Arm.REFERENCE or output.exists() or not source.is_dir() or not same:
            return
        self.log.say(f"copying the base's {name} build for candidates")
        run(["cp", "-a", "--reflink=auto", "--", str(source), str(output)], limits=Limits(wall_s=3600), check=True)

    def _build(self, arm: Arm, name: str) -> BuildResult:
        root = self.trees[arm].root
        log = self.logs / f"{arm.value}-{name}-{self.log.iteration:04d}-{self.log.node or 'setup'}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        building = self._mark(arm, name)
        building.touch()
        self._copy_output(arm, name)
        self.log.say(f"building {name} ({arm.value} tree)")
        result = self.builds[name].build(SourceTree(root, root / f"build-{name}"), log=log)
        full = None if result.success else disk_full(root)
        if full:
            # No fault of the source that was built: a candidate must not be refused for it.
            raise full
        building.unlink()
        return result

    def _mark(self, arm: Arm, name: str) -> Path:
        """Return the file that is there while a build runs, and after one that was cut off."""
        root = self.trees[arm].root
        return root.with_name(f"{root.name}.{name}.building")

    def _drop_cut_off(self, arm: Arm) -> None:
        """Delete what a build wrote that was killed or ran out of disk: half an object looks new to make."""
        for name in self.builds:
            mark = self._mark(arm, name)
            if not mark.exists():
                continue
            self.log.say(f"the last {name} build in the {arm.value} tree was cut off: what it wrote is built again")
            began = mark.stat().st_mtime_ns
            for folder, _, files in os.walk(self.trees[arm].root):
                for path in (Path(folder, file) for file in files):
                    if path.lstat().st_mtime_ns >= began:
                        path.unlink()
            mark.unlink()

    def need_reference(self, commit: Oid) -> Mapping[str, BuildResult]:
        """Return the builds of the reference tree at `commit`; ProgramError when the base itself does not build."""
        results = self.put(Arm.REFERENCE, commit)
        for name, result in results.items():
            if not result.success:
                raise ProgramError(
                    f"build '{name}' of commit {commit[:12]} fails: {result.failure} (log: {self.shown(result.log)})",
                    next_step="make the base build first",
                )
        return results

    def side(self, result: BuildResult) -> Side:
        """Return a built source with the place of its layouts."""
        return Side(result, self.repository.home / "layouts")

    def prune_layouts(self) -> None:
        """Drop the layouts of the images used longest ago."""
        folder = self.repository.home / "layouts"
        kept = sorted(folder.iterdir(), key=lambda one: one.stat().st_mtime) if folder.is_dir() else []
        for old in kept[:-KEPT_LAYOUTS]:
            shutil.rmtree(old, ignore_errors=True)

    @property
    def logs(self) -> Path:
        """Return the directory of this run's build, test and loop logs."""
        return self.repository.home / "runs" / self.run / "logs"

    # -- budget -----------------------------------------------------------------------------------------------------

    @property
    def iterations(self) -> int:
        """Return how many iterations the run may make."""
        return self.plan.iterations if self.plan.iterations is not None else self.config.budget.iterations

    @property
    def wall_s(self) -> float:
        """Return how many seconds the run may take."""
        return float(self.plan.wall_s) if self.plan.wall_s is not None else self.config.budget.wall_s

    def deadline(self, state: RunState) -> float:
        """Return the monotonic time at which the run's wall budget ends."""
        return self.entered + state["budget_remaining"]

    def seed(self, *parts: str | int) -> Seed:
        """Return a seed of this run for a purpose; proposers never see one."""
        return derived_seed(self.plan.seed, *parts)


def _lacking(adapter: WorkloadAdapter | ProfilerAdapter) -> Requirement | None:
    """Return the first thing an adapter cannot do without and that is not here."""
    return next((need for need in adapter.requirements() if need.fatal and not need.found), None)


def _judged_as(kind: MetricKind, adapter: WorkloadAdapter) -> MetricKind:
    """Return how a metric is judged: what repeats exactly is a count and never called time, what does not is none."""
    if adapter.repeatable:
        return "count"
    return "kpi" if kind == "count" else kind


_PATTERNS: dict[tuple[str, ...], re.Pattern[str]] = {}


def _any_of(globs: Sequence[str]) -> re.Pattern[str]:
    key = tuple(globs)
    if key not in _PATTERNS:
        _PATTERNS[key] = re.compile("|".join(fnmatch.translate(glob) for glob in key))
    return _PATTERNS[key]


def measuring_cpus() -> tuple[int, ...]:
    """Return the one CPU that measured programs are pinned to; none when there is only one to share."""
    allowed = sorted(os.sched_getaffinity(0))
    return (allowed[-1],) if len(allowed) > 1 else ()
