# SPDX-License-Identifier: Apache-2.0
"""What is like a hotspot: functions by their own vectors, runs and changes by a text; the same ones every time.

Every vector is compared in full and no word's rarity weighs, so that an answer depends on what is asked about alone,
not on what else the index holds or in which order it came in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from git_hmopt.records.words import RunId
from git_hmopt.search.embedding import signed_bytes
from git_hmopt.search.retrieval import Current, columns_of, shown_path
from git_hmopt.store.search import Kind, Value

LEAST = 0.3
"""The cosine that 99 of 100 pairs of functions out of lib/ and mm/ of Linux 6.1 stay below."""


@dataclass(frozen=True)
class Alike:
    """An entry, how much it is alike, and whether it is about the same function."""

    columns: dict[str, Value]
    likeness: float
    same: bool


def like_function(current: Current, file: str, symbol: str, within: Sequence[str], limit: int) -> list[Alike]:
    """Return the functions of the files `within` that read like one; none where it is not indexed itself."""
    index, here = current.index, shown_path(file)
    own = index.vector(Kind.CODE, here, symbol)
    if own is None:
        return []
    below = [shown_path(path) for path in within]
    # One more, since nothing is more like it than itself.
    found = [one for one in index.alike(Kind.CODE, own[1], limit + 1, least=LEAST, below=below) if one[0] != own[0]]
    return _told(current, Kind.CODE, found[:limit])


def like_text(current: Current, kind: Kind, text: str, *, symbol: str, apart: RunId, limit: int) -> list[Alike]:
    """Return the runs or changes like a text, those about the function first; what the run `apart` recorded is none."""
    vector = current.embedding.texts([text])[0]
    found = current.index.alike(kind, signed_bytes(vector), limit, least=LEAST, apart=apart, about=symbol)
    return _told(current, kind, found)


def _told(current: Current, kind: Kind, found: Sequence[tuple[int, float, bool]]) -> list[Alike]:
    rows = columns_of(current.index, kind, [number for number, _, _ in found])
    return [Alike(row, likeness, same) for row, (_, likeness, same) in zip(rows, found, strict=True)]
