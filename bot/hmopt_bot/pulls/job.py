# SPDX-License-Identifier: Apache-2.0
"""Jobs about pull requests, as they stand in the queue: to measure something, and to tell what came of it."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from git_hmopt.errors import CorruptRecordError
from hmopt_bot.forges.values import RepositoryName
from hmopt_bot.pulls.ledger import Ask

MEASURE, TELL = "measure", "tell"
"""What the queue calls such jobs."""


def subject_of(webhook: str, repository: RepositoryName, number: int) -> str:
    """Return what all jobs about a pull request have for a subject: they are done one after the other."""
    return f"{webhook}:{repository}#{number}"


class _Job(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    v: Literal[1] = 1
    webhook: str
    number: int
    ask: Ask

    @property
    def key(self) -> str:
        """Return its key in the queue."""
        return f"{self.webhook}/{self.number}/{self.ask.id}"

    def to_bytes(self) -> bytes:
        """Return the job's payload."""
        return self.model_dump_json(exclude_defaults=True).encode()

    @classmethod
    def from_bytes(cls, payload: bytes) -> Self:
        """Read a job's payload; CorruptRecordError when it is none."""
        try:
            return cls.model_validate_json(payload)
        except ValidationError as error:
            raise CorruptRecordError(
                f"the job cannot be read: {error.errors()[0]['msg']}", next_step="use the git hmopt that wrote it"
            ) from error


class MeasureJob(_Job):
    """Something to be measured."""


class TellJob(_Job):
    """What came of it."""
