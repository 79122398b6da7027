# SPDX-License-Identifier: Apache-2.0
"""Line coverage of tests, and how often each line of a workload ran, from gcc's own counters (gcov).

The build must be instrumented: `coverage: true` of the adapter `make`, or gcc's --coverage. Counters go below a
directory of ours whatever directory the objects name (GCOV_PREFIX, gcc's "Cross-profiling"), so that builds and runs do
not mix.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, StringConstraints

from git_hmopt.adapters import (
    AdapterContext,
    AdapterOptions,
    BuildResult,
    Captured,
    ProfileResult,
    Requirement,
    TestResult,
    WorkCase,
)
from git_hmopt.errors import AdapterError, MeasurementError, ProgramError
from git_hmopt.process.runner import Limits, find_program, run
from hmopt_adapters.case_run import run_case
from hmopt_adapters.command import CommandTest
from hmopt_adapters.command_options import CommandTestOptions, EnvironmentName, ShellCommand
from hmopt_adapters.make import MakeTarget, MakeTest, MakeTestOptions, counters_paths, source_path
from hmopt_adapters.needs import required

_INSTALL = "apt-get install gcc"
_UNINSTRUMENTED = "build it with 'coverage: true', or with gcc's --coverage"
# gcov is given its files on the command line.
_AT_ONCE = 200

ProgramName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_./+-]+$")]


class GcovTestOptions(AdapterOptions):
    """How to test for coverage: one of the Makefile's targets, or a command."""

    target: tuple[MakeTarget, ...] = ("check",)
    """What make makes to run the tests, on a build of the adapter `make`."""
    run: ShellCommand | None = None
    """A shell command instead, as for the adapter `command`."""
    format: Literal["exit", "ktap", "tap"] = "exit"
    """What tells success: the exit code alone, or also the results in the output."""
    gcov: ProgramName = "gcov"
    """gcov of the very gcc that built (`gcov-12`)."""
    timeout_s: float = Field(default=600, gt=0)
    """Seconds after which the tests are killed."""


class GcovProfilerOptions(AdapterOptions):
    """How to run a workload whose lines are counted."""

    run: ShellCommand
    """The shell command, as for the adapter `command`; it runs "$HMOPT_IMAGE"."""
    environment: dict[EnvironmentName, str] = Field(default_factory=dict)
    """Added to the built environment; nothing of the caller's own environment is passed on but PATH."""
    gcov: ProgramName = "gcov"
    """gcov of the very gcc that built (`gcov-12`)."""
    timeout_s: float = Field(default=600, gt=0)
    """Seconds after which the command is killed."""


@dataclass(frozen=True)
class LineRuns:
    """How often one line of the project's source ran."""

    symbol: str
    file: str
    line: int
    count: int


class GcovTest:
    """TestAdapter: the tests as another adapter runs them, and what share of the source's lines they ran."""

    __test__ = False
    Options: ClassVar[type[AdapterOptions]] = GcovTestOptions

    def __init__(self, options: GcovTestOptions, context: AdapterContext) -> None:
        self._options = options
        self._context = context

    def requirements(self) -> Sequence[Requirement]:
        """List gcov."""
        return [required(self._options.gcov, lost="the tests' coverage is not known", package="gcc")]

    def test(self, built: BuildResult, *, log: Path) -> TestResult:
        """Run the tests; a failing test is a result. AdapterError when the build counts nothing."""
        find_program(self._options.gcov, lost="the tests' coverage is not known", install=_INSTALL)
        counters = built.tree.output / "gcov"
        shutil.rmtree(counters, ignore_errors=True)
        prefix = {"GCOV_PREFIX": str(counters)}
        tester: CommandTest | MakeTest
        options = {"format": self._options.format, "timeout_s": self._options.timeout_s}
        if self._options.run is not None:
            command = {**options, "run": self._options.run, "environment": prefix}
            tester = CommandTest(CommandTestOptions.model_validate(command), self._context)
        else:
            # make hands the variables of its command line on to what it runs.
            target = {**options, "target": self._options.target, "variables": prefix}
            tester = MakeTest(MakeTestOptions.model_validate(target), self._context)
        try:
            result = tester.test(built, log=log)
            lines = _line_runs(built, counters, self._options.gcov, self._context)
        finally:
            shutil.rmtree(counters, ignore_errors=True)
        return replace(result, coverage=sum(1 for line in lines if line.count) / len(lines))


