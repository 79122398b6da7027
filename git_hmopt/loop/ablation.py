# SPDX-License-Identifier: Apache-2.0
"""Runs that go without a part of their evidence, so that its worth can be measured: the same gate, other choices.

Without the profile (PRAGMA's comparison, arXiv 2511.06345) nothing is profiled, and what a proposer may choose from is
what the workload's harness reaches through the structure graph, nearest first. Verdicts and their numbers stay, as they
did there. Without the structure graph (POLO's, IJCAI-25 paper 814) functions are ranked by what they cost themselves,
and nothing is said of who calls whom, be it from source or from call stacks; single files are still parsed to be
rewritten. What a candidate must pass is the same either way: builds, tests, metrics, noise floor.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from git_hmopt.errors import ConfigError, UsageError
from git_hmopt.loop.bench import Bench
from git_hmopt.measure.policy import closed
from git_hmopt.psg.queries import Structure
from git_hmopt.psg.reach import Reached, reached
from git_hmopt.records.words import Without

_NOTES: Mapping[Without, str] = MappingProxyType(
    {
        "profile": "without profile: what the harness reaches is chosen from, nearest first; what it costs is unknown",
        "graph": "without structure graph: hotspots are ranked by self cost, and nobody is told who calls whom",
    }
)


def notes_on(without: Sequence[Without]) -> tuple[str, ...]:
    """Return what a reader of such a run must know, a line each."""
    return tuple(_NOTES[one] for one in without)


def refuse_unfounded(bench: Bench) -> None:
    """Raise where it is plain before anything is built that a run would have nothing to choose from.

    UsageError without both; ConfigError where no overlay of the workload brings code that its run begins in.
    """
    without = bench.plan.without
    if {"profile", "graph"} <= set(without):
        raise UsageError(
            "without profile and structure graph nothing says which functions to look at",
            next_step="leave out --no-profile or --no-graph",
        )
    if "profile" in without and not _entries(bench):
        raise ConfigError(
            f"{bench.loaded.origin}: workload '{bench.plan.workload}' has no overlay with a C file, and without a"
            " profile nothing else says where it enters the source",
            next_step="leave out --no-profile",
        )


def _entries(bench: Bench) -> list[str]:
    """Return the C files of the workload's own harness; a file that is only appended to is the tree's."""
    own = (overlay for overlay in bench.overlays if overlay.name in bench.workload.overlays)
    return sorted(path for overlay in own for path in overlay.files if path.endswith(".c"))


def reached_by_harness(bench: Bench, structure: Structure | None, limit: int) -> tuple[Reached, ...]:
    """Return the functions nearest to the workload's harness that a candidate may change.

    ConfigError where there is no graph, or none in it.
    """
    entries = _entries(bench)
    build = bench.meter(bench.plan.workload, bench.objective.metric).build
    if structure is None:
        raise ConfigError(
            f"build '{build}' gives no structure graph, and without a profile nothing else says what to look at",
            next_step="have it give a compile database, or leave out --no-profile",
        )
    policy, overlays = bench.config.policy, bench.harness_paths

    def usable(file: str) -> bool:
        return file not in bench.overlay_paths and closed(file, policy, overlays=overlays) is None

    found = reached(structure, entries, limit=limit, usable=usable)
    if not found:
        raise ConfigError(
            f"the structure graph of build '{build}' has no function that {', '.join(entries)} reaches and that a"
            " candidate may change",
            next_step="see that its compile database has the harness, or leave out --no-profile",
        )
    return found
