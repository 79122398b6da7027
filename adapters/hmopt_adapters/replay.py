# SPDX-License-Identifier: Apache-2.0
"""Replay what was recorded: canned builds, tests, readings and captures from a directory, for dry runs and tests.

Nothing is compiled, run or measured, and everything that comes out says so: the build and the profile in their notes,
each reading in its cross-checks, and the run in what it lacks. The image is the recording itself, a text file that no
other adapter can run.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from git_hmopt.adapters import (
    AdapterContext,
    AdapterOptions,
    BuildResult,
    Captured,
    Image,
    OutputCheck,
    ProfileResult,
    Reading,
    Requirement,
    SourceTree,
    TestCase,
    TestResult,
    WorkCase,
    sha256_of,
)
from git_hmopt.config.document import parse_document
from git_hmopt.config.explain import validate
from git_hmopt.errors import AdapterError, ConfigError, MeasurementError
from git_hmopt.records.words import Seed
from hmopt_adapters.command_options import RelativePath

MANIFEST = "replay.yaml"
_MARK = "hmopt-replay 1"


class _Recorded(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class When(_Recorded):
    """The source that a case stands for."""

    file: RelativePath
    """A file of the tree."""
    contains: str = Field(min_length=1)
    """Text that stands in it."""


class RecordedTest(_Recorded):
    """One test and how it ended."""

    name: str
    status: Literal["passed", "failed", "skipped", "crashed"] = "passed"
    detail: str = ""


class Compile(_Recorded):
    """How the source would be compiled, so that it can be parsed."""

    sources: tuple[str, ...] = Field(min_length=1)
    """Glob patterns of files of the tree."""
    flags: tuple[str, ...] = ()


class RecordedCase(_Recorded):
    """What a build of one source gave, and everything that was done with it."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    when: When | None = None
    """Default: whatever no case before it stands for."""
    failure: str | None = None
    """Why the build failed; then nothing else is asked of this case."""
    warnings: tuple[str, ...] = ()
    text_bytes: int | None = None
    compile: Compile | None = None
    tests: tuple[RecordedTest, ...] = ()
    coverage: Annotated[float, Field(ge=0, le=1)] | None = None
    outputs: str | None = None
    """What the workload answered; the answer to an input is a digest of this and the input."""
    readings: dict[str, tuple[float, ...]] = Field(default_factory=dict)
    """Values of each metric; a run gets the one that its input's seed points at."""
    captures: dict[str, RelativePath] = Field(default_factory=dict)
    """The file of each capture by its format, below the recording's directory."""
    root: str | None = None
    """The symbol below which a call stack belongs to the workload."""

    @model_validator(mode="after")
    def _no_empty_reading(self) -> RecordedCase:
        for metric, values in self.readings.items():
            if not values:
                raise ValueError(f"reading '{metric}' holds no value, expected at least one number")
        return self


class Recording(_Recorded):
    """The whole of a replay.yaml."""

    v: Literal[1]
    cases: tuple[RecordedCase, ...] = Field(min_length=1)
    """The first whose `when` fits the source is replayed."""


class ReplayBuildOptions(AdapterOptions):
    """Where the recording lies."""

    directory: RelativePath
    """A directory of the tree that holds replay.yaml and the files it names."""


class ReplayTestOptions(AdapterOptions):
    """Nothing is to be said: the build brings its tests."""


class ReplayWorkloadOptions(AdapterOptions):
    """What is replayed of the recording's readings."""

    metrics: dict[str, Literal["time", "count", "kpi"]] = Field(min_length=1)
    """The kind of each metric."""


class ReplayProfilerOptions(AdapterOptions):
    """Nothing is to be said: the build brings its captures."""


