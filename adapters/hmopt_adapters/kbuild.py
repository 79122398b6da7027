# SPDX-License-Identifier: Apache-2.0
"""Build a Linux kernel with kbuild, reproducibly, and relink it at seeded code layouts.

The output directory is a direct child of the source tree, so that kbuild records relative paths and a copied tree
builds nothing (KERNELS.md). Configurations are a base plus a fragment; what Kconfig drops is named.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field, StringConstraints

from git_hmopt.adapters import (
    AdapterContext,
    AdapterOptions,
    BuildResult,
    Image,
    Requirement,
    SourceTree,
    sha256_of,
)
from git_hmopt.config.overlay import load_overlay
from git_hmopt.errors import AdapterError, ConfigError, ProgramError, TimeLimitError
from git_hmopt.process.runner import Finished, Limits, run
from git_hmopt.records.words import Seed
from hmopt_adapters.built import function_bytes, write_whole
from hmopt_adapters.layout import Relinker
from hmopt_adapters.needs import required

# What kbuild would otherwise take from the clock, the user and the host (Documentation/kbuild/reproducible-builds.rst).
FIXED = {
    "KBUILD_BUILD_TIMESTAMP": "Thu Jan  1 00:00:00 UTC 2026",
    "KBUILD_BUILD_USER": "hmopt",
    "KBUILD_BUILD_HOST": "hmopt",
    "KBUILD_BUILD_VERSION": "1",
    "LOCALVERSION": "",
    "SOURCE_DATE_EPOCH": "1767225600",
}
# What kbuild says before it makes something, `  CC [M]  lib/x.o`; with -O the warnings of it follow.
_STEP = re.compile(r"^  [A-Z][A-Z0-9_]*(?: \[M\])?\s+(\S+)$")
# The compiler, the assembler, the linker and objtool all say `PLACE: warning: TEXT`; make warns of clocks, which vary.
_WARNING = re.compile(r"^(?!make\b)(?:\S*ld: )?(\S+?)(?::\d+)*: warning: (.*)$")
_MODPOST = re.compile(r"^WARNING: modpost: (.*)$")
# An offset in a function, and which of its rehearsals the link is at.
_VARYING = re.compile(r"\+0x[0-9a-f]+(?:/0x[0-9a-f]+)?|(?<=\.kallsyms)\d+")
_ERROR = re.compile(
    r"^(?:.*: (?:fatal )?[Ee]rror: .*|.*undefined reference to .*|.*multiple definition of .*|ERROR: modpost: .*|"
    r"make(?:\[\d+\])?: \*\*\* .*)$"
)
_LINE = r"^(?:CONFIG_\w+=.+|# CONFIG_\w+ is not set)$"
_SYMBOL = re.compile(r"^(?:# )?(CONFIG_\w+)(?:=(.*)| is not set)$")
# There while make runs: a kill leaves half-written objects behind that are newer than their sources.
_BUILDING = ".hmopt-building"
_WARNINGS = ".hmopt-warnings.json"
_STAMP = ".hmopt-config"


class KbuildOptions(AdapterOptions):
    """How one configuration of the kernel is built."""

    arch: str = Field(pattern=r"^[a-z0-9_]+$")
    """make's ARCH; `um` is a kernel that runs natively."""
    cross_compile: str = ""
    """The toolchain's prefix, make's CROSS_COMPILE (`aarch64-linux-gnu-`)."""
    base: str = "none"
    """A make target such as `defconfig` or `tinyconfig` that makes the first .config; `none`: the fragment alone."""
    fragments: tuple[str, ...] = ()
    """Shipped fragments by name."""
    fragment: tuple[Annotated[str, StringConstraints(strip_whitespace=True, pattern=_LINE)], ...] = ()
    """Lines of a .config on top: `CONFIG_X=y` or `# CONFIG_X is not set`."""
    target: str = "vmlinux"
    """The make target that builds the image."""
    image: str = "vmlinux"
    """The bootable file, relative to the output directory."""
    make: dict[Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")], str] = Field(
        default_factory=dict
    )
    """Further make variables."""
    timeout_s: float = Field(default=3600, gt=0)
    """Seconds after which make is killed."""


