# SPDX-License-Identifier: Apache-2.0
"""What several commands do with a run: find it by a part of its name, print its story."""

from __future__ import annotations

import contextlib
import shutil
import sys

from git_hmopt.errors import ExitCode
from git_hmopt.records.words import RunId
from git_hmopt.report.screen import COLUMNS, one_screen
from git_hmopt.report.story import RunStory
from git_hmopt.store.cache import Cache
from git_hmopt.store.queries import find_run
from git_hmopt.store.repository import Repository


def named_run(repository: Repository, text: str | None) -> RunId:
    """Return the run that `text` abbreviates; the latest without a text."""
    with Cache(repository).reading() as database:
        return find_run(database, text)


def shown(story: RunStory, *, as_json: bool) -> str:
    """Return a story as one screen of text, as wide as the terminal there is, or as one JSON object."""
    if as_json:
        from git_hmopt.report.story_json import as_json as json_of

        return json_of(story)
    columns = shutil.get_terminal_size().columns if sys.stdout.isatty() else COLUMNS
    return one_screen(story, columns).rstrip("\n")


def finished(story: RunStory, *, as_json: bool) -> ExitCode:
    """Print how a run ended and return 0 when something was accepted, else 1."""
    # `optimize | head -1` has the verdict in its exit code all the same.
    with contextlib.suppress(BrokenPipeError):
        print(shown(story, as_json=as_json))
    return ExitCode.OK if story.accepted else ExitCode.NO
