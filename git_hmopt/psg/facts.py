# SPDX-License-Identifier: Apache-2.0
"""What the graph is made of: symbols, where each is defined, and the edges between them; as values and as JSON.

A symbol's identity is its name where C links by name. What a file keeps to itself (a static function, a struct that a
`.c` file defines) has the file in front: `lib/sort.c:do_swap`. Records carry their tag word (`struct file`), typedefs
and files theirs (`typedef u32`, `file lib/sort.c`), fields follow their record (`struct file_operations.read_iter`).
"""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from git_hmopt.store.graph import Page

_DEFINITION_COLUMNS, _EDGE_COLUMNS = 11, 6


class Kind(StrEnum):
    """What a symbol is."""

    FUNCTION = "function"
    VARIABLE = "variable"
    STRUCT = "struct"
    UNION = "union"
    ENUM = "enum"
    FIELD = "field"
    TYPEDEF = "typedef"
    MACRO = "macro"
    CONFIG = "config"
    FILE = "file"


class Relation(StrEnum):
    """What an edge says of its two symbols."""

    CALL_STATIC = "call_static"
    """A function calls a function by its name."""
    CALL_INDIRECT = "call_indirect"
    """A function calls what a field or a variable points to."""
    REF = "ref"
    """A function or an initialiser uses a global, a field, a type, a macro, or a function that it does not call."""
    HASMEMBER = "hasmember"
    """A record has a field; read from the field's side this is `ismember`."""
    INHERITANCE = "inheritance"
    """A record begins with another one (`embeds`), or a function stands in a table's field (`implements`)."""
    CONFIG_GUARD = "config_guard"
    """A config knob decides whether a file, a function or a part of one is built."""


class Definition(NamedTuple):
    """Where and how a symbol is defined; lines count from 1, offsets are bytes of the file, the end exclusive."""

    symbol: str
    kind: Kind
    first_line: int
    last_line: int
    start: int
    end: int
    linkage: str = ""
    """`static` or `external`; empty for what has none."""
    is_inline: bool = False
    type: str = ""
    """A function's signature, a variable's, field's or typedef's type, as the source writes it."""
    body_hash: str = ""
    """The start of the sha256 of a function's text from its head to its last brace."""
    attributes: tuple[str, ...] = ()
    """The attribute macros of a function's head: `__init`, `noinline`, ..."""


class Edge(NamedTuple):
    """One relation of two symbols, however often the source has it."""

    source: str
    target: str
    relation: Relation
    detail: str
    """Of `ref`: read, write, address, type, macro; of `inheritance`: embeds, implements; of guards: see `guards`."""
    line: int
    """The first line that says so, in the file the edge was found in."""
    times: int


@dataclass(frozen=True)
class FileFacts:
    """What one file says, as one unit sees it."""

    definitions: tuple[Definition, ...] = ()
    edges: tuple[Edge, ...] = ()


def packed(facts: FileFacts) -> bytes:
    """Return facts as bytes to keep: compressed JSON, lists without names, since a kernel has a million of them."""
    lists = {"d": facts.definitions, "e": facts.edges}
    return zlib.compress(json.dumps(lists, separators=(",", ":")).encode("utf-8", "replace"), 1)


def page_of(data: bytes, digest: str) -> Page:
    """Return packed facts as the rows of a page; ValueError when they are something else.

    The rows are what `packed` wrote, as they are: making a million values of them would cost more than the parser.
    """
    try:
        lists = json.loads(zlib.decompress(data))
        definitions, edges = lists["d"], lists["e"]
        if any(len(row) != _DEFINITION_COLUMNS for row in definitions) or any(
            len(row) != _EDGE_COLUMNS for row in edges
        ):
            raise ValueError("rows of another length")
    except (zlib.error, KeyError, TypeError) as error:
        raise ValueError(f"not packed facts: {error}") from error
    return Page(digest, definitions, edges)
