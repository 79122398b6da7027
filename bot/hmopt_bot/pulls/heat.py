# SPDX-License-Identifier: Apache-2.0
"""How hot functions are in the latest profile of each configured workload, and where that is not known."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from git_hmopt.errors import HmoptError
from git_hmopt.evidence.structure import source_name
from git_hmopt.loop.configuration import trusted
from git_hmopt.loop.profiled import Profiled, latest_profile
from git_hmopt.loop.structure import shares_of
from git_hmopt.store.repository import Repository

HOT = 0.01
"""The least share of a hot function. Twice as slow, one below it costs its workload less than 1 %, which is the default
margin of an objective (`objective.margin`): the gate would not tell it from nothing."""


@dataclass(frozen=True)
class Heat:
    """A function's share of a workload's profile, 0..1, as that profile's ranker has it."""

    workload: str
    share: float


@dataclass(frozen=True)
class Profile:
    """The profile that is gone by for a workload; without a run there is none."""

    workload: str
    run: str = ""
    at: str = ""
    """When it was made, a time as records write it."""
    ranker: str = ""
    names: int = 0
    """Functions that it names; those below them it does not know."""


@dataclass(frozen=True)
class _Spot:
    heat: Heat
    file: str | None


class Heats:
    """The shares of functions by what the source calls them."""

    def __init__(self, profiled: Iterable[tuple[str, Profiled]]) -> None:
        self._spots: dict[str, list[_Spot]] = {}
        for workload, one in profiled:
            shares = shares_of(one.hotspots)
            files = {source_name(str(spot["symbol"])): spot.get("file") for spot in reversed(one.hotspots)}
            for name, share in shares.items():
                file = files.get(name)
                self._spots.setdefault(name, []).append(_Spot(Heat(workload, share), str(file) if file else None))

    def of(self, name: str, file: str, *, alone: bool) -> tuple[Heat, ...]:
        """Return how hot a function is, the hottest workload first.

        `alone` says that no other function has its name: a profile that does not know the file, or names another one
        (a line that was inlined from there), then means it all the same.
        """
        found = [one.heat for one in self._spots.get(name, ()) if alone or one.file == file]
        return tuple(sorted(found, key=lambda one: (-one.share, one.workload)))

    def names(self, name: str) -> bool:
        """Say whether a profile names a function so."""
        return name in self._spots

    def uncertain(self, name: str) -> bool:
        """Say whether a profile names a function so and does not say of which file."""
        return any(one.file is None for one in self._spots.get(name, ()))


def profiles(repository: Repository) -> tuple[tuple[Profile, ...], Heats, tuple[str, ...]]:
    """Return the profile of each workload of the trusted configuration, what they say, and what is wrong, in words."""
    try:
        names: Sequence[str] = tuple(trusted(repository).loaded.config.workloads)
    except HmoptError:
        # Its own text may name a directory of this host.
        note = "no configuration that was trusted can be read where this bot runs: `git hmopt trust` there settles it"
        return (), Heats(()), (note,)
    found = {name: latest_profile(repository, name) for name in names}
    known = [(name, one) for name, one in found.items() if one is not None]
    listed = tuple(_profile(name, one) if one is not None else Profile(name) for name, one in found.items())
    return listed, Heats(known), ()


def _profile(workload: str, one: Profiled) -> Profile:
    rankers = {str(spot["ranker"]) for spot in one.hotspots}
    return Profile(workload, one.run, one.at, ", ".join(sorted(rankers)), len(one.hotspots))
