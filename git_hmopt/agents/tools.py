# SPDX-License-Identifier: Apache-2.0
"""What an agent may look up while it thinks: read-only, bounded, and answered in words.

An agent asks by a tool's name and one argument, which any model can write; nothing here changes anything, and there is
no tool that runs a command or opens a file by a path outside the tree.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

ANSWER_BYTES = 6_000
"""Of UTF-8 that one answer has at most; it says what was left out."""


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


def questions_in(text: str) -> list[tuple[str, str]]:
    """Replaced by the look-up branch."""
    return [(one[1], one[2]) for one in re.finditer(r"^LOOK (\w+) ?(.*)$", text, re.MULTILINE)]
