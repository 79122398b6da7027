# SPDX-License-Identifier: Apache-2.0
"""Overlays: files and Kconfig a workload adds to the tree it is built in (an in-kernel benchmark, for one).

An overlay is a directory with `overlay.yaml`: `{v: 1, description, files: {path in tree: file in the overlay},
append: {path in tree: [lines]}, kconfig: [CONFIG_X=y], requires: [names]}`. It only adds: replacing a file of the
tree would measure something else than the tree.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from git_hmopt.config.document import Document, KeyPath, parse_document, refuse
from git_hmopt.config.explain import unknown, validate
from git_hmopt.config.load import check_version
from git_hmopt.errors import ConfigError

GROUP = "git_hmopt.overlays"
FILE = "overlay.yaml"
VERSION = 1
_KCONFIG = re.compile(
    r'CONFIG_[A-Za-z0-9_]+=(?:[ymn]|-?[0-9]+|0x[0-9a-fA-F]+|"[^"\n]*")|# CONFIG_[A-Za-z0-9_]+ is not set'
)


class _OverlayFile(BaseModel):
    """The schema of `overlay.yaml`, version 1."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    v: Literal[1]
    description: str = Field(min_length=1)
    files: dict[str, str] = Field(default_factory=dict)
    append: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    kconfig: tuple[str, ...] = ()
    requires: tuple[str, ...] = ()


RootOf = Callable[[str], Path]
"""From `./path`, an overlay's name, to the directory below which `path` is to be read."""


@dataclass(frozen=True)
class Overlay:
    """A loaded overlay; its bytes are in it, so that applying reads nothing but the tree."""

    name: str
    """The name of a shipped overlay, or `./path` of a local one."""
    directory: Path
    description: str
    files: Mapping[str, bytes] = field(repr=False)
    append: Mapping[str, tuple[str, ...]] = field(repr=False, default_factory=dict)
    kconfig: tuple[str, ...] = ()
    requires: tuple[str, ...] = ()
    version: str | None = None
    """The version of the package that ships it; None for a local one."""
    digest: str = ""
    """sha256 over all it adds."""


def load_overlay(directory: Path, *, name: str | None = None, version: str | None = None) -> Overlay:
    """Return the overlay in `directory`. Raises ConfigError with the file and line of what is wrong."""
    label = name or directory.name
    path = directory / FILE
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"overlay '{label}' cannot be read: {path}: {error.strerror}") from error
    # The user knows a local overlay by its name in the repository, wherever that is checked out.
    document = parse_document(data, origin=f"{label}/{FILE}" if label.startswith("./") else str(path))
    check_version(document, key="v", newest=VERSION)
    parsed = validate(_OverlayFile, document.value, origin=document.origin, lines=document.lines)
    _check(parsed, document)
    files = {
        target: _read_source(directory, source, document, ("files", target)) for target, source in parsed.files.items()
    }
    return Overlay(
        name=label,
        directory=directory,
        description=parsed.description,
        files=files,
        append=parsed.append,
        kconfig=parsed.kconfig,
        requires=parsed.requires,
        version=version,
        digest=_digest(files, parsed.append, parsed.kconfig, parsed.requires),
    )


def find_overlay(name: str, *, repository_root: Path | RootOf) -> Path:
    """Return the directory of an overlay: `./path` in the repository, else a shipped one by its name."""
    if name.startswith("./"):
        return _local(name, repository_root if isinstance(repository_root, Path) else repository_root(name))
    shipped = shipped_overlays()
    if name not in shipped:
        hint = unknown(name, shipped, what="overlay")
        raise ConfigError(hint, next_step="an overlay of the repository itself is written './path'")
    return shipped[name][0]


