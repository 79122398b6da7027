# SPDX-License-Identifier: Apache-2.0
"""Say how the tool fares over this repository's runs: times, pass rates, verdicts, gains, false positives, endings.

What no record tells is unknown, and not 0. A time is that of a node of the loop from its start to its end, by the wall
clock and by the tool's own CPU; quantiles are by the nearest rank; shares have their score interval at a confidence of
0.95 (Wilson 1927). A false positive is an accepted candidate whose verdict, or whose whole run, was retracted later.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from git_hmopt.errors import ExitCode
from git_hmopt.loop.lock import INTERRUPTED, interrupted
from git_hmopt.report.health import health, health_lines
from git_hmopt.store.cache import Cache
from git_hmopt.store.health import recorded
from git_hmopt.store.history import time_of
from git_hmopt.store.repository import Repository


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("--workload", help="only runs of this workload")
    parser.add_argument("--since", metavar="DATE", help="only runs begun since then, in git's words for dates")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(options: argparse.Namespace) -> ExitCode:
    """Print the numbers."""
    repository = Repository.open(Path())
    since = time_of(repository, options.since) if options.since is not None else None
    with Cache(repository).reading() as database:
        known = recorded(database, workload=options.workload, since=since)
    gone = interrupted(repository, {one.name: one.status for one in known.runs})
    found = health(known, interrupted=gone, interrupted_word=INTERRUPTED)
    if options.json:
        print(json.dumps({"v": 1, **asdict(found)}))
    elif not known.runs and not known.newer:
        print(_nothing(options))
    else:
        print("\n".join(health_lines(found)))
    return ExitCode.OK


def _nothing(options: argparse.Namespace) -> str:
    what = "no runs yet" if options.workload is None else f"no runs of workload '{options.workload}'"
    if options.since is not None:
        return f"{what if options.workload else 'no runs'} since then; see them all: git hmopt list"
    return f"{what}; start one: git hmopt optimize --workload {options.workload or 'NAME'}"
