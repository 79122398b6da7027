# SPDX-License-Identifier: Apache-2.0
"""Tests of installing: they download packages, and some install Debian's. `tests/run` asks for them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ASKED = "HMOPT_TEST_INSTALL"
HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave the machine alone unless somebody asked."""
    if not os.environ.get(ASKED):
        for item in items:
            if item.path.is_relative_to(HERE):
                item.add_marker(pytest.mark.skip(reason=f"downloads and installs packages: {ASKED}=1 asks for it"))
