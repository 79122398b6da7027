# SPDX-License-Identifier: Apache-2.0
"""Why a model gave no answer. Each is one of the project's errors, so that a run can record it and go on."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from git_hmopt.errors import HmoptError


@dataclass(frozen=True)
class Attempt:
    """One request that was made."""

    model: str
    outcome: str
    seconds: float
    tokens: int = 0
    """That were booked although no answer came of it: the server had worked."""
    cost: Decimal = Decimal(0)


class GatewayError(HmoptError):
    """No answer came from any model of the role."""

    attempts: tuple[Attempt, ...] = ()
    """The requests that were made."""


class PolicyError(GatewayError):
    """The endpoint or the model is not one that may be asked; nothing was sent."""


class EndedError(GatewayError):
    """There is no answer, and no later request of the run will have one."""


class BudgetSpentError(EndedError):
    """The run's tokens or money do not suffice for the request; nothing was sent."""


class ContextTooLongError(GatewayError):
    """The prompt does not fit the model; `limit` is the model's own number of tokens where it told one."""

    def __init__(self, what: str, *, limit: int | None = None, next_step: str | None = None) -> None:
        super().__init__(what, next_step=next_step)
        self.limit = limit


class CancelledError(GatewayError):
    """Somebody stopped the request."""
