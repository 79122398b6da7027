# SPDX-License-Identifier: Apache-2.0
"""What of a model's words may stand in a commit message: no claims, no signatures, nothing that makes tools act."""

from __future__ import annotations

import pytest

from git_hmopt.agents.answer_format import Candidate
from git_hmopt.agents.edits import Edits
from git_hmopt.agents.llm.coder import Usable, proposal_of
from git_hmopt.agents.proposer import Decision, Proposal

DECISION = Decision("scan", "lib/scan.c", "own-idea", "It walks byte by byte. It wins 3 % at least.")


def proposed(title: str, rationale: str) -> Proposal:
    return proposal_of(DECISION, Usable(1, Candidate(title, rationale, ()), Edits({"lib/scan.c": b"int x;\n"})))


@pytest.mark.parametrize(
    "sentence",
    [
        "It is 50 % faster.",
        "It is 50% faster.",
        "That wins thirty percent.",
        "It is 2x as quick.",
        "It runs 1.5 times quicker.",
        "It is twice as fast on long buffers.",
        "It saves 12 ns a byte.",
        "It takes 3 cycles less.",
        "Signed-off-by: A Model <model@example.org>",
        "Tested. Reviewed-by: A Model <model@example.org>",
        "Co-developed-by: A Model <model@example.org>",
    ],
)
def test_what_was_not_measured_and_nobody_signed_is_left_out(sentence: str) -> None:
    made = proposed("lib/scan: walk with a pointer", f"Tested.\n\n{sentence}\n\nThe loop does less.")
    assert made.rationale.removesuffix("\n\nTested.") in (
        "Tested.\n\nThe loop does less.",
        "Tested.\n\nTested.\n\nThe loop does less.",
    )


@pytest.mark.parametrize("line", ["Fixes: 1234567890ab (x)", "Cc: stable@example.org", "HMOPT-Run: other", "Link: x"])
def test_lines_that_make_tools_act_are_left_out(line: str) -> None:
    assert proposed("lib/scan: walk", f"The loop does less.\n{line}\nMuch less.").rationale == (
        "The loop does less. Much less."
    )


@pytest.mark.parametrize("title", ["", "lib/scan: 50 % faster", "lib/scan: Signed-off-by: A Model", "Fixes: a thing"])
def test_such_a_subject_is_replaced(title: str) -> None:
    assert proposed(title, "The loop does less.").title == "lib/scan: own-idea"


def test_where_nothing_is_left_the_decision_speaks_and_claims_nothing() -> None:
    assert proposed("lib/scan: walk", "It is 50 % faster.").rationale == "It walks byte by byte."


def test_words_that_claim_nothing_stay() -> None:
    text = "Eight bytes in each round need an eighth of the branches: p[8] is read once (see bsearch() in lib/)."
    assert proposed("lib/scan: eight bytes a round", text).rationale == text
