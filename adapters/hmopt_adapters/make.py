# SPDX-License-Identifier: Apache-2.0
"""Build and test any C project that has a Makefile, and relink what it makes at seeded code layouts.

make runs in a copy of the source tree inside the output directory: several builds of one tree (optimised, for coverage)
stay apart, and the exported source is never written to. A file is copied again when it changed, so make sees what a
person's checkout would show it.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import shutil
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field, StringConstraints

from git_hmopt.adapters import (
    AdapterContext,
    AdapterOptions,
    BuildResult,
    Image,
    Requirement,
    SourceTree,
    TestResult,
    sha256_of,
)
from git_hmopt.errors import AdapterError, StoreError, TimeLimitError
from git_hmopt.process.runner import Finished, Limits, run
from git_hmopt.records.words import Seed
from hmopt_adapters import placement
from hmopt_adapters.built import function_bytes, write_whole
from hmopt_adapters.command import CommandTest
from hmopt_adapters.command_options import CommandTestOptions, EnvironmentName, OneGroup, RelativePath, ShellCommand
from hmopt_adapters.compilers import Call, Recorder, compile_database, keep_calls, kept_calls
from hmopt_adapters.needs import required, required_sandbox
from hmopt_adapters.placement import CannotPlaceError, Link, Linker, strip_to

_ERROR = re.compile(r"^(?:.*: (?:fatal )?error: .*|.*undefined reference to .*|.*multiple definition of .*)$")
_MAKE_ERROR = re.compile(r"^make(?:\[\d+\])?: \*\*\* .*$")
_STEM = ".hmopt-"
_MARK = f"{_STEM}make.json"
_MANIFEST = f"{_STEM}mirror.json"
_CONFIGURED = f"{_STEM}configured"
_PROOF = f"{_STEM}layout.json"
_LIBRARIES = ".hmopt.libraries"

COUNTERS = "/hmopt"
"""The directory that the objects of a coverage build name; GCOV_PREFIX goes before it."""

MakeTarget = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_./%+@-]+$")]


class MakeOptions(AdapterOptions):
    """How one configuration of the project is built."""

    image: RelativePath
    """The program that workloads run, or a shared library; where make leaves it, from the top of the tree."""
    libraries: tuple[RelativePath, ...] = ()
    """Shared libraries of the project that the program loads: their code is placed too, and they lie beside it."""
    target: tuple[MakeTarget, ...] = ()
    """What make makes; default: the Makefile's own default."""
    directory: RelativePath | None = None
    """The directory of the Makefile; default: the top of the tree."""
    configure: ShellCommand | None = None
    """Runs once before make in that directory, and again when it or ./configure changes (`./configure`)."""
    cc: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.+-]+( -[A-Za-z0-9_.=+-]+)*$")] | None = None
    """The compiler, over the Makefile's own; default: the Makefile's, where it names none gcc, else clang."""
    variables: dict[EnvironmentName, str] = Field(default_factory=dict)
    """Further make variables (`CFLAGS: -O2 -g`)."""
    coverage: bool = False
    """Have gcc count executions of lines, for the adapter `gcov`; best with `CFLAGS: -O0 -g`."""
    environment: dict[EnvironmentName, str] = Field(default_factory=dict)
    """Added to the built environment; nothing of the caller's own environment is passed on but PATH."""
    jobs: int | None = Field(default=None, ge=1)
    """make's -j; default: as many as there are CPUs to use."""
    timeout_s: float = Field(default=3600, gt=0)
    """Seconds after which make is killed."""


@dataclass(frozen=True)
class _Place:
    """Where one build of one tree keeps its things."""

    tree: SourceTree

    @property
    def mirror(self) -> Path:
        return self.tree.output / "tree"

    @property
    def calls(self) -> Path:
        return self.tree.output / "calls"

    @property
    def raw(self) -> Path:
        return self.tree.output / "calls.new"

    @property
    def objects(self) -> Path:
        return self.tree.output / "objects"

    @property
    def image(self) -> Path:
        return self.tree.output / "image"

    @property
    def symbols(self) -> Path:
        return self.tree.output / "symbols"


