# SPDX-License-Identifier: Apache-2.0
"""Read the tree that d3-flame-graph draws: `{"name", "value", "children"}`, or `n`, `v`, `c` as perf's script has it.

A value is inclusive: what a node has more than its children is its own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from git_hmopt.traces.capture import Capture, Losses
from git_hmopt.traces.documents import json_of
from git_hmopt.traces.source import Source
from git_hmopt.traces.stacks import SampleRows
from git_hmopt.traces.tables import UNKNOWN, Frame, Samples, TraceFormatError
from git_hmopt.traces.units import whole

NO_VALUE = "node without a value"
NO_NODE = "child that is no node"
NEGATIVE = "node whose value is below 0"
ROUNDED = "value that is no whole number: rounded"
NO_FUNCTION = "samples of the root alone"
MORE = "children that have more than their parent: it is given none of its own"

_ROOTS = ("root", "all", "")
_MOST_IN_STACKS = 50_000_000
_BEGIN = re.compile(rb'\s*\{\s*"(name|n|value|v|children|c)"\s*:')
_NODE = re.compile(rb'"(children|c)"\s*:\s*\[\s*\{\s*"')


class D3Json:
    """d3-flame-graph's JSON."""

    name = "d3-json"

    def recognise(self, head: bytes, name: str) -> bool:
        """Say whether it begins like a node that has children."""
        return _BEGIN.match(head) is not None and _NODE.search(head) is not None

    def read(self, source: Source) -> Capture:
        """Return the capture; it has samples alone."""
        return Capture(self.name, read_samples=lambda losses: [_samples(source, losses)])


FORMAT = D3Json()


def _samples(source: Source, losses: Losses) -> Samples:
    top = json_of(source)
    if not isinstance(top, dict) or _value(top, Losses()) is None:
        raise TraceFormatError(f"{source.path}: this is no tree of a flame graph: its root has no value")
    rows = SampleRows()
    found = Losses()
    room = _MOST_IN_STACKS
    path = [] if _name(top) in _ROOTS else [rows.intern(Frame(_name(top)))]
    pending: list[tuple[Mapping[str, object], int, list[int]]] = [(top, _value(top, found) or 0, path)]
    while pending:
        node, value, path = pending.pop()
        children = _children(node, found)
        own = value - sum(cost for _, cost in children)
        found[MORE] += own < 0
        if own > 0 and path:
            rows.add(path, own)
        found[NO_FUNCTION] += max(own, 0) if not path else 0
        room -= len(children) * (len(path) + 1)
        if room < 0:
            raise TraceFormatError(f"{source.path}: the stacks of this tree have more than {_MOST_IN_STACKS} frames")
        for child, cost in reversed(children):
            pending.append((child, cost, [*path, rows.intern(Frame(_name(child) or UNKNOWN))]))
    counted = Losses({reason: number for reason, number in found.items() if number})
    rows.skipped.update(counted)
    losses.update(counted)
    return rows.table(event="flame graph", unit="samples")


def _children(node: Mapping[str, object], losses: Losses) -> Sequence[tuple[Mapping[str, object], int]]:
    listed = node.get("children", node.get("c"))
    found = []
    for child in listed if isinstance(listed, list) else ():
        if not isinstance(child, dict):
            losses[NO_NODE] += 1
        elif (value := _value(child, losses)) is not None:
            found.append((child, value))
    return found


def _value(node: Mapping[str, object], losses: Losses) -> int | None:
    value = node.get("value", node.get("v"))
    try:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError("no number")
        number, rounded = whole(value, 1)
    except ValueError:
        losses[NO_VALUE] += 1
        return None
    if number < 0:
        losses[NEGATIVE] += 1
        return None
    losses[ROUNDED] += rounded
    return number


def _name(node: Mapping[str, object]) -> str:
    name = node.get("name", node.get("n"))
    return name if isinstance(name, str) else UNKNOWN
