# SPDX-License-Identifier: Apache-2.0
"""One translation unit: its functions with their extents, calls and references.

Kept are functions whose *file* is the unit's own, or a `.c` file it includes; the file is compared by libclang's file
pointer, since a name that comes from a macro (SYSCALL_DEFINE) does not count as "in the main file" (reference PSG).
"""

from __future__ import annotations

import bisect
import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from clang import cindex

from git_hmopt.errors import ConfigError, ProgramError
from git_hmopt.psg import bindings
from git_hmopt.psg.arguments import parser_arguments
from git_hmopt.psg.bindings import CONTINUE, RECURSE, Cursor, Position, position
from git_hmopt.psg.compile_database import CompileCommand, below

ReferenceKind = Literal["global", "struct", "typedef", "macro", "enum", "function"]

# CXCursorKind (clang-c/Index.h).
_STRUCT, _UNION, _ENUM, _ENUMERATOR, _FUNCTION, _VARIABLE, _TYPEDEF = 2, 3, 5, 7, 8, 9, 20
_TYPE_REF, _DECL_REF, _MEMBER_REF, _CALL, _COMPOUND, _MACRO_USE = 43, 101, 102, 103, 202, 502
_INTERNAL, _EXTERNAL = 2, 4  # CXLinkageKind


@dataclass(frozen=True)
class Call:
    """A call; `callee` of an indirect one is the pointer's name, or empty."""

    callee: str
    line: int
    offset: int
    indirect: bool
    file: str | None
    """Where the callee is declared, below the source root; None outside it."""


@dataclass(frozen=True)
class Reference:
    """Something a function uses; `file` and `line` are where it is declared."""

    name: str
    kind: ReferenceKind
    file: str | None
    line: int | None


@dataclass(frozen=True)
class Parameter:
    """A parameter, its type as written and with typedefs resolved."""

    name: str
    type: str
    canonical: str


@dataclass(frozen=True)
class Function:
    """A function definition; lines count from 1, offsets are bytes of `file`, ends are exclusive."""

    symbol: str
    file: str
    first_line: int
    last_line: int
    start: int
    end: int
    body_start: int
    body_end: int
    name_offset: int
    linkage: Literal["static", "external"]
    is_inline: bool
    from_macro: bool
    """Whether the body itself is written in a macro: then there is nothing here to edit."""
    result_type: str
    parameters: tuple[Parameter, ...]
    attributes: tuple[str, ...]
    """The macros of its head in order: `__init`, `noinline`, `__always_inline`, ..."""
    calls: tuple[Call, ...]
    references: tuple[Reference, ...]


@dataclass(frozen=True)
class Diagnostic:
    """Something the parser could not compile."""

    file: str
    line: int
    text: str


class Parsed:
    """libclang's own view of a unit, for `syntax`; its cursors are good as long as this object lives."""

    def __init__(self, unit: cindex.TranslationUnit, own: Mapping[tuple[str, int, str], Cursor]) -> None:
        self._unit = unit
        self._own = dict(own)

    def own(self, file: str, name_offset: int, symbol: str) -> Cursor | None:
        """Return the cursor of one of the unit's functions."""
        return self._own.get((file, name_offset, symbol))

    @functools.cached_property
    def definitions(self) -> Mapping[str, Cursor]:
        """Return the cursors of all functions defined in the unit, headers included; the first of each name."""
        clang = bindings.library()
        found: dict[str, Cursor] = {}

        def look(cursor: Cursor, _: Cursor) -> int:
            if cursor.kind == _FUNCTION and clang.clang_isCursorDefinition(cursor):
                name = bindings.text(clang.clang_getCursorSpelling(cursor))
                found.setdefault(name, Cursor.from_buffer_copy(cursor))
            return CONTINUE

        bindings.visit(bindings.unit_cursor(self._unit), look)
        return found


