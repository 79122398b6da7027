# SPDX-License-Identifier: Apache-2.0
"""The structure graphs that are here, as they stand: nothing is parsed for a pull request, and nothing is written.

A graph knows its files by digests of their bytes, so whether it stands at a commit is found out from the commit's own
files. What it opened and the commit has not (made by the build, put there by an overlay) is left aside.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from git_hmopt.errors import HmoptError, StoreError
from git_hmopt.loop.structure import REACH, Changes
from git_hmopt.psg.approximate import written
from git_hmopt.psg.builds import Build, known_builds
from git_hmopt.psg.facts import Kind
from git_hmopt.psg.inputs import content_digest
from git_hmopt.psg.queries import Guarded, Structure
from git_hmopt.records.words import Oid
from git_hmopt.report.markup import code
from git_hmopt.report.wording import fit
from git_hmopt.store.graph import name_of
from git_hmopt.store.objects import GITLINK, SYMLINK
from git_hmopt.store.repository import Repository

MOST_REACHING = 500
"""Functions that are looked for of those that reach a touched one; `git hmopt graph --touched` has as many."""
AGAIN = "`git hmopt analyze --static` where this bot runs makes it again"
_AT_ONCE = 500


@dataclass(frozen=True)
class GraphState:
    """Which build a graph is of, and how it stands to the base."""

    described: str
    units: int
    flawed: int
    """Units that were not parsed, not without errors, or not since they changed."""
    files: int
    """Files that its units opened and the base has; those of the change alone where the base is not here."""
    differing: tuple[str, ...]
    """Those of them that are others in the base."""
    compared: bool
    """Whether all of them were compared, and not those of the change alone."""
    of_runs: bool
    """Whether it is of the tree that runs build."""

    @property
    def at_base(self) -> bool:
        """Say whether it is known to stand at the base."""
        return self.compared and not self.differing


@dataclass(frozen=True)
class _Open:
    root: Path
    structure: Structure
    state: GraphState
    opened: Mapping[str, str]


class Graphs:
    """The graphs that stand nearest to the base: more than one where one tree is built in several ways."""

    def __init__(self, opened: Sequence[_Open], lacking: tuple[str, ...] = ()) -> None:
        self._opened = opened
        self.states = tuple(one.state for one in opened)
        self.lacking = lacking
        """Builds of the same tree that have no graph: what they alone compile is not known."""

    def __bool__(self) -> bool:
        return bool(self._opened)

    def includes(self, path: str) -> bool:
        """Say whether a unit opened a file."""
        return any(path in one.opened for one in self._opened)

    def defined_as(self, symbol: str, path: str) -> str | None:
        """Return what the graphs call something that a text defines under a symbol; None where they do not have it.

        The function of `SYSCALL_DEFINE3(read, ...)` is `__do_sys_read` (include/linux/syscalls.h); what graphs read as
        text has `read` as well.
        """
        name = name_of(symbol)
        for one in (f"{path}:__do_sys_{name}", f"{path}:__do_compat_sys_{name}", symbol):
            if any(opened.structure.places(one) for opened in self._opened):
                return one
        return None

    def reached(self, symbol: str) -> tuple[tuple[str, int], ...]:
        """Return who reaches a symbol: (function, calls away), nearest first."""
        found: dict[str, int] = {}
        for one in self._opened:
            for caller, away in one.structure.reached_by(symbol, REACH, MOST_REACHING):
                found[caller] = min(away, found.get(caller, away))
        return tuple(sorted(found.items(), key=lambda pair: (pair[1], pair[0])))

    def named(self, name: str) -> set[str]:
        """Return the functions that are defined under a name."""
        return {symbol for one in self._opened for symbol in one.structure.functions_named(name)}

    def only_text(self, symbol: str, path: str) -> bool:
        """Say whether a function stands in a file's text and in no unit's facts."""
        places = [place for one in self._opened for place in one.structure.places(symbol) if place.file == path]
        return bool(places) and all(place.approximate and place.kind is Kind.FUNCTION for place in places)

    def knobs_of_file(self, path: str) -> list[Guarded]:
        """Return the knobs that decide whether a file is built."""
        found = [knob for one in self._opened for knob in one.structure.knobs_of_file(path)]
        return list({(knob.knob, knob.file): knob for knob in found}.values())

    def is_set(self, knob: str) -> bool | None:
        """Say whether the builds set a knob, as a module as well; None where that is not known, or differs."""
        told = [values for one in self._opened if (values := one.structure.knob_values())]
        answers = {knob in values or f"{knob}_MODULE" in values for values in told}
        return answers.pop() if len(answers) == 1 and len(told) == len(self._opened) else None


@contextlib.contextmanager
def graphs_here(repository: Repository, changes: Changes, base: Oid) -> Iterator[tuple[Graphs, tuple[str, ...]]]:
    """Give the graphs nearest to the base, and what is wrong with others, in words. Raises StoreError for damage."""
    notes: list[str] = []
    with contextlib.ExitStack() as stack:
        found: list[tuple[Build, Structure]] = []
        lacking: list[Build] = []
        for build in known_builds(repository.worktree, repository.home):
            graph = build.graph(repository.home)
            if not graph.path.is_file():
                lacking.append(build)
                continue
            of = f"the structure graph of {code(fit(build.described, 100))}"
            try:
                tables = stack.enter_context(graph.reading())
            except StoreError:
                notes.append(f"{of} is damaged, or cannot be read; {AGAIN}")
                continue
            if tables is None:
                notes.append(f"{of} is another version's; {AGAIN}")
            elif (structure := Structure(tables)).units_by_state():
                found.append((build, structure))
            else:
                notes.append(f"{of} has no unit that was ever parsed; {AGAIN}")
        opened = _compared(repository, changes, base, found)
        least = min((len(one.state.differing) for one in opened), default=0)
        nearest = [one for one in opened if len(one.state.differing) == least]
        roots = {one.root for one in nearest}
        yield Graphs(nearest, tuple(one.described for one in lacking if one.root in roots)), tuple(notes)


def _compared(
    repository: Repository, changes: Changes, base: Oid, found: Sequence[tuple[Build, Structure]]
) -> list[_Open]:
    opened = [(build, structure, structure.opened_files()) for build, structure in found]
    known = {written(path): content_digest(before) for path, (before, _) in changes.items() if before is not None}
    everything = {path for *_, files in opened for path in files} - known.keys()
    rest = _digests(repository, base, everything) if opened else None
    known |= rest or {}
    made = []
    for build, structure, files in opened:
        shared = files.keys() & known.keys()
        differing = tuple(sorted(path for path in shared if files[path] != known[path]))
        states = structure.units_by_state()
        flawed = sum(count for state, count in states.items() if state != "ok")
        of_runs = build.root.is_relative_to(repository.home)
        state = GraphState(
            build.described, sum(states.values()), flawed, len(shared), differing, rest is not None, of_runs
        )
        made.append(_Open(build.root, structure, state, files))
    return made


def _digests(repository: Repository, commit: Oid, paths: set[str]) -> dict[str, str] | None:
    """Return the digests of a commit's files among `paths`; None where the commit, or what it has, is not here."""
    if repository.is_partial:
        return None  # each missing file would be fetched
    try:
        listed = repository.list_tree(commit)
        entries = [(path, oid) for mode, oid, path in listed if path in paths and mode not in (SYMLINK, GITLINK)]
        found: dict[str, str] = {}
        for start in range(0, len(entries), _AT_ONCE):
            batch = entries[start : start + _AT_ONCE]
            blobs = repository.objects.read_many([oid for _, oid in batch])
            found |= {path: content_digest(blob.data) for (path, _), blob in zip(batch, blobs, strict=True)}
    except HmoptError:
        return None
    return found
