# SPDX-License-Identifier: Apache-2.0
"""Tell a run's story on one screen."""

from __future__ import annotations

import argparse
from pathlib import Path

from git_hmopt.cli.story import named_run, shown
from git_hmopt.errors import ExitCode
from git_hmopt.loop.standing import told
from git_hmopt.store.repository import Repository


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("run", nargs="?", metavar="RUN", help="a run, or a part of its name (default: the latest)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(options: argparse.Namespace) -> ExitCode:
    """Print the story."""
    repository = Repository.open(Path())
    story = told(repository, named_run(repository, options.run))
    print(shown(story, as_json=options.json))
    return ExitCode.OK
