# SPDX-License-Identifier: Apache-2.0
"""The functions of a C file with the comment that leads each, from its text alone: no compile database, no headers.

tree-sitter reads on past what it does not understand, so a file of any kernel gives something. For what a build really
compiles, calls and types, see `unit`.
"""

from __future__ import annotations

import functools
import re
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass

import tree_sitter
import tree_sitter_c

FORMAT = 1
"""Raised whenever the same text would give other chunks; what is derived from chunks is then made again."""

# What stands between a comment and its function: attributes and the like, no other declaration, no directive.
_GAP = re.compile(rb"[^;{}#]{0,200}")
# A head that is a macro, SYSCALL_DEFINE3(read, ...), is to tree-sitter a call before a block.
_QUERY = """
(function_definition) @function
(comment) @comment
(translation_unit (expression_statement (call_expression)) @head . (compound_statement) @body)
"""


@dataclass(frozen=True)
class Chunk:
    """A function as it is written."""

    symbol: str
    first_line: int
    last_line: int
    comment: str
    """The comment before it without the comment's own signs, or nothing."""
    code: str
    """The definition's text; what is not UTF-8 is replaced."""


def functions(source: bytes) -> list[Chunk]:
    """Return the functions that a C file defines, in the file's order."""
    tree = _parser().parse(source)
    found = tree_sitter.QueryCursor(_query()).captures(tree.root_node)
    comments = sorted((node.start_byte, node.end_byte) for node in found.get("comment", ()))
    ends = [end for _, end in comments]
    plain = [(node, node) for node in found.get("function", ())]
    macros = zip(_in_order(found.get("head", ())), _in_order(found.get("body", ())), strict=True)
    chunks = []
    for head, body in sorted([*plain, *macros], key=lambda pair: pair[0].start_byte):
        symbol = _defined(head) if head is body else _first_argument(head)
        if symbol is None:
            continue
        comment = _leading(source, head.start_byte, comments, ends)
        text = source[head.start_byte : body.end_byte].decode("utf-8", "replace")
        chunks.append(Chunk(symbol, head.start_point.row + 1, body.end_point.row + 1, comment, text))
    return chunks


def calls(source: bytes) -> list[tuple[str, int]]:
    """Return the (name, line) of everything that looks like a call by name, macros with arguments included."""
    found = tree_sitter.QueryCursor(_calls()).captures(_parser().parse(source).root_node)
    return [(name, node.start_point.row + 1) for node in found.get("callee", ()) if (name := _spelling(node))]


@dataclass(frozen=True)
class Declaration:
    """A record, enum, typedef or variable as it is written outside of functions."""

    kind: str
    """struct, union, enum, typedef or variable."""
    name: str
    first_line: int
    last_line: int
    text: str


def declarations(source: bytes) -> list[Declaration]:
    """Return what a C file declares beside functions, in the file's order: records and enums that have a body."""
    found: list[Declaration] = []
    for kind, nodes in tree_sitter.QueryCursor(_declared()).captures(_parser().parse(source).root_node).items():
        for node in nodes:
            if _inside_function(node):
                continue
            text = (node.text or b"").decode("utf-8", "replace")
            names = [_spelling(node.child_by_field_name("name"))] if kind in _TAGGED else _variables(node)
            found += [
                Declaration(kind, name, node.start_point.row + 1, node.end_point.row + 1, text)
                for name in names
                if name
            ]
    return sorted(found, key=lambda one: (one.first_line, one.kind, one.name))


_TAGGED = ("struct", "union", "enum")


def _inside_function(node: tree_sitter.Node) -> bool:
    at = node.parent
    while at is not None and at.type != "function_definition":
        at = at.parent
    return at is not None


def _variables(node: tree_sitter.Node) -> list[str | None]:
    """Return the names that a declaration or typedef gives; those of functions it only announces are left out."""
    names = []
    for declarator in node.children_by_field_name("declarator"):
        at: tree_sitter.Node | None = declarator
        while at is not None and at.type not in ("identifier", "type_identifier", "function_declarator"):
            inner = at.child_by_field_name("declarator")
            at = inner if inner is not None else next((child for child in at.named_children if _declares(child)), None)
        if at is not None and at.type == "function_declarator" and node.type != "type_definition":
            inner = at.child_by_field_name("declarator")
            # `int (*open)(void)` is a variable, `int open(void)` is not.
            at = inner.named_children[0] if inner is not None and inner.type == "parenthesized_declarator" else None
        while at is not None and at.type not in ("identifier", "type_identifier"):
            inner = at.child_by_field_name("declarator")
            at = inner if inner is not None else next((child for child in at.named_children if _declares(child)), None)
        names.append(_spelling(at))
    return names


def _in_order(nodes: Iterable[tree_sitter.Node]) -> list[tree_sitter.Node]:
    return sorted(nodes, key=lambda node: node.start_byte)


@functools.cache
def _language() -> tree_sitter.Language:
    return tree_sitter.Language(tree_sitter_c.language())


@functools.cache
def _parser() -> tree_sitter.Parser:
    return tree_sitter.Parser(_language())


@functools.cache
def _query() -> tree_sitter.Query:
    return tree_sitter.Query(_language(), _QUERY)


@functools.cache
def _calls() -> tree_sitter.Query:
    return tree_sitter.Query(_language(), "(call_expression function: (identifier) @callee)")


@functools.cache
def _declared() -> tree_sitter.Query:
    return tree_sitter.Query(
        _language(),
        "(struct_specifier body: (_)) @struct (union_specifier body: (_)) @union (enum_specifier body: (_)) @enum"
        " (type_definition) @typedef (declaration) @variable",
    )


def _defined(definition: tree_sitter.Node) -> str | None:
    """Return the name a definition gives; None when there is none to be seen."""
    at: tree_sitter.Node | None = definition.child_by_field_name("declarator")
    while at is not None and at.type != "identifier":
        inner = at.child_by_field_name("declarator")
        at = inner if inner is not None else next((child for child in at.named_children if _declares(child)), None)
    return _spelling(at)


def _first_argument(statement: tree_sitter.Node) -> str | None:
    arguments = statement.named_children[0].child_by_field_name("arguments")
    first = arguments.named_children[:1] if arguments is not None else []
    return _spelling(first[0]) if first and first[0].type == "identifier" else None


def _spelling(node: tree_sitter.Node | None) -> str | None:
    return node.text.decode("utf-8", "replace") if node is not None and node.text else None


def _declares(node: tree_sitter.Node) -> bool:
    return node.type in ("identifier", "type_identifier") or node.type.endswith("_declarator")


def _leading(source: bytes, start: int, comments: list[tuple[int, int]], ends: list[int]) -> str:
    """Return the comment that ends right before `start`; line comments below one another are one."""
    lines: list[str] = []
    at = bisect_right(ends, start) - 1
    while at >= 0:
        first, end = comments[at]
        gap = source[end:start]
        if len(gap) > 200 or gap.count(b"\n") > (1 if lines else 3) or not _GAP.fullmatch(gap):
            break
        text = source[first:end].decode("utf-8", "replace")
        if lines and not text.startswith("//"):
            break
        lines.insert(0, _plain(text))
        if not text.startswith("//"):
            break
        start, at = first, at - 1
    return "\n".join(lines)


def _plain(comment: str) -> str:
    if comment.startswith("//"):
        return comment.lstrip("/").strip()
    inner = comment.removeprefix("/*").removesuffix("*/").lstrip("*")
    lines = (line.strip().removeprefix("*").strip() for line in inner.splitlines())
    return "\n".join(lines).strip()
