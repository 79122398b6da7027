# SPDX-License-Identifier: Apache-2.0
"""The KPIs of what somebody names: a trace, or a run's, from its capture or as they were recorded of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from git_hmopt.errors import CorruptRecordError, MeasurementError, StoreError
from git_hmopt.loop.book import Book
from git_hmopt.loop.captures import READ
from git_hmopt.loop.hotspots import Locate
from git_hmopt.loop.windows import kept_windows, read_windows
from git_hmopt.records.windows import TraceWindows
from git_hmopt.records.words import RunId
from git_hmopt.runtime import recorded
from git_hmopt.runtime.kpi import Kpi
from git_hmopt.runtime.kpis import Kpis, kpis
from git_hmopt.store.artifacts import ArtifactStore
from git_hmopt.store.journal import Journal
from git_hmopt.store.repository import Repository
from git_hmopt.traces.sniff import open_capture

KPIS = "capture.kpis"
"""The operation that records the KPIs of a capture that was ingested."""


@dataclass(frozen=True)
class Told:
    """What is known of one capture."""

    name: str
    kpis: Kpis
    partial: str | None = None
    """What it holds, in words, when the capture is not in this clone and its KPIs are those that were recorded."""
    left_out: int = 0
    """How many numbers of the capture were not recorded."""
    path: Path | None = None
    """Where its events can be read; None where it is not in this clone."""
    kept: tuple[TraceWindows, ...] = ()
    """Its slow times as they are stored, where it is not in this clone."""


def kpis_named(repository: Repository | None, text: str, run: RunId | None) -> Told:
    """Return the KPIs of the capture in the file `text`, or of the first with events that was ingested into a run.

    MeasurementError when no capture has events; StoreError when one is not in this clone and nothing is recorded of it.
    """
    if run is not None and repository is not None:
        return _of_run(repository, run)
    capture = open_capture(Path(text))
    if capture.read_events is None:
        raise _no_events(f"'{text}' ({capture.format})")
    return Told(text, kpis(capture), path=Path(text))


def slow_times(told: Told, locate: Locate) -> tuple[TraceWindows, ...]:
    """Return when the capture was slow and what ran then; as it was stored where the capture is not in this clone."""
    return told.kept if told.path is None else (read_windows(told.path, told.name, told.kpis, locate),)


def _of_run(repository: Repository, run: RunId) -> Told:
    book = Book(Journal(repository), run)
    entries = [entry.operation for entry in book.entries]
    kept = {one.data["kpis"]["capture"]: one.data for one in entries if one.op == KPIS and _names_one(one.data)}
    artifacts = ArtifactStore.of(repository)
    others, missing = [], None
    for one in (operation.data for operation in entries if operation.op == READ):
        if not all(isinstance(one.get(key), str) for key in ("name", "capture", "format")):
            raise CorruptRecordError(f"run {run} does not say which capture it has", next_step="see: git hmopt fsck")
        name, sha256 = f"{run}: {one['name']}", one["capture"]
        path = artifacts.path(sha256)
        if path is not None:
            capture = open_capture(path)
            if capture.read_events is not None:
                return Told(name, kpis(capture), path=path)
            others.append(f"'{name}' ({capture.format})")
        elif sha256 in kept:
            found = recorded.read(kept[sha256])
            slow = tuple(one for one in kept_windows(artifacts, book.entries).found if one.capture == sha256)
            return Told(name, found.kpis, found.record.rule, found.record.left_out, kept=slow)
        else:
            missing = missing or sha256
            others.append(f"'{name}' ({one['format']})")
    if missing is not None:
        raise StoreError(
            f"capture {missing} is not in this clone, and no KPIs are recorded of it",
            next_step=f"where it was stored: git hmopt ingest artifacts --run {run} FILE, and push",
        )
    raise _no_events(", ".join(others) or f"run {run}")


def recorded_kpis(book: Book) -> dict[str, tuple[Kpi, ...]]:
    """Return the KPIs that are recorded of a run's captures, by the captures' sha256; the newest capture first."""
    kept = [entry.operation.data for entry in book.entries if entry.operation.op == KPIS]
    return {data["kpis"]["capture"]: recorded.read(data).kpis.records for data in reversed(kept) if _names_one(data)}


def _names_one(data: Mapping[str, Any]) -> bool:
    return isinstance(data.get("kpis"), dict) and isinstance(data["kpis"].get("capture"), str)


def _no_events(named: str) -> MeasurementError:
    return MeasurementError(
        f"{named} has no events, so no KPI is known",
        next_step="KPIs are those of traces (ftrace, hitrace); of profiles there are hotspots",
    )
