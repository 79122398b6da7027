# SPDX-License-Identifier: Apache-2.0
"""Run a workload on an emulated machine and count the instructions of its window from outside the guest.

QEMU's translator gives a count that repeats exactly from boot to boot (KERNELS.md, "QEMU TCG"). It knows no caches
and no branch prediction: the value is a count and is never called time. A plugin, which this module compiles when it
is first needed, counts between two marker functions, whatever the guest says about itself.
"""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

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
    WorkCase,
)
from git_hmopt.errors import MeasurementError, ProgramError, TimeLimitError
from git_hmopt.process.runner import Finished, Limits, find_program, run
from hmopt_adapters.console import last_line
from hmopt_adapters.guest import (
    CONSOLE_LIMIT_BYTES,
    GuestListener,
    GuestLog,
    checked_in_boots,
    collect_outputs,
    command_line,
    command_line_checks,
    require_window,
)
from hmopt_adapters.needs import required, required_sandbox
from hmopt_adapters.qemu_counts import (
    UNKNOWN,
    LineCount,
    SourcePaths,
    SymbolTable,
    WindowTotals,
    count_lines,
    executions_by_address,
    parse_addr2line,
    parse_blocks,
    parse_compilation_directories,
    parse_window,
    require_one_window,
    self_counts_text,
    with_idle,
)

WINDOW_BEGIN = "hmopt_window_begin"
WINDOW_END = "hmopt_window_end"
Arch = Literal["x86_64", "arm64"]

_PLUGIN_SOURCE = Path(__file__).with_name("qemu_plugin.c")
_PLUGIN_FLAGS = ("-O2", "-Wall", "-shared", "-fPIC", "-fvisibility=hidden")
_COMPILE_LIMIT = Limits(wall_s=60)
_BINUTILS_LIMIT = Limits(wall_s=300)
_CONSOLE = "console"


@dataclass(frozen=True)
class _Machine:
    """What differs between the emulated architectures."""

    qemu: str
    package: str
    arguments: tuple[str, ...]
    kernel_arguments: tuple[str, ...]


_MACHINES: Mapping[Arch, _Machine] = {
    "x86_64": _Machine(
        qemu="qemu-system-x86_64",
        package="qemu-system-x86",
        arguments=("-machine", "pc", "-cpu", "qemu64"),
        # Without tsc=reliable the guest's clock has steps of 4 ms. tinyconfig has no ACPI, so it cannot power off:
        # it restarts, and QEMU's -no-reboot ends there.
        kernel_arguments=("console=ttyS0", "panic=-1", "nokaslr", "tsc=reliable", "kunit_shutdown=reboot"),
    ),
    "arm64": _Machine(
        qemu="qemu-system-aarch64",
        package="qemu-system-arm",
        # The device tree holds a random seed unless it is told not to, and then no two boots are equal.
        arguments=("-machine", "virt,dtb-randomness=off", "-cpu", "cortex-a57"),
        kernel_arguments=("console=ttyAMA0", "panic=-1", "nokaslr", "kunit_shutdown=poweroff"),
    ),
}


class QemuOptions(AdapterOptions):
    """How an emulated kernel is booted."""

    suite: str
    """The KUnit suite of the workload's overlay."""
    arch: Arch = "x86_64"
    """The architecture that is emulated."""
    shift: int = Field(default=3, ge=0, le=10)
    """Virtual nanoseconds an instruction lasts, as a power of two. The count does not depend on it; the boot does."""
    memory_mb: int = Field(default=128, ge=32)
    """Megabytes of the guest's memory."""
    timeout_s: float = Field(default=120, gt=0)
    """Seconds after which a boot is killed."""
    append: tuple[str, ...] = ()
    """More kernel arguments."""
    qemu: str | None = None
    """Name or path of the emulator, when it is not the architecture's usual one."""