@dataclass(frozen=True)
class Unit:
    """What one compile command's parse found."""

    file: str
    command: CompileCommand
    functions: tuple[Function, ...]
    diagnostics: tuple[Diagnostic, ...]
    """Errors; where there are some, functions may be missing and bodies incomplete."""
    refused: tuple[str, ...]
    """The build's compiler options that the parser does not know."""
    sources: Mapping[str, bytes] = field(repr=False)
    """The bytes that were parsed, of the file and of the `.c` files it includes."""
    macro_uses: Mapping[str, frozenset[int]] = field(repr=False)
    """The offsets at which a macro is used, by file."""
    parsed: Parsed = field(repr=False, compare=False)

    @property
    def errors(self) -> int:
        """Return the number of errors."""
        return len(self.diagnostics)

    @property
    def source(self) -> bytes:
        """Return the unit's own file as it was parsed."""
        return self.sources[self.file]

    def function(self, symbol: str) -> Function | None:
        """Return the definition of `symbol`, the first when several share the name, or None."""
        return next((function for function in self.functions if function.symbol == symbol), None)

    def text(self, function: Function) -> bytes:
        """Return the source text of a function, from its declaration to its closing brace."""
        return self.sources[function.file][function.start : function.end]


def parse_unit(command: CompileCommand, *, unsaved: Mapping[str, bytes] | None = None) -> Unit:
    """Parse one file as the build compiles it.

    `unsaved` replaces the contents of files below the command's root. A file that does not compile gives what was
    found, with its errors in `diagnostics`. Raises ConfigError when the file is not there, ProgramError when libclang
    gives nothing at all.
    """
    contents = dict(unsaved or {})
    if command.file not in contents:
        contents[command.file] = _read(command)
    arguments = parser_arguments(command)
    try:
        parsed = cindex.TranslationUnit.from_source(
            str(command.path),
            list(arguments.accepted),
            [(str(command.root / name), data) for name, data in sorted(contents.items())],
            cindex.TranslationUnit.PARSE_DETAILED_PROCESSING_RECORD,
        )
    except cindex.TranslationUnitLoadError as error:
        raise ProgramError(
            f"libclang could not parse {command.file}", next_step=f"try: clang -fsyntax-only on {command.path}"
        ) from error
    scan = _Scan(command, parsed, contents)
    functions = scan.functions()
    return Unit(
        file=command.file,
        command=command,
        functions=functions,
        diagnostics=_diagnostics(command, parsed),
        refused=arguments.refused,
        sources=scan.sources,
        macro_uses=scan.macro_uses(),
        parsed=Parsed(parsed, scan.own),
    )


def _read(command: CompileCommand) -> bytes:
    try:
        return command.path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"cannot read {command.path}: {error.strerror}", next_step="is the compile database of another tree?"
        ) from error


def _diagnostics(command: CompileCommand, parsed: cindex.TranslationUnit) -> tuple[Diagnostic, ...]:
    found = []
    for diagnostic in parsed.diagnostics:
        if diagnostic.severity >= cindex.Diagnostic.Error:
            name = diagnostic.location.file.name if diagnostic.location.file else command.file
            file = below(command.root, command.directory, name) or name
            found.append(Diagnostic(file, diagnostic.location.line, diagnostic.spelling))
    return tuple(found)


