# SPDX-License-Identifier: Apache-2.0
"""Commit messages of candidates and of accepted patches, in the kernel's style."""

from __future__ import annotations

import textwrap

from git_hmopt import __version__
from git_hmopt.agents.llm.proposer import ModelProposer
from git_hmopt.agents.proposer import Proposal
from git_hmopt.loop.asking import exchanges
from git_hmopt.loop.bench import Bench
from git_hmopt.loop.book import Book
from git_hmopt.loop.state import RunState
from git_hmopt.records.run import Delta, EvaluationRecord, PatchRecord

# The kernel's documentation asks for 75 columns (Documentation/process/submitting-patches.rst).
COLUMNS = 75


def candidate_message(bench: Bench, state: RunState, proposal: Proposal) -> str:
    """Return the message of a candidate that nothing is known of yet."""
    unknown = "Not measured yet: a candidate of git-hmopt."
    return _joined(proposal.title, [proposal.rationale, unknown], _trailers(bench, state, proposal.strategy))


def accepted_message(bench: Bench, state: RunState, patch: PatchRecord, evaluation: EvaluationRecord) -> str:
    """Return the message of an accepted patch: what, why, the numbers and how they were measured."""
    paragraphs = [patch.rationale, *_numbers(bench, evaluation)]
    return _joined(patch.title, paragraphs, _trailers(bench, state, patch.strategy))


def _numbers(bench: Bench, evaluation: EvaluationRecord) -> list[str]:
    lines = []
    how = ""
    for delta in evaluation.deltas:
        change = f"{100 * float(delta.estimate):+.2f} %"
        if delta.kind in ("time", "kpi"):
            low, high = 100 * float(delta.low), 100 * float(delta.high)
            lines.append(f"  {delta.metric}: {change} [{low:+.2f}, {high:+.2f}] ({bench.plan.workload})")
            if delta.metric == bench.objective.metric or not how:
                how = _how(delta)
        else:
            lines.append(f"  {delta.metric}: {change} ({bench.plan.workload})")
    if evaluation.text_bytes is not None:
        lines.append(f"  text: {evaluation.text_bytes:+d} bytes")
    tested = "; ".join(
        check.detail for check in evaluation.checks if check.name in ("tests", "outputs") and check.passed
    )
    return ["\n".join(lines), how, f"Tested: {tested}." if tested else ""]


def _how(delta: Delta) -> str:
    name = delta.metric[:1].upper() + delta.metric[1:]
    interval = f"in brackets the {100 * float(delta.confidence or 0):.4g} % interval"
    if delta.layout_controlled:
        return (
            f"{name} is the mean over {delta.layouts} code layouts, paired by layout, {delta.boots} boots each; "
            f"{interval}."
        )
    return f"{name} is over {delta.boots} runs of one build each, code layout not controlled; {interval}."


def _trailers(bench: Bench, state: RunState, strategy: str) -> list[str]:
    # Never a Signed-off-by: only a person can give one (Documentation/process/coding-assistants.rst).
    assistant = f"git-hmopt:{__version__}"
    if bench.proposer.name != "playbook":
        assistant += f" [{_helped(bench, state['iteration'])}]"
    return [
        f"HMOPT-Run: {bench.run}",
        f"HMOPT-Iteration: {state['iteration']}",
        f"HMOPT-Evidence: sha256:{state['evidence_pack_id']}",
        f"Assisted-by: {assistant} {strategy}",
    ]


def _helped(bench: Bench, iteration: int) -> str:
    """Return who wrote a patch, as the trailer names it: the model of the Coder's answer, or `patches`."""
    if not isinstance(bench.proposer, ModelProposer):
        return "patches"
    book = Book(bench.journal, bench.run)
    turn = book.decision(iteration).candidate
    wanted = turn[0] if turn else iteration
    asked = [one for one in exchanges(book) if one.agent == "coder" and one.iteration == wanted and "model" in one.data]
    return asked[-1].data["model"] if asked else "llm"


def _joined(title: str, paragraphs: list[str], trailers: list[str]) -> str:
    body = "\n\n".join(_wrapped(one) for one in paragraphs if one.strip())
    return f"{title}\n\n{body}\n\n" + "\n".join(trailers) + "\n"


def _wrapped(paragraph: str) -> str:
    """Wrap running text; lines that are indented (numbers, code) stay as they are."""
    if any(line.startswith(" ") for line in paragraph.splitlines()) or "\n" in paragraph.strip():
        return paragraph.rstrip()
    return textwrap.fill(paragraph, COLUMNS, break_long_words=False, break_on_hyphens=False)
