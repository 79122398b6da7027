# SPDX-License-Identifier: Apache-2.0
"""Captures that somebody names: a file, or all that a run has of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from git_hmopt.errors import StoreError, UsageError
from git_hmopt.loop.book import Book, without_of
from git_hmopt.records.words import RunId
from git_hmopt.report.flame import Flames
from git_hmopt.runtime.window import below
from git_hmopt.store.artifacts import ArtifactStore
from git_hmopt.store.journal import Journal
from git_hmopt.store.repository import Repository
from git_hmopt.traces.capture import Losses
from git_hmopt.traces.registry import kinds, naming, parse
from git_hmopt.traces.sniff import open_capture
from git_hmopt.traces.symbol_files import SymbolFiles
from git_hmopt.traces.tables import Samples, SelfCounts, Symbols, TraceFormatError

READ = "capture.read"
"""The operation that says what is in a capture that was ingested."""


@dataclass(frozen=True)
class Opened:
    """A capture that was read whole, but for its events."""

    name: str
    """As it was named, or as the run calls it."""
    format: str
    samples: tuple[Samples, ...]
    """One table for each event that was sampled."""
    lines: SelfCounts | Symbols | None
    skipped: Mapping[str, int]
    path: Path | None = None
    """Where its events can be read; None of a profiler's capture that has none."""
    definitions: Callable[[Sequence[str]], Symbols] | None = None
    """Returns where sampled functions are defined, by debug information of the measured objects."""


def opened(path: Path, name: str | None = None, symbols: SymbolFiles | None = None) -> Opened:
    """Read a capture file. Raises TraceFormatError when it is none, or of a format that nothing here reads."""
    capture = open_capture(path, symbols)
    losses = Losses()
    try:
        samples = tuple(capture.read_samples(losses)) if capture.read_samples else ()
        # The same bytes were read for the samples: what they lose is counted once.
        lines = capture.read_lines(Losses() if samples else losses) if capture.read_lines else None
    except TraceFormatError as error:
        raise naming(name or str(path), error) from error
    return Opened(
        name or str(path), capture.format, samples, lines, dict(sorted(losses.items())), path, capture.read_definitions
    )


def named(
    repository: Repository | None, text: str, run: RunId | None, symbols: SymbolFiles | None = None
) -> list[Opened]:
    """Return the capture in the file `text`, or those of the run that it names."""
    if run is None or repository is None:
        return [opened(Path(text), symbols=symbols)]
    return of_run(repository, run, symbols)


def of_run(repository: Repository, run: RunId, symbols: SymbolFiles | None = None) -> list[Opened]:
    """Return the captures that were ingested into a run, or where there are none those of its last profile.

    StoreError when it has none, or when one is not in this clone.
    """
    book = Book(Journal(repository), run)
    artifacts = ArtifactStore.of(repository)
    symbols = replace(symbols or SymbolFiles(), dated=False)
    ingested = [entry.operation.data for entry in book.entries if entry.operation.op == READ]
    if ingested:
        return [opened(_path(artifacts, one["capture"]), f"{run}: {one['name']}", symbols) for one in ingested]
    profile = book.last("profile.recorded")
    found = [] if profile is None else [_profiled(artifacts, run, one, symbols) for one in profile["captures"]]
    if not found:
        why = ": it goes without a profile" if "profile" in without_of(book) else ""
        raise StoreError(
            f"run {run} has no capture{why}", next_step=f"add one: git hmopt ingest artifacts --run {run} FILE"
        )
    return found


def stacks_of_run(repository: Repository, run: RunId) -> Flames:
    """Return the first event's stacks of a run's first and last profile, or of what was ingested into it."""
    book = Book(Journal(repository), run)
    profiles = [entry.operation.data for entry in book.entries if entry.operation.op == "profile.recorded"]
    if any(entry.operation.op == READ for entry in book.entries) or not profiles:
        try:
            found = only(of_run(repository, run))
        except (StoreError, TraceFormatError) as error:
            return Flames(missing=f"{error.what}.")
        before = (found.name, found.samples[0]) if found.samples else None
        return Flames(before, None, "" if before else "The run's captures hold no call stacks.", profiled=False)
    artifacts = ArtifactStore.of(repository)
    before, why = _stacks(artifacts, run, profiles[0])
    if profiles[-1].get("commit") == profiles[0].get("commit"):
        return Flames(before, None, why or "No best but the base was profiled: there is nothing to compare it with.")
    after, also = _stacks(artifacts, run, profiles[-1])
    return Flames(before, after, " ".join(dict.fromkeys(filter(None, (why, also)))))


def _stacks(artifacts: ArtifactStore, run: RunId, profile: Mapping[str, Any]) -> tuple[tuple[str, Samples] | None, str]:
    commit = str(profile.get("commit") or "")[:12]
    why = f"The profile of {commit} holds no call stacks."
    for manifest in profile["captures"]:
        try:
            found = _profiled(artifacts, run, manifest, SymbolFiles(dated=False))
        except (StoreError, TraceFormatError) as error:
            why = f"The profile of {commit}: {error.what}."
            continue
        if found.samples:
            return (f"{manifest['profiler']} ({manifest['kind']}) of {commit}", found.samples[0]), ""
    return None, why


def _profiled(artifacts: ArtifactStore, run: RunId, manifest: Mapping[str, str], symbols: SymbolFiles) -> Opened:
    """Read a capture of a profiler, which says what it is and below which function the workload ran."""
    kind, name = manifest["kind"], f"{run}: {manifest['profiler']} ({manifest['kind']})"
    path = _path(artifacts, manifest["artifact"])
    if kind not in kinds():
        return replace(opened(path, symbols=symbols), name=name)
    table = parse(kind, path, symbols)
    if not isinstance(table, Samples):
        return Opened(name, kind, (), table, table.skipped)
    inside = below(table, manifest["root"]) if manifest["root"] else table
    return Opened(name, kind, (inside,), None, inside.skipped)


def _path(artifacts: ArtifactStore, sha256: str) -> Path:
    path = artifacts.path(sha256)
    if path is None:
        raise StoreError(f"capture {sha256} is not in this clone", next_step="go where it was stored")
    return path


def samples_named(capture: Opened, event: str | None) -> Samples:
    """Return the samples of one event, the first without a name. UsageError when the capture has none of it."""
    if not capture.samples:
        raise UsageError(f"'{capture.name}' ({capture.format}) has no samples of call stacks")
    chosen = [one for one in capture.samples if event in (None, one.event)]
    if not chosen:
        known = ", ".join(one.event for one in capture.samples)
        raise UsageError(f"'{capture.name}' has no samples of '{event}'", next_step=f"it has: {known}")
    return chosen[0]


def only(captures: Sequence[Opened]) -> Opened:
    """Return the first capture that has samples of stacks, or the first one."""
    return next((one for one in captures if one.samples), captures[0])
