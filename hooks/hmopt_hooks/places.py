# SPDX-License-Identifier: Apache-2.0
"""Where hooks go, what is there, and how ours come and leave without losing what somebody else put there.

What install may meet (the numbers stand in the code):
1. nothing: ours is written;
2. ours, or ours of another version or place: it is written anew;
3. a foreign one: it is renamed to `<hook>.hmopt-kept`, and ours runs it;
4. ours that somebody edited: refused, unless forced;
5. a foreign one beside a kept one, as when another tool wrote over ours: refused, since two would have to be kept.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from git_hmopt.errors import ConfigError, StoreError
from git_hmopt.store.repository import Repository
from hmopt_hooks.scripts import Hook, Origin, origin, script

KEPT = ".hmopt-kept"
_FORCE = "look at it, then force it: --force"


@dataclass(frozen=True)
class Folder:
    """The directory git looks for hooks in, and why it may not be ours to write to."""

    path: Path
    shared: str | None
    """In words: whose it is besides this repository's; None when nobody else is meant."""


@dataclass(frozen=True)
class Found:
    """What stands where a hook goes."""

    hook: Hook
    origin: Origin | None
    """None: there is no hook."""
    kept: bool
    """Whether something is kept that was there before ours."""
    runs: bool
    """Whether git would run it: the file may be executed."""


def folder_of(repository: Repository) -> Folder:
    """Return where this repository's hooks are."""
    git = repository.git
    where = git.run("rev-parse", "--path-format=absolute", "--git-path", "hooks", settings=()).output
    path = Path(os.fsdecode(where.removesuffix(b"\n")))
    said = git.run("config", "--show-scope", "--get", "core.hooksPath", ok=(0, 1), settings=()).text
    scope = said.partition("\t")[0]
    if scope in ("global", "system", "command"):
        return Folder(path, f"core.hooksPath ({scope}) has it for every repository")
    tree, git_dir = repository.worktree, repository.common_dir
    if tree is not None and path.is_relative_to(tree) and not path.is_relative_to(git_dir):
        return Folder(path, "it is in the working tree, where others get it with a commit")
    return Folder(path, None)


def find(folder: Folder, hook: Hook, tool: str) -> Found:
    """Say what stands where a hook goes; StoreError when it cannot be read."""
    path = folder.path / hook
    kept = os.path.lexists(path.with_name(hook + KEPT))
    if not os.path.lexists(path):
        return Found(hook, None, kept, False)
    if path.is_symlink() or not path.is_file():
        return Found(hook, Origin.FOREIGN, kept, os.access(path, os.X_OK) and path.is_file())
    try:
        data = path.read_bytes()
    except OSError as error:
        raise StoreError(f"'{path}' cannot be read: {error.strerror}", next_step="make it readable") from error
    return Found(hook, origin(data, hook, tool), kept, os.access(path, os.X_OK))


def install(folder: Folder, hook: Hook, tool: str, *, force: bool) -> bool:
    """Put our hook there; False when it was there already. ConfigError and StoreError say what stands in the way."""
    found, path = find(folder, hook, tool), folder.path / hook
    if found.origin is Origin.OURS and found.runs:
        return False
    if found.origin is Origin.EDITED and not force:  # 4
        raise ConfigError(f"'{path}' is ours, and somebody edited it", next_step=_FORCE)
    if found.origin is Origin.FOREIGN:
        if found.kept:  # 5
            raise ConfigError(
                f"'{path}' is another tool's, and what it replaced is kept beside it as {hook}{KEPT}",
                next_step="join the two, or move one away",
            )
        _moved(path, path.with_name(hook + KEPT))  # 3
    _written(path, script(hook, tool))  # 1, 2
    return True


def uninstall(folder: Folder, hook: Hook, tool: str, *, force: bool) -> bool:
    """Take our hook away and put back what was there, byte for byte; False when none of ours is there."""
    found, path = find(folder, hook, tool), folder.path / hook
    kept = path.with_name(hook + KEPT)
    if found.origin is Origin.FOREIGN or (found.origin is None and not found.kept):
        return False
    if found.origin is Origin.EDITED and not force:
        raise ConfigError(f"'{path}' is ours, and somebody edited it", next_step=_FORCE)
    if found.kept:
        _moved(kept, path)
        return True
    try:
        path.unlink()
    except OSError as error:
        raise _unwritable(path, error) from error
    return True


def asks_for_its_name(folder: Folder, hook: Hook) -> bool:
    """Say whether what is kept seems to serve several hooks, by what it is called."""
    try:
        data = (folder.path / (hook + KEPT)).read_bytes()
    except OSError:
        return False
    return any(word in data for word in (b"basename", b"PROGRAM_NAME", b"${0##"))


def _moved(source: Path, target: Path) -> None:
    try:
        source.replace(target)
    except OSError as error:
        raise _unwritable(target, error) from error


def _written(path: Path, data: bytes) -> None:
    fresh = path.with_name(f".{path.name}.hmopt-new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # A link that somebody laid there is not followed.
        fresh.unlink(missing_ok=True)
        with fresh.open("xb") as stream:
            stream.write(data)
            mode = stat.S_IMODE(os.fstat(stream.fileno()).st_mode)
            # Who may read it may run it, as the umask has it (core.sharedRepository is a matter of the directory).
            os.fchmod(stream.fileno(), mode | (mode & 0o444) >> 2)
        fresh.replace(path)
    except OSError as error:
        raise _unwritable(path, error) from error


def _unwritable(path: Path, error: OSError) -> StoreError:
    return StoreError(f"'{path}' cannot be written: {error.strerror}", next_step="make its directory writable")
