# SPDX-License-Identifier: Apache-2.0
"""All that a run is started with, recorded with it so that another process can go on."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from git_hmopt.records.base import Record
from git_hmopt.records.words import Without


class ExemptionRecord(Record):
    """An endpoint outside the internal networks that one run may ask, who said so, and why."""

    endpoint: str
    who: str
    why: str


class RunPlan(Record):
    """What the command line and the configuration settled before the first node."""

    v: Literal[1] = 1
    run: str
    uuid: str
    workload: str
    proposer: str
    base_commit: str
    seed: int
    origin: str
    """Where the configuration's bytes came from, for messages: a path, or a path at a commit."""
    configuration: str
    """sha256 of the configuration's bytes, kept in the artifact store."""
    sandboxed: bool = True
    iterations: int | None = None
    """Overrides the configuration's budget."""
    wall_s: int | None = None
    settings: dict[str, str] = Field(default_factory=dict)
    """What the person who started it set above the configuration, by key (`measure.layouts`), and `jobs`."""
    without: tuple[Without, ...] = Field(default=(), exclude_if=lambda value: not value)
    """What evidence the run goes without; left out where it has all, as in all that was written before."""
    parent: str | None = None
    """The run of another clone that this one goes on with."""
    exemption: ExemptionRecord | None = Field(default=None, exclude_if=lambda value: value is None)
    """What this run may ask beside the rules for models."""
    started: str
