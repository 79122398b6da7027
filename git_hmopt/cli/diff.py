# SPDX-License-Identifier: Apache-2.0
"""Hold two runs against each other: what each tried, the verdicts, the numbers, and whether they can be compared.

Without an argument it is the latest run against the one before it; with one, that run against the latest. Runs can be
compared when workload, base, configuration and host are the same; what is not is said.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from git_hmopt.cli.story import named_run
from git_hmopt.errors import ExitCode, UsageError
from git_hmopt.loop.standing import told
from git_hmopt.records.words import RunId
from git_hmopt.report.two_runs import compare_runs, two_runs_screen
from git_hmopt.store.cache import Cache
from git_hmopt.store.queries import list_runs
from git_hmopt.store.repository import Repository


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("runs", nargs="*", metavar="RUN", help="up to two runs, or parts of their names or UUIDs")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(options: argparse.Namespace) -> ExitCode:
    """Print the comparison."""
    repository = Repository.open(Path())
    one, two = _pair(repository, options.runs)
    found = compare_runs(told(repository, one), told(repository, two))
    print(json.dumps({"v": 1, "diff": asdict(found)}) if options.json else two_runs_screen(found).rstrip("\n"))
    return ExitCode.OK


def _pair(repository: Repository, texts: list[str]) -> tuple[RunId, RunId]:
    if len(texts) > 2:
        raise UsageError(f"diff: {len(texts)} runs were named", next_step="name at most two")
    if len(texts) == 2:
        return named_run(repository, texts[0]), named_run(repository, texts[1])
    with Cache(repository).reading() as database:
        latest = [row.name for row in list_runs(database, limit=2)]
    if texts:
        return named_run(repository, texts[0]), named_run(repository, None)
    if len(latest) < 2:
        raise UsageError(
            f"there {'is one run' if latest else 'is no run'} here, and it takes two",
            next_step="start one: git hmopt optimize --workload NAME",
        )
    return latest[1], latest[0]
