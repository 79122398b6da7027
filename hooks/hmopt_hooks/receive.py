# SPDX-License-Identifier: Apache-2.0
"""Judge a push by the rules of its branches (`rule`), from the notes and journals it brings or finds; builds nothing.

What is asked of each ref that a rule protects (the numbers stand in the code):
1. deleted: refused, since a new branch of that name would have nothing to be slower than;
2. moved to what is no commit: refused;
3. moved to the tree it has, or without a change below the rule's paths: let through;
4. else what the rule says of the commit, whether that is forward of the old one or not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

from git_hmopt.records.words import CARE, NOTES_VERDICTS, Oid, RefName, RunId, journals_of
from git_hmopt.report.noted import Judged, Retracted, noted
from git_hmopt.report.wording import fit
from git_hmopt.store.care import cutoffs, line_dropper
from git_hmopt.store.chain import Wanted, read_chains
from git_hmopt.store.incoming import Command, heads_after
from git_hmopt.store.note_lines import lines_at, merge_lines
from git_hmopt.store.remote import DATA, Namespace
from git_hmopt.store.repository import Repository
from git_hmopt.store.union import descends
from hmopt_hooks.rule import Finding, Rule, Tip, findings, read_rules

_MOST = 20
"""Lines of findings that are told: a push may move thousands of refs."""
_REF = 100


@dataclass(frozen=True)
class Answer:
    """Whether a push is taken, and what is said about it."""

    refused: bool
    lines: tuple[str, ...]


def rules_of(repository: Repository) -> list[Rule]:
    """Return the rules in a repository's git configuration; ConfigError for a wrong one."""
    said = repository.git.run("config", "-z", "--get-regexp", r"^hmopt\.rule\.", ok=(0, 1), settings=()).output
    items = said.decode("utf-8", "surrogateescape").split("\0")[:-1]
    return read_rules((key, value) for key, _, value in (item.partition("\n") for item in items))


def judge(repository: Repository, rules: Sequence[Rule], commands: Sequence[Command]) -> Answer:
    """Say whether a push is taken; StoreError when it cannot be read."""
    known = Known(repository, commands)
    meant = _behind_names(repository)
    lines: list[str] = []
    refused = False
    for command in commands:
        ref = meant.get(command.ref, command.ref)
        for rule in rules:
            # Evidence below refs/heads/ is no code, whatever a pattern says.
            if not rule.protects(ref) or ref.startswith(DATA):
                continue
            for one in _asked(repository, known, rule, command):
                refused |= one.refuses
                lines += _told(rule, ref, one)
    left = len(lines) - _MOST
    return Answer(refused, tuple(lines[:_MOST] + ([f"git hmopt: and {left} lines more"] if left > 0 else [])))


def _behind_names(repository: Repository) -> dict[RefName, RefName]:
    """Return the branches that stand for another one, with that."""
    listed = repository.git.run("for-each-ref", "--format=%(refname) %(symref)", "refs/heads").text
    pairs = (line.partition(" ") for line in listed.split("\n"))
    return {RefName(name): RefName(target) for name, _, target in pairs if target}


def _asked(repository: Repository, known: Known, rule: Rule, command: Command) -> list[Finding]:
    if command.new is None:  # 1
        return [Finding("it would be deleted", "where that is meant: take it out of the rule first")]
    new, old = _commit(repository, command.new), command.old and _commit(repository, command.old)
    if new is None:  # 2
        return [Finding(f"{command.new[:12]} is no commit", "push a commit there")]
    tree = repository.tree_of(new)
    if old is not None and (tree == repository.tree_of(old) or not _changes(repository, rule, old, new)):  # 3
        return []
    standing, retracted = known.of(tree)
    had = frozenset(one for one in {judged.evaluation.baseline for judged in standing} if _had(repository, old, one))
    return findings(rule, Tip(new, old, standing, retracted, had))  # 4


