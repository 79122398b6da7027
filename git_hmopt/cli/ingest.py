# SPDX-License-Identifier: Apache-2.0
"""Persist a snapshot of a repository's source here, with a manifest of every file in it.

The snapshot lives in this repository's journals: it stays whatever becomes of branches, and goes where journals are
pushed. The source may lie in another repository, which is not changed; of that one the files of REV are copied, not
its history. The same snapshot is kept once, however often it is ingested.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from git_hmopt.errors import ExitCode
from git_hmopt.store.ingest import ingest
from git_hmopt.store.repository import Repository


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("what", choices=("repo",), help="what is ingested: repo, a revision of a git repository")
    parser.add_argument(
        "--path", type=Path, default=Path(), metavar="P", help="a directory of the repository (default: this one)"
    )
    parser.add_argument("--rev", default="HEAD", metavar="R", help="the commit to take (default: HEAD)")
    parser.add_argument("--allow-dirty", action="store_true", help="take HEAD although tracked files have changes")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(options: argparse.Namespace) -> ExitCode:
    """Ingest, and print what is kept."""
    snapshot = ingest(Repository.open(Path()), options.path, options.rev, allow_dirty=options.allow_dirty)
    if options.json:
        print(json.dumps({"v": 1, "snapshot": asdict(snapshot)}))
        return ExitCode.OK
    print(f"snapshot {snapshot.name}{'' if snapshot.new else ' (kept here before)'}")
    print(f"  commit {snapshot.commit} of {snapshot.uri}, tree {snapshot.tree}")
    print(f"  {snapshot.files} files, {snapshot.size} bytes; manifest {snapshot.manifest}")
    return ExitCode.OK
