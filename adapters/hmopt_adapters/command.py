# SPDX-License-Identifier: Apache-2.0
"""The user's own shell commands as build, test, workload and profiler, with declared outputs and metrics.

Commands run under `bash -e -o pipefail -c`, so that a failing line in the middle is a failure, in a built
environment (HMOPT_* and what `environment` adds) and confined: they write where their docstring says, nowhere else.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar, Literal

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
from git_hmopt.errors import AdapterError, MeasurementError, ProgramError, TimeLimitError
from git_hmopt.process import runner
from git_hmopt.records.words import Seed
from hmopt_adapters.command_options import (
    CommandBuildOptions,
    CommandOptions,
    CommandProfilerOptions,
    CommandTestOptions,
    CommandWorkloadOptions,
    Markers,
    MetricOptions,
)
from hmopt_adapters.command_values import json_value, matched, number
from hmopt_adapters.console import last_line, plain
from hmopt_adapters.ktap import parse_ktap
from hmopt_adapters.needs import required, required_sandbox

_WARNING = re.compile(r"^(?P<file>[^\s:][^:]*):\d+:(?:\d+:)? warning: (?P<text>.*\S)\s*$")
_ERROR = re.compile(r"(?:^|[\s:])(?:fatal )?error: |undefined reference to ")
_FLOOD_BYTES = 1 << 28
"""Where a command that prints without end is killed, bytes; the largest build log is a tenth of it."""
_OUTPUT_LIMIT = 1 << 20
"""How much of an output check's text is kept, bytes."""


@dataclass
class _CompilerOutput:
    """What a build's lines say, gathered as they come: the runner keeps only the end of a long output."""

    root: Path
    warnings: set[str] = field(default_factory=set)
    first_error: str | None = None
    last: str = ""

    def take(self, line: bytes, arrived_ns: int) -> None:
        text = plain(line).rstrip()
        if not text:
            return
        self.last = text
        if found := _WARNING.match(text):
            file = found["file"].removeprefix(f"{self.root}/").removeprefix("./")
            self.warnings.add(f"{file}: {found['text']}")
        elif self.first_error is None and _ERROR.search(text):
            self.first_error = text[:300]


