# SPDX-License-Identifier: Apache-2.0
"""A function's syntax as an immutable tree, so that shapes are matched without knowing libclang.

Implicit conversions are left out; parentheses and casts stay. A `for` always has four children (initialiser,
condition, step, body), with a MISSING node for what is not there.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from clang import cindex

from git_hmopt.psg import bindings
from git_hmopt.psg.bindings import Cursor, position
from git_hmopt.psg.unit import Function, Unit

Scope = Literal["", "global", "static", "local", "parameter", "function", "enumerator", "field"]

_FUNCTION, _VARIABLE, _FIELD, _ENUMERATOR, _PARAMETER = 8, 9, 6, 7, 10
_FIRST_EXPRESSION, _LAST_EXPRESSION = 100, 199
_SCOPES: dict[int, Scope] = {
    _FUNCTION: "function", _FIELD: "field", _ENUMERATOR: "enumerator", _PARAMETER: "parameter",
}  # fmt: skip
# CXTypeKind of the integer types: signed or not, whatever the target's `char` is.
_UNSIGNED = frozenset((3, 4, 5, 6, 7, 8, 9, 10, 11, 12))
_SIGNED = frozenset((13, 14, 15, 16, 17, 18, 19, 20))
# CXTypeKind of the types that have a size: integers, floats, pointers, records, enums, constant arrays. To ask for the
# size of another (the placeholder type of a compiler builtin's name) ends the process: llvm_unreachable, in a release.
_SIZED = frozenset((*range(3, 24), 101, 105, 106, 112))


@dataclass(frozen=True)
class Node:
    """One node; offsets are bytes of the function's file, the end exclusive."""

    kind: str
    """libclang's name of the cursor kind (`IF_STMT`, `BINARY_OPERATOR`), or MISSING."""
    start: int
    end: int
    name: str = ""
    """What a declaration declares or a reference names."""
    scope: Scope = ""
    """What kind of thing a reference names; `static` is a function's own variable that outlives the call.

    Of declarations only that one is told.
    """
    type: str = ""
    """The type with typedefs resolved."""
    written_type: str = ""
    """The type as the source has it."""
    size: int = 0
    """Bytes of the type; 0 when it has none."""
    signed: bool | None = None
    """Whether an integer type is signed; None for every other type."""
    operator: str = ""
    """Of unary and binary operators and assignments; postfix ones end in `post`."""
    value: int | None = None
    """What the expression folds to, where it is constant."""
    in_macro: bool = False
    """Whether the node begins inside a macro's expansion: its offsets are those of the macro's use."""
    children: tuple[Node, ...] = ()

    def walk(self) -> Iterator[Node]:
        """Yield this node and all below it, outer ones first."""
        yield self
        for child in self.children:
            yield from child.walk()

    def text(self, source: bytes) -> bytes:
        """Return the node's source text."""
        return source[self.start : self.end]


def bare(node: Node) -> Node:
    """Return the node inside any parentheses."""
    while node.kind == "PAREN_EXPR" and len(node.children) == 1:
        node = node.children[0]
    return node


def syntax(unit: Unit, function: Function) -> Node:
    """Return the tree of a function of this unit: its parameters, then its body."""
    cursor = unit.parsed.own(function.file, function.name_offset, function.symbol)
    if cursor is None:
        raise KeyError(f"{function.symbol} is not a function of {unit.file}")
    return _Build(unit.sources[function.file], unit.macro_uses.get(function.file, frozenset())).node(cursor)


def definition(unit: Unit, symbol: str) -> Node | None:
    """Return the tree of a function the unit sees, in a header for one; None when it is only declared.

    Its offsets belong to the file it stands in: match its shape, do not edit by it.
    """
    cursor = unit.parsed.definitions.get(symbol)
    return _Build(b"", frozenset()).node(cursor) if cursor is not None else None


@functools.cache
def _kind_name(kind: int) -> str:
    try:
        return str(cindex.CursorKind.from_id(kind).name)
    except ValueError:  # newer than the binding's list
        return f"KIND_{kind}"


