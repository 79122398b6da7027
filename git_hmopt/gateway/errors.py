# SPDX-License-Identifier: Apache-2.0
"""Why a model gave no answer. Each is one of the project's errors, so that a run can record it and go on."""

from __future__ import annotations

from dataclasses import dataclass

from git_hmopt.errors import HmoptError


@dataclass(frozen=True)
class Attempt:
    """One request that was made."""

    model: str
    outcome: str
    seconds: float


class GatewayError(HmoptError):
    """No answer came from any model of the role."""

    attempts: tuple[Attempt, ...] = ()
    """The requests that were made."""


class PolicyError(GatewayError):
    """The endpoint or the model is not one that may be asked; nothing was sent."""


class BudgetSpentError(GatewayError):
    """The run's tokens or money do not suffice for the request; nothing was sent."""


class ContextTooLongError(GatewayError):
    """The prompt does not fit the model; `limit` is the model's own number of tokens where it told one."""

    def __init__(self, what: str, *, limit: int | None = None, next_step: str | None = None) -> None:
        super().__init__(what, next_step=next_step)
        self.limit = limit


class CancelledError(GatewayError):
    """Somebody stopped the request."""