class MakeBuild:
    """BuildAdapter: `make`, the compiler calls it made, and relinks of its last one."""

    Options: ClassVar[type[AdapterOptions]] = MakeOptions

    def __init__(self, options: MakeOptions, context: AdapterContext) -> None:
        self._options = options
        self._context = context
        self._recorder = Recorder(context.scratch)
        self._reasons: dict[Path, str | None] = {}
        # Nothing is known before a build showed its link; then `_judge` says what is.
        self.layout_controlled = False
        self.layout_reason: str | None = "nothing was built yet"
        """Why layouts are not controlled; None when they are."""

    def requirements(self) -> Sequence[Requirement]:
        """List make, a compiler, binutils and the sandbox."""
        compiler = shlex.split(self._options.cc)[0] if self._options.cc else _default_compiler()
        found = [
            required(program, lost=lost, package=package, fatal=fatal)
            for program, lost, package, fatal in (
                ("make", "nothing can be built", "make", True),
                (compiler, "nothing can be compiled", compiler, True),
                ("objcopy", "images cannot be compared", "binutils", True),
                ("nm", "bytes of code are not known, and layouts cannot be checked", "binutils", True),
                ("readelf", "shared libraries cannot be named", "binutils", bool(self._options.libraries)),
            )
        ]
        return [*found, required_sandbox(self._context)]

    def build(self, tree: SourceTree, *, log: Path) -> BuildResult:
        """Bring the copy up to date and run make; what fails there is a result with a `failure`."""
        if not tree.output.is_relative_to(tree.root) or tree.output == tree.root:
            raise AdapterError(f"the output directory {tree.output} must lie inside the source tree {tree.root}")
        place = _Place(tree)
        self._prepare(place)
        try:
            failure = self._configure(place, log) or self._make(place, log)
        except TimeLimitError as error:
            failure = str(error)
        finally:
            if place.raw.is_dir():
                keep_calls(place.raw, place.calls, place.mirror)
        calls = kept_calls(place.calls)
        warnings = tuple(sorted(warning for call in calls for warning in call.warnings))
        if failure is None:
            failure = self._missing(place)
        if failure is not None:
            return BuildResult(False, tree, log, failure=failure, warnings=warnings)
        return self._result(place, log, calls, warnings)

    def layouts(self, built: BuildResult, seeds: Sequence[Seed], into: Path) -> Mapping[Seed, Image]:
        """Relink once a seed; the built image for every seed where `layout_controlled` is false.

        AdapterError when the tree holds another build by now, or when the link cannot be repeated.
        """
        image = built.image
        if image is None:
            raise AdapterError(f"there is no image to lay out: the build failed ({built.failure})")
        if not self.layout_controlled:
            return {seed: replace(image, layout=seed) for seed in seeds}
        folder = into / f"{image.sha256[:16]}-{placement.VERSION}"
        missing = [seed for seed in dict.fromkeys(seeds) if not (folder / str(seed)).is_dir()]
        if missing:
            self._relink(built, image, missing, folder)
        found = {seed: folder / str(seed) / image.path.name for seed in seeds}
        return {seed: Image(path, sha256_of(path), image.build, seed, image.symbols) for seed, path in found.items()}

    # -- the copy ---------------------------------------------------------------------------------------------------

    def _prepare(self, place: _Place) -> None:
        """Make the copy hold the source as it is, and begin it anew where it was made elsewhere.

        Makefiles that configure wrote, and the dependencies that compilers list, name absolute paths: in a moved or
        copied tree they would build the other one.
        """
        output = place.tree.output
        arguments, environment = self._arguments(place), self._environment(place)
        marked = {"v": 1, "root": str(place.tree.root), "make": arguments, "environment": environment}
        mark = output / _MARK
        # Other variables are other objects, and make does not look at variables.
        if output.exists() and _stored(mark) != marked:
            shutil.rmtree(output)
        output.mkdir(parents=True, exist_ok=True)
        if place.raw.is_dir():
            keep_calls(place.raw, place.calls, place.mirror)
        if not mark.exists():
            write_whole(mark, json.dumps(marked))
        mirror_source(place.tree, place.mirror, output / _MANIFEST)

    def _arguments(self, place: _Place) -> list[str]:
        directory = ["-C", self._options.directory] if self._options.directory else []
        named = self._options.cc is not None or self._options.coverage
        compiler = [f"CC={self._compiler(place)}"] if named else []
        return [*directory, *compiler, *(f"{name}={value}" for name, value in self._options.variables.items())]

    def _environment(self, place: _Place) -> dict[str, str]:
        # Stands in for make's built-in `cc` alone: what a Makefile sets itself goes before the environment.
        return {"CC": self._compiler(place), **self._options.environment}

    def _compiler(self, place: _Place) -> str:
        compiler = self._options.cc or _default_compiler()
        if not self._options.coverage:
            return compiler
        # An object names the file of its counters and holds a stamp of its compilation: with the tree's own path, or
        # a stamp drawn from the clock, no two trees build the same image.
        where = f"-fprofile-dir={COUNTERS} -fprofile-prefix-path={place.mirror}"
        return f"{compiler} --coverage {where} -frandom-seed=hmopt"

    def _directory(self, place: _Place) -> Path:
        return place.mirror / (self._options.directory or ".")

    # -- make -------------------------------------------------------------------------------------------------------

    def _configure(self, place: _Place, log: Path) -> str | None:
        if self._options.configure is None:
            return None
        script = self._directory(place) / "configure"
        wanted = hashlib.sha256(self._options.configure.encode())
        if script.is_file():
            wanted.update(script.read_bytes())
        stamp = place.tree.output / _CONFIGURED
        if stamp.is_file() and stamp.read_text() == wanted.hexdigest():
            return None
        variables = {**self._options.variables, **self._recorder.environment(None)}
        ended = self._run(
            ["bash", "-e", "-o", "pipefail", "-c", self._options.configure],
            place, log, self._directory(place), variables,
        )  # fmt: skip
        if not ended.ok:
            return f"configure: {_failure(ended)}"
        write_whole(stamp, wanted.hexdigest())
        return None

    def _make(self, place: _Place, log: Path) -> str | None:
        place.raw.mkdir()
        jobs = self._options.jobs or self._context.jobs
        ended = self._run(
            ["make", "-Otarget", f"-j{jobs}", *self._arguments(place), *self._options.target],
            place, log, place.mirror, self._recorder.environment(place.raw),
        )  # fmt: skip
        return None if ended.ok else _failure(ended)

    def _run(self, argv: Sequence[str], place: _Place, log: Path, cwd: Path, variables: Mapping[str, str]) -> Finished:
        # The tree stands below a .git that is not its own: `git describe` in a Makefile must not find that one.
        ceiling = {"GIT_CEILING_DIRECTORIES": str(place.tree.root.parent)}
        return run(
            argv,
            cwd=cwd,
            environment={**ceiling, **self._environment(place), **variables},
            limits=Limits(wall_s=self._options.timeout_s),
            sandbox=self._context.sandbox(place.tree.output, readable=(place.tree.root, self._recorder.directory)),
            log=log,
        )

    def _missing(self, place: _Place) -> str | None:
        for name in (self._options.image, *self._options.libraries):
            made = place.mirror / name
            if not made.is_file():
                return f"make made no '{name}'"
            if not made.resolve().is_relative_to(place.mirror.resolve()):
                return f"'{name}' is a link that leads out of the tree"
            with made.open("rb") as stream:
                head = stream.read(4)
            if head != b"\x7fELF":
                hidden = Path(name).parent / ".libs" / Path(name).name
                hint = f", name '{hidden}'" if (place.mirror / hidden).is_file() else ""
                return f"'{name}' is no program or library (a script of libtool's?){hint}"
        return None

    # -- what was built ---------------------------------------------------------------------------------------------

    def _result(self, place: _Place, log: Path, calls: Sequence[Call], warnings: tuple[str, ...]) -> BuildResult:
        notes: list[str] = []
        try:
            image = self._image(place, calls)
        except CannotPlaceError as error:
            failure = f"the program cannot be linked to find its libraries beside it: {error.what}"
            return BuildResult(False, place.tree, log, failure=failure, warnings=warnings)
        self._judge(place, calls)
        reason = self._reasons[place.tree.root]
        if reason is not None:
            notes.append(f"layouts: {reason}: time is measured at the one layout that the build gives")
        commands = None
        entries = compile_database(calls, place.mirror, place.tree.root)
        if entries:
            commands = place.tree.output / "compile_commands.json"
            write_whole(commands, json.dumps(entries, indent=1))
        else:
            notes.append(f"compiler calls: {_UNSEEN}: warnings are not compared, the source cannot be parsed")
        parts = [place.mirror / name for name in (self._options.image, *self._options.libraries)]
        return BuildResult(
            success=True,
            tree=place.tree,
            log=log,
            image=image,
            warnings=warnings,
            vanished=tuple(notes),
            text_bytes=sum(
                function_bytes("nm", part, self._context.sandbox(readable=(part.parent,))) for part in parts
            ),
            compile_commands=commands,
            toolchain=self._toolchain(calls),
        )

    def _image(self, place: _Place, calls: Sequence[Call]) -> Image:
        """Return what runs: stripped of debug information; with its libraries beside it, where it looks first."""
        program = place.mirror / self._options.image
        for folder in (place.image, place.symbols):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
        if not self._options.libraries:
            target = place.image / program.name
            strip_to(self._context, program, target)
            _name_beside(self._context, target)
            return Image(target, sha256_of(target), self._context.name, symbols=program)
        linker = self._linker(place)
        whole = place.symbols / program.name
        linker.repeat(_find_link(linker, calls, program).call, whole, first=_BESIDE)
        for library in self._options.libraries:
            shutil.copyfile(place.mirror / library, place.symbols / Path(library).name)
            _name_beside(self._context, place.symbols / Path(library).name)
        target = self._assemble(place.symbols, place.image)
        return Image(target, sha256_of(target), self._context.name, symbols=whole)

    def _assemble(self, linked: Path, into: Path) -> Path:
        """Strip the program and its libraries from one directory into another, and return the program's path.

        The program gets a section, never loaded, with its libraries' digests: two images with equal bytes then run
        equal code, wherever it lies.
        """
        name = Path(self._options.image).name
        digests = []
        for library in sorted(Path(one).name for one in self._options.libraries):
            strip_to(self._context, linked / library, into / library)
            _name_beside(self._context, into / library)
            digests.append(f"{library} {sha256_of(into / library)}\n")
        if not digests:
            strip_to(self._context, linked / name, into / name)
            _name_beside(self._context, into / name)
            return into / name
        listed = into / f"{name}.libraries"
        listed.write_text("".join(digests))
        strip_to(self._context, linked / name, into / name, f"--add-section={_LIBRARIES}={listed}")
        listed.unlink()
        return into / name

    # -- layouts ----------------------------------------------------------------------------------------------------

    def _linker(self, place: _Place) -> Linker:
        return Linker(self._context, place.mirror, place.objects)

    def _judge(self, place: _Place, calls: Sequence[Call]) -> None:
        """Find out whether layouts of this build move code; remembered until its links change."""
        links = [call for call in calls if call.links]
        asked = [[str(call.cwd), *call.argv] for call in links]
        key = hashlib.sha256(json.dumps([placement.VERSION, self._options.image, asked]).encode()).hexdigest()
        stored = _stored(place.tree.output / _PROOF)
        if isinstance(stored, dict) and stored.get("key") == key:
            reason = stored["reason"]
        else:
            reason = self._cannot(place, calls)
            write_whole(place.tree.output / _PROOF, json.dumps({"v": 1, "key": key, "reason": reason}))
            if reason:
                self._context.progress(f"{self._context.name}: layouts are not controlled: {reason}")
        self._reasons[place.tree.root] = reason
        # One word for both sides of a comparison: layouts of one against the build of the other would be no pair.
        self.layout_reason = next((one for one in self._reasons.values() if one is not None), None)
        self.layout_controlled = self.layout_reason is None

    def _cannot(self, place: _Place, calls: Sequence[Call]) -> str | None:
        linker = self._linker(place)
        try:
            for link in self._links(linker, place, calls).values():
                linker.prove(link)
        except CannotPlaceError as error:
            return error.what
        return None

    def _links(self, linker: Linker, place: _Place, calls: Sequence[Call]) -> dict[str, Link]:
        """Return the link of every part by its name; raises CannotPlaceError for one that cannot be repeated."""
        found = {}
        for part in (self._options.image, *self._options.libraries):
            path = place.mirror / part
            found[Path(part).name] = _find_link(linker, calls, path)
        return found

    def _relink(self, built: BuildResult, image: Image, seeds: Sequence[Seed], folder: Path) -> None:
        place = _Place(built.tree)
        if not image.path.is_file() or sha256_of(image.path) != image.sha256:
            raise AdapterError(f"{built.tree.output} holds another build by now", next_step="build it again")
        linker = self._linker(place)
        links = self._links(linker, place, kept_calls(place.calls))
        folder.mkdir(parents=True, exist_ok=True)
        with ThreadPoolExecutor(max_workers=max(1, self._context.jobs)) as pool:
            list(pool.map(lambda seed: self._layout(linker, links, seed, folder), seeds))
        self._context.progress(f"linked {len(seeds)} layouts")

    def _layout(self, linker: Linker, links: Mapping[str, Link], seed: Seed, folder: Path) -> None:
        program = Path(self._options.image).name
        try:
            with linker.work() as work:
                linked, fresh = work / "linked", folder / f"{seed}.new"
                linked.mkdir()
                for name, link in links.items():
                    beside = _BESIDE if name == program and len(links) > 1 else ()
                    linker.at(link, seed, linked / name, first=beside)
                shutil.rmtree(fresh, ignore_errors=True)
                fresh.mkdir()
                self._assemble(linked, fresh)
                fresh.replace(folder / str(seed))
        except OSError as error:
            raise StoreError(f"layout {seed} cannot be written: {error}", next_step="free space there") from error

    def _toolchain(self, calls: Sequence[Call]) -> dict[str, str]:
        used = sorted({call.argv[0] for call in calls}) or [_default_compiler()]
        versions = {}
        for name in [*used, "ld", "make"]:
            if shutil.which(name) is not None:
                said = run([name, "--version"], limits=Limits(wall_s=20)).output.decode(errors="replace").splitlines()
                versions[name] = said[0] if said else "unknown"
        return versions


