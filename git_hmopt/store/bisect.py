# SPDX-License-Identifier: Apache-2.0
"""What `git bisect` is looking for in this working tree, from the files it keeps (Documentation/git-bisect.txt)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from git_hmopt.records.words import Oid
from git_hmopt.store.repository import Repository


@dataclass(frozen=True)
class Bisect:
    """A bisection that is going on."""

    good: Oid | None
    """The first commit that was called good (or old, or whatever the user's own word is); later ones are git's."""


def bisect_of(repository: Repository) -> Bisect | None:
    """Return the working tree's bisection, or None when there is none."""
    try:
        log = (repository.git_dir / "BISECT_LOG").read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return None
    found = re.search(rf"^# {re.escape(_good_word(repository))}: \[([0-9a-f]{{40,64}})\]", log, re.MULTILINE)
    return Bisect(Oid(found[1]) if found else None)


def _good_word(repository: Repository) -> str:
    try:
        # Two lines: the word for bad, the word for good.
        words = (repository.git_dir / "BISECT_TERMS").read_text(encoding="utf-8", errors="replace").split("\n")
    except FileNotFoundError:
        return "good"
    return words[1] if len(words) > 1 and words[1] else "good"