class KbuildAdapter:
    """BuildAdapter for Linux-like kernels."""

    Options: ClassVar[type[AdapterOptions]] = KbuildOptions

    def __init__(self, options: KbuildOptions, context: AdapterContext) -> None:
        self._options = options
        self._context = context
        self._relinker = Relinker(context)
        # Only a kernel that runs natively is timed, and only UML does; counts do not depend on layout.
        self.layout_controlled = options.arch == "um"

    def requirements(self) -> Sequence[Requirement]:
        """List the compiler and the tools kbuild calls."""
        cross = self._options.cross_compile
        needed = {
            "make": "make",
            f"{cross}gcc": f"gcc-{cross}".rstrip("-"),
            f"{cross}ld": f"binutils-{cross}".rstrip("-"),
            "flex": "flex",
            "bison": "bison",
            "bc": "bc",
        }
        return [
            required(program, lost="no kernel can be built", package=package) for program, package in needed.items()
        ]

    def build(self, tree: SourceTree, *, log: Path) -> BuildResult:
        """Configure when the configuration changed, then build what changed."""
        if tree.output.parent != tree.root:
            raise AdapterError(f"kbuild output {tree.output} must be a direct child of the source tree {tree.root}")
        tree.output.mkdir(parents=True, exist_ok=True)
        _relocate(tree)
        requested = self._requested()
        _discard_unfinished(tree.output)
        write_whole(tree.output / _BUILDING, "")
        try:
            self._configure(tree, requested, log)
            finished = self._make(tree, self._options.target, log=log, check=False)
        except TimeLimitError as error:
            return BuildResult(False, tree, log, failure=str(error))
        except ProgramError as error:
            return BuildResult(False, tree, log, failure=_first_error(error.tail) or str(error))
        warnings = _remember_warnings(tree, finished.output.decode(errors="replace"))
        (tree.output / _BUILDING).unlink(missing_ok=True)
        vanished = _vanished(requested, tree.output / ".config")
        failure = self._failure(tree, finished)
        if failure is not None:
            return BuildResult(False, tree, log, failure=failure, warnings=warnings, vanished=vanished)
        image = tree.output / self._options.image
        return BuildResult(
            success=True,
            tree=tree,
            log=log,
            image=Image(image, self._identity(tree), self._context.name, symbols=tree.output / "vmlinux"),
            warnings=warnings,
            vanished=vanished,
            text_bytes=self._text_bytes(tree),
            compile_commands=self._compile_commands(tree),
            toolchain=self._toolchain(tree),
        )

    def layouts(self, built: BuildResult, seeds: Sequence[Seed], into: Path) -> Mapping[Seed, Image]:
        """Relink the built objects once a seed; see hmopt_adapters.layout."""
        if not self.layout_controlled:
            raise AdapterError(f"build '{self._context.name}': layouts are controlled for ARCH=um only")
        return self._relinker.relink(built, seeds, into, identity=lambda: self._identity(built.tree))

    def _failure(self, tree: SourceTree, finished: Finished) -> str | None:
        if not finished.ok:
            return _first_error(finished.output) or f"make ended with {finished.ending}"
        for name in (self._options.image, "vmlinux"):
            if not (tree.output / name).is_file():
                return f"make made no '{name}': is it what target '{self._options.target}' builds?"
        return None

    def _requested(self) -> list[str]:
        lines: list[str] = []
        for name in self._options.fragments:
            source = files("hmopt_adapters") / "fragments" / f"{name}.config"
            if not source.is_file():
                raise ConfigError(f"build '{self._context.name}': no shipped fragment is called '{name}'")
            lines += source.read_text().splitlines()
        lines += self._options.fragment
        for directory in self._context.overlays:
            lines += load_overlay(directory).kconfig
        return [line.strip() for line in lines if _SYMBOL.match(line.strip())]

    def _configure(self, tree: SourceTree, requested: Sequence[str], log: Path) -> None:
        # The stamp makes a rebuild skip what would touch .config; Kconfig files themselves are watched by kbuild.
        wanted = json.dumps([self._options.arch, self._options.base, *requested])
        stamp, config = tree.output / _STAMP, tree.output / ".config"
        if stamp.is_file() and stamp.read_text() == wanted and config.is_file():
            return
        stamp.unlink(missing_ok=True)
        config.unlink(missing_ok=True)
        if self._options.base != "none":
            self._make(tree, self._options.base, log=log, check=True)
        before = config.read_text() if config.is_file() else ""
        write_whole(config, before + "\n".join(requested) + "\n")
        self._make(tree, "olddefconfig", log=log, check=True)
        write_whole(stamp, wanted)

    def _make(self, tree: SourceTree, target: str, *, log: Path, check: bool) -> Finished:
        variables = {**self._options.make, "ARCH": self._options.arch, "O": tree.output.name}
        if self._options.cross_compile:
            variables["CROSS_COMPILE"] = self._options.cross_compile
        # What is printed while one file is made stays together, else its warnings cannot be told from its neighbour's.
        together = ["-Otarget", f"-j{self._context.jobs}"]
        return run(
            ["make", *together, *(f"{name}={value}" for name, value in variables.items()), target],
            cwd=tree.root,
            # The tree stands below a .git that is not its own: setlocalversion must not find that one.
            environment={
                **FIXED,
                "GIT_CEILING_DIRECTORIES": str(tree.root.parent),
                **self._relinker.recording_environment(tree.output),
            },
            limits=Limits(wall_s=self._options.timeout_s),
            sandbox=self._context.sandbox(tree.root, readable=self._relinker.programs()),
            log=log,
            check=check,
        )

    def _identity(self, tree: SourceTree) -> str:
        """Return the sha256 of what runs: vmlinux without debug information and without the build id over it.

        A comment moves line numbers in the debug information and nothing that is executed.
        """
        bare = tree.output / ".hmopt-bare"
        strip = [f"{self._options.cross_compile}objcopy", "--strip-debug"]
        drop = ["--remove-section=.notes", "--remove-section=.note.gnu.build-id"]
        # On a file that a candidate's build made, hence in the sandbox.
        box = self._context.sandbox(tree.output)
        run([*strip, *drop, str(tree.output / "vmlinux"), str(bare)], sandbox=box, check=True)
        try:
            return sha256_of(bare)
        finally:
            bare.unlink(missing_ok=True)

    def _text_bytes(self, tree: SourceTree) -> int | None:
        """Return the summed size of all functions, as bloat-o-meter does: the section itself is padded to pages."""
        program = shutil.which(f"{self._options.cross_compile}nm")
        if program is None:
            return None
        return function_bytes(program, tree.output / "vmlinux", self._context.sandbox(readable=(tree.output,)))

    def _compile_commands(self, tree: SourceTree) -> Path | None:
        script = tree.root / "scripts/clang-tools/gen_compile_commands.py"
        target = tree.output / "compile_commands.json"
        if not script.is_file():
            return None
        run(
            ["python3", str(script), "-d", tree.output.name, "-o", str(target)],
            cwd=tree.root,
            sandbox=self._context.sandbox(tree.root),
            check=True,
        )
        return target

    def _toolchain(self, tree: SourceTree) -> dict[str, str]:
        cross = self._options.cross_compile
        versions = {}
        for name in ("gcc", "ld"):
            said = run([f"{cross}{name}", "--version"], cwd=tree.root).output.decode(errors="replace")
            versions[name] = said.splitlines()[0] if said else "unknown"
        return versions


