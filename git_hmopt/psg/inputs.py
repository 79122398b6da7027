# SPDX-License-Identifier: Apache-2.0
"""What a unit's facts depend on: the bytes of its files, the CONFIG values they name, and what could have been found.

A unit's key is the digest of all of that, so that the same key means the same facts in any clone and on any branch.
`autoconf.h` is not an input as a whole (one changed knob would make every unit new): the values of the knobs that the
unit's files name are, as kbuild's own fixdep has it. The files that are not there matter as well: a new header in a
folder that is searched earlier takes the place of the one that was found, so the key has every file that any of the
searched folders holds under the names that were included.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
import stat
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FORMAT = 2
"""Raised whenever the same inputs would give other facts."""
AUTOCONF = "include/generated/autoconf.h"

_CONFIG = re.compile(rb"\bCONFIG_[A-Z0-9_]\w*")
_DEFINE = re.compile(rb"^#define (CONFIG_\w+) (.*)$", re.MULTILINE)
_FOLDERS = ("-I", "-isystem", "-iquote", "-idirafter")


@dataclass(frozen=True)
class Stamp:
    """What a file was when it was read; as long as size and time are the same, so are its digest and its knobs."""

    size: int
    mtime_ns: int
    digest: str
    knobs: tuple[str, ...]


def content_digest(data: bytes) -> str:
    """Return what stands for a file's bytes, in stamps and in a graph's tables."""
    return hashlib.sha256(data).hexdigest()[:32]


class Sources:
    """The files of a tree as they are now, each read once; `remembered` saves reading what did not change."""

    def __init__(self, root: Path, remembered: Mapping[str, Stamp] | None = None) -> None:
        self.root = root
        self._remembered = dict(remembered or {})
        self._stamps: dict[str, Stamp | None] = {}
        self._listings: dict[str, frozenset[str]] = {}

    @property
    def stamps(self) -> Mapping[str, Stamp]:
        """Return what was learnt of the files that were asked for and are there."""
        return {path: stamp for path, stamp in self._stamps.items() if stamp is not None}

    @property
    def listings(self) -> Mapping[str, frozenset[str]]:
        """Return the folders that were looked into, with their names."""
        return self._listings

    def stamp(self, path: str) -> Stamp | None:
        """Return a file's stamp, None when it is not there or cannot be read."""
        if path not in self._stamps:
            self._stamps[path] = self._look(path)
        return self._stamps[path]

    def _look(self, path: str) -> Stamp | None:
        full = self.root / path
        try:
            seen = full.stat()
            if not stat.S_ISREG(seen.st_mode):  # a link to a device has no end
                return None
            known = self._remembered.get(path)
            if known is not None and (known.size, known.mtime_ns) == (seen.st_size, seen.st_mtime_ns):
                return known
            data = full.read_bytes()
        except OSError:
            return None
        knobs = tuple(sorted({name.decode() for name in _CONFIG.findall(data)}))
        return Stamp(seen.st_size, seen.st_mtime_ns, content_digest(data), knobs)

    def read(self, path: str) -> bytes:
        """Return a file's bytes; none when it cannot be read."""
        try:
            return (self.root / path).read_bytes()
        except OSError:
            return b""

    def listing(self, folder: str) -> frozenset[str]:
        """Return the names in a folder; none when it is not one."""
        if folder not in self._listings:
            try:
                self._listings[folder] = frozenset(os.listdir(self.root / folder))  # noqa: PTH208 - names, not paths
            except OSError:
                self._listings[folder] = frozenset()
        return self._listings[folder]


@dataclass(frozen=True)
class Inputs:
    """All that a unit's facts depend on beside its arguments."""

    files: tuple[tuple[str, str], ...]
    """(path, digest) of every file the preprocessor opened but autoconf.h, sorted."""
    knobs: tuple[tuple[str, str], ...]
    """(CONFIG name, value) of every knob those files name, sorted; the value is empty for one that is not set."""
    found: tuple[str, ...]
    """Every path that one of the included names could have meant, sorted."""
    precompiled: str = ""
    """The key of the precompiled header, whose inputs are this unit's too."""

    def to_json(self) -> dict[str, Any]:
        """Return the inputs as JSON."""
        return {"files": self.files, "knobs": self.knobs, "found": self.found, "precompiled": self.precompiled}

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Inputs:
        """Return what `to_json` wrote; KeyError, TypeError or ValueError when it is something else."""
        files = tuple((str(path), str(digest)) for path, digest in data["files"])
        knobs = tuple((str(name), str(value)) for name, value in data["knobs"])
        return Inputs(files, knobs, tuple(map(str, data["found"])), str(data["precompiled"]))


