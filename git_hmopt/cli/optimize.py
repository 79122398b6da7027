# SPDX-License-Identifier: Apache-2.0
"""Look for changes that make a workload faster; build, test and measure each, and keep what is better.

Nothing in your working tree or index is touched. Accepted patches are commits on the branch hmopt/<run>/best.
Exit code 0: something was accepted; 1: nothing was.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from git_hmopt.cli.number import count, positive
from git_hmopt.cli.progress import Progress
from git_hmopt.cli.story import finished
from git_hmopt.errors import ExitCode
from git_hmopt.loop.configuration import ready
from git_hmopt.loop.drive import Request, start
from git_hmopt.store.repository import Repository


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("--workload", required=True, metavar="NAME", help="a workload of .hmopt.yaml")
    parser.add_argument("--base", default="HEAD", metavar="COMMIT", help="the commit to start from (default: HEAD)")
    parser.add_argument(
        "--proposer",
        default="playbook",
        metavar="WHO",
        help="who proposes: playbook (default), or patches:<directory, mbox, branch or range>",
    )
    parser.add_argument(
        "--iterations", type=count, metavar="N", help="at most so many candidates (default: budget.iterations)"
    )
    parser.add_argument(
        "--time", type=positive, metavar="SECONDS", help="at most so many seconds (default: budget.wall_s)"
    )
    parser.add_argument(
        "--seed", type=count, metavar="N", help="seed of layouts and data (default: random, and recorded)"
    )
    parser.add_argument("--no-sandbox", action="store_true", help="run builds and workloads unconfined")
    parser.add_argument("--allow-dirty", action="store_true", help="start although tracked files have changes")
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object")


def run(options: argparse.Namespace) -> ExitCode:
    """Drive one run."""
    repository = Repository.open(Path())
    prepared = ready(repository, base=options.base, allow_dirty=options.allow_dirty)
    request = Request(
        workload=options.workload,
        base=options.base,
        proposer=options.proposer,
        seed=options.seed,
        iterations=options.iterations,
        wall_s=options.time,
        sandboxed=not options.no_sandbox,
    )
    with Progress() as progress:
        story = start(
            repository, prepared.loaded, prepared.raw, request, local_root=prepared.local_root, listener=progress
        )
    return finished(story, as_json=options.json)