class CommandBuild:
    """BuildAdapter: `run` in the tree's root with HMOPT_TREE, HMOPT_OUTPUT, HMOPT_JOBS; may write in the tree."""

    Options: ClassVar[type[AdapterOptions]] = CommandBuildOptions

    def __init__(self, options: CommandBuildOptions, context: AdapterContext) -> None:
        self._options = options
        self._context = context
        self.layout_controlled = options.relink is not None

    def requirements(self) -> Sequence[Requirement]:
        """List bash, the sandbox and `size`."""
        size = required("size", lost="bytes of text are not known", package="binutils", fatal=False)
        return [*_requirements(self._context), size]

    def build(self, tree: SourceTree, *, log: Path) -> BuildResult:
        """Run the command; what it leaves undone is a result with a `failure`, never an exception."""
        tree.output.mkdir(parents=True, exist_ok=True)
        seen = _CompilerOutput(tree.root)
        failure = self._run(tree, log, seen)
        image = None
        if failure is None:
            image, failure = self._image(tree)
        commands = self._options.compile_commands
        if failure is None and commands is not None and not (tree.root / commands).is_file():
            failure = f"the build succeeded but left no compile_commands '{commands}'"
        return BuildResult(
            success=failure is None,
            tree=tree,
            log=log,
            image=image if failure is None else None,
            failure=failure,
            warnings=tuple(sorted(seen.warnings)),
            text_bytes=_text_bytes(self._context, image.path) if image and failure is None else None,
            compile_commands=tree.root / commands if commands and failure is None else None,
            toolchain=self._toolchain(tree) if failure is None else {},
        )

    def layouts(self, built: BuildResult, seeds: Sequence[Seed], into: Path) -> Mapping[Seed, Image]:
        """Relink once a seed. Raises AdapterError when there is no image, or when seeds do not change it.

        Without `relink` every seed has the built image: `layout_controlled` says so.
        """
        if built.image is None:
            raise AdapterError(f"there is no image to lay out: the build failed ({built.failure})")
        if self._options.relink is None:
            return {seed: replace(built.image, layout=seed) for seed in seeds}
        images = {seed: self._layout(built, built.image, seed, into) for seed in seeds}
        if len(images) > 1 and len({image.sha256 for image in images.values()}) == 1:
            raise AdapterError(
                f"'relink' of build '{self._context.name}' gave the same image for {len(images)} seeds",
                next_step="make it place code by $HMOPT_SEED, or remove it",
            )
        return images

    def _run(self, tree: SourceTree, log: Path, seen: _CompilerOutput) -> str | None:
        variables = _tree_variables(tree, self._context)
        try:
            ended = _shell(
                self._options, self._context, self._options.run, variables, cwd=tree.root, writable=(tree.root,),
                log=log, on_line=seen.take, keep_output=False,
            )  # fmt: skip
        except ProgramError as error:
            return f"the build {_ended(error, self._options)}: {seen.last[:200]}"
        if ended.ok:
            return None
        return f"{seen.first_error or seen.last[:300] or 'no output'} ({ended.ending})"

    def _image(self, tree: SourceTree) -> tuple[Image | None, str | None]:
        path, problem = _declared(tree.root, self._options.image, "image")
        if problem:
            return None, problem
        symbols = path
        if self._options.symbols is not None:
            symbols, problem = _declared(tree.root, self._options.symbols, "symbols")
        return Image(path, sha256_of(path), self._context.name, symbols=symbols), problem

    def _layout(self, built: BuildResult, image: Image, seed: Seed, into: Path) -> Image:
        # `into` is shared by all builds that are compared: two of them have the same seeds.
        home = into / image.sha256[:16] / str(seed)
        out, stamp = home / image.path.name, home / "stamp.json"
        key = {"image": image.sha256, "relink": self._options.relink, "environment": self._options.environment}
        if out.is_file() and stamp.is_file() and _stamped(stamp) == {**key, "layout": sha256_of(out)}:
            return Image(out, sha256_of(out), image.build, layout=seed, symbols=out)
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir(parents=True)
        assert self._options.relink is not None
        variables = {
            **_tree_variables(built.tree, self._context),
            "HMOPT_IMAGE": str(image.path), "HMOPT_SEED": str(seed), "HMOPT_LAYOUT_OUT": str(out),
        }  # fmt: skip
        # The tree is readable only: a relink that changed an object would change the next seed's image too.
        _shell(
            self._options, self._context, self._options.relink, variables, cwd=built.tree.root, writable=(home,),
            log=home / "relink.log", check=True,
        )  # fmt: skip
        if not out.is_file():
            raise AdapterError(f"'relink' of build '{image.build}' succeeded but left no $HMOPT_LAYOUT_OUT ({out})")
        digest = sha256_of(out)
        stamp.write_text(json.dumps({**key, "layout": digest}))
        return Image(out, digest, image.build, layout=seed, symbols=out)

    def _toolchain(self, tree: SourceTree) -> dict[str, str]:
        versions: dict[str, str] = {}
        for name, command in self._options.toolchain.items():
            try:
                ended = _shell(self._options, self._context, command, {}, cwd=tree.root, writable=())
            except ProgramError as error:
                versions[name] = f"unknown ({error.what})"
                continue
            first = ended.output.decode(errors="replace").strip().split("\n")[0]
            versions[name] = first if ended.ok and first else f"unknown ({ended.ending})"
        return versions


