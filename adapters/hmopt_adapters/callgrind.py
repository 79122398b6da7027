# SPDX-License-Identifier: Apache-2.0
"""Count a program's instructions exactly with valgrind's callgrind, and profile them: callers, lines, executions.

The user's command is the one that is timed as well. $HMOPT_IMAGE is then a script that runs the image under callgrind,
so pipes and set-up around it are not counted. `function` bounds the window: what runs in it and below it is counted.
"""

from __future__ import annotations

import re
import shlex
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field, StringConstraints

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
    WorkCase,
)
from git_hmopt.errors import AdapterError, MeasurementError, ProgramError
from git_hmopt.process.runner import find_program
from hmopt_adapters.case_run import run_case
from hmopt_adapters.command import CommandWorkload
from hmopt_adapters.command_options import CommandWorkloadOptions, EnvironmentName, OneGroup, ShellCommand
from hmopt_adapters.make import source_path
from hmopt_adapters.needs import required

_INSTALL = "apt-get install valgrind"
_LOST = "instructions are not counted"
_LOST_PROFILE = "no exact profile: no call graph, no lines, no branch counts"
# As many callers as a context keeps: beyond them, stacks begin in their middle.
_CALLERS = 12
_TOTAL = re.compile(rb"^totals: (\d+)", re.MULTILINE)
_NAME = re.compile(rb"(?P<head>c?fn=\(\d+\) )(?P<name>.+)")
_FILE = re.compile(rb"(?P<head>(?:fl|fi|fe|cfi|cfl)=\(\d+\) )(?P<path>.+)")

FunctionName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_.]*$")]


class _CallgrindOptions(AdapterOptions):
    run: ShellCommand
    """The shell command, as for the adapter `command`; it runs "$HMOPT_IMAGE"."""
    function: FunctionName | None = None
    """What is counted: this function and all it calls; not recursive and not inlined. Default: the whole program."""
    environment: dict[EnvironmentName, str] = Field(default_factory=dict)
    """Added to the built environment; nothing of the caller's own environment is passed on but PATH."""
    timeout_s: float = Field(default=600, gt=0)
    """Seconds after which the command is killed; callgrind is about 50 times slower than the program."""


class CallgrindWorkloadOptions(_CallgrindOptions):
    """How to run a workload whose instructions are counted."""

    outputs: OneGroup | None = None
    """Matches the digest of what was computed, once; default: the digest of the whole standard output."""
    check: ShellCommand | None = None
    """Runs instead of `run` when outputs are checked."""


class CallgrindProfilerOptions(_CallgrindOptions):
    """How to run a workload that is profiled."""


class CallgrindWorkload:
    """WorkloadAdapter: `instructions`, the same number each time; outputs are checked without valgrind."""

    Options: ClassVar[type[AdapterOptions]] = CallgrindWorkloadOptions
    metrics: Mapping[str, Literal["time", "count", "kpi"]] = {"instructions": "count"}
    repeatable = True

    def __init__(self, options: CallgrindWorkloadOptions, context: AdapterContext) -> None:
        self._runner = _Callgrind(options, context)
        plain = {
            "run": options.run,
            "environment": options.environment,
            "timeout_s": options.timeout_s,
            "outputs": options.outputs,
            "check": options.check,
            "metrics": {"wall": {"kind": "time", "from": "wall"}},
        }
        self._plain = CommandWorkload(CommandWorkloadOptions.model_validate(plain), context)

    def requirements(self) -> Sequence[Requirement]:
        """List valgrind, and what any command needs."""
        return [required("valgrind", lost=_LOST, package="valgrind"), *self._plain.requirements()]

    def outputs(self, image: Image, cases: Sequence[WorkCase]) -> OutputCheck:
        """Run each case once, natively; a failing or hanging case is a failure in the result."""
        return self._plain.outputs(image, cases)

    def measure(self, image: Image, case: WorkCase) -> Reading:
        """Run once; raises MissingProgramError without valgrind, MeasurementError when nothing was counted."""
        with self._runner.counted(image.path, case, ()) as files:
            parts = [_total(file) for file in files]
        return Reading({"instructions": float(sum(parts))}, {"processes": float(len(parts))})


class CallgrindProfiler:
    """ProfilerAdapter: every instruction by context (`callgrind`) and by line (`callgrind-lines`)."""

    Options: ClassVar[type[AdapterOptions]] = CallgrindProfilerOptions

    def __init__(self, options: CallgrindProfilerOptions, context: AdapterContext) -> None:
        self._options = options
        self._runner = _Callgrind(options, context)

    def requirements(self) -> Sequence[Requirement]:
        """List valgrind."""
        return [required("valgrind", lost=_LOST_PROFILE, package="valgrind", fatal=False)]

    def profile(self, built: BuildResult, case: WorkCase, *, into: Path) -> ProfileResult:
        """Run once; raises MissingProgramError without valgrind, MeasurementError when nothing was counted."""
        if built.image is None:
            raise MeasurementError("there is no image to profile")
        into.mkdir(parents=True, exist_ok=True)
        target = into / "callgrind.out"
        flags = ("--dump-instr=yes", f"--separate-callers={_CALLERS}", "--separate-recs=1")
        # With debug information: it names the lines.
        program = built.image.symbols or built.image.path
        with self._runner.counted(program, case, flags) as files:
            largest = max(files, key=_total)
            with largest.open("rb") as lines, target.open("wb") as out:
                out.writelines(_of_the_tree(lines, built.tree, self._options.function))
        notes = ["callgrind: exact instructions of one run, by context and line"]
        if len(files) > 1:
            notes.append(f"callgrind: the largest of {len(files)} processes alone")
        return ProfileResult((Captured("callgrind", target), Captured("callgrind-lines", target)), tuple(notes))


