# SPDX-License-Identifier: Apache-2.0
"""The error tree: every error says what happened, where, and what to do next, and carries its exit code.

Exit codes are those of git and of `git bisect run`: 0 yes, 1 no, 125 cannot test, 128 environment or repository,
129 usage, 130 interrupted.
"""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """What a `git hmopt` command answers its caller with."""

    OK = 0
    NO = 1
    CANNOT_TEST = 125
    ENVIRONMENT = 128
    USAGE = 129
    INTERRUPTED = 130


class HmoptError(Exception):
    """Something the user can act on; `str()` is one line, ending in the next step where there is one."""

    exit_code: ExitCode = ExitCode.ENVIRONMENT

    def __init__(self, what: str, *, next_step: str | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.next_step = next_step

    def __str__(self) -> str:
        return f"{self.what}; {self.next_step}" if self.next_step else self.what


class UsageError(HmoptError):
    """The command line was wrong."""

    exit_code = ExitCode.USAGE


class ConfigError(HmoptError):
    """`.hmopt.yaml`, an overlay or git configuration holds something we do not accept."""

    exit_code = ExitCode.USAGE


class UntrustedError(ConfigError):
    """The repository's commands were never trusted here, or changed since."""

    exit_code = ExitCode.ENVIRONMENT


class RepositoryError(HmoptError):
    """The git repository is not one this command can work in."""


class StoreError(HmoptError):
    """A record, note, ref or artifact could not be written or read."""


class RefConflictError(StoreError):
    """Somebody moved a ref between our read and our write; the caller may read again and retry."""


class CorruptRecordError(StoreError):
    """Stored bytes are not what their name or schema says."""


class MissingProgramError(HmoptError):
    """A program we need is not installed."""

    def __init__(self, program: str, *, lost: str, install: str | None = None) -> None:
        super().__init__(
            f"'{program}' is not installed: {lost}", next_step=f"install it with: {install}" if install else None
        )
        self.program = program


class ProgramError(HmoptError):
    """A program we started did not do its job; `tail` is the end of what it printed."""

    exit_code = ExitCode.CANNOT_TEST

    def __init__(self, what: str, *, tail: bytes = b"", next_step: str | None = None) -> None:
        super().__init__(what, next_step=next_step)
        self.tail = tail


class TimeLimitError(ProgramError):
    """A program was killed, with its whole process group, at its time limit."""


class AdapterError(HmoptError):
    """An adapter cannot be found, or cannot work on this host."""

    exit_code = ExitCode.CANNOT_TEST


class MeasurementError(HmoptError):
    """A measurement could not be made: no marker, truncated log, image that does not boot."""

    exit_code = ExitCode.CANNOT_TEST


class PatchError(HmoptError):
    """A proposed edit does not apply or leaves the tree."""

    exit_code = ExitCode.NO


class InterruptedRunError(HmoptError):
    """The user interrupted the run; what was recorded stays."""

    exit_code = ExitCode.INTERRUPTED