class CommandTest:
    """TestAdapter: `run` in the tree's root with HMOPT_TREE, HMOPT_OUTPUT, HMOPT_IMAGE; may write in the tree."""

    __test__ = False
    Options: ClassVar[type[AdapterOptions]] = CommandTestOptions

    def __init__(self, options: CommandTestOptions, context: AdapterContext) -> None:
        self._options = options
        self._context = context

    def requirements(self) -> Sequence[Requirement]:
        """List bash and the sandbox."""
        return _requirements(self._context)

    def test(self, built: BuildResult, *, log: Path) -> TestResult:
        """Run the command; a failing, hanging or broken test is a result."""
        if built.image is None:
            return TestResult(False, (), log, failure="there is no image to test", complete=False)
        variables = {**_tree_variables(built.tree, self._context), "HMOPT_IMAGE": str(built.image.path)}
        root = built.tree.root
        hung: str | None = None
        code = 0
        try:
            ended = _shell(
                self._options, self._context, self._options.run, variables, cwd=root, writable=(root,), log=log
            )
            output, code = ended.output, ended.returncode
        except ProgramError as error:
            output, hung = error.tail, f"the test command {_ended(error, self._options)}"
        cases, complete, failure = self._read(output, code)
        # Tests run the candidate's code: what is measured next must be what was built.
        if not built.image.path.is_file() or sha256_of(built.image.path) != built.image.sha256:
            failure = f"the tests changed the image '{built.image.path.name}'"
        failure = hung or failure
        coverage = None
        if failure is None:
            coverage, failure = self._coverage(output)
        complete = complete and hung is None
        return TestResult(failure is None and complete, cases, log, failure, complete, coverage)

    def _read(self, output: bytes, code: int) -> tuple[tuple[TestCase, ...], bool, str | None]:
        exited = f"the tests ended with exit code {code}: {_said(output)}" if code else None
        if self._options.format == "exit":
            case = TestCase(self._context.name, "failed" if code else "passed", exited or "")
            return (case,), True, exited
        parsed = parse_ktap(output, numbered=self._options.format == "ktap")
        return parsed.cases, parsed.complete, parsed.failure or exited

    def _coverage(self, output: bytes) -> tuple[float | None, str | None]:
        """Return the covered share, 0..1, and why it is not known where it should be."""
        if self._options.coverage is None:
            return None, None
        try:
            value = matched(self._options.coverage, output.decode(errors="replace"), "coverage")
            return number(value, "coverage") / 100, None
        except MeasurementError as error:
            return None, str(error)


class CommandWorkload:
    """WorkloadAdapter: `run` beside the image, which it cannot change, with HMOPT_IMAGE and the input's numbers.

    HMOPT_SEED, HMOPT_SIZE, HMOPT_OFFSET and HMOPT_REPS are the case; HMOPT_WORK is an empty directory to write in.
    """

    Options: ClassVar[type[AdapterOptions]] = CommandWorkloadOptions

    def __init__(self, options: CommandWorkloadOptions, context: AdapterContext) -> None:
        self._options = options
        self._context = context
        self.metrics: Mapping[str, Literal["time", "count", "kpi"]] = {
            name: metric.kind for name, metric in options.metrics.items()
        }
        self.repeatable = options.repeatable

    def requirements(self) -> Sequence[Requirement]:
        """List bash and the sandbox."""
        return _requirements(self._context)

    def outputs(self, image: Image, cases: Sequence[WorkCase]) -> OutputCheck:
        """Run each case once; a failing or hanging case is a failure in the result."""
        digests: dict[WorkCase, str] = {}
        failures: list[str] = []
        kept = bytearray()
        for case in cases:
            what = f"seed {case.seed}, size {case.size}, offset {case.offset}"
            try:
                ended = self._run(self._options.check or self._options.run, image, case)
                kept += f"== {what}\n".encode() + ended.output + ended.errors
                _refuse_failed(ended)
                digests[case] = self._digest(ended.output)
            except (ProgramError, MeasurementError) as error:
                failures.append(f"{what}: {error.what}")
        return OutputCheck(digests, tuple(failures), bytes(kept[:_OUTPUT_LIMIT]))

    def measure(self, image: Image, case: WorkCase) -> Reading:
        """Run the command once. Raises MeasurementError when it fails or a declared metric or marker is not there."""
        window = _Window(self._options.markers)
        log = self._context.scratch / f"{self._context.name}.log"  # of the latest run only
        log.unlink(missing_ok=True)
        try:
            ended = self._run(self._options.run, image, case, log=log, on_line=window.take, pinned=True)
            _refuse_failed(ended)
        except ProgramError as error:
            raise MeasurementError(f"workload '{self._context.name}': {error.what}") from error
        wall_ns = window.length_ns() if self._options.markers else ended.wall_s * 1e9
        text = ended.output.decode(errors="replace")
        values = {name: self._value(name, metric, text, wall_ns) for name, metric in self._options.metrics.items()}
        return Reading(values, {"process_wall_ns": ended.wall_s * 1e9})

    def _run(
        self,
        command: str,
        image: Image,
        case: WorkCase,
        *,
        log: Path | None = None,
        on_line: runner.LineSink | None = None,
        pinned: bool = False,
    ) -> runner.Finished:
        with _work_directory(self._context) as work:
            variables = {**_case_variables(image, case), "HMOPT_WORK": str(work)}
            return _shell(
                self._options, self._context, command, variables, cwd=image.path.parent, writable=(work,),
                log=log, on_line=on_line, split_errors=True, cpus=self._context.cpus if pinned else None,
            )  # fmt: skip

    def _digest(self, output: bytes) -> str:
        if self._options.outputs is None:
            return hashlib.sha256(output).hexdigest()
        return matched(self._options.outputs, output.decode(errors="replace"), "output digest")

    def _value(self, name: str, metric: MetricOptions, text: str, wall_ns: float) -> float:
        source = metric.source
        if source.wall:
            return wall_ns
        if source.regex is not None:
            found: object = matched(source.regex, text, f"metric '{name}'")
        else:
            found = json_value(text, source.json_key or "", name)
        return number(found, f"metric '{name}'") * metric.factor


