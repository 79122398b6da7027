# SPDX-License-Identifier: Apache-2.0
"""Add captures that were made elsewhere to a run: their bytes to the artifact store, what they say to its journal.

All captures of a call are read before anything is stored, and become visible together. A capture that the run has
already is not added again; KPIs and slow times of one that was added before they were recorded are. A KPI is a metric
of the commit that the run started from, which is all that a run says of where its captures come from. The operations
stand in this clone's own journal of the run, whoever made the run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from git_hmopt.errors import CorruptRecordError, MeasurementError
from git_hmopt.loop.captures import READ, Opened, opened
from git_hmopt.loop.hotspots import NOWHERE, Hotspots, Locate, hotspots
from git_hmopt.loop.kpis import KPIS
from git_hmopt.loop.windows import KIND, WINDOWS, read_windows, stored_in
from git_hmopt.records.base import decimal_text
from git_hmopt.records.run import ArtifactRecord, HotspotRecord, RunRecord
from git_hmopt.records.windows import TraceWindows
from git_hmopt.records.words import RunId
from git_hmopt.runtime import recorded
from git_hmopt.runtime.kpis import Kpis, kpis
from git_hmopt.runtime.recorded import Chosen, Measured
from git_hmopt.store.artifacts import ArtifactStore
from git_hmopt.store.journal import Journal, JournalReading, OpDraft
from git_hmopt.store.repository import Repository
from git_hmopt.traces.sniff import open_capture
from git_hmopt.traces.source import Source
from git_hmopt.traces.symbol_files import SymbolFiles
from git_hmopt.traces.tables import Symbols

NODE = "ingest"
KEPT = 8
"""Hotspots of a capture that the journal keeps."""
_MEDIA = {"flamegraph-svg": "image/svg+xml", "speedscope": "application/json", "d3-json": "application/json"}


@dataclass(frozen=True)
class Ingested:
    """One capture and what became of it."""

    name: str
    format: str
    artifact: str
    size: int
    samples: int
    hotspots: tuple[str, ...]
    skipped: Mapping[str, int]
    new: bool
    """Whether the run did not have it before."""
    events: int | None = None
    """Of a trace; None of what has no events."""
    kpis: int = 0
    """How many KPIs of it the run has as metrics."""
    kpis_unknown: tuple[str, ...] = ()
    """The KPIs of the whole system that the capture does not tell."""
    kpis_left_out: int = 0
    """How many more numbers are known here, and not recorded: see `kpis_rule`."""
    slow_times: int = 0
    """How many times in which something was slow are stored, with what ran then."""
    kpis_rule: str | None = None
    """Of which processes, threads and the like KPIs are recorded; None of what has no events."""


def ingest_captures(
    repository: Repository,
    run: RunId,
    files: Sequence[tuple[Path, str]],
    *,
    locate: Locate,
    symbols: SymbolFiles | None = None,
) -> list[Ingested]:
    """Add the captures in these files, each with the name it is to have. TraceFormatError when one is none."""
    captures = [opened(path, name, symbols) for path, name in files]
    read = [
        _read(one, path, _ranked(one, locate, repository.worktree), locate)
        for one, (path, _) in zip(captures, files, strict=True)
    ]
    artifacts = ArtifactStore.of(repository)
    records = [
        artifacts.put_file(path, kind="capture", name=name, media_type=_media(path, capture.format))
        for (path, name), capture in zip(files, captures, strict=True)
    ]
    journal = Journal(repository)
    reading = journal.read(run)
    known = {(one.op, _capture_of(one.data)) for one in reading.operations if one.op in (READ, KPIS, WINDOWS)}
    drafts: list[OpDraft] = []
    found = []
    for one, record in zip(read, records, strict=True):
        found.append(_told(one, record, new=(READ, record.sha256) not in known))
        # The bytes name the step: two processes that ingest the same record it once.
        node = f"{NODE} {record.sha256}"
        if (READ, record.sha256) not in known:
            drafts.append(OpDraft("artifact.stored", node, data={"artifact": record.model_dump(mode="json")}))
            drafts.append(OpDraft(READ, node, data=_said(one.capture, one.spots, record)))
        if one.kpis is not None and (KPIS, record.sha256) not in known:
            drafts.append(OpDraft(KPIS, node, data=_recorded(one.kpis, one.chosen, record, one.capture, reading)))
        if one.windows is not None and (WINDOWS, record.sha256) not in known:
            drafts += _stored_windows(artifacts, one.windows, record, node)
        known |= {(READ, record.sha256), (KPIS, record.sha256), (WINDOWS, record.sha256)}
    if drafts:
        journal.append(run, drafts)
    return found


@dataclass(frozen=True)
class _Read:
    """A capture that was read whole."""

    capture: Opened
    spots: Hotspots | None
    kpis: Kpis | None
    windows: TraceWindows | None
    """None of what has no events, or was never slow."""

    @property
    def chosen(self) -> Chosen:
        """Return which of its KPIs are recorded."""
        return Chosen((), (), 0) if self.kpis is None else recorded.chosen(self.kpis)


def _read(capture: Opened, path: Path, spots: Hotspots | None, locate: Locate) -> _Read:
    found = _kpis(path)
    windows = None if found is None else read_windows(path, capture.name, found, locate)
    return _Read(capture, spots, found, windows if windows is not None and windows.windows else None)


def _stored_windows(
    artifacts: ArtifactStore, windows: TraceWindows, capture: ArtifactRecord, node: str
) -> list[OpDraft]:
    text = windows.model_copy(update={"capture": capture.sha256}).canonical()
    record = artifacts.put_bytes(text.encode(), kind=KIND, name="slow-times.json", media_type="application/json")
    # One operation of a name may stand once in a step: the capture's own is the first.
    stored = OpDraft("artifact.stored", node, attempt=1, data={"artifact": record.model_dump(mode="json")})
    return [stored, OpDraft(WINDOWS, node, data={"windows": {"capture": capture.sha256, "artifact": record.sha256}})]


def _capture_of(data: Mapping[str, Any]) -> Any:
    windows = stored_in(data)
    if windows is not None:
        return windows[0]
    beside = data.get("kpis")
    return beside.get("capture") if isinstance(beside, dict) else data.get("capture")


def _kpis(path: Path) -> Kpis | None:
    """Return the KPIs of a capture; None for one without events."""
    capture = open_capture(path)
    return None if capture.read_events is None else kpis(capture)


def _recorded(
    found: Kpis, kept: Chosen, record: ArtifactRecord, capture: Opened, reading: JournalReading
) -> dict[str, Any]:
    beside = recorded.beside(found, kept, sha256=record.sha256, name=record.name, form=capture.format)
    metrics = recorded.metrics_of(kept, _measured(reading), sha256=record.sha256)
    return {
        "kpis": beside.model_dump(mode="json"),
        "metrics": [one.model_dump(mode="json") for one in metrics],
    }


def _measured(reading: JournalReading) -> Measured:
    """Return what a run says of itself; CorruptRecordError when it does not."""
    for one in reading.operations:
        if "run" in one.data:
            try:
                record = RunRecord.model_validate(one.data["run"])
            except ValidationError:
                continue
            return Measured(reading.run, record.base_commit, record.base_tree, record.workload)
    raise CorruptRecordError(
        f"the journals of run {reading.run} do not say what it started from",
        next_step="fetch the journal of who started it: git hmopt fetch",
    )


def _ranked(capture: Opened, locate: Locate, root: Path | None) -> Hotspots | None:
    """Return the hotspots of a capture; None for one without costs, which may have events, or places alone."""
    if isinstance(capture.lines, Symbols) or (not capture.samples and capture.lines is None):
        return None
    try:
        (found,) = hotspots([capture], ranker="funcrank", limit=KEPT, locate=locate, root=root)
    except MeasurementError:
        # Read well, and empty.
        return None
    return found


def _said(capture: Opened, spots: Hotspots | None, record: ArtifactRecord) -> dict[str, Any]:
    said: dict[str, Any] = {
        "capture": record.sha256,
        "name": record.name,
        "format": capture.format,
        "sampled": [
            {"event": one.event, "unit": one.unit, "samples": len(one), "cost": sum(one.weight)}
            for one in capture.samples
        ],
        "skipped": dict(capture.skipped),
    }
    if spots is not None:
        listed = [_record(spots, index, record.sha256).model_dump(mode="json") for index in range(len(spots.spots))]
        said |= {"hotspots": listed, "basis": spots.basis}
    return said


def _record(found: Hotspots, index: int, sha256: str) -> HotspotRecord:
    spot = found.spots[index]
    # Of several definitions nobody knows which one ran: a record does not guess.
    place = NOWHERE if spot.place.others else spot.place
    return HotspotRecord(
        symbol=spot.symbol,
        file=place.file,
        first_line=place.first_line,
        last_line=place.last_line,
        score=decimal_text(spot.score),
        ranker=found.ranker,
        unit=found.unit,
        evidence=(sha256,),
        resolved_by=place.resolved_by,
    )


def _told(read: _Read, record: ArtifactRecord, *, new: bool) -> Ingested:
    capture, spots, kept = read.capture, read.spots, read.chosen
    return Ingested(
        name=record.name,
        format=capture.format,
        artifact=record.sha256,
        size=record.size,
        samples=sum(map(len, capture.samples)),
        hotspots=tuple(spot.symbol for spot in spots.spots) if spots else (),
        # What readers of events and of samples leave out of one file is told by either.
        skipped={**capture.skipped, **(read.kpis.losses if read.kpis else {})},
        new=new,
        events=None if read.kpis is None else read.kpis.events,
        kpis=len(kept.known),
        kpis_unknown=tuple(one.name for one in kept.unknown),
        kpis_left_out=kept.left_out,
        slow_times=len(read.windows.windows) if read.windows else 0,
        kpis_rule=None if read.kpis is None else recorded.RULE,
    )


def _media(path: Path, form: str) -> str:
    source = Source(path)
    return "application/octet-stream" if source.is_wrapped() else _MEDIA.get(form, "text/plain")
