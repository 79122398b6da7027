# SPDX-License-Identifier: Apache-2.0
"""What a KPI is, wherever it was derived from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Scope = Literal["system", "process", "thread", "cpu", "frame"]


@dataclass(frozen=True)
class Kpi:
    """One number about a capture, and what it rests on."""

    name: str
    scope: Scope
    who: str
    """Which process, CPU, interrupt, ...; empty for the whole of the scope."""
    value: str | None
    """Decimal text as `records.base.decimal_text` writes it; None is unknown, and `basis` says why."""
    unit: str
    n: int
    """How many frames, ticks, events, ... it was derived from."""
    basis: str
    """The rule, the source and the time that it rests on."""
