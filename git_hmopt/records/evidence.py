# SPDX-License-Identifier: Apache-2.0
"""The evidence pack: what a proposer is shown about one run's hotspots. Read forever; version 1."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from git_hmopt.records.base import Decimal, Record
from git_hmopt.records.run import HotspotRecord, Objective


class SourceAnchor(Record):
    """A piece of source text and exactly where it stands: `path@blob:first-last`."""

    path: str
    blob: str
    first_line: int
    last_line: int
    text: str


class Neighbour(Record):
    """A node next to the hotspot in the static or runtime graph."""

    symbol: str
    relation: Literal["caller", "callee", "global", "struct", "macro", "config"]
    file: str | None = None
    line: int | None = None
    cost: Decimal | None = Field(default=None, description="share of the profile on this edge; null is unmeasured")


class Attempt(Record):
    """Something tried on this hotspot before, and what came of it."""

    run: str
    iteration: int
    strategy: str
    verdict: str
    reason: str


class LineCount(Record):
    """How often a source line's most executed instruction ran in the counted window."""

    line: int
    count: int


class Section(Record):
    """Every section in two lengths, so that any budget gives a stable prompt."""

    name: str
    short: str
    medium: str


class HotspotEvidence(Record):
    """All that is known about one hotspot."""

    hotspot: HotspotRecord
    source: SourceAnchor | None
    static: tuple[Neighbour, ...]
    runtime: tuple[Neighbour, ...]
    line_counts: tuple[LineCount, ...] = ()
    attempts: tuple[Attempt, ...] = ()
    risks: tuple[str, ...] = ()
    strategies: tuple[str, ...] = ()
    sections: tuple[Section, ...] = ()


class EvidencePack(Record):
    """What the proposer gets for one iteration of one run."""

    v: Literal[1] = 1
    run: str
    workload: str
    commit: str
    tree: str
    objective: Objective
    bottleneck: str
    bottleneck_reason: str
    hotspots: tuple[HotspotEvidence, ...]
    artifacts: tuple[str, ...]
    max_prompt_tokens: int = 8000
    priority_fields: tuple[str, ...] = ("source", "line_counts", "runtime", "static", "attempts", "risks", "strategies")
