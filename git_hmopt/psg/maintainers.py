# SPDX-License-Identifier: Apache-2.0
"""Which subsystem a file belongs to, as the kernel's MAINTAINERS file has it.

The section whose pattern is the most specific wins, as scripts/get_maintainer.pl weighs them: an exact file before a
folder, a deeper folder before the one around it. `THE REST` is nobody's.
"""

from __future__ import annotations

import fnmatch
import functools
import re
from dataclasses import dataclass, field

_FIELD = re.compile(r"^([A-Z]):\s+(.*\S)\s*$")


@dataclass
class _Section:
    name: str
    files: list[str] = field(default_factory=list)
    excluded: list[str] = field(default_factory=list)
    names: list[re.Pattern[str]] = field(default_factory=list)


class Maintainers:
    """The sections of a MAINTAINERS file."""

    def __init__(self, text: str) -> None:
        self._sections = [section for section in _sections(text) if section.name != "THE REST"]
        self._by_top: dict[str, list[tuple[str, _Section]]] = {}
        for section in self._sections:
            for pattern in section.files:
                top = pattern.partition("/")[0]
                key = top if not any(sign in top for sign in "*?[") else ""
                self._by_top.setdefault(key, []).append((pattern, section))

    def subsystem(self, path: str) -> str:
        """Return the name of the section that a file belongs to; nothing when no section has it."""
        top = path.partition("/")[0]
        best, name = 0, ""
        for pattern, section in (*self._by_top.get(top, ()), *self._by_top.get("", ())):
            weight = _weight(pattern)
            if weight > best and _matches(pattern, path) and not any(_matches(out, path) for out in section.excluded):
                best, name = weight, section.name
        if not best:
            name = next((one.name for one in self._sections if any(rule.search(path) for rule in one.names)), "")
        return name


def _sections(text: str) -> list[_Section]:
    found: list[_Section] = []
    before, current = "", None
    for line in text.splitlines():
        matched = _FIELD.match(line)
        if not matched:
            before, current = line.strip(), None
            continue
        if current is None:
            current = _Section(before)
            found.append(current)
        sign, value = matched.groups()
        if sign == "F":
            current.files.append(value)
        elif sign == "X":
            current.excluded.append(value)
        elif sign == "N":
            try:
                current.names.append(re.compile(value))
            except re.error:  # a Perl expression that Python does not know
                continue
    # What stands before the list explains the letters with examples; its "sections" have no files that exist.
    return [section for section in found if section.files or section.names]


@functools.lru_cache(maxsize=65536)
def _matches(pattern: str, path: str) -> bool:
    if pattern.endswith("/"):
        return path.startswith(pattern)
    # A star does not reach into folders.
    return (path.count("/") == pattern.count("/") and fnmatch.fnmatchcase(path, pattern)) or path.startswith(
        f"{pattern}/"
    )


def _weight(pattern: str) -> int:
    """Return how specific a pattern is: its depth, an exact one before one with signs."""
    depth = pattern.rstrip("/").count("/") + 1
    return 2 * depth + (not any(sign in pattern for sign in "*?[")) + 2 * (not pattern.endswith("/"))
