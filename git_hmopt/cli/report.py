# SPDX-License-Identifier: Apache-2.0
"""Print a run's markdown report, or write it to a file."""

from __future__ import annotations

import argparse
from pathlib import Path

from git_hmopt.cli.story import named_run, shown, told
from git_hmopt.errors import ExitCode, UsageError
from git_hmopt.report.markdown import run_report
from git_hmopt.store.repository import Repository


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("run", nargs="?", metavar="RUN", help="a run, or a part of its name (default: the latest)")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="write to FILE instead of standard output")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of markdown")


def run(options: argparse.Namespace) -> ExitCode:
    """Write the report."""
    repository = Repository.open(Path())
    story = told(repository, named_run(repository, options.run))
    text = shown(story, as_json=True) + "\n" if options.json else run_report(story)
    if options.output is None:
        print(text.rstrip("\n"))
        return ExitCode.OK
    try:
        options.output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(
            f"cannot write '{options.output}': {error.strerror}",
            next_step="-o wants a file in a directory that is there",
        ) from error
    return ExitCode.OK
