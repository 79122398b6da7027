# SPDX-License-Identifier: Apache-2.0
"""Where a run's configuration and overlays come from: the base commit when it has them, else the working tree.

A candidate, or a commit under review, decides nothing about how it is measured. A base commit without a configuration
is what `git hmopt init` leaves until the file is committed; then what the user trusted is in the working tree.
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from git_hmopt.config.load import LoadedConfig, load_config
from git_hmopt.config.overlay import Overlay, path_problem, resolve_overlays
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

    With a configuration of the base commit every overlay must be there too. With one of the working tree, an overlay
    that the commit has not is taken from there, and `notes` says so.
    """

    def __init__(self, repository: Repository, commit: Oid, origin: str, local_root: Path) -> None:
        self._repository = repository
        self._commit = commit
        self._strict = origin != CONFIG_FILE
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


def find(repository: Repository, base: str = "HEAD") -> Configuration:
    """Return the configuration for `base`; ConfigError when there is none anywhere."""
    root = repository.require_worktree()
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
    if _in_worktree(local_root) not in (loaded.raw, None):
        return [f"{loaded.origin} was used; the {CONFIG_FILE} of the working tree differs from it"]
    return []


def _in_worktree(root: Path) -> bytes | None:
    try:
        return (root / CONFIG_FILE).read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(f"{CONFIG_FILE} cannot be read: {error.strerror}") from error


def ready(repository: Repository, *, base: str, allow_dirty: bool) -> Configuration:
    """Return the configuration of a repository that a run may start in; says what is wrong otherwise."""
    repository.require_worktree()
    repository.resolve(base)
    if not allow_dirty and repository.is_dirty():
        raise RepositoryError(
            "tracked files have changes that would not be in the run",
            next_step="commit or stash them, or run on the commit as it is with --allow-dirty",
        )
    found = find(repository, base)
    try:
        check_trust(repository.config_get(TRUST_KEY), _digest(repository, found, base))
    except UntrustedError as error:
        if base == "HEAD":
            raise
        raise UntrustedError(error.what, next_step=f"{error.next_step} --base {base}") from error
    return found


def settle_trust(repository: Repository, *, base: str = "HEAD") -> str:
    """Trust the configuration for `base` and return where it stands."""
    found = find(repository, base)
    repository.config_set(TRUST_KEY, _digest(repository, found, base))
    return found.loaded.origin


def _digest(repository: Repository, found: Configuration, base: str) -> str:
    names = [name for workload in found.loaded.config.workloads.values() for name in workload.overlays]
    places = LocalOverlays(repository, repository.resolve(base), found.loaded.origin, found.local_root)
    overlays: tuple[Overlay, ...] = resolve_overlays(tuple(dict.fromkeys(names)), repository_root=places)
    return trust_digest(found.raw, overlays)