def knob_values(autoconf: bytes) -> dict[str, str]:
    """Return what autoconf.h defines."""
    return {name.decode(): value.decode("utf-8", "replace").strip() for name, value in _DEFINE.findall(autoconf)}


def command_key(file: str, arguments: Sequence[str], *, root: Path) -> str:
    """Return the digest of how a unit is compiled, the same wherever the tree stands."""
    top = str(root)
    words = [word.replace(top, "@") for word in arguments]
    return _digest([FORMAT, file, words])


def unit_key(command: str, inputs: Inputs) -> str:
    """Return the key of a unit's facts."""
    return _digest([command, inputs.to_json()])


def searched_folders(arguments: Sequence[str], *, root: Path, directory: Path) -> tuple[str, ...]:
    """Return the folders that the arguments have headers looked for in, below the root, in order."""
    found = []
    words = iter(arguments)
    for word in words:
        option = next((option for option in _FOLDERS if word.startswith(option)), None)
        if option is not None:
            folder = _from_root(word[len(option) :] or next(words, ""), str(directory), str(root))
            found += [folder] if folder is not None else []
    return tuple(dict.fromkeys(found))


@functools.lru_cache(maxsize=8192)
def _from_root(folder: str, directory: str, root: str) -> str | None:
    """Return a folder's path below the root, empty for the root itself; None for one outside."""
    path = os.path.relpath(os.path.join(directory, folder), root)  # noqa: PTH118 - a string in a tree
    return None if path.startswith("..") else "" if path == "." else path


def findable(included: Iterable[str], folders: Sequence[str], sources: Sources) -> tuple[str, ...]:
    """Return every existing path that a name of the included files could have meant: those files and their rivals.

    Which name the source wrote is not known, so every way to reach an included file from a folder counts as one; a
    quoted name is looked for beside the file that includes it, so the included files' own folders count as well.
    """
    paths = tuple(included)
    places = set(folders) | {os.path.dirname(path) for path in paths}  # noqa: PTH120 - a string in a tree
    names: dict[str, set[str]] = {}
    for path in paths:
        parts = path.split("/")
        for cut in range(len(parts)):
            if "/".join(parts[:cut]) in places:
                names.setdefault("/".join(parts[cut:-1]), set()).add(parts[-1])
    found: set[str] = set()
    for place in places:
        inside = sources.listing(place)
        for below, ends in names.items():
            # Most folders have no such folder below them, and their listing says so.
            if below and below.partition("/")[0] not in inside:
                continue
            folder = f"{place}/{below}".strip("/")
            there = inside if not below else sources.listing(folder)
            found.update(f"{folder}/{name}" if folder else name for name in there & ends)
    return tuple(sorted(found))


def inputs_of(
    included: Iterable[str], folders: Sequence[str], sources: Sources, knobs: Mapping[str, str], precompiled: str = ""
) -> Inputs:
    """Return the inputs of a unit whose preprocessor opened these files."""
    files: dict[str, str] = {}
    named: set[str] = set()
    read: list[str] = []
    for path in included:
        if path.endswith(AUTOCONF):
            continue
        if not path.startswith("/"):
            read.append(path)
        stamp = sources.stamp(path)
        files[path] = stamp.digest if stamp else ""
        named.update(stamp.knobs if stamp else ())
    values = tuple((name, _value(name, knobs)) for name in sorted(named))
    return Inputs(tuple(sorted(files.items())), values, findable(read, folders, sources), precompiled)


def still(inputs: Inputs, folders: Sequence[str], sources: Sources, knobs: Mapping[str, str]) -> bool:
    """Say whether the inputs are what the tree has now."""
    for path, digest in inputs.files:
        stamp = sources.stamp(path)
        if (stamp.digest if stamp else "") != digest:
            return False
    if any(_value(name, knobs) != value for name, value in inputs.knobs):
        return False
    inside = (path for path, _ in inputs.files if not path.startswith("/"))
    return findable(inside, folders, sources) == inputs.found


def _value(name: str, knobs: Mapping[str, str]) -> str:
    """Return what a knob is: a tristate that is a module is defined under another name."""
    return knobs.get(name, f"m:{knobs[f'{name}_MODULE']}" if f"{name}_MODULE" in knobs else "")


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
