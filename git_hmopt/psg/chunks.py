# SPDX-License-Identifier: Apache-2.0
"""The functions of a C file with the comment that leads each, from its text alone: no compile database, no headers.

tree-sitter reads on past what it does not understand, so a file of any kernel gives something. For what a build really
compiles, calls and types, see `unit`.
"""

from __future__ import annotations

import functools
import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import tree_sitter
import tree_sitter_c

from git_hmopt.psg.directives import without_comments

FORMAT = 1
"""Raised whenever the same text would give other chunks; what is derived from chunks is then made again."""

MOST_NESTED = 1000
"""Brackets that may be open at once: beyond it tree-sitter's queries take a time that grows with the square."""
_NO_BRACKET = bytes(set(range(256)) - set(b"(){}[]"))

# What stands between a comment and its function: attributes and the like, no other declaration, no directive.
_GAP = re.compile(rb"[^;{}#]{0,200}")
# What a kernel adds to a declaration: to tree-sitter it is the name of a type, or ends the declaration.
_ATTRIBUTE = re.compile(
    rb"\b__(?:read_mostly|(?:init|exit|ref)(?:data|const)?|\w*ro_after_init|\w*cacheline_aligned\w*|page_aligned_\w+"
    rb"|aligned|section|percpu|rcu|user|iomem|maybe_unused|used|visible|weak|packed|randomize_layout|latent_entropy)\b"
    rb"(?:[ \t]*\((?:[^()\n]|\([^()\n]*\))*+\))?"
)
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
    tree = _parsed(source)
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
    found = tree_sitter.QueryCursor(_calls()).captures(_parsed(source).root_node)
    return [(name, node.start_point.row + 1) for node in found.get("callee", ()) if (name := _spelling(node))]


def comment_before(source: bytes, start: int) -> tuple[int, int] | None:
    """Return where the comment begins and ends that leads the function at byte `start`, or None when none does."""
    comments = _places(source)[0]
    spans = _leading_spans(source, start, comments, [end for _, end in comments])
    return (spans[0][0], spans[-1][1]) if spans else None


@dataclass(frozen=True)
class Span:
    """Where a function stands in a text, in bytes, the ends exclusive."""

    start: int
    body_start: int
    end: int


def spans(source: bytes, symbol: str) -> list[Span]:
    """Return where a text defines a function, on all sides of its conditions; none that cannot be told apart."""
    return [span for name, span in _places(source)[1] if name == symbol]


@functools.lru_cache(maxsize=8)
def _places(source: bytes) -> tuple[list[tuple[int, int]], list[tuple[str | None, Span]]]:
    """Return where a text has comments, and functions by name: many questions are asked about one file."""
    found = tree_sitter.QueryCursor(_query()).captures(_parsed(source).root_node)
    comments = sorted((node.start_byte, node.end_byte) for node in found.get("comment", ()))
    functions = [
        (_defined(node), Span(node.start_byte, body.start_byte, node.end_byte))
        for node in _in_order(found.get("function", ()))
        if (body := node.child_by_field_name("body")) is not None
    ]
    return comments, functions


@dataclass(frozen=True)
class Item:
    """One thing that stands at the top of a text, in bytes, the end exclusive."""

    kind: Literal["function", "declaration", "comment", "other"]
    start: int
    end: int
    symbol: str = ""
    """Of a function; empty where it cannot be told."""
    body_start: int = 0


def items(text: bytes, *, head: bytes = b"", symbol: str = "") -> list[Item]:
    """Return what a piece of C holds, in order; what the parser does not understand at the top is `other`.

    Where the text has `head`, however spaced, it is taken for the head of function `symbol`: a kernel's own may hold
    macros that only its compiler knows.
    """
    plain = _ATTRIBUTE.sub(lambda match: b" " * len(match[0]), text)
    known = _spaced(head).search(text) if head.strip() else None
    stands_in = b"int f()"
    if known is not None and len(known[0]) >= len(stands_in):
        plain = plain[: known.start()] + stands_in.ljust(len(known[0])) + plain[known.end() :]
    found = []
    for node in _parsed(plain).root_node.children:
        body = node.child_by_field_name("body") if node.type == "function_definition" else None
        if body is not None:
            own = known is not None and node.start_byte <= known.start() < body.start_byte
            found.append(
                Item(
                    "function", node.start_byte, node.end_byte, symbol if own else _defined(node) or "", body.start_byte
                )
            )
        else:
            found.append(Item(_KINDS.get(node.type, "other"), node.start_byte, node.end_byte))
    return found


_KINDS: dict[str, Literal["declaration", "comment"]] = {"declaration": "declaration", "comment": "comment"}
_NAME = re.compile(rb"\w")
_WORD = re.compile(rb"\w+|[^\w\s]")


def words(code: bytes) -> list[bytes]:
    """Return the words and signs of a piece of C without its comments: equal for texts that differ in spacing only."""
    return _WORD.findall(without_comments(code))


