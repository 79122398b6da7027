# SPDX-License-Identifier: Apache-2.0
"""Say which external things are there: programs by name, and the sandbox."""

from __future__ import annotations

import shutil

from git_hmopt.adapters import AdapterContext, Requirement
from git_hmopt.process.sandbox import sandbox_missing


def required(program: str, *, lost: str, package: str, fatal: bool = True) -> Requirement:
    """Return whether a program is in PATH, what is lost without it, and the Debian package that has it."""
    found = shutil.which(program) is not None
    return Requirement(program, found, lost=lost, install=f"apt-get install {package}", fatal=fatal)


def required_sandbox(context: AdapterContext) -> Requirement:
    """Return whether programs run confined; where the configuration does not ask for it, nothing is missing."""
    missing = sandbox_missing() if context.sandboxed else None
    lost = missing or "programs run unconfined"
    return Requirement("bwrap", missing is None, lost, "apt-get install bubblewrap", fatal=False)
