# SPDX-License-Identifier: Apache-2.0
"""What the bot says, as Markdown: texts of others are shown and never interpreted, nobody is called who did not ask."""

from __future__ import annotations

import re
from collections.abc import Sequence

from git_hmopt.report.markup import code, literal
from git_hmopt.report.story import RunStory
from git_hmopt.report.wording import outcome
from hmopt_bot.answer import Answer, listed, measured, span, verdicts
from hmopt_bot.forges.values import Conclusion, PullRequest
from hmopt_bot.pulls.ledger import Ask, Ledger

TITLE = "### git hmopt"
_SHORT = 12


def untrusted(text: str) -> str:
    """Return a text as it may stand in a comment: no markup, no mention, no reference to another issue."""
    return literal(text).replace("@", "@\u200b").replace("\\#", "\\#\u200b")


# -- one measurement --------------------------------------------------------------------------------------------------


def check_told(found: Answer) -> str:
    """Return what a comparison came to."""
    return verdicts(found.workloads)


def check_detail(found: Answer, *, commands: Sequence[str], host: str, configuration: str, raw: str) -> str:
    """Return the evidence for a comparison: the numbers, what was touched, and how to do it again."""
    parts = [part for one in found.workloads for part in measured(one)]
    parts += listed(found.notes)
    parts.append(
        f"Measured on {span(host)} with configuration {span(configuration[:_SHORT])}, base and head in turns on one "
        f"machine; numbers of another one are no part of it. SHA-256 of the whole answer: {span(raw)}."
    )
    parts.append("```\n" + "\n".join(commands) + "\n```")
    return "\n\n".join(parts)


def run_told(story: RunStory) -> str:
    """Return what came of a run; only what was measured afresh is claimed."""
    return "\n".join(f"- {untrusted(line)}" for line in outcome(story))


# -- the comment that is edited in place ------------------------------------------------------------------------------


def sticky(ledger: Ledger, taken_back: tuple[int, int]) -> str:
    """Return the one comment: what the head touches, what was measured of it, and how reliable that was here."""
    parts = [TITLE, ledger.impact if ledger.said_of == ledger.head else ""]
    measured = [one for one in ledger.asks if one.head == ledger.head and one.status in ("done", "failed")]
    if measured:
        parts.append("#### Measured\n\n" + "\n\n".join(_measured(one) for one in measured))
    waiting = [one for one in ledger.asks if one.head == ledger.head and one.status == "waiting"]
    parts += [f"Being measured: {_asked(one)}." for one in waiting]
    given, back = taken_back
    if given:
        parts.append(
            f"<sub>Of {given} verdict{'' if given == 1 else 's'} given here, {back} "
            f"{'was' if back == 1 else 'were'} taken back ({back / given:.0%}). `/hmopt help` lists the commands.</sub>"
        )
    return "\n\n".join(part for part in parts if part)


def _measured(one: Ask) -> str:
    heading = f"{_asked(one)}, {_range(one)}:"
    if one.withdrawn:
        return (
            f"{heading} **taken back** by {untrusted(one.withdrawn.by)}: {untrusted(one.withdrawn.reason)}\n\n"
            f"<details><summary>what had been claimed</summary>\n\n{one.told}\n\n</details>"
        )
    detail = f"\n\n<details><summary>evidence</summary>\n\n{one.detail}\n\n</details>" if one.detail else ""
    return f"{heading}\n\n{one.told}{detail}"


def _asked(one: Ask) -> str:
    what = "comparison with the base" if one.kind == "check" else f"run {code(one.run or '')}"
    of = ", ".join(map(code, one.workloads))
    return f"{what} on {of}"


def _range(one: Ask) -> str:
    commits = f"`{one.base[:_SHORT]}..{one.head[:_SHORT]}`"
    return f"{commits} ({untrusted(one.note)})" if one.note else commits


# -- answers to commands ----------------------------------------------------------------------------------------------


def progress(one: Ask) -> str:
    """Return how something that was asked for goes, or went."""
    what = f"{_asked(one)}, {_range(one)}"
    match one.status:
        case "waiting":
            return f"{what}: it waits for its turn on the build trees; this answer will be edited."
        case "stopped":
            return f"{what}: stopped."
        case "outdated":
            return f"{what}: not done, since the pull request moved on or was closed. Ask again for its new head."
        case "failed":
            return f"{what}: it could not be done.\n\n{one.told}"
        case "done":
            return _measured(one)


def conclusion(ledger: Ledger) -> tuple[Conclusion, str]:
    """Return what the check run says of the head: a regression fails it, what is undecided leaves it neutral."""
    checks = [
        one for one in ledger.asks
        if one.kind == "check" and one.head == ledger.head and one.status in ("done", "failed") and not one.withdrawn
    ]  # fmt: skip
    if not checks:
        title = ledger.title if ledger.said_of == ledger.head else ""
        return Conclusion.NEUTRAL, title or "nothing was measured"
    latest: dict[tuple[str, ...], Ask] = {}
    for one in checks:
        before = latest.get(one.workloads)
        # That it could not be measured again takes no regression back.
        if one.status == "done" or before is None or before.answer != 1:
            latest[one.workloads] = one
    answers = {one.answer if one.status == "done" else 125 for one in latest.values()}
    if 1 in answers:
        return Conclusion.FAILURE, "a workload regressed"
    if answers == {0}:
        return Conclusion.SUCCESS, "no regression"
    return Conclusion.NEUTRAL, "cannot tell"


def patch_told(patch: str | None) -> str:
    """Return what was found for a fork's branch as a patch, which may hold anything."""
    why = (
        "In a branch of this repository the fork's commits would be built with its secrets, so that nothing is pushed."
    )
    if patch is None:
        return f"`/hmopt propose`: {why} The patch is too long for a comment: the clone that is served has the branch."
    fence = "`" * max(3, 1 + max((len(one) for one in re.findall("`+", patch)), default=0))
    return (
        f"`/hmopt propose`: {why} This is the patch, for `git am` on the fork's branch:\n\n"
        f"<details><summary>the patch</summary>\n\n{fence}diff\n{patch.rstrip()}\n{fence}\n\n</details>"
    )


def proposal_title(run: str, pull: PullRequest) -> str:
    """Return the title of a proposal."""
    return f"hmopt: what run {run} found for #{pull.number}"


def proposal_body(pull: PullRequest, story: RunStory, *, asked_by: str, commands: Sequence[str], report: str) -> str:
    """Return the text of a proposal: for whom, what was measured, how to see it again."""
    lines = [
        f"Proposed at the request of @{untrusted(asked_by)} in #{pull.number}, who decides about it "
        f"and signs it off. It goes into the branch that #{pull.number} is made of.",
        run_told(story),
        "To look at the evidence, and to measure it again:",
        "```\n" + "\n".join(commands) + "\n```",
        f"<details><summary>the run's report</summary>\n\n{report}\n\n</details>",
    ]
    return "\n\n".join(lines)
