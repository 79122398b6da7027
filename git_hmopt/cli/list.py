# SPDX-License-Identifier: Apache-2.0
"""List the runs of this repository, newest first."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict, replace
from pathlib import Path

from git_hmopt.cli.number import positive
from git_hmopt.errors import ExitCode
from git_hmopt.loop.lock import INTERRUPTED, interrupted
from git_hmopt.store.cache import Cache
from git_hmopt.store.queries import RunRow, list_runs, skipped_in_all
from git_hmopt.store.repository import Repository


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("--workload", help="only runs of this workload")
    parser.add_argument("-n", type=positive, metavar="N", help="only the newest N")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(options: argparse.Namespace) -> ExitCode:
    """Print one line a run."""
    repository = Repository.open(Path())
    with Cache(repository).reading() as database:
        recorded = list_runs(database, workload=options.workload, limit=options.n)
        skipped = skipped_in_all(database)
    gone = interrupted(repository, {row.name: row.status for row in recorded})
    rows = [replace(row, status=INTERRUPTED) if row.name in gone else row for row in recorded]
    if options.json:
        print(json.dumps({"v": 1, "runs": [asdict(row) for row in rows], "skipped": skipped}))
        return ExitCode.OK
    for row in rows:
        print(_line(row))
    if not rows:
        what = "no runs yet" if options.workload is None else f"no runs of workload '{options.workload}'"
        print(f"{what}; start one: git hmopt optimize --workload {options.workload or 'NAME'}")
    if skipped:
        listed = ", ".join(f"{count} x {reason}" for reason, count in skipped.items())
        print(f"git hmopt: note: records that this version cannot read are left out: {listed}", file=sys.stderr)
    return ExitCode.OK


def _line(row: RunRow) -> str:
    accepted = f"{row.accepted} of {row.iterations} accepted" if row.iterations else "no candidate"
    step = f"  (go on with: git hmopt resume {row.name})" if row.status == INTERRUPTED else ""
    return f"{row.name}  {row.status:<9}  {row.base_commit[:12]}  {accepted}{step}"