class MakeTestOptions(AdapterOptions):
    """Which of the Makefile's targets tests."""

    target: tuple[MakeTarget, ...] = ("check",)
    """What make makes to run the tests."""
    variables: dict[EnvironmentName, str] = Field(default_factory=dict)
    """Further make variables, beside the build's own."""
    format: Literal["exit", "ktap", "tap"] = "exit"
    """What tells success: make's exit code alone, or also the results in its output."""
    coverage: OneGroup | None = None
    """Matches the covered percentage, 0..100, in the output."""
    timeout_s: float = Field(default=600, gt=0)
    """Seconds after which make is killed."""


class MakeTest:
    """TestAdapter: the Makefile's own tests, in the copy that a `make` build made, with its variables."""

    __test__ = False
    Options: ClassVar[type[AdapterOptions]] = MakeTestOptions

    def __init__(self, options: MakeTestOptions, context: AdapterContext) -> None:
        self._options = options
        self._context = context

    def requirements(self) -> Sequence[Requirement]:
        """List make; the build lists the rest."""
        return [required("make", lost="tests cannot be run", package="make")]

    def test(self, built: BuildResult, *, log: Path) -> TestResult:
        """Run the target; a failing test is a result. AdapterError when another adapter made the build."""
        marked = _stored(built.tree.output / _MARK)
        if not isinstance(marked, dict):
            raise AdapterError(
                f"test '{self._context.name}' needs a build of the adapter 'make', and {built.tree.output} is none",
                next_step="name such a build, or use the adapter 'command'",
            )
        mirror = _Place(built.tree).mirror
        more = [f"{name}={value}" for name, value in self._options.variables.items()]
        words = ["make", *marked["make"], *more, *self._options.target]
        command = CommandTestOptions(
            run=f"cd {shlex.quote(str(mirror))} && {shlex.join(words)}",
            environment=marked["environment"],
            timeout_s=self._options.timeout_s,
            format=self._options.format,
            coverage=self._options.coverage,
        )
        return CommandTest(command, self._context).test(built, log=log)


