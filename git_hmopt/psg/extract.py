# SPDX-License-Identifier: Apache-2.0
"""From a parsed unit to the facts of its files: definitions, and the edges that begin in them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from clang import cindex

from git_hmopt.psg import bindings, walk
from git_hmopt.psg.bindings import CONTINUE, Cursor
from git_hmopt.psg.compile_database import CompileCommand
from git_hmopt.psg.declarations import (
    ENUM,
    FIELD,
    FUNCTION,
    RECORDS,
    STRUCT,
    TYPEDEF,
    UNION,
    VARIABLE,
    Declarations,
    Declared,
    spelled,
)
from git_hmopt.psg.facts import Definition, Edge, FileFacts, Kind, Relation

_EXTERN = 2  # CX_SC_Extern
_RECORD_TYPE = 105  # CXType_Record
_DECLARATIONS = frozenset((STRUCT, UNION, ENUM, FUNCTION, VARIABLE, TYPEDEF))
_KINDS = {STRUCT: Kind.STRUCT, UNION: Kind.UNION, ENUM: Kind.ENUM}
_DETAILS = {
    walk.CALL: (Relation.CALL_STATIC, ""),
    walk.INDIRECT: (Relation.CALL_INDIRECT, ""),
    walk.READ: (Relation.REF, "read"),
    walk.WRITE: (Relation.REF, "write"),
    walk.ADDRESS: (Relation.REF, "address"),
    walk.TYPE: (Relation.REF, "type"),
    walk.IMPLEMENTS: (Relation.INHERITANCE, "implements"),
}
_WORD = re.compile(rb"[A-Za-z_]\w*")
_MAYBE_MACRO = re.compile(rb"\b(?:([A-Z][A-Z0-9_]{2,})\b|([A-Za-z_]\w*)[ \t]*\()")
_KEYWORDS = frozenset(("if", "for", "while", "switch", "return", "sizeof", "typeof", "__attribute__", "defined"))
_PARENTHESIS = re.compile(rb"[()]")
_COMMENT_OR_STRING = re.compile(rb'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.DOTALL)
# include/linux/compiler_attributes.h, compiler_types.h: the attribute macros that do not begin with two underscores.
_ATTRIBUTES = frozenset(
    (
        "asmlinkage",
        "noinline",
        "noinline_for_stack",
        "noinstr",
        "notrace",
        "nokprobe_inline",
        "inline_map_read_isolated",
    )
)


@dataclass
class _Page:
    """What is being written down of one file."""

    definitions: dict[str, Definition] = field(default_factory=dict)
    edges: dict[tuple[str, str, Relation, str], list[int]] = field(default_factory=dict)

    def define(self, definition: Definition) -> None:
        # The first of several: tentative definitions, and what a macro makes twice.
        self.definitions.setdefault(definition.symbol, definition)

    def facts(self) -> FileFacts:
        definitions = sorted(self.definitions.values(), key=lambda one: (one.start, one.symbol))
        edges = [Edge(*key, line, count) for key, (line, count) in self.edges.items()]
        return FileFacts(tuple(definitions), tuple(sorted(edges)))


class Extraction:
    """One walk over the top of a unit, and below what stands in the files that were asked for."""

    def __init__(self, command: CompileCommand, read: Callable[[str], bytes], *, wanted: Callable[[str], bool]) -> None:
        self._clang = bindings.library()
        self._main = command.file
        self._read = read
        self._wanted = wanted
        self._declarations = Declarations(command)
        self._walk = walk.Uses(self._declarations)
        self._named: set[str] = set()
        """What the last walk saw, as it is spelled."""
        self._pages: dict[int, tuple[str, _Page] | None] = {}
        self._sources: dict[str, bytes] = {}
        self._handlers = {
            STRUCT: self._record, UNION: self._record, ENUM: self._enum, FUNCTION: self._function,
            VARIABLE: self._variable, TYPEDEF: self._typedef,
        }  # fmt: skip

    def run(self, unit: cindex.TranslationUnit) -> Mapping[str, FileFacts]:
        """Return the facts of each wanted file that declares something, by path below the root."""
        bindings.visit(bindings.unit_cursor(unit), self._look)
        return {page[0]: page[1].facts() for page in self._pages.values() if page is not None}

    def _look(self, cursor: Cursor, _: Cursor) -> int:
        kind = cursor.kind
        if kind not in _DECLARATIONS:
            return CONTINUE
        file = self._declarations.file_at(cursor)
        if file not in self._pages:
            self._pages[file] = self._page(file)
        page = self._pages[file]
        if page is not None:
            self._handlers[kind](cursor, *page, self._declarations.offset_at(cursor))
        return CONTINUE

    def _page(self, file: int) -> tuple[str, _Page] | None:
        name = self._declarations.file(file)
        if name is None:
            return None
        own = name == self._main or name.endswith(".c")
        return (name, _Page()) if own or self._wanted(name) else None

    # -- definitions ------------------------------------------------------------------------------------------------

    def _definition(self, cursor: Cursor, declared: Declared, kind: Kind, *, type_: str = "") -> Definition:
        first, start, last, end = self._declarations.extent(cursor)
        return Definition(declared.key, kind, first, last, start, end, declared.linkage, type=type_)

    def _function(self, cursor: Cursor, file: str, page: _Page, name_offset: int) -> None:
        if not self._clang.clang_isCursorDefinition(cursor):
            return
        declared = self._declarations.of(cursor)
        if declared.key in page.definitions:
            return
        source = self._source(file)
        first_line, start, last_line, end = self._declarations.extent(cursor)
        body = self._uses(cursor, declared.key, page)
        # A function that a macro makes whole may begin with one of the macro's arguments; the use comes before it.
        start = min(start, body if body is not None else start)
        head = source[start : body if body is not None else name_offset]
        page.define(
            Definition(
                declared.key, Kind.FUNCTION, first_line, last_line, start, end, declared.linkage,
                is_inline=bool(self._clang.clang_Cursor_isFunctionInlined(cursor)),
                type=_spelling(self._clang.clang_getCursorType(cursor)),
                body_hash=hashlib.sha256(source[start:end]).hexdigest()[:16],
                attributes=_attributes(head[: name_offset - start], _behind_parameters(head[name_offset - start :])),
            )
        )  # fmt: skip
        self._macros(source[start:end], first_line, declared.key, page)

    def _variable(self, cursor: Cursor, _file: str, page: _Page, _offset: int) -> None:
        clang = self._clang
        if clang.clang_Cursor_getStorageClass(cursor) == _EXTERN and not clang.clang_isCursorDefinition(cursor):
            return
        declared = self._declarations.of(cursor)
        if not declared.key:
            return
        type_ = _spelling(clang.clang_getCursorType(cursor))
        page.define(self._definition(cursor, declared, Kind.VARIABLE, type_=type_))
        self._uses(cursor, declared.key, page)

    def _typedef(self, cursor: Cursor, _file: str, page: _Page, _offset: int) -> None:
        declared = self._declarations.of(cursor)
        type_ = _spelling(self._clang.clang_getTypedefDeclUnderlyingType(cursor))
        page.define(self._definition(cursor, declared, Kind.TYPEDEF, type_=type_))
        self._uses(cursor, declared.key, page)

    def _enum(self, cursor: Cursor, _file: str, page: _Page, _offset: int) -> None:
        if self._clang.clang_isCursorDefinition(cursor):
            declared = self._declarations.of(cursor)
            page.define(self._definition(cursor, declared, Kind.ENUM))

    def _record(self, cursor: Cursor, file: str, page: _Page, offset: int) -> None:
        if not self._clang.clang_isCursorDefinition(cursor):
            return
        declared = self._declarations.of(cursor)
        if not declared.key or declared.key in page.definitions:
            return
        page.define(self._definition(cursor, declared, _KINDS[cursor.kind]))
        self._fields(cursor, declared.key, file, page, offset, first=True)

    def _fields(self, record: Cursor, key: str, file: str, page: _Page, offset: int, *, first: bool) -> None:
        """Note a record's fields; `first` says that they begin where the record named `key` begins."""
        clang, is_union = self._clang, record.kind == UNION
        for child in bindings.children(record):
            if child.kind in RECORDS or child.kind == ENUM:
                inner = self._declarations.of(child).key
                if inner == key and child.kind in RECORDS:
                    self._fields(child, key, file, page, offset, first=first)
                    first = first and is_union
                elif inner:
                    self._handlers[child.kind](child, file, page, offset)
            if child.kind != FIELD:
                continue
            declared = self._declarations.of(child)
            written = clang.clang_getCursorType(child)
            if declared.key:
                page.define(self._definition(child, declared, Kind.FIELD, type_=_spelling(written)))
                self._edge(page, key, declared.key, Relation.HASMEMBER, "", child)
            if first and clang.clang_getCanonicalType(written).kind == _RECORD_TYPE:
                embedded = self._declarations.of(clang.clang_getTypeDeclaration(clang.clang_getCanonicalType(written)))
                if embedded.key:
                    self._edge(page, key, embedded.key, Relation.INHERITANCE, "embeds", child)
            first = first and is_union
            self._uses(child, key, page)

    # -- edges ------------------------------------------------------------------------------------------------------

    def _uses(self, cursor: Cursor, source: str, page: _Page) -> int | None:
        """Note what stands below a cursor; return where a function's body begins."""
        self._named.clear()

        def sink(what: int, target: Declared, at: Cursor, table: Declared) -> None:
            relation, detail = _DETAILS[what]
            if what == walk.IMPLEMENTS:
                if table.key:
                    self._edge(page, target.key, table.key, relation, detail, at)
            elif target.key:
                self._named.add(target.name)
                self._edge(page, source, target.key, relation, detail, at)

        return self._walk.below(cursor, sink)

    def _macros(self, text: bytes, first_line: int, source: str, page: _Page) -> None:
        """Note the words that may be macros: the tree is gone when the parser is done, so the text is asked.

        What is no macro has no definition as one, and questions leave it out. What the walk saw is none.
        """
        plain = _COMMENT_OR_STRING.sub(lambda match: b" " + b"\n" * match[0].count(b"\n"), text)
        line, at = first_line, 0
        for match in _MAYBE_MACRO.finditer(plain):
            line, at = line + plain.count(b"\n", at, match.start()), match.start()
            name = (match[1] or match[2]).decode()
            if name not in _KEYWORDS and name not in self._named:
                known = page.edges.setdefault((source, f"macro {name}", Relation.REF, "macro"), [line, 0])
                known[1] += 1

    def _edge(self, page: _Page, source: str, target: str, relation: Relation, detail: str, at: Cursor) -> None:
        known = page.edges.get((source, target, relation, detail))
        if known is not None:
            known[1] += 1
        else:
            page.edges[source, target, relation, detail] = [self._declarations.line_at(at), 1]

    def _source(self, file: str) -> bytes:
        if file not in self._sources:
            self._sources[file] = self._read(file)
        return self._sources[file]


def _spelling(written: bindings.Type) -> str:
    return spelled(bindings.text(bindings.library().clang_getTypeSpelling(written)))


def _attributes(*parts: bytes) -> tuple[str, ...]:
    words = [word for part in parts for word in _WORD.findall(_COMMENT_OR_STRING.sub(b" ", part))]
    found = (word.decode() for word in words if word.startswith(b"__") or word.decode() in _ATTRIBUTES)
    return tuple(dict.fromkeys(found))


def _behind_parameters(head: bytes) -> bytes:
    """Return what stands between a function's parameters and its body; their own attributes are not the function's."""
    depth = 0
    for found in _PARENTHESIS.finditer(head):
        depth += 1 if found[0] == b"(" else -1
        if depth == 0 and found[0] == b")":
            return head[found.end() :]
    return b""