class GcovProfiler:
    """ProfilerAdapter: executions of each line as `self-counts`, lines that never ran included.

    Instructions are given as 0: gcov does not know them, and a ranking must not take executions for cost.
    """

    Options: ClassVar[type[AdapterOptions]] = GcovProfilerOptions

    def __init__(self, options: GcovProfilerOptions, context: AdapterContext) -> None:
        self._options = options
        self._context = context

    def requirements(self) -> Sequence[Requirement]:
        """List gcov."""
        lost = "branches are not counted: no hints from what lines never run"
        return [required(self._options.gcov, lost=lost, package="gcc", fatal=False)]

    def profile(self, built: BuildResult, case: WorkCase, *, into: Path) -> ProfileResult:
        """Run once; raises MissingProgramError without gcov, MeasurementError when nothing was counted."""
        find_program(self._options.gcov, lost="branches are not counted", install=_INSTALL)
        if built.image is None:
            raise MeasurementError("there is no image to profile")
        into.mkdir(parents=True, exist_ok=True)
        self._context.scratch.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="gcov-", dir=self._context.scratch) as name:
            work = Path(name)
            try:
                run_case(
                    self._options.run, built.image.path, case, self._context, work=work,
                    beside=built.image.path.parent,
                    environment={**self._options.environment, "GCOV_PREFIX": str(work / "counters")},
                    timeout_s=self._options.timeout_s,
                )  # fmt: skip
            except ProgramError as error:
                raise MeasurementError(f"profiler '{self._context.name}': {error.what}") from error
            try:
                lines = _line_runs(built, work / "counters", self._options.gcov, self._context)
            except AdapterError as error:
                raise MeasurementError(error.what, next_step=error.next_step) from error
        target = into / "gcov.tsv"
        rows = [f"{one.symbol}\t{one.file}\t{one.line}\t0\t{one.count}\n" for one in lines]
        target.write_text("hmopt-self-counts 1\n" + "".join(rows))
        return ProfileResult(
            (Captured("self-counts", target),), ("gcov: executions of lines, no instructions: they rank nothing",)
        )


def _line_runs(built: BuildResult, counters: Path, program: str, context: AdapterContext) -> list[LineRuns]:
    """Return every instrumented line of the project's own source; AdapterError when there is none, or no counter."""
    if next(counters.rglob("*.gcda"), None) is None:
        raise AdapterError(f"nothing that ran of build '{_name(built)}' counts its lines", next_step=_UNINSTRUMENTED)
    totals: Counter[tuple[str, str, int]] = Counter()
    context.scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="gcov-", dir=context.scratch) as name:
        work = Path(name)
        notes = _gather(built, counters, work)
        for start in range(0, len(notes), _AT_ONCE):
            for document in _ask(program, notes[start : start + _AT_ONCE], work, context):
                _add(totals, document, built)
    if not totals:
        raise AdapterError(
            f"{program} finds no line of the source in build '{_name(built)}'",
            next_step="name the gcov of the gcc that built: gcov: gcov-<version>",
        )
    return [LineRuns(*key, count=count) for key, count in sorted(totals.items(), key=lambda item: item[0][1:])]


def _name(built: BuildResult) -> str:
    return built.image.build if built.image else built.tree.output.name


def _gather(built: BuildResult, counters: Path, work: Path) -> list[Path]:
    """Put each object's notes and counters side by side, and return the notes; without counters it never ran."""
    # A tree holds several builds' outputs; a command may have put this one's anywhere.
    listed = sorted(built.tree.output.rglob("*.gcno")) or sorted(built.tree.root.rglob("*.gcno"))
    found, counted = [], 0
    for number, notes in enumerate(listed):
        place = work / str(number)
        place.mkdir()
        shutil.copyfile(notes, place / notes.name)
        places = (counters / one for one in counters_paths(notes, built.tree))
        data = next((place for place in places if place.is_file()), None)
        if data is not None:
            shutil.copyfile(data, place / f"{notes.stem}.gcda")
            counted += 1
        found.append(place / notes.name)
    if not counted:
        raise AdapterError(
            f"the counters of build '{_name(built)}' belong to none of its {len(listed)} objects",
            next_step="delete the build tree and run again",
        )
    return found


def _ask(program: str, notes: Sequence[Path], work: Path, context: AdapterContext) -> Iterator[dict[str, Any]]:
    said = run(
        [program, "--json-format", "--stdout", *(str(path.with_suffix(".gcda")) for path in notes)],
        cwd=work,
        limits=Limits(wall_s=300),
        sandbox=context.sandbox(work),
        split_errors=True,
    )
    for line in said.output.decode(errors="replace").splitlines():
        if line.startswith("{"):
            try:
                yield json.loads(line)
            except ValueError as error:
                raise AdapterError(f"{program} printed JSON that cannot be read: {error}") from error


def _add(totals: Counter[tuple[str, str, int]], document: Mapping[str, Any], built: BuildResult) -> None:
    """Add one object's counts; a header's function is counted in every object that has it."""
    directory = str(document.get("current_working_directory", built.tree.root))
    for entry in document.get("files", ()):
        file = source_path(os.fsdecode(str(entry["file"])), built.tree, directory)
        if file is None:
            continue
        for line in entry["lines"]:
            totals[(str(line.get("function_name", "?")), file, int(line["line_number"]))] += int(line["count"])
