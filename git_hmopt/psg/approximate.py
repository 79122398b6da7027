# SPDX-License-Identifier: Apache-2.0
"""A first answer about a tree that was never built: the files that name a symbol, read as text.

git's own grep finds them in a second or two, in a whole kernel as well. Both sides of every condition are read, macros
are not expanded, types are not known: every answer says so.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from git_hmopt.psg.text import approximate_page
from git_hmopt.store.graph import GraphTables, memory_graph, name_of
from git_hmopt.store.repository import Repository

MOST_FILES = 400
"""Files that are read for one question; a name that more of them have is no name to ask about by text."""


@contextlib.contextmanager
def approximate_graph(
    repository: Repository, root: Path, names: Iterable[str], *, files: Iterable[str] = (), depth: int = 1
) -> Iterator[tuple[GraphTables, int]]:
    """Give a graph of the files that have one of the names as a word, and of `files`; and how many were left out.

    A name may be an identity (`lib/sort.c:do_swap`). `depth` above one takes in the files that name the functions found
    in the step before.
    """
    with memory_graph() as tables:
        wanted = [word for word in dict.fromkeys(name_of(name) for name in names) if word.isidentifier()]
        known = set(wanted)
        todo = dict.fromkeys(files)
        read: set[str] = set()
        for _ in range(max(1, depth)):
            todo |= dict.fromkeys(repository.files_with_words(wanted, ".c", ".h"))
            fresh = [path for path in todo if path not in read][: MOST_FILES - len(read)]
            with tables.transaction():
                for path in fresh:
                    tables.put_page(path, "", approximate_page(path, _bytes(root / path)))
            read.update(fresh)
            wanted = [name for name in _neighbours(tables, wanted) if name not in known]
            known.update(wanted)
            if not wanted:
                break
        yield tables, len(todo) - len(read)


def _neighbours(tables: GraphTables, names: Iterable[str]) -> list[str]:
    found: dict[str, None] = {}
    for name in names:
        for side, other in (("source", "target"), ("target", "source")):
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
