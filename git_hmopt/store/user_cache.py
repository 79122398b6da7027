# SPDX-License-Identifier: Apache-2.0
"""Where a user's files are kept that can be made again (XDG Base Directory Specification)."""

from __future__ import annotations

import os
from pathlib import Path


def user_cache() -> Path:
    """Return the folder; nobody made it yet, perhaps."""
    cache = os.environ.get("XDG_CACHE_HOME") or ""
    base = Path(cache) if cache.startswith("/") else Path.home() / ".cache"
    return base / "git-hmopt"
