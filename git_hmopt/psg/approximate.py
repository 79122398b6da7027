# SPDX-License-Identifier: Apache-2.0
"""A first answer about a tree that was never built: the files that name a symbol, read as text.

git's own grep finds them in a second or two, in a whole kernel as well. Both sides of every condition are read, macros
are not expanded, types are not known: every answer says so.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from git_hmopt.psg.queries import Direction, is_below
from git_hmopt.psg.text import approximate_page
from git_hmopt.store.graph import GraphTables, memory_graph, name_of
from git_hmopt.store.repository import Repository

MOST_FILES = 400
"""Files that are read for one question; a name that more of them have is no name to ask about by text."""


def written(path: str) -> str:
    """Return a path as the graph has it: sqlite takes no bytes that are not UTF-8."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


@contextlib.contextmanager
def approximate_graph(
    repository: Repository, root: Path, names: Iterable[str], *, files: Iterable[str] = (), depth: int = 1,
    direction: Direction = Direction.BOTH, below: str = "",
) -> Iterator[tuple[GraphTables, int]]:  # fmt: skip
    """Give a graph of the files that have one of the names as a word, and of `files`; and how many were left out.

    A name may be an identity (`lib/sort.c:do_swap`). `depth` above one takes in the files that name the functions found
    in the step before, among callers, callees or both. `below` restricts the files.
    """
    with memory_graph() as tables:
        wanted = [word for word in dict.fromkeys(name_of(name) for name in names) if word.isidentifier()]
        known = set(wanted)
        todo = dict.fromkeys(files)
        read: set[str] = set()
        for _ in range(max(1, depth)):
            naming = repository.files_with_words(wanted, ".c", ".h")
            todo |= dict.fromkeys(path for path in naming if is_below(path, below))
            fresh = [path for path in todo if path not in read][: MOST_FILES - len(read)]
            with tables.transaction():
                for path in fresh:
                    tables.put_page(written(path), "", approximate_page(written(path), _bytes(root / path)))
            read.update(fresh)
            wanted = [name for name in _neighbours(tables, wanted, direction) if name not in known]
            known.update(wanted)
            if not wanted:
                break
        yield tables, len(todo) - len(read)


_ENDS = {Direction.OUT: ("source", "target"), Direction.IN: ("target", "source")}


def _neighbours(tables: GraphTables, names: Iterable[str], direction: Direction) -> list[str]:
    found: dict[str, None] = {}
    ways = [_ENDS[direction]] if direction in _ENDS else list(_ENDS.values())
    for name in names:
        for side, other in ways:
            statement = (
                f"SELECT DISTINCT o.name FROM edges JOIN symbols s ON s.id = {side} JOIN symbols o ON o.id = {other}"
                " WHERE s.name = ? ORDER BY o.name"
            )
            found |= {neighbour: None for (neighbour,) in tables.rows(statement, (name,))}
    return list(found)


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes() if path.is_file() else b""  # a link to a device has no end
    except OSError:  # deleted since git listed it
        return b""
