# SPDX-License-Identifier: Apache-2.0
"""Send runs to a remote repository: metrics, verdicts and evidence, unless something else is named.

What leaves is listed before it leaves. What others pushed meanwhile is taken in first; nothing is ever forced. Without
REMOTE: the remote of the current branch, `origin`, or the only one there is.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from git_hmopt.cli.number import count
from git_hmopt.cli.story import named_run
from git_hmopt.cli.travel import add_remote, finished, say, whats
from git_hmopt.errors import ExitCode
from git_hmopt.store.remote import Remote
from git_hmopt.store.repository import Repository
from git_hmopt.store.transport import DEFAULT, LARGEST_PUSH, MEANING, push


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    add_remote(parser)
    known = "; ".join(f"{what}: {meaning}" for what, meaning in MEANING.items())
    parser.add_argument(
        "--what", type=whats, default=DEFAULT, metavar="LIST",
        help=f"what to send, by commas, or all (default: {','.join(DEFAULT)}). {known}",
    )  # fmt: skip
    parser.add_argument("--run", action="append", metavar="RUN", help="only this run; can be given again")
    parser.add_argument("-n", "--dry-run", action="store_true", help="say what would leave, and send nothing")
    parser.add_argument(
        "--max-size", type=count, default=LARGEST_PUSH >> 20, metavar="MIB",
        help=f"refuse to send more than so many MiB (default: {LARGEST_PUSH >> 20})",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(options: argparse.Namespace) -> ExitCode:
    """Push, and say what went."""
    repository = Repository.open(Path())
    runs = [named_run(repository, text) for text in options.run or ()]
    remote = Remote.of(repository, options.remote, say=say)
    outcome = push(repository, remote, options.what, runs=runs, dry_run=options.dry_run, largest=options.max_size << 20)
    return finished(remote, outcome, dry_run=options.dry_run, as_json=options.json)
