# SPDX-License-Identifier: Apache-2.0
"""Clean up while no run is at work, and keep runs out meanwhile: what a run is about to name must not go."""

from __future__ import annotations

from git_hmopt.loop.lock import alone, at_work
from git_hmopt.records.words import RunId
from git_hmopt.store.gc import Sweep, planned, swept
from git_hmopt.store.repository import Repository


def clean(repository: Repository, *, really: bool) -> Sweep:
    """Return what goes from a repository; with `really` it is gone."""
    busy = at_work(repository)
    if not really:
        return planned(repository, busy=busy)
    if busy:
        sweep = planned(repository, busy=busy)
        swept(repository, sweep)
        return sweep
    with alone(repository, RunId("gc")):
        sweep = planned(repository)
        swept(repository, sweep)
    return sweep
