# SPDX-License-Identifier: Apache-2.0
"""Optimise a small kernel-like C tree that ships with this tool, on this machine, in about two minutes.

The tree (run queue, timer wheel, slab, message ring, path lookup, checksums) is made into a git repository in a new
directory, and the playbook tries to make one of its workloads faster with whatever is there: gcc or clang, time over
code layouts. Nothing outside that directory is changed. Exit code 0: something was accepted; 1: nothing was.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from git_hmopt.cli.number import count, positive
from git_hmopt.cli.optimize import drive
from git_hmopt.cli.story import named_run
from git_hmopt.config.document import parse_document
from git_hmopt.demo.tree import make_repository, tree_root
from git_hmopt.errors import ExitCode, UsageError
from git_hmopt.loop.configuration import CONFIG_FILE, ready, settle_trust
from git_hmopt.loop.standing import told
from git_hmopt.report.markdown import run_report
from git_hmopt.store.artifacts import ArtifactStore

WORKLOAD = "checksums"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument(
        "--workload", metavar="NAME", default=WORKLOAD, help=f"one of: {', '.join(_workloads())} (default: {WORKLOAD})"
    )
    parser.add_argument(
        "--directory", type=Path, metavar="DIR", help="where to put it, a new directory (default: a temporary one)"
    )
    parser.add_argument("--iterations", type=count, metavar="N", help="at most so many candidates")
    parser.add_argument("--time", type=positive, metavar="SECONDS", help="at most so many seconds")
    parser.add_argument(
        "--seed", type=count, metavar="N", help="seed of layouts and data (default: random, and recorded)"
    )
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object")
    parser.set_defaults(
        base="HEAD", proposer=None, baseline=None, jobs=None, sandbox=None, no_profile=False, no_graph=False, name=None
    )


def run(options: argparse.Namespace) -> ExitCode:
    """Make the repository, drive one run in it, and say where everything is."""
    if options.workload not in _workloads():
        raise UsageError(
            f"the demo has no workload '{options.workload}'", next_step=f"choose one of: {', '.join(_workloads())}"
        )
    directory = options.directory or Path(tempfile.mkdtemp(prefix="git-hmopt-demo-"))
    repository = make_repository(directory)
    # Its commands are this package's own; whoever runs the package trusts them.
    settle_trust(repository)
    _say(f"a C tree with {len(_workloads())} workloads is in {directory}; optimising '{options.workload}'")
    code = drive(repository, ready(repository, base="HEAD", allow_dirty=False), options)
    story = told(repository, named_run(repository, None))
    report = directory / "report.md"
    report.write_text(run_report(story, ArtifactStore.of(repository).read), encoding="utf-8")
    if not story.accepted:
        _say("nothing cleared the gate on this machine: no change could be shown to be better")
    _say(f"report: {report}")
    _say(f"look around: cd {directory} && git hmopt show; then rm -r {directory}")
    _say("your own kernel: cd linux && git hmopt init --profile linux && git hmopt optimize --workload lib-crc64")
    _say("any C project with a Makefile: git hmopt init --profile make")
    return code


def _say(text: str) -> None:
    print(f"demo: {text}", file=sys.stderr)


def _workloads() -> tuple[str, ...]:
    document = parse_document((tree_root() / CONFIG_FILE).read_bytes(), origin=CONFIG_FILE)
    workloads = document.value["workloads"]
    return tuple(workloads) if isinstance(workloads, dict) else ()
