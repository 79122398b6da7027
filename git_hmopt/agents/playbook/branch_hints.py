# SPDX-License-Identifier: Apache-2.0
"""A branch that nearly always goes one way, as counted -> likely() or unlikely().

The compiler lays the likely side out straight. GCC takes a hint for a probability of 90 %
(gcc.gnu.org, "Optimize Options", builtin-expect-probability), so only a branch that is more biased than that, by the
lower end of its 95 % interval (Wilson), is hinted, and only from 95 % on.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from git_hmopt.agents.playbook.placement import include_edits
from git_hmopt.agents.playbook.strategy import Miss, Rewrite, View
from git_hmopt.psg.edit import Edit, replace
from git_hmopt.psg.syntax import Node
from git_hmopt.psg.unit import line_of
from git_hmopt.runtime.proportion import wilson

GCC_EXPECTS = 0.90
BIAS = 0.95
_COLUMNS = 100  # scripts/checkpatch.pl, $max_line_length
_HEADER = "linux/compiler.h"
# Outside a kernel the words are not there; this is what they stand for (include/linux/compiler.h).
_SPELT_OUT = {"likely": ("__builtin_expect(!!(", "), 1)"), "unlikely": ("__builtin_expect(!!(", "), 0)")}
# A static key's branch is patched code, not a prediction.
_HINTED = re.compile(rb"(?:un)?likely\b|__builtin_expect|\bWARN_ON|\bBUG_ON|\bstatic_key_")


@dataclass(frozen=True)
class Hint:
    """One condition and the way it goes."""

    start: int
    end: int
    word: Literal["likely", "unlikely"]


@dataclass(frozen=True)
class Biased:
    """The conditions of a function that are worth a hint."""

    hints: tuple[Hint, ...]


class BranchHints:
    """Tell the compiler which way measured branches go."""

    name = "branch-hints"
    classes: tuple[str, ...] = ("cpu-bound-loop", "unknown")
    summary = "measured one-sided branches -> likely()/unlikely()"
    prior = 0.01
    prior_source = "a hints-only patch was 12.5 % slower in all layouts on Linux 6.1: rarely worth anything"

    def match(self, view: View) -> Biased | Miss:
        """Find conditions whose lines were counted and that go one way."""
        if not view.measured:
            return Miss("which way its branches go is not known without a profile")
        if not view.counts:
            return Miss("no line of it was counted")
        conditions = [node for node in view.tree.walk() if node.kind == "IF_STMT" and not node.in_macro]
        hints = [hint for node in conditions if (hint := _hint(view, node)) is not None]
        if not hints:
            return Miss(f"none of its {len(conditions)} conditions is unhinted, counted and goes one way")
        return Biased(tuple(hints))

    def rewrite(self, view: View, match: Biased) -> Rewrite:
        """Wrap the conditions."""
        declared = _is_declared(view)
        edits = include_edits(view.text, [_HEADER], view.source) if declared else []
        for hint in match.hints:
            before, after = (f"{hint.word}(", ")") if declared else _SPELT_OUT[hint.word]
            edits += [Edit(hint.start, hint.start, before.encode()), Edit(hint.end, hint.end, after.encode())]
        several = len(match.hints) > 1
        return Rewrite(
            edits={view.function.file: replace(view.text, edits)},
            summary=f"add branch hints in {view.function.symbol}()",
            paragraphs=[
                f"Counted over the workload, {'some branches' if several else 'a branch'} of {view.function.symbol}() "
                f"nearly always {'go' if several else 'goes'} one way, more often than the compiler assumes without "
                "being told. Say so, so that the common path is laid out straight.",
            ],
        )


def _hint(view: View, node: Node) -> Hint | None:
    text, condition, then = view.text, node.children[0], node.children[1]
    if condition.in_macro or condition.value is not None or _HINTED.search(condition.text(text)):
        return None
    if condition.operator == ",":  # likely() takes one argument
        return None
    if any(_assigns(one) for one in condition.walk()):  # scripts/checkpatch.pl, ASSIGN_IN_IF
        return None
    line = line_of(text, node.start)
    first = then.children[0] if then.kind == "COMPOUND_STMT" and then.children else then
    then_line = line_of(text, first.start)
    # A condition over several lines, or on one line with its branch, has no count of its own.
    if then_line == line or line_of(text, condition.end) != line:
        return None
    word = direction(view.counts.get(line), view.counts.get(then_line))
    if word is None:
        return None
    added = len(word) + 2 if _is_declared(view) else sum(map(len, _SPELT_OUT[word]))
    if _too_long(text, node.start, added):
        return None
    return Hint(condition.start, condition.end, word)


def _assigns(node: Node) -> bool:
    return node.kind == "COMPOUND_ASSIGNMENT_OPERATOR" or (node.kind == "BINARY_OPERATOR" and node.operator == "=")


def _is_declared(view: View) -> bool:
    return view.source.read(f"include/{_HEADER}") is not None


def direction(evaluated: int | None, taken: int | None) -> Literal["likely", "unlikely"] | None:
    """Return the hint for a condition evaluated and true so often; None when it is not counted or not one-sided."""
    if not evaluated or taken is None or taken > evaluated:  # more often inside than before: the lines are shared
        return None
    if taken / evaluated >= BIAS and wilson(taken, evaluated)[0] > GCC_EXPECTS:
        return "likely"
    if (evaluated - taken) / evaluated >= BIAS and wilson(evaluated - taken, evaluated)[0] > GCC_EXPECTS:
        return "unlikely"
    return None


def _too_long(text: bytes, offset: int, more: int) -> bool:
    begin = text.rfind(b"\n", 0, offset) + 1
    end = text.find(b"\n", offset)
    return len(text[begin : end if end >= 0 else len(text)].expandtabs(8)) + more > _COLUMNS
