# SPDX-License-Identifier: Apache-2.0
"""One command of `git hmopt`, whose log the runner does not obey."""

from __future__ import annotations

import contextlib
import io
import sys
from dataclasses import dataclass
from typing import TextIO

from git_hmopt.cli.main import main as hmopt
from hmopt_bot.action.runner import unheard


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int
    output: str
    complaint: str
    """Its last line of complaint."""


class _Heard(io.TextIOBase):
    """Standard error, passed on as it comes; the last of it is kept."""

    def __init__(self, to: TextIO) -> None:
        self._to = to
        self.last = ""

    def write(self, text: str) -> int:
        self.last = (self.last + text)[-8192:]
        return self._to.write(text)

    def flush(self) -> None:
        self._to.flush()


def asked(arguments: list[str]) -> Done:
    """Run a command of `git hmopt` in this process, so that the runner's signals end it as they end the command."""
    output, errors = io.StringIO(), _Heard(sys.stderr)
    with unheard(), contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
        code = hmopt(arguments)
    said = [line for line in errors.last.splitlines() if line.startswith("git hmopt: ")]
    complaint = said[-1].removeprefix("git hmopt: ") if said else f"git hmopt {arguments[0]} ended with {code}"
    return Done(code, output.getvalue(), complaint)
