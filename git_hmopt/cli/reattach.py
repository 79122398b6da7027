# SPDX-License-Identifier: Apache-2.0
"""Find the evidence for commits that were rebased, cherry-picked, squashed or whose message was amended.

A number counts only for the tree it was measured on. For commits whose tree nobody measured this looks for the same
change (git-patch-id(1)) among what was measured, one patch or all of a run together, and shows it as what it is:
measured elsewhere. Nothing is recorded. It looks along the first parents of REV (default HEAD) as far back as the time
of the first number, or through all of the range A..B.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from git_hmopt.cli.noted import begun, found_elsewhere, noted_here, say_skipped
from git_hmopt.errors import ExitCode
from git_hmopt.report.elsewhere import elsewhere_lines
from git_hmopt.store.history import first_parent_line, range_of
from git_hmopt.store.repository import Repository


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument(
        "revisions", nargs="?", default="HEAD", metavar="REV|A..B", help="where to look (default: HEAD)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(options: argparse.Namespace) -> ExitCode:
    """Print what was found."""
    repository = Repository.open(Path())
    wanted = range_of(repository, options.revisions)
    known, _ = noted_here(repository)
    # Of a whole history only that is diffed which can be a copy; of a range, everything.
    line = first_parent_line(repository, wanted, since=begun(known) if wanted.start is None else None)
    found = found_elsewhere(repository, line, known)
    if options.json:
        print(json.dumps({"v": 1, "commits": [asdict(one) for one in found]}))
    else:
        nothing = f"no commit of {options.revisions} makes a change that was measured as another commit only"
        print("\n".join(elsewhere_lines(found) or [nothing]))
    say_skipped(known)
    return ExitCode.OK
