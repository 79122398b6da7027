# SPDX-License-Identifier: Apache-2.0
"""libclang's C interface with the few functions `psg` needs.

`clang.cindex` builds a Python object and a string for everything it touches: walking a kernel unit with it costs
several times the parse. Here one callback sees bare structures and asks only for what it keeps.
"""

from __future__ import annotations

import ctypes
import functools
import threading
from collections.abc import Callable
from ctypes import CFUNCTYPE, POINTER, Structure, byref, c_char_p, c_int, c_longlong, c_uint, c_ulonglong, c_void_p
from typing import Any

from clang import cindex

BREAK, CONTINUE, RECURSE = 0, 1, 2


class Cursor(Structure):
    """CXCursor."""

    _fields_ = (("kind", c_int), ("xdata", c_int), ("data", c_void_p * 3))
    kind: int


class Location(Structure):
    """CXSourceLocation."""

    _fields_ = (("data", c_void_p * 2), ("raw", c_uint))


class Range(Structure):
    """CXSourceRange."""

    _fields_ = (("data", c_void_p * 2), ("begin", c_uint), ("end", c_uint))


class Text(Structure):
    """CXString."""

    _fields_ = (("data", c_void_p), ("flags", c_uint))


class Type(Structure):
    """CXType."""

    _fields_ = (("kind", c_int), ("data", c_void_p * 2))
    kind: int


Visitor = Callable[[Cursor, Cursor], int]
_VISIT = CFUNCTYPE(c_int, Cursor, Cursor, c_void_p)
_INCLUSION = CFUNCTYPE(None, c_void_p, POINTER(Location), c_uint, c_void_p)

_SIGNATURES: tuple[tuple[str, type | None, tuple[type, ...]], ...] = (
    ("clang_getTranslationUnitCursor", Cursor, (c_void_p,)),
    ("clang_visitChildren", c_uint, (Cursor, _VISIT, c_void_p)),
    ("clang_getCursorLocation", Location, (Cursor,)),
    ("clang_getCursorExtent", Range, (Cursor,)),
    ("clang_getRangeStart", Location, (Range,)),
    ("clang_getRangeEnd", Location, (Range,)),
    ("clang_getCursorReferenced", Cursor, (Cursor,)),
    ("clang_getCursorDefinition", Cursor, (Cursor,)),
    ("clang_getCursorSemanticParent", Cursor, (Cursor,)),
    ("clang_isCursorDefinition", c_uint, (Cursor,)),
    ("clang_getCursorLinkage", c_int, (Cursor,)),
    ("clang_Cursor_getStorageClass", c_int, (Cursor,)),
    ("clang_Cursor_isFunctionInlined", c_uint, (Cursor,)),
    ("clang_Cursor_isNull", c_int, (Cursor,)),
    ("clang_Cursor_getNumArguments", c_int, (Cursor,)),
    ("clang_Cursor_getArgument", Cursor, (Cursor, c_uint)),
    ("clang_getCursorSpelling", Text, (Cursor,)),
    ("clang_getCursorType", Type, (Cursor,)),
    ("clang_getCursorResultType", Type, (Cursor,)),
    ("clang_getCanonicalType", Type, (Type,)),
    ("clang_getTypeSpelling", Text, (Type,)),
    ("clang_getTypeDeclaration", Cursor, (Type,)),
    ("clang_getArrayElementType", Type, (Type,)),
    ("clang_getTypedefDeclUnderlyingType", Type, (Cursor,)),
    ("clang_getInclusions", None, (c_void_p, _INCLUSION, c_void_p)),
    ("clang_Type_getSizeOf", c_longlong, (Type,)),
    ("clang_getCursorBinaryOperatorKind", c_int, (Cursor,)),
    ("clang_getBinaryOperatorKindSpelling", Text, (c_int,)),
    ("clang_getCursorUnaryOperatorKind", c_int, (Cursor,)),
    ("clang_getUnaryOperatorKindSpelling", Text, (c_int,)),
    ("clang_Cursor_Evaluate", c_void_p, (Cursor,)),
    ("clang_EvalResult_getKind", c_int, (c_void_p,)),
    ("clang_EvalResult_isUnsignedInt", c_uint, (c_void_p,)),
    ("clang_EvalResult_getAsLongLong", c_longlong, (c_void_p,)),
    ("clang_EvalResult_getAsUnsigned", c_ulonglong, (c_void_p,)),
    ("clang_EvalResult_dispose", None, (c_void_p,)),
    ("clang_getFileName", Text, (c_void_p,)),
    ("clang_getCString", c_char_p, (Text,)),
    ("clang_disposeString", None, (Text,)),
)
_POSITION = (Location, POINTER(c_void_p), POINTER(c_uint), POINTER(c_uint), POINTER(c_uint))


