# SPDX-License-Identifier: Apache-2.0
"""An answer that ended at its limit of tokens: its last candidate may lack blocks, the others are whole."""

from __future__ import annotations

import pytest

from git_hmopt.agents.llm.coder import read
from git_hmopt.agents.llm.desk import Written

BLOCK = "FUNCTION lib/a.c f\n```c\nint f(void)\n{\n\treturn 0;\n}\n```\n"
TWO = f"CANDIDATE 1: one\nWhy.\n{BLOCK}\nCANDIDATE 2: two\nWhy.\n{BLOCK}"


def test_the_last_candidate_of_an_answer_that_was_cut_off_is_not_applied() -> None:
    whole, cut = read(Written(TWO)), read(Written(TWO, cut=True))
    assert [len(one.faults) for one in whole.candidates] == [0, 0]
    assert [len(one.faults) for one in cut.candidates] == [0, 1]
    assert "it reached the limit of tokens" in str(cut.candidates[1].faults[0])
    assert [one.blocks for one in cut.candidates] == [one.blocks for one in whole.candidates]


@pytest.mark.parametrize("text", ["", "I would unroll", TWO[:20]])
def test_an_answer_without_candidates_says_what_it_lacks(text: str) -> None:
    found = read(Written(text, cut=True))
    assert found.faults or all(one.faults for one in found.candidates)
