# SPDX-License-Identifier: Apache-2.0
"""One copy of the tree, built once with the default compiler, for tests that change nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.demo.trees import COMPILERS, built, copy_tree


@pytest.fixture(scope="session")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the output directory of a plain `make`."""
    if not COMPILERS:
        pytest.skip("needs gcc or clang")
    return built(copy_tree(tmp_path_factory.mktemp("plain") / "tree"))
