# SPDX-License-Identifier: Apache-2.0
"""What an agent may look up while it thinks: read-only, bounded, and answered in words.

An agent asks by a tool's name and one argument, which any model can write; nothing here changes anything, and there is
no tool that runs a command or opens a file by a path outside the tree.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from git_hmopt.agents.answer_format import DECORATION, FENCE, LONGEST, closes

ANSWER_BYTES = 6_000
"""Of UTF-8 that one answer has at most; it says what was left out."""
MOST_QUESTIONS = 8
"""That are taken of one text."""


@dataclass(frozen=True)
class Tool:
    """One thing that can be asked."""

    name: str
    argument: str
    """What the argument is, in a word or two: `SYMBOL`; empty where there is none."""
    tells: str
    """What the answer tells, in a line."""


TOOLS = (
    Tool("source", "SYMBOL or PATH or PATH:FIRST-LAST", "the source text of a function, or lines of a file"),
    Tool("callers", "SYMBOL", "who calls it, by the structure graph and by the profile, with costs where measured"),
    Tool("callees", "SYMBOL", "what it calls, the functions that a pointer may call included"),
    Tool("neighbourhood", "SYMBOL", "what the structure graph has around it: types, fields, globals, config knobs"),
    Tool("costs", "SYMBOL", "its share of the profile, self and with callees, and its dearest lines"),
    Tool("kpis", "PATTERN", "key figures of the captures whose names hold the pattern; all of them without one"),
    Tool("windows", "", "the slow times in the captures, and what ran then"),
    Tool("attempts", "SYMBOL", "what was tried on it in this run and before, with verdicts; all of it without one"),
    Tool("search", "WORDS", "functions of the tree that are alike, and past fixes with what they measured"),
)


class Lookup(Protocol):
    """Answers questions about the tree as the best so far has it, and about what was measured."""

    def answer(self, tool: str, argument: str) -> str:
        """Return plain text of at most ANSWER_BYTES; of an unknown tool, symbol or path it says so. Never raises."""
        ...


def listed(tools: tuple[Tool, ...] = TOOLS) -> str:
    """Return the tools as a prompt lists them, a line each."""
    return "\n".join(f"- {' '.join(filter(None, (one.name, one.argument)))}: {one.tells}" for one in tools)


BY_NAME: Mapping[str, Tool] = {one.name: one for one in TOOLS}

# -- questions ------------------------------------------------------------------------------------------------------

_QUESTION = re.compile(r"LOOK\b[\s:*_`]+(?P<tool>[A-Za-z]{1,32})\b(?P<rest>.*)")
_QUOTED = re.compile(r"([`'\"])(.+?)\1")
# What people write behind a name: `do_swap - the hot loop`, `do_swap (inlined?)`. No symbol and no path has it.
_REMARK = re.compile(r"\s(?:--?|\u2013|\u2014|#|//)\s|\s\(")


def questions_in(text: str) -> list[tuple[str, str]]:
    """Return the questions of a model's text as (tool, argument): lines that begin with LOOK, as far as such lines may
    be decorated, at most MOST_QUESTIONS, each once, in their order. Never raises.

    A tool may be one that does not exist: its answer says so. What stands in fenced blocks is code and no question.
    """
    found: dict[tuple[str, str], None] = {}
    for line in _outside_fences(text):
        asked = _QUESTION.fullmatch(DECORATION.sub("", line)) if len(line) <= LONGEST and "LOOK" in line else None
        if asked is not None:
            found[asked["tool"].lower(), _argument(asked["rest"])] = None
        if len(found) == MOST_QUESTIONS:
            break
    return list(found)


def _outside_fences(text: str) -> Iterator[str]:
    """Yield the lines that stand in no fenced block; one that is not closed goes on to the end."""
    fence = ""
    for line in text.split("\n"):
        if fence:
            fence = "" if closes(line, fence) else fence
        elif opening := FENCE.fullmatch(line.removesuffix("\r")):
            fence = opening["fence"]
        else:
            yield line.removesuffix("\r")


def _argument(rest: str) -> str:
    """Return what is asked about, without what decorates it and what is remarked on it."""
    rest = rest.strip().lstrip(":* \t")
    if rest.startswith("("):  # callers(sort_r)
        rest = rest[1:].rstrip(" .;").removesuffix(")")
    quoted = _QUOTED.match(rest)
    bare = quoted[2] if quoted else _REMARK.split(rest, maxsplit=1)[0]
    return bare.strip(" \t*`'\"").rstrip(".,;:!?*`'\" \t").removesuffix("()")
