# SPDX-License-Identifier: Apache-2.0
"""The source of the best commit, by path and by symbol: the commit's own text, whatever the working tree has."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator

from git_hmopt.agents.answers import (
    Excerpt,
    answered,
    did_you_mean,
    excerpted,
    lines_of,
    named,
    nearest,
    several_places,
)
from git_hmopt.errors import PatchError, UsageError
from git_hmopt.loop.lookup_known import NO_GRAPH, Known, near_symbols, resolved, split
from git_hmopt.psg.chunks import functions
from git_hmopt.psg.facts import Kind
from git_hmopt.psg.queries import Structure
from git_hmopt.store.edit import check_path
from git_hmopt.store.graph import name_of
from git_hmopt.store.objects import GITLINK, SYMLINK, TREE

_RANGE = re.compile(r"(?P<path>.+?):(?P<first>[0-9]{1,9})(?:\s*-\s*(?P<last>[0-9]{1,9}))?")


def source(known: Known, argument: str) -> str:
    """Answer with the text of a path, of lines of one, or of whatever a symbol names."""
    argument = argument.rstrip(":")
    lines = _RANGE.fullmatch(argument)
    if lines:
        return _lines(known, lines["path"], int(lines["first"]), int(lines["last"] or lines["first"]))
    file, _ = split(argument)
    if not file and ("/" in argument or argument.startswith(".") or known.entry(argument) is not None):
        return _lines(known, argument, 1, None)
    return _symbol(known, argument)


def _lines(known: Known, path: str, first: int, last: int | None) -> str:
    bare = path.removeprefix("./").rstrip("/")
    try:
        check_path(bare)
    except PatchError:
        return f"'{named(path)}' is no path inside the tree: name a file from the tree's top, as lib/sort.c"
    entry = known.entry(bare)
    if entry is None:
        return _no_file(known, bare)
    if entry.mode == TREE:
        names = [
            f"{one.name}/" if one.mode == TREE else one.name
            for one in known.bench.repository.list_folder(known.best, bare)
        ]
        return answered([f"{named(bare)} is a folder; in it:", *names], less="name a file: source PATH")
    if entry.mode == GITLINK:
        return f"{named(bare)} is a submodule: its files are not in this tree"
    data = known.source.read(bare) or b""
    if entry.mode == SYMLINK:
        return f"{named(bare)} is a symbolic link to '{named(data.decode(errors='replace'))}'"
    if b"\0" in data:
        return f"{named(bare)} has {len(data)} bytes and is no text"
    if not data:
        return f"{named(bare)} is empty"
    count = len(lines_of(data))
    if first < 1 or first > count or (last is not None and last < first):
        return f"{named(bare)} has the lines 1-{count}; there is no {first}-{last or count}"
    return excerpted(Excerpt(bare, first, last or count), data)


def _no_file(known: Known, path: str) -> str:
    """Say that a file is not there, with the nearest names of the nearest folder that is."""
    folder = posixpath.dirname(path)
    while folder and not known.bench.repository.list_folder(known.best, folder):
        folder = posixpath.dirname(folder)
    there = [posixpath.join(folder, one.name) for one in known.bench.repository.list_folder(known.best, folder)]
    what = f"there is no file '{named(path)}' in the best commit"
    if path in known.bench.overlay_paths:
        what += ": it is part of the workload's harness"
    return what + did_you_mean(nearest(path, there))


def _symbol(known: Known, name: str) -> str:
    file, bare = split(name)
    hot = known.hotspot(bare)
    anchor = hot.source if hot is not None else None
    place = Excerpt(anchor.path, anchor.first_line, anchor.last_line, f"function {bare}") if anchor else None
    missing = ""
    with known.structure() as structure:
        try:
            places = _places(structure, bare) if structure is not None else []
        except UsageError as error:
            places, missing = [], str(error)
    if not places:
        places = [place] if place is not None else list(_by_debug_information(known, bare))
    places = [one for one in places if file in ("", one.path)] or places
    texts = {one: text for one in places if (text := known.text(one.path)) is not None}
    if len(texts) == 1:
        return next(excerpted(one, text) for one, text in texts.items())
    if texts:
        return several_places(name, list(texts), place)
    if places:
        where = ", ".join(named(one.path) for one in places[:3])
        why = "outside the tree, generated, or part of the workload's harness"
        return f"'{named(name)}' is defined in {where}, which is not in the best commit: {why}"
    missing = missing or f"nothing is known of '{named(name)}': {NO_GRAPH}{did_you_mean(near_symbols(known, bare))}"
    return answered([missing], less="")


def _places(structure: Structure, name: str) -> list[Excerpt]:
    """Return where the functions of a name are defined, or whatever else it names."""
    symbols = resolved(structure, name)
    places = [place for symbol in symbols for place in structure.places(symbol)]
    code = [place for place in places if place.kind is Kind.FUNCTION] or places
    found = {}
    for one in code:
        what = f"{one.kind.value} {name_of(one.symbol)}" + (", not in this build" if one.approximate else "")
        found[one.file, one.first_line] = Excerpt(one.file, one.first_line, one.last_line, what)
    return list(found.values())


def _by_debug_information(known: Known, name: str) -> Iterator[Excerpt]:
    """Yield the function in the file that the profile's own symbols give it, as its text reads."""
    profile, _ = known.try_profile()
    location = profile.locate(name) if profile is not None else None
    data = known.text(location.file) if location is not None else None
    if location is not None and data is not None:
        for one in functions(data):
            if one.symbol == name:
                yield Excerpt(location.file, one.first_line, one.last_line, f"function {one.symbol}")