class ReplayBuild:
    """BuildAdapter: chooses the case that stands for the source; compiles nothing."""

    Options: ClassVar[type[AdapterOptions]] = ReplayBuildOptions
    # No code is there to be moved.
    layout_controlled = False

    def __init__(self, options: ReplayBuildOptions, context: AdapterContext) -> None:
        self._options = options
        self._context = context

    def requirements(self) -> Sequence[Requirement]:
        """List what is missing by design, so that every run says that it is a replay."""
        return [_not_measured(f"build '{self._context.name}'")]

    def build(self, tree: SourceTree, *, log: Path) -> BuildResult:
        """Return what was recorded for the source. Raises ConfigError when the recording is wrong."""
        directory = tree.root / self._options.directory
        case = _case_for(_recording(directory), tree)
        _say(log, f"replayed: case '{case.name}' of {self._options.directory}/{MANIFEST}; nothing was built")
        notes = (f"replayed: '{case.name}' was recorded earlier, nothing was built",)
        if case.failure is not None:
            return BuildResult(False, tree, log, failure=f"(replayed) {case.failure}", vanished=notes)
        target = tree.output / "image" / f"{case.name}.replay"
        shutil.rmtree(target.parent, ignore_errors=True)
        target.parent.mkdir(parents=True)
        target.write_text(f"{_MARK}\n{case.model_dump_json()}\n")
        for declared in case.captures.values():
            kept = target.parent / "captures" / declared
            kept.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(_file(directory, declared), kept)
        image = Image(target, sha256_of(target), self._context.name)
        return BuildResult(
            success=True,
            tree=tree,
            log=log,
            image=image,
            warnings=case.warnings,
            vanished=notes,
            text_bytes=case.text_bytes,
            compile_commands=_compile_commands(case, tree),
            toolchain={"replay": f"recorded, case {case.name}"},
        )

    def layouts(self, built: BuildResult, seeds: Sequence[Seed], into: Path) -> Mapping[Seed, Image]:
        """Return the one image for every seed: `layout_controlled` is false."""
        if built.image is None:
            raise AdapterError(f"there is no image to lay out: the build failed ({built.failure})")
        return {seed: replace(built.image, layout=seed) for seed in seeds}


class ReplayTest:
    """TestAdapter: the tests of the replayed case."""

    __test__ = False
    Options: ClassVar[type[AdapterOptions]] = ReplayTestOptions

    def __init__(self, options: ReplayTestOptions, context: AdapterContext) -> None:
        self._context = context

    def requirements(self) -> Sequence[Requirement]:
        """List what is missing by design."""
        return [_not_measured(f"test '{self._context.name}'")]

    def test(self, built: BuildResult, *, log: Path) -> TestResult:
        """Return the recorded tests, each marked as replayed; without any the result is not complete."""
        if built.image is None:
            return TestResult(False, (), log, failure="there is no image to test", complete=False)
        case = _replayed(built.image)
        _say(log, f"replayed: tests of case '{case.name}'; none was run")
        cases = tuple(TestCase(one.name, one.status, f"(replayed) {one.detail}".rstrip()) for one in case.tests)
        bad = [one for one in cases if one.status in ("failed", "crashed")]
        failure = f"{len(bad)} of {len(cases)} tests failed, first: {bad[0].name}" if bad else None
        if not cases:
            failure = f"case '{case.name}' has no recorded tests"
        return TestResult(failure is None, cases, log, failure, complete=bool(cases), coverage=case.coverage)


class ReplayWorkload:
    """WorkloadAdapter: recorded values; each reading says `replayed` among its cross-checks."""

    Options: ClassVar[type[AdapterOptions]] = ReplayWorkloadOptions

    def __init__(self, options: ReplayWorkloadOptions, context: AdapterContext) -> None:
        self._context = context
        self.metrics: Mapping[str, Literal["time", "count", "kpi"]] = dict(options.metrics)
        self.repeatable = set(options.metrics.values()) == {"count"}

    def requirements(self) -> Sequence[Requirement]:
        """List what is missing by design."""
        return [_not_measured(f"metric '{self._context.name}'")]

    def outputs(self, image: Image, cases: Sequence[WorkCase]) -> OutputCheck:
        """Answer each input with a digest of it and the recorded outputs."""
        recorded = _replayed(image)
        if recorded.outputs is None:
            return OutputCheck({}, (f"case '{recorded.name}' has no recorded outputs",))
        digests = {case: _digest(recorded.outputs, case.seed, case.size, case.offset).hex() for case in cases}
        return OutputCheck(digests, (), b"replayed\n")

    def measure(self, image: Image, case: WorkCase) -> Reading:
        """Return recorded values. Raises MeasurementError for a metric without any, and for a real image."""
        recorded = _replayed(image)
        values = {}
        for metric in self.metrics:
            known = recorded.readings.get(metric)
            if known is None:
                raise MeasurementError(f"case '{recorded.name}' has no recorded '{metric}'")
            # By the input, so that a repeated reading is the same one.
            values[metric] = known[int.from_bytes(_digest(metric, case.seed, case.size)[:4]) % len(known)]
        return Reading(values, {"replayed": 1.0})


