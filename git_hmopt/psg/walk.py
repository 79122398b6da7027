# SPDX-License-Identifier: Apache-2.0
"""What a function or an initialiser uses: its calls, and what it reads, writes, takes the address of or names.

One callback sees every cursor below the start, in the order of the source; the rules below tell an access from the
cursors right before it, which is what makes the walk a twentieth of the parse.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from git_hmopt.psg import bindings
from git_hmopt.psg.bindings import RECURSE, Cursor
from git_hmopt.psg.declarations import (
    ENUM,
    ENUMERATOR,
    FIELD,
    FUNCTION,
    NOTHING,
    RECORDS,
    TYPEDEF,
    VARIABLE,
    Declarations,
    Declared,
)

# CXCursorKind (clang-c/Index.h).
_TYPE_REF, _DESIGNATOR, _UNEXPOSED, _DECL_REF, _MEMBER_REF, _CALL = 43, 47, 100, 101, 102, 103
_PARENTHESES, _UNARY, _SUBSCRIPT, _BINARY, _COMPOUND_ASSIGNMENT = 111, 112, 113, 114, 115
_COMPOUND_LITERAL, _INIT_LIST, _BODY = 118, 119, 202
_TRANSPARENT = frozenset((_UNEXPOSED, _PARENTHESES))
_ASSIGN = 22  # CXBinaryOperator_Assign
_STEPS, _ADDRESS_OF = (1, 2, 3, 4), 5  # CXUnaryOperator_PostInc to PreDec, _AddrOf
_TYPES = RECORDS | {ENUM, TYPEDEF}

CALL, INDIRECT, READ, WRITE, ADDRESS, TYPE, IMPLEMENTS = range(7)
"""What a use is. IMPLEMENTS is a function put into a field: its `Declared` is the function, its `field` the field."""

Sink = Callable[[int, Declared, Cursor, Declared], None]
"""Called with (what, whom, the cursor that says so, the field of IMPLEMENTS or NOTHING)."""


@dataclass
class _List:
    """An initialiser list that is being read."""

    pointer: int
    """Of the expression: the list's direct children name it as their parent."""
    end: int
    """The offset right after it."""
    written: bindings.Type | None
    """The type of what it initialises, None where that is not known."""
    fields: tuple[Cursor, ...]
    """The fields of that type when it is a record, in order."""
    index: int = -1
    current: Declared = NOTHING
    """The field that is being initialised."""
    inner: bindings.Type | None = None
    """The type of what is being initialised."""


