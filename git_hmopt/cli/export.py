# SPDX-License-Identifier: Apache-2.0
"""Export runs as data: one JSON line for every candidate that was judged.

A line holds the evidence the candidate was proposed from, its diff, what it changed (every metric with its interval),
the verdict and its reason. What can no longer be had is null, and `missing` says why.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from git_hmopt.cli.story import named_run
from git_hmopt.dataset.export import VERSION, export_lines
from git_hmopt.errors import ExitCode, UsageError
from git_hmopt.loop.standing import told
from git_hmopt.records.words import RunId
from git_hmopt.store.artifacts import ArtifactStore
from git_hmopt.store.cache import Cache
from git_hmopt.store.queries import list_runs
from git_hmopt.store.repository import Repository


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument(
        "runs", nargs="*", metavar="RUN", help="runs, or parts of their names or UUIDs (default: the latest)"
    )
    parser.add_argument("--all", action="store_true", help="every run of this repository, oldest first")
    parser.add_argument("--workload", help="with --all: only runs of this workload")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="write to FILE instead of standard output")
    parser.add_argument("--json", action="store_true", help="one JSON object with all examples instead of lines")


def run(options: argparse.Namespace) -> ExitCode:
    """Write the lines."""
    repository = Repository.open(Path())
    lines = _lines(repository, _chosen(repository, options))
    if options.json:
        examples = [json.loads(line) for line in lines]
        lines = iter([json.dumps({"v": VERSION, "examples": examples}, ensure_ascii=False) + "\n"])
    if options.output is None:
        for line in lines:
            print(line, end="")
        return ExitCode.OK
    try:
        with options.output.open("w", encoding="utf-8") as stream:
            stream.writelines(lines)
    except OSError as error:
        raise UsageError(f"cannot write '{options.output}': {error.strerror}") from error
    return ExitCode.OK


def _chosen(repository: Repository, options: argparse.Namespace) -> Sequence[RunId]:
    if options.all and options.runs:
        raise UsageError("export: --all and a RUN exclude each other", next_step="give one of them")
    if options.workload and not options.all:
        raise UsageError("export: --workload is only for --all", next_step="see: git hmopt export -h")
    if not options.all:
        return [named_run(repository, text) for text in options.runs or [None]]
    with Cache(repository).reading() as database:
        rows = list_runs(database, workload=options.workload)
        known = sorted({row.workload for row in (rows or list_runs(database))})
    if options.workload and not rows:
        from git_hmopt.config.explain import unknown

        raise UsageError(f"export: {unknown(options.workload, known, what='workload')}")
    return [row.name for row in reversed(rows)]


def _lines(repository: Repository, runs: Sequence[RunId]) -> Iterator[str]:
    read = ArtifactStore.of(repository).read
    for name in runs:
        yield from export_lines(told(repository, name), read)
