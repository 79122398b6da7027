# SPDX-License-Identifier: Apache-2.0
"""What a rule of the taxonomy is, and what it found."""

from __future__ import annotations

from dataclasses import dataclass

from git_hmopt.records.bottleneck import CLASSES, BottleneckClass


@dataclass(frozen=True)
class Rule:
    """When a class is said to hold."""

    bottleneck: BottleneckClass
    condition: str
    """In words."""
    threshold: str
    """With its unit."""
    why: str
    """Where the number comes from, or why it is that one."""


@dataclass(frozen=True)
class Bottleneck:
    """A class and why, in words with the numbers that decided; unknown has no rule."""

    name: BottleneckClass
    reason: str
    share: float | None = None
    """Of the profile, or of the capture's time, that it explains, 0..1; None where the rule cannot tell."""
    rule: Rule | None = None
    evidence: tuple[str, ...] = ()


@dataclass(frozen=True)
class Undecided:
    """A class nobody can say anything about, and why."""

    name: BottleneckClass
    reason: str


def ordered(found: list[Bottleneck]) -> tuple[Bottleneck, ...]:
    """Return what explains most first; what explains a share nobody knows comes last, in the classes' order."""
    return tuple(
        sorted(found, key=lambda one: (one.share is None, -(one.share or 0.0), CLASSES.index(one.name), one.reason))
    )


def percent(share: float) -> str:
    """Return a share as people read it."""
    return f"{100 * share:.1f} %"
