# SPDX-License-Identifier: Apache-2.0
"""Which subsystem a file belongs to, as the kernel's MAINTAINERS file has it.

The section whose pattern is the deepest wins, as scripts/get_maintainer.pl ranks them; of several, the one that spells
out the most of the file's path, and then the first. `THE REST` is nobody's. Patterns of contents (K:) are not read.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

_FIELD = re.compile(r"([A-Z]):\s*(.*\S)\s*")
_SIGN = re.compile(r"([*?]|\[[^]]+\])")


@dataclass(frozen=True)
class _Pattern:
    """A file pattern as get_maintainer.pl's file_match_pattern has it: it need not reach to the end of a name."""

    text: str
    depth: int
    """-1 for one that begins with a star, as the script has it."""
    letters: int

    def matches(self, path: str) -> bool:
        """Say whether the pattern means this file or a folder around it."""
        if not (path.startswith(self.text) if self.letters == len(self.text) else self.expression.match(path)):
            return False
        return self.text.endswith("/") or path.count("/") == self.text.count("/") or path.startswith(f"{self.text}/")

    @functools.cached_property
    def expression(self) -> re.Pattern[str]:
        """The pattern as one of Python's. Linux has seven thousand, and a build touches the folders of a few."""
        try:
            return re.compile("".join(_expression(part) for part in _SIGN.split(self.text)))
        except re.error:  # [z-a]
            return re.compile(re.escape(self.text))

    @property
    def folder(self) -> str:
        """The folder that every file it matches lies in, with its slash."""
        plain = _SIGN.split(self.text, maxsplit=1)[0]
        return plain[: plain.rfind("/") + 1]


@dataclass
class _Section:
    name: str
    files: list[_Pattern] = field(default_factory=list)
    excluded: list[_Pattern] = field(default_factory=list)
    names: list[re.Pattern[str]] = field(default_factory=list)

    def excludes(self, path: str) -> bool:
        return any(pattern.matches(path) for pattern in self.excluded)


class Maintainers:
    """The sections of a MAINTAINERS file."""

    def __init__(self, text: str) -> None:
        sections = [section for section in _sections(text) if section.name != "THE REST"]
        self._with_names = [section for section in sections if section.names]
        self._in_folder: dict[str, list[tuple[_Pattern, _Section]]] = {}
        for section in sections:
            for pattern in section.files:
                self._in_folder.setdefault(pattern.folder, []).append((pattern, section))

    def subsystem(self, path: str) -> str:
        """Return the name of the section that a file belongs to; nothing when no section has it."""
        best, name = (-2, 0), ""  # less than any
        for folder in _folders(path):
            for pattern, section in self._in_folder.get(folder, ()):
                rank = (pattern.depth, pattern.letters)
                if rank > best and pattern.matches(path) and not section.excludes(path):
                    best, name = rank, section.name
        # A pattern of names (N:) ranks with depth 0.
        return name if best[0] > 0 else self._by_name(path) or name

    def _by_name(self, path: str) -> str:
        found = (
            one for one in self._with_names if any(rule.search(path) for rule in one.names) and not one.excludes(path)
        )
        return next((section.name for section in found), "")


def _folders(path: str) -> Iterator[str]:
    yield ""
    yield from (path[: at + 1] for at, sign in enumerate(path) if sign == "/")


def _sections(text: str) -> list[_Section]:
    found: list[_Section] = []
    before, current = "", None
    for line in text.split("\n"):
        matched = _FIELD.fullmatch(line)
        if not matched:
            before, current = line.strip(), None
            continue
        if current is None:
            current = _Section(before)
            found.append(current)
        sign, value = matched.groups()
        if sign == "F":
            current.files.append(_pattern(value))
        elif sign == "X":
            current.excluded.append(_pattern(value))
        elif sign == "N":
            try:
                current.names.append(re.compile(value, re.VERBOSE))
            except re.error:  # a Perl expression that Python does not know
                continue
    return found


def _pattern(text: str) -> _Pattern:
    depth = -1 if text.startswith("*") else text.count("/") + (not text.endswith("/"))
    return _Pattern(text, depth, len(_SIGN.sub("", text)))


def _expression(part: str) -> str:
    if part.startswith("[") and part.endswith("]"):
        return part
    return {"*": ".*", "?": "."}.get(part, re.escape(part))
