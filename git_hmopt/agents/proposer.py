# SPDX-License-Identifier: Apache-2.0
"""What a proposer is: it decides what to try next and writes one change, from values alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from git_hmopt.psg.unit import Unit
from git_hmopt.records.evidence import EvidencePack


class Source(Protocol):
    """The source tree as the best so far has it; read-only."""

    def read(self, path: str) -> bytes | None:
        """Return a file's bytes, or None when there is no such file."""
        ...

    def unit(self, path: str) -> Unit:
        """Return the parsed translation unit of a file; ConfigError or ProgramError when it has none."""
        ...

    def closed(self, path: str) -> str | None:
        """Return why no candidate may touch a file, or None when one may."""
        ...


@dataclass(frozen=True)
class Attempt:
    """Something this run already tried, refusals included; the first three fields are its identity."""

    symbol: str
    file: str
    strategy: str
    outcome: str
    """The verdict, or `refused`."""
    reason: str = ""

    @property
    def key(self) -> tuple[str, str, str]:
        """Return what makes two attempts the same."""
        return (self.symbol, self.file, self.strategy)


@dataclass(frozen=True)
class Decision:
    """What to try next, and why."""

    symbol: str
    """The hotspot; empty when a patch names none."""
    file: str
    """The source file, or the patch's name."""
    strategy: str
    reason: str
    candidate: tuple[int, int] | None = None
    """Iteration and number of a candidate that is written already."""

    @property
    def key(self) -> tuple[str, str, str]:
        """Return the identity that an `Attempt` of this decision has."""
        return (self.symbol, self.file, self.strategy)


@dataclass(frozen=True)
class End:
    """Nothing more to try. `details` says of each thing that was passed over why."""

    reason: str
    details: tuple[str, ...] = ()


@dataclass(frozen=True)
class Proposal:
    """One change: whole new contents by path (None deletes), or a diff to apply instead."""

    title: str
    rationale: str
    """The commit message's body, wrapped; it holds no numbers, those are measured later."""
    strategy: str
    symbol: str | None
    edits: Mapping[str, bytes | None] = field(default_factory=dict)
    diff: bytes | None = None
    author: str | None = None
    """`Name <address>` where somebody else wrote it."""


@dataclass(frozen=True)
class Refusal:
    """A decision that came to nothing, and why."""

    reason: str


class Proposer(Protocol):
    """Decides and generates; deterministic, without I/O except through `Source`."""

    @property
    def name(self) -> str:
        """Return what a run records as its proposer."""
        ...

    def decide(self, pack: EvidencePack, attempts: Sequence[Attempt], source: Source) -> Decision | End:
        """Choose what to try next, or end with the reason."""
        ...

    def generate(self, decision: Decision, pack: EvidencePack, source: Source) -> Proposal | Refusal:
        """Write the change that was decided on."""
        ...
