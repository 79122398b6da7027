# SPDX-License-Identifier: Apache-2.0
"""Who a declaration is: its name, its place, and the identity that other units give the same thing.

Asked once for each declaration of a unit, by the pointer that libclang's cursor carries: a kernel unit names the same
few hundred things ten thousand times.
"""

from __future__ import annotations

import re
from ctypes import c_uint, c_void_p
from typing import NamedTuple

from git_hmopt.psg import bindings
from git_hmopt.psg.bindings import CONTINUE, Cursor
from git_hmopt.psg.compile_database import CompileCommand, below

# CXCursorKind (clang-c/Index.h).
STRUCT, UNION, ENUM, FIELD, ENUMERATOR, FUNCTION, VARIABLE, PARAMETER, TYPEDEF = 2, 3, 5, 6, 7, 8, 9, 10, 20
RECORDS = frozenset((STRUCT, UNION))
_TAG_WORDS = {STRUCT: "struct", UNION: "union", ENUM: "enum"}
_LINKAGES = {2: "static", 4: "external"}  # CXLinkageKind
_LINKED = frozenset((FUNCTION, VARIABLE))
_POINTER = 101  # CXTypeKind
_COUNTED = re.compile(r"(__UNIQUE_ID_\w*?|__compiletime_assert_|__bpf_trace_\w+?_|__warned_|__key_)\d+$")
# include/linux/init.h, __initcall_id: counter and line stand in the middle.
_INITCALL = re.compile(r"(__initcall__kmod_\w+?__)\d+_\d+_")
_AT_PLACE = re.compile(r"\((?:unnamed|anonymous)[^()]* at [^()]*\)")
_UNNAMED = re.compile(r"\((?:unnamed|anonymous)\b")


class Declared(NamedTuple):
    """A declaration."""

    kind: int
    """CXCursorKind; 0 for none."""
    name: str
    """As it is spelled, without a macro's counter; libclang's own words for what has no name. Empty for what lives
    inside a function: most of what a body names, and nobody asks."""
    key: str
    """Its identity in the graph; empty for what lives inside a function."""
    linkage: str
    """`static`, `external`, or empty."""


NOTHING = Declared(0, "", "", "")


def spelled(text: str) -> str:
    """Return a type's spelling without the path and line of what has no name."""
    return _AT_PLACE.sub("(unnamed)", text)


def normalised(name: str) -> str:
    """Return a name without the counter that a macro gave it, or it would change with every edit above it."""
    if not name.startswith("__"):
        return name
    if name.startswith("__initcall__"):
        return _INITCALL.sub(r"\1N_N_", name)
    return _COUNTED.sub(r"\1N", name) if name[-1].isdigit() else name


