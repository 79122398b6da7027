# SPDX-License-Identifier: Apache-2.0
"""Allow the commands that .hmopt.yaml and its overlays name to run on this machine."""

from __future__ import annotations

import argparse
from pathlib import Path

from git_hmopt.cli.config import keep_schema
from git_hmopt.errors import ExitCode
from git_hmopt.loop.configuration import settle_trust
from git_hmopt.store.repository import Repository


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("--base", default="HEAD", help="the commit whose configuration is trusted (default: HEAD)")
    parser.add_argument("--config", type=Path, metavar="FILE", help="trust FILE instead, as `git hmopt run` takes it")


def run(options: argparse.Namespace) -> ExitCode:
    """Store the digest of what may run."""
    repository = Repository.open(Path())
    origin, key = settle_trust(repository, base=options.base, file=options.config)
    keep_schema(repository)
    shown = key if key == "hmopt.trust" else f"'{key}'"
    print(f"trusted the commands of {origin}; asked again when they change. Undo: git config --unset {shown}")
    return ExitCode.OK
