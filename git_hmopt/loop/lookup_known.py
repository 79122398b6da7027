# SPDX-License-Identifier: Apache-2.0
"""What questions about a run are answered from, and how what somebody names is found in it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

from git_hmopt.agents.answers import nearest
from git_hmopt.errors import CorruptRecordError, HmoptError, UsageError
from git_hmopt.evidence.structure import source_name
from git_hmopt.loop.bench import Bench
from git_hmopt.loop.book import Book
from git_hmopt.loop.nodes.profile import Profile, profile_of
from git_hmopt.loop.source import ExportedSource
from git_hmopt.psg.queries import Structure
from git_hmopt.records.evidence import EvidencePack, HotspotEvidence
from git_hmopt.records.words import Oid
from git_hmopt.store.graph import GraphFile, name_of
from git_hmopt.store.objects import GITLINK, SYMLINK, TREE, TreeEntry

NO_GRAPH = "there is no structure graph of this build"
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
        """Return the newest profile of the run, and what a reader of its numbers must know.

        StoreError when a capture is not in this clone, CorruptRecordError when it is not said which captures there are.
        """
        recorded = self.book().last("profile.recorded")
        if recorded is None:
            return None, _NO_PROFILE
        try:
            then, profile = str(recorded["commit"]), profile_of(self.bench, recorded)
        except (KeyError, TypeError) as error:
            raise CorruptRecordError(
                "the profile that is recorded is malformed", next_step="see: git hmopt fsck"
            ) from error
        return profile, "" if then == self.best else f"(profiled at {then[:12]}, not at the commit that is asked about)"

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


def split(symbol: str) -> tuple[str, str]:
    """Return the file that stands before a symbol, as in lib/sort.c:do_swap, or nothing, and the symbol's name."""
    file, _, name = symbol.rpartition(":")
    return file, source_name(name)


def resolved(structure: Structure, name: str) -> list[str]:
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


def near_symbols(known: Known, name: str) -> list[str]:
    """Return the names of profile and pack that look most like one; for where no graph can be asked."""
    profile, _ = known.try_profile()
    return nearest(name, measured_names(profile) | {one.hotspot.symbol for one in known.pack.hotspots})


def copies_of(profile: Profile | None, name: str) -> list[str]:
    """Return what profiles call a function: its name, and those of the copies that the compiler made of it."""
    return sorted(symbol for symbol in _measured_symbols(profile) if source_name(symbol) == name or symbol == name)


def _measured_symbols(profile: Profile | None) -> set[str]:
    graphs = [profile.time, profile.counts] if profile is not None else []
    return {symbol for graph in graphs if graph is not None for symbol in graph.self_cost}


def measured_names(profile: Profile | None) -> set[str]:
    """Return the functions that a profile saw, as the source calls them."""
    return {source_name(symbol) for symbol in _measured_symbols(profile)}
