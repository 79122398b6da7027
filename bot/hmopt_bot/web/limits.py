# SPDX-License-Identifier: Apache-2.0
"""How much is taken from whom: sizes, times, and requests a minute."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """What a request may be and take."""

    body_bytes: int = 64 << 10
    webhook_bytes: int = 4 << 20
    """A comment of 65,536 characters, each escaped as twelve bytes, twice in a payload, and then some."""
    buffered_bytes: int = 64 << 20
    """Of bodies that are being received, all together."""
    header_bytes: int = 16 << 10
    body_s: float = 10.0
    header_s: float = 10.0
    idle_s: int = 5
    connections: int = 512
    streams: int = 32
    """Clients that follow events at the same time; each is a timer."""
    requests_a_minute: int = 600
    forged_a_minute: int = 60
    """Webhooks with a wrong signature, from one address."""


class Buckets:
    """A token bucket for each key: `a_minute` requests, of which a third may come at once."""

    def __init__(self, a_minute: int, *, clock: Callable[[], float] = time.monotonic, most_keys: int = 10_000) -> None:
        self._rate = a_minute / 60
        self._size = max(1.0, a_minute / 3)
        self._clock = clock
        self._most = most_keys
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._lock = threading.Lock()

    def wait(self, key: str, *, spend: bool = True) -> float:
        """Take one from a key's bucket; return 0, or the seconds until there is one, when nothing was taken."""
        with self._lock:
            now = self._clock()
            left, since = self._left.pop(key, (self._size, now))
            left = min(self._size, left + (now - since) * self._rate)
            enough = left >= 1
            self._left[key] = (left - 1 if enough and spend else left, now)
            if len(self._left) > self._most:
                # The one that asked longest ago has the fullest bucket, or nearly so.
                self._left.popitem(last=False)
            return 0.0 if enough else (1 - left) / self._rate
