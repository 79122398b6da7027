# SPDX-License-Identifier: Apache-2.0
"""Look for changes that make a workload faster; build, test and measure each, and keep what is better.

Nothing in your working tree or index is touched. Accepted patches are commits on the branch hmopt/<run>/best.
Exit code 0: something was accepted; 1: nothing was.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import get_args

from git_hmopt.cli.models import add_model_arguments, as_replayed, asking
from git_hmopt.cli.number import count, positive
from git_hmopt.cli.progress import Progress
from git_hmopt.cli.settings import add_host_arguments, chosen_workload, gathered, warn
from git_hmopt.cli.story import finished, named_run
from git_hmopt.config.settings import with_settings
from git_hmopt.errors import ExitCode
from git_hmopt.loop.configuration import Configuration, ready
from git_hmopt.loop.drive import Request, start
from git_hmopt.records.words import RunId, Without, is_run_id
from git_hmopt.store.repository import Repository


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument(
        "--workload", metavar="NAME", help="a workload of .hmopt.yaml (default: hmopt.workload, or the only one)"
    )
    add_run_arguments(parser)


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what every command that starts a run takes."""
    parser.add_argument("--base", metavar="COMMIT", help="the commit to start from (default: HEAD)")
    parser.add_argument(
        "--proposer",
        metavar="WHO",
        help="who proposes: playbook (default), llm, or patches:<directory, mbox, branch or range>",
    )
    add_model_arguments(parser)
    parser.add_argument(
        "--baseline",
        metavar="RUN",
        help="take profile and noise floor from a run of the same base, configuration and host",
    )
    parser.add_argument(
        "--no-profile",
        action="store_true",
        help="choose without profiling, from what the workload's harness calls: shows what the profile is worth",
    )
    parser.add_argument(
        "--no-graph",
        action="store_true",
        help="rank by self cost and show nobody who calls whom: shows what the structure graph is worth",
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
    parser.add_argument(
        "--name", type=_run_name, metavar="NAME", help="how the run is called: <yyyymmdd>-<word>-<6 hex digits>"
    )
    add_host_arguments(parser)
    parser.add_argument("--allow-dirty", action="store_true", help="start although tracked files have changes")
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object")


def _run_name(text: str) -> RunId:
    if not is_run_id(text):
        raise argparse.ArgumentTypeError(f"'{text}' is no name of a run, such as 20260131-sort-0a1b2c")
    return RunId(text)


def run(options: argparse.Namespace) -> ExitCode:
    """Drive one run."""
    repository = Repository.open(Path())
    as_replayed(repository, options)
    prepared = ready(repository, base=options.base or "HEAD", allow_dirty=options.allow_dirty)
    return drive(repository, prepared, options)


def drive(repository: Repository, prepared: Configuration, options: argparse.Namespace) -> ExitCode:
    """Drive a run with `--workload` and the options of `add_run_arguments`, and print how it ended."""
    settings = gathered(repository.require_worktree(), prepared.loaded, options)
    warn(settings)
    host = settings.host
    request = Request(
        workload=chosen_workload(settings, prepared.loaded),
        base=options.base or "HEAD",
        proposer=host.proposer,
        seed=options.seed,
        sandboxed=host.sandbox,
        settings=settings.texts("budget", "measure", "jobs"),
        without=tuple(one for one in get_args(Without) if vars(options)[f"no_{one}"]),
        baseline=named_run(repository, options.baseline) if options.baseline else None,
        asking=asking(repository, settings, options),
        run=options.name,
    )
    budget = with_settings(prepared.loaded.config, request.settings).budget
    with Progress(color=host.color, iterations=budget.iterations, wall_s=budget.wall_s) as progress:
        story = start(
            repository, prepared.loaded, prepared.raw, request, local_root=prepared.local_root, listener=progress
        )
    return finished(story, as_json=options.json)
