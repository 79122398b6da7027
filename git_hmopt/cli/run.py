# SPDX-License-Identifier: Apache-2.0
"""Create a run from a configuration file, wherever it lies, and drive it to its end.

FILE has the form of .hmopt.yaml and is used instead of it; its commands must be trusted first, as those of .hmopt.yaml
must be: git hmopt trust --config FILE. Its ./overlays are directories of this repository. Otherwise this is what
`git hmopt optimize` does. Exit code 0: something was accepted; 1: nothing was.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from git_hmopt.cli.models import as_replayed
from git_hmopt.cli.optimize import add_run_arguments, drive
from git_hmopt.errors import ExitCode
from git_hmopt.loop.configuration import ready
from git_hmopt.store.repository import Repository


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="the configuration of the run")
    parser.add_argument("--workload", help="a workload of FILE (default: hmopt.workload, or the only one)")
    add_run_arguments(parser)


def run(options: argparse.Namespace) -> ExitCode:
    """Drive one run."""
    repository = Repository.open(Path())
    as_replayed(repository, options)
    prepared = ready(repository, base=options.base or "HEAD", allow_dirty=options.allow_dirty, file=options.config)
    return drive(repository, prepared, options)