def resolve_overlays(names: Sequence[str], *, repository_root: Path | RootOf) -> tuple[Overlay, ...]:
    """Find and load overlays and all they require, required ones first, each once, in the order they are named.

    `repository_root` may be asked for each local overlay, whose bytes need not all come from one place.
    """
    loaded: dict[str, Overlay] = {}
    wanted = list(names)
    while wanted:
        name = wanted.pop(0)
        if name in loaded:
            continue
        directory = find_overlay(name, repository_root=repository_root)
        version = None if name.startswith("./") else shipped_overlays()[name][1]
        loaded[name] = load_overlay(directory, name=name, version=version)
        wanted.extend(loaded[name].requires)
    return ordered(tuple(loaded[name] for name in dict.fromkeys([*names, *loaded])))


def ordered(overlays: Sequence[Overlay]) -> tuple[Overlay, ...]:
    """Return overlays with every required one before those that require it; a circle or a gap is a ConfigError."""
    known = {overlay.name: overlay for overlay in overlays}
    done: dict[str, Overlay] = {}

    def visit(overlay: Overlay, trail: tuple[str, ...]) -> None:
        if overlay.name in done:
            return
        if overlay.name in trail:
            raise ConfigError(f"overlays require each other in a circle: {' -> '.join((*trail, overlay.name))}")
        for name in overlay.requires:
            if name not in known:
                raise ConfigError(f"overlay '{overlay.name}' requires '{name}', which is not among the overlays given")
            visit(known[name], (*trail, overlay.name))
        done[overlay.name] = overlay

    for overlay in overlays:
        visit(overlay, ())
    return tuple(done.values())


def apply_overlays(overlays: Sequence[Overlay], read: Callable[[str], bytes | None]) -> dict[str, bytes]:
    """Return the new content of every path the overlays touch; `read` gives the tree's own, None where there is none.

    Appending to a file that does not exist creates it. Replacing a file, of the tree or of another overlay, and a
    path that leaves the tree raise ConfigError.
    """
    made: dict[str, bytes] = {}
    owner: dict[str, str] = {}
    for overlay in ordered(overlays):
        for path, content in overlay.files.items():
            _refuse_path(overlay.name, path)
            if path in made:
                raise ConfigError(
                    f"overlay '{overlay.name}' would replace '{path}', which overlay '{owner[path]}' made"
                )
            if read(path) is not None:
                raise ConfigError(f"overlay '{overlay.name}' would replace '{path}' of the tree; overlays only add")
            made[path], owner[path] = content, overlay.name
        for path, lines in overlay.append.items():
            _refuse_path(overlay.name, path)
            before = made[path] if path in made else read(path) or b""
            made[path] = _appended(before, lines)
            owner.setdefault(path, overlay.name)
    _refuse_file_as_directory(made, owner, read)
    return made


def overlay_kconfig(overlays: Sequence[Overlay]) -> tuple[str, ...]:
    """Return the Kconfig lines of all overlays, required ones first, each once."""
    return tuple(dict.fromkeys(line for overlay in ordered(overlays) for line in overlay.kconfig))


def overlay_digest(overlays: Iterable[Overlay]) -> str:
    """Return one sha256 over all that these overlays add, for the keys of build trees and floors."""
    whole = hashlib.sha256()
    for overlay in overlays:
        whole.update(hashlib.sha256(overlay.name.encode()).digest() + bytes.fromhex(overlay.digest))
    return whole.hexdigest()


def path_problem(path: str) -> str | None:
    """Return why `path` is none an overlay may write in a tree, or None when it is one."""
    parts = path.split("/")
    if not path or path.startswith("/"):
        return "is not relative to the tree"
    if any(part in ("", ".", "..") for part in parts):
        return "leaves the tree or is not in its shortest form"
    if any(part.lower() == ".git" for part in parts):
        return "is inside .git"
    if any(character in path for character in "\\\0\n"):
        return "holds a character that no path of a tree has"
    return None


