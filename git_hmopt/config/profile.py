# SPDX-License-Identifier: Apache-2.0
"""The shipped profiles: ready `.hmopt.yaml` files that `git hmopt init --profile NAME` writes."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path

from git_hmopt.config.explain import unknown
from git_hmopt.errors import ConfigError

GROUP = "git_hmopt.profiles"


def profile_names() -> list[str]:
    """Return the names of all installed profiles."""
    return sorted(_profiles())


def profile_bytes(name: str) -> bytes:
    """Return a profile's file; ConfigError names the nearest one when there is none called `name`."""
    found = _profiles()
    if name not in found:
        raise ConfigError(unknown(name, found, what="profile"))
    return found[name].read_bytes()


def _profiles() -> dict[str, Path]:
    found: dict[str, Path] = {}
    for entry in entry_points(group=GROUP):
        root: Callable[[], Path] = entry.load()
        for path in sorted(root().glob("*.yaml")):
            if path.stem in found:
                raise ConfigError(f"two installed packages ship a profile '{path.stem}': {found[path.stem]} and {path}")
            found[path.stem] = path
    return found
