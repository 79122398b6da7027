# SPDX-License-Identifier: Apache-2.0
"""Make CACHE/linux, a git checkout of the distribution's Linux 6.1 source package, once for a tarball."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

TARBALL = Path("/usr/src/linux-source-6.1.tar.xz")
FIXED = {
    "GIT_AUTHOR_NAME": "git-hmopt tests",
    "GIT_AUTHOR_EMAIL": "tests@localhost",
    "GIT_COMMITTER_NAME": "git-hmopt tests",
    "GIT_COMMITTER_EMAIL": "tests@localhost",
    "GIT_AUTHOR_DATE": "2026-01-01T00:00:00Z",
    "GIT_COMMITTER_DATE": "2026-01-01T00:00:00Z",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_NOSYSTEM": "1",
}


def main(cache: Path) -> None:
    """Unpack, repair .gitignore, commit."""
    cache.mkdir(parents=True, exist_ok=True)
    if not TARBALL.is_file():
        sys.exit(f"{TARBALL} is missing; install it with: apt-get install linux-source-6.1")
    with TARBALL.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    # CI begins with this beside its tests, and comes here again when they are done.
    with (cache / "prepare.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        unpack(cache, digest)


def unpack(cache: Path, digest: str) -> None:
    """Do it, unless it is done."""
    stamp = cache / "source.sha256"
    linux = cache / "linux"
    if stamp.is_file() and stamp.read_text().strip() == digest and (linux / ".git").is_dir():
        return
    stamp.unlink(missing_ok=True)
    shutil.rmtree(linux, ignore_errors=True)
    linux.mkdir(parents=True)
    print(f"unpacking {TARBALL.name}", flush=True)
    subprocess.run(["tar", "-C", str(linux), "--strip-components=1", "-xf", str(TARBALL)], check=True)
    ignore = linux / ".gitignore"
    # Debian appends a block that ignores everything at the top; with it `git add -A` adds nothing and says nothing.
    ignore.write_text(re.split(r"(?m)^#\n# Debian packaging", ignore.read_text())[0])
    for command in (
        ["init", "-q", "-b", "main"],
        ["add", "-A", "-f"],
        ["commit", "-q", "-m", "Linux 6.1, as packaged"],
    ):
        subprocess.run(["git", "-c", "gc.auto=0", *command], cwd=linux, env={**os.environ, **FIXED}, check=True)
    stamp.write_text(digest + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
