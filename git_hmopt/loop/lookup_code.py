# SPDX-License-Identifier: Apache-2.0
"""Questions about code at the best commit: its source, who calls it, what stands around it, what it costs."""

from __future__ import annotations

import contextlib
import posixpath
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

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
from git_hmopt.agents.calls import Side, calls_in, calls_noted, calls_told, measured_calls
from git_hmopt.agents.costs import Measured, costs_told
from git_hmopt.errors import HmoptError, PatchError, UsageError
from git_hmopt.evidence.sections import full_text
from git_hmopt.evidence.structure import source_name
from git_hmopt.loop.bench import Bench
from git_hmopt.loop.book import Book
from git_hmopt.loop.nodes.profile import Profile, profile_of, ranking_of
from git_hmopt.loop.source import ExportedSource
from git_hmopt.psg.ask import Basis, Grounds
from git_hmopt.psg.chunks import functions
from git_hmopt.psg.facts import Kind
from git_hmopt.psg.queries import Structure
from git_hmopt.records.evidence import EvidencePack, HotspotEvidence
from git_hmopt.records.words import Oid
from git_hmopt.report.structure import symbols_told
from git_hmopt.store.edit import check_path
from git_hmopt.store.graph import GraphFile, name_of
from git_hmopt.store.objects import GITLINK, SYMLINK, TREE, TreeEntry

_RANGE = re.compile(r"(?P<path>.+?):(?P<first>[0-9]{1,9})(?:\s*-\s*(?P<last>[0-9]{1,9}))?")
_COLUMNS = 120
_SHOWN = 12
"""Entries of each list in a neighbourhood."""
_NO_GRAPH = "there is no structure graph of this build"
_NO_PROFILE = "no profile is recorded of this run yet"


@dataclass(frozen=True)
class Known:
    """What questions are answered from."""

    bench: Bench
    best: Oid
    pack: EvidencePack
    source: ExportedSource
    graph: GraphFile | None

    def book(self) -> Book:
        """Return what the run has recorded so far."""
        return Book(self.bench.journal, self.bench.run)

    @contextlib.contextmanager
    def structure(self) -> Iterator[Structure | None]:
        """Give the structure graph as it stands; None where there is none."""
        if self.graph is None:
            yield None
            return
        with self.graph.reading() as tables:
            yield Structure(tables) if tables is not None else None

    def profile(self) -> tuple[Profile | None, str]:
        """Return the newest profile of the run, and what a reader of its numbers must know; StoreError when a capture
        is not in this clone."""
        recorded = self.book().last("profile.recorded")
        if recorded is None:
            return None, _NO_PROFILE
        then = str(recorded["commit"])
        return profile_of(
            self.bench, recorded
        ), "" if then == self.best else f"(profiled at {then[:12]}, before the best)"

    def try_profile(self) -> tuple[Profile | None, str]:
        """Return the same, the reason in words where it cannot be read."""
        try:
            return self.profile()
        except HmoptError as error:
            return None, str(error)

    def entry(self, path: str) -> TreeEntry | None:
        """Return what stands at a path of the commit, or None."""
        return self.bench.repository.find_entry(self.best, path)

    def text(self, path: str) -> bytes | None:
        """Return a plain file of the commit as it was built; None for links and what an overlay put there."""
        entry = self.entry(path)
        plain = entry is not None and entry.mode not in (TREE, GITLINK, SYMLINK)
        return self.source.read(path) if plain and path not in self.bench.harness_paths else None

    def hotspot(self, name: str) -> HotspotEvidence | None:
        """Return what the pack has of a function; nothing when it is of another commit."""
        spots = self.pack.hotspots if self.pack.commit == self.best else ()
        return next((one for one in spots if source_name(one.hotspot.symbol) == name), None)


def _split(symbol: str) -> tuple[str, str]:
    """Return the file that stands before a symbol, as in lib/sort.c:do_swap, or nothing, and the symbol's name."""
    file, _, name = symbol.rpartition(":")
    return file, source_name(name)


