# SPDX-License-Identifier: Apache-2.0
"""How a build compiles each file: from compile_commands.json, or from the `.cmd` files kbuild leaves behind."""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from git_hmopt.errors import ConfigError

# savedcmd_ since Linux 6.2 (kernel commit 92215e7a801d), cmd_ before.
_SAVED = re.compile(r"^(?:saved)?cmd_\S+ := (.*)$", re.MULTILINE)
_SOURCE = re.compile(r"^source_\S+ := (.*)$", re.MULTILINE)
_ENDS = (";", "&&", "||", "|")
_HOST_TOOL = re.compile(r"(?:^|/)(?:tools|scripts)/")
_MOST_LINES = 8
_QUOTED = re.compile(r"'([^']*)'|\"([^\"]*)\"")
# A word that the shell takes as it stands, or one with quotes around a part in which there is no blank.
_PLAIN_LINE = re.compile(
    r"(?:[^\s'\"\\;&|]|'[^\s'\\]*'|\"[^\s\"\\]*\")+(?:[ \t]+(?:[^\s'\"\\;&|]|'[^\s'\\]*'|\"[^\s\"\\]*\")+)*"
)


@dataclass(frozen=True)
class CompileCommand:
    """One file's compilation as the build ran it."""

    root: Path
    """The top of the source tree, absolute."""
    directory: Path
    """Where the compiler ran, absolute."""
    file: str
    """Path below `root`, with slashes."""
    arguments: tuple[str, ...]
    """The whole argument vector, the compiler first."""

    @property
    def path(self) -> Path:
        """Return the absolute path of the file."""
        return self.root / self.file


class CompileDatabase:
    """The compile commands of one build, by file below the source root."""

    def __init__(self, commands: Mapping[str, CompileCommand], *, origin: Path, outside: int) -> None:
        self._commands = dict(commands)
        self.origin = origin
        self.outside = outside
        """How many entries were left out because their file lies outside the root (generated sources, say)."""

    @property
    def files(self) -> tuple[str, ...]:
        """Return the files that have a command, sorted."""
        return tuple(sorted(self._commands))

    def command(self, file: str) -> CompileCommand:
        """Return how `file` is compiled; ConfigError when the build never compiled it."""
        found = self._commands.get(file)
        if found is None:
            raise ConfigError(
                f"{self.origin} has no entry for '{file}'",
                next_step="enable it in the build's configuration, or look for the .c file that includes it",
            )
        return found


def load_database(path: Path, *, root: Path) -> CompileDatabase:
    """Read a compile_commands.json whose sources lie below `root`.

    Raises ConfigError when the file is missing or not a JSON compilation database (clang's
    JSONCompilationDatabase.html says what one is).
    """
    top = _absolute(root)
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(
            f"no compile database at {path}",
            next_step="make one with scripts/clang-tools/gen_compile_commands.py -d <build directory>",
        ) from error
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} is not a compile database: {error}") from error
    if not isinstance(entries, list):
        raise ConfigError(f"{path} is not a compile database: expected a list, found {type(entries).__name__}")
    commands: dict[str, CompileCommand] = {}
    outside = 0
    for number, entry in enumerate(entries):
        command = _entry(entry, top, f"{path}: entry {number}")
        if command is None:
            outside += 1
        else:
            # A file compiled twice (a host tool and the kernel, say) keeps its first command: stable, and kbuild's
            # generator lists each object once.
            commands.setdefault(command.file, command)
    return CompileDatabase(commands, origin=path, outside=outside)


def kbuild_database(build: Path, *, root: Path) -> CompileDatabase:
    """Return the compile commands that kbuild left in `build`, in the `.cmd` file beside each object.

    Raises ConfigError when there is none: nothing was built there.
    """
    top, directory = _absolute(root), _absolute(build)
    commands: dict[str, CompileCommand] = {}
    outside = 0
    for record in sorted(build.rglob(".*.o.cmd")):
        text = _first_lines(record)
        named, saved = _SOURCE.search(text), _SAVED.search(text)
        if named is None or saved is None or not named[1].endswith(".c"):
            continue  # linked from other objects, or assembled
        file = below(top, directory, named[1])
        # Host tools are compiled for this machine, with other headers; tools/ names its sources from its own folder.
        if file is None or _HOST_TOOL.search(file) or _HOST_TOOL.search(record.relative_to(build).as_posix()):
            outside += 1
        else:
            commands.setdefault(file, CompileCommand(top, directory, file, _saved_arguments(saved, record)))
    if not commands:
        raise ConfigError(
            f"no kernel was built in '{build}'", next_step="build it there, or name the build's directory"
        )
    return CompileDatabase(commands, origin=build, outside=outside)


