# SPDX-License-Identifier: Apache-2.0
"""Run a kernel's KUnit suites on its UML build and read the KTAP that comes out of the console."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from git_hmopt.adapters import AdapterContext, AdapterOptions, BuildResult, Requirement, TestResult
from git_hmopt.errors import ProgramError
from hmopt_adapters.ktap import parse_ktap
from hmopt_adapters.uml import boot_uml


class KunitOptions(AdapterOptions):
    """Which suites run."""

    filter: str = "*"
    """kunit.filter_glob."""
    memory_mb: int = Field(default=256, ge=32)
    """Megabytes of the guest's memory."""
    timeout_s: float = Field(default=300, gt=0)
    """Seconds after which a boot is killed."""
    append: tuple[str, ...] = ()
    """More kernel arguments."""


class KunitAdapter:
    """TestAdapter: one boot, all suites, halt."""

    Options: ClassVar[type[AdapterOptions]] = KunitOptions

    def __init__(self, options: KunitOptions, context: AdapterContext) -> None:
        self._options = options
        self._context = context

    def requirements(self) -> Sequence[Requirement]:
        """A UML image needs nothing installed."""
        return []

    def test(self, built: BuildResult, *, log: Path) -> TestResult:
        """Boot the image once; a hang is cut at the limit and told with the test that was running."""
        if built.image is None:
            return TestResult(False, (), log, failure="there is no image to test", complete=False)
        arguments = ["kunit.enable=1", f"kunit.filter_glob={self._options.filter}", *self._options.append]
        hung: str | None = None
        # A log is appended to, and what an earlier boot said is not this one's.
        start = log.stat().st_size if log.is_file() else 0
        try:
            boot_uml(
                self._context,
                built.image.path,
                self._options.memory_mb,
                arguments,
                timeout_s=self._options.timeout_s,
                log=log,
            )
        except ProgramError as error:
            hung = str(error)
        parsed = parse_ktap(_from(log, start))
        failure = "; ".join(said for said in (hung, parsed.failure) if said) or None
        bad = [case.name for case in parsed.cases if case.status in ("failed", "crashed")]
        if failure is None and bad:
            failure = f"{len(bad)} of {len(parsed.cases)} tests failed, first: {bad[0]}"
        return TestResult(
            success=failure is None and parsed.complete,
            cases=parsed.cases,
            log=log,
            failure=failure,
            complete=parsed.complete and hung is None,
        )


def _from(log: Path, start: int) -> bytes:
    if not log.is_file():
        return b""
    with log.open("rb") as stream:
        stream.seek(start)
        return stream.read()
