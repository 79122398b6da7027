# SPDX-License-Identifier: Apache-2.0
"""List the runs of this repository, newest first."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from git_hmopt.errors import ExitCode
from git_hmopt.store.cache import Cache
from git_hmopt.store.queries import RunRow, list_runs
from git_hmopt.store.repository import Repository


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("--workload", help="only runs of this workload")
    parser.add_argument("-n", type=int, metavar="N", help="only the newest N")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(options: argparse.Namespace) -> ExitCode:
    """Print one line a run."""
    with Cache(Repository.open(Path())).reading() as database:
        rows = list_runs(database, workload=options.workload, limit=options.n)
    if options.json:
        print(json.dumps({"v": 1, "runs": [asdict(row) for row in rows]}, default=str))
        return ExitCode.OK
    for row in rows:
        print(_line(row))
    if not rows:
        print("no runs yet; start one: git hmopt optimize --workload NAME")
    return ExitCode.OK


def _line(row: RunRow) -> str:
    accepted = f"{row.accepted} of {row.iterations} accepted" if row.iterations else "no candidate"
    return f"{row.name}  {row.status:<9}  {row.base_commit[:12]}  {accepted}"