def _check(parsed: _OverlayFile, document: Document) -> None:
    for section, paths in (("files", list(parsed.files)), ("append", list(parsed.append))):
        for path in paths:
            problem = path_problem(path)
            if problem:
                raise _refusal(document, (section, path), f"{problem}, expected a path inside the tree")
    for path, lines in parsed.append.items():
        for index, line in enumerate(lines):
            if "\n" in line:
                raise _refusal(document, ("append", path, index), "holds a line break, expected one line an entry")
    for index, line in enumerate(parsed.kconfig):
        if not _KCONFIG.fullmatch(line):
            wanted = "CONFIG_NAME=value or '# CONFIG_NAME is not set'"
            raise _refusal(document, ("kconfig", index), f"got '{line}', expected {wanted}")
    if not (parsed.files or parsed.append or parsed.kconfig or parsed.requires):
        raise refuse(document.origin, 1, (), "adds nothing, expected files, append, kconfig or requires")


def _refusal(document: Document, path: KeyPath, what: str) -> ConfigError:
    return refuse(document.origin, document.line(path), path, what)


def _read_source(directory: Path, source: str, document: Document, at: KeyPath) -> bytes:
    problem = path_problem(source)
    if problem:
        raise _refusal(document, at, f"'{source}' {problem}, expected a file of the overlay")
    path = directory / source
    # A symbolic link may lead to a key file, which would then be built and stored.
    if not path.resolve().is_relative_to(directory.resolve()):
        raise _refusal(document, at, f"'{source}' links to a place outside, expected a file of the overlay")
    if not path.is_file():
        raise _refusal(document, at, f"'{source}' does not exist, expected a file of the overlay")
    return path.read_bytes()


def _local(name: str, repository_root: Path) -> Path:
    inner = name.removeprefix("./").rstrip("/")
    problem = path_problem(inner)
    directory = repository_root / inner
    if problem is None and not directory.resolve().is_relative_to(repository_root.resolve()):
        problem = "links to a place outside the repository"
    if problem:
        raise ConfigError(f"overlay '{name}' {problem}, expected a directory of the repository")
    if not (directory / FILE).is_file():
        raise ConfigError(f"overlay '{name}' has no {FILE} in {directory}")
    return directory


def shipped_overlays() -> dict[str, tuple[Path, str]]:
    """Return directory and package version of each installed overlay."""
    found: dict[str, tuple[Path, str]] = {}
    for entry in entry_points(group=GROUP):
        root: Callable[[], Path] = entry.load()
        version = f"{entry.dist.name} {entry.dist.version}" if entry.dist else entry.value
        for path in sorted(root().glob(f"*/{FILE}")):
            name = path.parent.name
            if name in found:
                raise ConfigError(
                    f"two installed packages ship an overlay '{name}': {found[name][0]} and {path.parent}"
                )
            found[name] = (path.parent, version)
    return found


def _digest(
    files: Mapping[str, bytes], append: Mapping[str, Sequence[str]], kconfig: Sequence[str], requires: Sequence[str]
) -> str:
    whole = hashlib.sha256(b"overlay 1\n")
    entries = [("file", path, hashlib.sha256(content).hexdigest()) for path, content in sorted(files.items())]
    entries += [("append", path, repr(tuple(lines))) for path, lines in sorted(append.items())]
    entries += [("kconfig", "", repr(tuple(kconfig))), ("requires", "", repr(tuple(requires)))]
    whole.update(repr(entries).encode())
    return whole.hexdigest()


def _refuse_path(name: str, path: str) -> None:
    problem = path_problem(path)
    if problem:
        raise ConfigError(f"overlay '{name}': '{path}' {problem}")


def _refuse_file_as_directory(
    made: Mapping[str, bytes], owner: Mapping[str, str], read: Callable[[str], bytes | None]
) -> None:
    for path in made:
        parts = path.split("/")
        for depth in range(1, len(parts)):
            above = "/".join(parts[:depth])
            if above in made or read(above) is not None:
                raise ConfigError(f"overlay '{owner[path]}' adds '{path}', but '{above}' is a file")


def _appended(before: bytes, lines: Sequence[str]) -> bytes:
    if before and not before.endswith(b"\n"):
        before += b"\n"
    return before + b"".join(line.encode() + b"\n" for line in lines)
