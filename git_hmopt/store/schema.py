# SPDX-License-Identifier: Apache-2.0
"""The tables of the cache as `schema.sql` documents them: its comments are the documentation, there is no second one.

A comment above a table or view is about it; a comment that ends a line is about the last column on that line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

SCHEMA = Path(__file__).with_name("schema.sql")

_OBJECT = re.compile(
    r"(?P<about>(?:^--[^\n]*\n)*)^CREATE (?:TABLE|VIEW|VIRTUAL TABLE) (?P<name>\w+)[^(;]*\(", re.MULTILINE
)
# What begins with one of these words inside a table is no column.
_CONSTRAINTS = frozenset({"PRIMARY", "UNIQUE", "FOREIGN", "CHECK", "CONSTRAINT"})


@dataclass(frozen=True)
class Column:
    """One column; the about is empty where the name says it all."""

    name: str
    type: str
    """As declared; empty in a view."""
    about: str


@dataclass(frozen=True)
class DocumentedTable:
    """A table or view that queries may rely on."""

    name: str
    about: str
    columns: tuple[Column, ...]


@cache
def documented_tables() -> tuple[DocumentedTable, ...]:
    """Return the tables and views, in the order of the file."""
    text = SCHEMA.read_text(encoding="utf-8")
    return tuple(
        DocumentedTable(found["name"], _comment(found["about"]), tuple(_columns(_inner(text, found.end()))))
        for found in _OBJECT.finditer(text)
    )


def preamble() -> str:
    """Return what is said of all tables: the first comment, without the license and what is for its authors."""
    first = SCHEMA.read_text(encoding="utf-8").partition("\n--\n")[0]
    return _comment("\n".join(line for line in first.splitlines() if "SPDX" not in line))


def _comment(lines: str) -> str:
    return " ".join(line.removeprefix("--").strip() for line in lines.splitlines())


def _inner(text: str, start: int) -> str:
    """Return what stands between the parenthesis that ends before `start` and the one that closes it."""
    depth, at = 1, start
    while depth:
        if text.startswith("--", at):
            at = text.index("\n", at)
        depth += {"(": 1, ")": -1}.get(text[at], 0)
        at += 1
    return text[start : at - 1]


def _columns(body: str) -> Iterator[Column]:
    for line in body.split("\n"):
        declared, _, about = line.partition("--")
        parts = [part.split() for part in _parted(declared)]
        columns = [words for words in parts if words and words[0].isidentifier() and words[0] not in _CONSTRAINTS]
        for words in columns:
            kind = words[1] if len(words) > 1 else ""
            yield Column(words[0], kind, about.strip() if words is columns[-1] else "")


def _parted(declared: str) -> list[str]:
    """Return a line's parts between its commas, those between parentheses aside."""
    return re.sub(r"\([^()]*\)", "", declared).split(",")
