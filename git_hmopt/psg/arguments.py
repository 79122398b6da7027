# SPDX-License-Identifier: Apache-2.0
"""Turn a GCC command line into one libclang parses.

What only writes files, warns or makes code goes, the rest is probed.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from clang import cindex

from git_hmopt.process.runner import Limits, run
from git_hmopt.psg.compile_database import CompileCommand

_COMPILER = re.compile(r"^(?P<triple>[A-Za-z0-9_]+(?:-[A-Za-z0-9_.]+){1,3})-(?:gcc|cc)(?:-[0-9.]+)?$")
# The options whose value may be the next word (gcc.gnu.org, "Option Summary"; only those a compile line can carry).
_WITH_VALUE = frozenset(
    ("-I", "-D", "-U", "-include", "-imacros", "-isystem", "-idirafter", "-iquote", "-iprefix", "-iwithprefix",
     "-iwithprefixbefore", "-isysroot", "-x", "-o", "-MF", "-MT", "-MQ", "--param", "-target", "-arch", "-Xclang")
)  # fmt: skip
# No macro depends on these. kbuild gives them to some files and withholds them from others (CFLAGS_x.o,
# CFLAGS_REMOVE_x.o), which would not share a precompiled header for that.
_MAKES_CODE = re.compile(
    r"-f(?:no-)?(?:function-sections|data-sections|omit-frame-pointer|optimize-sibling-calls)"
    r"|-pg|-mfentry|-mrecord-mcount|-mnop-mcount|-fpatchable-function-entry=.*"
)
_SOURCE_OPTIONS = ("-I", "-D", "-U", "-i", "-x", "--target=", "-target", "-nostdinc", "-working-directory")


@dataclass(frozen=True)
class ParserArguments:
    """What libclang is given, and what it would not take."""

    accepted: tuple[str, ...]
    refused: tuple[str, ...]


def parser_arguments(command: CompileCommand) -> ParserArguments:
    """Return libclang's arguments for a compile command made for GCC.

    GCC's own headers are added unless the command has `-nostdinc` (the libclang wheel ships no builtin headers).
    """
    compiler, *words = command.arguments
    target = target_of(compiler)
    fixed = (
        (f"--target={target}",)
        if target and not any(word.startswith(("--target=", "-target")) for word in words)
        else ()
    )
    accepted: list[str] = [*fixed, "-w", f"-working-directory={command.directory}"]
    refused: list[str] = []
    given = tuple(word for word in words if word.startswith("--target="))
    for option in _options(words):
        if _not_for_a_parser(option):
            continue
        if option[0].startswith(_SOURCE_OPTIONS) or not _refuses(fixed or given, option):
            accepted.extend(option)
        else:
            refused.extend(option)
    if "-nostdinc" not in words and not _is_clang(compiler):
        accepted += ["-isystem", _include_folder(compiler)]
    return ParserArguments(tuple(accepted), tuple(refused))


def target_of(compiler: str) -> str | None:
    """Return the target triple a cross compiler's name states (`aarch64-linux-gnu-gcc`), None for a native one."""
    matched = _COMPILER.match(Path(compiler).name)
    return matched["triple"] if matched else None


def _is_clang(compiler: str) -> bool:
    return "clang" in Path(compiler).name


def _options(words: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """Yield each option with its separate value; words that are no options (the source file) are left out."""
    rest = iter(words)
    for word in rest:
        if word in _WITH_VALUE:
            value = next(rest, None)
            if value is not None:
                yield (word, value)
        elif word.startswith("-") and word != "-":
            yield (word,)


def _not_for_a_parser(option: tuple[str, ...]) -> bool:
    word = option[0]
    # -W covers -Wp,-MMD as well. A GCC plugin must not even be probed: clang would load the library.
    return (
        bool(_MAKES_CODE.fullmatch(word))
        or word in ("-c", "-S", "-E", "-o", "-M", "-MM", "-MD", "-MMD", "-MP", "-MF", "-MT", "-MQ")
        or word.startswith(("-W", "-fplugin", "-o"))
    )


@functools.cache
def _refuses(target: tuple[str, ...], option: tuple[str, ...]) -> bool:
    """Say whether libclang reports an error for an empty file with this option (it knows best, no list does)."""
    try:
        unit = cindex.TranslationUnit.from_source("probe.c", [*target, *option], [("probe.c", b"\n")], index=_index())
    except cindex.TranslationUnitLoadError:
        return True
    return any(diagnostic.severity >= cindex.Diagnostic.Error for diagnostic in unit.diagnostics)


@functools.cache
def _index() -> cindex.Index:
    return cindex.Index.create()


@functools.cache
def _include_folder(compiler: str) -> str:
    """Return the folder of the compiler's own headers; MissingProgramError or ProgramError when it cannot say."""
    finished = run([compiler, "-print-file-name=include"], limits=Limits(wall_s=20), check=True)
    return finished.output.decode(errors="surrogateescape").strip()