class _Scan:
    """One walk over a unit's top level, then over the bodies that are ours."""

    def __init__(self, command: CompileCommand, parsed: cindex.TranslationUnit, contents: Mapping[str, bytes]) -> None:
        self._clang = bindings.library()
        self._command = command
        self._contents = contents
        self._names: dict[int, str | None] = {}
        self._declared: dict[tuple[int, int], tuple[str, str | None, int]] = {}
        self._macros: dict[int, list[tuple[int, Reference]]] = {}
        self._found: list[Cursor] = []
        self.own: dict[tuple[str, int, str], Cursor] = {}
        self._top = bindings.unit_cursor(parsed)
        self.sources: dict[str, bytes] = {command.file: contents[command.file]}

    def functions(self) -> tuple[Function, ...]:
        """Return the unit's function definitions, in order of file and place."""
        bindings.visit(self._top, self._keep)
        functions = [function for cursor in self._found if (function := self._function(cursor)) is not None]
        return tuple(sorted(functions, key=lambda function: (function.file, function.start, function.symbol)))

    def macro_uses(self) -> dict[str, frozenset[int]]:
        """Return the offsets of all macro uses, by file, once `functions` has walked."""
        return {self._file(file) or "": frozenset(offset for offset, _ in uses) for file, uses in self._macros.items()}

    def _keep(self, cursor: Cursor, _: Cursor) -> int:
        if cursor.kind not in (_FUNCTION, _MACRO_USE):
            return CONTINUE
        where = position(self._clang.clang_getCursorLocation(cursor))
        if not self._ours(where.file):
            return CONTINUE
        if cursor.kind == _MACRO_USE:
            self._macros.setdefault(where.file, []).append((where.offset, self._macro(cursor)))
        elif self._clang.clang_isCursorDefinition(cursor):
            self._found.append(Cursor.from_buffer_copy(cursor))
        return CONTINUE

    def _ours(self, file: int) -> bool:
        name = self._file(file)
        if name is None or (name != self._command.file and not name.endswith(".c")):
            return False
        if name not in self.sources:
            data = self._contents.get(name)
            self.sources[name] = data if data is not None else (self._command.root / name).read_bytes()
        return True

    def _file(self, file: int) -> str | None:
        """Return a CXFile's path below the root; None for none, or for one outside."""
        if file not in self._names:
            name = bindings.text(self._clang.clang_getFileName(file)) if file else ""
            self._names[file] = below(self._command.root, self._command.directory, name) if name else None
        return self._names[file]

    def _macro(self, cursor: Cursor) -> Reference:
        name, file, line = self._declaration(self._clang.clang_getCursorReferenced(cursor))
        return Reference(
            name or bindings.text(self._clang.clang_getCursorSpelling(cursor)), "macro", file, line or None
        )

    def _declaration(self, cursor: Cursor) -> tuple[str, str | None, int]:
        """Return a declaration's name, file and line; asked once for each, by the pointer that identifies it."""
        if self._clang.clang_Cursor_isNull(cursor):
            return ("", None, 0)
        key = (cursor.kind, cursor.data[0] or 0)
        if key not in self._declared:
            where = position(self._clang.clang_getCursorLocation(cursor))
            name = bindings.text(self._clang.clang_getCursorSpelling(cursor))
            self._declared[key] = (name, self._file(where.file), where.line)
        return self._declared[key]

    def _function(self, cursor: Cursor) -> Function | None:
        body = next((child for child in bindings.children(cursor) if child.kind == _COMPOUND), None)
        if body is None:
            return None
        start, end = _extent(self._clang.clang_getCursorExtent(cursor))
        body_start, body_end = _extent(self._clang.clang_getCursorExtent(body))
        name = position(self._clang.clang_getCursorLocation(cursor))
        calls, references = self._uses(body)
        file = self._file(name.file)
        assert file is not None  # _keep asked
        symbol = bindings.text(self._clang.clang_getCursorSpelling(cursor))
        self.own[file, name.offset, symbol] = cursor
        # A function that a macro makes whole may begin with one of the macro's arguments; the use comes before it.
        start = min(start, body_start)
        macros = self._macros_between(name.file, start.offset, body_end.offset)
        parameters, head = self._parameters(cursor), self._head_end(cursor, name)
        return Function(
            symbol=symbol,
            file=file,
            first_line=start.line,
            last_line=end.line,
            start=start.offset,
            end=end.offset,
            body_start=body_start.offset,
            body_end=body_end.offset,
            name_offset=name.offset,
            linkage="static" if self._clang.clang_getCursorLinkage(cursor) == _INTERNAL else "external",
            is_inline=bool(self._clang.clang_Cursor_isFunctionInlined(cursor)),
            # clang_getSpellingLocation of libclang 18 answers with the use as well, so the list of uses is asked.
            from_macro=any(offset == body_start.offset for offset, _ in macros),
            result_type=_type(self._clang.clang_getCursorResultType(cursor)),
            parameters=parameters,
            attributes=tuple(
                macro.name for offset, macro in macros if offset < name.offset or head <= offset < body_start.offset
            ),
            calls=calls,
            references=_distinct((*references, *(macro for offset, macro in macros if offset >= body_start.offset))),
        )

    def _parameters(self, cursor: Cursor) -> tuple[Parameter, ...]:
        found = []
        for number in range(self._clang.clang_Cursor_getNumArguments(cursor)):
            argument = self._clang.clang_Cursor_getArgument(cursor, number)
            written = self._clang.clang_getCursorType(argument)
            name = bindings.text(self._clang.clang_getCursorSpelling(argument))
            found.append(Parameter(name, _type(written), _type(self._clang.clang_getCanonicalType(written))))
        return tuple(found)

    def _head_end(self, cursor: Cursor, name: Position) -> int:
        """Return where the parameters end: macros between here and the body are attributes, not types."""
        count = self._clang.clang_Cursor_getNumArguments(cursor)
        if count <= 0:
            return name.offset + 1
        last = self._clang.clang_Cursor_getArgument(cursor, count - 1)
        return _extent(self._clang.clang_getCursorExtent(last))[1].offset

    def _macros_between(self, file: int, start: int, end: int) -> list[tuple[int, Reference]]:
        uses = self._macros.get(file, [])
        first = bisect.bisect_left(uses, start, key=lambda use: use[0])
        return uses[first : bisect.bisect_left(uses, end, key=lambda use: use[0])]

    def _uses(self, body: Cursor) -> tuple[tuple[Call, ...], tuple[Reference, ...]]:
        calls: list[Call] = []
        references: list[Reference] = []
        called: set[tuple[str, int]] = set()

        def look(cursor: Cursor, _: Cursor) -> int:
            if cursor.kind == _CALL:
                call = self._call(cursor)
                calls.append(call)
                if not call.indirect:
                    called.add((call.callee, call.offset))
            elif cursor.kind in (_DECL_REF, _MEMBER_REF, _TYPE_REF):
                reference = self._reference(cursor, called)
                if reference:
                    references.append(reference)
            return RECURSE

        bindings.visit(body, look)
        return tuple(calls), tuple(references)

    def _call(self, cursor: Cursor) -> Call:
        where = position(self._clang.clang_getCursorLocation(cursor))
        target = self._clang.clang_getCursorReferenced(cursor)
        name, file, _ = self._declaration(target)
        return Call(name, where.line, where.offset, target.kind != _FUNCTION, file)

    def _reference(self, cursor: Cursor, called: set[tuple[str, int]]) -> Reference | None:
        target = self._clang.clang_getCursorReferenced(cursor)
        kind = self._kind(cursor, target)
        if kind is None:
            return None
        if cursor.kind == _MEMBER_REF:
            target = self._clang.clang_getCursorSemanticParent(target)
        name, file, line = self._declaration(target)
        if kind == "function" and (name, position(self._clang.clang_getCursorLocation(cursor)).offset) in called:
            return None
        return Reference(name, kind, file, line or None) if name else None

    def _kind(self, cursor: Cursor, target: Cursor) -> ReferenceKind | None:
        if cursor.kind == _MEMBER_REF:
            return "struct"
        if target.kind == _VARIABLE and self._clang.clang_getCursorLinkage(target) in (_INTERNAL, _EXTERNAL):
            return "global"
        kinds: dict[int, ReferenceKind] = {
            _STRUCT: "struct", _UNION: "struct", _ENUM: "enum", _ENUMERATOR: "enum", _TYPEDEF: "typedef",
            _FUNCTION: "function",
        }  # fmt: skip
        return kinds.get(target.kind)


def _extent(extent: bindings.Range) -> tuple[Position, Position]:
    clang = bindings.library()
    return position(clang.clang_getRangeStart(extent)), position(clang.clang_getRangeEnd(extent))


def _type(kind: bindings.Type) -> str:
    return bindings.text(bindings.library().clang_getTypeSpelling(kind))


def _distinct(references: tuple[Reference, ...]) -> tuple[Reference, ...]:
    return tuple(dict.fromkeys(references))


@functools.lru_cache(maxsize=16)
def _line_starts(source: bytes) -> tuple[int, ...]:
    return (0, *(offset + 1 for offset, byte in enumerate(source) if byte == 0x0A))


def line_of(source: bytes, offset: int) -> int:
    """Return the line, from 1, that a byte offset stands on."""
    return bisect.bisect_right(_line_starts(source), offset)
