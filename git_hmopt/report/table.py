# SPDX-License-Identifier: Apache-2.0
"""Columns under their heads, as wide as what stands in them."""

from __future__ import annotations

from collections.abc import Sequence


def aligned(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table with its head; a column that holds numbers alone is set to the right."""
    columns = list(zip(heads, *rows, strict=True))
    widths = [max(map(len, column)) for column in columns]
    right = [any(column[1:]) and all(map(_is_number, column[1:])) for column in columns]
    lines = [heads, ["-" * width for width in widths], *rows]
    return ["  ".join(map(_set, line, widths, right)).rstrip() for line in lines]


def _set(text: str, width: int, right: bool) -> str:
    return text.rjust(width) if right else text.ljust(width)


def _is_number(text: str) -> bool:
    return text.replace(".", "", 1).lstrip("+-").isdigit() or not text
