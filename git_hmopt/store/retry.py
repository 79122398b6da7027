# SPDX-License-Identifier: Apache-2.0
"""Repeat a step that lost a race, with jitter, until it wins or its time is up."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

FIRST_PAUSE_S = 0.004
"""About one `git update-ref`: the time a rival needs to be through."""
LONGEST_PAUSE_S = 0.25


def retried(step: Callable[[], T], *, transient: tuple[type[Exception], ...], limit_s: float = 60.0) -> T:
    """Return what `step` returns, repeating it while it raises one of `transient`; after `limit_s` let that out."""
    deadline = time.monotonic() + limit_s
    pause = FIRST_PAUSE_S
    while True:
        try:
            return step()
        except transient:
            if time.monotonic() >= deadline:
                raise
        # Rivals that wait equally long meet again; a random share of the pause parts them.
        time.sleep(random.uniform(0, pause))
        pause = min(2 * pause, LONGEST_PAUSE_S)
