# SPDX-License-Identifier: Apache-2.0
"""Where a run's configuration and overlays come from: a named file, else the base commit, else the working tree.

A candidate, or a commit under review, decides nothing about how it is measured. A base commit without a configuration
is what `git hmopt init` leaves until the file is committed; then what the user trusted is in the working tree. What is
trusted is kept as well, with the repository's own overlays, so that `check` can hold any two commits against each other
by the configuration that was trusted, whatever theirs says.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from git_hmopt.config.explain import unknown
from git_hmopt.config.load import LoadedConfig, load_config
from git_hmopt.config.overlay import FILE as OVERLAY_FILE
from git_hmopt.config.overlay import Overlay, path_problem, resolve_overlays, shipped_overlays
from git_hmopt.config.trust import TRUST_KEY, check_trust, trust_digest
from git_hmopt.errors import ConfigError, RepositoryError, StoreError, UntrustedError
from git_hmopt.records.words import Oid
from git_hmopt.store.objects import GITLINK, SYMLINK, TREE
from git_hmopt.store.repository import Repository

CONFIG_FILE = ".hmopt.yaml"


@dataclass(frozen=True)
class Configuration:
    """Checked configuration bytes, and the working tree that may have what the base commit has not."""

    loaded: LoadedConfig
    raw: bytes
    local_root: Path


class LocalOverlays:
    """Where the overlays `./path` of a run lie: those of the base commit are copied out of it.

    With a configuration of the base commit every overlay must be there too. With one of the working tree, or a file
    that was named, an overlay that the commit has not is taken from the working tree, and `notes` says so.
    """

    def __init__(self, repository: Repository, commit: Oid, origin: str, local_root: Path) -> None:
        self._repository = repository
        self._commit = commit
        self._strict = origin.endswith(f":{CONFIG_FILE}")
        self._local_root = local_root
        self.notes: list[str] = []

    def __call__(self, name: str) -> Path:
        """Return the directory below which the overlay's path lies; ConfigError when the base commit must have it."""
        inner = name.removeprefix("./").rstrip("/")
        if path_problem(inner):
            return self._local_root  # refused where it is looked up
        entry = self._repository.find_entry(self._commit, inner)
        if entry is not None and entry.mode == TREE:
            return self._copied(entry.oid, inner)
        if self._strict:
            raise ConfigError(
                f"overlay '{name}' is not in the base commit {self._commit[:12]}, whose {CONFIG_FILE} names it",
                next_step="commit it, or start from a commit that has it",
            )
        self.notes.append(f"overlay '{name}' is not in the base commit: the working tree's was used")
        return self._local_root

    def _copied(self, tree: Oid, inner: str) -> Path:
        root = self._repository.home / "overlays" / tree
        target = root / inner
        if target.is_dir():
            return root
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=root.parent) as scratch:
                made = Path(scratch) / "overlay"
                made.mkdir()
                self._write(tree, made)
                # All of it or nothing: a kill leaves no half an overlay under this name.
                made.rename(target)
        except OSError as error:
            if target.is_dir():
                return root  # another run of this repository was faster
            raise StoreError(f"'{target}' cannot be written: {error.strerror}", next_step="free space there") from error
        return root

    def _write(self, tree: Oid, into: Path) -> None:
        for mode, oid, path in self._repository.list_tree(tree):
            if mode == GITLINK:
                continue
            place = into / path
            place.parent.mkdir(parents=True, exist_ok=True)
            if mode == SYMLINK:
                # One that leads outside is refused when the overlay is read.
                place.symlink_to(os.fsdecode(self._repository.read_blob(oid)))
            else:
                place.write_bytes(self._repository.read_blob(oid))


def find(repository: Repository, base: str = "HEAD", *, file: Path | None = None) -> Configuration:
    """Return the configuration for `base`, or the one in `file`; ConfigError when there is none anywhere."""
    root = repository.require_worktree()
    if file is not None:
        named = _read(file, str(file))
        # A run records its origin, and records name no directory of this machine.
        return Configuration(load_config(named, origin=file.name), named, root)
    raw = repository.read_path(repository.resolve(base), CONFIG_FILE)
    origin = f"{base}:{CONFIG_FILE}"
    if raw is None:
        origin = CONFIG_FILE
        raw = _in_worktree(root)
        if raw is None:
            raise ConfigError(f"there is no {CONFIG_FILE} here", next_step="write one: git hmopt init")
    return Configuration(load_config(raw, origin=origin), raw, root)


def notes_on(loaded: LoadedConfig, local_root: Path) -> list[str]:
    """Return what a reader of the run must know of where its configuration came from."""
    if loaded.origin == CONFIG_FILE:
        return [f"the base commit has no {CONFIG_FILE}: the working tree's was used"]
    if not loaded.origin.endswith(f":{CONFIG_FILE}"):
        return [f"the configuration '{loaded.origin}' was used"]
    if _in_worktree(local_root) not in (loaded.raw, None):
        return [f"{loaded.origin} was used; the {CONFIG_FILE} of the working tree differs from it"]
    return []


def _in_worktree(root: Path) -> bytes | None:
    path = root / CONFIG_FILE
    return _read(path, CONFIG_FILE) if path.exists() else None


