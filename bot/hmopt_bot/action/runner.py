# SPDX-License-Identifier: Apache-2.0
"""How a step talks to the runner: annotations in the log, outputs and the summary in files, and text that says nothing.

docs.github.com/actions, "Workflow commands for GitHub Actions". A line of a log that begins with `::` is a command,
whoever wrote it; so what a build prints is shown between `stop-commands` and a token that nobody can guess.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import sys
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path

from git_hmopt.errors import StoreError
from git_hmopt.report.wording import fit
from hmopt_bot.forges.limits import Bound, Unit, cut

SUMMARY = Bound(1 << 20, Unit.BYTES)
"""What the runner takes of one step."""
NOTICES = 10
"""Annotations of one level that are shown of one step."""
_LONGEST = 4096
# docs: properties are parted by commas, and begin after a colon.
_IN_MESSAGE = {"%": "%25", "\r": "%0D", "\n": "%0A"}
_IN_PROPERTY = {**_IN_MESSAGE, ":": "%3A", ",": "%2C"}


class Level(StrEnum):
    """How an annotation is shown."""

    NOTICE = "notice"
    WARNING = "warning"
    ERROR = "error"


def annotate(level: Level, message: str, *, title: str = "git hmopt", file: str | None = None) -> None:
    """Show a line in the log and on the job's page; at the file, where one is named."""
    properties = {"title": title, **({"file": file} if file else {})}
    told = ",".join(f"{name}={_escaped(value, _IN_PROPERTY)}" for name, value in properties.items())
    print(f"::{level} {told}::{_escaped(message, _IN_MESSAGE)}", flush=True)


def _escaped(text: str, table: dict[str, str]) -> str:
    # The screen of a terminal is not the only one that obeys escape sequences: logs are read with `less -R`.
    shown = fit(text.encode("utf-8", "replace").decode(), _LONGEST)
    return "".join(table.get(one, one) for one in shown)


@contextlib.contextmanager
def unheard() -> Iterator[None]:
    """Have the runner obey nothing that is printed meanwhile."""
    token = secrets.token_hex(16)
    print(f"::stop-commands::{token}", flush=True)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        # On a line of its own, whatever was printed last.
        print(f"\n::{token}::", flush=True)


def put_out(name: str, value: str) -> None:
    """Set an output of the step: a name of ours, and one line."""
    if "\n" in value or "\r" in value:
        raise ValueError(f"the output {name} has more than one line")
    _append("GITHUB_OUTPUT", f"{name}={value}\n")


def put_summary(text: str) -> None:
    """Show Markdown on the job's page, cut to what it takes."""
    _append("GITHUB_STEP_SUMMARY", cut(text, SUMMARY))


def _append(variable: str, text: str) -> None:
    path = Path(os.environ.get(variable) or os.devnull)
    try:
        with path.open("a", encoding="utf-8") as stream:
            stream.write(text)
    except OSError as error:
        raise StoreError(f"{variable} '{path}' cannot be written: {error.strerror}") from error
