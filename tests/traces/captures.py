# SPDX-License-Identifier: Apache-2.0
"""Where recorded captures lie that are not part of the project."""

from __future__ import annotations

from pathlib import Path

import pytest

CAPTURES = Path(__file__).parents[3] / "shared" / "data" / "captures"


def captured(name: str) -> Path:
    """Return a recorded capture; skip the test when it is absent."""
    path = CAPTURES / name
    if not path.is_file():
        pytest.skip(f"the recorded capture {name} is not at {CAPTURES}")
    return path