def _relocate(tree: SourceTree) -> None:
    """Make a copied or moved output believe that it was built where it stands.

    kbuild's own commands are relative, but those of tools/ (objtool on x86) hold absolute paths, and every object
    depends on objtool: with the old paths a copied tree is compiled whole. Times are kept, so that nothing else is.
    """
    stamp = tree.output / ".hmopt-root"
    here = os.fsencode(tree.root)
    before = stamp.read_bytes() if stamp.is_file() else here
    if before != here:
        for record in tree.output.rglob(".*.cmd"):
            content = record.read_bytes()
            if before in content:
                times = record.stat()
                record.write_bytes(content.replace(before + b"/", here + b"/"))
                os.utime(record, ns=(times.st_atime_ns, times.st_mtime_ns))
    stamp.write_bytes(here)


def _first_error(output: bytes) -> str | None:
    for line in output.decode(errors="replace").splitlines():
        if _ERROR.match(line.strip()):
            return line.strip()[:300]
    return None


def _discard_unfinished(output: Path) -> None:
    """Delete what a build that was killed made: make takes a half-written object for a new one."""
    building = output / _BUILDING
    if not building.exists():
        return
    began = building.stat().st_mtime_ns
    for record in output.rglob(".*.cmd"):
        made = record.with_name(record.name[1:].removesuffix(".cmd"))
        if made.is_file() and made.stat().st_mtime_ns >= began:
            made.unlink()
    building.unlink()


