# SPDX-License-Identifier: Apache-2.0
"""The protocols every build, test, workload and profiler adapter follows, their typed results, and their discovery.

An adapter is a class named by an entry point in one of the groups `git_hmopt.build`, `git_hmopt.test`,
`git_hmopt.workload`, `git_hmopt.profiler`. It is made as `Adapter(options, context)`: `options` is an instance of the
class's own `Options` model, filled from `.hmopt.yaml`. Adapters measure and report; they judge nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

from pydantic import BaseModel, ConfigDict

from git_hmopt.errors import AdapterError
from git_hmopt.process.sandbox import Sandbox
from git_hmopt.records.words import Seed

Kind = Literal["build", "test", "workload", "profiler"]


class AdapterOptions(BaseModel):
    """Base of every adapter's options: unknown keys are refused with the line they stand on.

    The string below a field is its description in the JSON Schema and the reference of `git hmopt config`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


@dataclass(frozen=True)
class AdapterContext:
    """What the tool gives every adapter."""

    name: str
    """The key under which the adapter stands in `.hmopt.yaml`."""
    scratch: Path
    """A directory of the adapter's own, kept between runs (compiled plugins, initramfs)."""
    overlays: tuple[Path, ...] = ()
    """The directories of the overlays in force, always from the base side."""
    jobs: int = 1
    cpus: tuple[int, ...] = ()
    """Host CPUs that measured programs are pinned to; empty means not pinned."""
    sandboxed: bool = True
    progress: Callable[[str], None] = field(default=lambda text: None, compare=False)

    def sandbox(self, *writable: Path, readable: Sequence[Path] = ()) -> Sandbox | None:
        """Return the sandbox a program of this adapter runs in, or None when sandboxing is switched off."""
        return Sandbox(writable=tuple(writable), readable=tuple(readable)) if self.sandboxed else None


@dataclass(frozen=True)
class Requirement:
    """One external thing an adapter uses."""

    program: str
    found: bool
    lost: str
    """What cannot be done without it, in words for the user."""
    install: str | None = None
    fatal: bool = True


@dataclass(frozen=True)
class SourceTree:
    """An exported source tree; adapters write only below `output`, which lies inside `root`."""

    root: Path
    output: Path


@dataclass(frozen=True)
class Image:
    """A built thing that can be run."""

    path: Path
    sha256: str
    """Of what runs: two images with equal sha256 need no comparison. Debug information may be left out of it."""
    build: str
    layout: Seed | None = None
    """The seed of its code layout; None is the layout the build gave."""
    symbols: Path | None = None
    """The unstripped file that symbol names and line tables come from."""


@dataclass(frozen=True)
class BuildResult:
    """How a build ended. `failure` is None exactly when `success`."""

    success: bool
    tree: SourceTree
    log: Path
    image: Image | None = None
    failure: str | None = None
    """One line: the compiler's first error, or what else went wrong."""
    warnings: tuple[str, ...] = ()
    """Compiler warnings with line numbers taken out, so that two builds can be compared."""
    vanished: tuple[str, ...] = ()
    """Requested configuration that the build system dropped, with the reason where it gave one."""
    text_bytes: int | None = None
    compile_commands: Path | None = None
    toolchain: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class TestCase:
    """One test and how it ended."""

    name: str
    status: Literal["passed", "failed", "skipped", "crashed"]
    detail: str = ""


@dataclass(frozen=True)
class TestResult:
    """How the tests ended; a truncated or crashed log is no success, whatever it said before."""

    success: bool
    cases: tuple[TestCase, ...]
    log: Path
    failure: str | None = None
    complete: bool = True
    """False when the log ends before the plan was fulfilled."""
    coverage: float | None = None

    def count(self, status: str) -> int:
        """Return how many tests ended with `status`."""
        return sum(1 for case in self.cases if case.status == status)


@dataclass(frozen=True)
class WorkCase:
    """One input of a workload. `offset` shifts the data's start, for unaligned inputs."""

    seed: Seed
    size: int
    repetitions: int = 1
    offset: int = 0


