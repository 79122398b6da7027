# SPDX-License-Identifier: Apache-2.0
"""After an amend or a rebase: what was measured of a commit, and what that is worth for the one in its place.

Numbers are bound to the tree that was measured, and readers find them by it; nothing here makes them count anywhere
else, unlike git's `notes.rewriteRef`. What a pair of commits may be:
1. the new tree is one that was measured: the evidence holds, noted as `same tree`;
2. the change is the same (git-patch-id(1)) on other code: noted as `same change`, measured on the old commit, not here;
3. the change is another: nothing is noted, and that is said.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from git_hmopt.records.run import CarriedRecord
from git_hmopt.records.words import NOTES_METRICS, NOTES_VERDICTS, Oid, RunId, Verdict
from git_hmopt.report.fields import Fields, MalformedError
from git_hmopt.report.noted import Judged, noted
from git_hmopt.report.wording import fit
from git_hmopt.store.note_lines import read_lines
from git_hmopt.store.objects import commit_of
from git_hmopt.store.patch_ids import patch_ids
from git_hmopt.store.repository import Repository
from git_hmopt.store.review import carry

_SHOWN = 10
"""Commits that are told by name; a rebase may rewrite thousands."""


@dataclass(frozen=True)
class Pair:
    """A commit and the one that took its place."""

    old: Oid
    new: Oid


@dataclass(frozen=True)
class Origin:
    """A verdict that an old commit has, or that was carried to it before."""

    run: str
    record: CarriedRecord
    """As it would be carried on; `how` is not settled yet."""


@dataclass(frozen=True)
class _Sight:
    tree: Oid
    parent: Oid | None


def read_pairs(data: bytes) -> list[Pair]:
    """Return what git hands the hook, `<old> <new>[ <extra>]` a line; other lines are left out."""
    words = [line.split(" ") for line in data.decode("ascii", "replace").split("\n")]
    return [Pair(Oid(line[0]), Oid(line[1])) for line in words if len(line) > 1 and all(map(_is_oid, line[:2]))]


def _is_oid(text: str) -> bool:
    return len(text) in (40, 64) and set(text) <= set("0123456789abcdef")


def reattach(repository: Repository, pairs: Sequence[Pair]) -> list[str]:
    """Note on the new commits what was measured of the old ones, and return what that means, in lines."""
    olds = {pair.old for pair in pairs}
    verdicts, numbers = (read_lines(repository, ref, olds) for ref in (NOTES_VERDICTS, NOTES_METRICS))
    meant = [pair for pair in pairs if pair.old != pair.new and (pair.old in verdicts or pair.old in numbers)]
    seen = _sights(repository, {oid for pair in meant for oid in (pair.old, pair.new)})
    meant = [pair for pair in meant if pair.old in seen and pair.new in seen]
    ids = patch_ids(repository, {oid: seen[oid].parent for pair in meant for oid in (pair.old, pair.new)})
    carried: list[tuple[Oid, RunId, CarriedRecord]] = []
    lines: list[str] = []
    for pair in meant:
        same_tree = seen[pair.old].tree == seen[pair.new].tree
        same_change = same_tree or (pair.old in ids and ids[pair.old] == ids.get(pair.new))
        origins = origins_of(verdicts.get(pair.old, ()))
        kept = [_settled(one, seen[pair.new].tree) for one in origins] if same_change else []
        carried += [(pair.new, RunId(one.run), one.record) for one in kept]
        told = _told(kept, origins, same_tree=same_tree, has_numbers=pair.old in numbers)
        lines += [f"{pair.old[:12]} is now {pair.new[:12]}: {told}"] if told else []
    carry(repository, carried)
    left = len(lines) - _SHOWN
    return lines[:_SHOWN] + ([f"and {left} more commits that were rewritten have evidence"] if left > 0 else [])


def _sights(repository: Repository, oids: Iterable[Oid]) -> dict[Oid, _Sight]:
    """Return tree and first parent of the commits that are here."""
    wanted = sorted(oids)
    sights = {}
    for oid, found in zip(wanted, repository.objects.find_many(wanted), strict=True):
        if found is not None and found.kind == "commit":
            commit = commit_of(found, oid)
            sights[oid] = _Sight(commit.tree, next(iter(commit.parents), None))
    return sights


def origins_of(lines: Iterable[str]) -> list[Origin]:
    """Return the verdicts on a commit by the lines of its note, without those that are taken back there."""
    lines = list(lines)
    found = [_of_verdict(one) for one in noted((), lines, ()).verdicts if one.evaluation.verdict in tuple(Verdict)]
    return found + [one for line in lines if (one := _of_carried(line))]


def _of_verdict(one: Judged) -> Origin:
    record = CarriedRecord(
        how="same change", commit=one.commit, tree=one.tree, patch_id=one.patch_id, iteration=one.iteration,
        workload=one.workload, verdict=Verdict(one.evaluation.verdict),
    )  # fmt: skip
    return Origin(one.run, record)


def _of_carried(line: str) -> Origin | None:
    try:
        fields = Fields.of(json.loads(line), "a line")
        if "carried" not in fields.data:
            return None
        return Origin(fields.text("run"), CarriedRecord.model_validate(fields.inner("carried").data))
    except (ValueError, RecursionError, MalformedError):
        # Anybody may write notes with git itself, and a newer version others than we know.
        return None


def _settled(one: Origin, tree: Oid) -> Origin:
    """Return what is carried to a commit with `tree`."""
    how = "same tree" if one.record.tree == tree else "same change"
    return Origin(one.run, one.record.model_copy(update={"how": how}))


def _told(kept: Sequence[Origin], origins: Sequence[Origin], *, same_tree: bool, has_numbers: bool) -> str | None:
    """Return what became of the evidence; None when there is none that can be read."""
    if not origins:
        if not has_numbers:
            return None
        return "the same tree, its numbers hold" if same_tree else "its numbers were measured on the old tree, not here"
    named = _named(kept or origins)
    if not kept:
        return f"the change is another one, so what was measured of the old one does not count ({named})"
    if all(one.record.how == "same tree" for one in kept):
        return f"the same tree, its evidence holds ({named})"
    where = ", ".join(dict.fromkeys(one.record.commit[:12] for one in kept))
    return f"the same change on other code: measured on {where}, not here ({named})"


def _named(origins: Sequence[Origin]) -> str:
    last = origins[-1]
    more = f" and {len(origins) - 1} more" if len(origins) > 1 else ""
    return f"{last.record.verdict}, iteration {last.record.iteration} of run {fit(last.run, 60)}{more}"
