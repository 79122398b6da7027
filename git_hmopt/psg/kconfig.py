# SPDX-License-Identifier: Apache-2.0
"""The config knobs of a tree: where each is defined, its type, prompt, defaults and what it depends on.

Kconfig (Documentation/kbuild/kconfig-language.rst) is read as syntax; its macros are not run, since `$(shell ...)`
would run a program that the tree names. Conditions are kept as they are written; those of the `if`, `menu` and `choice`
around a knob are its own as well.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import tree_sitter
import tree_sitter_kconfig

_TYPES = ("bool", "tristate", "int", "hex", "string")
_BLOCKS = frozenset(("if", "menu", "choice", "configuration"))
_MOST_FILES = 20_000
_VARIABLE = re.compile(r"\$\(?(SRCARCH|HEADER_ARCH)\)?")


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
    """Every knob its conditions name, with CONFIG_ in front."""


@dataclass
class Knobs:
    """What reading found."""

    knobs: list[Knob] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    """Every file that was read, below the root."""
    skipped: list[tuple[str, int, str]] = field(default_factory=list)
    """(file, line, why) of what could not be read or understood."""


def read_kconfig(root: Path, *, arch: str, header_arch: str = "", top: str = "Kconfig") -> Knobs:
    """Read a tree's Kconfig from `top` on; `arch` and `header_arch` stand for the variables in the names of files."""
    found = Knobs()
    _read(root, top, {"SRCARCH": arch, "HEADER_ARCH": header_arch or arch}, (), found, frozenset())
    return found


def _read(
    root: Path, name: str, names: Mapping[str, str], around: tuple[str, ...], found: Knobs, above: frozenset[str]
) -> None:
    if name in above or len(found.files) >= _MOST_FILES:
        found.skipped.append((name, 0, "it sources itself"))
        return
    try:
        source = (root / name).read_bytes()
    except OSError as error:
        found.skipped.append((name, 0, error.strerror or "cannot be read"))
        return
    if name not in found.files:
        found.files.append(name)
    tree = _parser().parse(source)
    _block(root, name, names, tree.root_node, around, found, above | {name})


def _block(
    root: Path, name: str, names: Mapping[str, str], block: tree_sitter.Node, around: tuple[str, ...], found: Knobs,
    above: frozenset[str],
) -> None:  # fmt: skip
    for node in block.named_children:
        if node.type in ("config", "menuconfig"):
            found.knobs.append(_knob(name, node, around))
        elif node.type == "source":
            for target in _sourced(root, node, names):
                _read(root, target, names, around, found, above)
        elif node.type in _BLOCKS:
            inner = (*around, _text(node.named_children[0])) if node.type == "if" and node.named_children else around
            inner = (*inner, *(_depends(one) for one in node.named_children if one.type == "dependencies"))
            _block(root, name, names, node, inner, found, above)
        elif node.type == "ERROR":
            found.skipped.append((name, node.start_point.row + 1, "not understood: " + _text(node)[:60]))


def _knob(file: str, block: tree_sitter.Node, around: tuple[str, ...]) -> Knob:
    kind, prompt = "", ""
    defaults: list[str] = []
    depends = list(around)
    selects: list[str] = []
    implies: list[str] = []
    for node in block.named_children:
        if node.type in ("type_definition", "type_definition_default"):
            word = node.children[0].text or b""
            kind = next((one for one in _TYPES if one.encode() in word), kind)
            if node.type == "type_definition_default":
                defaults.append(_value(node, skip=1))
            else:
                prompt = _string(node) or prompt
        elif node.type == "input_prompt":
            prompt = _string(node) or prompt
        elif node.type == "default_value":
            defaults.append(_value(node, skip=1))
        elif node.type == "dependencies":
            depends.append(_depends(node))
        elif node.type == "reverse_dependencies":
            selects += _symbols(node)[:1]
        elif node.type == "weak_reverse_dependencies":
            implies += _symbols(node)[:1]
    name = next((_text(node) for node in block.named_children if node.type == "name"), "")
    conditions = [node for node in block.named_children if node.type in ("dependencies", "default_value")]
    named = dict.fromkeys(symbol for node in conditions for symbol in _symbols(node))
    inherited = dict.fromkeys(f"CONFIG_{word}" for one in around for word in _words(one))
    # A help text ends with the empty lines before the next block.
    parts = [node for node in block.named_children if node.type != "help_text"]
    last = max((part.end_point.row + (part.end_point.column > 0) for part in parts), default=block.start_point.row + 1)
    return Knob(
        f"CONFIG_{name}", file, block.start_point.row + 1, last, kind, prompt, tuple(defaults), tuple(depends),
        tuple(selects), tuple(implies), tuple({**inherited, **named}),
    )  # fmt: skip


def _depends(node: tree_sitter.Node) -> str:
    return _text(node).removeprefix("depends").strip().removeprefix("on").strip()


def _value(node: tree_sitter.Node, *, skip: int) -> str:
    """Return a node's text without its first words."""
    return " ".join(_text(node).split()[skip:])


def _string(node: tree_sitter.Node) -> str:
    return next((_text(child).strip("\"'") for child in node.named_children if child.type == "string"), "")


def _symbols(node: tree_sitter.Node) -> list[str]:
    """Return the knobs a node names; the constants y, m, n and numbers are none."""
    if node.type == "symbol":
        word = _text(node)
        return [f"CONFIG_{word}"] if _is_name(word) else []
    return [symbol for child in node.named_children for symbol in _symbols(child)]


def _words(condition: str) -> Iterator[str]:
    for sign in "!&|()=<>":
        condition = condition.replace(sign, " ")
    yield from (word for word in condition.split() if _is_name(word))


def _is_name(word: str) -> bool:
    return word.replace("_", "").isalnum() and not word[0].isdigit() and word not in ("y", "m", "n")


def _sourced(root: Path, node: tree_sitter.Node, names: Mapping[str, str]) -> list[str]:
    """Return the files that a `source` names; a pattern may name none (rsource is read from the top as well)."""
    pattern = _text(node).split(None, 1)[-1].strip().strip("\"'")
    pattern = _VARIABLE.sub(lambda match: names.get(match[1], match[0]), pattern)
    if not any(sign in pattern for sign in "*?["):
        return [pattern]
    return sorted(str(path.relative_to(root)) for path in root.glob(pattern))


def _text(node: tree_sitter.Node) -> str:
    return (node.text or b"").decode("utf-8", "replace").strip()


@functools.cache
def _parser() -> tree_sitter.Parser:
    return tree_sitter.Parser(tree_sitter.Language(tree_sitter_kconfig.language()))
