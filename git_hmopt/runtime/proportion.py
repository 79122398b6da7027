# SPDX-License-Identifier: Apache-2.0
"""How sure a share of few counts is."""

from __future__ import annotations

import math

Z = 1.96
"""Standard deviations on either side of the mean that hold 95 % of a normal distribution."""


def wilson(hits: int, n: int) -> tuple[float, float]:
    """Return the ends of the 95 % score interval of the proportion `hits` of `n`, 0..1 (E. B. Wilson, JASA 22, 1927).

    Unlike the textbook's, it has a width where nothing or everything is a hit. ValueError when `n` is not positive.
    """
    if not 0 <= hits <= n or n == 0:
        raise ValueError(f"{hits} of {n} is no proportion")
    share = hits / n
    spread = Z * math.sqrt(share * (1 - share) / n + Z**2 / (4 * n**2))
    middle, scale = share + Z**2 / (2 * n), 1 + Z**2 / n
    return max(0.0, (middle - spread) / scale), min(1.0, (middle + spread) / scale)
