# SPDX-License-Identifier: Apache-2.0
"""Confine a build, a test or a workload with bubblewrap: no network, one writable directory, own processes."""

from __future__ import annotations

import functools
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Sandbox:
    """What a sandboxed program may write; everything else is read-only or empty, and there is no network."""

    writable: tuple[Path, ...]
    readable: tuple[Path, ...] = ()
    """Paths that must be seen although they lie below /tmp or /run, which are empty inside."""
    hidden: tuple[Path, ...] = ()
    """Directories shown empty (a home with credentials, for one)."""

    def wrap(self, argv: Sequence[str], *, cwd: Path | None = None) -> list[str]:
        """Return the argument vector that runs `argv` inside; unchanged when bubblewrap does not work here."""
        if sandbox_missing() is not None:
            return list(argv)
        wrapped = ["bwrap", "--unshare-all", "--die-with-parent", "--ro-bind", "/", "/"]
        # UML maps its memory from /dev/shm and keeps its pid file in /tmp (KERNELS.md, "Sandboxing").
        wrapped += ["--dev", "/dev", "--proc", "/proc", "--tmpfs", "/dev/shm", "--tmpfs", "/tmp", "--tmpfs", "/run"]
        for path in self.hidden:
            if path.is_dir():
                wrapped += ["--tmpfs", str(path)]
        for path in self.readable:
            if path.exists():
                wrapped += ["--ro-bind", str(path), str(path)]
        for path in self.writable:
            # A bind of a path that does not exist under a read-only root fails with an obscure word.
            path.mkdir(parents=True, exist_ok=True)
            wrapped += ["--bind", str(path), str(path)]
        if cwd is not None:
            if _below(cwd, (Path("/tmp"), Path("/run"), *self.hidden)) and not _below(cwd, (*self.writable, *self.readable)):
                wrapped += ["--ro-bind", str(cwd), str(cwd)]
            wrapped += ["--chdir", str(cwd)]
        return [*wrapped, "--", *argv]


def _below(path: Path, tops: Sequence[Path]) -> bool:
    return any(path == top or top in path.parents for top in tops)


@functools.cache
def sandbox_missing() -> str | None:
    """Return None when programs can be sandboxed here, else the reason why not, in words for the user."""
    if shutil.which("bwrap") is None:
        return (
            "bwrap is not installed: builds, tests and workloads run unconfined (install: apt-get install bubblewrap)"
        )
    probe = subprocess.run(
        ["bwrap", "--unshare-all", "--ro-bind", "/", "/", "--", "/bin/true"],
        capture_output=True,
        timeout=20,
        check=False,
    )
    if probe.returncode != 0:
        reason = probe.stderr.decode(errors="replace").strip() or f"exit code {probe.returncode}"
        return f"bwrap does not work here ({reason}): builds, tests and workloads run unconfined"
    return None
