# SPDX-License-Identifier: Apache-2.0
"""What a build asked of its compilers: recorded while it runs, kept one file a call, and read back as values.

A script of ours stands first in PATH under the name of every compiler found there (compiler_shim.sh). Commands and
Makefiles stay as they are, so nothing is built differently; a compiler that is called by its absolute path is not seen.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path

_NAME = re.compile(r"(?:[A-Za-z0-9_.]+-)*(?:gcc|g\+\+|cc|c\+\+|clang|clang\+\+|c89|c99)(?:-[0-9.]+)?")
_SOURCE = (".c", ".i", ".s", ".S", ".sx", ".cc", ".cpp", ".cxx", ".C")
# The options whose value is the next word (gcc.gnu.org "Option Summary", clang.llvm.org "ClangCommandLineReference").
_WITH_VALUE = frozenset(
    ("-o", "-I", "-D", "-U", "-L", "-l", "-T", "-u", "-z", "-e", "-x", "-A", "-B", "-include", "-imacros", "-isystem",
     "-idirafter", "-iquote", "-iprefix", "-iwithprefix", "-isysroot", "-MF", "-MT", "-MQ", "-Xlinker", "-Xassembler",
     "-Xpreprocessor", "-Xclang", "-arch", "-target", "--param", "-aux-info", "-specs", "-wrapper", "-framework",
     "-mllvm")
)  # fmt: skip
_NO_OBJECT = frozenset(("-E", "-S", "-M", "-MM", "-fsyntax-only", "--version", "-v", "-dumpversion", "-dumpmachine"))
_WARNING = re.compile(r"^(?P<file>[^\s:][^:]*):\d+:(?:\d+:)? warning: (?P<text>.*\S)\s*$")


@dataclass(frozen=True)
class Call:
    """One successful run of a compiler."""

    cwd: Path
    argv: tuple[str, ...]
    """The compiler's name first."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Of a link alone."""
    warnings: tuple[str, ...] = ()
    """`file: text`, without line numbers."""

    def inputs(self) -> list[str]:
        """Return the words that are files: sources, objects, archives."""
        found: list[str] = []
        words = iter(self.argv[1:])
        for word in words:
            if word in _WITH_VALUE:
                next(words, None)
            elif not word.startswith("-"):
                found.append(word)
        return found

    @property
    def sources(self) -> list[str]:
        """Return the inputs that are compiled."""
        return [word for word in self.inputs() if word.endswith(_SOURCE)]

    @property
    def compiles(self) -> bool:
        """Say whether the call ends with objects."""
        return "-c" in self.argv and _NO_OBJECT.isdisjoint(self.argv)

    @property
    def links(self) -> bool:
        """Say whether the call ends with a program or a library."""
        return "-c" not in self.argv and _NO_OBJECT.isdisjoint(self.argv) and bool(self.inputs())

    @property
    def output(self) -> Path:
        """Return the absolute path of what the call wrote (of the first object when it compiled several)."""
        name = "a.out" if self.links else Path((self.sources or self.inputs() or ["none"])[0]).stem + ".o"
        words = self.argv
        for before, word in zip(words, (*words[1:], ""), strict=True):
            if before == "-o":
                name = word
            elif before.startswith("-o") and len(before) > 2 and "=" not in before:
                name = before[2:]
        return Path(os.path.normpath(self.cwd / name))


class Recorder:
    """Puts the scripts first in PATH, and turns what they leave into records."""

    def __init__(self, scratch: Path) -> None:
        self.directory = scratch / "compilers"

    def environment(self, raw: Path | None) -> dict[str, str]:
        """Return what makes a program that calls compilers leave its calls in `raw`; None records nothing."""
        self._install()
        recording = {"HMOPT_COMMANDS": str(raw)} if raw else {}
        return {"PATH": f"{self.directory}:{os.environ.get('PATH', os.defpath)}", **recording}

    def _install(self) -> None:
        wanted = (files("hmopt_adapters") / "compiler_shim.sh").read_bytes()
        self.directory.mkdir(parents=True, exist_ok=True)
        for name in _compilers():
            shim = self.directory / name
            if not (shim.is_file() and os.access(shim, os.X_OK) and shim.read_bytes() == wanted):
                fresh = shim.with_name(f".{name}.new")
                fresh.write_bytes(wanted)
                fresh.chmod(0o755)
                fresh.replace(shim)


def _compilers() -> list[str]:
    found = set()
    for folder in os.environ.get("PATH", os.defpath).split(os.pathsep):
        if folder and Path(folder).is_dir():
            found |= {entry.name for entry in Path(folder).iterdir() if _NAME.fullmatch(entry.name)}
    return sorted(found)


def keep_calls(raw: Path, kept: Path, root: Path) -> None:
    """Move what the scripts left in `raw` to one record a written file in `kept`, and forget what has gone.

    One file each, as young as the object it is about: when a build was cut off, the loop deletes what it wrote, objects
    and records alike, and the next build makes both again. Paths in warnings are relative to `root`.
    """
    kept.mkdir(parents=True, exist_ok=True)
    left = sorted(raw.glob("*.call"), key=lambda path: path.stat().st_mtime_ns)
    for path in left:
        call = _parse(path, root)
        if call is not None and (call.compiles or call.links):
            _write(kept / f"{_key(call.output)}.json", call)
    shutil.rmtree(raw)
    for record in kept.glob("*.json"):
        call = _read(record)
        if call is None or not all((call.cwd / source).is_file() for source in call.sources):
            record.unlink()


