# SPDX-License-Identifier: Apache-2.0
"""Trust in the base's configuration, of which nothing can come from a checkout: not a file, not an overlay.

`git hmopt trust` falls back to the working tree for what a commit has not, and a job's working tree is the pull
request's. So it is asked in a working tree of the base that has no files at all.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from git_hmopt.config.document import printable
from git_hmopt.errors import ConfigError
from git_hmopt.loop.configuration import CONFIG_FILE, settle_trust
from git_hmopt.records.words import Oid
from git_hmopt.store.repository import Repository


def trust(repository: Repository, base: Oid, config: str | None, temporary: Path) -> Path | None:
    """Trust the configuration of `base`: its `.hmopt.yaml`, or its file `config`, which is returned as it was written.

    ConfigError when the commit has no such file, or names an overlay that it has not.
    """
    path = config or CONFIG_FILE
    raw = repository.read_path(base, path)
    if raw is None:
        raise ConfigError(
            printable(f"the base {base[:12]} has no {path[:200]}, and that of a pull request is not used"),
            next_step="commit one to the base branch first: git hmopt init" if config is None
            else "correct the input 'config': a path from the repository's top",
        )  # fmt: skip
    file = None
    if config is not None:
        folder = temporary / "git-hmopt-config"
        folder.mkdir(exist_ok=True)
        file = folder / Path(path).name
        file.write_bytes(raw)
    with tempfile.TemporaryDirectory(dir=temporary, prefix="git-hmopt-base-") as scratch:
        empty = Path(scratch) / "base"
        repository.git.run("worktree", "add", "--quiet", "--detach", "--no-checkout", str(empty), base)
        try:
            settle_trust(Repository.open(empty), base=base, file=file)
        finally:
            repository.git.run("worktree", "remove", "--force", str(empty))
    return file
