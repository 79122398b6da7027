# SPDX-License-Identifier: Apache-2.0
"""The strategies the playbook has, and which bottleneck classes they serve."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from git_hmopt.agents.playbook.branch_hints import BranchHints
from git_hmopt.agents.playbook.crc_slicing import CrcSlicing
from git_hmopt.agents.playbook.force_inline import ForceInline
from git_hmopt.agents.playbook.strategy import Strategy
from git_hmopt.agents.playbook.word_at_a_time import WordAtATime

STRATEGIES: tuple[Strategy[Any], ...] = (CrcSlicing(), WordAtATime(), ForceInline(), BranchHints())


def by_class() -> Mapping[str, tuple[str, ...]]:
    """Return the names of the strategies that serve each bottleneck class, for the evidence pack."""
    classes = sorted({name for strategy in STRATEGIES for name in strategy.classes})
    return {name: tuple(strategy.name for strategy in STRATEGIES if name in strategy.classes) for name in classes}
