# SPDX-License-Identifier: Apache-2.0
"""Jobs about pull requests, as they stand in the queue: to measure something, and to tell what came of it."""

from __future__ import annotations

from hmopt_bot.forges.values import RepositoryName
from hmopt_bot.pulls.ledger import Ask
from hmopt_bot.work.job import JobPayload

MEASURE, TELL = "measure", "tell"
"""What the queue calls such jobs."""


def subject_of(webhook: str, repository: RepositoryName, number: int) -> str:
    """Return what all jobs about a pull request have for a subject: they are done one after the other."""
    return f"{webhook}:{repository}#{number}"


class _Job(JobPayload):
    webhook: str
    number: int
    ask: Ask

    @property
    def key(self) -> str:
        """Return its key in the queue."""
        return f"{self.webhook}/{self.number}/{self.ask.id}"


class MeasureJob(_Job):
    """Something to be measured."""


class TellJob(_Job):
    """What came of it."""
