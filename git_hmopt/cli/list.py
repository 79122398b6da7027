# SPDX-License-Identifier: Apache-2.0
"""List the runs of this repository, newest first; filters combine.

`git hmopt list v6.1..v6.2 --verdict improved --since '2 weeks ago'` shows the runs whose base commit is in the range,
with a candidate that was found improved, that were begun in the last two weeks.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path

from git_hmopt.cli.number import positive
from git_hmopt.errors import ExitCode
from git_hmopt.loop.lock import INTERRUPTED, interrupted
from git_hmopt.records.words import RunStatus, Verdict
from git_hmopt.store.cache import Cache
from git_hmopt.store.history import commits_of, time_of
from git_hmopt.store.queries import RunRow, list_runs, skipped_in_all
from git_hmopt.store.repository import Repository

# A shell takes the parentheses of `improved(count only)` for its own.
VERDICTS = {"improved-count" if word is Verdict.IMPROVED_COUNT else str(word): str(word) for word in Verdict}
STATUSES = (*map(str, RunStatus), INTERRUPTED)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("range", nargs="?", metavar="A..B", help="only runs whose base commit B reaches and A does not")
    parser.add_argument("--workload", help="only runs of this workload")
    parser.add_argument(
        "--verdict", type=_verdict, help="only runs that gave this verdict to a candidate, and did not retract it"
    )
    parser.add_argument("--status", type=_status, help="only runs that stand so")
    parser.add_argument("--since", metavar="DATE", help="only runs begun since then, in git's words for dates")
    parser.add_argument("-n", type=positive, metavar="N", help="only the newest N")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def _verdict(text: str) -> str:
    return text if text in VERDICTS.values() else VERDICTS[_known(text, VERDICTS, "verdict")]


def _status(text: str) -> str:
    return _known(text, STATUSES, "status")


def _known(text: str, words: Iterable[str], what: str) -> str:
    if text in words:
        return text
    from git_hmopt.config.explain import unknown

    raise argparse.ArgumentTypeError(unknown(text, words, what=what))


def run(options: argparse.Namespace) -> ExitCode:
    """Print one line a run."""
    repository = Repository.open(Path())
    bases = commits_of(repository, options.range) if options.range is not None else None
    since = time_of(repository, options.since) if options.since is not None else None
    with Cache(repository).reading() as database:
        recorded = list_runs(
            database,
            workload=options.workload,
            verdict=options.verdict,
            since=since,
            bases=bases,
            # Whether a run is interrupted stands in no record, so that runs are counted below.
            limit=options.n if options.status is None else None,
        )
        skipped = skipped_in_all(database)
    gone = interrupted(repository, {row.name: row.status for row in recorded})
    rows = [replace(row, status=INTERRUPTED) if row.name in gone else row for row in recorded]
    rows = [row for row in rows if options.status in (None, row.status)][: options.n]
    if options.json:
        print(json.dumps({"v": 1, "runs": [asdict(row) for row in rows], "skipped": skipped}))
        return ExitCode.OK
    print("\n".join(map(_line, rows)) or _nothing(options))
    if skipped:
        listed = ", ".join(f"{count} x {reason}" for reason, count in skipped.items())
        print(f"git hmopt: note: records that this version cannot read are left out: {listed}", file=sys.stderr)
    return ExitCode.OK


def _nothing(options: argparse.Namespace) -> str:
    if any(one is not None for one in (options.range, options.verdict, options.status, options.since)):
        return "no run is all that; see them all: git hmopt list"
    what = "no runs yet" if options.workload is None else f"no runs of workload '{options.workload}'"
    return f"{what}; start one: git hmopt optimize --workload {options.workload or 'NAME'}"


def _line(row: RunRow) -> str:
    accepted = f"{row.accepted} of {row.iterations} accepted" if row.iterations else "no candidate"
    step = f"  (go on with: git hmopt resume {row.name})" if row.status == INTERRUPTED else ""
    without = f"  without {', '.join(row.without)}" if row.without else ""
    return f"{row.name}  {row.status:<9}  {row.base_commit[:12]}  {accepted}{without}{step}"