_TRIED = 12
"""How many links are tried for an image that none wrote."""
_UNSEEN = "none was seen, the Makefile does not call gcc, cc or clang by name"
# What the program looks for beside itself comes before the directories that its Makefile gave it.
_BESIDE = ("-Wl,-rpath,$ORIGIN",)


def mirror_source(tree: SourceTree, mirror: Path, manifest: Path) -> None:
    """Make `mirror` hold the files of `tree`; what a build made there stays.

    A file is copied when its size or time is not what it was, as a new file: make must see that it is newer than what
    was made of it. `manifest` remembers sizes and times.
    """
    known = _stored(manifest)
    before: dict[str, list[int]] = known if isinstance(known, dict) else {}
    after: dict[str, list[int]] = {}
    for relative, path in _source_files(tree):
        status = path.lstat()
        after[relative] = [status.st_size, status.st_mtime_ns, status.st_mode]
        target = mirror / relative
        if before.get(relative) != after[relative] or not os.path.lexists(target):
            # Nothing is written through a link that a build put there.
            target.parent.mkdir(parents=True, exist_ok=True)
            if relative not in before and _same(path, target):
                continue
            target.unlink(missing_ok=True)
            shutil.copy(path, target, follow_symlinks=False)
    for gone in before.keys() - after.keys():
        (mirror / gone).unlink(missing_ok=True)
    write_whole(manifest, json.dumps(after))


