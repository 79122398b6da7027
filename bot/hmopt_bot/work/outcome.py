# SPDX-License-Identifier: Apache-2.0
"""How a job went: what its handler answers the worker."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Done:
    """It was done."""

    reason: str | None = None


@dataclass(frozen=True)
class Again:
    """It failed, and may not the next time."""

    at: float
    """Seconds since the epoch."""
    reason: str


@dataclass(frozen=True)
class Later:
    """It could not be begun now; that is no attempt."""

    at: float
    reason: str


@dataclass(frozen=True)
class Dead:
    """It failed for good."""

    reason: str


Outcome = Done | Again | Later | Dead
