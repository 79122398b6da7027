# SPDX-License-Identifier: Apache-2.0
"""Images that boot without a kernel: shell scripts that print what one printed, and are run like it."""

from __future__ import annotations

from pathlib import Path

from git_hmopt.adapters import AdapterContext, BuildResult, Image, SourceTree, WorkCase, sha256_of
from git_hmopt.records.words import Seed

CASE = WorkCase(seed=Seed(7), size=100, repetitions=3, offset=1)
DIGEST = "00000000000000ff"
BOOT = "Linux version 6.1.0 (hmopt@hmopt)\n[    0.000000] Kernel command line: $*"
WINDOW = f"""\
[    0.060000] hmopt: begin toy
! sleep 0.2
[    0.060000] hmopt: end toy ns=199000000
[    0.070000] hmopt: output toy seed=7 size=100 offset=1 digest={DIGEST}
[    0.070000] hmopt: done toy
reboot: System halted"""


def fake_kernel(directory: Path, console: str, *, boot: str = BOOT) -> Image:
    """Write an image that prints `console`; a line that starts with `! ` is a shell command instead."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / "linux"
    lines = [line[2:] if line.startswith("! ") else f'echo "{line}"' for line in f"{boot}\n{console}".splitlines()]
    path.write_text("#!/bin/sh\n" + "\n".join(lines) + "\n")
    path.chmod(0o755)
    return Image(path=path, sha256=sha256_of(path), build="toy")


def context(root: Path, *, sandboxed: bool = False, cpus: tuple[int, ...] = ()) -> AdapterContext:
    """Return what the tool gives an adapter."""
    scratch = root / "scratch"
    scratch.mkdir(exist_ok=True)
    return AdapterContext(name="toy", scratch=scratch, sandboxed=sandboxed, cpus=cpus)


def built(image: Image | None, root: Path) -> BuildResult:
    """Return a build whose image is this one."""
    return BuildResult(image is not None, SourceTree(root, root / "build"), root / "log", image=image)
