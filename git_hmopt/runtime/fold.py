# SPDX-License-Identifier: Apache-2.0
"""Write stacks as folded text, one `root;caller;leaf weight` a line, for programs that read what collapsers write."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping

from git_hmopt.traces.tables import UNKNOWN, Samples

Stack = tuple[str, ...]
"""Names from root to leaf."""

# `;` parts frames and a line break ends a stack: neither can stand in a name.
_CONTROL = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029]+")
# A number after a blank at the end of a name would be read as the first of two weights.
_NUMBERED = re.compile(r"\s(?=\d+(?:\.\d*)?$)")
# Collapsers mark kernel, inlined and jitted frames and threads' waits, when they are told to; graphs drop the marks.
_ANNOTATION = re.compile(r"_\[[kijw]\]$")


def plain_name(label: str) -> str:
    """Return a function's name without a collapser's annotation, so that captures of two tools compare."""
    return _ANNOTATION.sub("", label) or UNKNOWN


def stacks_of(samples: Samples) -> Counter[Stack]:
    """Return the cost of every stack of names, annotations dropped."""
    names = [plain_name(frame.label) for frame in samples.frames]
    found: Counter[Stack] = Counter()
    for stack, weight in samples.weight_by_stack().items():
        found[tuple(names[index] for index in stack)] += weight
    return found


def folded(samples: Samples) -> str:
    """Return the samples as folded text, sorted as text is; empty stacks are left out."""
    names = [_foldable(frame.label) for frame in samples.frames]
    found: Counter[Stack] = Counter()
    for stack, weight in samples.weight_by_stack().items():
        found[tuple(names[index] for index in stack)] += weight
    return _lines({stack: (weight,) for stack, weight in found.items()})


def folded_pairs(costs: Mapping[Stack, tuple[int, int]]) -> str:
    """Return two costs a stack, before and after, as programs that draw differences read them."""
    merged: dict[Stack, tuple[int, int]] = {}
    for stack, (before, after) in costs.items():
        key = tuple(map(_foldable, stack))
        known = merged.get(key, (0, 0))
        merged[key] = known[0] + before, known[1] + after
    return _lines(merged)


def _lines(costs: Mapping[Stack, Iterable[int]]) -> str:
    lines = [f"{';'.join(stack)} {' '.join(map(str, numbers))}\n" for stack, numbers in costs.items() if stack]
    return "".join(sorted(lines))


def _foldable(label: str) -> str:
    name = _NUMBERED.sub("_", _CONTROL.sub(" ", label).replace(";", ":").strip()) or UNKNOWN
    # A line that begins with it is a comment to most readers.
    return f"[{name}]" if name.startswith("#") else name
