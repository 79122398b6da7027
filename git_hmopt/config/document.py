# SPDX-License-Identifier: Apache-2.0
"""One YAML document as plain values plus the line every key stands on, with every refusal naming file, line and key.

Scalars are read by YAML 1.2's core schema, not by PyYAML's 1.1 one: there `no` is false, `1:30` is ninety and `1e3`
is text, and each of them has cost somebody a day.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

import yaml

from git_hmopt.errors import ConfigError

JsonValue = None | bool | int | float | str | list["JsonValue"] | dict[str, "JsonValue"]
KeyPath = tuple[str | int, ...]
"""Where a value stands: mapping keys and list positions from the top."""

MAX_BYTES = 1 << 20
MAX_DEPTH = 40
MAX_VALUES = 20_000
"""After aliases are expanded: nine lines of anchors can stand for 10^9 values ("billion laughs")."""

_NULL = re.compile(r"|~|null|Null|NULL")
_TRUE = re.compile(r"true|True|TRUE")
_FALSE = re.compile(r"false|False|FALSE")
_INT = re.compile(r"[-+]?[0-9]+|0x[0-9a-fA-F]+|0o[0-7]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")


@dataclass(frozen=True)
class Document:
    """A parsed mapping, where it came from, and the line (from 1) of each of its keys."""

    value: dict[str, JsonValue]
    lines: Mapping[KeyPath, int]
    origin: str

    def line(self, path: KeyPath) -> int:
        """Return the line of a key, or of the nearest enclosing key when it does not stand in the file."""
        return nearest_line(self.lines, path)


def nearest_line(lines: Mapping[KeyPath, int], path: KeyPath) -> int:
    """Return the line of `path`, or of the nearest enclosing key that has one; 1 when none has."""
    while path and path not in lines:
        path = path[:-1]
    return lines.get(path, 1)


def dotted(path: KeyPath) -> str:
    """Return a path as people write it, `workloads.sort.guards[0].metric`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def refuse(origin: str, line: int, path: KeyPath, what: str, *, next_step: str | None = None) -> ConfigError:
    """Return the error `<origin>:<line>: <dotted.key>: <what>`."""
    message = f"{origin}:{line}: " + (f"{dotted(path)}: " if path else "") + what
    return ConfigError(printable(message), next_step=next_step)


def printable(text: str) -> str:
    """Return text from outside as a terminal may see it: no line breaks and no escape sequences of its making."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)


def parse_document(data: bytes, *, origin: str) -> Document:
    """Parse one YAML mapping. Raises ConfigError, with the line, for everything that is not one."""
    text = _decode(data, origin)
    try:
        node = _Loader(text).get_single_node()
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        what = f"holds the control character U+{error.character:04X}, expected plain text"
        raise refuse(origin, line, (), what) from error
    except yaml.MarkedYAMLError as error:
        raise _syntax_error(error, origin) from error
    if node is None:
        raise refuse(origin, 1, (), "is empty, expected a mapping")
    builder = _Builder(origin)
    value = builder.build(node, (), ())
    if not isinstance(value, dict):
        raise refuse(origin, node.start_mark.line + 1, (), f"holds {describe(value)}, expected a mapping")
    return Document(value, builder.lines, origin)


def describe(value: object) -> str:
    """Return how a message names a value: `a list`, `text 'abc'`, `the number 3`."""
    if value is None:
        return "nothing (null)"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return f"the number {value}"
    if isinstance(value, str):
        return f"text '{value if len(value) <= 60 else value[:57] + '...'}'"
    return "a list" if isinstance(value, list | tuple) else "a mapping"


def _decode(data: bytes, origin: str) -> str:
    if len(data) > MAX_BYTES:
        raise refuse(origin, 1, (), f"is {len(data)} bytes long, expected at most {MAX_BYTES}")
    try:
        # An editor's byte order mark is no part of the text.
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise refuse(origin, line, (), f"holds the byte 0x{data[error.start]:02x}, expected UTF-8") from error


def _syntax_error(error: yaml.MarkedYAMLError, origin: str) -> ConfigError:
    mark = error.problem_mark or error.context_mark
    line = mark.line + 1 if mark else 1
    problem = error.problem or "is not YAML"
    if "'\\t'" in problem:
        problem = "a tab stands where indentation belongs, expected spaces"
    elif error.context and problem.startswith(("expected", "could not find", "but found")):
        problem = f"{error.context}: {problem}"
    if not re.search(r"\bexpected", problem):  # "unexpected" says nothing of what was
        problem = f"{problem}, expected YAML"
    return refuse(origin, line, (), " ".join(problem.split()))


class _Loader(yaml.SafeLoader):
    """Composes nodes only: no constructor ever runs, no implicit tag is guessed, no explicit one accepted."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 - PyYAML's own name

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if getattr(event, "tag", None) is not None:
            raise yaml.MarkedYAMLError(
                problem=f"the tag '{event.tag}' is not accepted, expected a plain value", problem_mark=event.start_mark
            )
        if self._depth >= MAX_DEPTH:
            raise yaml.MarkedYAMLError(
                problem=f"is nested too deeply, expected at most {MAX_DEPTH} levels", problem_mark=event.start_mark
            )
        self._depth += 1
        try:
            node: yaml.Node | None = super().compose_node(parent, index)
        finally:
            self._depth -= 1
        return node


