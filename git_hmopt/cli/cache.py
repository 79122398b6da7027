# SPDX-License-Identifier: Apache-2.0
"""The derived SQL database: everything in it can be made again from git."""

from __future__ import annotations

import argparse
from pathlib import Path

from git_hmopt.errors import ExitCode
from git_hmopt.store.cache import Cache
from git_hmopt.store.repository import Repository


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("action", choices=("rebuild", "path"), help="rebuild it from git, or print where it is")


def run(options: argparse.Namespace) -> ExitCode:
    """Rebuild or locate the cache."""
    cache = Cache(Repository.open(Path()))
    if options.action == "rebuild":
        cache.rebuild()
    print(cache.path)
    return ExitCode.OK
