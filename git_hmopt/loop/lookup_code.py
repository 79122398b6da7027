# SPDX-License-Identifier: Apache-2.0
"""Questions about functions at the best commit: who calls them, what stands around them, what they cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from git_hmopt.agents.answers import answered, did_you_mean, lines_of, named, nearest
from git_hmopt.agents.calls import FUNCTIONS, Call, Side, calls_in, calls_noted, calls_told, measured_calls
from git_hmopt.agents.costs import Measured, costs_told
from git_hmopt.errors import UsageError
from git_hmopt.evidence.joins import node_of
from git_hmopt.evidence.sections import full_text
from git_hmopt.evidence.structure import source_name
from git_hmopt.loop.lookup_known import NO_GRAPH, Known, copies_of, measured_names, near_symbols, resolved, split
from git_hmopt.loop.nodes.profile import Profile, ranking_of
from git_hmopt.psg.ask import Basis, Grounds
from git_hmopt.psg.facts import Kind
from git_hmopt.psg.queries import Structure
from git_hmopt.records.words import Oid
from git_hmopt.report.structure import symbols_told
from git_hmopt.store.graph import name_of
from git_hmopt.store.objects import GITLINK, TREE

_COLUMNS = 120
_SHOWN = 12
"""Entries of each list in a neighbourhood."""


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
    _, bare = split(symbol)
    measured = measured_calls(pcg, copies_of(profile, bare), side)
    notes = [note]
    if pcg is not None and pcg.edge_cost is None:
        notes.append("costs of calls are not measured: the profile has no call stacks")
    with known.structure() as structure:
        found, more, refusal = _known_calls(structure, symbol, side, profile) if structure is not None else ([], 0, "")
    if structure is None:
        notes.append(f"{NO_GRAPH}: what a hotspot's own unit shows is all that is known")
        hot = known.hotspot(bare)
        found = [(named(symbol), calls_noted(hot.static, side))] if hot is not None else []
    if not found and not measured and bare not in measured_names(profile):
        what = refusal or f"nothing is known of '{named(symbol)}': {NO_GRAPH}{did_you_mean(near_symbols(known, bare))}"
        return answered([what], less="")
    return calls_told(symbol, side, found, measured, "; ".join(filter(None, notes)), more=more)


def _known_calls(
    structure: Structure, symbol: str, side: Side, profile: Profile | None
) -> tuple[list[tuple[str, list[Call]]], int, str]:
    """Return the calls of the functions that are meant, of how many more there are, and why there is none."""
    nodes = _nodes(structure, symbol)
    if not nodes:
        return [], 0, _no_function(structure, symbol)
    # The costs are of the one that ran.
    hot = node_of(structure, symbol, profile.locate) if profile is not None and len(nodes) > 1 else None
    nodes.sort(key=lambda node: (node != hot, node))
    found = [(_node_place(structure, node), calls_in(structure, node, side)) for node in nodes[:FUNCTIONS]]
    return found, len(nodes) - len(found), ""


def _nodes(structure: Structure, symbol: str) -> list[str]:
    """Return the functions of a name, those of its file where it is written with one."""
    file, name = split(symbol)
    found = structure.functions_named(name)
    return [one for one in found if any(place.file == file for place in structure.places(one))] if file else found


def _node_place(structure: Structure, node: str) -> str:
    place = next((one for one in structure.places(node) if one.kind is Kind.FUNCTION), None)
    return f"{named(name_of(node))} ({place.file}:{place.first_line}-{place.last_line})" if place else named(node)


def _no_function(structure: Structure, symbol: str) -> str:
    """Return why a name has no calls: it is none, or no function's."""
    try:
        found = resolved(structure, symbol)
    except UsageError as error:
        return str(error)
    places = [place for one in found for place in structure.places(one)]
    kinds = sorted({place.kind.value for place in places})
    what = f"is a {' and a '.join(kinds)}" if kinds else "is not defined in this build"
    return f"'{named(symbol)}' {what}, no function of this build; ask: neighbourhood {found[0]}"


# -- around ---------------------------------------------------------------------------------------------------------


def neighbourhood(known: Known, symbol: str) -> str:
    """Answer what the graph has around a symbol of any kind."""
    hot = known.hotspot(split(symbol)[1])
    with known.structure() as structure:
        if structure is None:
            around = (full_text("static", hot) if hot is not None else None) or "nothing else is known"
            return answered(
                [f"{NO_GRAPH}; of {named(symbol)} in its own unit:", *around.split("\n")], less="callers SYMBOL"
            )
        symbols = _nodes(structure, symbol) or resolved(structure, source_name(symbol))
        grounds = Grounds(structure, Basis.EXACT, "the reference tree")
        lines = symbols_told(grounds, symbols, shown=_SHOWN, columns=_COLUMNS)
    return answered(lines, less="ask for a part: callers SYMBOL, callees SYMBOL")


# -- costs ----------------------------------------------------------------------------------------------------------


def costs(known: Known, symbol: str) -> str:
    """Answer what a function costs by the run's profiles."""
    profile, note = known.profile()
    if profile is None:
        return note
    _, name = split(symbol)
    copies = copies_of(profile, name)
    if not copies:
        near = did_you_mean(nearest(name, measured_names(profile)))
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
