# SPDX-License-Identifier: Apache-2.0
"""What a file says read as text: macros, guards, and the functions of both sides of every condition.

No compiler and no configuration are asked, so it holds for a tree that was never built; it is approximate.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right

from git_hmopt.psg.chunks import Chunk, calls, functions
from git_hmopt.psg.directives import Directives, directives
from git_hmopt.psg.facts import Kind, Relation
from git_hmopt.store.graph import Page

_STATIC = re.compile(r"\bstatic\b")


def text_page(path: str, source: bytes, digest: str) -> Page:
    """Return a file's page of text.

    Functions are looked for only where a condition could hide them from the parser: that is the dear part.
    """
    told = directives(source)
    chunks = functions(source) if _may_hide(told, source) else []
    return Page(digest, [*_macros(told), *(_function(path, chunk) for chunk in chunks)], (), _guards(told))


def approximate_page(path: str, source: bytes) -> Page:
    """Return all that a file's text tells without a build: its functions and the calls by name in them as well.

    A call's target is the file's own static function of that name, or else the name itself.
    """
    told, chunks = directives(source), functions(source)
    symbols = [_symbol(path, chunk) for chunk in chunks]
    own = {chunk.symbol: symbol for chunk, symbol in zip(chunks, symbols, strict=True)}
    begins = [chunk.first_line for chunk in chunks]
    count: dict[tuple[str, str], list[int]] = {}
    for name, line in calls(source):
        before = bisect_right(begins, line)
        if before and line <= chunks[before - 1].last_line:
            known = count.setdefault((symbols[before - 1], own.get(name, name)), [line, 0])
            known[1] += 1
    relation = Relation.CALL_STATIC.value
    edges = [(source_, target, relation, "", line, times) for (source_, target), (line, times) in count.items()]
    definitions = [*_macros(told), *(_function(path, chunk) for chunk in chunks)]
    return Page("", definitions, edges, _guards(told))


def _macros(told: Directives) -> list[tuple[object, ...]]:
    return [
        (f"macro {one.name}", Kind.MACRO.value, one.first_line, one.last_line, one.start, one.end, "", 0,
         "function-like" if one.has_parameters else "object-like", "", ())
        for one in told.macros
    ]  # fmt: skip


def _guards(told: Directives) -> list[tuple[str, int, int, str]]:
    return [(one.knob, one.first_line, one.last_line, one.sense) for one in told.guards]


def _may_hide(told: Directives, source: bytes) -> bool:
    """Say whether a condition could hide a function: whether there is a brace in what it guards."""
    guarded = [guard for guard in told.guards if guard.sense != "asked"]
    braces = [number for number, line in enumerate(source.split(b"\n"), 1) if b"{" in line] if guarded else []
    return any(bisect_left(braces, one.first_line) < bisect_right(braces, one.last_line) for one in guarded)


def symbol_of(path: str, name: str, *, static: bool) -> str:
    """Return the identity of a function or variable in the graph."""
    return f"{path}:{name}" if static else name


def is_static(chunk: Chunk) -> bool:
    """Say whether a function's head says `static` before its name."""
    return _STATIC.search(chunk.code.partition(chunk.symbol)[0]) is not None


def _symbol(path: str, chunk: Chunk) -> str:
    return symbol_of(path, chunk.symbol, static=is_static(chunk))


def _function(path: str, chunk: Chunk) -> tuple[object, ...]:
    return (
        _symbol(path, chunk), Kind.FUNCTION.value, chunk.first_line, chunk.last_line, 0, 0,
        "static" if is_static(chunk) else "external", 0, "", "", (),
    )  # fmt: skip
