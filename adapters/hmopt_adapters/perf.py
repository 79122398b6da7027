# SPDX-License-Identifier: Apache-2.0
"""Sample a UML kernel with perf: call stacks by frame pointer, no PMU and no privilege needed (KERNELS.md)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from git_hmopt.adapters import (
    AdapterContext,
    AdapterOptions,
    BuildResult,
    Captured,
    ProfileResult,
    Requirement,
    WorkCase,
)
from git_hmopt.errors import MeasurementError, ProgramError
from git_hmopt.process.runner import Limits, find_program, run
from git_hmopt.process.sandbox import Sandbox
from hmopt_adapters.guest import CONSOLE_LIMIT_BYTES, GuestListener, command_line, require_window
from hmopt_adapters.needs import required
from hmopt_adapters.uml import UML_ENVIRONMENT, uml_command

_PACKAGE = "linux-perf"
_LOST = "no call stacks: hotspots come from instruction counts alone"
# A frame of perf script: address, symbol with offset, (dso).
_FRAME = re.compile(rb"^\s+([0-9a-f]+) ([A-Za-z_.$][\w.$]*)\+0x([0-9a-f]+)")
# hmopt_core.c keeps a frame of this name around the measured work.
WINDOW = "hmopt_window"


class PerfOptions(AdapterOptions):
    """How the kernel is sampled."""

    suite: str
    """The KUnit suite of the workload's overlay."""
    frequency_hz: int = Field(default=4999, ge=10, le=20000)
    """Samples a second."""
    stretch: int = Field(default=10, ge=1)
    """The window is this many times longer than when measured, so that samples are many."""
    event: str = "cpu-clock:u"
    """What perf samples (`perf list`)."""
    memory_mb: int = Field(default=256, ge=32)
    """Megabytes of the guest's memory."""
    timeout_s: float = Field(default=120, gt=0)
    """Seconds after which a boot is killed."""
    append: tuple[str, ...] = ("lpj=40000000",)
    """More kernel arguments."""


class PerfProfiler:
    """ProfilerAdapter: `perf record` around one boot, `perf script` text and the symbols' source lines."""

    Options: ClassVar[type[AdapterOptions]] = PerfOptions

    def __init__(self, options: PerfOptions, context: AdapterContext) -> None:
        self._options = options
        self._context = context

    def requirements(self) -> Sequence[Requirement]:
        """List perf, and what turns addresses into source lines."""
        return [
            required("perf", lost=_LOST, package=_PACKAGE, fatal=False),
            required("addr2line", lost=_LOST, package="binutils"),
        ]

    def profile(self, built: BuildResult, case: WorkCase, *, into: Path) -> ProfileResult:
        """Record one stretched window; raises MissingProgramError without perf."""
        find_program("perf", lost=_LOST, install=f"apt-get install {_PACKAGE}")
        if built.image is None:
            raise MeasurementError("there is no image to profile")
        into.mkdir(parents=True, exist_ok=True)
        data, script, symbols = into / "perf.data", into / "perf.script", into / "symbols.tsv"
        self._record(built.image.path, case, data)
        self._script(data, script, built.image.path.parent)
        elf = built.image.symbols or built.image.path
        # What a candidate's build made is read in the sandbox.
        box = self._context.sandbox(readable=(elf.parent,))
        symbols.write_text(_symbol_lines(elf, built.tree.root, sampled_symbols(script), box))
        return ProfileResult(
            captures=(Captured("perf-script", script), Captured("symbols", symbols)),
            notes=(f"perf {self._options.event} at {self._options.frequency_hz} Hz, stacks by frame pointer",),
            root=WINDOW,
        )

    def _record(self, image: Path, case: WorkCase, data: Path) -> None:
        longer = WorkCase(case.seed, case.size, case.repetitions * self._options.stretch, case.offset)
        options = self._options
        listener = GuestListener(options.suite)
        arguments = [*command_line(options.suite, longer), *options.append]
        command = [
            "perf",
            "record",
            "-q",
            "--sample-cpu",
            "-F",
            str(options.frequency_hz),
            "-g",
            "-e",
            options.event,
            "-o",
            str(data),
        ]
        try:
            finished = run(
                [*command, "--", *uml_command(image, options.memory_mb, arguments)],
                cwd=image.parent,
                environment=UML_ENVIRONMENT,
                limits=Limits(wall_s=options.timeout_s, output_bytes=CONSOLE_LIMIT_BYTES),
                sandbox=self._context.sandbox(data.parent),
                cpus=self._context.cpus,
                on_line=listener,
            )
        except ProgramError as error:
            raise MeasurementError(f"perf record: {error}") from error
        require_window(listener.log, options.suite, finished.output)

    def _script(self, data: Path, script: Path, image_directory: Path) -> None:
        fields = "comm,pid,tid,cpu,time,period,event,ip,sym,symoff,dso"
        printed = run(
            ["perf", "script", "--ns", "--show-lost-events", "-i", str(data), "-F", fields],
            cwd=data.parent,
            limits=Limits(wall_s=300),
            split_errors=True,
            # perf reads the image again for its symbols.
            sandbox=self._context.sandbox(data.parent, readable=(image_directory,)),
            check=True,
        )
        script.write_bytes(printed.output)


