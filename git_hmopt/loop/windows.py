# SPDX-License-Identifier: Apache-2.0
"""When a capture was slow and what ran then: read from its file, or as it was stored beside a run's capture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from git_hmopt.errors import CorruptRecordError
from git_hmopt.evidence.windows import Places, told_windows
from git_hmopt.loop.hotspots import Locate
from git_hmopt.records.windows import TraceWindows
from git_hmopt.runtime.activity import activities
from git_hmopt.runtime.kpis import Kpis
from git_hmopt.runtime.window import later
from git_hmopt.store.artifacts import ArtifactStore
from git_hmopt.store.journal import JournalEntry
from git_hmopt.traces.capture import Capture, Losses
from git_hmopt.traces.sniff import open_capture
from git_hmopt.traces.tables import Samples, first_event

WINDOWS = "capture.windows"
"""The operation that says where the slow times of a capture that was ingested are stored."""
KIND = "trace-windows"
"""The kind of the artifact."""


@dataclass(frozen=True)
class Kept:
    """The slow times that a run has of its captures."""

    found: tuple[TraceWindows, ...]
    missing: tuple[str, ...]
    """What is recorded and cannot be read here, in words."""


def read_windows(path: Path, name: str, found: Kpis, locate: Locate) -> TraceWindows:
    """Return the slow times of the trace whose KPIs were found, by a second pass; none of what has none.

    `capture` is left empty: only who stores the bytes knows their digest.
    """
    capture = open_capture(path)
    if not found.symptoms:
        return TraceWindows(capture="", name=name, windows=())
    return told_windows("", name, activities(capture, found.symptoms), _sampled(capture), places_by(locate))


def _sampled(capture: Capture) -> Samples | None:
    """Return the samples that the capture took itself, by the clock of its events; None where that is not known."""
    behind = capture.samples_behind() if capture.samples_behind is not None else None
    tables = capture.read_samples(Losses()) if capture.read_samples is not None and behind is not None else ()
    if not tables:
        return None
    return later(first_event(tables), behind or 0)


def places_by(locate: Locate) -> Places:
    """Return the same question as `locate` answers, of functions whose definition is the only one."""

    def find(symbols: Sequence[str]) -> Mapping[str, tuple[str, int | None]]:
        found = locate(symbols) if symbols else {}
        return {
            symbol: (place.file, place.first_line)
            for symbol, place in found.items()
            if place.file is not None and not place.others
        }

    return find


def stored_in(data: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return the capture and the artifact that an operation's data names; None where they are not of the kind."""
    said = data.get("windows")
    if not isinstance(said, dict):
        return None
    capture, artifact = said.get("capture"), said.get("artifact")
    return (capture, artifact) if isinstance(capture, str) and isinstance(artifact, str) else None


def kept_windows(artifacts: ArtifactStore, entries: Sequence[JournalEntry]) -> Kept:
    """Return the slow times that are stored of a run's captures, the newest capture first."""
    stored = {}
    for entry in entries:
        said = stored_in(entry.operation.data) if entry.operation.op == WINDOWS else None
        if said is not None:
            stored[said[0]] = said[1]
    found, missing = [], []
    for capture, artifact in reversed(stored.items()):
        what = f"the slow times of capture {capture[:12]}"
        try:
            data = artifacts.read(artifact)
            if data is None:
                missing.append(f"{what} are not in this clone (artifact {artifact[:12]})")
            else:
                found.append(TraceWindows.model_validate_json(data))
        except (ValidationError, CorruptRecordError) as error:
            why = error.what if isinstance(error, CorruptRecordError) else error.errors()[0]["msg"]
            missing.append(f"{what} cannot be read: {why}")
    return Kept(tuple(found), tuple(missing))