class CommandProfiler:
    """ProfilerAdapter: `run` in the tree's root with HMOPT_PROFILE_OUT, which alone it may write, and the case."""

    Options: ClassVar[type[AdapterOptions]] = CommandProfilerOptions

    def __init__(self, options: CommandProfilerOptions, context: AdapterContext) -> None:
        self._options = options
        self._context = context

    def requirements(self) -> Sequence[Requirement]:
        """List bash and the sandbox."""
        return _requirements(self._context)

    def profile(self, built: BuildResult, case: WorkCase, *, into: Path) -> ProfileResult:
        """Run the command once. Raises ProgramError when it fails, MeasurementError for a capture that is not there."""
        if built.image is None:
            raise AdapterError("there is no image to profile")
        into.mkdir(parents=True, exist_ok=True)
        for path in self._options.captures.values():
            (into / path).unlink(missing_ok=True)  # a capture of an earlier run must not pass for this one's
        variables = {
            **_tree_variables(built.tree, self._context),
            **_case_variables(built.image, case),
            "HMOPT_PROFILE_OUT": str(into),
        }
        _shell(
            self._options, self._context, self._options.run, variables, cwd=built.tree.root, writable=(into,),
            log=into / "profile.log", cpus=self._context.cpus, check=True,
        )  # fmt: skip
        captures = tuple(self._capture(kind, path, into) for kind, path in self._options.captures.items())
        return ProfileResult(captures, self._options.notes, root=self._options.root)

    def _capture(self, kind: str, declared: str, into: Path) -> Captured:
        path, problem = _declared(into, declared, f"capture {kind}")
        if problem is None and path.stat().st_size == 0:
            problem = f"the capture {kind} '{declared}' is empty"
        if problem:
            raise MeasurementError(f"profiler '{self._context.name}': {problem}")
        return Captured(kind, path, _media_type(path))


class _Window:
    """The host's clock between the arrival of two output lines, once each, in order."""

    def __init__(self, markers: Markers | None) -> None:
        self._markers = markers
        self._begin = re.compile(markers.begin) if markers else None
        self._end = re.compile(markers.end) if markers else None
        self._begins: list[int] = []
        self._ends: list[int] = []

    def take(self, line: bytes, arrived_ns: int) -> None:
        text = line.decode(errors="replace")
        if self._begin and self._begin.search(text):
            self._begins.append(arrived_ns)
        elif self._end and self._end.search(text):
            self._ends.append(arrived_ns)

    def length_ns(self) -> float:
        assert self._markers is not None
        for name, pattern, seen in (
            ("begin", self._markers.begin, self._begins),
            ("end", self._markers.end, self._ends),
        ):
            if len(seen) != 1:
                raise MeasurementError(f"the {name} marker '{pattern}' was printed {len(seen)} times, expected once")
        if self._ends[0] <= self._begins[0]:
            # Equal times mean that one read gave both lines.
            raise MeasurementError(
                "the end marker did not arrive after the begin marker",
                next_step="make the command flush its output after each marker, or raise the repetitions",
            )
        return float(self._ends[0] - self._begins[0])


def _requirements(context: AdapterContext) -> list[Requirement]:
    return [required("bash", lost="no command can be run", package="bash"), required_sandbox(context)]


