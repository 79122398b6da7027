# SPDX-License-Identifier: Apache-2.0
"""One precompiled header for the units that share their arguments: three quarters of a kernel unit is headers.

Which headers: those that many of the units name. The header stands in for the command's own `-include`s too, in front.
A unit that shows an error with it is parsed again without; one that defines a name, in front of its includes, that the
headers ask for (`DEBUG`, `CREATE_TRACE_POINTS`) is not parsed with it, since its headers mean something else.
"""

from __future__ import annotations

import functools
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from clang import cindex

from git_hmopt.errors import ProgramError
from git_hmopt.psg.compile_database import CompileCommand

MOST = 96
"""Headers in a precompiled header."""
SHARE = 0.05
"""The part of the units that names a header in it. An edit of any of them makes all units of the group dirty; on Linux
6.1 for UML, parsing takes 0.188 of a plain parse at a tenth, 0.144 at a twentieth and 0.131 at a hundredth."""
FEWEST_UNITS = 8
"""Units that share their arguments; fewer do not earn back what a header costs to make."""
_MOST_LEFT_OUT = 8
"""Headers that do not compile with the others, before it is given up."""
_INCLUDE = re.compile(rb"^[ \t]*#[ \t]*include[ \t]*<([^>\n]+)>", re.MULTILINE)
_INCLUDED_OR_DEFINED = re.compile(rb"^[ \t]*#[ \t]*(?:(include)\b|(?:define|undef)[ \t]+(\w+))", re.MULTILINE)
_CONDITION = re.compile(rb"^[ \t]*#[ \t]*(?:el)?if(?:n?def)?\b((?:[^\n\\]|\\.)*)", re.MULTILINE | re.DOTALL)
_WORD = re.compile(rb"[A-Za-z_]\w*")
# The names kbuild gives a unit; a header may use them, so the precompiled one needs some (scripts/Makefile.lib).
_UNIT_MACRO = re.compile(r"-D(?:__)?KBUILD_\w+(?:=.*)?$", re.DOTALL)
_NAMES = ("KBUILD_MODFILE", "KBUILD_BASENAME", "KBUILD_MODNAME")
# include/linux/printk.h and its kin ask whether they are defined, and use them where the macros are used: later.
_TOLD_LATE = frozenset((b"pr_fmt", b"dev_fmt"))
# An alias looks for its target among all that the precompiled header declares: 43 ms for Linux's (clang 18,
# SemaDeclAttr.cpp, handleAliasAttr). A function's declaration with the attribute `flatten` instead says the same here;
# a variable's, which an alias makes a definition, is an error then. Linux's headers alias functions with these macros
# (linux/syscalls.h, compat.h, module.h).
_ALIASING = re.compile(rb"\b(?:COMPAT_)?SYSCALL_DEFINE\d|\bmodule_(?:init|exit)\b")
_OTHER_ALIASING = re.compile(rb"\balias\s*+\(|\bMODULE_DEVICE_TABLE\b")
_NO_ALIASES = ("-Dalias(target)=__flatten__",)
_ALIAS = re.compile(rb"\balias\s*\(")
_ALIAS_ATTRIBUTE = re.compile(
    rb"\b__attribute__[\s\\]*+\([\s\\]*+\([\s\\]*+(?:\w++[\s\\]*+(?:\([^()]*+\)[\s\\]*+)?,[\s\\]*+)*+alias\s*+\("
)
_ASKS_FOR_ALIASES = b"alias("
"""Among the names that a precompiled header asks for: something in it would be changed by `_NO_ALIASES`."""
_WITH_VALUE = frozenset(("-include", "-I", "-D", "-U", "-isystem", "-idirafter", "-iquote", "-imacros", "-x"))
_FOR_SERIALIZATION = 0x10  # CXTranslationUnit_ForSerialization

Wrong = tuple[str, int, str]
"""An error: (the file as libclang names it or nothing, line, what is wrong)."""


@dataclass(frozen=True)
class Arguments:
    """A unit's arguments, told apart: what it shares with others, what is its own, what it includes in front."""

    shared: tuple[str, ...]
    own: tuple[str, ...]
    forced: tuple[str, ...]
    """The values of its `-include`s."""

    @property
    def whole(self) -> tuple[str, ...]:
        """Return what parses the unit without a precompiled header."""
        return (*self.shared, *(word for name in self.forced for word in ("-include", name)), *self.own)