# -- source ---------------------------------------------------------------------------------------------------------


def source(known: Known, argument: str) -> str:
    """Answer with the text of a path, of lines of one, or of whatever a symbol names."""
    argument = argument.rstrip(":")
    lines = _RANGE.fullmatch(argument)
    if lines:
        return _lines(known, lines["path"], int(lines["first"]), int(lines["last"] or lines["first"]))
    file, _ = _split(argument)
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
    file, bare = _split(name)
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
    missing = missing or f"nothing is known of '{named(name)}': {_NO_GRAPH}{did_you_mean(_near_symbols(known, bare))}"
    return answered([missing], less="")


def _places(structure: Structure, name: str) -> list[Excerpt]:
    """Return where the functions of a name are defined, or whatever else it names."""
    symbols = _resolved(structure, name)
    places = [place for symbol in symbols for place in structure.places(symbol)]
    code = [place for place in places if place.kind is Kind.FUNCTION] or places
    found = {}
    for one in code:
        what = f"{one.kind.value} {name_of(one.symbol)}" + (", not in this build" if one.approximate else "")
        found[one.file, one.first_line] = Excerpt(one.file, one.first_line, one.last_line, what)
    return list(found.values())


def _resolved(structure: Structure, name: str) -> list[str]:
    """Return the symbols of a name; one with its tag word, struct x, also where a file keeps it to itself."""
    try:
        return structure.resolve(name)
    except UsageError:
        found = []
        if name.startswith(("struct ", "union ", "enum ")):
            with contextlib.suppress(UsageError):
                found = [one for one in structure.resolve(name_of(name)) if one.rpartition(":")[2] == name]
        if not found:
            raise
        return found


def _by_debug_information(known: Known, name: str) -> Iterator[Excerpt]:
    """Yield the function in the file that the profile's own symbols give it, as its text reads."""
    profile, _ = known.try_profile()
    location = profile.locate(name) if profile is not None else None
    data = known.text(location.file) if location is not None else None
    if location is not None and data is not None:
        for one in functions(data):
            if one.symbol == name:
                yield Excerpt(location.file, one.first_line, one.last_line, f"function {one.symbol}")


def _near_symbols(known: Known, name: str) -> list[str]:
    profile, _ = known.try_profile()
    return nearest(name, _measured_names(profile) | {one.hotspot.symbol for one in known.pack.hotspots})


# -- calls ----------------------------------------------------------------------------------------------------------


def callers(known: Known, symbol: str) -> str:
    """Answer who calls a function."""
    return _calls(known, symbol, Side.CALLERS)


def callees(known: Known, symbol: str) -> str:
    """Answer whom a function calls, or may call."""
    return _calls(known, symbol, Side.CALLEES)


def _calls(known: Known, symbol: str, side: Side) -> str:
    profile, note = known.try_profile()
    pcg = (profile.time or profile.counts) if profile is not None else None
    _, bare = _split(symbol)
    measured = measured_calls(pcg, _copies(profile, bare), side)
    notes = [note]
    if pcg is not None and pcg.edge_cost is None:
        notes.append("costs of calls are not measured: the profile has no call stacks")
    with known.structure() as structure:
        nodes = _nodes(structure, symbol) if structure is not None else []
        found = [
            (_node_place(structure, node), calls_in(structure, node, side)) for node in nodes if structure is not None
        ]
        refusal = _no_function(structure, symbol) if structure is not None and not nodes else ""
    if structure is None:
        notes.append(f"{_NO_GRAPH}: what a hotspot's own unit shows is all that is known")
        hot = known.hotspot(bare)
        found = [(named(symbol), calls_noted(hot.static, side))] if hot is not None else []
    if not found and not measured and bare not in _measured_names(profile):
        what = (
            refusal or f"nothing is known of '{named(symbol)}': {_NO_GRAPH}{did_you_mean(_near_symbols(known, bare))}"
        )
        return answered([what], less="")
    return calls_told(symbol, side, found, measured, "; ".join(filter(None, notes)))


