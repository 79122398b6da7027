# SPDX-License-Identifier: Apache-2.0
"""Take back a verdict, or all that a run claims, with a reason that everybody sees; nothing is edited or deleted.

For numbers that turned out to be wrong: an overheated machine, a workload that measured something else. The record goes
into this clone's own journal of the run, whoever made the run, and travels with `git hmopt push`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from git_hmopt.cli.number import count
from git_hmopt.cli.story import named_run
from git_hmopt.errors import ExitCode, UsageError
from git_hmopt.loop.standing import told
from git_hmopt.store.repository import Repository
from git_hmopt.store.review import retract


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("run", metavar="RUN", help="a run, or a part of its name")
    parser.add_argument("--iteration", type=count, metavar="N", help="only this verdict (default: the whole run)")
    parser.add_argument("--reason", required=True, metavar="TEXT", help="why, for those who will read it")


def run(options: argparse.Namespace) -> ExitCode:
    """Record the retraction."""
    repository = Repository.open(Path())
    name = named_run(repository, options.run)
    story = told(repository, name)
    judged = {one.number: one.evaluation for one in story.iterations if one.evaluation}
    if options.iteration is not None and options.iteration not in judged:
        known = ", ".join(map(str, judged)) or "none"
        raise UsageError(f"run {name} has no verdict {options.iteration}", next_step=f"it has: {known}")
    if not options.reason.strip():
        raise UsageError("--reason: it is empty", next_step="say why")
    chosen = judged[options.iteration] if options.iteration is not None else None
    commit = chosen.commit if chosen else story.best_commit
    retract(repository, name, options.iteration, options.reason.strip(), commit=commit)
    what = f"verdict {options.iteration} of run {name}" if chosen else f"run {name}"
    print(f"retracted {what}; others see it after: git hmopt push")
    return ExitCode.OK
