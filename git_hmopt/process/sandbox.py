# SPDX-License-Identifier: Apache-2.0
"""Confine a build, a test or a workload with bubblewrap: no network, one writable directory, own processes."""

from __future__ import annotations

import functools
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from git_hmopt.errors import StoreError

# UML maps its memory from /dev/shm and keeps its pid file in /tmp (KERNELS.md, "Sandboxing").
_BASE = (
    *("bwrap", "--unshare-all", "--die-with-parent", "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc"),
    *("--tmpfs", "/dev/shm", "--tmpfs", "/tmp", "--tmpfs", "/run"),
)


_PRIVATE: list[Path] = []


def keep_private(places: Iterable[Path]) -> None:
    """Have no sandbox of this process show what stands in these files and directories; what runs inside is our user's.

    Files cannot be opened inside, directories are empty; what is not there yet when a program begins is not hidden.
    """
    _PRIVATE[:] = [place.resolve() for place in places]


@dataclass(frozen=True)
class Sandbox:
    """What a sandboxed program may write; everything else is read-only or empty, and there is no network."""

    writable: tuple[Path, ...]
    readable: tuple[Path, ...] = ()
    """Paths that must be seen although they lie below /tmp or /run, which are empty inside."""

    def wrap(self, argv: Sequence[str], *, cwd: Path | None = None) -> list[str]:
        """Return the argument vector that runs `argv` inside; unchanged when bubblewrap does not work here.

        A writable directory that is not there is made; StoreError when it cannot be.
        """
        if sandbox_missing() is not None:
            return list(argv)
        wrapped = list(_BASE)
        for place, how in self._mounts(cwd):
            if how == "--bind":
                _make(Path(place))
            if Path(place).exists():
                wrapped += [how, place, place]
        for secret in _PRIVATE:
            # Last: whatever else is shown, this is not.
            if secret.is_dir():
                wrapped += ["--tmpfs", str(secret)]
            elif secret.exists():
                wrapped += ["--ro-bind", "/dev/null", str(secret)]
        if cwd is not None:
            wrapped += ["--chdir", str(cwd.absolute())]
        return [*wrapped, "--", *argv]

    def _mounts(self, cwd: Path | None) -> list[tuple[str, str]]:
        """Return what is put over the read-only root, and how: of two places, the deeper one is put over the other."""
        # bwrap takes a relative path for one below its new root.
        how = {str(path.absolute()): "--ro-bind" for path in (*self.readable, *([cwd] if cwd else []))}
        how |= {str(path.absolute()): "--bind" for path in self.writable}
        above = {"/": "--ro-bind", "/tmp": "--tmpfs", "/run": "--tmpfs"} | how
        mounts = []
        for place in sorted(how, key=lambda one: one.count("/")):
            parent = place.rpartition("/")[0] or "/"
            while parent not in above:
                parent = parent.rpartition("/")[0] or "/"
            # What can be read where it lies needs no mount of its own; what lies in a writable place stays writable.
            if how[place] != "--ro-bind" or above[parent] == "--tmpfs":
                mounts.append((place, how[place]))
        return mounts


def _make(path: Path) -> None:
    # A bind of a path that does not exist under a read-only root fails with an obscure word.
    try:
        path.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        return
    except OSError as error:
        raise StoreError(f"the directory {path} cannot be made: {error.strerror}") from error


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