@dataclass(frozen=True)
class _Place:
    """Where one run happens: its paths are as long for each arm of a comparison, whatever their trees are called.

    The loader and libc read the program's path, and every directory in the environment shifts the stack: with the
    trees' own paths a whole program's count differs by some instructions between two copies of it.
    """

    top: Path

    @property
    def beside(self) -> Path:
        """The working directory: the script in the program's place, and links to what lies beside the program."""
        return self.top / "beside"

    @property
    def copy(self) -> Path:
        return self.top / "copy"

    @property
    def work(self) -> Path:
        return self.top / "work"

    def fill(self, program: Path) -> None:
        for folder in (self.beside, self.copy, self.work):
            folder.mkdir()
        shutil.copy(program, self.copy)
        for sibling in program.parent.iterdir():
            if sibling.name != program.name:
                (self.beside / sibling.name).symlink_to(sibling)
                # Where the program looks for its own libraries.
                (self.copy / sibling.name).symlink_to(sibling)


@dataclass(frozen=True)
class _Callgrind:
    """Runs the command with the image under callgrind."""

    options: _CallgrindOptions
    context: AdapterContext

    @contextmanager
    def counted(self, program: Path, case: WorkCase, flags: Sequence[str]) -> Iterator[list[Path]]:
        """Give the files callgrind left, one a process; they are gone afterwards."""
        valgrind = find_program("valgrind", lost=_LOST, install=_INSTALL)
        if re.search(r"\.so(\.|$)", program.name):
            raise AdapterError(
                f"callgrind runs programs, and the image '{program.name}' is a shared library",
                next_step="make a program that loads it the image, and name the library in 'libraries'",
            )
        self.context.scratch.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="callgrind-", dir=self.context.scratch) as name:
            place = _Place(Path(name))
            place.fill(program)
            script = place.beside / program.name
            script.write_text(f'#!/bin/sh\nexec {shlex.join(self._command(valgrind, place, program, flags))} "$@"\n')
            script.chmod(0o755)
            try:
                run_case(
                    self.options.run, script, case, self.context, work=place.work, beside=place.beside,
                    environment=self.options.environment, timeout_s=self.options.timeout_s, writable=place.top,
                    readable=program.parent,
                )  # fmt: skip
            except ProgramError as error:
                raise MeasurementError(f"workload '{self.context.name}' under callgrind: {error.what}") from error
            yield self._files(place.top)

    def _command(self, valgrind: str, place: _Place, program: Path, flags: Sequence[str]) -> list[str]:
        toggle = [f"--toggle-collect={self.options.function}"] if self.options.function else []
        return [
            valgrind, "--tool=callgrind", f"--log-file={place.top}/log.%p",
            f"--callgrind-out-file={place.top}/out.%p", *toggle, *flags, "--", str(place.copy / program.name),
        ]  # fmt: skip

    def _files(self, work: Path) -> list[Path]:
        files = sorted(work.glob("out.*"))
        if not files:
            raise MeasurementError(f"workload '{self.context.name}': the command never ran $HMOPT_IMAGE")
        if not any(_total(file) for file in files):
            what = f"'{self.options.function}' was never entered" if self.options.function else "nothing was counted"
            raise MeasurementError(
                f"workload '{self.context.name}': {what}",
                next_step="check its spelling, and mark it __attribute__((noinline))",
            )
        return files


def _total(file: Path) -> int:
    found = _TOTAL.search(file.read_bytes())
    if found is None:
        raise MeasurementError(
            f"callgrind's file {file.name} is cut short", next_step="free space in the scratch place"
        )
    return int(found[1])


def _of_the_tree(lines: Iterable[bytes], tree: SourceTree, function: str | None) -> Iterator[bytes]:
    """Yield a profile with files as the tree names them, and with contexts that end at the window's function."""
    for line in lines:
        text = line.rstrip(b"\n")
        if (file := _FILE.fullmatch(text)) is not None:
            path = file["path"].decode(errors="surrogateescape")
            known = source_path(path, tree) if path.startswith("/") else None
            yield file["head"] + (known or path).encode(errors="surrogateescape") + b"\n"
        elif function is not None and (named := _NAME.fullmatch(text)) is not None:
            names = named["name"].split(b"'")
            last = names.index(function.encode()) + 1 if function.encode() in names else len(names)
            yield named["head"] + b"'".join(names[:last]) + b"\n"
        else:
            yield line
