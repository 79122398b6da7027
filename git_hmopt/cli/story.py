# SPDX-License-Identifier: Apache-2.0
"""What several commands do with a run: find it by a part of its name, read its story, print it."""

from __future__ import annotations

import json
from dataclasses import asdict

from git_hmopt.errors import ExitCode
from git_hmopt.records.words import RunId
from git_hmopt.report.screen import one_screen
from git_hmopt.report.story import RunStory, fold
from git_hmopt.store.cache import Cache
from git_hmopt.store.journal import Journal
from git_hmopt.store.queries import find_run
from git_hmopt.store.repository import Repository


def named_run(repository: Repository, text: str | None) -> RunId:
    """Return the run that `text` abbreviates; the latest without a text."""
    with Cache(repository).reading() as database:
        return find_run(database, text)


def story_of(repository: Repository, run: RunId) -> RunStory:
    """Return a run's story from its journals."""
    return fold([operation.model_dump(mode="json") for operation in Journal(repository).read(run).operations])


def as_json(story: RunStory) -> str:
    """Return a story as one JSON object."""
    return json.dumps({"v": 1, "story": asdict(story)}, default=str)


def finished(story: RunStory, *, as_json: bool) -> ExitCode:
    """Print how a run ended and return 0 when something was accepted, else 1."""
    print(_json(story) if as_json else one_screen(story).rstrip("\n"))
    return ExitCode.OK if story.accepted else ExitCode.NO


_json = as_json
