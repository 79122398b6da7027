# SPDX-License-Identifier: Apache-2.0
"""What a worker process does: parse one unit, or make one precompiled header, and give the facts back as bytes.

A process of its own, since libclang takes its process along when it crashes; `build` sees to the rest going on.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from clang import cindex

from git_hmopt.errors import ProgramError
from git_hmopt.psg import bindings
from git_hmopt.psg.compile_database import CompileCommand, below
from git_hmopt.psg.extract import Extraction
from git_hmopt.psg.facts import FileFacts, packed
from git_hmopt.psg.precompiled import (
    Arguments,
    Wrong,
    errors_of,
    keep_their_meaning,
    make_precompiled,
    serves,
    with_precompiled,
    without_aliases,
)

_MOST_PROBLEMS = 20

Known = Mapping[str, str]
"""The headers of which it is known already which unit comes first among those that open it, with that unit."""


@dataclass(frozen=True)
class Task:
    """A unit to parse, or a precompiled header to make of `headers`."""

    command: CompileCommand
    """Of a precompiled header: its name as a unit, and where its group's units are compiled."""
    arguments: Arguments
    precompiled: Path | None = None
    """What to parse the unit with, or where to write the header."""
    headers: tuple[str, ...] = ()
    wanted: frozenset[str] | None = None
    """The headers to speak for; None: those that no unit before this one spoke for."""


@dataclass(frozen=True)
class Parsed:
    """What a task gave."""

    file: str
    included: tuple[str, ...]
    """The files the preprocessor opened, below the root, or absolute where they lie outside."""
    own: Mapping[str, bytes]
    """Packed facts of the unit's own files."""
    headers: Mapping[str, bytes]
    """Packed facts of the headers it spoke for."""
    problems: tuple[tuple[str, int, str], ...]
    """The first errors as (file, line, text)."""
    with_precompiled: bool
    cpu_s: float
    left_out: tuple[Wrong, ...] = ()
    """Of a precompiled header: an error for each of its headers that do not compile with the others."""
    tried: tuple[str, ...] = ()
    """The files that were opened for those: what they say decided what is in the header."""


class _Spoken:
    """The headers that units before this one spoke for, in this process or another, and those known when it began.

    The processes tell each other in a file, or each would walk the same thousand headers. What another one has not told
    yet is spoken for twice, which `build` sees to.
    """

    def __init__(self) -> None:
        self.first: dict[str, str] = {}
        """The least unit that spoke for each header."""
        self._told = -1
        self._rest = b""

    def begin(self, known: Known, told: Path | None) -> None:
        """Start with what is known, and with the file that all processes write to."""
        self.first = dict(known)
        self._told = -1 if told is None else os.open(told, os.O_RDWR | os.O_APPEND)
        self._rest = b""

    def wants(self, unit: str) -> Callable[[str], bool]:
        """Return whether a unit is to speak for a header: no lesser one does."""
        self._listen()
        first = self.first

        def wanted(header: str) -> bool:
            return unit <= first.get(header, unit)

        return wanted

    def spoke(self, unit: str, headers: Iterable[str]) -> None:
        """Take in that a unit spoke for headers, and tell the other processes."""
        spoken = list(headers)
        self.first.update(dict.fromkeys(spoken, unit))
        if self._told >= 0 and spoken:
            os.write(self._told, json.dumps([unit, spoken]).encode() + b"\n")

    def _listen(self) -> None:
        if self._told < 0:
            return
        *lines, self._rest = (self._rest + b"".join(iter(lambda: os.read(self._told, 1 << 16), b""))).split(b"\n")
        for line in lines:
            unit, headers = json.loads(line)
            for header in headers:
                self.first[header] = min(unit, self.first.get(header, unit))


_SPOKEN = _Spoken()


def begin(known: Known, told: Path | None = None) -> None:
    """Start a worker: `known` are the headers whose least unit is known, `told` is where the workers add to that."""
    # What is made here dies by its count of references, but for a few rings a unit: looking for those at every seven
    # hundred objects costs a fourteenth of the extraction.
    gc.set_threshold(200_000)
    _keep_memory()
    _SPOKEN.begin(known, told)


