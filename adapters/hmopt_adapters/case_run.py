# SPDX-License-Identifier: Apache-2.0
"""Run the user's command on one input of a workload, as every adapter for programs runs it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from git_hmopt.adapters import AdapterContext, WorkCase
from git_hmopt.process.runner import Finished, Limits, run


def run_case(
    command: str,
    image: Path,
    case: WorkCase,
    context: AdapterContext,
    *,
    work: Path,
    beside: Path,
    environment: Mapping[str, str],
    timeout_s: float,
    writable: Path | None = None,
    readable: Path | None = None,
) -> Finished:
    """Run `command` in `beside` with HMOPT_IMAGE and the case's numbers; it may write in `writable`, default `work`.

    `readable` is what it must see beside its directory and its image, although it may lie below /tmp.
    Raises ProgramError when it fails, TimeLimitError when it runs past `timeout_s`.
    """
    variables = {
        "HMOPT_IMAGE": str(image),
        "HMOPT_WORK": str(work),
        "HMOPT_SEED": str(case.seed),
        "HMOPT_SIZE": str(case.size),
        "HMOPT_OFFSET": str(case.offset),
        "HMOPT_REPS": str(case.repetitions),
    }
    return run(
        ["bash", "-e", "-o", "pipefail", "-c", command],
        cwd=beside,
        environment={**environment, **variables},
        limits=Limits(wall_s=timeout_s),
        sandbox=context.sandbox(writable or work, readable=(beside, image.parent, *([readable] if readable else []))),
        cpus=context.cpus,
        check=True,
    )
