# SPDX-License-Identifier: Apache-2.0
"""Go on with a run that was killed, from its last checkpoint.

A run that was made in another clone, and fetched, goes on as a run of your own on its best so far: it tries what was
not tried, with what is left of the budget.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from git_hmopt.cli.progress import Progress
from git_hmopt.cli.settings import gathered
from git_hmopt.cli.story import finished, named_run
from git_hmopt.errors import ExitCode
from git_hmopt.loop import drive
from git_hmopt.loop.proposers import Asking
from git_hmopt.store.repository import Repository


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("run", nargs="?", metavar="RUN", help="a run, or a part of its name (default: the latest)")
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object")


def run(options: argparse.Namespace) -> ExitCode:
    """Resume one run."""
    repository = Repository.open(Path())
    name = named_run(repository, options.run)
    worktree = repository.require_worktree()
    settings = gathered(worktree, None)
    models = Asking(settings.gateway, settings.host.tokenizer)
    with Progress(color=settings.host.color) as progress:
        story = drive.resume(repository, name, local_root=worktree, listener=progress, asking=models)
    return finished(story, as_json=options.json)
