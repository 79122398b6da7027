# SPDX-License-Identifier: Apache-2.0
"""Take in the runs that a remote repository has: journals, notes, branches, and artifacts that somebody pushed.

Nothing here is overwritten, and your own branches and `git fetch` are not touched. Without REMOTE: the remote of the
current branch, `origin`, or the only one there is.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from git_hmopt.cli.travel import add_remote, finished, say
from git_hmopt.errors import ExitCode
from git_hmopt.store.remote import Remote
from git_hmopt.store.repository import Repository
from git_hmopt.store.transport import fetch


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    add_remote(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(options: argparse.Namespace) -> ExitCode:
    """Fetch, and say what is new."""
    repository = Repository.open(Path())
    remote = Remote.of(repository, options.remote, say=say)
    return finished(remote, fetch(repository, remote), as_json=options.json)