def qemu_command(
    options: QemuOptions, kernel: Path, arguments: Sequence[str], *, plugin: Mapping[str, str] | None = None
) -> list[str]:
    """Return the command that boots `kernel`; `plugin` holds `file` and the plugin's own arguments."""
    machine = _MACHINES[options.arch]
    command = [options.qemu or machine.qemu, *machine.arguments, "-m", str(options.memory_mb), "-smp", "1"]
    command += ["-display", "none", "-no-reboot", "-nodefaults", "-serial", "stdio", "-monitor", "none"]
    command += ["-accel", "tcg,thread=single", "-icount", f"shift={options.shift},sleep=off,align=off"]
    command += ["-rtc", "base=2020-01-01,clock=vm"]
    if plugin:
        # QEMU splits its options at commas; a doubled one stands for itself.
        command += ["-plugin", ",".join(f"{key}={value.replace(',', ',,')}" for key, value in plugin.items())]
    command += ["-kernel", str(kernel)]
    return [*command, "-append", " ".join([*machine.kernel_arguments, *arguments, *options.append])]


def compile_plugin(scratch: Path) -> Path:
    """Return the compiled plugin, made when this source and this compiler have not met in `scratch` before."""
    gcc = find_program(
        "gcc", lost="the plugin that counts instructions cannot be compiled", install="apt-get install gcc"
    )
    version = run([gcc, "--version"], limits=_COMPILE_LIMIT, check=True).output
    source = _PLUGIN_SOURCE.read_bytes()
    digest = hashlib.sha256(b"\0".join([source, version, " ".join(_PLUGIN_FLAGS).encode()])).hexdigest()
    compiled = scratch / f"qemu-plugin-{digest[:16]}.so"
    if compiled.is_file():
        return compiled
    scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=scratch, prefix="compile-") as directory:
        fresh = Path(directory) / "plugin.so"
        run([gcc, *_PLUGIN_FLAGS, "-o", str(fresh), str(_PLUGIN_SOURCE)], limits=_COMPILE_LIMIT, check=True)
        fresh.replace(compiled)
    return compiled