def _shell(
    options: CommandOptions,
    context: AdapterContext,
    command: str,
    variables: Mapping[str, str],
    *,
    cwd: Path,
    writable: Sequence[Path],
    log: Path | None = None,
    on_line: Callable[[bytes, int], None] | None = None,
    keep_output: bool = True,
    split_errors: bool = False,
    cpus: Sequence[int] | None = None,
    check: bool = False,
) -> runner.Finished:
    """Run a user's command; its HMOPT_* variables cannot be overridden by the user's own."""
    memory = options.memory_mb * (1 << 20) if options.memory_mb else None
    # What a program is given may lie below /tmp, which is empty inside the sandbox.
    readable = [cwd, *(Path(value) for name, value in variables.items() if name in ("HMOPT_IMAGE", "HMOPT_TREE"))]
    return runner.run(
        ["bash", "-e", "-o", "pipefail", "-c", command],
        cwd=cwd,
        environment={**options.environment, **variables},
        limits=runner.Limits(wall_s=options.timeout_s, memory_bytes=memory, output_bytes=_FLOOD_BYTES),
        log=log,
        on_line=on_line,
        keep_output=keep_output,
        split_errors=split_errors,
        cpus=cpus,
        check=check,
        sandbox=context.sandbox(*writable, readable=readable),
    )


def _ended(error: ProgramError, options: CommandOptions) -> str:
    """Say how a command was ended, without its text, which may be long."""
    if isinstance(error, TimeLimitError):
        return f"ran past its limit of {options.timeout_s:g} s and was killed"
    return f"could not be run to its end ({error.what})"


def _tree_variables(tree: SourceTree, context: AdapterContext) -> dict[str, str]:
    return {"HMOPT_TREE": str(tree.root), "HMOPT_OUTPUT": str(tree.output), "HMOPT_JOBS": str(context.jobs)}


def _case_variables(image: Image, case: WorkCase) -> dict[str, str]:
    return {
        "HMOPT_IMAGE": str(image.path),
        "HMOPT_SEED": str(case.seed),
        "HMOPT_SIZE": str(case.size),
        "HMOPT_OFFSET": str(case.offset),
        "HMOPT_REPS": str(case.repetitions),
    }


@contextmanager
def _work_directory(context: AdapterContext) -> Iterator[Path]:
    context.scratch.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix="work-", dir=context.scratch))
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _declared(root: Path, path: str, what: str) -> tuple[Path, str | None]:
    """Return a declared output's path, and why it is none: not there, or a link that leads out of `root`."""
    found = root / path
    if not found.is_file():
        return found, f"the command succeeded but left no {what} '{path}'"
    if not found.resolve().is_relative_to(root.resolve()):
        return found, f"the {what} '{path}' is a link that leads out of {root}"
    return found, None


def _said(output: bytes) -> str:
    return last_line(output) or "no output"


def _refuse_failed(ended: runner.Finished) -> None:
    if not ended.ok:
        raise ProgramError(f"the command ended with {ended.ending}: {_said(ended.errors or ended.output)}")


def _stamped(stamp: Path) -> object:
    try:
        value: object = json.loads(stamp.read_bytes())
    except ValueError:  # cut short by a crash: relink
        return None
    return value


def _text_bytes(context: AdapterContext, image: Path) -> int | None:
    """Return the bytes of an ELF file's .text sections, None for anything else or where `size` cannot tell."""
    with image.open("rb") as stream:
        if stream.read(4) != b"\x7fELF":
            return None
    if shutil.which("size") is None:
        return None
    # On a file that a candidate's build made, hence in the sandbox.
    box = context.sandbox(readable=(image.parent,))
    ended = runner.run(["size", "-A", "-d", str(image)], limits=runner.Limits(wall_s=60), sandbox=box)
    if not ended.ok:
        return None
    rows = (line.split() for line in ended.output.decode(errors="replace").splitlines())
    return sum(int(row[1]) for row in rows if len(row) == 3 and re.fullmatch(r"\.text(\..*)?", row[0]))


def _media_type(path: Path) -> str:
    with path.open("rb") as stream:
        head = stream.read(4096)
    # A multi-byte character may be cut at the end of the block.
    is_text = b"\0" not in head and "\ufffd" not in head.decode("utf-8", errors="replace")[:-3]
    return "text/plain" if is_text else "application/octet-stream"
