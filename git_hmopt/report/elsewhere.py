# SPDX-License-Identifier: Apache-2.0
"""Evidence for a change that was measured as another commit, before a rebase, an amend, a squash or a cherry-pick.

What one commit may be to what was measured, told by patch ids (git-patch-id(1)):
1. its tree has numbers or verdicts of its own: they count here, and nothing else is looked for;
2. it makes the change of one candidate: that one's verdict and numbers;
3. it makes the changes of a run up to one of its accepted commits together, as a squash or a merge does: that commit's
   numbers, but no verdict, because each verdict is about one patch of them alone;
4. neither (amended to different code): nothing, whatever its message says.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from git_hmopt.records.words import Oid
from git_hmopt.report.history import value_text
from git_hmopt.report.noted import Judged, Noted, Number
from git_hmopt.report.wording import at_confidence, fit, plain
from git_hmopt.store.history import PlainCommit

_TITLE = 60


@dataclass(frozen=True)
class Reading:
    """One number of a commit, and that of the commit it was measured beside, where that is what it changed."""

    number: Number
    beside: Number | None


@dataclass(frozen=True)
class Evidence:
    """What was measured of a change, as another commit."""

    run: str
    workload: str
    commit: str
    tree: str
    patches: int
    """How many accepted patches of the run it is the sum of."""
    verdict: Judged | None
    readings: tuple[Reading, ...]


@dataclass(frozen=True)
class Found:
    """A commit without numbers of its own, and the evidence for its change, latest first."""

    commit: PlainCommit
    evidence: tuple[Evidence, ...]


def unmeasured(line: Iterable[PlainCommit], known: Noted) -> list[PlainCommit]:
    """Return the commits whose trees have neither number nor verdict."""
    trees = {one.metric.tree for one in known.numbers} | {one.tree for one in known.verdicts}
    return [commit for commit in line if commit.tree not in trees]


def sums(known: Noted) -> dict[Oid, Oid]:
    """Return the accepted commits that hold more than one patch of their run, with the run's base."""
    accepted = [one for one in known.verdicts if one.evaluation.accepted]
    return {
        Oid(one.commit): Oid(one.evaluation.baseline)
        for one in accepted
        if one.evaluation.best != one.evaluation.baseline
    }


def elsewhere(
    commits: Sequence[PlainCommit], patch_ids: Mapping[Oid, str], of_sums: Mapping[Oid, str], known: Noted
) -> list[Found]:
    """Return what is known of the changes of `commits`, those of which nothing is known left out.

    `patch_ids` are theirs against their first parents, `of_sums` those of `sums` against the bases.
    """
    evidence: dict[str, list[Evidence]] = {}
    for one in sorted(known.verdicts, key=lambda one: (one.at, one.run, one.iteration), reverse=True):
        if one.patch_id:
            evidence.setdefault(one.patch_id, []).append(_single(one, known))
        whole = of_sums.get(Oid(one.commit))
        if whole and one.evaluation.accepted:
            evidence.setdefault(whole, []).append(_sum(one, known))
    found = [Found(commit, tuple(evidence.get(patch_ids.get(commit.oid, ""), ()))) for commit in commits]
    return [one for one in found if one.evidence]


def _single(verdict: Judged, known: Noted) -> Evidence:
    readings = _readings(verdict.run, verdict.tree, verdict.evaluation.best, known)
    return Evidence(verdict.run, verdict.workload, verdict.commit, verdict.tree, 1, verdict, readings)


def _sum(verdict: Judged, known: Noted) -> Evidence:
    before = (one for one in known.verdicts if one.run == verdict.run and one.evaluation.accepted)
    patches = sum(1 for one in before if one.iteration <= verdict.iteration)
    readings = _readings(verdict.run, verdict.tree, verdict.evaluation.baseline, known)
    return Evidence(verdict.run, verdict.workload, verdict.commit, verdict.tree, patches, None, readings)


def _readings(run: str, tree: str, base: str, known: Noted) -> tuple[Reading, ...]:
    """Return a tree's numbers, one a metric: the latest that was measured beside `base`, else the latest."""
    of_run = [one for one in known.numbers if one.run == run]
    latest: dict[str, Reading] = {}
    for one in sorted((one for one in of_run if one.metric.tree == tree), key=lambda one: one.at):
        beside = next(
            (
                other
                for other in of_run
                if (other.at, other.metric.name, other.metric.commit) == (one.at, one.metric.name, base)
            ),
            None,
        )
        name = one.metric.name
        if beside or name not in latest or latest[name].beside is None:
            latest[name] = Reading(one, beside)
    return tuple(reading for _, reading in sorted(latest.items()))


def elsewhere_lines(found: Sequence[Found]) -> list[str]:
    """Return what was found as text, and how to measure where nothing was measured."""
    lines: list[str] = []
    for one in found:
        lines += [f"{one.commit.oid[:12]} {fit(one.commit.title, _TITLE)}"]
        for evidence in one.evidence:
            lines += [f"    {text}" for text in _evidence(evidence)]
    if found:
        first, workload = found[0].commit.oid[:12], plain(found[0].evidence[0].workload)
        lines += [
            "",
            "nothing of this was measured here: the code around the change is other code; to measure it here:",
            f"  git checkout {first} && git hmopt check {first}^    (is it slower than before)",
            f"  git hmopt optimize --workload {workload} --base {first}    (record its numbers, and go on from it)",
        ]
    return lines


def _evidence(one: Evidence) -> list[str]:
    what = _verdict(one.verdict) if one.verdict else f"{one.patches} accepted patches together"
    lines = [f"measured on {one.commit[:12]}, not here: {what} (run {plain(one.run)})"]
    for delta in one.verdict.evaluation.deltas if one.verdict else ():
        lines.append(f"  {plain(delta.metric)} {at_confidence(delta)} against {plain(delta.against)}")
    for reading in one.readings:
        beside = f", {value_text(reading.beside)} without the change" if reading.beside else ""
        lines.append(f"  {plain(reading.number.metric.name)} {value_text(reading.number)}{beside}")
    return lines


def _verdict(judged: Judged) -> str:
    evaluation = judged.evaluation
    rule = f"({plain(evaluation.rule)})" if evaluation.rule else ""
    return f"{plain(evaluation.verdict)}{rule}"