class ReplayProfiler:
    """ProfilerAdapter: recorded captures."""

    Options: ClassVar[type[AdapterOptions]] = ReplayProfilerOptions

    def __init__(self, options: ReplayProfilerOptions, context: AdapterContext) -> None:
        self._context = context

    def requirements(self) -> Sequence[Requirement]:
        """List what is missing by design."""
        return [_not_measured(f"profile '{self._context.name}'")]

    def profile(self, built: BuildResult, case: WorkCase, *, into: Path) -> ProfileResult:
        """Copy the recorded captures into `into`. Raises MeasurementError when there is none."""
        if built.image is None:
            raise MeasurementError("there is no image to profile")
        recorded = _replayed(built.image)
        if not recorded.captures:
            raise MeasurementError(f"case '{recorded.name}' has no recorded capture")
        found = []
        for kind, declared in recorded.captures.items():
            target = into / declared
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(built.image.path.parent / "captures" / declared, target)
            found.append(Captured(kind, target))
        notes = (f"replayed: captures of case '{recorded.name}', nothing was profiled",)
        return ProfileResult(tuple(found), notes, root=recorded.root)


def _not_measured(what: str) -> Requirement:
    return Requirement(
        f"a measurement behind {what}", False, "it replays a recording: nothing that this run reports was measured",
        None, fatal=False,
    )  # fmt: skip


def _recording(directory: Path) -> Recording:
    path = _file(directory, MANIFEST)
    document = parse_document(path.read_bytes(), origin=f"{directory.name}/{MANIFEST}")
    return validate(Recording, document.value, origin=document.origin, lines=document.lines)


def _case_for(recording: Recording, tree: SourceTree) -> RecordedCase:
    for case in recording.cases:
        if case.when is None:
            return case
        file = tree.root / case.when.file
        if file.is_file() and case.when.contains in file.read_text(errors="replace"):
            return case
    raise ConfigError(
        f"none of the {len(recording.cases)} recorded cases stands for this source",
        next_step="add a case without 'when' at the end",
    )


def _file(directory: Path, declared: str) -> Path:
    path = directory / declared
    if not path.is_file() or not path.resolve().is_relative_to(directory.resolve()):
        raise ConfigError(f"the recording lacks its file '{declared}' in {directory}")
    return path


def _replayed(image: Image) -> RecordedCase:
    """Return the case that an image stands for; MeasurementError for a real one."""
    try:
        mark, _, case = image.path.read_text(errors="replace").partition("\n")
        if mark == _MARK:
            return RecordedCase.model_validate_json(case)
    except (OSError, ValidationError):
        pass
    raise MeasurementError(
        f"'{image.path.name}' is no recording: the adapter 'replay' measures nothing",
        next_step="build with the adapter 'replay', or measure with another one",
    )


def _compile_commands(case: RecordedCase, tree: SourceTree) -> Path | None:
    if case.compile is None:
        return None
    sources = sorted({path for pattern in case.compile.sources for path in tree.root.glob(pattern) if path.is_file()})
    entries = [
        {
            "directory": str(tree.root),
            "file": str(path),
            "arguments": ["cc", *case.compile.flags, "-c", str(path)],
        }
        for path in sources
    ]
    target = tree.output / "compile_commands.json"
    target.write_text(json.dumps(entries, indent=1))
    return target


def _digest(*parts: object) -> bytes:
    return hashlib.sha256(":".join(str(part) for part in parts).encode()).digest()


def _say(log: Path, text: str) -> None:
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a") as stream:
        stream.write(text + "\n")