class _Emulator:
    """Boots images for one adapter: sandboxed, pinned, with the plugin where something is counted."""

    def __init__(self, options: QemuOptions, context: AdapterContext) -> None:
        self.options = options
        self.context = context

    def requirements(self) -> list[Requirement]:
        """List what booting and counting need."""
        machine = _MACHINES[self.options.arch]
        needed = [
            (self.options.qemu or machine.qemu, f"no {self.options.arch} kernel can be emulated", machine.package),
            ("gcc", "the plugin that counts instructions cannot be compiled", "gcc"),
            ("nm", "the marked window cannot be found in the image", "binutils"),
        ]
        return [
            *(required(program, lost=lost, package=package) for program, lost, package in needed),
            required_sandbox(self.context),
        ]

    @contextlib.contextmanager
    def run_directory(self) -> Iterator[Path]:
        """Give a directory for one boot's files, removed afterwards; the console of a boot that failed is kept."""
        self.context.scratch.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self.context.scratch, prefix="boot-") as directory:
            try:
                yield Path(directory)
            except MeasurementError as error:
                console = Path(directory) / _CONSOLE
                if error.next_step or not console.is_file():
                    raise
                kept = console.replace(self.context.scratch / f"failed-{self.options.suite}.log")
                raise MeasurementError(error.what, next_step=f"read {kept}") from error

    def boot(
        self,
        image: Image,
        arguments: Sequence[str],
        listener: GuestListener,
        *,
        plugin: Mapping[str, str] | None = None,
    ) -> Finished:
        """Boot once to the guest's own end.

        Raises TimeLimitError when it hangs, ProgramError when it prints on and on, MeasurementError when QEMU fails.
        """
        command = qemu_command(self.options, image.path, arguments, plugin=plugin)
        command[0] = self._program()
        finished = run(
            command,
            cwd=Path("/"),
            limits=Limits(wall_s=self.options.timeout_s, output_bytes=CONSOLE_LIMIT_BYTES),
            sandbox=self.context.sandbox(
                *([Path(plugin["out"]).parent] if plugin else []), readable=(image.path.parent,)
            ),
            cpus=self.context.cpus,
            on_line=listener,
            log=Path(plugin["out"]).with_name(_CONSOLE) if plugin else None,
        )
        if not finished.ok:
            raise MeasurementError(
                f"{self.options.qemu or _MACHINES[self.options.arch].qemu} ended with {finished.ending}: "
                f"{last_line(finished.output)!r}"
            )
        return finished

    def count(
        self, image: Image, case: WorkCase, symbols: SymbolTable, directory: Path, *, blocks: bool
    ) -> tuple[WindowTotals, GuestLog]:
        """Boot once under the plugin, whose files stay in `directory`, and return what was counted and said."""
        plugin = self._plugin(symbols, directory, blocks=blocks)
        suite = self.options.suite
        listener = GuestListener(suite)
        try:
            finished = self.boot(image, command_line(suite, case), listener, plugin=plugin)
        except ProgramError as error:
            raise MeasurementError(
                f"suite {suite}: {self._endless(error, listener)}; last console line: {last_line(error.tail)!r}"
            ) from error
        require_window(listener.log, suite, finished.output)
        totals_file = directory / "window"
        if not totals_file.is_file():
            raise MeasurementError(f"the plugin left no totals; QEMU said last: {last_line(finished.output)!r}")
        totals = parse_window(totals_file.read_text())
        require_one_window(totals)
        return totals, listener.log

    def check(self, image: Image, cases: Sequence[WorkCase]) -> OutputCheck:
        """Boot once and collect the answers to `cases`; a guest that hangs or dies is a failure, with its reason."""
        listener = GuestListener(self.options.suite)
        try:
            console = self.boot(image, command_line_checks(self.options.suite, cases), listener).output
        except ProgramError as error:
            return collect_outputs(listener.log, cases, error.tail, endless=self._endless(error, listener))
        return collect_outputs(listener.log, cases, console)

    def symbols(self, image: Image) -> SymbolTable:
        """Read the image's text symbols."""
        return SymbolTable(self.binutils("nm", ["-S", "--defined-only"], symbols_file(image)).decode(errors="replace"))

    def binutils(self, program: str, arguments: Sequence[str], file: Path, *, stdin: bytes | None = None) -> bytes:
        """Run a program of binutils on a file that a candidate's build made, hence in the sandbox."""
        path = find_program(program, lost="the image's symbols cannot be read", install="apt-get install binutils")
        try:
            return run(
                [path, *arguments, str(file)],
                cwd=Path("/"),
                limits=_BINUTILS_LIMIT,
                stdin=stdin,
                split_errors=True,
                sandbox=self.context.sandbox(readable=(file.parent,)),
                check=True,
            ).output
        except ProgramError as error:
            raise MeasurementError(str(error)) from error

    def _plugin(self, symbols: SymbolTable, directory: Path, *, blocks: bool) -> dict[str, str]:
        begin, end = symbols.address(WINDOW_BEGIN), symbols.address(WINDOW_END)
        if begin == end:
            raise MeasurementError(
                f"{WINDOW_BEGIN} and {WINDOW_END} are one function in this image",
                next_step="give them different bodies: the compiler folded them together",
            )
        # A copy, because a guest that breaks out of QEMU could write to what the sandbox lets it write to, and the
        # compiled plugin is used again.
        loaded = shutil.copy2(compile_plugin(self.context.scratch), directory / "plugin.so")
        plugin = {"file": str(loaded), "begin": f"{begin:#x}", "end": f"{end:#x}", "out": str(directory / "window")}
        if blocks:
            plugin |= {"blocks": str(directory / "blocks"), "addresses": str(directory / "addresses")}
        return plugin

    def _program(self) -> str:
        machine = _MACHINES[self.options.arch]
        return find_program(
            self.options.qemu or machine.qemu,
            lost=f"no {self.options.arch} kernel can be emulated",
            install=f"apt-get install {machine.package}",
        )

    def _endless(self, error: ProgramError, listener: GuestListener) -> str:
        where = "inside its window" if listener.log.begun and not listener.log.ended else "outside its window"
        if isinstance(error, TimeLimitError):
            return f"the guest ran past its limit of {self.options.timeout_s:g} s, {where}"
        return f"{error}, {where}"