class Uses:
    """The walks of one unit; the fields are the state between two cursors of one."""

    def __init__(self, declarations: Declarations) -> None:
        self._clang = bindings.library()
        self._declarations = declarations
        self._lists: list[_List] = []
        handlers: dict[int, Callable[[Cursor], None]] = {
            _DECL_REF: self._declaration, _MEMBER_REF: self._member, _CALL: self._call, _TYPE_REF: self._type,
            _BINARY: self._binary, _COMPOUND_ASSIGNMENT: self._compound, _UNARY: self._unary,
            _SUBSCRIPT: self._subscript, _DESIGNATOR: self._designator, _INIT_LIST: self._list,
            VARIABLE: self._variable, _COMPOUND_LITERAL: self._variable, _BODY: self._body,
        }  # fmt: skip
        self._walk = bindings.Walk(self._visitor(handlers))

    def below(self, top: Cursor, sink: Sink) -> int | None:
        """Tell `sink` every use below `top`, in order; return the offset at which a function's body begins."""
        self._sink = sink
        self._access = READ
        """What the operator right above does to the next reference."""
        self._through = False
        """Whether a member or a subscript stands between that operator and the next reference."""
        self._callee = NOTHING
        """Whom the call right above calls: the reference that follows is the same use."""
        self._unnamed_call = False
        """Whether the call right above has not said yet whom it calls."""
        self._stored_into = NOTHING
        """The field that the assignment right above writes."""
        self._written: bindings.Type | None = None
        """The type of the variable or literal whose initialiser comes next."""
        self._lists.clear()
        self._body_at: int | None = None
        if top.kind == VARIABLE:
            self._variable(top)
        self._walk(top)
        return self._body_at

    def _visitor(self, handlers: Mapping[int, Callable[[Cursor], None]]) -> bindings.Visitor:
        lists, handler_of = self._lists, handlers.get

        def look(cursor: Cursor, parent: Cursor) -> int:
            if lists and parent.kind == _INIT_LIST:
                self._next_in_list(parent.data[1])
            kind = cursor.kind
            handler = handler_of(kind)
            if handler is not None:
                handler(cursor)
            elif kind not in _TRANSPARENT:
                self._access, self._through, self._unnamed_call = READ, False, False
            return RECURSE

        return look

    def _body(self, cursor: Cursor) -> None:
        if self._body_at is None:
            self._body_at = self._declarations.start(cursor)
        self._access, self._through = READ, False

    def _binary(self, cursor: Cursor) -> None:
        assigns = self._clang.clang_getCursorBinaryOperatorKind(cursor) == _ASSIGN
        self._access, self._through = WRITE if assigns else READ, False
        self._stored_into = NOTHING

    def _compound(self, _: Cursor) -> None:
        self._access, self._through = WRITE, False

    def _unary(self, cursor: Cursor) -> None:
        operator = self._clang.clang_getCursorUnaryOperatorKind(cursor)
        self._access = WRITE if operator in _STEPS else ADDRESS if operator == _ADDRESS_OF else READ
        self._through = False

    def _subscript(self, _: Cursor) -> None:
        self._through = True

    # -- initialisers: which field a function is put into ---------------------------------------------------------

    def _variable(self, cursor: Cursor) -> None:
        """Take in a variable, or a compound literal, whose initialiser may follow."""
        self._written = self._clang.clang_getCanonicalType(self._clang.clang_getCursorType(cursor))
        self._lists.clear()
        self._access, self._through = READ, False

    def _list(self, cursor: Cursor) -> None:
        """Begin a list. libclang shows it as it is written, which has no type: that follows from what holds it."""
        written = self._lists[-1].inner if self._lists else self._written
        fields = self._declarations.fields(written) if written is not None else ()
        end = self._declarations.end(cursor)
        self._lists.append(_List(cursor.data[1] or 0, end, written, fields))
        self._access, self._through = READ, False

    def _next_in_list(self, pointer: int) -> None:
        """Go on to the next element of the list that the pointer names, which ends the lists inside it."""
        while self._lists and self._lists[-1].pointer != pointer:
            self._lists.pop()
        if self._lists:
            top = self._lists[-1]
            top.index += 1
            self._now(top, top.fields[top.index] if top.index < len(top.fields) else None)

    def _now(self, top: _List, field: Cursor | None) -> None:
        if field is not None:
            top.current = self._declarations.of(field)
            top.inner = self._clang.clang_getCanonicalType(self._clang.clang_getCursorType(field))
        else:
            element = self._clang.clang_getArrayElementType(top.written) if top.written is not None else None
            top.current = NOTHING
            top.inner = self._clang.clang_getCanonicalType(element) if element is not None and element.kind else None

    def _designator(self, cursor: Cursor) -> None:
        self._access, self._through = READ, False
        if self._lists:
            top, field = self._lists[-1], self._clang.clang_getCursorReferenced(cursor)
            places = [one.data[0] for one in top.fields]
            if field.data[0] in places:
                top.index = places.index(field.data[0])
            self._now(top, field)

    def _table(self, cursor: Cursor) -> Declared:
        """Return the field that a function named here is put into."""
        if self._stored_into is not NOTHING:
            return self._stored_into
        if self._lists:
            offset = self._declarations.offset_at(cursor)
            while self._lists and self._lists[-1].end <= offset:
                self._lists.pop()
        return next((one.current for one in reversed(self._lists) if one.current is not NOTHING), NOTHING)

    def _call(self, cursor: Cursor) -> None:
        target = self._declarations.of(self._clang.clang_getCursorReferenced(cursor))
        self._callee = target
        # Of `(*table->open)(x)` libclang does not say whom it calls: the first thing that is named next.
        self._unnamed_call = target is NOTHING
        self._access, self._through = READ, False
        self._sink(CALL if target.kind == FUNCTION else INDIRECT, target, cursor, NOTHING)

    def _taken(self, referenced: Cursor) -> int:
        """Return what happens to a reference: a store through a pointer only reads the pointer."""
        if self._through and self._access != READ and self._declarations.is_pointer(referenced):
            return READ
        return self._access

    def _is_callee(self, target: Declared, cursor: Cursor) -> bool:
        """Say whether a reference is what the call right above calls; tell it, where the call could not."""
        unnamed, self._unnamed_call = self._unnamed_call, False
        if unnamed and target.key and target.kind in (FIELD, VARIABLE):
            self._sink(INDIRECT, target, cursor, NOTHING)
            return True
        return target is self._callee and target is not NOTHING

    def _member(self, cursor: Cursor) -> None:
        referenced = self._clang.clang_getCursorReferenced(cursor)
        target = self._declarations.of(referenced)
        access = self._taken(referenced)
        if self._is_callee(target, cursor):
            self._callee = NOTHING
        elif target.kind == FIELD:
            self._sink(access, target, cursor, NOTHING)
            if access == WRITE:
                self._stored_into = target
        self._access, self._through = access, True

    def _declaration(self, cursor: Cursor) -> None:
        referenced = self._clang.clang_getCursorReferenced(cursor)
        target = self._declarations.of(referenced)
        access = self._taken(referenced)
        self._access, self._through = READ, False
        if self._is_callee(target, cursor):
            self._callee = NOTHING
        elif target.kind == FUNCTION:
            self._sink(ADDRESS, target, cursor, NOTHING)
            table = self._table(cursor)
            self._stored_into = NOTHING
            if table is not NOTHING:
                self._sink(IMPLEMENTS, target, cursor, table)
        elif target.kind == ENUMERATOR or (target.kind == VARIABLE and target.linkage):
            self._sink(access, target, cursor, NOTHING)

    def _type(self, cursor: Cursor) -> None:
        target = self._declarations.of(self._clang.clang_getCursorReferenced(cursor))
        if target.kind in _TYPES:
            self._sink(TYPE, target, cursor, NOTHING)
