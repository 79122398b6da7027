# SPDX-License-Identifier: Apache-2.0
"""What goes wrong with a forge: a delivery refused, an answer that is no yes. Transient or permanent is data."""

from __future__ import annotations

from typing import ClassVar

from git_hmopt.config.document import printable
from git_hmopt.errors import HmoptError

_SHOWN = 300


def said(text: str) -> str:
    """Return what a forge or a stranger said as it may stand in an error: one line, no escapes, bounded."""
    shown = printable(" ".join(text[: 2 * _SHOWN].split()))
    return shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}..."


class ForgeError(HmoptError):
    """Something about a forge."""


class DeliveryError(ForgeError):
    """A webhook's delivery is refused; `status` is the HTTP status it is answered with."""

    status: ClassVar[int] = 400


class ForgedError(DeliveryError):
    """Its signature is missing, or is not one of ours."""

    status = 401


class StaleError(DeliveryError):
    """Its signature is good and its time is not: too old, or ahead of our clock."""

    status = 401


class MalformedError(DeliveryError):
    """It is signed and is no event: truncated, not JSON, not what its event looks like, a header is missing."""


class OversizedError(DeliveryError):
    """It is larger than any delivery we expect."""

    status = 413


class UnsupportedError(DeliveryError):
    """It is well made in a way we do not read (a form instead of JSON)."""

    status = 415


class ApiError(ForgeError):
    """A forge's API did not do what it was asked; `status` is the HTTP status of its answer."""

    def __init__(self, what: str, *, status: int, next_step: str | None = None) -> None:
        super().__init__(what, next_step=next_step)
        self.status = status


class RateLimitedError(ApiError):
    """We asked too much; the same request may be sent again at `retry_at` (seconds since the epoch)."""

    def __init__(self, what: str, *, status: int, retry_at: float) -> None:
        super().__init__(what, status=status, next_step="the request waits and is sent again")
        self.retry_at = retry_at


class UnavailableError(ApiError):
    """The forge is broken, or busy with something; the same request may be sent again soon."""


class AuthenticationError(ApiError):
    """The token is not, or no longer, a valid one."""


class PermissionDeniedError(ApiError):
    """The token is valid and may not do this."""


class MissingError(ApiError):
    """What was asked for is not there (deleted by somebody), or is not shown to this token."""


class RejectedError(ApiError):
    """The forge understood and will not: the same request will never be accepted."""


class AnswerError(ApiError):
    """The answer is not what the forge's own description says it is."""


TRANSIENT: tuple[type[ApiError], ...] = (RateLimitedError, UnavailableError)
"""What may be tried again as it is."""