def _source_files(tree: SourceTree) -> Iterator[tuple[str, Path]]:
    for folder, directories, names in os.walk(tree.root):
        here = Path(folder)
        if here == tree.root:
            # Outputs of builds, this one's and others', are no source; they carry a mark of theirs.
            directories[:] = [one for one in directories if not _is_output(here / one, tree.output)]
        links = [one for one in directories if (here / one).is_symlink()]
        for name in (*names, *links):
            path = here / name
            yield str(path.relative_to(tree.root)), path


def _is_output(directory: Path, output: Path) -> bool:
    return output.is_relative_to(directory) or next(directory.glob(f"{_STEM}*"), None) is not None


def _same(one: Path, two: Path) -> bool:
    if one.is_symlink() or two.is_symlink() or not two.is_file():
        return False
    return one.stat().st_size == two.stat().st_size and one.read_bytes() == two.read_bytes()


def counters_paths(notes: Path, tree: SourceTree) -> list[str]:
    """Return where, below GCOV_PREFIX, the counters that belong to gcc's notes on an object may lie."""
    counters = notes.with_suffix(".gcda")
    own = str(counters).lstrip("/")
    mirror = _Place(tree).mirror
    if not counters.is_relative_to(mirror):
        return [own]
    # gcc writes a path below its -fprofile-dir as one name; an object with an absolute name keeps it.
    flat = str(counters.relative_to(mirror)).replace("/", "#")
    top = COUNTERS.lstrip("/")
    return [f"{top}/{flat}", f"{top}/{own}", own]


