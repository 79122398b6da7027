# SPDX-License-Identifier: Apache-2.0
"""The evidence pack: what a proposer is shown about one run's hotspots. Read forever; version 4.

Version 1 had one bottleneck and no templates; version 2 nothing of other runs, of slow times, of what hot functions
share, and no measured changes of the run's own; before version 4 no evidence was left out on purpose, and every hotspot
had a score. They are read, and written again as they were.
"""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from git_hmopt.records.base import Decimal, Record
from git_hmopt.records.changes import MetricChange
from git_hmopt.records.retrieved import Retrieved
from git_hmopt.records.run import HotspotRecord, Objective
from git_hmopt.records.windows import Joined, TraceWindows
from git_hmopt.records.words import Without


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


class Template(Record):
    """What to try against a bottleneck class: words for a person or a model, to be held against the code."""

    name: str
    bottleneck: str
    what_to_try: str
    preconditions: tuple[str, ...]
    risks: tuple[str, ...]
    example: str = Field(description="the shape of the edit, as lines of a diff")
    source: str


class BottleneckNote(Record):
    """A rule of the taxonomy that holds."""

    name: str
    reason: str
    share: Decimal | None = Field(
        description="of the profile, or of the capture's time, that it explains, 0..1; null where the rule cannot tell"
    )
    condition: str
    threshold: str
    why: str = Field(description="where the threshold comes from")
    evidence: tuple[str, ...]


class UndecidedNote(Record):
    """A class that nothing here could decide, and why."""

    name: str
    reason: str


def _empty(value: object) -> bool:
    return not value


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
    # Left out where there is none, so that packs of version 1 are still written as the same bytes.
    templates: tuple[Template, ...] = Field(default=(), exclude_if=_empty)
    retrieved: Retrieved | None = Field(default=None, exclude_if=_empty, description="null where nobody looked")
    # Of version 3: what ran while something was slow, and what the source says about hot functions together.
    windows: tuple[str, ...] = Field(
        default=(), exclude_if=_empty, description="the slow times that this function had a part in, a line each"
    )
    joins: tuple[str, ...] = Field(
        default=(), exclude_if=_empty, description="the pack's joins that concern this function, a line each"
    )
    sections: tuple[Section, ...] = ()


class EvidencePack(Record):
    """What the proposer gets for one iteration of one run."""

    v: Literal[1, 2, 3, 4] = 4
    run: str
    workload: str
    commit: str
    tree: str
    objective: Objective
    bottleneck: str
    bottleneck_reason: str
    bottlenecks: tuple[BottleneckNote, ...] = Field(
        default=(), exclude_if=_empty, description="every rule that holds, what explains most first"
    )
    undecided: tuple[UndecidedNote, ...] = Field(default=(), exclude_if=_empty)
    changes: tuple[MetricChange, ...] = Field(
        default=(), exclude_if=_empty, description="what was measured from the baseline to best, oldest change first"
    )
    hotspots: tuple[HotspotEvidence, ...]
    # Of version 3, as in the hotspots.
    windows: tuple[TraceWindows, ...] = Field(
        default=(), exclude_if=_empty, description="the slow times of captures, the newest capture first"
    )
    joins: tuple[Joined, ...] = Field(
        default=(),
        exclude_if=_empty,
        description="knobs, tables and fields of hot functions, the dearest of each first",
    )
    system: tuple[Section, ...] = Field(
        default=(), exclude_if=_empty, description="what the pack says of the system as a whole, in two lengths"
    )
    # Of version 4.
    without: tuple[Without, ...] = Field(
        default=(), exclude_if=_empty, description="what evidence is left out, so that its worth can be measured"
    )
    artifacts: tuple[str, ...]
    max_prompt_tokens: int = 8000
    priority_fields: tuple[str, ...] = (
        "source", "line_counts", "runtime", "static", "attempts", "risks", "strategies", "templates",
        "windows", "joins", "past_fixes", "similar_runs", "similar_code",
    )  # fmt: skip

    @model_validator(mode="after")
    def _of_its_version(self) -> Self:
        newer = self.bottlenecks or self.undecided or any(one.templates for one in self.hotspots)
        if self.v == 1 and newer:
            raise ValueError("a pack of version 1 has no bottlenecks, undecided or templates")
        third = self.windows or self.joins or self.system or self.changes
        if self.v < 3 and (third or any(one.windows or one.joins or one.retrieved for one in self.hotspots)):
            raise ValueError(
                f"a pack of version {self.v} has no windows, joins, system or changes, and nothing retrieved"
            )
        if self.v < 4 and (self.without or any(one.hotspot.v > 1 for one in self.hotspots)):
            raise ValueError(f"a pack of version {self.v} has all its evidence, and hotspots of version 1")
        return self
