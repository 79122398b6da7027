# SPDX-License-Identifier: Apache-2.0
"""The one comment that the bot edits in place: found again by a marker that readers do not see."""

from __future__ import annotations

import re
from collections.abc import Iterable

from git_hmopt.errors import UsageError
from hmopt_bot.forges.values import Comment

_NAME = re.compile(r"[a-z0-9][a-z0-9:._-]{0,99}")


def marked(name: str, body: str) -> str:
    """Return a body that `found` finds by `name`. The marker comes first: what is cut is cut at the end."""
    return f"{_marker(name)}\n{body}"


def found(comments: Iterable[Comment], name: str, *, author: str) -> Comment | None:
    """Return the bot's own comment with that marker, the oldest one; anybody can write the marker, so `author` counts.

    That is the login of the bot's account, `slug[bot]` for a GitHub App; compared without case, as the forges do.
    """
    begin = _marker(name)
    for comment in comments:
        if comment.author.casefold() == author.casefold() and comment.body.lstrip("\ufeff").startswith(begin):
            return comment
    return None


def _marker(name: str) -> str:
    # `--` ends a comment for some readers of HTML, and begins its end for all.
    if not _NAME.fullmatch(name) or "--" in name:
        raise UsageError(f"'{name}' is no name for a comment", next_step="use small letters, digits and single dashes")
    return f"<!-- hmopt:{name} -->"
