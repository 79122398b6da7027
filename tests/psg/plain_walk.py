# SPDX-License-Identifier: Apache-2.0
"""The edges of a unit as clang's own Python bindings give them: a whole parse and a whole walk, nothing pruned.

Written from libclang's documentation alone, so that it can hold the fast extraction to account. Symbols are told by
their spelling, fields with their record's; what a macro numbers (`__UNIQUE_ID_x12`) is without its number.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from clang.cindex import Cursor, CursorKind, LinkageKind, TranslationUnit

from git_hmopt.psg.arguments import parser_arguments
from git_hmopt.psg.compile_database import CompileCommand
from git_hmopt.store.graph import name_of

Edge = tuple[str, str, str]
"""(call, indirect or ref; who; whom)."""

_COUNTER = re.compile(r"(__UNIQUE_ID_\w*?|__compiletime_assert_|__bpf_trace_\w+?_|__warned_|__key_)\d+$")
_INITCALL = re.compile(r"^(__initcall__kmod_\w+?__)\d+_\d+_")
_LINKED = (LinkageKind.INTERNAL, LinkageKind.EXTERNAL)
_TAGS = {CursorKind.STRUCT_DECL: "struct", CursorKind.UNION_DECL: "union", CursorKind.ENUM_DECL: "enum"}
_TYPES = (*_TAGS, CursorKind.TYPEDEF_DECL)


def plain_parse(command: CompileCommand) -> TranslationUnit:
    """Parse a unit as its build has it, without a precompiled header."""
    return TranslationUnit.from_source(str(command.path), list(parser_arguments(command).accepted))


def plain_edges(command: CompileCommand, unit: TranslationUnit | None = None) -> set[Edge]:
    """Return the edges that begin in the unit's own functions and variables."""
    parsed = unit or plain_parse(command)
    found: set[Edge] = set()
    for top in parsed.cursor.get_children():
        if _is_source(top, command) and _has_edges(top):
            source = _name(top)
            for relation, target in _uses(top):
                if target:
                    found.add((relation, source, target))
    return found


def _is_source(cursor: Cursor, command: CompileCommand) -> bool:
    file = cursor.location.file
    return file is not None and (file.name.endswith(".c") or Path(command.directory / file.name) == command.path)


def _has_edges(cursor: Cursor) -> bool:
    if cursor.kind == CursorKind.FUNCTION_DECL:
        return bool(cursor.is_definition())
    # `extern` alone declares what stands elsewhere.
    is_variable = cursor.kind == CursorKind.VAR_DECL
    return is_variable and bool(cursor.is_definition() or cursor.storage_class.name != "EXTERN")


def _uses(top: Cursor) -> Iterator[tuple[str, str]]:
    called: Counter[str] = Counter()
    referenced: Counter[str] = Counter()
    for cursor in top.walk_preorder():
        if cursor == top:
            continue
        target = cursor.referenced
        if cursor.kind == CursorKind.CALL_EXPR:
            target = target or _named_callee(cursor)
            if target is not None and target.kind == CursorKind.FUNCTION_DECL:
                called[_name(target)] += 1
                yield "call", _name(target)
            elif target is not None and (target.kind == CursorKind.FIELD_DECL or _is_global(target)):
                called[_name(target)] += 1
                yield "indirect", _name(target)
        elif target is None:
            continue
        elif _is_counted(cursor, target):
            referenced[_name(target)] += 1
        elif cursor.kind == CursorKind.DECL_REF_EXPR and target.kind == CursorKind.ENUM_CONSTANT_DECL:
            yield "ref", _name(target.semantic_parent) or _field_of(target.semantic_parent)
        elif cursor.kind == CursorKind.TYPE_REF and target.kind in _TYPES:
            yield "ref", _name(target)
    # The reference by which a call names its callee is the call.
    yield from (("ref", name) for name, count in referenced.items() if count > called[name])


def _named_callee(call: Cursor) -> Cursor | None:
    """Return what `(*table->open)(x)` calls through, which libclang does not say of the call itself."""
    at = next(iter(call.get_children()), None)
    while at is not None and at.kind in (
        CursorKind.UNEXPOSED_EXPR, CursorKind.PAREN_EXPR, CursorKind.UNARY_OPERATOR, CursorKind.ARRAY_SUBSCRIPT_EXPR,
    ):  # fmt: skip
        at = next(iter(at.get_children()), None)
    named = (CursorKind.MEMBER_REF_EXPR, CursorKind.DECL_REF_EXPR)
    return at.referenced if at is not None and at.kind in named else None


def _is_counted(cursor: Cursor, target: Cursor) -> bool:
    if cursor.kind == CursorKind.MEMBER_REF_EXPR:
        return bool(target.kind == CursorKind.FIELD_DECL)
    return cursor.kind == CursorKind.DECL_REF_EXPR and (target.kind == CursorKind.FUNCTION_DECL or _is_global(target))


def _is_global(cursor: Cursor) -> bool:
    return cursor.kind == CursorKind.VAR_DECL and cursor.linkage in _LINKED


def _name(cursor: Cursor) -> str:
    spelled: str = _INITCALL.sub(r"\1N_N_", _COUNTER.sub(r"\1N", cursor.spelling))
    # What has no name has libclang's: path, line and all.
    nameless = not spelled or "(" in spelled
    if cursor.kind == CursorKind.FIELD_DECL:
        return "" if nameless or _is_local(cursor) else f".{spelled}"
    if cursor.kind in _TYPES:
        return "" if nameless or _is_local(cursor) else spelled
    return spelled


def _field_of(unnamed: Cursor) -> str:
    """Return the field whose type has no other name, as it is spelled."""
    around = unnamed.semantic_parent
    fields = around.get_children() if around is not None and around.kind in _TAGS and not _is_local(around) else ()
    named = (one for one in fields if one.kind == CursorKind.FIELD_DECL and one.type.get_declaration() == unnamed)
    return next((f".{one.spelling}" for one in named), "")


def _is_local(cursor: Cursor) -> bool:
    parent = cursor.semantic_parent
    while parent is not None and parent.kind in _TAGS:
        parent = parent.semantic_parent
    return parent is not None and parent.kind == CursorKind.FUNCTION_DECL


def as_plain(rows: Iterable[tuple[str, str, str, str]]) -> set[Edge]:
    """Return the graph's (source, target, relation, detail) as the plain walk tells edges.

    Rows that it does not know are left out: macros, tables, members, and what has no name.
    """
    relations = {"call_static": "call", "call_indirect": "indirect", "ref": "ref"}
    found = set()
    for source, target, relation, detail in rows:
        told = relations.get(relation)
        whom = spelled(target)
        if told and detail != "macro" and whom:
            found.add((told, spelled(source), whom))
    return found


def spelled(symbol: str) -> str:
    """Return how the source spells a symbol of the graph: fields with a dot in front, nothing for what has no name."""
    if "." in symbol.rpartition(":")[2]:
        return f".{name_of(symbol)}"
    return "" if "#" in symbol else name_of(symbol)
