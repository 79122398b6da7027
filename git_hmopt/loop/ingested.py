# SPDX-License-Identifier: Apache-2.0
"""Add captures that were made elsewhere to a run: their bytes to the artifact store, what they say to its journal.

All captures of a call are read before anything is stored, and become visible together. A capture that the run has
already is not added again. The operations stand in this clone's own journal of the run, whoever made the run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from git_hmopt.errors import MeasurementError
from git_hmopt.loop.captures import READ, Opened, opened
from git_hmopt.loop.hotspots import NOWHERE, Hotspots, Locate, hotspots
from git_hmopt.records.base import decimal_text
from git_hmopt.records.run import ArtifactRecord, HotspotRecord
from git_hmopt.records.words import RunId
from git_hmopt.store.artifacts import ArtifactStore
from git_hmopt.store.journal import Journal, OpDraft
from git_hmopt.store.repository import Repository
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
    ranked = [_ranked(one, locate, repository.worktree) for one in captures]
    artifacts = ArtifactStore.of(repository)
    records = [
        artifacts.put_file(path, kind="capture", name=name, media_type=_media(path, capture.format))
        for (path, name), capture in zip(files, captures, strict=True)
    ]
    journal = Journal(repository)
    known = {one.data["capture"] for one in journal.read(run).operations if one.op == READ}
    drafts: list[OpDraft] = []
    found = []
    for capture, spots, record in zip(captures, ranked, records, strict=True):
        found.append(_told(capture, spots, record, new=record.sha256 not in known))
        if record.sha256 not in known:
            known.add(record.sha256)
            # The bytes name the step: two processes that ingest the same record it once.
            node = f"{NODE} {record.sha256}"
            drafts.append(OpDraft("artifact.stored", node, data={"artifact": record.model_dump(mode="json")}))
            drafts.append(OpDraft(READ, node, data=_said(capture, spots, record)))
    if drafts:
        journal.append(run, drafts)
    return found


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


def _told(capture: Opened, spots: Hotspots | None, record: ArtifactRecord, *, new: bool) -> Ingested:
    return Ingested(
        name=record.name,
        format=capture.format,
        artifact=record.sha256,
        size=record.size,
        samples=sum(map(len, capture.samples)),
        hotspots=tuple(spot.symbol for spot in spots.spots) if spots else (),
        skipped=capture.skipped,
        new=new,
    )


def _media(path: Path, form: str) -> str:
    source = Source(path)
    return "application/octet-stream" if source.is_wrapped() else _MEDIA.get(form, "text/plain")
