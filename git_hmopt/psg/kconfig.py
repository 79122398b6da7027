# SPDX-License-Identifier: Apache-2.0
"""The config knobs of a tree: where each is defined, its type, prompt, defaults and what it depends on.

Kconfig (Documentation/kbuild/kconfig-language.rst) is read line by line, as scripts/kconfig/lexer.l does: a line that
is not understood costs that line. Its macros are not run, since `$(shell ...)` would run a program that the tree names.
Conditions are kept as they are written; those of the `if`, `menu` and `choice` around a knob are its own as well.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

_TYPES = ("bool", "tristate", "int", "hex", "string")
_ENDS = {"endif": "if", "endmenu": "menu", "endchoice": "choice"}
_SOURCES = ("source", "rsource", "osource", "orsource")
_HELPS = ("help", "---help---")
# They say nothing about what a knob depends on.
_PASSED_OVER = frozenset(("range", "option", "modules", "optional", "visible", *_HELPS))
_MOST_READS = 20_000
_DEEPEST = 100
"""Files that source one another, or blocks in one another; Linux has ten."""

# Up to a comment, which a string may not begin; a string without an end goes to the end of its line.
_UNCOMMENTED = re.compile(r"""(?:[^"'#]|"(?:\\.|[^"\\])*+(?:"|$)|'(?:\\.|[^'\\])*+(?:'|$))*+""")
_STATEMENT = re.compile(r"\s*([\w-]+|\$)(.*)", re.DOTALL)
_ASSIGNED = re.compile(r"\s*[:+]?=")
_STRING = re.compile(r"""\s*(?:"((?:\\.|[^"\\])*+)|'((?:\\.|[^'\\])*+))""")
_NAME = re.compile(r"\s*([\w-]+)")
# A word in quotes is a constant, and so is what a macro gives.
_NO_NAME = re.compile(r""""(?:\\.|[^"\\])*+"?|'(?:\\.|[^'\\])*+'?|\$\((?:[^()]|\([^()]*\))*\)?""")
_WORD = re.compile(r"[\w-]+")
_CONSTANT = re.compile(r"[ymn]|-?[0-9]+|0[xX][0-9a-fA-F]+|if")
_VARIABLE = re.compile(r"\$\(?(SRCARCH|HEADER_ARCH)\b\)?")
_SIGNS = "*?["


@dataclass(frozen=True)
class Knob:
    """One `config` block; a knob that several files define has several."""

    name: str
    """With CONFIG_ in front, as the source names it."""
    file: str
    first_line: int
    last_line: int
    type: str
    """bool, tristate, int, hex, string, or nothing where another block says it."""
    prompt: str
    defaults: tuple[str, ...]
    """Values with their conditions, in order: `y if X86`."""
    depends: tuple[str, ...]
    """Conditions that all have to hold, outer ones first."""
    selects: tuple[str, ...]
    """Knobs it forces on, with CONFIG_ in front."""
    implies: tuple[str, ...]
    named: tuple[str, ...]
    """Every knob its conditions and defaults name, with CONFIG_ in front."""


@dataclass
class Knobs:
    """What reading found."""

    knobs: list[Knob] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    """Every file that was read, below the root."""
    absent: list[str] = field(default_factory=list)
    """Every file that is named and could not be read."""
    patterns: dict[str, list[str]] = field(default_factory=dict)
    """The files that each `source` of a pattern names now."""
    skipped: list[tuple[str, int, str]] = field(default_factory=list)
    """(file, line, why) of what could not be read or understood."""


def read_kconfig(root: Path, *, arch: str, header_arch: str = "", top: str = "Kconfig") -> Knobs:
    """Read a tree's Kconfig from `top` on; `arch` and `header_arch` stand for the variables in the names of files."""
    reading = _Reading(root, {"SRCARCH": arch, "HEADER_ARCH": header_arch or arch})
    reading.read(top, _Sourced(top, 0, False), (), ())
    return reading.found


def matching(root: Path, pattern: str) -> list[str]:
    """Return the files below the root that a pattern names, sorted; none for a pattern that is none."""
    try:
        return sorted(path.relative_to(root).as_posix() for path in root.glob(pattern))
    except ValueError:  # `a**b`
        return []


@dataclass(frozen=True)
class _Sourced:
    """The line that names a file."""

    file: str
    line: int
    optional: bool


@dataclass(frozen=True)
class _Statement:
    """A line with its continuations, or `help` with its text, which is left out."""

    first_line: int
    last_line: int
    word: str
    rest: str


@dataclass
class _Entry:
    """A block whose attributes are being read."""

    word: str
    name: str
    first_line: int
    last_line: int
    type: str = ""
    prompt: str = ""
    defaults: list[str] = field(default_factory=list)
    depends: list[str] = field(default_factory=list)
    selects: list[str] = field(default_factory=list)
    implies: list[str] = field(default_factory=list)

    def add(self, one: _Statement) -> bool:
        """Take in an attribute; say whether it is one."""
        word, rest = one.word, one.rest
        if word in _TYPES:
            self.type, self.prompt = word, _string(rest) or self.prompt
        elif word in ("def_bool", "def_tristate"):
            self.type = word.removeprefix("def_")
            self.defaults.append(rest)
        elif word == "prompt":
            self.prompt = _string(rest)
        elif word == "default":
            self.defaults.append(rest)
        elif word == "depends":
            self.depends.append(rest.removeprefix("on").strip())
        elif word in ("select", "imply"):
            name = _NAME.match(rest)
            (self.selects if word == "select" else self.implies).extend([f"CONFIG_{name[1]}"] if name else [])
        elif word not in _PASSED_OVER:
            return False
        self.last_line = one.last_line
        return True

    def knob(self, file: str, around: tuple[str, ...]) -> Knob:
        """Return the finished block."""
        depends = (*around, *self.depends)
        named = dict.fromkeys(name for condition in (*depends, *self.defaults) for name in _names(condition))
        return Knob(
            f"CONFIG_{self.name}", file, self.first_line, self.last_line, self.type, self.prompt,
            tuple(self.defaults), depends, tuple(self.selects), tuple(self.implies), tuple(named),
        )  # fmt: skip


class _Reading:
    """One reading of a tree."""

    def __init__(self, root: Path, variables: Mapping[str, str]) -> None:
        self.found = Knobs()
        self._root = root
        self._variables = variables
        self._reads = 0

    def read(self, name: str, by: _Sourced, around: tuple[str, ...], above: tuple[str, ...]) -> None:
        """Read a file that the files `above` lead to, under the conditions `around` its `source`."""
        why = self._refused(name, above)
        text = None if why else self._text(name)
        if text is None:
            if why or not by.optional:
                self.found.skipped.append((by.file, by.line, why or f"{name} cannot be read"))
            return
        blocks: list[_Entry] = []
        entry: _Entry | None = None
        for one in _statements(text):
            if entry is not None and entry.add(one):
                continue
            self._finish(name, entry, (*around, *_conditions(blocks)))
            entry = self._statement(name, one, blocks)
            if one.word in _SOURCES:
                self._follow(name, one, (*around, *_conditions(blocks)), (*above, name))
        self._finish(name, entry, (*around, *_conditions(blocks)))
        self._without_end(name, blocks)

    def _finish(self, file: str, entry: _Entry | None, around: tuple[str, ...]) -> None:
        if entry is not None and entry.word == "config":
            self.found.knobs.append(entry.knob(file, around))

    def _without_end(self, file: str, blocks: list[_Entry]) -> None:
        self.found.skipped += [(file, block.first_line, f"'{block.word}' has no end") for block in blocks]

    def _refused(self, name: str, above: tuple[str, ...]) -> str:
        """Return why a file is not read, or nothing."""
        self._reads += 1
        if name in above:
            return f"{name} sources itself"
        if name.startswith(("/", "../")) or name == "..":
            return f"{name} is outside of the tree"
        if "$" in name:
            return f"{name} is named by a macro"
        return f"{name} is one source too many" if len(above) >= _DEEPEST or self._reads > _MOST_READS else ""

    def _text(self, name: str) -> str | None:
        path = self._root / name
        try:
            source = path.read_bytes() if path.is_file() else None
        except (OSError, ValueError):
            source = None
        among = self.found.absent if source is None else self.found.files
        if name not in among:
            among.append(name)
        return source.decode("utf-8", "replace") if source is not None else None

    def _statement(self, file: str, one: _Statement, blocks: list[_Entry]) -> _Entry | None:
        """Take in what is no attribute; return the entry that the next attributes belong to."""
        if one.word in ("config", "menuconfig"):
            name = _NAME.match(one.rest)
            if name is not None:
                return _Entry("config", name[1], one.first_line, one.last_line)
        elif one.word in ("if", "menu", "choice"):
            block = _Entry(one.word, "", one.first_line, one.last_line, depends=[one.rest] if one.word == "if" else [])
            if len(blocks) < _DEEPEST:
                blocks.append(block)
                return block if one.word != "if" else None
        elif one.word in _ENDS:
            # Blocks inside that have no end of their own are over as well.
            at = max((at for at, block in enumerate(blocks) if block.word == _ENDS[one.word]), default=None)
            if at is not None:
                self._without_end(file, blocks[at + 1 :])
                del blocks[at:]
                return None
        elif one.word == "comment":
            return _Entry("comment", "", one.first_line, one.last_line)
        elif one.word in ("mainmenu", "$", *_SOURCES) or _ASSIGNED.match(one.rest):
            return None
        self.found.skipped.append((file, one.first_line, f"not understood: {one.word} {one.rest}"[:80].rstrip()))
        return None

    def _follow(self, file: str, one: _Statement, around: tuple[str, ...], above: tuple[str, ...]) -> None:
        pattern = _VARIABLE.sub(lambda match: self._variables[match[1]], _string(one.rest) or one.rest)
        if "r" in one.word.partition("source")[0]:
            pattern = posixpath.join(posixpath.dirname(file), pattern)
        pattern = posixpath.normpath(pattern) if pattern else ""
        names = [pattern]
        if any(sign in pattern for sign in _SIGNS) and not pattern.startswith(("/", "../")):
            names = self.found.patterns[pattern] = matching(self._root, pattern)
        by = _Sourced(file, one.first_line, "o" in one.word.partition("source")[0])
        for name in names:
            self.read(name, by, around, above)


def _conditions(blocks: list[_Entry]) -> Iterator[str]:
    return (condition for block in blocks for condition in block.depends)


def _statements(text: str) -> Iterator[_Statement]:
    lines = text.split("\n")
    at = 0
    while at < len(lines):
        first, joined = at, ""
        while True:
            line = _uncommented(lines[at])
            at += 1
            joined += line.removesuffix("\\")
            if not line.endswith("\\") or at == len(lines):
                break
        said = _STATEMENT.match(joined)
        if said is not None:
            at = _after_help(lines, at) if said[1] in _HELPS else at
            yield _Statement(first + 1, at, said[1], said[2].strip())
        elif joined.strip():
            yield _Statement(first + 1, at, joined.strip(), "")


def _uncommented(line: str) -> str:
    found = _UNCOMMENTED.match(line)
    return found[0].rstrip() if found else ""


def _after_help(lines: list[str], at: int) -> int:
    """Return the index behind a help text's last line; it ends where a line is indented less than its first."""
    indent, end = 0, at
    for number in range(at, len(lines)):
        line = lines[number].rstrip().expandtabs()
        width = len(line) - len(line.lstrip())
        if line and (not width or width < indent):
            break
        if line:
            indent, end = indent or width, number + 1
    return end


def _string(text: str) -> str:
    """Return the string that a text begins with, or nothing."""
    found = _STRING.match(text)
    return re.sub(r"\\(.)", r"\1", found[1] or found[2] or "").strip() if found else ""


def _names(condition: str) -> list[str]:
    """Return the knobs that a condition names, with CONFIG_ in front; y, m, n and numbers are constants."""
    words = _WORD.findall(_NO_NAME.sub(" ", condition))
    return [f"CONFIG_{word}" for word in words if not _CONSTANT.fullmatch(word)]
