# SPDX-License-Identifier: Apache-2.0
"""The graph of a test's own `tree`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from git_hmopt.psg.queries import Structure
from tests.psg.structure_tree import Tree


@pytest.fixture
def structure(tree: Tree) -> Iterator[Structure]:
    """Give the structure graph of `tree`, brought up to date."""
    with tree.graph.reading() as tables:
        assert tables is not None
        yield Structure(tables)
