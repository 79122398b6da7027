# SPDX-License-Identifier: Apache-2.0
"""Shipped adapters for builds, tests, workloads and profilers, the kernel overlays they need, and the profiles.

May import `git_hmopt.adapters`, `records`, `process`, `errors` and `config`. Source trees and images come in,
typed results go out.
"""

from __future__ import annotations

from pathlib import Path


def overlay_root() -> Path:
    """Return the directory that holds the shipped overlays, one folder each."""
    return Path(__file__).parent / "overlays"


def profile_root() -> Path:
    """Return the directory that holds the shipped `.hmopt.yaml` profiles."""
    return Path(__file__).parent / "profiles"
