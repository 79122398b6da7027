# SPDX-License-Identifier: Apache-2.0
"""How a model's text asks: decorated, repeated, quoted, hostile."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from git_hmopt.agents.tools import BY_NAME, MOST_QUESTIONS, TOOLS, listed, questions_in

ASKED = [
    ("LOOK source do_swap", ("source", "do_swap")),
    ("- LOOK source do_swap", ("source", "do_swap")),
    ("  * LOOK source `do_swap`", ("source", "do_swap")),
    ("3. LOOK source do_swap.", ("source", "do_swap")),
    ("3) **LOOK** callers `sort_r`", ("callers", "sort_r")),
    ("**LOOK callers sort_r**", ("callers", "sort_r")),
    ("`LOOK callers sort_r`", ("callers", "sort_r")),
    ("### LOOK: callees: sort_r()", ("callees", "sort_r")),
    ("LOOK `callees` __sort_r__", ("callees", "__sort_r__")),
    ("LOOK **costs** __init", ("costs", "__init")),
    ("LOOK callers(sort_r);", ("callers", "sort_r")),
    ('LOOK source("lib/sort.c:10-20")', ("source", "lib/sort.c:10-20")),
    ("LOOK source ../../etc/passwd", ("source", "../../etc/passwd")),
    ("LOOK neighbourhood struct list_head", ("neighbourhood", "struct list_head")),
    ("LOOK callers `sort_r` because it is hot", ("callers", "sort_r")),
    ("LOOK callers sort_r - it is hot", ("callers", "sort_r")),
    ("LOOK callers sort_r (it is hot)", ("callers", "sort_r")),
    ("LOOK windows", ("windows", "")),
    ("LOOK kpis *", ("kpis", "")),
    ("LOOK search copy a buffer word by word", ("search", "copy a buffer word by word")),
    ("LOOK SOURCE do_swap\r", ("source", "do_swap")),
    ("LOOK rm -rf /", ("rm", "-rf /")),
]  # fmt: skip


@pytest.mark.parametrize(("line", "asked"), ASKED)
def test_a_question_as_models_write_it(line: str, asked: tuple[str, str]) -> None:
    assert questions_in(f"I want to see more.\n\n{line}\nThat is all.") == [asked]


@pytest.mark.parametrize(
    "line",
    [
        "",
        "LOOK",
        "LOOK:",
        "LOOK 5",
        "Look source do_swap",
        "We LOOK source do_swap",
        "OVERLOOK source do_swap",
        "LOOKING source do_swap",
        "LOOK\x00source do_swap",
        "LOOK source " + "a" * 1_000,
        "\u202eLOOK source do_swap",
    ],
)
def test_no_question(line: str) -> None:
    assert questions_in(line) == []


def test_code_asks_nothing() -> None:
    fenced = "```c\nLOOK source a\n```\nLOOK source b\n~~~~\nLOOK source c\n~~~\nLOOK source d\n~~~~\nLOOK source e"
    assert questions_in(fenced) == [("source", "b"), ("source", "e")]
    indented = "- so:\n  ```\n  LOOK source a\n  ```\n  LOOK source b"
    assert questions_in(indented) == [("source", "b")]
    assert questions_in("LOOK source a\n```\nLOOK source b\nnever closed") == [("source", "a")]
    assert questions_in("```\r\nLOOK source a\r\n```\r\nLOOK source b\r\n") == [("source", "b")]


def test_each_once_and_not_too_many() -> None:
    twice = "LOOK source a\n- LOOK source `a`\nLOOK callers a\nLOOK source b"
    assert questions_in(twice) == [("source", "a"), ("callers", "a"), ("source", "b")]
    many = "".join(f"LOOK source f{number}\n" for number in range(100))
    assert questions_in(many) == [("source", f"f{number}") for number in range(MOST_QUESTIONS)]


@pytest.mark.parametrize(
    "part", [" ", "`", "*", "LOOK ", "LOOK source `", "LOOK source '", "LOOK _", "(", "~", "\n```", "1. "]
)
def test_no_text_takes_long_to_read(part: str) -> None:
    text = part * (1_000_000 // len(part))
    began = time.process_time()
    questions_in(text)
    questions_in("\n".join(text[at : at + 1_000] for at in range(0, len(text), 1_000)))
    # A pattern that goes back and forth needs minutes for this.
    assert time.process_time() - began < 10


@given(st.text(st.sampled_from("LOK source`*_'\"()-#~ \n\r\x00\x1b\u202e\ud800")))
def test_any_text_gives_a_few_short_questions(text: str) -> None:
    found = questions_in(text)
    assert len(found) == len(set(found)) <= MOST_QUESTIONS
    for tool, argument in found:
        assert tool.isalpha()
        assert "\n" not in argument
        assert argument == argument.strip()


def test_the_tools_are_listed_as_they_are_asked() -> None:
    lines = listed().split("\n")
    assert len(lines) == len(TOOLS) == len(BY_NAME)
    for line, tool in zip(lines, TOOLS, strict=True):
        assert line.startswith(f"- {tool.name}")
        assert questions_in(f"LOOK {tool.name} x") == [(tool.name, "x")]
