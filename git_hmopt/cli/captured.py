# SPDX-License-Identifier: Apache-2.0
"""What the commands about captures have in common: a file or a run, where functions are defined, where output goes."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from git_hmopt.cli.story import named_run
from git_hmopt.errors import HmoptError, RepositoryError, UsageError
from git_hmopt.loop.captures import Opened, named
from git_hmopt.loop.hotspots import Place
from git_hmopt.records.words import RunId
from git_hmopt.report.wording import plain
from git_hmopt.store.repository import Repository
from git_hmopt.traces.symbol_files import SymbolFiles


def repository_here() -> Repository | None:
    """Return the repository of the current directory; None where there is none: files can be read all the same."""
    try:
        return Repository.open(Path())
    except RepositoryError:
        return None


def worktree(repository: Repository | None) -> Path | None:
    """Return the top of the working tree; None where there is none."""
    return None if repository is None else repository.worktree


def captures_named(repository: Repository | None, text: str | None, symbols: SymbolFiles) -> list[Opened]:
    """Return the capture in a file, or those of the run that is meant (the latest without a text)."""
    here, run = run_or_file(repository, text)
    return named(here, text or "", run, symbols)


def run_or_file(repository: Repository | None, text: str | None) -> tuple[Repository | None, RunId | None]:
    """Return the run that is meant, with its repository; None as the run when `text` is a file."""
    if text is not None and Path(text).exists():
        return repository, None
    if text is not None and ("/" in text or (repository is None and Path(text).suffix)):
        raise UsageError(f"there is no file '{text}'", next_step="name a capture, or a run")
    # Says what is wrong with the repository where there is none that can be used.
    here = repository or Repository.open(Path())
    return here, named_run(here, text)


def add_event(parser: argparse.ArgumentParser) -> None:
    """Declare which event's samples are meant."""
    parser.add_argument("--event", metavar="NAME", help="the sampled event (default: a capture's first one)")


class Locator:
    """Finds functions in the structure graph of this repository, and remembers what the answer rested on."""

    def __init__(self, repository: Repository | None, build: Path | None) -> None:
        self._repository, self._build = repository, build
        self.basis: str | None = None

    def __call__(self, symbols: Sequence[str]) -> Mapping[str, Place]:
        if self._repository is None or self._repository.worktree is None:
            return {}
        # Only where something has to be looked up is libclang paid for.
        from git_hmopt.loop.places import places

        try:
            return places(self._repository, symbols, self._build, self._heard)
        except HmoptError as error:
            if self._build is not None:
                raise
            # Costs are told all the same: a place is an extra.
            self._heard(f"none: {error.what}")
            return {}

    def _heard(self, basis: str) -> None:
        self.basis = basis


def write(output: Path | None, text: str) -> None:
    """Write an answer into a file, or to standard output."""
    data = text.encode("utf-8", "backslashreplace")
    if output is None:
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
        return
    try:
        output.write_bytes(data)
    except OSError as error:
        raise UsageError(f"cannot write '{output}': {error.strerror}", next_step="name another file with -o") from error


def tell_skipped(skipped: Mapping[str, int]) -> list[str]:
    """Return what was not used, a line a reason."""
    return [f"  not used: {number} x {plain(reason)}" for reason, number in skipped.items()]