def _keep_memory() -> None:
    """Have the C library keep what a unit gave back for the next one, which takes as much: getting it anew is a page
    fault for every 4 KiB.

    mallopt(3): -1 is M_TRIM_THRESHOLD, -3 M_MMAP_THRESHOLD, whose most is 32 MiB. Only glibc has it.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(-1, 512 << 20)
        mallopt(-3, 32 << 20)


def work(task: Task) -> Parsed:
    """Do one task. Raises ProgramError when libclang gives nothing at all."""
    began = time.process_time()
    left_out: tuple[Wrong, ...] = ()
    tried: tuple[str, ...] = ()
    if task.headers:
        assert task.precompiled is not None
        made = make_precompiled(task.arguments, task.headers, task.precompiled, directory=task.command.directory)
        unit, used, left_out, tried = made.unit, True, made.left_out, made.tried
    else:
        unit, used = _parse(task)
    wanted = _SPOKEN.wants(task.command.file) if task.wanted is None else task.wanted.__contains__
    extraction = Extraction(task.command, lambda path: (task.command.root / path).read_bytes(), wanted=wanted)
    facts = extraction.run(unit)
    own = {path: packed(one) for path, one in facts.items() if path == task.command.file or path.endswith(".c")}
    included = _below_root(task, bindings.included_files(unit))
    # Of one that declares nothing as well: it was looked at.
    spoken = [path for path in included if path not in own and not path.startswith("/") and wanted(path)]
    headers = {path: packed(facts.get(path, FileFacts())) for path in spoken}
    if task.wanted is None:
        _SPOKEN.spoke(task.command.file, headers)
    return Parsed(
        file=task.command.file,
        included=included,
        own=own,
        headers=headers,
        problems=_problems(task.command, errors_of(unit)),
        with_precompiled=used,
        cpu_s=time.process_time() - began,
        left_out=_problems(task.command, left_out),
        tried=tuple(path for path in _below_root(task, tried) if path not in included),
    )


def _parse(task: Task) -> tuple[cindex.TranslationUnit, bool]:
    source = task.command.path.read_bytes()
    if task.precompiled is not None and serves(task.precompiled, source):
        arguments = with_precompiled(task.arguments, task.precompiled)
        spared = without_aliases(task.precompiled, source)
        for more in dict.fromkeys((spared, ())):
            unit = parse(task.command, (*arguments, *more))
            if unit is None or errors_of(unit):
                continue
            opened = (task.command.directory / name for name in bindings.included_files(unit) if name)
            if not more or keep_their_meaning(opened):
                return unit, True
    unit = parse(task.command, task.arguments.whole)
    if unit is None:
        raise ProgramError(
            f"libclang could not parse {task.command.file}",
            next_step=f"try: clang -fsyntax-only on {task.command.path}",
        )
    return unit, False


def parse(command: CompileCommand, arguments: tuple[str, ...]) -> cindex.TranslationUnit | None:
    """Parse a unit without what a precompiled header declares; None when libclang gives nothing."""
    index = cindex.Index.create(excludeDecls=True)
    try:
        return cindex.TranslationUnit.from_source(str(command.path), list(arguments), index=index)
    except cindex.TranslationUnitLoadError:
        return None


def _problems(command: CompileCommand, errors: Sequence[Wrong]) -> tuple[tuple[str, int, str], ...]:
    """Return the first errors with their files' paths below the root; what stands nowhere stands in the unit."""
    return tuple(
        (below(command.root, command.directory, name) or name if name else command.file, line, text)
        for name, line, text in errors[:_MOST_PROBLEMS]
    )


def _below_root(task: Task, names: Iterable[str]) -> tuple[str, ...]:
    """Return files by their paths below the root, without the source that was made for a precompiled header."""
    command = task.command
    seen: dict[str, None] = {}
    own = str(task.precompiled.with_suffix(".h")) if task.headers and task.precompiled else ""
    for name in names:
        if name and name != own:
            seen[below(command.root, command.directory, name) or str(command.directory / name)] = None
    return tuple(seen)
