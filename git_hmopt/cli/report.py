# SPDX-License-Identifier: Apache-2.0
"""Print a run's report, or write it to a file: markdown, or one HTML page that needs nothing else.

The page has charts, flame graphs, diffs and the points behind every claim; it opens from disk, loads nothing, and can
be printed. What it is made of stands in the clone where the run was made: elsewhere it says what is missing.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from git_hmopt.cli.story import named_run, shown
from git_hmopt.errors import ExitCode, UsageError
from git_hmopt.loop.standing import told
from git_hmopt.records.words import RunId
from git_hmopt.report.markdown import run_report
from git_hmopt.report.story import RunStory
from git_hmopt.store.repository import Repository


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("run", nargs="?", metavar="RUN", help="a run, or a part of its name (default: the latest)")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="write to FILE instead of standard output")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--html", action="store_true", help="one HTML page instead of markdown")
    form.add_argument("--json", action="store_true", help="one JSON object instead of markdown")


def run(options: argparse.Namespace) -> ExitCode:
    """Write the report."""
    repository = Repository.open(Path())
    name = named_run(repository, options.run)
    text = _text(repository, name, told(repository, name), options)
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


def _text(repository: Repository, name: RunId, story: RunStory, options: argparse.Namespace) -> str:
    if options.json:
        return shown(story, as_json=True) + "\n"
    from git_hmopt.store.artifacts import ArtifactStore

    read = ArtifactStore.of(repository).read
    if not options.html:
        return run_report(story, read)
    # Charts, templates and captures are slow to load, and only the page needs them.
    from git_hmopt.loop.captures import stacks_of_run
    from git_hmopt.report.html import html_report

    return html_report(story, read, stacks_of_run(repository, name))
