# SPDX-License-Identifier: Apache-2.0
"""A run that is to be driven, as it stands in the queue."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from git_hmopt.errors import CorruptRecordError
from git_hmopt.store.repository import Repository

KIND = "run"
"""What the queue calls such a job."""
SUBJECT = "build trees"
"""Runs share the repository's build trees, so that they are driven one after the other."""


def queue_directory(repository: Repository) -> Path:
    """Return where a repository's queue lies, and the logs of what was driven from it."""
    return repository.home / "serve"


class JobPayload(BaseModel):
    """What a job's payload says, as JSON."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    v: Literal[1] = 1

    def to_bytes(self) -> bytes:
        """Return the job's payload."""
        return self.model_dump_json(exclude_none=True).encode()

    @classmethod
    def from_bytes(cls, payload: bytes) -> Self:
        """Read a job's payload; CorruptRecordError when it is none."""
        try:
            return cls.model_validate_json(payload)
        except ValidationError as error:
            raise CorruptRecordError(
                f"the job cannot be read: {error.errors()[0]['msg']}", next_step="use the git hmopt that wrote it"
            ) from error


class RunJob(JobPayload):
    """What to do. The run has its name from the start: whoever takes the job after a kill knows whether it began."""

    run: str
    workload: str
    base: str | None = None
    """A commit or a branch of runs; None for a run that is gone on with."""
    baseline: str | None = None
    """A run whose profile and noise floor are taken over."""
    iterations: int | None = None
    wall_s: int | None = None
    seed: int | None = None
    confined: bool = False
    """Whether nothing may run outside of a sandbox, whatever this host's settings say."""

    def begin(self) -> list[str]:
        """Return the command that begins the run."""
        # What the operator has not committed is no part of a run.
        words = ["optimize", "--name", self.run, "--workload", self.workload, "--allow-dirty"]
        options = {
            "--base": self.base,
            "--baseline": self.baseline,
            "--iterations": self.iterations,
            "--time": self.wall_s,
            "--seed": self.seed,
        }
        words += ["--sandbox"] if self.confined else []
        return words + [word for name, value in options.items() if value is not None for word in (name, str(value))]

    def go_on(self) -> list[str]:
        """Return the command that goes on with it."""
        return ["resume", self.run]
