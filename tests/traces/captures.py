# SPDX-License-Identifier: Apache-2.0
"""Captures for tests: real ones that lie beside the repository, and what a table says in plain words."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from git_hmopt.traces.capture import Capture, Format, Losses
from git_hmopt.traces.source import Source
from git_hmopt.traces.tables import Samples

CAPTURES = Path(__file__).parents[3] / "shared" / "data" / "captures"


def captured(name: str) -> Path:
    """Return a recorded capture; skip the test when it is absent."""
    path = CAPTURES / name
    if not path.is_file():
        pytest.skip(f"the recorded capture {name} is not at {CAPTURES}")
    return path


def samples_of(form: Format, path: Path) -> tuple[list[Samples], Losses]:
    """Return what a format reads from a file, and what it lost."""
    losses = Losses()
    capture: Capture = form.read(Source(path))
    assert capture.format == form.name
    assert capture.read_samples is not None
    return list(capture.read_samples(losses)), losses


def stacks(samples: Samples) -> Counter[str]:
    """Return the weight of every stack, written as a folded one."""
    total: Counter[str] = Counter()
    for stack, weight in samples.weight_by_stack().items():
        total[";".join(samples.frames[index].symbol for index in stack)] += weight
    return total
