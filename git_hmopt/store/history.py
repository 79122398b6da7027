# SPDX-License-Identifier: Apache-2.0
"""What git's own words name: a point in time, the commits of a range, the first-parent line of a branch.

Imports neither pydantic nor pygit2.
"""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import dataclass
from datetime import UTC, datetime

from git_hmopt.errors import UsageError
from git_hmopt.records.words import Oid
from git_hmopt.store.repository import Repository

_WORDS = {"today": "midnight"}
"""Words that git learned late, in those it always knew."""
_DAY = "%Y-%m-%d"


@dataclass(frozen=True)
class PlainCommit:
    """A commit as `git log` tells it."""

    oid: Oid
    tree: Oid
    parent: Oid | None
    """The first one; None for a root, and where a shallow clone is cut."""
    day: str
    """Of the committer, UTC, as 2026-01-31."""
    title: str


@dataclass(frozen=True)
class Range:
    """The commits that `end` reaches and `start` does not."""

    start: Oid | None
    end: Oid


def time_of(repository: Repository, text: str) -> str:
    """Return a time in git's words (`2 weeks ago`, 2026-01-31) as records write theirs; UsageError when it is none.

    A day alone begins at its midnight: git itself would take the present time of day on that day.
    """
    words = _WORDS.get(text.strip().lower(), text)
    with contextlib.suppress(ValueError):
        words = f"{datetime.strptime(text, _DAY):{_DAY}} 00:00:00"
    # The door to git lets no time zone through; a day is the user's own.
    zone = {name: value for name, value in os.environ.items() if name == "TZ"}
    said = repository.git.run("rev-parse", f"--since={words}", environment=zone).text
    seconds = int(said.removeprefix("--max-age="))
    # What git does not understand it takes for the present, without a word.
    if words == text and text.strip().lower() != "now" and abs(seconds - time.time()) < 2:
        raise UsageError(f"git knows no date '{text}'", next_step="such as: 2026-01-31, '2 weeks ago', yesterday")
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"


def range_of(repository: Repository, text: str) -> Range:
    """Return the range that `A..B` names (an end that is left out is HEAD), or all that one revision reaches.

    UsageError for three dots; RepositoryError when an end is no commit of this clone.
    """
    start, dots, end = text.partition("..")
    if not dots:
        return Range(None, repository.resolve(text))
    if end.startswith("."):
        raise UsageError(f"'{text}' has three dots", next_step=f"write two: {start}..{end.lstrip('.')}")
    return Range(repository.resolve(start or "HEAD"), repository.resolve(end or "HEAD"))


def commits_of(repository: Repository, text: str) -> frozenset[Oid]:
    """Return the commits of the range `A..B`; UsageError when it is none."""
    if ".." not in text:
        raise UsageError(f"'{text}' is no range of commits", next_step=f"give two ends: {text}..HEAD")
    wanted = range_of(repository, text)
    listed = repository.git.run("rev-list", wanted.end, f"^{wanted.start}").text
    return frozenset(map(Oid, listed.split()))


def first_parent_line(repository: Repository, wanted: Range, *, since: str | None = None) -> list[PlainCommit]:
    """Return the commits from a range's end down along first parents, newest first.

    With `since`, a time as records write it, the walk ends at the first commit that is older.
    """
    rest = [f"^{wanted.start}"] if wanted.start else []
    rest += [f"--since={since}"] if since else []
    answer = repository.git.run(
        *("log", "--first-parent", "--no-show-signature", "--no-notes", "--encoding=UTF-8", "--no-patch"),
        *("--format=%H%x00%T%x00%P%x00%ct%x00%s", wanted.end, *rest),
    )
    # Not splitlines: a title may hold characters that Python takes for the end of a line.
    return [_commit(line) for line in answer.text.split("\n") if line]


def _commit(line: str) -> PlainCommit:
    oid, tree, parents, seconds, title = line.split("\0")
    day = f"{datetime.fromtimestamp(int(seconds), UTC):{_DAY}}"
    return PlainCommit(Oid(oid), Oid(tree), Oid(parents.split(" ")[0]) if parents else None, day, title)