class _Builder:
    """Turns nodes into values and remembers lines."""

    def __init__(self, origin: str) -> None:
        self.lines: dict[KeyPath, int] = {}
        self._origin = origin
        self._count = 0

    def build(self, node: yaml.Node, path: KeyPath, open_nodes: tuple[int, ...]) -> JsonValue:
        """Return the node's value; `open_nodes` are the ids of the nodes around it, to see an alias of itself."""
        line = node.start_mark.line + 1
        self._count += 1
        if self._count > MAX_VALUES:
            raise refuse(
                self._origin, line, path, f"aliases expand without end, expected at most {MAX_VALUES} values in all"
            )
        if id(node) in open_nodes:
            raise refuse(self._origin, line, path, "an alias stands inside its own anchor, expected a value")
        inside = (*open_nodes, id(node))
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path, inside)
        if isinstance(node, yaml.SequenceNode):
            items: list[JsonValue] = []
            for index, item in enumerate(node.value):
                self.lines[(*path, index)] = item.start_mark.line + 1
                items.append(self.build(item, (*path, index), inside))
            return items
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, path)
        raise AssertionError(f"a YAML node of a fourth kind: {node!r}")

    def _mapping(self, node: yaml.MappingNode, path: KeyPath, inside: tuple[int, ...]) -> dict[str, JsonValue]:
        values: dict[str, JsonValue] = {}
        first: dict[str, int] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                raise refuse(self._origin, line, path, "a key is a list or mapping, expected text")
            key = key_node.value
            where = (*path, key)
            self._refuse_surrogates(key, line, where)
            if key == "<<" and key_node.style is None:
                raise refuse(self._origin, line, path, "merge keys ('<<') are not read, expected the keys themselves")
            if key in values:
                raise refuse(self._origin, line, where, f"stands here and on line {first[key]}, expected each key once")
            first[key] = line
            self.lines[where] = line
            values[key] = self.build(value_node, where, inside)
        return values

    def _scalar(self, node: yaml.ScalarNode, path: KeyPath) -> JsonValue:
        text: str = node.value
        line = node.start_mark.line + 1
        self._refuse_surrogates(text, line, path)
        if node.style is not None:  # quoted or a block: always text
            return text
        if _NULL.fullmatch(text):
            return None
        if _TRUE.fullmatch(text) or _FALSE.fullmatch(text):
            return text[0] in "tT"
        if _INT.fullmatch(text):
            if len(text) > 30:
                raise refuse(self._origin, line, path, "is out of range, expected a smaller number")
            return int(text, 0) if text[:2] in ("0x", "0o") else int(text)
        if _FLOAT.fullmatch(text):
            number = float(text)
            if not math.isfinite(number):
                raise refuse(self._origin, line, path, "is out of range, expected a smaller number")
            return number
        return text

    def _refuse_surrogates(self, text: str, line: int, path: KeyPath) -> None:
        if any("\ud800" <= character <= "\udfff" for character in text):
            raise refuse(self._origin, line, path, "holds half a character (a lone surrogate), expected text")
