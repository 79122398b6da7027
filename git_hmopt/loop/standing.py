# SPDX-License-Identifier: Apache-2.0
"""A run's story as it stands now: what its journals tell, and whether anybody is still at work on it."""

from __future__ import annotations

from dataclasses import replace

from git_hmopt.loop.lock import INTERRUPTED, interrupted
from git_hmopt.records.words import RunId
from git_hmopt.report.story import RunStory, story_of
from git_hmopt.store.journal import Journal
from git_hmopt.store.repository import Repository


def told(repository: Repository, run: RunId) -> RunStory:
    """Return a run's story from its journals; INTERRUPTED is its status when it is open and nobody works on it."""
    story = story_of(Journal(repository).read(run))
    gone = interrupted(repository, {run: story.status})
    return replace(story, status=INTERRUPTED) if gone else story
