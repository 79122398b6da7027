# SPDX-License-Identifier: Apache-2.0
"""From the word on the command line to a proposer.

`playbook`, `llm`, `replay:<run>` (what models said in that run, without asking any), or `patches:<directory, mbox,
branch or range>`.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

from git_hmopt.agents.llm.desk import Habits
from git_hmopt.agents.llm.proposer import ModelProposer
from git_hmopt.agents.patches import CommitPatch, is_patch, open_patches
from git_hmopt.agents.playbook.proposer import PlaybookProposer
from git_hmopt.agents.proposer import Proposer
from git_hmopt.config.settings import GatewaySettings
from git_hmopt.errors import RepositoryError, UsageError
from git_hmopt.evidence.tokens import tokenizer_from
from git_hmopt.gateway.policy import Exemption
from git_hmopt.loop.asking import Answers, Models, Recorded, RunDesk, spent
from git_hmopt.loop.book import Book
from git_hmopt.loop.models import opened
from git_hmopt.loop.plan import ExemptionRecord, RunPlan
from git_hmopt.records.words import Oid, RunId
from git_hmopt.store.artifacts import ArtifactStore
from git_hmopt.store.journal import Journal
from git_hmopt.store.repository import Repository

LLM = "llm"
_PATCHES = "patches:"
_REPLAY = "replay:"
_HABITS = ("candidates", "prompt_tokens", "answer_tokens", "review")


@dataclass(frozen=True)
class Asking:
    """What a person says about models for one run."""

    gateway: GatewaySettings = field(default_factory=GatewaySettings)
    tokenizer: str | None = None
    exemption: ExemptionRecord | None = None


NO_MODELS = Asking()


def replayed(run: RunId) -> str:
    """Return the proposer's word for what models said in a run."""
    return f"{_REPLAY}{run}"


def habits_for(spec: str, repository: Repository, asking: Asking) -> dict[str, str]:
    """Return how much agents ask for, as a run's plan keeps it: one that is resumed or replayed asks for as much."""
    if spec == LLM:
        return {f"gateway.{name}": str(getattr(asking.gateway, name)) for name in _HABITS}
    if spec.startswith(_REPLAY):
        known = Book(Journal(repository), RunId(spec.removeprefix(_REPLAY))).plan().settings
        return {key: value for key, value in known.items() if key.startswith("gateway.")}
    return {}


def _of_models(plan: RunPlan, repository: Repository, asking: Asking) -> ModelProposer:
    journal, artifacts = Journal(repository), ArtifactStore.of(repository)
    settings = asking.gateway
    answers: Answers
    if plan.proposer == LLM:
        exempt = plan.exemption
        exemptions = () if exempt is None else (Exemption(exempt.endpoint, exempt.who, exempt.why),)
        before = _spent(journal, plan)
        answers = Models(opened(settings, repository.require_worktree(), exemptions=exemptions, spent=before))
    else:
        answers = Recorded(Book(journal, RunId(plan.proposer.removeprefix(_REPLAY))), artifacts)
    kept = {name: plan.settings.get(f"gateway.{name}", str(getattr(settings, name))) for name in _HABITS}
    habits = Habits(
        candidates=int(kept["candidates"]),
        prompt_tokens=int(kept["prompt_tokens"]),
        answer_tokens=int(kept["answer_tokens"]),
        review=kept["review"] == "True",
    )
    tokenizer = None if asking.tokenizer is None else tokenizer_from(Path(asking.tokenizer).expanduser())
    return ModelProposer(plan.proposer, RunDesk(answers, habits, tokenizer=tokenizer))


def _spent(journal: Journal, plan: RunPlan) -> tuple[int, Decimal]:
    """Return the tokens and the money that a run and those it goes on with spent so far."""
    tokens, money = spent(Book(journal, RunId(plan.run)))
    parent = plan.parent
    while parent is not None:
        book = Book(journal, RunId(parent))
        more, parent = spent(book), book.plan().parent
        tokens, money = tokens + more[0], money + more[1]
    return tokens, money


def kept(spec: str, place: Path) -> str:
    """Copy a directory or file of patches to `place` and return the proposer's word as a run records it.

    A resumed run then tries the same patches whatever became of the originals, and its record names no directory of
    this machine. Branches and `playbook` are returned as they are.
    """
    where = Path(spec.removeprefix(_PATCHES))
    if not spec.startswith(_PATCHES) or spec == _PATCHES or not where.exists():
        return spec
    open_patches(str(where), directory=Path(), commits=lambda name: None)  # refused by the name that was typed
    name = where.resolve().name
    target = place / name
    target.parent.mkdir(parents=True, exist_ok=True)
    if not where.is_dir():
        shutil.copyfile(where, target)
        return f"{_PATCHES}{name}"
    target.mkdir()
    for entry in where.iterdir():
        if is_patch(entry):
            shutil.copyfile(entry, target / entry.name)
        else:
            # What is no patch is counted by its name alone: beside patches may lie a whole kernel.
            (target / entry.name).touch()
    return f"{_PATCHES}{name}"


def make_proposer(plan: RunPlan, repository: Repository, place: Path, asking: Asking = NO_MODELS) -> Proposer:
    """Return the proposer that a run's plan names, its patches below `place`; UsageError when it names none."""
    spec, base = plan.proposer, Oid(plan.base_commit)
    if spec == "playbook":
        return PlaybookProposer()
    if spec == LLM or spec.startswith(_REPLAY):
        return _of_models(plan, repository, asking)
    if spec.startswith(_PATCHES):

        def commits(name: str) -> Sequence[CommitPatch] | None:
            return _commits(repository, base, name)

        return open_patches(spec.removeprefix(_PATCHES), directory=place, commits=commits)
    raise UsageError(
        f"no proposer is called '{spec}'",
        next_step="use playbook, llm, or patches:<directory, mbox or branch>",
    )


def _commits(repository: Repository, base: Oid, name: str) -> list[CommitPatch] | None:
    """List the commits of a range, or of a branch beyond `base`, oldest first; None when there is no such thing."""
    start, dots, end = name.partition("..")
    try:
        tip = repository.resolve(end if dots else name)
        bottom = repository.resolve(start) if dots else base
    except RepositoryError:
        return None
    listed = repository.git.run("rev-list", "--reverse", "--no-merges", f"{bottom}..{tip}").text.split()
    found = []
    for oid in map(Oid, listed):
        commit = repository.read_commit(oid)
        title, _, body = commit.message.partition("\n")
        diff = repository.diff(commit.parents[0], oid) if commit.parents else b""
        found.append(CommitPatch(oid, title, body.strip(), None, diff))
    return found