def source_path(path: str, tree: SourceTree, directory: str | None = None) -> str | None:
    """Return a path that a compiler recorded as one below the tree's root; None for a file from elsewhere.

    `directory` is where the compiler ran, for a relative path. A file that only the build made is from elsewhere.
    """
    full = Path(os.path.normpath(Path(directory or tree.root) / path))
    for top in (_Place(tree).mirror, tree.root):
        for base in (top, top.resolve()):
            if full.is_relative_to(base):
                relative = full.relative_to(base)
                return str(relative) if (tree.root / relative).is_file() else None
    return None


def _find_link(linker: Linker, calls: Sequence[Call], image: Path) -> Link:
    """Return the link behind `image`: the one that wrote it, or one that gives the same code.

    A Makefile may copy, rename or strip what it linked. Raises CannotPlaceError when none does.
    """
    links = [call for call in calls if call.links]
    made = [call for call in links if call.output.resolve() == image.resolve()]
    tried = made or links
    if not calls:
        raise CannotPlaceError(f"its link was not seen: {_UNSEEN}")
    problem = None
    for call in tried[:_TRIED]:
        try:
            return linker.prepare(call, image)
        except CannotPlaceError as error:
            problem = error
    if made and problem is not None:
        raise problem
    raise CannotPlaceError(f"its link was not seen: none of the {len(calls)} compiler calls gives '{image.name}'")


def _name_beside(context: AdapterContext, library: Path) -> None:
    """Give a shared library the name that programs load it by."""
    if shutil.which("readelf") is None:
        return
    box = context.sandbox(readable=(library.parent,))
    said = run(["readelf", "-dW", str(library)], sandbox=box, check=True).output.decode(errors="replace")
    found = re.search(r"\(SONAME\).*\[([^]/]+)\]", said)
    if found and found[1] != library.name:
        (library.parent / found[1]).symlink_to(library.name)


def _default_compiler() -> str:
    return "clang" if shutil.which("gcc") is None and shutil.which("clang") is not None else "gcc"


def _failure(ended: Finished) -> str:
    lines = [line.strip() for line in ended.output.decode(errors="replace").splitlines() if line.strip()]
    for pattern in (_ERROR, _MAKE_ERROR):
        for line in lines:
            if pattern.match(line):
                return line[:300]
    last = lines[-1][:300] if lines else "no output"
    return f"{last} ({ended.ending})"


def _stored(path: Path) -> object:
    try:
        value: object = json.loads(path.read_bytes())
    except (OSError, ValueError):  # not there, or cut short by a crash
        return None
    return value
