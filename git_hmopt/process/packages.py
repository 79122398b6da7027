# SPDX-License-Identifier: Apache-2.0
"""Which of the Python packages that this distribution needs are installed, in which versions."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, requires, version

from packaging.requirements import InvalidRequirement, Requirement

from git_hmopt.process.host import Finding, State

DISTRIBUTION = "git-hmopt"


def packages(wanted: Sequence[str] | None = None) -> list[Finding]:
    """Return one finding a package; `wanted` are requirements as packaging writes them, default: our own.

    Packages of extras are left out: who wants one installs it by its name, `git-hmopt[llm]`.
    """
    python = Finding("python", "python", State.FOUND, sys.version.split(" ")[0])
    try:
        texts = requires(DISTRIBUTION) or [] if wanted is None else wanted
    except PackageNotFoundError:
        lost = "which packages it needs is not known"
        return [python, Finding("python", DISTRIBUTION, State.MISSING, "not installed", lost, "pip install .", True)]
    found = [one for one in map(_requirement, texts) if one is not None]
    needed = [one for one in found if one.marker is None or one.marker.evaluate({"extra": ""})]
    return [python, *(_package(one) for one in sorted(needed, key=lambda one: one.name))]


def _requirement(text: str) -> Requirement | None:
    try:
        return Requirement(text)
    except InvalidRequirement:
        return None


def _package(wanted: Requirement) -> Finding:
    install = f"{sys.executable} -m pip install '{wanted.name}{wanted.specifier}'"
    lost = "git hmopt does not work"
    try:
        here = version(wanted.name)
    except PackageNotFoundError:
        return Finding("python", wanted.name, State.MISSING, "not installed", lost, install, True)
    if not wanted.specifier.contains(here, prereleases=True):
        detail = f"{here}, needed is {wanted.specifier}"
        return Finding("python", wanted.name, State.MISSING, detail, lost, install, True)
    return Finding("python", wanted.name, State.FOUND, here, fatal=True)
