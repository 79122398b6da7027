# SPDX-License-Identifier: Apache-2.0
"""Ask the parser, before anything is built, whether edited files are still what they were to everybody else.

New errors, functions that are gone, and signatures that changed without their callers are found in a fraction of a
build's time, while the model can still be asked to put them right. The parser runs in a process of its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from git_hmopt.agents.complaints import Complaint, excerpt
from git_hmopt.agents.lines import split
from git_hmopt.psg.outline import Outline, outline_of
from git_hmopt.psg.unit import Diagnostic, Function, Unit
from git_hmopt.psg.workers import outlined

_SECONDS = 120
"""A file's parsing takes a fraction of one; what takes this long was made to."""
_MOST_ERRORS = 3
"""Errors of a file that are told; those behind are mostly their consequences."""

Replaced = frozenset[tuple[str, str]]
"""The (file, function) pairs of the blocks."""


def recheck(contents: Mapping[str, bytes], units: Mapping[str, Unit], replaced: Replaced) -> list[Complaint]:
    """Return what is wrong with the new contents of files, each of which may have a unit as it was before."""
    found: list[Complaint] = []
    after = outlined([unit.command for unit in units.values()], contents, seconds=_SECONDS)
    for (path, unit), now in zip(units.items(), after, strict=True):
        if isinstance(now, str):
            found.append(Complaint(path, f"with the edits made the parser gives nothing for this file: {now}"))
            continue
        before = outline_of(unit)
        # What is missing behind an error may only not have been read.
        found += list(_errors(contents, before, now)) or list(_functions(before, now, replaced))
    return found


def _errors(contents: Mapping[str, bytes], before: Outline, after: Outline) -> Iterator[Complaint]:
    known = Counter((one.file, one.text) for one in before.diagnostics)
    told = 0
    for one in after.diagnostics:
        known[one.file, one.text] -= 1
        if known[one.file, one.text] < 0 and told < _MOST_ERRORS:
            told += 1
            yield _error(contents, one)


def _error(contents: Mapping[str, bytes], one: Diagnostic) -> Complaint:
    lines = split(contents[one.file])[0] if one.file in contents else []
    shown = (excerpt(one.file, lines, one.line - 1, one.line, around=4),) if lines else ()
    # The path of a header outside the tree is this machine's own.
    where = "a header outside the tree" if one.file.startswith("/") else one.file
    return Complaint(where, f"with the edits made it does not compile: line {one.line}: {one.text}", shown)


def _functions(before: Outline, after: Outline, replaced: Replaced) -> Iterator[Complaint]:
    new = {(one.file, one.symbol): one for one in after.functions}
    for old in before.functions:
        where = f"{old.file}: {old.symbol}"
        now = new.get((old.file, old.symbol))
        if old.from_macro:
            continue
        if now is None:
            if old.linkage == "external" or (old.file, old.symbol) in replaced:
                yield Complaint(where, "with the edits made the file no longer defines this function")
        elif now.linkage != old.linkage:
            yield Complaint(where, f"it is {old.linkage} and must stay so; the edits make it {now.linkage}")
        elif _signature(before, old) != _signature(after, now):
            yield from _changed(where, before, after, old, replaced)


def _changed(where: str, before: Outline, after: Outline, old: Function, replaced: Replaced) -> Iterator[Complaint]:
    if old.linkage == "external":
        head = " ".join(before.sources[old.file][old.start : old.body_start].decode("utf-8", "replace").split())
        yield Complaint(where, f"other files call it, so its signature must stay '{head}'")
        return
    texts = {(one.file, one.symbol): after.text(one) for one in after.functions}
    left = [
        one.symbol
        for one in before.functions
        if _uses(one, old.symbol)
        and (one.file, one.symbol) not in replaced
        and texts.get((one.file, one.symbol)) == before.text(one)
    ]
    if left:
        names = ", ".join(sorted(left)[:8])
        yield Complaint(where, f"its signature changes, so the same answer must change what uses it: {names}")


def _uses(function: Function, symbol: str) -> bool:
    return any(call.callee == symbol and not call.indirect for call in function.calls) or any(
        one.name == symbol and one.kind == "function" for one in function.references
    )


def _signature(unit: Outline, function: Function) -> tuple[object, ...]:
    """Return what a caller sees: types with typedefs resolved, not the parameters' names."""
    head = unit.sources[function.file][function.name_offset : function.body_start]
    return (function.result_type, tuple(one.canonical for one in function.parameters), b"..." in head)
