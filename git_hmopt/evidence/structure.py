# SPDX-License-Identifier: Apache-2.0
"""What evidence needs to know about source: where a symbol is defined, and the functions of a translation unit.

The protocols are the part of `psg.unit` that evidence reads; packs can be built without loading libclang.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Location:
    """Where a symbol is defined; `resolved_by` is psg, dwarf or nm."""

    file: str
    line: int | None
    resolved_by: str


class CallSite(Protocol):
    """A call as `psg` extracts it; the callee of an indirect one is the pointer's name, or empty."""

    @property
    def callee(self) -> str: ...
    @property
    def line(self) -> int: ...
    @property
    def indirect(self) -> bool: ...


class ReferenceSite(Protocol):
    """A use of a global, a struct, a macro, ...; file and line are where that is declared."""

    @property
    def name(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def file(self) -> str | None: ...
    @property
    def line(self) -> int | None: ...


class FunctionNode(Protocol):
    """A function definition; lines count from 1, `start` and `end` are byte offsets in `file`."""

    @property
    def symbol(self) -> str: ...
    @property
    def file(self) -> str: ...
    @property
    def first_line(self) -> int: ...
    @property
    def last_line(self) -> int: ...
    @property
    def start(self) -> int: ...
    @property
    def end(self) -> int: ...
    @property
    def calls(self) -> Sequence[CallSite]: ...
    @property
    def references(self) -> Sequence[ReferenceSite]: ...


class UnitNode(Protocol):
    """A translation unit."""

    @property
    def functions(self) -> Iterable[FunctionNode]: ...
    @property
    def sources(self) -> Mapping[str, bytes]:
        """The bytes that were parsed, by path: extents are true for these alone."""
        ...


# gcc names the copies it makes of a function after it; the source knows only the original.
_CLONE = re.compile(r"\.(?:constprop|isra|part|cold|lto_priv|llvm)\b.*$|\.\d+$")


def source_name(symbol: str) -> str:
    """Return the name a function has in the source, without the suffixes of compiler-made copies."""
    return _CLONE.sub("", symbol) or symbol


def function_of(unit: UnitNode | None, symbol: str, path: str, line: int | None) -> FunctionNode | None:
    """Return the definition of `symbol` in `path`, the one around `line` when there are several; None when absent."""
    if unit is None:
        return None
    name = source_name(symbol)
    found = [function for function in unit.functions if function.symbol == name and function.file == path]
    around = [function for function in found if line and function.first_line <= line <= function.last_line]
    ordered = sorted(around or found, key=lambda function: function.start)
    return ordered[0] if ordered else None
