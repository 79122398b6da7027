# SPDX-License-Identifier: Apache-2.0
"""A model's answer as blocks: how models write, what is no block, and that nothing is dropped in silence."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from git_hmopt.agents.answer_format import Answer, Candidate, FunctionBlock, SearchBlock, parse_answer

SWAP = "static void do_swap(void *a)\n{\n\tswap(a);\n}\n"
FUNCTION = f"FUNCTION lib/sort.c do_swap\n```c\n{SWAP}```\n"
EDIT = "EDIT lib/sort.c\n```\n<<<<<<< SEARCH\n\tint a;\n=======\n\tlong a;\n>>>>>>> REPLACE\n```\n"


def only(text: str) -> Candidate:
    (candidate,) = parse_answer(text).candidates
    return candidate


def faults(text: str) -> str:
    answer = parse_answer(text)
    return "\n".join(str(one) for one in (*answer.faults, *(one for part in answer.candidates for one in part.faults)))


def test_a_function_and_an_edit_with_prose_around() -> None:
    found = only(f"I would unroll it.\n\n{FUNCTION}\nAnd then:\n{EDIT}\nThat is all.\n")
    assert found.faults == ()
    assert found.blocks == (
        FunctionBlock("lib/sort.c", "do_swap", SWAP, 3),
        SearchBlock("lib/sort.c", ("\tint a;",), ("\tlong a;",), 14),
    )
    assert found.rationale == "I would unroll it.\n\nAnd then:\n\nThat is all."


@pytest.mark.parametrize(
    "header",
    [
        "FUNCTION lib/sort.c do_swap",
        "FUNCTION: lib/sort.c do_swap",
        "### FUNCTION lib/sort.c do_swap",
        "**FUNCTION lib/sort.c do_swap**",
        "**FUNCTION** lib/sort.c do_swap",
        "**FUNCTION:** `lib/sort.c` `do_swap()`:",
        "- FUNCTION `lib/sort.c do_swap`",
        "1. FUNCTION lib/sort.c do_swap",
        "2) **FUNCTION lib/sort.c do_swap**",
        "FUNCTION lib/sort.c:do_swap",
        "FUNCTION lib/sort.c, do_swap()",
        "  FUNCTION   lib/sort.c   do_swap  ",
    ],
)
def test_headers_as_models_decorate_them(header: str) -> None:
    (block,) = only(f"{header}\n\n```c\n{SWAP}```").blocks
    assert (block.file, block.name, block.text) == ("lib/sort.c", "do_swap", SWAP)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("opening", "closing"),
    [("```", "```"), ("~~~c", "~~~"), ("`````c", "`````"), ("``` C", "````"), ("```cpp x", "```")],
)
def test_fences_as_models_write_them(opening: str, closing: str) -> None:
    (block,) = only(f"FUNCTION lib/sort.c do_swap\n{opening}\n{SWAP}{closing}\n").blocks
    assert isinstance(block, FunctionBlock) and block.text == SWAP


def test_crlf_and_an_indented_fence() -> None:
    indented = "".join(f"   {line}\n" for line in FUNCTION.splitlines()[1:])
    for text in (FUNCTION.replace("\n", "\r\n"), f"1. FUNCTION lib/sort.c do_swap\n{indented}"[3:]):
        (block,) = only(text).blocks
        assert isinstance(block, FunctionBlock) and block.text == SWAP


def test_what_is_not_indented_in_an_indented_fence_stays() -> None:
    (block,) = only(f"FUNCTION lib/sort.c do_swap\n  ```c\n{SWAP}  ```\n").blocks
    assert isinstance(block, FunctionBlock) and block.text == SWAP


def test_a_header_inside_its_fence_is_taken_and_is_no_code() -> None:
    (block,) = only(f"```c\nFUNCTION lib/sort.c do_swap\n{SWAP}```").blocks
    assert isinstance(block, FunctionBlock) and (block.text, block.line) == (SWAP, 2)


def test_backticks_in_a_comment_end_no_block() -> None:
    code = '/*\n * Use:\n```\nswap(a) /* no\n```\n */\nvoid f(void)\n{\n\tchar *s = "/*"; /* don\'t */\n}\n'
    (block,) = only(f"FUNCTION a.c f\n```c\n{code}```\nmore\n").blocks
    assert isinstance(block, FunctionBlock) and block.text == code


def test_markers_without_a_fence_and_many_pairs_in_one() -> None:
    pair = "<<<<<<< SEARCH\na{0}\n=======\n>>>>>>> REPLACE\n"
    for text in (
        f"EDIT a.c\n{pair.format(1)}\nand\n{pair.format(2)}",
        f"EDIT a.c\n```\n{pair.format(1)}\n{pair.format(2)}```\n",
        f"EDIT a.c\n```\n{pair.format(1)}```\n\n```\n{pair.format(2)}```\n",
    ):
        found = only(text)
        assert not found.faults
        assert [(one.search, one.replace) for one in found.blocks if isinstance(one, SearchBlock)] == [
            (("a1",), ()),
            (("a2",), ()),
        ]


def test_candidates_have_their_own_titles_reasons_blocks_and_faults() -> None:
    answer = parse_answer(
        f"Two ways.\n## CANDIDATE 1: swap *words*\nBecause.\n{FUNCTION}\n**CANDIDATE 2:** tables\n{EDIT}\n"
        f"CANDIDATE 3 - cut\nFUNCTION lib/sort.c do_swap\n```c\nstatic void do_swap(void *a)\n{{\n"
    )
    first, second, third = answer.candidates
    assert (first.title, first.rationale, len(first.blocks), first.faults) == ("swap *words", "Because.", 1, ())
    assert (second.title, len(second.blocks), second.faults) == ("tables", 1, ())
    assert third.title == "cut" and third.blocks == () and "cut off" in str(third.faults[0])


def test_prose_that_begins_like_a_header_is_prose() -> None:
    found = only(
        f"CANDIDATE 1 is simple.\nFUNCTION pointers are slow.\nEDIT distance matters.\nFUNCTION calls\n{FUNCTION}"
    )
    assert not found.faults and found.rationale.count("\n") == 3


def test_titles_and_reasons_are_plain_text() -> None:
    found = parse_answer(f"CANDIDATE 1: a\x1b[31m\u202eb\nwhy\x1b]0;x\x07\n\tand\n{FUNCTION}").candidates[0]
    assert found.title == "a\\x1b[31m\\u202eb" and found.rationale == "why\\x1b]0;x\\x07\n\tand"


def test_the_same_block_twice_is_one() -> None:
    assert len(only(FUNCTION + FUNCTION).blocks) == 1


def test_quoted_code_without_a_function_is_prose() -> None:
    found = only(f"The loop is\n```c\nfor (;;)\n\tswap(a);\n```\n{FUNCTION}")
    assert len(found.blocks) == 1 and not found.faults


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "it has no block"),
        ("Nothing to do here.", "it has no block"),
        ("```c\nx = 1;\n```", "it has no block"),
        (f"```c\n{SWAP}```", "no header of its own"),
        (f"{FUNCTION}\n```c\n{SWAP}```", "no header of its own"),
        ("```\n<<<<<<< SEARCH\na\n=======\nb\n>>>>>>> REPLACE\n```", "no header of its own"),
        ("<<<<<<< SEARCH\na\n=======\nb\n>>>>>>> REPLACE\n", "no header of its own"),
        (FUNCTION[:-5], "the answer ends inside this block"),
        (FUNCTION.removesuffix("```\n"), "FUNCTION lib/sort.c do_swap (line 1 of the answer): the answer ends inside"),
        (FUNCTION.removesuffix("```\n") + EDIT, "not closed before the next header (line 7"),
        ("FUNCTION lib/sort.c do_swap\nno code", "no fenced block follows"),
        ("FUNCTION lib/sort.c do_swap\n" + EDIT, "no fenced block follows"),
        (f"FUNCTION do_swap\n```c\n{SWAP}```", "not understood: 'FUNCTION do_swap'"),
        ("EDIT the file lib/sort.c\n```\nx\n```", "not understood"),
        ("FUNCTION lib/sort.c do_swap\n```c\n\n```", "the block is empty"),
        ("FUNCTION lib/sort.c do_swap\n```c\n<<<<<<< SEARCH\na\n=======\nb\n>>>>>>> REPLACE\n```", "belong to EDIT"),
        ("EDIT lib/sort.c\n```c\nint a;\n```", "a line stands outside"),
        ("EDIT lib/sort.c\n```c\n```", "has no <<<<<<< SEARCH"),
        ("EDIT a.c\n```\n<<<<<<< SEARCH\na\n>>>>>>> REPLACE\n```", "the ======= between"),
        ("EDIT a.c\n```\n<<<<<<< SEARCH\na\n=======\nb\n=======\nc\n>>>>>>> REPLACE\n```", "two ======= lines"),
        ("EDIT a.c\n<<<<<<< SEARCH\na\n<<<<<<< SEARCH\n=======\nb\n>>>>>>> REPLACE", "begins inside another"),
        ("EDIT a.c\n<<<<<<< SEARCH\na\n=======\nb\n", "the answer ends inside this block"),
        ("EDIT a.c\n```\n<<<<<<< SEARCH\na\n=======\nb\n```\n", "the answer ends inside this block"),
        ("EDIT a.c\n```\n<<<<<<< SEARCH\na\n=======\nb\n```\n" + FUNCTION, "not closed before the next header"),
        (f"{FUNCTION}\nb\n>>>>>>> REPLACE\n", "without its SEARCH"),
        ("```diff\n--- a/x.c\n+++ b/x.c\n@@ -1 +1 @@\n-a\n+b\n```", "diffs are not read"),
        ("EDIT x.c\n```\n@@ -1,2 +1,2 @@\n-a\n+b\n```", "diffs are not read"),
        ("diff --git a/x.c b/x.c\n--- a/x.c\n+++ b/x.c\n@@ -1 +1 @@\n-a\n+b\n", "diffs are not read"),
        (f"CANDIDATE 1: none\nonly words\nCANDIDATE 2: one\n{FUNCTION}", "CANDIDATE 'none' (line 1"),
        ("x" * (1 << 21), "characters, more than"),
        (f"CANDIDATE 1:\n{FUNCTION}" * 17, "17 candidates"),
        ("".join(f"EDIT a.c\n<<<<<<< SEARCH\n{n}\n=======\n>>>>>>> REPLACE\n" for n in range(65)), "65 blocks"),
    ],
)
def test_what_looks_like_a_block_and_is_none_is_told(text: str, said: str) -> None:
    assert said in faults(text)


@pytest.mark.parametrize(
    "text",
    [
        "```" + " " * 900_000 + "`",
        "FUNCTION " + " " * 900_000 + "x",
        "<<<<<<< SEARCH\nEDIT a.c\n" * 30_000,
        "FUNCTION a.c f\n" * 60_000,
        "```\n" * 200_000,
        "/*\n" + "```\n" * 200_000,
        "EDIT a.c\n```\n" + "{" * 900_000,
        "```\n" + "{" * 900_000 + "\n```",
        "'" * 900_000,
        "FUNCTION a.c f\n```\n" + "'\\" * 400_000,
    ],
    ids=lambda text: text[:20],
)
def test_hostile_answers_take_no_time(text: str) -> None:
    before = time.process_time()
    parse_answer(text)
    assert time.process_time() - before < 20


PIECES = st.sampled_from(
    ["FUNCTION lib/a.c f", "EDIT lib/a.c", "CANDIDATE 2: t", "```", "```c", "~~~", "````", "  ```", "<<<<<<< SEARCH",
     "=======", ">>>>>>> REPLACE", "int f(void)", "{", "\treturn 1;", "}", "/*", "*/", "...", "", "@@ -1 +1 @@", "\0",
     "prose", "\ud800"]
)  # fmt: skip


def said(answer: Answer) -> int:
    return len(answer.faults) + sum(len(one.blocks) + len(one.faults) for one in answer.candidates)


@given(st.one_of(st.text(), st.lists(PIECES, max_size=40).map("\n".join)))
def test_any_text_is_read_and_every_answer_has_a_block_or_a_fault(text: str) -> None:
    answer = parse_answer(text)
    assert said(answer) > 0
    for candidate in answer.candidates:
        assert candidate.blocks or candidate.faults


@given(st.lists(PIECES, max_size=30).map("\n".join))
def test_no_marker_and_no_header_is_lost(text: str) -> None:
    answer = parse_answer(f"{text}\nFUNCTION lib/z.c zz\n```c\nint zz(void)\n{{\n}}\n```\n")
    blocks = [block for one in answer.candidates for block in one.blocks]
    faults = [fault for one in answer.candidates for fault in one.faults]
    if not faults:
        assert any(block.file == "lib/z.c" for block in blocks)
        assert ("<<<<<<< SEARCH" in text) == any(isinstance(block, SearchBlock) for block in blocks)
        assert (
            "FUNCTION lib/a.c f" not in text
            or any(isinstance(block, FunctionBlock) and block.name == "f" for block in blocks)
            or any("FUNCTION lib/a.c f" in part for block in blocks for part in quoted(block))
        )


def quoted(block: FunctionBlock | SearchBlock) -> tuple[str, ...]:
    """Return the lines that a block holds."""
    return (block.text,) if isinstance(block, FunctionBlock) else (*block.search, *block.replace)