def kept_calls(kept: Path) -> list[Call]:
    """Return the recorded calls, in the order of their outputs' names."""
    found = [call for record in kept.glob("*.json") if (call := _read(record)) is not None]
    return sorted(found, key=lambda call: str(call.output))


def _key(output: Path) -> str:
    return hashlib.sha256(os.fsencode(output)).hexdigest()[:24]


def _parse(path: Path, root: Path) -> Call | None:
    words = path.read_bytes().split(b"\0")[:-1]
    if len(words) < 2:
        return None
    cwd, *argv = (os.fsdecode(word) for word in words)
    said = path.with_suffix(".said")
    text = said.read_text(errors="replace") if said.is_file() else ""
    stored = path.with_suffix(".environment")
    pairs = (item.partition(b"=") for item in stored.read_bytes().split(b"\0") if item) if stored.is_file() else ()
    environment = {
        os.fsdecode(name): os.fsdecode(value)
        for name, _, value in pairs
        if not name.startswith((b"HMOPT_", b"MAKE", b"MFLAGS"))
    }
    return Call(Path(cwd), tuple(argv), environment, tuple(_warnings(text.splitlines(), Path(cwd), root)))


def _warnings(lines: Iterable[str], cwd: Path, root: Path) -> list[str]:
    found = []
    for line in lines:
        matched = _WARNING.match(line)
        if matched:
            place = Path(os.path.normpath(cwd / matched["file"]))
            name = str(place.relative_to(root)) if place.is_relative_to(root) else place.name
            found.append(f"{name}: {matched['text']}")
    return found


def _write(record: Path, call: Call) -> None:
    fresh = record.with_suffix(".new")
    document = {
        "v": 1,
        "cwd": str(call.cwd),
        "argv": list(call.argv),
        "environment": dict(call.environment),
        "warnings": list(call.warnings),
    }
    fresh.write_text(json.dumps(document), errors="surrogateescape")
    fresh.replace(record)


def _read(record: Path) -> Call | None:
    try:
        stored = json.loads(record.read_text(errors="surrogateescape"))
        return Call(Path(stored["cwd"]), tuple(stored["argv"]), dict(stored["environment"]), tuple(stored["warnings"]))
    except (OSError, ValueError, KeyError, TypeError):  # cut short: the call is not known
        return None


def compile_database(calls: Sequence[Call], mirror: Path, root: Path) -> list[dict[str, object]]:
    """Return the entries of a compile_commands.json whose files are those of `root`, of which `mirror` is a copy.

    Include paths lead to `root` first and to the copy after it, where generated headers lie. A source that was itself
    generated has no entry: there is nothing of it to change.
    """
    entries: list[dict[str, object]] = []
    for call in calls:
        for source in call.sources:
            file = _twin(call.cwd / source, mirror, root)
            if file is not None and file.is_file():
                entries.append(_entry(call, source, file, mirror, root))
    return sorted(entries, key=lambda entry: str(entry["file"]))


def _entry(call: Call, source: str, file: Path, mirror: Path, root: Path) -> dict[str, object]:
    arguments, late = [call.argv[0]], []
    words = iter(call.argv[1:])
    for word in words:
        option, value = word, None
        if word in _WITH_VALUE:
            value = next(words, "")
        elif word.startswith("-I") and len(word) > 2:
            option, value = "-I", word[2:]
        if option in ("-I", "-iquote", "-isystem", "-idirafter") and value is not None:
            first, second = _both(call.cwd / value, mirror, root)
            arguments += [option, first]
            late += [option, second] if second else []
        elif option in ("-include", "-imacros") and value is not None:
            there = _twin(call.cwd / value, mirror, root)
            path = str(there) if there is not None and there.is_file() else os.path.normpath(call.cwd / value)
            arguments += [option, path if Path(path).is_file() else value]
        elif option == "-o" or (option.startswith("-") and option.startswith(("-Wl,", "-l", "-L"))):
            continue
        elif value is not None:
            arguments += [option, value]
        elif option.startswith("-"):
            arguments.append(option)
    here = _twin(call.cwd, mirror, root)
    beside = os.path.normpath((call.cwd / source).parent)
    if "-c" not in arguments:
        arguments.append("-c")
    return {
        "directory": str(here if here is not None and here.is_dir() else call.cwd),
        "file": str(file),
        "arguments": [*arguments, *late, "-iquote", beside, str(file)],
    }


def _both(path: Path, mirror: Path, root: Path) -> tuple[str, str | None]:
    there = _twin(path, mirror, root)
    return (str(there), os.path.normpath(path)) if there is not None else (os.path.normpath(path), None)


def _twin(path: Path, mirror: Path, root: Path) -> Path | None:
    """Return the place in `root` of a path in its copy; None for one from elsewhere."""
    normal = Path(os.path.normpath(path))
    return root / normal.relative_to(mirror) if normal.is_relative_to(mirror) else None
