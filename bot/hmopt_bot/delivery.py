# SPDX-License-Identifier: Apache-2.0
"""A webhook's delivery as it stands in the queue: a line of JSON, then the raw bytes that were signed."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

from git_hmopt.errors import CorruptRecordError

KIND = "webhook"
"""What the queue calls such a job; its key is `<name of the webhook>/<identity of the delivery>`."""
_VERSION = 1


@dataclass(frozen=True)
class Delivery:
    """What a forge said."""

    forge: str
    """The webhook's name."""
    event: str
    delivery: str
    received: float
    """Seconds since the epoch."""
    body: bytes = field(repr=False)

    def to_bytes(self) -> bytes:
        """Return a job's payload."""
        head = {"v": _VERSION, "forge": self.forge, "event": self.event}
        head |= {"delivery": self.delivery, "received": self.received}
        return json.dumps(head).encode() + b"\n" + self.body

    @classmethod
    def from_bytes(cls, payload: bytes) -> Delivery:
        """Read a job's payload; CorruptRecordError when it is none of a version we know."""
        line, _, body = payload.partition(b"\n")
        try:
            head = json.loads(line)
            if head.pop("v") != _VERSION:
                raise ValueError
            return cls(**head, body=body)
        except (ValueError, KeyError, TypeError, AttributeError):
            raise CorruptRecordError(
                "a delivery in the queue cannot be read", next_step="use the git hmopt that wrote it"
            ) from None