def _remember_warnings(tree: SourceTree, text: str) -> tuple[str, ...]:
    """Return all warnings of the tree as it stands: what is made again brings its own, the others keep theirs."""
    store = tree.output / _WARNINGS
    known = _known_warnings(store)
    target = ""
    made = set()
    for line in text.splitlines():
        step = _STEP.match(line)
        if step:
            target = _shortest(step[1])
            # One target can be worked on in several steps (LD, SORTTAB): only the first makes it anew.
            if target not in made:
                known.pop(target, None)
            made.add(target)
        # The final link says again what its rehearsals said, and their number varies.
        elif not target.startswith(".tmp_vmlinux") and (said := _warning(line.strip())):
            known.setdefault(target, []).append(said)
    for kept in known.values():
        kept[:] = [said for said in kept if _still_there(tree, said.split(": ", 1)[0])]
    write_whole(store, json.dumps({"v": 1, "by_target": known}, sort_keys=True))
    return tuple(sorted(said for kept in known.values() for said in kept))


def _known_warnings(store: Path) -> dict[str, list[str]]:
    try:
        known: dict[str, list[str]] = dict(json.loads(store.read_text())["by_target"])
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    # Said before anything was made, hence by nothing that is not run again.
    known.pop("", None)
    return known


def _warning(line: str) -> str | None:
    """Return a warning with its source, without line numbers and offsets, which move with every edit."""
    found = _WARNING.match(line)
    if found:
        place = found[1].rsplit("/", 1)[-1] if found[1].startswith("/") else _shortest(found[1])
        return f"{place}: {_VARYING.sub('', found[2])}"
    mismatch = _MODPOST.match(line)
    return f"modpost: {_VARYING.sub('', mismatch[1])}" if mismatch else None


def _shortest(path: str) -> str:
    """Return a path as it stands in the tree; seen from the output, sources begin with `../`."""
    return os.path.normpath(path).removeprefix("../")


def _still_there(tree: SourceTree, place: str) -> bool:
    return "/" not in place or (tree.root / place).exists() or (tree.output / place).exists()


def _vanished(requested: Iterable[str], config: Path) -> tuple[str, ...]:
    """Name the requested symbols that the final .config does not hold as asked (kunit.py's best idea)."""
    final: dict[str, str] = {}
    for line in config.read_text().splitlines() if config.is_file() else ():
        found = _SYMBOL.match(line)
        if found:
            final[found[1]] = found[2] or "n"
    asked = {}
    for line in requested:
        found = _SYMBOL.match(line)
        if found:
            asked[found[1]] = found[2] or "n"
    lost = []
    for symbol, value in asked.items():
        got = final.get(symbol, "n" if value == "n" else "absent")
        if got != value:
            why = "no such symbol, or a dependency is not met" if got == "absent" else f"Kconfig made it '{got}'"
            lost.append(f"{symbol}={value}: {why}")
    return tuple(lost)
