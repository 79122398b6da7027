# SPDX-License-Identifier: Apache-2.0
"""Which config knobs decide whether a file is built at all, read from Makefiles (Documentation/kbuild/makefiles.rst).

`obj-$(CONFIG_X) += a.o sub/` is the rule; a composite object (`a-y := b.o`, `a-objs := b.o`) hands its knob on to its
parts, and `ifdef`, `ifeq ($(CONFIG_X),y)` around a line count as well. make itself is not run.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_ASSIGNMENT = re.compile(r"^\s*([A-Za-z0-9_.-]+?)-(y|m|objs|\$\((CONFIG_\w+)\))\s*(?:\+|:|::|\?)?=\s*(.*)$")
_IF = re.compile(r"^\s*(?:ifdef\s+(CONFIG_\w+)|ifn?(?:eq|def)\b(.*))$")
_ELSE = re.compile(r"^\s*else\b")
_END = re.compile(r"^\s*endif\b")
_KNOB = re.compile(r"CONFIG_\w+")
_LISTS = frozenset(("obj", "lib"))
# The lists of the top Makefile, which arch/*/Makefile adds to; their words are paths from the top.
_TOP_LISTS = frozenset(("core", "drivers", "net", "libs", "head", "init", "virt"))
_TOP_MAKEFILE = re.compile(r"(?:arch/\w+/)?Makefile")


@dataclass(frozen=True)
class Built:
    """A file, or a folder with its slash, that is built when the knob is set."""

    knob: str
    """Empty for a folder that is always entered."""
    target: str
    line: int


def makefile_targets(path: str, source: str) -> list[Built]:
    """Return what the knobs of a Makefile decide about, and the folders it leads to, by path below the root."""
    folder = path.rpartition("/")[0]
    from_top = _TOP_MAKEFILE.fullmatch(path) is not None
    objects: list[tuple[tuple[str, ...], str, int]] = []
    parts: dict[str, list[tuple[tuple[str, ...], str, int]]] = {}
    for line, name, knobs, words in _assignments(source):
        if from_top and name in _TOP_LISTS:
            objects += [(knobs, f"/{word}", line) for word in words]
        else:
            into = objects if name in _LISTS else parts.setdefault(name, [])
            into += [(knobs, word, line) for word in words]
    found: dict[tuple[str, str], Built] = {}

    def build(knobs: tuple[str, ...], word: str, line: int, seen: frozenset[str]) -> None:
        name = word.removesuffix(".o")
        inner = parts.get(name, []) if word.endswith(".o") and name not in seen else []
        for more, part, at in inner:
            build((*knobs, *more), part, at, seen | {name})
        if not inner:
            target = _target(folder, word)
            for knob in knobs or (("",) if target.endswith("/") else ()):
                if target:
                    found.setdefault((knob, target), Built(knob, target, line))

    for knobs, word, line in objects:
        build(knobs, word, line, frozenset())
    return sorted(found.values(), key=lambda one: (one.line, one.target, one.knob))


def _assignments(source: str) -> Iterator[tuple[int, str, tuple[str, ...], list[str]]]:
    """Yield (line, the list's name, its knobs, its words) of each assignment to a list of objects."""
    around: list[tuple[str, ...]] = []
    for number, line in _logical_lines(source):
        opened = _IF.match(line)
        if opened:
            around.append(tuple(_KNOB.findall(opened[1] or opened[2] or "")))
        elif _END.match(line):
            del around[-1:]
        elif not _ELSE.match(line):
            found = _ASSIGNMENT.match(line)
            if found:
                knobs = [*(knob for one in around for knob in one), *([found[3]] if found[3] else [])]
                yield number, found[1], tuple(dict.fromkeys(knobs)), found[4].split()


def _logical_lines(source: str) -> Iterator[tuple[int, str]]:
    """Yield (number of its first line, text) of each line with its continuations, without comments."""
    begun, text = 0, ""
    for number, raw in enumerate(source.splitlines(), 1):
        line = raw.partition("#")[0]
        if not text:
            begun = number
        if raw.endswith("\\"):
            text += line.rstrip("\\") + " "
            continue
        yield begun, text + line
        text = ""
    if text:
        yield begun, text


def _target(folder: str, word: str) -> str:
    """Return the source of an object, or the folder; nothing for what make has to expand."""
    if "$" in word:
        return ""
    path = word[1:] if word.startswith("/") else f"{folder}/{word}" if folder else word
    if word.endswith(".o"):
        return path.removesuffix(".o") + ".c"
    return path if word.endswith("/") else ""