def ready(repository: Repository, *, base: str, allow_dirty: bool, file: Path | None = None) -> Configuration:
    """Return the configuration of a repository that a run may start in; says what is wrong otherwise."""
    repository.require_worktree()
    repository.resolve(base)
    refuse_dirty(repository, allow_dirty=allow_dirty)
    found = find(repository, base, file=file)
    try:
        check_trust(repository.config_get(_key(file)), _digest(repository, found, base), file=_shown(file))
    except UntrustedError as error:
        if base == "HEAD":
            raise
        raise UntrustedError(error.what, next_step=f"{error.next_step} --base {base}") from error
    return found


def refuse_dirty(repository: Repository, *, allow_dirty: bool) -> None:
    """Raise RepositoryError when tracked files have changes that no commit holds."""
    if not allow_dirty and repository.is_dirty():
        raise RepositoryError(
            "tracked files have changes that would not be in the run",
            next_step="commit or stash them, or run on the commit as it is with --allow-dirty",
        )


def settle_trust(repository: Repository, *, base: str = "HEAD", file: Path | None = None) -> tuple[str, str]:
    """Trust the configuration for `base`, or in `file`; return where it stands and the git setting that says so."""
    found = find(repository, base, file=file)
    overlays = _overlays(found, _places(repository, found, base))
    digest = trust_digest(found.raw, overlays)
    _keep(repository, found, overlays, digest)
    repository.config_set(_key(file), digest)
    return found.loaded.origin, _key(file)


def trusted(repository: Repository, *, file: Path | None = None) -> Configuration:
    """Return the configuration as it was trusted, its overlays included, whatever is checked out now.

    UntrustedError when none was trusted; StoreError when what was trusted is no longer kept here.
    """
    digest = repository.config_get(_key(file))
    if not digest:
        check_trust(digest, "", file=_shown(file))
    root = _kept_at(repository, digest or "")
    if not (root / CONFIG_FILE).is_file():
        raise StoreError(
            "the configuration that was trusted here is no longer kept in this clone",
            next_step=f"trust it again: git hmopt trust{f' --config {file}' if file else ''}",
        )
    raw = _read(file or root / CONFIG_FILE, CONFIG_FILE)
    found = Configuration(load_config(raw, origin=file.name if file else f"trusted {CONFIG_FILE}"), raw, root)
    check_trust(digest, trust_digest(raw, _overlays(found, root)), file=_shown(file))
    return found


def other_than_trusted(repository: Repository, kept: Configuration, commit: Oid) -> list[str]:
    """Return the files of a trusted configuration, its overlays included, that are others in `commit` or not there."""
    found = []
    for path in sorted(path for path in kept.local_root.rglob("*") if path.is_symlink() or path.is_file()):
        name = path.relative_to(kept.local_root).as_posix()
        there = repository.read_path(commit, name)
        content = os.fsencode(path.readlink()) if path.is_symlink() else path.read_bytes()
        # Beside what an overlay names, its directory may hold what nobody ever committed.
        if there != content and (there is not None or path.name in (CONFIG_FILE, OVERLAY_FILE)):
            found.append(name)
    return found


def _key(file: Path | None) -> str:
    """Return the git setting a digest is kept under: trust in another file does not take back that in .hmopt.yaml."""
    return TRUST_KEY if file is None else f"hmopt.{file.resolve()}.trust"


def _shown(file: Path | None) -> str | None:
    return None if file is None else str(file)


def _read(path: Path, shown: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"'{shown}' cannot be read: {error.strerror}") from error


def _kept_at(repository: Repository, digest: str) -> Path:
    return repository.home / "trusted" / digest.strip().removeprefix("1:")


def _keep(repository: Repository, found: Configuration, overlays: tuple[Overlay, ...], digest: str) -> None:
    """Keep the bytes that are trusted, laid out as in the repository; what was kept before is replaced whole."""
    target = _kept_at(repository, digest)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix="new-") as name:
            made = Path(name) / "kept"
            made.mkdir()
            (made / CONFIG_FILE).write_bytes(found.raw)
            for overlay in overlays:
                if overlay.name.startswith("./"):
                    shutil.copytree(overlay.directory, made / overlay.name, symlinks=True, dirs_exist_ok=True)
            shutil.rmtree(target, ignore_errors=True)
            made.rename(target)
    except OSError as error:
        raise StoreError(f"'{target}' cannot be written: {error.strerror}", next_step="free space there") from error


def _digest(repository: Repository, found: Configuration, base: str) -> str:
    return trust_digest(found.raw, _overlays(found, _places(repository, found, base)))


def _places(repository: Repository, found: Configuration, base: str) -> LocalOverlays:
    return LocalOverlays(repository, repository.resolve(base), found.loaded.origin, found.local_root)


def _overlays(found: Configuration, places: Path | Callable[[str], Path]) -> tuple[Overlay, ...]:
    known = shipped_overlays()
    names = []
    for owner, workload in found.loaded.config.workloads.items():
        for index, name in enumerate(workload.overlays):
            if not name.startswith("./") and name not in known:
                where = found.loaded.at("workloads", owner, "overlays", index)
                raise where.refuse(f"{unknown(name, known, what='overlay')}; one of the repository itself is './path'")
            names.append(name)
    return resolve_overlays(tuple(dict.fromkeys(names)), repository_root=places)
