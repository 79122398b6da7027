# SPDX-License-Identifier: Apache-2.0
"""Which parser reads which kind of capture; other packages add kinds by the entry point group `git_hmopt.traces`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO

from git_hmopt.errors import AdapterError, MeasurementError
from git_hmopt.traces import callgrind, folded, perf_script, self_counts, symbols
from git_hmopt.traces.tables import Table, TraceFormatError

GROUP = "git_hmopt.traces"
Parser = Callable[[BinaryIO], Table]
"""Reads a capture's bytes (iterating gives lines) into one of our tables; raises TraceFormatError."""

BUNDLED: Mapping[str, Parser] = MappingProxyType(
    {
        "callgrind": callgrind.parse_stacks,
        "callgrind-lines": callgrind.parse_lines,
        "folded": folded.parse,
        "perf-script": perf_script.parse,
        "self-counts": self_counts.parse,
        "symbols": symbols.parse,
    }
)


def kinds() -> list[str]:
    """Return every kind of capture that can be parsed here."""
    return sorted({*BUNDLED, *(entry.name for entry in entry_points(group=GROUP))})


def parser_of(kind: str) -> Parser:
    """Return the parser of `kind`; a bundled kind cannot be replaced from outside.

    Raises AdapterError, naming the known kinds, when there is none.
    """
    if kind in BUNDLED:
        return BUNDLED[kind]
    found: list[EntryPoint] = [entry for entry in entry_points(group=GROUP) if entry.name == kind]
    if not found:
        raise AdapterError(f"no parser reads captures of kind '{kind}'", next_step=f"known are: {', '.join(kinds())}")
    loaded: Parser = found[0].load()
    return loaded


def parse(kind: str, path: Path) -> Table:
    """Parse one capture file; errors name the file."""
    parser = parser_of(kind)
    try:
        with path.open("rb") as stream:
            return parser(stream)
    except TraceFormatError as error:
        raise TraceFormatError(f"{path}: {error.what}", next_step=error.next_step) from error
    except OSError as error:
        raise MeasurementError(f"cannot read the capture {path}: {error.strerror}") from error
