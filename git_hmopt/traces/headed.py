# SPDX-License-Identifier: Apache-2.0
"""Read our own tab-separated texts: a header line `<name> <version>`, then rows of a fixed number of fields."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from git_hmopt.traces.tables import TraceFormatError

WRONG_FIELDS = "row with the wrong number of fields"
NO_SYMBOL = "row without a symbol"
BAD_NUMBER = "row whose number is none"
TRUNCATED = "truncated last row"


def rows(lines: Iterable[bytes], *, header: str, columns: int, skipped: Counter[str]) -> Iterator[list[str]]:
    """Yield the fields of every whole row; count the others in `skipped`.

    A last row without its newline was cut, and a cut number is still a number: it is not believed. Raises
    TraceFormatError when the first line is not `header`.
    """
    stream = iter(lines)
    first = next(stream, None)
    if first is None:
        raise TraceFormatError(f"the file is empty: its first line should be '{header}'")
    found = first.decode(errors="replace").rstrip("\r\n")
    if found != header:
        raise TraceFormatError(f"the first line should be '{header}' and is '{found[:60]}'")
    for raw in stream:
        if not raw.endswith(b"\n"):
            skipped[TRUNCATED] += 1
            continue
        text = raw.decode(errors="replace").rstrip("\r\n")
        if not text:
            continue
        cells = text.split("\t")
        if len(cells) != columns:
            skipped[WRONG_FIELDS] += 1
        elif cells[0] in ("", "?", "??"):
            skipped[NO_SYMBOL] += 1
        else:
            yield cells


def place(file: str, line: str) -> tuple[str | None, int | None]:
    """Return file and line, None for what addr2line could not tell (`?`, `??`, empty, line 0).

    Raises ValueError when `line` is neither a number nor unknown.
    """
    path = None if file in ("", "?", "??") else file
    number = 0 if line in ("", "?", "??") else int(line)
    if number < 0:
        raise ValueError(line)
    return path, number or None
