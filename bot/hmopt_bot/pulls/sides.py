# SPDX-License-Identifier: Apache-2.0
"""The files of a change, with renames told from what is gone and new, and which of them are no C that can be read.

What stands in a pull request is a stranger's: no text of it may cost more than its size says.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import PurePosixPath

from git_hmopt.loop.structure import Changes
from git_hmopt.psg.chunks import MOST_NESTED, nesting
from git_hmopt.psg.impact import same_code, same_lines

MOST_BYTES = 4 << 20
"""Of a file that is read: the largest that is no table of a generator's in Linux 6.1 has 1 MB."""
MOST_BYTES_OF_ALL = 32 << 20
"""Of all sides together, about half a minute of reading."""
_BINARY_LOOKED_AT = 8000  # as git does (xdiff-interface.c, buffer_is_binary)
_ALIKE = 0.5  # as git's --find-renames
_MOST_PAIRS = 10_000
_C = (".c", ".h")
_DOCUMENTS = frozenset({".rst", ".md", ".adoc"})
_TOP_DOCUMENTS = frozenset({"COPYING", "CREDITS", "MAINTAINERS", "README", ".mailmap"})
_OF_GIT = frozenset({".gitignore", ".gitattributes"})
# Documentation/ has a Kconfig that is sourced, and Makefiles.
_BUILD_FILE = re.compile(r"(?:Kconfig|Makefile|Kbuild)\b.*")


class Aside(StrEnum):
    """Why nothing of a file stands among what is touched."""

    DOCUMENTATION = "documentation"
    COMMENTS = "comments and spacing only, no line moves"
    COMMENTS_AND_LINES = "comments and spacing only, lines move"
    MODE = "its bytes are the same"
    UNBUILT = "no unit of the graph includes it"
    ORDER = "no definition differs, but their order or a directive does"
    RENAMED = "renamed, its text is the same"
    NOT_C = "no C, not looked into"
    BINARY = "binary, not looked into"
    LARGE = "too large, not looked into"
    NESTED = "nested too deep, not looked into"
    NO_FILE = "no plain file on either side (a link, a submodule)"

    @property
    def changes_nothing_built(self) -> bool:
        """Say whether no built object can be another for it; `__LINE__`, which may move, left aside."""
        return self in _HARMLESS


_HARMLESS = frozenset({Aside.DOCUMENTATION, Aside.COMMENTS, Aside.COMMENTS_AND_LINES, Aside.MODE, Aside.UNBUILT})


@dataclass(frozen=True)
class Sides:
    """A file of a change; `before_path` is another than `path` when it was renamed."""

    path: str
    before_path: str
    before: bytes | None
    after: bytes | None

    @property
    def is_renamed(self) -> bool:
        """Say whether it has another name than before."""
        return self.path != self.before_path


def sides_of(changes: Changes) -> list[Sides]:
    """Return the files of a change by their paths; one that is gone and a new one that is like it are a rename."""
    gone = {path: old for path, (old, new) in changes.items() if old is not None and new is None}
    fresh = {path: new for path, (old, new) in changes.items() if old is None and new is not None}
    renamed = _renames(gone, fresh)
    left = set(renamed.values())
    found = []
    for path, (before, after) in sorted(changes.items()):
        if path in renamed:
            found.append(Sides(path, renamed[path], gone[renamed[path]], after))
        elif path not in left:
            found.append(Sides(path, path, before, after))
    return found


def _renames(gone: Mapping[str, bytes], fresh: Mapping[str, bytes]) -> dict[str, str]:
    """Return the old paths of renamed files by their new ones: the same bytes first, then the most alike."""
    found: dict[str, str] = {}
    by_bytes: dict[bytes, list[str]] = {}
    for path in sorted(gone, reverse=True):
        by_bytes.setdefault(gone[path], []).append(path)
    for path in sorted(fresh):
        if fresh[path] and by_bytes.get(fresh[path]):
            found[path] = by_bytes[fresh[path]].pop()
    old = sorted(gone.keys() - set(found.values()))
    new = sorted(fresh.keys() - found.keys())
    if len(old) * len(new) > _MOST_PAIRS:
        return found
    lines = {path: Counter(text.split(b"\n")) for path, text in {**gone, **fresh}.items() if len(text) <= MOST_BYTES}
    alike = [
        (_likeness(lines[one], lines[other]), one, other)
        for one in old if one in lines for other in new if other in lines
        if PurePosixPath(one).suffix == PurePosixPath(other).suffix
    ]  # fmt: skip
    for likeness, one, other in sorted(alike, key=lambda pair: (-pair[0], pair[1:])):
        if likeness >= _ALIKE and other not in found and one not in found.values():
            found[other] = one
    return found


def _likeness(one: Counter[bytes], other: Counter[bytes]) -> float:
    """Return the share of lines that both have, of the one that has more, 0..1; empty lines are none."""
    most = max(one.total() - one[b""], other.total() - other[b""])
    shared = (one & other).total() - min(one[b""], other[b""])
    return shared / most if most else 0.0


def is_c(sides: Sides) -> bool:
    """Say whether both its names are those of C files or headers."""
    return sides.path.endswith(_C) and sides.before_path.endswith(_C)


def is_documentation(path: str) -> bool:
    """Say whether a path is read by people alone."""
    place = PurePosixPath(path)
    if _BUILD_FILE.fullmatch(place.name):
        return False
    if place.suffix in _DOCUMENTS or path in _TOP_DOCUMENTS or place.name in _OF_GIT:
        return True
    top = place.parts[0] if len(place.parts) > 1 else ""
    return top == "LICENSES" or (top == "Documentation" and place.suffix not in _C)


@dataclass
class Reading:
    """How much of a change was read so far."""

    left: int = field(default=MOST_BYTES_OF_ALL)

    def aside(self, sides: Sides) -> Aside | None:
        """Return why a file is not looked into; None when what it touches is to be found out.

        The first case that holds: 1. there is nothing to read; 2. its bytes are what they were; 3. documentation;
        4. binary; 5. no C; 6. too large, or too much was read already; 7. nested too deep.
        """
        texts = [text for text in (sides.before, sides.after) if text is not None]
        if not texts:
            return Aside.NO_FILE
        if sides.before == sides.after:
            return Aside.RENAMED if sides.is_renamed else Aside.MODE
        if is_documentation(sides.path) and is_documentation(sides.before_path):
            return Aside.DOCUMENTATION
        if any(b"\0" in text[:_BINARY_LOOKED_AT] for text in texts):
            return Aside.BINARY
        if not is_c(sides):
            return Aside.NOT_C
        size = sum(map(len, texts))
        if size > self.left or max(map(len, texts)) > MOST_BYTES:
            return Aside.LARGE
        self.left -= size
        return Aside.NESTED if any(nesting(text) > MOST_NESTED for text in texts) else None


def untouched(sides: Sides) -> Aside:
    """Return what differs between the sides of a C file in which nothing is touched."""
    before, after = sides.before or b"", sides.after or b""
    if not same_code(before, after):
        return Aside.ORDER
    return Aside.COMMENTS if same_lines(before, after) else Aside.COMMENTS_AND_LINES
