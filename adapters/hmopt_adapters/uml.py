# SPDX-License-Identifier: Apache-2.0
"""Run a workload on a User Mode Linux kernel and time its window by the host's clock.

UML runs kernel code natively in one host process, so a CPU-bound window is real time on the host's CPU
(KERNELS.md, "UML"). The guest's own clock is a cross-check only.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar, Literal

from pydantic import Field

from git_hmopt.adapters import AdapterContext, AdapterOptions, Image, OutputCheck, Reading, Requirement, WorkCase
from git_hmopt.errors import MeasurementError, ProgramError
from git_hmopt.process.runner import Finished, Limits, LineSink, run
from hmopt_adapters.guest import (
    CONSOLE_LIMIT_BYTES,
    GuestListener,
    checked_in_boots,
    collect_outputs,
    command_line,
    command_line_checks,
    require_window,
)
from hmopt_adapters.needs import required

# UML keeps its management console's socket and pid file below HOME, or /tmp without one.
UML_ENVIRONMENT: Mapping[str, str] = MappingProxyType({"HOME": "/tmp", "TMPDIR": "/dev/shm"})


class UmlOptions(AdapterOptions):
    """How a UML kernel is booted."""

    suite: str
    """The KUnit suite of the workload's overlay."""
    memory_mb: int = Field(default=256, ge=32)
    """Megabytes of the guest's memory."""
    timeout_s: float = Field(default=60, gt=0)
    """Seconds after which a boot is killed."""
    # Calibrating the delay loop is two thirds of a boot, and no measured window may use delays.
    append: tuple[str, ...] = ("lpj=40000000",)
    """More kernel arguments."""


def uml_command(image: Path, memory_mb: int, arguments: Sequence[str]) -> list[str]:
    """Return the command that boots a UML kernel, without address randomisation where setarch is there."""
    boot = [str(image), f"mem={memory_mb}M", "console=tty", "kunit_shutdown=halt", *arguments]
    return ["setarch", "-R", *boot] if shutil.which("setarch") else boot


def boot_uml(
    context: AdapterContext,
    image: Path,
    memory_mb: int,
    arguments: Sequence[str],
    *,
    timeout_s: float,
    on_line: LineSink | None = None,
    log: Path | None = None,
) -> Finished:
    """Boot once to the halt after KUnit; raises TimeLimitError when it hangs, ProgramError when it prints on and on."""
    return run(
        uml_command(image, memory_mb, arguments),
        cwd=image.parent,
        environment=UML_ENVIRONMENT,
        limits=Limits(wall_s=timeout_s, output_bytes=CONSOLE_LIMIT_BYTES),
        sandbox=context.sandbox(),
        cpus=context.cpus,
        on_line=on_line,
        log=log,
    )


class UmlWorkload:
    """WorkloadAdapter: `time` is the window in ns by the host's monotonic clock."""

    Options: ClassVar[type[AdapterOptions]] = UmlOptions
    metrics: Mapping[str, Literal["time", "count", "kpi"]] = {"time": "time"}
    repeatable = False

    def __init__(self, options: UmlOptions, context: AdapterContext) -> None:
        self._options = options
        self._context = context

    def requirements(self) -> Sequence[Requirement]:
        """UML needs nothing but the image; setarch removes one source of noise."""
        lost = "address randomisation stays on: more noise between boots"
        return [required("setarch", lost=lost, package="util-linux", fatal=False)]

    def outputs(self, image: Image, cases: Sequence[WorkCase]) -> OutputCheck:
        """Boot once for every CASES_PER_BOOT cases and collect the digests."""
        return checked_in_boots(cases, lambda part: self._check(image, part))

    def _check(self, image: Image, cases: Sequence[WorkCase]) -> OutputCheck:
        listener = GuestListener(self._options.suite)
        try:
            console = self._boot(image, command_line_checks(self._options.suite, cases), listener).output
        except ProgramError as error:
            return collect_outputs(listener.log, cases, error.tail, endless=str(error))
        return collect_outputs(listener.log, cases, console)

    def measure(self, image: Image, case: WorkCase) -> Reading:
        """Boot once and return the window's length."""
        listener = GuestListener(self._options.suite)
        try:
            finished = self._boot(image, command_line(self._options.suite, case), listener)
        except ProgramError as error:
            raise MeasurementError(str(error)) from error
        require_window(listener.log, self._options.suite, finished.output)
        log = listener.log
        assert log.begun_ns is not None and log.ended_ns is not None
        length_ns = log.ended_ns - log.begun_ns
        if length_ns <= 0:
            raise MeasurementError(
                f"suite {self._options.suite}: both ends of its window arrived at once, it is too short to be timed",
                next_step="raise the workload's 'repetitions'",
            )
        checks = {} if log.guest_ns is None else {"guest_ns": float(log.guest_ns)}
        return Reading(values={"time": float(length_ns)}, cross_checks=checks)

    def _boot(self, image: Image, arguments: Sequence[str], listener: GuestListener) -> Finished:
        return boot_uml(
            self._context,
            image.path,
            self._options.memory_mb,
            [*arguments, *self._options.append],
            timeout_s=self._options.timeout_s,
            on_line=listener,
        )
