# SPDX-License-Identifier: Apache-2.0
"""Which config knobs decide whether a file is built at all, read from Makefiles (Documentation/kbuild/makefiles.rst).

`obj-$(CONFIG_X) += a.o sub/` is the rule; a composite object (`a-y := b.o`, `a-objs := b.o`) hands its knobs on to its
parts, and `ifdef`, `ifeq ($(CONFIG_X),y)` around a line count as well. What is there because a knob is not set
(`ifndef`, `else`) has no knob. make itself is not run: of its functions only `addprefix` is known, and a variable only
where it is given one value, outside of conditions. Files that a Makefile includes are not read.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

_REFERENCE = r"\$\((?:[^()]|\([^()]*\))*\)"
_ASSIGNMENT = re.compile(rf"\s*([\w.-]+?)-(y|m|objs|(?:{_REFERENCE})+)\s*(?:[+?]|:{{1,3}})?=\s*(.*)")
_VARIABLE = re.compile(r"\s*(?:export\s+)?(\w+)\s*([+?]|:{1,3})?=\s*(.*)")
_VALUE = re.compile(r"\$[({](\w+)[)}]")
_PREFIXED = re.compile(r"\$\(addprefix\s+([^,()$]*),([^()$]*)\)")
_LIST = re.compile(r"\$\(([\w.-]+)-(?:y|m|objs)\)")
_IF = re.compile(r"\s*(?:else\s+)?(ifdef|ifndef|ifeq|ifneq)\b\s*(.*)")
_ELSE = re.compile(r"\s*else\b")
_END = re.compile(r"\s*endif\b")
_COMPARED = re.compile(r"""\(\s*(.*?)\s*,\s*(.*?)\s*\)\s*|["'](.*?)["']\s+["'](.*?)["']\s*""")
_KNOB = re.compile(r"CONFIG_\w+")
_LISTS = frozenset(("obj", "lib", "extra"))
# The lists of the top Makefile, which arch/*/Makefile adds to; their words are paths from the top.
_TOP_LISTS = frozenset(("core", "drivers", "net", "libs", "head", "init", "virt"))
# arch/um/Makefile includes arch/x86/Makefile.um.
_TOP_MAKEFILE = re.compile(r"(?:arch/\w+/)?Makefile(?:\.um)?")
_MOST_STEPS = 100_000
_LONGEST = 100_000

_Listed = tuple[tuple[str, ...], str, int]
"""(knobs, word, line) of an object, a folder or another list."""


@dataclass(frozen=True)
class Built:
    """A file, or a folder with its slash, that is built when the knob is set."""

    knob: str
    """Empty for a folder that is always entered."""
    target: str
    line: int


def makefile_targets(path: str, source: str, variables: Mapping[str, str] | None = None) -> list[Built]:
    """Return what the knobs of a Makefile decide about, and the folders it leads to, by path below the root.

    `variables` are those that another Makefile gives a value.
    """
    folder = posixpath.dirname(path)
    from_top = _TOP_MAKEFILE.fullmatch(path) is not None
    todo: list[tuple[str, bool, _Listed]] = []
    lists: dict[str, list[_Listed]] = {}
    for name, listed in _listed(source, variables or {}):
        if from_top and name in _TOP_LISTS:
            todo.append(("", True, listed))
        elif name in _LISTS:
            todo.append((folder, True, listed))
        else:
            lists.setdefault(name, []).append(listed)
    found: dict[tuple[str, str], int] = {}
    seen: set[tuple[str, bool, tuple[str, ...], str]] = set()
    while todo and len(seen) < _MOST_STEPS:
        base, outer, (knobs, word, line) = todo.pop()
        if (base, outer, knobs, word) in seen:
            continue
        seen.add((base, outer, knobs, word))
        inner = lists.get(_list_of(word, outer=outer))
        if inner is not None:
            todo += [(base, False, (_all(knobs, more), part, at)) for more, part, at in inner]
        elif target := _target(base, word):
            for knob in knobs or ([""] if target.endswith("/") else []):
                found[knob, target] = min(line, found.get((knob, target), line))
    built = (Built(knob, target, line) for (knob, target), line in found.items())
    return sorted(built, key=lambda one: (one.line, one.target, one.knob))


def _all(knobs: tuple[str, ...], more: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*knobs, *more)))


