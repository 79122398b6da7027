# SPDX-License-Identifier: Apache-2.0
"""The graph to ask: of a build when there is one, brought up to date first; read as text when there is none.

Every answer says what it rests on: `exact`, `provisional` (what changed is read as text, the rest is as it was parsed
last), or `approximate` (nothing was ever built, all is text).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from git_hmopt.errors import ConfigError, UsageError
from git_hmopt.psg.approximate import MOST_FILES, approximate_graph
from git_hmopt.psg.build import Say, Update, update_graph
from git_hmopt.psg.builds import Build, found_build, named_build, shards_path
from git_hmopt.psg.queries import Direction, Structure, knob_named
from git_hmopt.store.graph import GraphTables
from git_hmopt.store.repository import Repository
from git_hmopt.store.shards import opened_shards

FEW = 8
"""So many dirty units are parsed about as fast as a person reads: no provisional answer is shown for them."""
MAKE_BUILD = (
    "build the tree and leave a compile_commands.json in it (Linux: make compile_commands.json), or name one with"
    " --build"
)


class Basis(StrEnum):
    """What an answer rests on."""

    EXACT = "exact"
    PROVISIONAL = "provisional"
    APPROXIMATE = "approximate"


@dataclass(frozen=True)
class Grounds:
    """A graph that can be asked, and what its answers rest on."""

    structure: Structure
    basis: Basis
    described: str
    """Of which build, in words."""
    notes: tuple[str, ...] = ()
    """What is missing from it, in words."""

    lacking: str = ""
    """Why nothing was parsed, where nothing was."""
    next_step: str = ""
    """What would have it parsed."""

    @property
    def told(self) -> str:
        """Return both in a line."""
        return f"{self.basis.value}: {self.described}"

    def symbols(self, name: str) -> list[str]:
        """Return the symbols somebody may mean; UsageError with what is near, or with what text alone cannot tell."""
        try:
            return self.structure.resolve(name)
        except UsageError:
            if self.basis is not Basis.APPROXIMATE:
                raise
            raise UsageError(
                f"no function and no macro '{name}' in the text of this tree",
                next_step="variables, types and fields are known of a build only: name one with --build",
            ) from None

    def knob(self, name: str) -> str:
        """Return a config knob's whole name; UsageError where it is known that there is none."""
        # Text alone is read only where the knob is named; its Kconfig is not.
        return knob_named(name) if self.basis is Basis.APPROXIMATE else self.structure.resolve_knob(name)


@dataclass(frozen=True)
class Wish:
    """How a person wants to be answered."""

    build: Path | None = None
    """A compile database or a build's directory; None: the one that is found."""
    provisional: bool = False
    """Parse nothing: what is dirty is read as text."""
    again: bool = False
    """Parse units once more that failed before."""


@dataclass(frozen=True)
class About:
    """What has to be read when there is nothing but text."""

    names: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    depth: int = 1
    direction: Direction = Direction.BOTH
    below: str = ""


@contextlib.contextmanager
def structure_of(
    repository: Repository,
    about: About,
    wish: Wish,
    *,
    first: Callable[[Grounds], None] | None = None,
    say: Say | None = None,
) -> Iterator[Grounds]:
    """Give the graph to ask about something.

    `first` hears the provisional answer when parsing what is dirty takes a while. Raises ConfigError for a named build
    that is none.
    """
    root = repository.require_worktree()
    build = named_build(wish.build, root) if wish.build is not None else found_build(root, repository.home)
    if build is not None:
        updated = bring_up_to_date(build, repository.home, wish, first=first, say=say)
        with build.graph(repository.home).reading() as read:
            if read is None:
                raise ConfigError(f"the graph of {build.described} is being made by another version of git-hmopt")
            if updated.complete or _ever_parsed(read):
                yield _grounds(build, read, updated)
                return
    with approximate_graph(
        repository, root, about.names, files=about.files, depth=about.depth, direction=about.direction,
        below=about.below,
    ) as (tables, left_out):  # fmt: skip
        why = "no build was found" if build is None else f"{build.described} was never parsed"
        step = MAKE_BUILD if build is None else "leave out --provisional"
        left = [f"{left_out} more files name it and were not read (the first {MOST_FILES} were)"] if left_out else []
        described = f"{why}, files are read as text"
        yield Grounds(Structure(tables), Basis.APPROXIMATE, described, tuple(left), lacking=why, next_step=step)


def _ever_parsed(tables: GraphTables) -> bool:
    return next(tables.rows("SELECT 1 FROM units WHERE key != '' LIMIT 1"), None) is not None


def bring_up_to_date(
    build: Build, home: Path, wish: Wish, *, first: Callable[[Grounds], None] | None = None, say: Say | None = None
) -> Update:
    """Parse what changed since the last time; with `wish.provisional` only find out what that is."""

    def before(tables: GraphTables, dirty: int) -> bool:
        # Nothing was ever parsed: there is nothing to show.
        if first is not None and not wish.provisional and dirty > FEW and _ever_parsed(tables):
            first(_grounds(build, tables, Update(dirty=dirty, complete=False)))
        return not wish.provisional

    database = build.database()
    if not database.files:
        raise ConfigError(
            f"{build.described} compiles no file of '{build.root}'", next_step="name another build with --build"
        )
    with opened_shards(shards_path()) as shards:
        return update_graph(
            database, root=build.root, graph=build.graph(home), shards=shards,
            workers=len(os.sched_getaffinity(0)), say=say, first=before, again=wish.again,
        )  # fmt: skip


def _grounds(build: Build, tables: GraphTables, updated: Update) -> Grounds:
    basis = Basis.EXACT if updated.complete else Basis.PROVISIONAL
    return Grounds(Structure(tables), basis, build.described, tuple(_notes(tables, updated)))


def _notes(tables: GraphTables, updated: Update) -> Iterator[str]:
    if not updated.complete:
        yield f"what changed since it was parsed is read as text, for {_units(updated.dirty)}"
    states = {"failed": "could not be parsed", "errors": "parsed with errors, so something may be missing"}
    for state, what in states.items():
        # A precompiled header is no unit of the build; that it was of no use is told below.
        statement = "SELECT path FROM units WHERE state = ? AND substr(path, 1, 1) != '<' ORDER BY path"
        paths = [path for (path,) in tables.rows(statement, (state,))]
        if paths:
            yield f"{what}: {_units(len(paths))} ({', '.join(paths[:3])}{', ...' if paths[3:] else ''})"
    if updated.gone:
        some = ", ".join(updated.gone[:3])
        yield f"no longer there, though the build has a record of it: {_units(len(updated.gone))} ({some})"
    if updated.without_precompiled:
        yield f"parsed without the precompiled header, which takes longer: {_units(updated.without_precompiled)}"
    if updated.skipped:
        one = updated.skipped[0]
        where = f"{one.file}:{one.line}"
        yield f"{len(updated.skipped)} places in Kconfig were not understood, the first {where}: {one.why}"


def _units(number: int) -> str:
    return f"{number} unit{'' if number == 1 else 's'}"