def _first_lines(record: Path) -> str:
    """Return a `.cmd` file up to its source; the list of headers behind it is most of the file."""
    lines: list[str] = []
    with record.open(encoding="utf-8", errors="surrogateescape") as stream:
        for line in stream:
            lines.append(line)
            if line.startswith("source_") or len(lines) > _MOST_LINES:
                break
    return "".join(lines)


def _saved_arguments(saved: re.Match[str], record: Path) -> tuple[str, ...]:
    # What make reads: `$$` is a dollar, `\#` and `$(pound)` a hash (scripts/Kbuild.include, make-cmd).
    line = saved.group(1).replace("$(pound)", "#").replace("\\#", "#").replace("$$", "$")
    arguments = _split(line, str(record))
    if not arguments:
        raise ConfigError(f"{record} holds an empty command", next_step="rebuild the object")
    return arguments


def _entry(entry: Any, root: Path, where: str) -> CompileCommand | None:
    if not isinstance(entry, dict) or not isinstance(entry.get("file"), str):
        raise ConfigError(f"{where} has no 'file'")
    if not isinstance(entry.get("directory"), str):
        raise ConfigError(f"{where} ({entry['file']}) has no 'directory'")
    if isinstance(entry.get("arguments"), list) and all(isinstance(word, str) for word in entry["arguments"]):
        arguments = tuple(entry["arguments"])
    elif isinstance(entry.get("command"), str):
        arguments = _split(entry["command"], f"{where} ({entry['file']})")
    else:
        raise ConfigError(f"{where} ({entry['file']}) has neither 'command' nor 'arguments'")
    directory = Path(entry["directory"])
    file = below(root, directory, entry["file"])
    return CompileCommand(root, directory, file, arguments) if file and arguments else None


def command_from_cmd_file(tree_root: Path, build_dir: Path, file: str) -> CompileCommand:
    """Return how kbuild compiled `file` (a path below `tree_root`), from the `.cmd` file beside its object.

    Raises ConfigError when the build left none, or one without a command.
    """
    name = PurePosixPath(file)
    record = build_dir / name.parent / f".{name.stem}.o.cmd"
    try:
        text = record.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError as error:
        raise ConfigError(
            f"the build in {build_dir} did not compile '{file}': no {name.parent / record.name}",
            next_step="enable it in the build's configuration, or look for the .c file that includes it",
        ) from error
    saved = _SAVED.search(text)
    if saved is None:
        raise ConfigError(f"{record} holds no saved command", next_step="rebuild the object")
    return CompileCommand(_absolute(tree_root), _absolute(build_dir), file, _saved_arguments(saved, record))


def _split(line: str, where: str) -> tuple[str, ...]:
    """Split a shell line into words, up to the end of its first command (objtool may follow the compiler)."""
    if _PLAIN_LINE.fullmatch(line.strip()):  # nearly all are, and shlex takes a millisecond for each
        return tuple(_QUOTED.sub(lambda match: match[1] or match[2] or "", word) for word in line.split())
    lexer = shlex.shlex(line, posix=True, punctuation_chars=";&|")
    lexer.whitespace_split = True
    lexer.commenters = ""
    words: list[str] = []
    try:
        for word in lexer:
            if word in _ENDS:
                break
            words.append(word)
    except ValueError as error:
        raise ConfigError(f"{where}: the command cannot be split into words: {error}") from error
    return tuple(words)


def below(root: Path, directory: Path, name: str) -> str | None:
    """Return `name`, as a compiler run in `directory` knows it, as a path below `root`; None when it lies outside."""
    path = os.path.normpath(os.path.join(directory, name))  # noqa: PTH118 - thousands of times; a Path costs tenfold
    return _inside(path, str(root)) or _inside(os.path.realpath(path), os.path.realpath(root))


def _inside(path: str, top: str) -> str | None:
    start = top.rstrip("/") + "/"
    return path[len(start) :] if path.startswith(start) else None


def _absolute(path: Path) -> Path:
    # Not Path.resolve(): a tree behind a symbolic link keeps the name that the build recorded.
    return Path(os.path.normpath(Path.cwd() / path))


def defines(arguments: Sequence[str]) -> Mapping[str, str]:
    """Return the macros a command line defines (`-DNAME=VALUE`), with quotes of string values kept."""
    found: dict[str, str] = {}
    for before, word in zip(("", *arguments), arguments, strict=False):
        text = word if before == "-D" else word[2:] if word.startswith("-D") else ""
        if text:
            name, _, value = text.partition("=")
            found[name] = value
    return found