def told_apart(accepted: Sequence[str], command: CompileCommand) -> Arguments:
    """Split a unit's arguments."""
    shared: list[tuple[str, ...]] = []
    own: list[str] = []
    forced: list[str] = []
    for option in _options(accepted):
        if option[0] == "-include":
            forced.append(option[1])
        elif _UNIT_MACRO.match(option[0]):
            own.append(option[0])
        else:
            shared.append(option)
    folders = _own_folders(shared, command)
    kept = tuple(word for number, option in enumerate(shared) if number not in folders for word in option)
    return Arguments(kept, (*own, *(word for number in folders for word in shared[number])), tuple(forced))


def _options(accepted: Sequence[str]) -> Iterator[tuple[str, ...]]:
    words = iter(accepted)
    for word in words:
        yield (word, next(words, "")) if word in _WITH_VALUE else (word,)


def _own_folders(options: Sequence[tuple[str, ...]], command: CompileCommand) -> list[int]:
    """Return which options have headers looked for last in the unit's own folder, here or in the build's directory.

    kbuild adds those when it builds outside the source. Searched last, they cannot change what a header means that was
    found without them; where they are not the last, they count as shared.
    """
    if any(option[0].startswith(("-isystem", "-idirafter")) for option in options):
        return []
    home = os.path.dirname(command.file)  # noqa: PTH120 - a string in a tree
    places = {os.path.normpath(command.root / home), os.path.normpath(command.directory / home)}
    found: list[int] = []
    for number in range(len(options) - 1, -1, -1):
        option = options[number]
        if not option[0].startswith("-I"):
            continue
        folder = option[1] if len(option) > 1 else option[0].removeprefix("-I")
        if os.path.normpath(command.directory / folder) not in places:
            break
        found.insert(0, number)
    return found


def commonest(sources: Iterable[bytes]) -> tuple[str, ...]:
    """Return the headers that the most units name, the commonest first; only what `SHARE` of them names.

    A macro of a header that a unit does not include is a leak into it, which only matters where headers disagree about
    a name: among few units that mix the kernel's and the C library's they do (PTRACE_GETREGS), so that few names do
    not count.
    A trace header defines its events anew each time it is read, so it is left to the unit that reads it.
    """
    count: Counter[str] = Counter()
    units = 0
    for source in sources:
        units += 1
        names = {name.decode("utf-8", "replace").strip() for name in _INCLUDE.findall(source)}
        count.update(name for name in names if "trace/" not in name and not name.endswith(".c"))
    often = [(name, times) for name, times in count.items() if times >= max(FEWEST_UNITS, units * SHARE)]
    return tuple(name for name, _ in sorted(often, key=lambda pair: (-pair[1], pair[0]))[:MOST])


def header_text(forced: Sequence[str], headers: Sequence[str], directory: Path) -> str:
    """Return the source of a precompiled header for units that are compiled in `directory`."""
    lines = [f'#define {name} "unit"' for name in _NAMES]
    # A compiler looks for them from where it runs, and then where quoted names are looked for (gcc.gnu.org, -include).
    placed = ((directory / name, name) for name in forced)
    lines += [f'#include "{path if path.is_file() else name}"' for path, name in placed]
    lines += [f"#include <{name}>" for name in headers]
    # A unit gives them itself, on its command line.
    lines += [f"#undef {name}" for name in _NAMES]
    return "\n".join(lines) + "\n"


@dataclass(frozen=True)
class Precompiled:
    """A precompiled header that was made."""

    unit: cindex.TranslationUnit
    left_out: tuple[Wrong, ...]
    """An error for each header that does not compile with the others."""
    tried: tuple[str, ...]
    """The files that were opened while those were still in, as libclang names them."""


def make_precompiled(arguments: Arguments, headers: Sequence[str], target: Path, *, directory: Path) -> Precompiled:
    """Write the precompiled header to `target`, and beside it the names its headers ask for.

    A header that does not compile with the others is left out. Raises ProgramError, naming the first error, when that
    does not help.
    """
    kept = list(headers)
    left_out: list[Wrong] = []
    tried: dict[str, None] = {}
    while True:
        unit = _parsed(arguments, kept, target, directory)
        wrong = next(iter(errors_of(unit)), None)
        if wrong is None:
            unit.save(str(target))
            _asks_file(target).write_bytes(b"\n".join(sorted(_asked(unit, directory))))
            return Precompiled(unit, tuple(left_out), tuple(tried))
        guilty = _included_by_us(unit, wrong, kept)
        if guilty is None or len(headers) - len(kept) == _MOST_LEFT_OUT:
            raise ProgramError(f"the commonest headers do not compile together: {':'.join(map(str, wrong))}")
        kept.remove(guilty)
        left_out.append(wrong)
        tried |= dict.fromkeys(one.include.name for one in unit.get_includes())