def _commit(repository: Repository, oid: Oid) -> Oid | None:
    answer = repository.git.run("rev-parse", "--verify", "--quiet", f"{oid}^{{commit}}", ok=(0, 1, 128))
    return Oid(answer.text) if answer.returncode == 0 else None


def _changes(repository: Repository, rule: Rule, old: Oid, new: Oid) -> bool:
    if not rule.paths:
        return True
    answer = repository.git.run(
        "diff-tree", "-r", "--quiet", "--end-of-options", old, new, "--", *rule.paths,
        ok=(0, 1), environment={"GIT_LITERAL_PATHSPECS": "0"},
    )  # fmt: skip
    return answer.returncode == 1


def _had(repository: Repository, old: Oid | None, baseline: str) -> bool:
    """Say whether a branch at `old` has had a commit, or has its tree now."""
    commit = _commit(repository, Oid(baseline)) if old and set(baseline) <= set("0123456789abcdef") else None
    if old is None or commit is None:
        return False
    return descends(repository, old, commit) or repository.tree_of(old) == repository.tree_of(commit)


def _told(rule: Rule, ref: RefName, one: Finding) -> list[str]:
    shown = fit(ref.removeprefix("refs/heads/"), _REF)
    head = f"git hmopt: {'refused: ' if one.refuses else ''}{shown}: rule '{fit(rule.name, 40)}': {one.text}"
    return [head, *([f"git hmopt:   next: {one.next_step}"] if one.next_step else [])]


@dataclass
class Known:
    """The verdicts as they stand once the push is taken, by the tree they are about."""

    repository: Repository
    commands: Sequence[Command]
    _journals: dict[RunId, frozenset[Retracted]] = field(default_factory=dict)

    def of(self, tree: Oid) -> tuple[tuple[Judged, ...], tuple[Judged, ...]]:
        """Return the verdicts about a tree that stand, and those that were retracted."""
        # Only lines about it, and what may take them back, are worth reading as JSON.
        said = [line for line in self._lines if tree in line or '"retract"' in line]
        every = noted((), [line for line in said if '"retract":' not in line], ()).verdicts
        mine = [one for one in every if one.tree == tree]
        back = frozenset(one for run in {one.run for one in mine} for one in self._back(RunId(run)))
        standing = tuple(one for one in noted((), said, back).verdicts if one.tree == tree)
        return standing, tuple(one for one in mine if one not in standing)

    @cached_property
    def _lines(self) -> list[str]:
        drop = line_dropper(cutoffs(self.repository, dict(self._after(CARE))))
        heads = [head for _, head in self._after(NOTES_VERDICTS)]
        notes = [lines for head in heads for lines in lines_at(self.repository, head).values()]
        lines = merge_lines(*(line for some in notes for line in some)).split(b"\n")
        return [line.decode("utf-8", "replace") for line in lines if line and not drop(line)]

    def _after(self, ref: str) -> list[tuple[RefName, Oid]]:
        """Return where the refs that are or lie below `ref` stand then, in whichever namespace they are there."""
        there = Namespace.HEADS.there(RefName(ref))
        heads = heads_after(self.repository, self.commands, ref, there)
        return [(RefName(name.replace(there, ref, 1)), head) for name, head in heads.items()]

    def _back(self, run: RunId) -> frozenset[Retracted]:
        """Return what the journals of a run take back: a whole run may have no commit to be noted on."""
        if run not in self._journals:
            wanted = [Wanted(ref, head) for ref, head in self._after(journals_of(run))]
            chains = read_chains(self.repository.objects, wanted)
            entries = (entry for chain in chains for entry in chain.entries)
            records = [entry.fields["data"].get("retract") for entry in entries if entry.fields["op"] == "retract"]
            iterations = [one.get("of_iteration", "") for one in records if isinstance(one, dict)]
            self._journals[run] = frozenset((str(run), one) for one in iterations if one is None or type(one) is int)
        return self._journals[run]
