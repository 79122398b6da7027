# SPDX-License-Identifier: Apache-2.0
"""Persist a snapshot of a repository's source here, with a manifest of every file in it; or captures, in a run.

With `repo`, the snapshot lives in this repository's journals: it stays whatever becomes of branches, and goes where
journals are pushed. The source may lie in another repository, which is not changed; of that one the files of REV are
copied, not its history. The same snapshot is kept once, however often it is ingested.

With `artifacts`, traces and profiles that were made elsewhere become part of a run: their bytes go to the artifact
store, what they say (KPIs, samples, hotspots, what was not understood) to the run's journal, so that it can be asked
for wherever the run is fetched. Of single processes and threads the numbers of the busiest are recorded. What a capture
is, its content tells; gzip, zlib and zip are opened. All of them are taken, or none.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from git_hmopt.cli.symbols import add_symbols, symbol_files
from git_hmopt.errors import ExitCode, UsageError
from git_hmopt.report.wording import fit, plain
from git_hmopt.store.ingest import ingest
from git_hmopt.store.repository import Repository

INTERMIXED = True
"""Options may stand between arguments, as with git: `artifacts --run RUN PATH`."""
_STANDARD_INPUT = "-"
_SYMBOLS = 4


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument(
        "what", choices=("repo", "artifacts"),
        help="what is ingested: repo, a revision of a git repository; artifacts, captures",
    )  # fmt: skip
    parser.add_argument("files", nargs="*", default=[], metavar="PATH", help="of artifacts: files; - is standard input")
    parser.add_argument("--run", metavar="RUN", help="of artifacts: the run they become part of")
    parser.add_argument(
        "--path", type=Path, metavar="P", help="of repo: a directory of the repository (default: this one)"
    )
    parser.add_argument("--rev", metavar="R", help="of repo: the commit to take (default: HEAD)")
    parser.add_argument("--allow-dirty", action="store_true", help="take HEAD although tracked files have changes")
    add_symbols(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(options: argparse.Namespace) -> ExitCode:
    """Ingest, and print what is kept."""
    _refuse_what_excludes(options)
    return _captures(options) if options.what == "artifacts" else _snapshot(options)


def _refuse_what_excludes(options: argparse.Namespace) -> None:
    """Raise UsageError where options are of the other thing that can be ingested."""
    artifacts = options.what == "artifacts"
    if artifacts and (options.path is not None or options.rev is not None or options.allow_dirty):
        raise UsageError("ingest: --path, --rev and --allow-dirty are for 'repo'", next_step="see: git hmopt ingest -h")
    if artifacts and (options.run is None or not options.files):
        missing = "--run RUN" if options.run is None else "a PATH, or - for standard input"
        raise UsageError(f"ingest: artifacts need {missing}", next_step="see: git hmopt ingest -h")
    if not artifacts and (options.run is not None or options.files):
        raise UsageError("ingest: --run and PATH are for 'artifacts'", next_step="name the repository with --path")
    if not artifacts and (options.symbols or options.symfs is not None):
        raise UsageError("ingest: --symbols and --symfs are for 'artifacts'", next_step="see: git hmopt ingest -h")
    if options.files.count(_STANDARD_INPUT) > 1:
        raise UsageError("ingest: standard input can be read once", next_step="name it once")


def _snapshot(options: argparse.Namespace) -> ExitCode:
    snapshot = ingest(
        Repository.open(Path()), options.path or Path(), options.rev or "HEAD", allow_dirty=options.allow_dirty
    )
    if options.json:
        print(json.dumps({"v": 1, "snapshot": asdict(snapshot)}))
        return ExitCode.OK
    print(f"snapshot {snapshot.name}{'' if snapshot.new else ' (kept here before)'}")
    print(f"  commit {snapshot.commit} of {snapshot.uri}, tree {snapshot.tree}")
    print(f"  {snapshot.files} files, {snapshot.size} bytes; manifest {snapshot.manifest}")
    return ExitCode.OK


def _captures(options: argparse.Namespace) -> ExitCode:
    # A snapshot does not pay for the engine that reads captures.
    from git_hmopt.cli.captured import Locator, tell_skipped
    from git_hmopt.cli.story import named_run
    from git_hmopt.loop.ingested import ingest_captures

    repository = Repository.open(Path())
    name = named_run(repository, options.run)
    with _files(options.files) as files:
        found = ingest_captures(
            repository, name, files, locate=Locator(repository, None), symbols=symbol_files(options)
        )
    if options.json:
        print(json.dumps({"v": 1, "run": name, "captures": [asdict(one) for one in found]}))
        return ExitCode.OK
    print(f"run {name}")
    for one in found:
        print(f"  {plain(one.name)}: {one.format}, {one.size} bytes{'' if one.new else ' (the run had it before)'}")
        print(f"    artifact {one.artifact}")
        if one.hotspots:
            listed = ", ".join(fit(symbol, 40) for symbol in one.hotspots[:_SYMBOLS])
            print(f"    {one.samples} samples, hotspots: {listed}; {len(one.hotspots)} are recorded")
        if one.events is not None:
            print(f"    {one.events} events, {one.kpis} KPIs recorded, {len(one.kpis_unknown)} unknown")
        if one.slow_times:
            print(f"    {one.slow_times} slow times stored, with what ran then: git hmopt kpis --windows")
        if one.kpis_left_out and one.kpis_rule:
            print(f"    {one.kpis_left_out} more are not recorded: {plain(one.kpis_rule)}")
        for line in tell_skipped(one.skipped):
            print(f"  {line}")
    return ExitCode.OK


@contextlib.contextmanager
def _files(texts: list[str]) -> Iterator[list[tuple[Path, str]]]:
    """Give the files with their names; standard input is copied into one."""
    with tempfile.TemporaryDirectory(prefix="hmopt-ingest-") as directory:
        files = []
        for text in texts:
            path = Path(text)
            if text == _STANDARD_INPUT:
                path = Path(directory) / "standard-input"
                with path.open("wb") as stream:
                    shutil.copyfileobj(sys.stdin.buffer, stream)
                # The copy is new, what was captured is older: nobody knows by how much.
                os.utime(path, (0, 0))
            elif not path.is_file():
                raise UsageError(f"there is no file '{text}'", next_step="name a capture, or - for standard input")
            files.append((path, path.name))
        yield files