@dataclass(frozen=True)
class OutputCheck:
    """What a workload answered for given inputs: a digest each, and what its own reference disagreed with."""

    digests: Mapping[WorkCase, str]
    failures: tuple[str, ...]
    log: bytes = field(repr=False, default=b"")


@dataclass(frozen=True)
class Reading:
    """One measured run: `values` by metric name, in the metric's unit; lower-level facts in `cross_checks`."""

    values: Mapping[str, float]
    cross_checks: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Captured:
    """A file a profiler left, and what format of `git_hmopt.traces` it is in."""

    kind: str
    path: Path
    media_type: str = "text/plain"


@dataclass(frozen=True)
class ProfileResult:
    """What a profiler captured of one run of a workload."""

    captures: tuple[Captured, ...]
    notes: tuple[str, ...] = ()
    """What the reader must know: frame pointers on, flat only, sampling rate."""
    root: str | None = None
    """The symbol below which a call stack belongs to the workload; None when captures hold the window alone."""


@runtime_checkable
class BuildAdapter(Protocol):
    """Turns a source tree into an image."""

    Options: ClassVar[type[AdapterOptions]]
    layout_controlled: bool
    """Whether `layouts` really moves code; without it time is known less well and the gate widens its bound."""

    def requirements(self) -> Sequence[Requirement]:
        """List the external things this adapter needs, found or not."""
        ...

    def build(self, tree: SourceTree, *, log: Path) -> BuildResult:
        """Build incrementally; a compile error is a result, not an exception."""
        ...

    def layouts(self, built: BuildResult, seeds: Sequence[Seed], into: Path) -> Mapping[Seed, Image]:
        """Return one image a seed, whose code layout depends on seed and object names only.

        Images that are already in `into` for this very build are reused.
        """
        ...


@runtime_checkable
class TestAdapter(Protocol):
    """Runs the project's own tests on an image."""

    Options: ClassVar[type[AdapterOptions]]

    def requirements(self) -> Sequence[Requirement]:
        """List the external things this adapter needs, found or not."""
        ...

    def test(self, built: BuildResult, *, log: Path) -> TestResult:
        """Run the tests; a failing test is a result, not an exception."""
        ...


@runtime_checkable
class WorkloadAdapter(Protocol):
    """Runs a workload on an image, for its outputs or for its numbers."""

    Options: ClassVar[type[AdapterOptions]]
    metrics: Mapping[str, Literal["time", "count", "kpi"]]
    """The metrics a reading holds, with their kinds. Units: time ns, count 1."""
    repeatable: bool
    """Whether two readings of one image are equal (a count): then one is enough."""

    def requirements(self) -> Sequence[Requirement]:
        """List the external things this adapter needs, found or not."""
        ...

    def outputs(self, image: Image, cases: Sequence[WorkCase]) -> OutputCheck:
        """Run the workload once for each case and return what it answered."""
        ...

    def measure(self, image: Image, case: WorkCase) -> Reading:
        """Run the marked window once. Raises MeasurementError when no whole window was seen."""
        ...


@runtime_checkable
class ProfilerAdapter(Protocol):
    """Captures where a workload spends its time or its instructions."""

    Options: ClassVar[type[AdapterOptions]]

    def requirements(self) -> Sequence[Requirement]:
        """List the external things this adapter needs, found or not."""
        ...

    def profile(self, built: BuildResult, case: WorkCase, *, into: Path) -> ProfileResult:
        """Run the workload under the profiler and leave the captures in `into`."""
        ...


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def adapter_names(kind: Kind) -> list[str]:
    """Return the names of all installed adapters of a kind."""
    return sorted(entry.name for entry in entry_points(group=f"git_hmopt.{kind}"))


def load_adapter(kind: Kind, name: str) -> Any:
    """Return the adapter class called `name`; AdapterError names what is installed when there is none."""
    found: list[EntryPoint] = [entry for entry in entry_points(group=f"git_hmopt.{kind}") if entry.name == name]
    if not found:
        raise AdapterError(
            f"no {kind} adapter is called '{name}'",
            next_step=f"installed are: {', '.join(adapter_names(kind)) or 'none'}",
        )
    return found[0].load()
