# SPDX-License-Identifier: Apache-2.0
"""The forges' own descriptions of their APIs, and npm packages with their payloads and routes."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

CONTRACTS = Path(__file__).parents[4] / "shared" / "data" / "forges"
ASKED = "HMOPT_TEST_INSTALL"


def contract(name: str) -> Path:
    """Return a forge's description; the test is skipped where it is not."""
    found = CONTRACTS / name
    if not found.exists():
        pytest.skip(f"the forge's own description, {name}, is not beside this checkout")
    return found


def npm_package(name: str, version: str) -> Path:
    """Return an npm package, unpacked in the cache; the test is skipped where it is not and nobody asked for it."""
    root = (
        os.environ.get("HMOPT_CACHE") or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "git-hmopt"
    )
    place = Path(root) / "npm" / f"{name.replace('/', '-').lstrip('@')}-{version}"
    if not (place / "package").exists():
        if not os.environ.get(ASKED):
            pytest.skip(f"downloads an npm package: {ASKED}=1 asks for it")
        if not shutil.which("npm"):
            pytest.skip("npm is not installed")
        place.mkdir(parents=True, exist_ok=True)
        packed = subprocess.run(
            ["npm", "pack", "--silent", f"{name}@{version}"], cwd=place, capture_output=True, text=True, check=True
        )
        shutil.unpack_archive(place / packed.stdout.split()[-1], place, "gztar", filter="data")
    return place / "package"
