# SPDX-License-Identifier: Apache-2.0
"""Fetch, then push: afterwards this clone and the remote know the same runs."""

from __future__ import annotations

import argparse
from pathlib import Path

from git_hmopt.cli import push
from git_hmopt.cli.story import named_run
from git_hmopt.cli.travel import finished, say
from git_hmopt.errors import ExitCode
from git_hmopt.store import transport
from git_hmopt.store.remote import Remote
from git_hmopt.store.repository import Repository


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options: those of push."""
    push.add_arguments(parser)


def run(options: argparse.Namespace) -> ExitCode:
    """Fetch and push, and say what came and went."""
    repository = Repository.open(Path())
    remote = Remote.of(repository, options.remote, say=say)
    came = transport.fetch(repository, remote)
    # After the fetch, so that a run of somebody else's can be named.
    runs = [named_run(repository, text) for text in options.run or ()]
    went = transport.push(
        repository, remote, options.what, runs=runs, dry_run=options.dry_run, largest=options.max_size << 20
    )
    went.taken.new[:0], went.taken.grown[:0], went.artifacts = came.taken.new, came.taken.grown, came.artifacts
    return finished(remote, went, dry_run=options.dry_run, as_json=options.json)
