# SPDX-License-Identifier: Apache-2.0
"""Confine a build, a test or a workload with bubblewrap: no network, one writable directory, own processes."""

from __future__ import annotations

import functools
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from git_hmopt.errors import StoreError

# UML maps its memory from /dev/shm and keeps its pid file in /tmp (KERNELS.md, "Sandboxing").
_BASE = (
    *("bwrap", "--unshare-all", "--die-with-parent", "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc"),
    *("--tmpfs", "/dev/shm", "--tmpfs", "/tmp", "--tmpfs", "/run"),
)


@dataclass(frozen=True)
class Sandbox:
    """What a sandboxed program may write; everything else is read-only or empty, and there is no network."""

    writable: tuple[Path, ...]
    readable: tuple[Path, ...] = ()
    """Paths that must be seen although they lie below /tmp or /run, which are empty inside."""
    hidden: tuple[Path, ...] = ()
    """Directories shown empty (a home with credentials, for one)."""

    def wrap(self, argv: Sequence[str], *, cwd: Path | None = None) -> list[str]:
        """Return the argument vector that runs `argv` inside; unchanged when bubblewrap does not work here.

        A writable directory that is not there is made; StoreError when it cannot be.
        """
        if sandbox_missing() is not None:
            return list(argv)
        # bwrap takes a relative path for one below its new root.
        writable = [path.absolute() for path in self.writable]
        readable = [path.absolute() for path in self.readable]
        hidden = [path.absolute() for path in self.hidden]
        wrapped = list(_BASE)
        for path in hidden:
            if path.is_dir():
                wrapped += ["--tmpfs", str(path)]
        for path in readable:
            if path.exists():
                wrapped += ["--ro-bind", str(path), str(path)]
        for path in writable:
            _make(path)
            wrapped += ["--bind", str(path), str(path)]
        if cwd is not None:
            place = cwd.absolute()
            empty = _below(place, (Path("/tmp"), Path("/run"), *hidden))
            if empty and not _below(place, (*writable, *readable)):
                wrapped += ["--ro-bind", str(place), str(place)]
            wrapped += ["--chdir", str(place)]
        return [*wrapped, "--", *argv]


def _make(path: Path) -> None:
    # A bind of a path that does not exist under a read-only root fails with an obscure word.
    try:
        path.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        return
    except OSError as error:
        raise StoreError(f"the directory {path} cannot be made: {error.strerror}") from error


def _below(path: Path, tops: Sequence[Path]) -> bool:
    return any(path == top or top in path.parents for top in tops)


@functools.cache
def sandbox_missing() -> str | None:
    """Return None when programs can be sandboxed here, else the reason why not, in words for the user."""
    if shutil.which("bwrap") is None:
        return (
            "bwrap is not installed: builds, tests and workloads run unconfined (install: apt-get install bubblewrap)"
        )
    try:
        probe = subprocess.run([*_BASE, "--", "/bin/true"], capture_output=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"bwrap does not work here ({error}): builds, tests and workloads run unconfined"
    if probe.returncode != 0:
        reason = " ".join(probe.stderr.decode(errors="replace").split()) or f"exit code {probe.returncode}"
        return f"bwrap does not work here ({reason}): builds, tests and workloads run unconfined"
    return None