class QemuWorkload:
    """WorkloadAdapter: `instructions` is what the guest executed in the marked window."""

    Options: ClassVar[type[AdapterOptions]] = QemuOptions
    metrics: Mapping[str, Literal["time", "count", "kpi"]] = {"instructions": "count"}
    repeatable = True

    def __init__(self, options: QemuOptions, context: AdapterContext) -> None:
        self._emulator = _Emulator(options, context)

    def requirements(self) -> Sequence[Requirement]:
        """List the emulator, the compiler of the plugin, nm and the sandbox."""
        return self._emulator.requirements()

    def outputs(self, image: Image, cases: Sequence[WorkCase]) -> OutputCheck:
        """Boot once for every CASES_PER_BOOT cases and collect the digests."""
        return checked_in_boots(cases, lambda part: self._emulator.check(image, part))

    def measure(self, image: Image, case: WorkCase) -> Reading:
        """Boot once and count the window; its first block, the begin marker itself, is in, the end marker is not."""
        symbols = self._emulator.symbols(image)
        with self._emulator.run_directory() as directory:
            totals, log = self._emulator.count(image, case, symbols, directory, blocks=False)
        checks = {} if log.guest_ns is None else {"guest_ns": float(log.guest_ns)}
        return Reading(values={"instructions": float(totals.instructions)}, cross_checks=checks)


class QemuProfiler:
    """ProfilerAdapter: exact executions of every block and source line of the window; no call stacks."""

    Options: ClassVar[type[AdapterOptions]] = QemuOptions

    def __init__(self, options: QemuOptions, context: AdapterContext) -> None:
        self._emulator = _Emulator(options, context)

    def requirements(self) -> Sequence[Requirement]:
        """List what QemuWorkload needs, and the readers of line tables."""
        lost = "counts cannot be attributed to source lines"
        readers = (required(program, lost=lost, package="binutils") for program in ("addr2line", "readelf"))
        return [*self._emulator.requirements(), *readers]

    def profile(self, built: BuildResult, case: WorkCase, *, into: Path) -> ProfileResult:
        """Boot once and leave `self-counts` (by source line) and `blocks` (raw) in `into`."""
        if built.image is None:
            raise MeasurementError("this build made no image to profile", next_step=f"read {built.log}")
        symbols = self._emulator.symbols(built.image)
        into.mkdir(parents=True, exist_ok=True)
        with self._emulator.run_directory() as directory:
            totals, _ = self._emulator.count(built.image, case, symbols, directory, blocks=True)
            blocks = parse_blocks((directory / "blocks").read_text(), (directory / "addresses").read_text(), totals)
            shutil.copyfile(directory / "blocks", into / "blocks.txt")
        rows = self._lines(built, with_idle(executions_by_address(blocks), symbols), symbols)
        (into / "self-counts.txt").write_text(self_counts_text(rows))
        return ProfileResult(
            captures=(Captured("self-counts", into / "self-counts.txt"), Captured("blocks", into / "blocks.txt")),
            notes=profile_notes(totals, rows),
        )

    def _lines(self, built: BuildResult, executions: Mapping[int, int], symbols: SymbolTable) -> list[LineCount]:
        assert built.image is not None
        file = symbols_file(built.image)
        addresses = "".join(f"{address:#x}\n" for address in sorted(executions)).encode()
        places = self._emulator.binutils("addr2line", ["-a", "-e"], file, stdin=addresses)
        dwarf = self._emulator.binutils("readelf", ["--debug-dump=info", "--dwarf-depth=1"], file)
        paths = SourcePaths(
            built.tree.root, built.tree.output, parse_compilation_directories(dwarf.decode(errors="replace"))
        )
        return count_lines(executions, symbols, parse_addr2line(places.decode(errors="replace")), paths)


def profile_notes(totals: WindowTotals, rows: Sequence[LineCount]) -> tuple[str, ...]:
    """Say what the reader of the counts must know, and what could not be attributed."""
    notes = [f"QEMU TCG, exact counts of {totals.instructions} instructions in the window; flat: no call stacks"]
    excess = (totals.block_instructions or 0) - totals.instructions
    if excess:
        notes.append(f"blocks left early by faults: {excess} instructions counted that were not executed")
    for what, lost in (
        ("no known symbol", sum(row.instructions for row in rows if row.symbol == UNKNOWN)),
        (
            "no source line (assembler, or built without debug information)",
            sum(row.instructions for row in rows if not row.line),
        ),
    ):
        if lost:
            notes.append(f"{lost} instructions have {what}")
    return tuple(notes)


def symbols_file(image: Image) -> Path:
    """Return the file that holds the image's symbols, or raise MeasurementError."""
    if image.symbols is None or not image.symbols.is_file():
        raise MeasurementError(
            f"the image {image.path.name} has no file of symbols: the marked window cannot be found",
            next_step="use a build adapter that keeps the unstripped vmlinux",
        )
    return image.symbols
