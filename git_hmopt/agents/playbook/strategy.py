# SPDX-License-Identifier: Apache-2.0
"""What a strategy is: it says whether a hot function has its shape, and rewrites it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Protocol, TypeVar

from git_hmopt.agents.proposer import Source
from git_hmopt.psg.syntax import Node
from git_hmopt.psg.unit import Function, Unit
from git_hmopt.records.evidence import HotspotEvidence

Match = TypeVar("Match")


@dataclass(frozen=True)
class View:
    """What a strategy sees: one function, its syntax, its unit, and what was measured about it."""

    unit: Unit
    function: Function
    tree: Node
    evidence: HotspotEvidence
    hot: frozenset[str]
    """The source names of all hotspots of the pack."""
    source: Source = field(compare=False)

    @property
    def text(self) -> bytes:
        """Return the bytes of the file the function stands in."""
        return self.unit.sources[self.function.file]

    @property
    def measured(self) -> bool:
        """Say whether anything was: a run that goes without its profile knows neither what is hot nor how often."""
        return self.evidence.hotspot.score is not None

    @property
    def counts(self) -> Mapping[int, int]:
        """Return how often each measured line ran: the executions of its most executed instruction."""
        return {count.line: count.count for count in self.evidence.line_counts}


@dataclass(frozen=True)
class Miss:
    """Why a strategy does not apply."""

    reason: str


@dataclass(frozen=True)
class Rewrite:
    """What a strategy made: whole new contents by path, and the words of its commit message."""

    edits: Mapping[str, bytes]
    summary: str
    """The title after its `subsystem: ` prefix: imperative, lower case."""
    paragraphs: Sequence[str]
    """What and why, unwrapped, without numbers that would have to be measured."""


class Strategy(Protocol[Match]):
    """One kind of rewrite."""

    name: str
    classes: tuple[str, ...]
    """The bottleneck classes it serves (`records.bottleneck`)."""
    summary: str
    prior: float
    """The share of a hotspot's cost, 0..1, that it is expected to remove; orders what is tried, claims nothing."""
    prior_source: str
    """Where the prior comes from."""

    def match(self, view: View) -> Match | Miss:
        """Return what the rewrite needs to know, or why the shape is not there."""
        ...

    def rewrite(self, view: View, match: Match) -> Rewrite:
        """Return the changed files."""
        ...


def subsystem(path: str) -> str:
    """Return the prefix of a kernel commit title for a file: its path without the suffix."""
    return str(PurePosixPath(path).with_suffix(""))