def _nodes(structure: Structure, symbol: str) -> list[str]:
    """Return the functions of a name, those of its file where it is written with one."""
    file, name = _split(symbol)
    found = structure.functions_named(name)
    return [one for one in found if any(place.file == file for place in structure.places(one))] if file else found


def _node_place(structure: Structure, node: str) -> str:
    place = next((one for one in structure.places(node) if one.kind is Kind.FUNCTION), None)
    return f"{named(name_of(node))} ({place.file}:{place.first_line}-{place.last_line})" if place else named(node)


def _no_function(structure: Structure, symbol: str) -> str:
    """Return why a name has no calls: it is none, or no function's."""
    try:
        found = _resolved(structure, symbol)
    except UsageError as error:
        return str(error)
    places = [place for one in found for place in structure.places(one)]
    kinds = sorted({place.kind.value for place in places})
    what = f"is a {' and a '.join(kinds)}" if kinds else "is not defined in this build"
    return f"'{named(symbol)}' {what}, no function of this build; ask: neighbourhood {found[0]}"


def _copies(profile: Profile | None, name: str) -> list[str]:
    """Return what profiles call a function: its name, and those of the copies that the compiler made of it."""
    return sorted(symbol for symbol in _measured_symbols(profile) if source_name(symbol) == name or symbol == name)


def _measured_symbols(profile: Profile | None) -> set[str]:
    graphs = [profile.time, profile.counts] if profile is not None else []
    return {symbol for graph in graphs if graph is not None for symbol in graph.self_cost}


def _measured_names(profile: Profile | None) -> set[str]:
    return {source_name(symbol) for symbol in _measured_symbols(profile)}


# -- around ---------------------------------------------------------------------------------------------------------


def neighbourhood(known: Known, symbol: str) -> str:
    """Answer what the graph has around a symbol of any kind."""
    hot = known.hotspot(_split(symbol)[1])
    with known.structure() as structure:
        if structure is None:
            around = (full_text("static", hot) if hot is not None else None) or "nothing else is known"
            return answered(
                [f"{_NO_GRAPH}; of {named(symbol)} in its own unit:", *around.split("\n")], less="callers SYMBOL"
            )
        symbols = _nodes(structure, symbol) or _resolved(structure, source_name(symbol))
        grounds = Grounds(structure, Basis.EXACT, "the reference tree")
        lines = symbols_told(grounds, symbols, shown=_SHOWN, columns=_COLUMNS)
    return answered(lines, less="ask for a part: callers SYMBOL, callees SYMBOL")


# -- costs ----------------------------------------------------------------------------------------------------------


def costs(known: Known, symbol: str) -> str:
    """Answer what a function costs by the run's profiles."""
    profile, note = known.profile()
    if profile is None:
        return note
    _, name = _split(symbol)
    copies = _copies(profile, name)
    if not copies:
        near = did_you_mean(nearest(name, _measured_names(profile)))
        why = "it took less than a sample, was inlined into its callers, or did not run"
        return answered([f"the profile has no cost of '{named(symbol)}': {why}{near}", *filter(None, [note])], less="")
    measured = Measured(ranking_of(known.bench, profile), profile.counts, profile.self_counts)
    recorded = Oid(str(known.book().need("profile.recorded")["commit"]))
    return costs_told(name, copies, measured, _Lines(known, recorded), note)


@dataclass(frozen=True)
class _Lines:
    """Gives the text of lines that were measured, of files that are the same still."""

    known: Known
    measured: Oid

    def __call__(self, path: str, line: int) -> str | None:
        repository = self.known.bench.repository
        now = repository.find_entry(self.known.best, path)
        if now is None or now.mode in (TREE, GITLINK) or now != repository.find_entry(self.measured, path):
            return None
        lines: Sequence[bytes] = lines_of(repository.read_blob(now.oid))
        return lines[line - 1].decode(errors="replace") if line <= len(lines) else None
