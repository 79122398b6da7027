# SPDX-License-Identifier: Apache-2.0
"""Texts of others in Markdown: shown as they are, interpreted by nobody."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from git_hmopt.records.redaction import redact
from git_hmopt.report.wording import UNKNOWN, plain

_MARKUP = re.compile(r"([\\`*_{}\[\]<>#|~!&])")


def literal(text: str) -> str:
    """Return untrusted text as markdown that shows it literally."""
    # Before anything is escaped: `ghp\\_...` has the form of no token.
    return _MARKUP.sub(r"\\\1", redact(plain(text)).text)


def code(text: str) -> str:
    """Return untrusted text as a code span, in which no forge links a mention; a backtick inside would end it."""
    shown = plain(text).replace("`", "'").replace("|", "¦")
    return f"`{shown}`" if shown else UNKNOWN


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table of cells that are markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