def _list_of(word: str, *, outer: bool) -> str:
    """Return the list that a word may stand for: one that is named, or the parts of a composite object.

    The parts of one are no composite objects themselves (real-search in scripts/Makefile.lib).
    """
    named = _LIST.fullmatch(word)
    return named[1] if named else word.removesuffix(".o") if outer and word.endswith(".o") else ""


def _listed(source: str, variables: Mapping[str, str]) -> Iterator[tuple[str, _Listed]]:
    """Yield (the list's name, what it lists) of each word of each list of objects."""
    lines = list(_lines_under_knobs(source))
    values = {**_values(lines), **variables}
    for number, around, line in lines:
        found = _ASSIGNMENT.fullmatch(line)
        if found:
            knobs = _all(around or (), tuple(_KNOB.findall(found[2])))
            for word in _words(found[3], values):
                yield found[1], (knobs, word, number)


_UnderKnobs = tuple[int, tuple[str, ...] | None, str]
"""(number, knobs of the conditions around it, line); no knobs are `()` under a condition, None outside of all."""


def _lines_under_knobs(source: str) -> Iterator[_UnderKnobs]:
    around: list[tuple[str, ...]] = []
    for number, line in _logical_lines(source):
        condition = _IF.match(line)
        if _ELSE.match(line):
            around[-1:] = [_demanded(condition[1], condition[2]) if condition else ()] if around else []
        elif condition:
            around.append(_demanded(condition[1], condition[2]))
        elif _END.match(line):
            del around[-1:]
        else:
            yield number, tuple(dict.fromkeys(knob for one in around for knob in one)) if around else None, line


def _demanded(word: str, condition: str) -> tuple[str, ...]:
    """Return the knobs that have to be set for a condition to hold."""
    knobs = tuple(_KNOB.findall(condition))
    if word in ("ifdef", "ifndef"):
        return knobs if word == "ifdef" else ()
    compared = _COMPARED.fullmatch(condition)
    if compared is None:
        return ()
    sides = [side.strip("\"' ") for side in compared.groups() if side is not None]
    constant = next((side for side in sides if "$" not in side), None)
    if word == "ifeq":  # ifeq ($(CONFIG_A)$(CONFIG_B),yy)
        demanded = constant is not None and re.fullmatch("[ym]+", constant) and len(constant) == len(knobs)
    else:  # of several knobs that are not all empty, one is enough
        demanded = constant in ("", "n") and len(knobs) == 1
    known = all(re.fullmatch(r"(?:\$\(CONFIG_\w+\))+", side) for side in sides if side != constant)
    return knobs if demanded and known else ()


def _values(lines: list[_UnderKnobs]) -> dict[str, str]:
    """Return the variables that have one value, whatever is configured."""
    found: dict[str, str] = {}
    unknown: set[str] = set()
    for _, around, line in lines:
        given = _VARIABLE.fullmatch(line)
        if given:
            name, sign, value = given.groups()
            if around is not None or name in found or sign == "+":
                unknown.add(name)
            found[name] = value
    return {name: value for name, value in found.items() if name not in unknown}


def _words(text: str, values: Mapping[str, str]) -> list[str]:
    """Return a list's words; what make would have to expand stays as it is."""
    before = ""
    while text != before and len(text) < _LONGEST:
        before = text
        text = _VALUE.sub(lambda match: values.get(match[1], match[0]), text)
        text = _PREFIXED.sub(lambda match: " ".join(match[1].strip() + word for word in match[2].split()), text)
    return text.split()


def _logical_lines(source: str) -> Iterator[tuple[int, str]]:
    """Yield (number of its first line, text) of each line with its continuations, without comments and recipes."""
    begun, parts = 0, list[str]()
    for number, raw in enumerate(source.split("\n"), 1):
        line = raw.rstrip("\r")
        begun = begun if parts else number
        parts.append(line.removesuffix("\\"))
        if line.endswith("\\"):
            continue
        # A comment goes on as its line does.
        yield begun, " ".join(parts).partition("#")[0].rstrip()
        parts = []
    if parts:
        yield begun, " ".join(parts).partition("#")[0].rstrip()


def _target(folder: str, word: str) -> str:
    """Return the source of an object, or the folder; nothing for what make has to expand or lies outside."""
    path = posixpath.normpath(posixpath.join(folder, word))
    if "$" in word or path.startswith(("..", "/")) or path == ".":
        return ""
    if word.endswith(".o"):
        return path.removesuffix(".o") + ".c"
    return f"{path}/" if word.endswith("/") else ""
