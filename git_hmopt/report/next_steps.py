# SPDX-License-Identifier: Apache-2.0
"""The commands a reader of a run's story will want next; each works with plain git or this tool."""

from __future__ import annotations

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
