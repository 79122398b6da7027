# SPDX-License-Identifier: Apache-2.0
"""The branch rule "no measured regression on these workloads": what it says of a commit, from verdicts alone.

A verdict is about the commit when its tree is the one that was measured, and about the branch when what it was held
against is something that the branch has had: else a slower commit would come in by a second one on top that is no
slower than the first. What the rule can meet for one workload (the numbers stand in the code):
1. a verdict about both says regressed, incorrect or rejected: refused, until it is retracted;
2. the branch is new: there is nothing to be slower than, so nothing more is asked for;
3. nobody measured the tree, or each verdict was retracted: refused;
4. it was held against other commits only: refused;
5. one says improved or no change: let through;
6. all say cannot-tell: let through with a word, unless the rule wants a verdict that tells;
7. none but of a kind this version does not know: refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase

from git_hmopt.errors import ConfigError
from git_hmopt.records.words import Oid, RefName, Verdict
from git_hmopt.report.noted import Judged
from git_hmopt.report.wording import at_confidence, fit, plain

_KEY = re.compile(r"hmopt\.rule\.(?P<name>.+)\.(?P<field>[a-z]+)", re.DOTALL)
_FIELDS = ("branch", "workloads", "require", "path")
_BAD = frozenset({Verdict.REGRESSED, Verdict.INCORRECT, Verdict.REJECTED})
_TELLS = frozenset({Verdict.IMPROVED, Verdict.IMPROVED_COUNT, Verdict.NO_CHANGE})
_WIDTH = 160


class Require(StrEnum):
    """What a rule wants for each of its workloads."""

    NO_REGRESSION = "no-regression"
    """That it was measured and found no worse; one that cannot tell is let through."""
    VERDICT = "verdict"
    """That, and a verdict that tells."""


@dataclass(frozen=True)
class Rule:
    """One rule, `hmopt.rule.<name>.*` in a server's git configuration."""

    name: str
    branches: tuple[str, ...]
    """Patterns of whole ref names, as a shell's; none protects nothing."""
    workloads: tuple[str, ...]
    require: Require = Require.NO_REGRESSION
    paths: tuple[str, ...] = ()
    """git's pathspecs: only a push that changes something there is judged; none for every push."""

    def protects(self, ref: RefName) -> bool:
        """Say whether it is about a ref."""
        return any(fnmatchcase(ref, pattern) for pattern in self.branches)


@dataclass(frozen=True)
class Tip:
    """The commit that a protected branch would be moved to, and what is known of its tree."""

    commit: Oid
    old: Oid | None
    """Where the branch stands now; None for a new branch."""
    standing: tuple[Judged, ...]
    retracted: tuple[Judged, ...]
    had: frozenset[str]
    """Of the commits that the verdicts were held against, those that the branch has had."""


@dataclass(frozen=True)
class Finding:
    """What a rule says of one workload, and what to do next; it refuses, or only remarks."""

    text: str
    next_step: str | None = None
    refuses: bool = True


def read_rules(pairs: Iterable[tuple[str, str]]) -> list[Rule]:
    """Return the rules that keys `hmopt.rule.<name>.<field>` make; ConfigError says which of them is wrong.

    `branch` and `path` may be given several times; `branch` and `workloads` are lists by blanks or commas.
    """
    found: dict[str, dict[str, list[str]]] = {}
    for key, value in pairs:
        match = _KEY.fullmatch(key)
        if match is None or match["field"] not in _FIELDS:
            raise ConfigError(f"{plain(key)} is no key of a rule", next_step=f"they are: {', '.join(_FIELDS)}")
        found.setdefault(match["name"], {}).setdefault(match["field"], []).append(value)
    return [_rule(name, fields) for name, fields in found.items()]


def _rule(name: str, fields: Mapping[str, Sequence[str]]) -> Rule:
    called = f"hmopt.rule.{plain(name)}"
    workloads = _words(fields.get("workloads", ())[-1:])
    if not workloads:
        raise ConfigError(f"{called}.workloads names no workload", next_step=f"git config {called}.workloads NAMES")
    require = fields.get("require", (Require.NO_REGRESSION,))[-1]
    if require not in tuple(Require):
        raise ConfigError(f"{called}.require is '{fit(require, 40)}'", next_step=f"it can be: {', '.join(Require)}")
    branches = _words(fields.get("branch", ()))
    whole = tuple(one if one.startswith("refs/") else f"refs/heads/{one}" for one in branches)
    return Rule(name, whole, workloads, Require(require), tuple(fields.get("path", ())))


def _words(values: Sequence[str]) -> tuple[str, ...]:
    return tuple(word for value in values for word in re.split(r"[\s,]+", value) if word)


def findings(rule: Rule, tip: Tip) -> list[Finding]:
    """Return what the rule says of a commit; nothing where all is well."""
    return [found for workload in rule.workloads if (found := _finding(rule, tip, workload))]


def _finding(rule: Rule, tip: Tip, workload: str) -> Finding | None:
    mine = sorted((one for one in tip.standing if one.workload == workload), key=lambda one: one.at)
    here = [one for one in mine if tip.old is None or one.evaluation.baseline in tip.had]
    bad = [one for one in here if one.evaluation.verdict in _BAD]
    shown = fit(workload, 60)
    if bad:  # 1
        one = bad[-1]
        step = (
            "make it faster; or, if that measurement was wrong: "
            f"git hmopt retract {plain(one.run)} --iteration {one.iteration} --reason TEXT, and push that"
        )
        return Finding(f"{shown}: {_told(one)}", step)
    if tip.old is None:  # 2
        return None
    if not mine:  # 3
        back = [one for one in tip.retracted if one.workload == workload]
        why = f"its verdict was retracted (run {plain(back[-1].run)})" if back else "nobody measured this tree"
        return Finding(f"{shown}: {why}", _measure(tip, workload))
    if not here:  # 4
        other = mine[-1]
        against = f"held against {plain(other.evaluation.baseline[:12])}, which this branch never had"
        return Finding(f"{shown}: {_told(other)}, but {against}", _measure(tip, workload))
    if any(one.evaluation.verdict in _TELLS for one in here):  # 5
        return None
    unclear = [one for one in here if one.evaluation.verdict == Verdict.CANNOT_TELL]
    if unclear:  # 6
        wanted = rule.require is Require.VERDICT
        more = "measure with more layouts (hmopt.measure.layouts), then: git hmopt push"
        return Finding(f"{shown}: {_told(unclear[-1])}", more if wanted else None, refuses=wanted)
    return Finding(f"{shown}: {_told(here[-1])}, which this git-hmopt does not know", "update git-hmopt there")  # 7


def _told(one: Judged) -> str:
    evaluation = one.evaluation
    delta = next((delta for delta in evaluation.deltas if delta.against == "baseline"), None)
    delta = delta or next(iter(evaluation.deltas), None)
    numbers = f" ({plain(delta.metric)} {at_confidence(delta)})" if delta else ""
    smallest = evaluation.smallest_detectable
    least = f" (smallest detectable change {100 * float(smallest):.1f} %)" if smallest and not delta else ""
    return fit(f"{evaluation.verdict}{numbers}{least}, iteration {one.iteration} of run {one.run}", _WIDTH)


def _measure(tip: Tip, workload: str) -> str:
    base = "" if tip.old is None else f" --base {tip.old[:12]}"
    return (
        "measure the change as one commit, and push the evidence first or together with it: "
        f"git hmopt optimize --workload {fit(workload, 60)}{base} --proposer patches:BRANCH, then: git hmopt push"
    )
