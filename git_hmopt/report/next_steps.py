# SPDX-License-Identifier: Apache-2.0
"""The commands a reader of a run's story will want next; each works with plain git or this tool."""

from __future__ import annotations

import shlex

from git_hmopt.records.words import NOTES_METRICS, NOTES_VERDICTS, RunId, best_ref
from git_hmopt.report.story import RunStory
from git_hmopt.report.wording import is_open


def next_commands(story: RunStory) -> tuple[tuple[str, str], ...]:
    """Return (command, what it does) in the order a reader needs them."""
    run = story.run.name
    branch = best_ref(RunId(run)).removeprefix("refs/heads/")
    metrics, verdicts = (ref.removeprefix("refs/notes/") for ref in (NOTES_METRICS, NOTES_VERDICTS))
    steps: list[tuple[str, str]] = []
    if is_open(story):
        steps.append((f"git hmopt resume {run}", "go on with this run"))
    if story.accepted:
        steps += [
            (f"git diff {story.run.base_commit[:12]} {branch}", "what would change"),
            (f"git merge {branch}", "take it"),
            (f"git log --notes={metrics} --notes={verdicts} {branch}", "the numbers, commit by commit"),
        ]
    else:
        steps.append((f"git log -1 --notes={metrics} {story.run.base_commit[:12]}", "the base's numbers"))
    steps.append((f"git hmopt report {run}", "every verdict with its reason"))
    return tuple(steps)


def rollback_commands(story: RunStory) -> tuple[tuple[str, str], ...]:
    """Return how accepted patches are taken back where they were merged: all of them, and one by one, newest first."""
    commits = [(one, one.evaluation.commit) for one in reversed(story.accepted) if one.evaluation]
    known = [(one, commit) for one, commit in commits if commit]
    if not known:
        return ()
    base = story.run.base_commit[:12]
    every = [(f"git revert --no-edit {base}..{story.best_commit[:12]}", "all of the run, newest first")]
    single = [(f"git revert --no-edit {commit[:12]}", f"iteration {one.number}") for one, commit in known]
    return (*every, *single) if len(known) > 1 else tuple(single)


def same_run_command(story: RunStory) -> str:
    """Return the command that starts the same run again: same base, inputs and layouts."""
    run = story.run
    parts = ["git", "hmopt", "optimize", "--workload", run.workload, "--base", run.base_commit, "--seed", str(run.seed)]
    if run.proposer != "playbook":
        parts += ["--proposer", run.proposer]
    return shlex.join(parts)
