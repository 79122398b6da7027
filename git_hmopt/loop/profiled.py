# SPDX-License-Identifier: Apache-2.0
"""What a workload's latest profile says is hot: that of the newest run's base, for whoever measures none of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from git_hmopt.loop.book import Book
from git_hmopt.records.words import RunId
from git_hmopt.store.cache import Cache
from git_hmopt.store.journal import Journal
from git_hmopt.store.queries import latest_profiled
from git_hmopt.store.repository import Repository


@dataclass(frozen=True)
class Profiled:
    """The hotspots of a run's base, and when they were found."""

    run: RunId
    at: str
    """A time as records write it."""
    hotspots: tuple[Mapping[str, Any], ...]
    """As `HotspotRecord` writes them, the dearest first."""


def latest_profile(repository: Repository, workload: str) -> Profiled | None:
    """Return what the newest run of a workload measured as hot in its base; None when none did.

    The first ranking of a run is its base's: a later one is of a candidate that became its best.
    """
    with Cache(repository).reading() as database:
        run = latest_profiled(database, workload)
    if run is None:
        return None
    for entry in Book(Journal(repository), run).entries:
        if entry.operation.op == "hotspots.ranked":
            return Profiled(run, entry.operation.at, tuple(entry.operation.data["hotspots"]))
    return None
