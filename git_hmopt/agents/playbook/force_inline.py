# SPDX-License-Identifier: Apache-2.0
"""A hot static function that the compiler left out of line -> `__always_inline`.

That the function has cost of its own under its own name is the evidence that it was not inlined. Removing the call
removes instructions; whether it removes time is another matter (forcing one such function inline in Linux 6.1 took
away 13 % of the instructions and none of the time), which is why the prior is small.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from git_hmopt.agents.playbook.strategy import Miss, Rewrite, View
from git_hmopt.evidence.structure import source_name
from git_hmopt.psg.edit import Edit, replace

_STATIC = re.compile(rb"\bstatic\b")
_INLINE = re.compile(rb"\binline\b")
_REFUSED = frozenset(
    ("__always_inline", "noinline", "noinline_for_stack", "__init", "__exit", "__cold", "__sched", "asmlinkage")
)
_COLUMNS = 100  # scripts/checkpatch.pl, $max_line_length
_PREFERRED = 80  # Documentation/process/coding-style.rst, "Breaking long lines and strings"


@dataclass(frozen=True)
class HotCallee:
    """A static function and the hot functions of its file that call it."""

    callers: tuple[str, ...]


class ForceInline:
    """Inline a hot static function into its hot callers."""

    name = "forced-inline"
    classes: tuple[str, ...] = ("call-overhead", "cpu-bound-loop")
    summary = "hot static function called by a hot function of its file -> __always_inline"
    prior = 0.01
    prior_source = "one such function took +0.25 % [-1.8, +2.3] of the time over layouts on Linux 6.1 under UML"

    def match(self, view: View) -> HotCallee | Miss:
        """Check that the function is out of line, may be inlined, and has a hot caller."""
        function = view.function
        if not view.measured:
            # That it has cost of its own is what says that it is out of line at all.
            return Miss("whether it and its callers are hot is not known without a profile")
        if source_name(view.evidence.hotspot.symbol) != function.symbol:
            return Miss("it has no cost under its own name: the compiler inlined it")
        if function.linkage != "static" or function.from_macro:
            return Miss("it is not a static function written here")
        if set(function.attributes) & _REFUSED:
            return Miss(f"it is {' '.join(sorted(set(function.attributes) & _REFUSED))} already")
        if any(call.callee == function.symbol and not call.indirect for call in function.calls):
            return Miss("it calls itself")
        if b"..." in view.text[function.name_offset : function.body_start]:
            return Miss("it takes variable arguments, which cannot be inlined")
        hot = view.hot | {other.symbol for other in view.evidence.runtime if other.relation == "caller"}
        callers = tuple(
            other.symbol
            for other in view.unit.functions
            if other.symbol in hot
            and other.file == function.file
            and any(call.callee == function.symbol and not call.indirect for call in other.calls)
        )
        if not callers:
            return Miss("no hot function of its file calls it directly")
        if not _STATIC.search(view.text, function.start, function.name_offset):
            return Miss("its 'static' is not written in its declaration")
        return HotCallee(callers)

    def rewrite(self, view: View, match: HotCallee) -> Rewrite:
        """Put `__always_inline` behind `static`, or in the place of `inline`."""
        text, function = view.text, view.function
        inline = _INLINE.search(text, function.start, function.name_offset)
        static = _STATIC.search(text, function.start, function.name_offset)
        assert static is not None  # match asked
        kernel = view.source.read("include/linux/compiler.h") is not None
        # What the kernel's word stands for (include/linux/compiler_types.h).
        word = b"__always_inline" if kernel else b"inline __attribute__((__always_inline__))"
        edits = [Edit(inline.start(), inline.end(), word) if inline else Edit(static.end(), static.end(), b" " + word)]
        edits += _realigned(
            text, function.name_offset, function.body_start, len(word) + 1 - (len(b" inline") if inline else 0)
        )
        line = text.rfind(b"\n", 0, function.start) + 1
        edits = [
            Edit(line, function.body_start, _wrapped(replace(text[line : function.body_start], _moved(edits, line))))
        ]
        several = len(match.callers) > 1
        callers = " and ".join(f"{name}()" for name in match.callers)
        return Rewrite(
            edits={function.file: replace(text, edits)},
            summary=f"inline {function.symbol}()",
            paragraphs=[
                f"{function.symbol}() is hot, its hot {'callers' if several else 'caller'} {callers} "
                f"{'stand' if several else 'stands'} in the same file, and the compiler "
                "leaves it out of line. Inline it: the call goes, and the compiler sees the arguments.",
            ],
        )


def _moved(edits: list[Edit], by: int) -> list[Edit]:
    return [Edit(edit.start - by, edit.end - by, edit.text) for edit in edits]


def _wrapped(head: bytes) -> bytes:
    """Return a function's head with its parameters over lines that fit, when one of its lines no longer does."""
    if all(len(line.expandtabs(8)) <= _COLUMNS for line in head.split(b"\n")):
        return head
    opening = head.find(b"(")
    closing = head.rfind(b")")
    inside = head[opening + 1 : closing]
    if opening < 0 or b"/*" in inside or b"//" in inside or b"#" in inside:
        return head
    begin = head.rfind(b"\n", 0, opening) + 1
    column = len(head[begin : opening + 1].expandtabs(8))
    lines = [head[begin : opening + 1]]
    for parameter in _parameters(inside):
        joined = lines[-1] + (b" " if lines[-1][-1:] == b"," else b"") + parameter
        if lines[-1][-1:] == b"," and len(joined.expandtabs(8)) > _PREFERRED:
            lines.append(b"\t" * (column // 8) + b" " * (column % 8) + parameter)
        else:
            lines[-1] = joined
    return head[:begin] + b"\n".join(lines) + head[closing:]


def _parameters(inside: bytes) -> list[bytes]:
    """Return the parameters of a list, each but the last with its comma, on one line each."""
    found, depth, begin = [], 0, 0
    for at, byte in enumerate(inside):
        depth += (byte in b"([") - (byte in b")]")
        if byte == ord(",") and depth == 0:
            found.append(inside[begin : at + 1])
            begin = at + 1
    return [b" ".join(one.split()) for one in (*found, inside[begin:])]


def _realigned(text: bytes, name_offset: int, body_start: int, columns: int) -> list[Edit]:
    """Return the edits that move a parameter list's continuation lines with its opening parenthesis."""
    line_start = text.rfind(b"\n", 0, name_offset) + 1
    if not text[line_start:name_offset].lstrip().startswith(b"static"):
        return []  # the name stands on a line of its own, which does not move
    edits = []
    at = text.find(b"\n", name_offset, body_start)
    while 0 <= at < body_start:
        begin = at + 1
        end = begin
        while text[end : end + 1] in (b" ", b"\t"):
            end += 1
        if end > begin and end < body_start:
            width = len(text[begin:end].expandtabs(8)) + columns
            following = text.find(b"\n", end)
            if width + (following - end) <= _COLUMNS:
                edits.append(Edit(begin, end, b"\t" * (width // 8) + b" " * (width % 8)))
        at = text.find(b"\n", end, body_start)
    return edits