def _parsed(arguments: Arguments, headers: Sequence[str], target: Path, directory: Path) -> cindex.TranslationUnit:
    source = target.with_suffix(".h")
    source.write_text(header_text(arguments.forced, headers, directory), encoding="utf-8")
    options = cindex.TranslationUnit.PARSE_INCOMPLETE | _FOR_SERIALIZATION
    given = [*arguments.shared, "-x", "c-header", "-Xclang", "-fno-pch-timestamp"]
    try:
        return cindex.TranslationUnit.from_source(str(source), given, options=options)
    except cindex.TranslationUnitLoadError as error:
        raise ProgramError(f"libclang cannot parse the commonest headers together ({source})") from error


def errors_of(unit: cindex.TranslationUnit) -> list[Wrong]:
    """Return the errors of a unit, as values that outlive it."""
    return [
        (one.location.file.name if one.location.file else "", one.location.line, one.spelling)
        for one in unit.diagnostics if one.severity >= cindex.Diagnostic.Error
    ]  # fmt: skip


def _included_by_us(unit: cindex.TranslationUnit, wrong: Wrong, headers: Sequence[str]) -> str | None:
    """Return which of the headers an error comes from; None for what stands in front of them."""
    above: dict[str, tuple[str, int]] = {}
    for one in unit.get_includes():
        above.setdefault(one.include.name, (one.source.name, one.location.line))
    file, line, _ = wrong
    for _ in range(len(above) + 1):
        if file == unit.spelling:
            lines = Path(file).read_text(encoding="utf-8").splitlines()
            named = _INCLUDE.match(lines[line - 1].encode()) if 0 < line <= len(lines) else None
            name = named[1].decode() if named else None
            return name if name in headers else None
        file, line = above.get(file, ("", 0))
    return None


def _asks_file(precompiled: Path) -> Path:
    return precompiled.with_suffix(".asks")


def _asked(unit: cindex.TranslationUnit, directory: Path) -> set[bytes]:
    """Return the names in the conditions of all files that a unit opened; what was defined before decides there."""
    names: set[bytes] = set()
    for file in {one.include.name for one in unit.get_includes()}:
        text = (directory / file).read_bytes()
        for condition in _CONDITION.findall(text):
            names.update(_WORD.findall(condition))
        if not _aliases_alone(text):
            names.add(_ASKS_FOR_ALIASES)
    return names


def _aliases_alone(text: bytes) -> bool:
    """Say whether `alias(` is nothing but the attribute in a text."""
    return b"alias" not in text or len(_ALIAS.findall(text)) == len(_ALIAS_ATTRIBUTE.findall(text))


@functools.lru_cache(maxsize=8)
def _asks(precompiled: Path) -> frozenset[bytes]:
    return frozenset(_asks_file(precompiled).read_bytes().splitlines())


def serves(precompiled: Path, source: bytes) -> bool:
    """Say whether a unit's headers mean in it what they mean in the precompiled header."""
    before: list[bytes] = []
    now: list[bytes] = []
    for include, name in _INCLUDED_OR_DEFINED.findall(source):
        if include:
            before += now
            now = []
        elif name not in _TOLD_LATE:
            now.append(name)
    return not before or _asks(precompiled).isdisjoint(before)


def with_precompiled(arguments: Arguments, target: Path) -> tuple[str, ...]:
    """Return what parses a unit with a precompiled header: its `-include`s are in there."""
    # What it was made of is compared by content before it is named, and its arguments are the same: the check that
    # libclang makes itself, some hundred calls of stat for each unit, has nothing to add.
    trusted = ("-Xclang", "-fno-validate-pch", "-Xclang", "-fno-pch-timestamp")
    return (*arguments.shared, *arguments.own, "-include-pch", str(target), *trusted)


def without_aliases(precompiled: Path, source: bytes) -> tuple[str, ...]:
    """Return the arguments that spare a unit the search for the targets of its aliases; none where it has none.

    What they make of the unit counts only when it has no error, and its headers `keep_their_meaning`.
    """
    aliases = _ALIASING.search(source) and not _OTHER_ALIASING.search(source)
    return _NO_ALIASES if aliases and _ASKS_FOR_ALIASES not in _asks(precompiled) else ()


def keep_their_meaning(headers: Iterable[Path]) -> bool:
    """Say whether headers mean the same with the arguments of `without_aliases`."""
    return all(_aliases_alone(header.read_bytes()) for header in headers)


def shared_by_many(units: Mapping[str, Arguments]) -> dict[Arguments, list[str]]:
    """Return the units that share their arguments with enough others, by those arguments without any unit's own."""
    groups: dict[Arguments, list[str]] = {}
    for file in sorted(units):
        arguments = units[file]
        groups.setdefault(Arguments(arguments.shared, (), arguments.forced), []).append(file)
    return {arguments: files for arguments, files in groups.items() if len(files) >= FEWEST_UNITS}