def sampled_symbols(script: Path) -> dict[str, set[int]]:
    """Return every symbol that stands in a frame of perf script's text, with the addresses it began at."""
    found: dict[str, set[int]] = {}
    with script.open("rb") as lines:
        for line in lines:
            frame = _FRAME.match(line)
            if frame:
                found.setdefault(frame[2].decode(), set()).add(int(frame[1], 16) - int(frame[3], 16))
    return found


def _defined(nm_output: str, sampled: Mapping[str, Set[int]]) -> list[tuple[str, int]]:
    """Return (name, address) of the functions that were sampled: static ones share names, the address tells them.

    Where no address is one of the image's (it was loaded elsewhere), every function of the name is given.
    """
    functions: dict[str, set[int]] = {}
    for line in nm_output.splitlines():
        parts = line.split()
        if len(parts) == 3 and parts[1] in "tTwW" and parts[2] in sampled:
            functions.setdefault(parts[2], set()).add(int(parts[0], 16))
    return sorted((name, address) for name, known in functions.items() for address in (known & sampled[name] or known))


def _symbol_lines(elf: Path, root: Path, sampled: Mapping[str, Set[int]], sandbox: Sandbox | None) -> str:
    """Return the `hmopt-symbols 1` text: symbol, file relative to the tree, line of its first instruction."""
    listed = run(["nm", str(elf)], sandbox=sandbox, check=True).output.decode(errors="replace")
    defined = _defined(listed, sampled)
    rows = ["hmopt-symbols 1"]
    if defined:
        asked = "".join(f"{address:#x}\n" for _, address in defined)
        command = ["addr2line", "-e", str(elf)]
        said = run(command, cwd=elf.parent, stdin=asked.encode(), split_errors=True, sandbox=sandbox, check=True).output
        for (name, _), where in zip(defined, said.decode(errors="replace").splitlines(), strict=True):
            path, _, number = where.split(" ")[0].rpartition(":")
            rows.append(f"{name}\t{_relative(path, elf.parent, root)}\t{number if number.isdigit() else '?'}")
    return "\n".join(rows) + "\n"


def _relative(path: str, output: Path, root: Path) -> str:
    """Return a DWARF path relative to the source tree; `?` when it lies outside."""
    if path in ("", "??"):
        return "?"
    full = (output / path).resolve()
    if full.is_relative_to(root.resolve()):
        return str(full.relative_to(root.resolve()))
    # An object of a copied tree says where it was compiled: <that tree>/<output>/../<source>.
    _, mark, source = path.partition(f"/{output.name}/../")
    moved = (root / source).resolve()
    known = bool(mark) and moved.is_file() and moved.is_relative_to(root.resolve())
    return str(moved.relative_to(root.resolve())) if known else "?"