def _spaced(head: bytes) -> re.Pattern[bytes]:
    """Return what matches a head's words and signs with any space between them."""
    pattern, before = b"", b""
    for word in words(head):
        between = b"" if not before else rb"\s+" if _NAME.match(before) and _NAME.match(word) else rb"\s*"
        pattern, before = pattern + between + re.escape(word), word
    return re.compile(pattern)


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
    plain = _ATTRIBUTE.sub(lambda match: b" " * len(match[0]), source)
    todo = [_parsed(plain).root_node]
    while todo:
        for node in todo.pop().named_children:
            if node.type in _BODIES:  # what a function declares is its own
                continue
            todo.append(node)
            kind = _DECLARING.get(node.type)
            if kind is not None:
                text = source[node.start_byte : node.end_byte].decode("utf-8", "replace")
                lines = node.start_point.row + 1, node.end_point.row + 1
                found += [Declaration(kind, name, *lines, text) for name in _declared(node, kind) if name]
    return sorted(found, key=lambda one: (one.first_line, one.kind, one.name))


_BODIES = frozenset(("function_definition", "compound_statement", "expression_statement"))
_DECLARING = {
    "struct_specifier": "struct", "union_specifier": "union", "enum_specifier": "enum", "type_definition": "typedef",
    "declaration": "variable",
}  # fmt: skip


def _declared(node: tree_sitter.Node, kind: str) -> Iterator[str | None]:
    """Yield the names that a declaration gives; a function that it only announces is none, nor is a tag alone."""
    if node.type.endswith("_specifier"):
        if node.child_by_field_name("body") is not None:
            yield _spelling(node.child_by_field_name("name"))
        return
    for declarator in node.children_by_field_name("declarator"):
        *around, name = _declarators(declarator)
        innermost = next((one for one in reversed(around) if one.type != "attributed_declarator"), None)
        # `int (*open)(void)` is a variable, `int open(void)` is none.
        if kind == "typedef" or innermost is None or innermost.type != "function_declarator":
            yield _spelling(name) if name.type in _NAMES else None


def _declarators(outermost: tree_sitter.Node) -> list[tree_sitter.Node]:
    """Return a declarator and those inside it; the last is the name where there is one."""
    found = [outermost]
    while found[-1].type not in _NAMES:
        inner = found[-1].child_by_field_name("declarator")
        inner = inner or next((child for child in found[-1].named_children if _declares(child)), None)
        if inner is None:
            break
        found.append(inner)
    return found


_NAMES = ("identifier", "type_identifier")


def _in_order(nodes: Iterable[tree_sitter.Node]) -> list[tree_sitter.Node]:
    return sorted(nodes, key=lambda node: node.start_byte)


def _parsed(source: bytes) -> tree_sitter.Tree:
    """Return a file's syntax; of one that is nested so deep that queries would take hours, that of an empty file."""
    return _parser().parse(source if nesting(source) <= MOST_NESTED else b"")


def nesting(text: bytes) -> int:
    """Return how many brackets are open at once, at most; a closing one too many opens none."""
    depth = deepest = 0
    for one in text.translate(None, _NO_BRACKET):
        if one in b"({[":
            depth += 1
            deepest = max(deepest, depth)
        elif depth:
            depth -= 1
    return deepest


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


def _defined(definition: tree_sitter.Node) -> str | None:
    """Return the name a definition gives; None when there is none to be seen."""
    declarator = definition.child_by_field_name("declarator")
    name = _declarators(declarator)[-1] if declarator is not None else None
    return _spelling(name) if name is not None and name.type == "identifier" else None


def _first_argument(statement: tree_sitter.Node) -> str | None:
    arguments = statement.named_children[0].child_by_field_name("arguments")
    first = arguments.named_children[:1] if arguments is not None else []
    return _spelling(first[0]) if first and first[0].type == "identifier" else None


def _spelling(node: tree_sitter.Node | None) -> str | None:
    return node.text.decode("utf-8", "replace") if node is not None and node.text else None


def _declares(node: tree_sitter.Node) -> bool:
    return node.type in _NAMES or node.type.endswith("_declarator")


def _leading(source: bytes, start: int, comments: list[tuple[int, int]], ends: list[int]) -> str:
    """Return the text of the comment that ends right before `start`; line comments below one another are one."""
    spans = _leading_spans(source, start, comments, ends)
    return "\n".join(_plain(source[first:end].decode("utf-8", "replace")) for first, end in spans)


def _leading_spans(
    source: bytes, start: int, comments: list[tuple[int, int]], ends: list[int]
) -> list[tuple[int, int]]:
    spans: list[tuple[int, int]] = []
    at = bisect_right(ends, start) - 1
    while at >= 0:
        first, end = comments[at]
        gap = source[end:start]
        if len(gap) > 200 or gap.count(b"\n") > (1 if spans else 3) or not _GAP.fullmatch(gap):
            break
        is_line = source.startswith(b"//", first)
        if spans and not is_line:
            break
        spans.insert(0, (first, end))
        if not is_line:
            break
        start, at = first, at - 1
    return spans


def _plain(comment: str) -> str:
    if comment.startswith("//"):
        return comment.lstrip("/").strip()
    inner = comment.removeprefix("/*").removesuffix("*/").lstrip("*")
    lines = (line.strip().removeprefix("*").strip() for line in inner.splitlines())
    return "\n".join(lines).strip()