class Declarations:
    """The declarations of one unit."""

    def __init__(self, command: CompileCommand) -> None:
        self._clang = bindings.library()
        self._command = command
        self._known: dict[int, Declared] = {}
        self._files: dict[int, str | None] = {}
        self._fields: dict[int, tuple[Cursor, ...]] = {}
        self._file, self._line, self._offset = c_void_p(), c_uint(), c_uint()
        self._to_file, self._to_line, self._to_offset = bindings.pointers(self._file, self._line, self._offset)

    # Where a cursor stands; what a macro made stands at the macro's use. Each asks for no more than it returns:
    # libclang looks for a line in its table of the file, and for a column in the text.

    def file_at(self, cursor: Cursor) -> int:
        """Return the CXFile pointer of a cursor's place, or 0."""
        clang = self._clang
        clang.clang_getFileLocation(clang.clang_getCursorLocation(cursor), self._to_file, None, None, None)
        return self._file.value or 0

    def line_at(self, cursor: Cursor) -> int:
        """Return the line of a cursor's place."""
        clang = self._clang
        clang.clang_getFileLocation(clang.clang_getCursorLocation(cursor), None, self._to_line, None, None)
        return self._line.value

    def offset_at(self, cursor: Cursor) -> int:
        """Return the offset of a cursor's place."""
        clang = self._clang
        clang.clang_getFileLocation(clang.clang_getCursorLocation(cursor), None, None, None, self._to_offset)
        return self._offset.value

    def extent(self, cursor: Cursor) -> tuple[int, int, int, int]:
        """Return (line, offset) of a cursor's first byte, and of what stands right after it."""
        clang = self._clang
        extent = clang.clang_getCursorExtent(cursor)
        start, end = clang.clang_getRangeStart(extent), clang.clang_getRangeEnd(extent)
        clang.clang_getFileLocation(start, None, self._to_line, None, self._to_offset)
        line, offset = self._line.value, self._offset.value
        clang.clang_getFileLocation(end, None, self._to_line, None, self._to_offset)
        return line, offset, self._line.value, self._offset.value

    def start(self, cursor: Cursor) -> int:
        """Return the offset of a cursor's first byte."""
        clang = self._clang
        start = clang.clang_getRangeStart(clang.clang_getCursorExtent(cursor))
        clang.clang_getFileLocation(start, None, None, None, self._to_offset)
        return self._offset.value

    def end(self, cursor: Cursor) -> int:
        """Return the offset right after a cursor."""
        clang = self._clang
        end = clang.clang_getRangeEnd(clang.clang_getCursorExtent(cursor))
        clang.clang_getFileLocation(end, None, None, None, self._to_offset)
        return self._offset.value

    def file(self, file: int) -> str | None:
        """Return a CXFile's path below the root; None for none, or for one outside."""
        if file not in self._files:
            name = bindings.text(self._clang.clang_getFileName(file)) if file else ""
            self._files[file] = below(self._command.root, self._command.directory, name) if name else None
        return self._files[file]

    def of(self, cursor: Cursor) -> Declared:
        """Return who a declaration's cursor is."""
        pointer = cursor.data[0]
        if not pointer:
            return NOTHING
        known = self._known.get(pointer)
        if known is None:
            self._known[pointer] = known = self._ask(cursor)
        return known

    def is_pointer(self, cursor: Cursor) -> bool:
        """Say whether a declaration's type is a pointer."""
        clang = self._clang
        return bool(clang.clang_getCanonicalType(clang.clang_getCursorType(cursor)).kind == _POINTER)

    def fields(self, written: bindings.Type) -> tuple[Cursor, ...]:
        """Return the fields of a record type in order, up to its first unnamed member; none for other types.

        Behind that one, an initialiser's place does not tell the field.
        """
        record = self._clang.clang_getTypeDeclaration(written)
        pointer = record.data[0]
        if not pointer or record.kind not in RECORDS:
            return ()
        if pointer not in self._fields:
            named: list[Cursor] = []
            for child in bindings.children(record):
                if child.kind in RECORDS and self.of(child).key == self.of(record).key:
                    break
                if child.kind == FIELD and self.of(child).name:
                    named.append(child)
            self._fields[pointer] = tuple(named)
        return self._fields[pointer]

    def _ask(self, cursor: Cursor) -> Declared:
        clang, kind = self._clang, cursor.kind
        linkage = _LINKAGES.get(clang.clang_getCursorLinkage(cursor), "") if kind in _LINKED else ""
        if kind == PARAMETER or (kind == VARIABLE and not linkage):
            return Declared(kind, "", "", "")
        name = normalised(bindings.text(clang.clang_getCursorSpelling(cursor)))
        return Declared(kind, name, self._key(cursor, name, linkage), linkage)

    def _key(self, cursor: Cursor, name: str, linkage: str) -> str:
        kind = cursor.kind
        if kind in (FUNCTION, VARIABLE):
            return "" if not linkage else name if linkage == "external" else f"{self._home(cursor)}:{name}"
        if kind in (FIELD, ENUMERATOR):
            owner = self.of(self._clang.clang_getCursorSemanticParent(cursor)).key
            # libclang gives a member without a name one of its own, with path and line; its fields are the record's.
            named = bool(owner and name and "(" not in name)
            return owner if kind == ENUMERATOR else f"{owner}.{name}" if named else ""
        if kind == TYPEDEF:
            home = self._home(cursor)
            return f"{home}:typedef {name}" if home.endswith(".c") else f"typedef {name}"
        return self._tag(cursor, name) if kind in _TAG_WORDS else ""

    def _home(self, cursor: Cursor) -> str:
        """Return the file that defines it, or declares it where the unit has no more."""
        defined = self._clang.clang_getCursorDefinition(cursor)
        at = cursor if self._clang.clang_Cursor_isNull(defined) else defined
        return self.file(self.file_at(at)) or ""

    def _tag(self, cursor: Cursor, name: str) -> str:
        word = _TAG_WORDS[cursor.kind]
        if self._clang.clang_getCursorSemanticParent(cursor).kind == FUNCTION:
            return ""
        if not name or ("(" in name and _UNNAMED.search(name)):
            return self._unnamed(cursor, word)
        defined = self._clang.clang_getCursorDefinition(cursor)
        if self._clang.clang_Cursor_isNull(defined):
            return f"{word} {name}"
        home = self.file(self.file_at(defined)) or ""
        return f"{home}:{word} {name}" if home.endswith(".c") else f"{word} {name}"

    def _unnamed(self, cursor: Cursor, word: str) -> str:
        """Return an unnamed record's identity: by what holds it, since its line moves with every edit above it."""
        clang = self._clang
        parent = clang.clang_getCursorSemanticParent(cursor)
        if parent.kind in RECORDS:
            holder = self.of(parent).key
            # A member without a name gives its fields to the record around it (C11 6.7.2.1, 13).
            field = self._field_of(parent, cursor)
            return f"{holder}.{field}" if field else holder
        named = bindings.text(clang.clang_getTypeSpelling(clang.clang_getCursorType(cursor)))
        home = self.file(self.file_at(cursor)) or ""
        if named and not _UNNAMED.search(named):  # typedef struct { ... } named;
            tag = named.removeprefix(f"{word} ")
            return f"{home}:{word} {tag}" if home.endswith(".c") else f"{word} {tag}"
        first = bindings.children(cursor)
        inner = bindings.text(clang.clang_getCursorSpelling(first[0])) if first else ""
        return f"{home}:{word} #{inner}"

    def _field_of(self, record: Cursor, inner: Cursor) -> str:
        """Return the name of the field whose type is the unnamed record `inner`."""
        clang, found = self._clang, ""

        def look(child: Cursor, _: Cursor) -> int:
            nonlocal found
            if child.kind == FIELD:
                declared = clang.clang_getTypeDeclaration(_element(clang.clang_getCursorType(child)))
                if declared.data[0] == inner.data[0]:
                    found = bindings.text(clang.clang_getCursorSpelling(child))
                    return bindings.BREAK
            return CONTINUE

        bindings.visit(record, look)
        return found


def _element(written: bindings.Type) -> bindings.Type:
    """Return the type of the innermost element of an array, or the type itself."""
    clang = bindings.library()
    while True:
        inner = clang.clang_getArrayElementType(written)
        if inner.kind == 0:  # CXType_Invalid: no array
            return written
        written = inner