class _Build:
    def __init__(self, source: bytes, macro_uses: frozenset[int]) -> None:
        self._clang = bindings.library()
        self._source = source
        self._macro_uses = macro_uses

    def node(self, cursor: Cursor) -> Node:
        kind = _kind_name(cursor.kind)
        children = tuple(self.node(child) for child in bindings.children(cursor))
        extent = self._clang.clang_getCursorExtent(cursor)
        start = position(self._clang.clang_getRangeStart(extent))
        end = position(self._clang.clang_getRangeEnd(extent))
        # An implicit conversion is an unexposed node that covers exactly its operand.
        if kind == "UNEXPOSED_EXPR" and len(children) == 1 and _covers(children[0], start.offset, end.offset):
            return children[0]
        written = self._clang.clang_getCursorType(cursor)
        canonical = self._clang.clang_getCanonicalType(written)
        name, scope = self._name(cursor, kind)
        if kind == "FOR_STMT":
            children = self._for(children, start.offset, end.offset)
        return Node(
            kind=kind,
            start=start.offset,
            end=end.offset,
            name=name,
            scope=scope,
            type=bindings.text(self._clang.clang_getTypeSpelling(canonical)),
            written_type=bindings.text(self._clang.clang_getTypeSpelling(written)),
            size=max(0, self._clang.clang_Type_getSizeOf(canonical)) if canonical.kind in _SIZED else 0,
            signed=True if canonical.kind in _SIGNED else False if canonical.kind in _UNSIGNED else None,
            operator=self._operator(cursor, kind),
            value=self._value(cursor, children),
            in_macro=start.offset in self._macro_uses,
            children=children,
        )

    def _name(self, cursor: Cursor, kind: str) -> tuple[str, Scope]:
        if kind not in ("DECL_REF_EXPR", "MEMBER_REF_EXPR", "CALL_EXPR", "GOTO_STMT", "LABEL_REF", "TYPE_REF"):
            name = bindings.text(self._clang.clang_getCursorSpelling(cursor))
            return name, "static" if kind == "VAR_DECL" and self._variable(cursor) == "static" else ""
        target = self._clang.clang_getCursorReferenced(cursor)
        if self._clang.clang_Cursor_isNull(target):
            return bindings.text(self._clang.clang_getCursorSpelling(cursor)), ""
        name = bindings.text(self._clang.clang_getCursorSpelling(target))
        if target.kind == _VARIABLE:
            return name, self._variable(target)
        return name, _SCOPES.get(target.kind, "")

    def _variable(self, declaration: Cursor) -> Scope:
        if self._clang.clang_getCursorLinkage(declaration) > 1:  # CXLinkage_NoLinkage
            return "global"
        # A function's static variable has no linkage either: 3 is CX_SC_Static.
        return "static" if self._clang.clang_Cursor_getStorageClass(declaration) == 3 else "local"

    def _operator(self, cursor: Cursor, kind: str) -> str:
        if kind in ("BINARY_OPERATOR", "COMPOUND_ASSIGNMENT_OPERATOR"):
            number = self._clang.clang_getCursorBinaryOperatorKind(cursor)
            return bindings.text(self._clang.clang_getBinaryOperatorKindSpelling(number))
        if kind == "UNARY_OPERATOR":
            number = self._clang.clang_getCursorUnaryOperatorKind(cursor)
            sign = bindings.text(self._clang.clang_getUnaryOperatorKindSpelling(number))
            return f"{sign}post" if number in (1, 2) else sign  # CXUnaryOperator_PostInc, _PostDec
        return ""

    def _value(self, cursor: Cursor, children: tuple[Node, ...]) -> int | None:
        if not _FIRST_EXPRESSION <= cursor.kind <= _LAST_EXPRESSION:
            return None
        # A reference to a variable folds to its initialiser, which is not its value once something assigns to it.
        if any(
            inner.scope in ("local", "static", "global", "parameter", "field")
            for child in children
            for inner in child.walk()
        ):
            return None
        if _kind_name(cursor.kind) in ("DECL_REF_EXPR", "MEMBER_REF_EXPR", "CALL_EXPR", "STRING_LITERAL", "StmtExpr"):
            return bindings.evaluate(cursor) if self._name(cursor, "DECL_REF_EXPR")[1] == "enumerator" else None
        return bindings.evaluate(cursor)

    def _for(self, children: tuple[Node, ...], start: int, end: int) -> tuple[Node, ...]:
        """Give each part of a `for` its place; libclang leaves out what is missing without saying what."""
        if len(children) == 4 or not children:
            return children
        semicolons = _semicolons(self._source, start, end)
        if len(semicolons) != 2:  # written in a macro: the parts cannot be told apart
            return children
        *parts, body = children
        slots: list[Node] = [Node("MISSING", place, place) for place in (semicolons[0], semicolons[1], body.start)]
        for part in parts:
            slots[sum(part.start > place for place in semicolons)] = part
        return (*slots, body)


def _covers(child: Node, start: int, end: int) -> bool:
    return (child.start, child.end) == (start, end)


def _semicolons(source: bytes, start: int, end: int) -> list[int]:
    """Return the offsets of the two semicolons in a for statement's parentheses; none where the text is not known."""
    opening = source.find(b"(", start, end)
    depth, found = 0, []
    for offset in range(opening, end) if opening >= 0 else ():
        byte = source[offset]
        if byte == ord("("):
            depth += 1
        elif byte == ord(")"):
            depth -= 1
            if depth == 0:
                break
        elif byte == ord(";") and depth == 1:
            found.append(offset)
    return found
