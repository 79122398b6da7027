# SPDX-License-Identifier: Apache-2.0
"""Opens what a run found as a draft pull request, when somebody asked for it."""

from __future__ import annotations

from git_hmopt.errors import HmoptError
from git_hmopt.loop.standing import told
from git_hmopt.records.words import Oid, RunId
from git_hmopt.report.markdown import run_report
from git_hmopt.report.story import RunStory
from git_hmopt.store.artifacts import ArtifactStore
from hmopt_bot.forges import limits
from hmopt_bot.forges.values import Proposal, PullRequest
from hmopt_bot.pulls import wording
from hmopt_bot.pulls.desk import Desk
from hmopt_bot.pulls.ledger import Ask

_REPORT = limits.Bound(40_000, limits.Unit.CODE_POINTS)


def proposed(desk: Desk, pull: PullRequest, ask: Ask, *, asked_by: str) -> str:
    """Push a run's best and open a draft for it, or say in words why not; done twice, it is there once.

    Of a fork's nothing is pushed: a branch here with its commits would be built with the secrets of this repository.
    Raises TRANSIENT ApiErrors and StoreError: what may go better the next time.
    """
    story = told(desk.repository, RunId(ask.run or ""))
    if not story.accepted:
        return f"`/hmopt propose`: there is nothing to propose.\n\n{wording.run_told(story)}"
    if story.withdrawn:
        return f"`/hmopt propose`: not done. What run `{story.run.name}` claims was taken back."
    if pull.is_fork:
        return f"{wording.patch_told(_patch(desk, ask.head, story.best_commit))}\n\n{wording.run_told(story)}"
    branch = f"hmopt/{story.run.name}/best"
    desk.remote.push(desk.repository, Oid(story.best_commit), branch)
    commands = (
        f"git fetch {desk.registered.remote} {branch} && git log --oneline {ask.head[:12]}..FETCH_HEAD",
        f"git hmopt check {ask.head} --head {story.best_commit} --workload {story.run.workload}",
    )
    body = wording.proposal_body(pull, story, asked_by=asked_by, commands=commands, report=report(desk, story.run.name))
    made = desk.posts.propose(
        Proposal(title=wording.proposal_title(story.run.name, pull), body=body, head=branch, base=pull.head.ref)
    )
    shown = f"#{made.number}" if not made.address else f"[#{made.number}]({made.address})"
    return f"Proposed as {shown}, a draft.\n\n{wording.run_told(story)}"


def _patch(desk: Desk, head: Oid, best: Oid | str) -> str | None:
    """Return a run's best as mails that `git am` takes, or None when they are too much for a comment."""
    words = ("format-patch", "--stdout", "--no-signature", "--no-ext-diff", "--no-color", f"{head}..{best}")
    text = desk.repository.git.run(*words).text
    return text if _REPORT.size(text) <= _REPORT.most else None


def report(desk: Desk, run: str) -> str:
    """Return a run's report, its headings below those of a comment, cut to what fits beside other things."""
    story: RunStory = told(desk.repository, RunId(run))
    try:
        text = run_report(story, ArtifactStore.of(desk.repository).read)
    except HmoptError as error:
        return wording.untrusted(str(error))
    lower = "\n".join(f"###{line}" if line.startswith("#") else line for line in text.split("\n"))
    return limits.cut(lower.replace("@", "@\u200b"), _REPORT)
