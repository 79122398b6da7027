# SPDX-License-Identifier: Apache-2.0
"""What one parse found, without libclang's own view of it: it goes from process to process.

Text that nobody looked over, a model's for one, is parsed in a process of its own: a few thousand nested operators end
the process that parses them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from git_hmopt.errors import ConfigError, ProgramError
from git_hmopt.psg.compile_database import CompileCommand
from git_hmopt.psg.unit import Diagnostic, Function, Unit, parse_unit


@dataclass(frozen=True)
class Outline:
    """A unit's functions and errors; `sources` are the bytes of the files that its functions stand in."""

    functions: tuple[Function, ...]
    diagnostics: tuple[Diagnostic, ...]
    sources: Mapping[str, bytes]

    def text(self, function: Function) -> bytes:
        """Return the source text of a function, from its declaration to its closing brace."""
        return self.sources[function.file][function.start : function.end]


def outline_of(unit: Unit) -> Outline:
    """Return what of a unit can leave its process."""
    return Outline(unit.functions, unit.diagnostics, dict(unit.sources))


def outline(command: CompileCommand, unsaved: Mapping[str, bytes]) -> Outline | str:
    """Parse one file with some contents replaced; or return why it gives nothing."""
    try:
        return outline_of(parse_unit(command, unsaved=unsaved))
    except (ConfigError, ProgramError) as error:
        return error.what
