# SPDX-License-Identifier: Apache-2.0
"""The structure graph of the reference tree: kept at the best commit, asked what stands around code and what a diff
touches.

Its build is the one that the objective is measured on. Without a compile database there is no graph, and what would
have been asked of it stays unknown.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence

from git_hmopt.errors import ConfigError, StoreError
from git_hmopt.evidence.structure import source_name
from git_hmopt.loop.bench import Bench
from git_hmopt.psg.ask import Wish, bring_up_to_date
from git_hmopt.psg.builds import Build
from git_hmopt.psg.directives import directives
from git_hmopt.psg.facts import Kind
from git_hmopt.psg.impact import Impact, all_touches, impact, touches
from git_hmopt.psg.queries import Structure
from git_hmopt.records.base import decimal_text
from git_hmopt.records.run import TouchRecord
from git_hmopt.records.words import Oid
from git_hmopt.store.graph import GraphFile, name_of
from git_hmopt.store.repository import Repository

REACH = 3
"""Calls that a change's callers are followed."""
MOST_CALLERS = 8
"""Callers that a record names of one touched symbol."""
Shares = Mapping[str, float]
"""Shares of the profile by symbol, 0..1."""
Changes = Mapping[str, tuple[bytes | None, bytes | None]]
"""Both sides of each file, None for one that is not there."""


@contextlib.contextmanager
def structure_at(bench: Bench, commit: Oid) -> Iterator[Structure | None]:
    """Give the graph of the reference tree at `commit`; None, with a note once, where there is none."""
    graph = graph_at(bench, commit)
    if graph is None:
        yield None
        return
    with graph.reading() as tables:
        yield Structure(tables) if tables is not None else None


def graph_at(bench: Bench, commit: Oid) -> GraphFile | None:
    """Return the graph, brought up to date the first time it is asked for at a commit; None where there is none.

    A run that goes without it makes none.
    """
    if "graph" in bench.plan.without:
        return None
    key = ("structure", commit)
    if key not in bench.remembered:
        bench.remember("structure", commit, _updated(bench, commit))
    known = bench.remembered[key]
    return known if isinstance(known, GraphFile) else None


def _updated(bench: Bench, commit: Oid) -> GraphFile | None:
    builds = bench.need_reference(commit)
    name = bench.meter(bench.plan.workload, bench.objective.metric).build
    built = builds[name]
    if built.compile_commands is None:
        bench.log.say(f"build '{name}' gives no compile database: there is no structure graph", event="note")
        return None
    build = Build(built.tree.root, built.compile_commands, f"build '{name}'")

    def say(what: str, done: int, of: int) -> None:
        if not of:
            bench.log.say(f"structure graph: {what}")
        elif done % 100 == 0:
            bench.log.say(f"structure graph: {done} of {of}, {what}")

    try:
        done = bring_up_to_date(build, bench.repository.home, Wish(), say=say)
    except (StoreError, ConfigError) as error:
        bench.log.say(f"there is no structure graph: {error}", event="note")
        return None
    parsed = f"{len(done.parsed)} units parsed, {done.reused} known already"
    flawed = f", {len(done.failed) + len(done.with_errors)} with errors" if done.failed or done.with_errors else ""
    bench.log.say(f"structure graph of build '{name}': {done.units} units, {parsed}{flawed}")
    return build.graph(bench.repository.home)


def changes_between(repository: Repository, before: Oid, after: Oid) -> Changes:
    """Return both sides of every file that differs between two commits."""
    paths = [change.path for change in repository.changed_paths(before, after)]
    return {path: (repository.read_path(before, path), repository.read_path(after, path)) for path in paths}


def touched(structure: Structure | None, changes: Changes, shares: Shares) -> tuple[TouchRecord, ...]:
    """Return what a change touches as records: how hot it is, and who reaches it, the hot ones first."""
    each = all_touches(changes)
    found = impact(structure, each, reach=REACH) if structure is not None else [Impact(one, ()) for one in each]
    return tuple(_record(one, shares, known=structure is not None) for one in found)


def _record(one: Impact, shares: Shares, *, known: bool) -> TouchRecord:
    callers = sorted(one.reached_by, key=lambda pair: (-shares.get(name_of(pair[0]), 0.0), pair[1], pair[0]))
    # A struct may have the name of a function, which the profile means.
    share = shares.get(name_of(one.touch.symbol)) if one.touch.kind is Kind.FUNCTION else None
    return TouchRecord(
        symbol=one.touch.symbol,
        kind=one.touch.kind.value,
        file=one.touch.file,
        how=one.touch.how,
        share=None if share is None else decimal_text(share),
        reached_by=tuple(symbol for symbol, _ in callers[:MOST_CALLERS]) if known else None,
        reached_by_all=len(one.reached_by) if known else None,
    )


def shares_of(ranked: Sequence[Mapping[str, object]]) -> dict[str, float]:
    """Return the measured shares of recorded hotspots by the names that the source knows.

    Of a function and the copies that the compiler made of it the largest counts: FuncRank's scores do not add up.
    """
    found: dict[str, float] = {}
    for one in ranked:
        if one.get("score") is not None:
            name = source_name(str(one["symbol"]))
            found[name] = max(found.get(name, 0.0), float(str(one["score"])))
    return found


def not_built(structure: Structure | None, changes: Changes) -> str:
    """Return, of a change that no object shows, on which knobs what it touches hangs; empty when on none.

    A knob that the build sets is no reason, and none that leaves out what is there without it.
    """
    values = structure.knob_values() if structure is not None else {}
    reasons: dict[str, None] = {}
    for path, (before, after) in sorted(changes.items()):
        if not path.endswith((".c", ".h")):
            continue
        guards = directives(after if after is not None else before or b"").guards
        for touch in touches(path, before, after):
            around = [one for one in guards if one.first_line <= touch.first_line and touch.last_line <= one.last_line]
            knobs = [one.knob for one in around if (one.sense == "if") != (one.knob in values) and one.sense != "asked"]
            if structure is not None:
                knobs += [one.knob for one in structure.knobs_of_file(path) if one.knob not in values]
            reasons |= dict.fromkeys(f"{touch.symbol} hangs on {knob}" for knob in knobs)
    return "; ".join(list(reasons)[:3])
