# SPDX-License-Identifier: Apache-2.0
"""Where a run's configuration comes from: the base commit when it has one, else the file in the working tree."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from git_hmopt.config.load import LoadedConfig, load_config
from git_hmopt.config.overlay import Overlay, resolve_overlays
from git_hmopt.config.trust import TRUST_KEY, check_trust, trust_digest
from git_hmopt.errors import ConfigError, RepositoryError
from git_hmopt.store.repository import Repository

CONFIG_FILE = ".hmopt.yaml"


@dataclass(frozen=True)
class Configuration:
    """Checked configuration bytes and the directory that its `./` overlays are relative to."""

    loaded: LoadedConfig
    raw: bytes
    local_root: Path


def find(repository: Repository, base: str = "HEAD") -> Configuration:
    """Return the configuration for `base`; ConfigError when there is none anywhere."""
    root = repository.require_worktree()
    commit = repository.resolve(base)
    raw = repository.read_path(commit, CONFIG_FILE)
    origin = f"{base}:{CONFIG_FILE}"
    if raw is None:
        origin = CONFIG_FILE
        try:
            raw = (root / CONFIG_FILE).read_bytes()
        except FileNotFoundError as error:
            raise ConfigError(f"there is no {CONFIG_FILE} here", next_step="write one: git hmopt init") from error
        except OSError as error:
            raise ConfigError(f"{CONFIG_FILE} cannot be read: {error.strerror}") from error
    return Configuration(load_config(raw, origin=origin), raw, root)


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
    check_trust(repository.config_get(TRUST_KEY), _digest(found))
    return found


def settle_trust(repository: Repository, *, base: str = "HEAD") -> str:
    """Trust the configuration for `base` and return where it stands."""
    found = find(repository, base)
    repository.config_set(TRUST_KEY, _digest(found))
    return found.loaded.origin


def _digest(found: Configuration) -> str:
    names = [name for workload in found.loaded.config.workloads.values() for name in workload.overlays]
    overlays: tuple[Overlay, ...] = resolve_overlays(tuple(dict.fromkeys(names)), repository_root=found.local_root)
    return trust_digest(found.raw, overlays)
