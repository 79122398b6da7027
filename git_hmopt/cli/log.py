# SPDX-License-Identifier: Apache-2.0
"""Show a metric over a branch's history: the first parents of REV (default HEAD), or of the range A..B, oldest first.

A commit is shown with the latest number that was measured on its own tree, whoever measured it; the change is that
against the value above. Each workload, metric and host is a table of its own, since such values cannot be compared.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from git_hmopt.cli.noted import begun, found_elsewhere, noted_here, say_skipped
from git_hmopt.errors import ExitCode, UsageError
from git_hmopt.report.elsewhere import Found
from git_hmopt.report.history import Series, history, history_lines
from git_hmopt.store.history import first_parent_line, range_of
from git_hmopt.store.repository import Repository


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument(
        "revisions", nargs="?", default="HEAD", metavar="REV|A..B", help="whose history (default: HEAD)"
    )
    parser.add_argument("--metric", metavar="NAME", help="only this metric, such as time")
    parser.add_argument("--workload", help="only this workload")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(options: argparse.Namespace) -> ExitCode:
    """Print the series."""
    repository = Repository.open(Path())
    wanted = range_of(repository, options.revisions)
    known, hosts = noted_here(repository)
    _check("workload", options.workload, (one.metric.workload for one in known.numbers))
    _check("metric", options.metric, (one.metric.name for one in known.numbers))
    numbers = [
        one
        for one in known.numbers
        if options.workload in (None, one.metric.workload) and options.metric in (None, one.metric.name)
    ]
    series = history(first_parent_line(repository, wanted), numbers, hosts)
    # Patch ids cost a diff a commit: of the whole history only that is diffed which can be a copy.
    later = first_parent_line(repository, wanted, since=begun(known)) if known.verdicts else []
    other = found_elsewhere(repository, later, known)
    if options.json:
        print(json.dumps(_as_json(series, other)))
    else:
        print("\n".join([*history_lines(series), *_closing(options, series, other)]).rstrip("\n"))
    say_skipped(known)
    return ExitCode.OK


def _check(what: str, word: str | None, known: Iterable[str]) -> None:
    names = set(known)
    if word is None or word in names or not names:
        return
    from git_hmopt.config.explain import unknown

    raise UsageError(f"log: {unknown(word, names, what=what)}")


def _closing(options: argparse.Namespace, series: list[Series], other: list[Found]) -> list[str]:
    lines = []
    if not series:
        workload = options.workload or "NAME"
        lines.append(f"no commit here has a number of its own; measure: git hmopt optimize --workload {workload}")
    if other:
        many = f"{len(other)} commit{' makes a change' if len(other) == 1 else 's make changes'}"
        lines.append(f"{many} measured as another commit only; see: git hmopt reattach {options.revisions}")
    return lines


def _as_json(series: list[Series], other: list[Found]) -> dict[str, object]:
    return {"v": 1, "series": [asdict(one) for one in series], "elsewhere": [one.commit.oid for one in other]}