@functools.cache
def library() -> ctypes.CDLL:
    """Return libclang, a handle of our own without cindex's checks, with every function's signature set.

    Its calls keep the interpreter's lock, which is not worth letting go for a microsecond: whoever parses, which takes
    long, does so through cindex's own handle.
    """
    handle = ctypes.PyDLL(cindex.conf.get_filename())
    for name, result, arguments in _SIGNATURES:
        function = getattr(handle, name)
        function.restype = result
        function.argtypes = arguments
    handle.clang_getFileLocation.argtypes = _POSITION
    handle.clang_getFileLocation.restype = None
    return handle


def unit_cursor(unit: cindex.TranslationUnit) -> Cursor:
    """Return the cursor of a whole translation unit."""
    cursor: Cursor = library().clang_getTranslationUnitCursor(unit.obj)
    return cursor


class Walk:
    """A visitor that is good for many walks: making what C can call costs as much as visiting ten cursors."""

    def __init__(self, visitor: Visitor) -> None:
        raised: list[BaseException] = []

        def guarded(child: Cursor, parent: Cursor, _: object) -> int:
            try:
                return visitor(child, parent)
            except BaseException as error:  # noqa: BLE001 - carried over the C frames and raised again in __call__
                raised.append(error)
                return BREAK

        self._raised = raised
        self._callback = _VISIT(guarded)
        self._visit = library().clang_visitChildren

    def __call__(self, cursor: Cursor) -> None:
        """Call `visitor(child, parent)` for the children; it answers BREAK, CONTINUE or RECURSE.

        An exception in the visitor ends the walk and is raised here: ctypes would print and forget it.
        """
        self._visit(cursor, self._callback, None)
        if self._raised:
            raise self._raised.pop()


def visit(cursor: Cursor, visitor: Visitor) -> None:
    """Walk once; see `Walk`."""
    Walk(visitor)(cursor)


class _Children(threading.local):
    """A walk that keeps the direct children, one in each thread."""

    def __init__(self) -> None:
        self.found: list[Cursor] = []
        self.walk = Walk(self._keep)

    def _keep(self, child: Cursor, _: Cursor) -> int:
        # The argument is a copy that ctypes made for this call.
        self.found.append(child)
        return CONTINUE


_CHILDREN = _Children()


def children(cursor: Cursor) -> list[Cursor]:
    """Return the direct children."""
    found: list[Cursor] = []
    _CHILDREN.found = found
    _CHILDREN.walk(cursor)
    return found


def text(value: Text) -> str:
    """Return a CXString's text and free it."""
    handle = library()
    raw = handle.clang_getCString(value)
    result = raw.decode("utf-8", "replace") if raw else ""
    handle.clang_disposeString(value)
    return result


class Position(tuple[int, int, int]):
    """A place in a file: (CXFile pointer or 0, line from 1, byte offset)."""

    __slots__ = ()

    @property
    def file(self) -> int:
        """Return the CXFile pointer, the file's identity within one unit; 0 for no file."""
        return self[0]

    @property
    def line(self) -> int:
        """Return the line, from 1."""
        return self[1]

    @property
    def offset(self) -> int:
        """Return the byte offset."""
        return self[2]


def position(location: Location) -> Position:
    """Return where a location stands in the file that the user edits; what a macro made stands at the macro's use."""
    file, line, column, offset = c_void_p(), c_uint(), c_uint(), c_uint()
    library().clang_getFileLocation(location, byref(file), byref(line), byref(column), byref(offset))
    return Position((file.value or 0, line.value, offset.value))


def pointers(*cells: ctypes._SimpleCData[Any]) -> tuple[Any, ...]:
    """Return what a C function takes to write into the cells; made once, they are filled again and again."""
    return tuple(byref(cell) for cell in cells)


def included_files(unit: cindex.TranslationUnit) -> list[str]:
    """Return the names of the files that the preprocessor opened, as it found them, the main file first.

    What a precompiled header brought is not among them.
    """
    handle = library()
    found: list[str] = []
    callback = _INCLUSION(lambda file, *_: found.append(text(handle.clang_getFileName(file))))
    handle.clang_getInclusions(unit.obj, callback, None)
    return found


def evaluate(cursor: Cursor) -> int | None:
    """Return the integer an expression folds to, or None."""
    handle = library()
    result = handle.clang_Cursor_Evaluate(cursor)
    if not result:
        return None
    try:
        if handle.clang_EvalResult_getKind(result) != 1:  # CXEval_Int
            return None
        if handle.clang_EvalResult_isUnsignedInt(result):
            return int(handle.clang_EvalResult_getAsUnsigned(result))
        return int(handle.clang_EvalResult_getAsLongLong(result))
    finally:
        handle.clang_EvalResult_dispose(result)
