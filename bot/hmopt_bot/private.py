# SPDX-License-Identifier: Apache-2.0
"""Files with secrets: outside the repository, and nobody's but the one who serves."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

from git_hmopt.errors import ConfigError
from git_hmopt.store.repository import Repository

VARIABLE = "HMOPT_SERVE_SECRETS"
"""Names the server's own secrets to the processes that it starts, separated as in PATH."""
_MOST_BYTES = 1 << 20
_AT_HOME = (
    ".ssh", ".gnupg", ".netrc", ".git-credentials", ".config/git/credentials", ".config/gh", ".aws", ".azure",
    ".config/gcloud", ".docker", ".kube", ".pypirc", ".npmrc",
)  # fmt: skip
"""Where programs keep what lets them in elsewhere."""


def places(environment: Mapping[str, str], home: Path) -> list[Path]:
    """Return what no pull request's code may read, though it runs as the user who serves."""
    named = [Path(one) for one in environment.get(VARIABLE, "").split(os.pathsep) if one]
    return [*named, *(home / one for one in _AT_HOME)]


def private_path(text: str, setting: str, repository: Repository) -> Path:
    """Return the file that a setting names; ConfigError when it lies where a commit could take it along."""
    path = Path(text).expanduser()
    if not path.is_absolute():
        raise ConfigError(f"{setting}: '{text}' is no absolute path", next_step="give the whole path")
    real = path.resolve()
    for root in filter(None, (repository.worktree, repository.common_dir)):
        if real.is_relative_to(root.resolve()):
            raise ConfigError(f"{setting}: '{text}' lies in the repository that is served", next_step="keep it outside")
    return path


def private_bytes(path: Path, setting: str) -> bytes:
    """Return what a file holds; ConfigError when others could read it."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise ConfigError(f"{setting}: '{path}' cannot be read: {error.strerror}") from error
    try:
        # Of what was opened, not of what stands under its name now.
        _refuse_open(path, setting, os.fstat(handle))
        with os.fdopen(os.dup(handle), "rb") as stream:
            data = stream.read(_MOST_BYTES + 1)
    finally:
        os.close(handle)
    if len(data) > _MOST_BYTES:
        raise ConfigError(f"{setting}: '{path}' is larger than {_MOST_BYTES} bytes")
    return data


def private_lines(path: Path, setting: str) -> Iterator[tuple[int, list[str]]]:
    """Give the number and the words of each line that is no comment; ConfigError when others could read the file."""
    data = private_bytes(path, setting)
    for number, line in enumerate(data.decode("utf-8", "replace").split("\n"), start=1):
        words = line.split()
        if words and not words[0].startswith("#"):
            yield number, words


def _refuse_open(path: Path, setting: str, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise ConfigError(f"{setting}: '{path}' is no file")
    if stat.S_IMODE(found.st_mode) & 0o077:
        raise ConfigError(f"{setting}: others can read '{path}'", next_step=f"run: chmod 600 {path}")
    if found.st_uid not in (os.geteuid(), 0):
        raise ConfigError(f"{setting}: '{path}' belongs to another user")
