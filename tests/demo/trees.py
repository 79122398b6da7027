# SPDX-License-Identifier: Apache-2.0
"""Copies of the shipped C tree, built by the real make and compilers."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from git_hmopt.demo.tree import tree_root

WORKLOADS = ("checksums", "runqueue", "timers", "slab", "messages", "path-lookup")
COMPILERS = tuple(name for name in ("gcc", "clang") if shutil.which(name))
DIGEST = re.compile(r"^digest ([0-9a-f]{16})$", re.MULTILINE)


@dataclass(frozen=True)
class Case:
    """One input of a workload."""

    workload: str
    seed: int = 1
    size: int = 100
    offset: int = 0
    repetitions: int = 1

    @property
    def arguments(self) -> list[str]:
        """Return the words that bench takes."""
        numbers = {"seed": self.seed, "size": self.size, "offset": self.offset, "repetitions": self.repetitions}
        return [self.workload, *(word for name, value in numbers.items() for word in (f"--{name}", str(value)))]


def copy_tree(directory: Path) -> Path:
    """Copy the shipped tree into a directory that does not exist yet."""
    shutil.copytree(tree_root(), directory, ignore=shutil.ignore_patterns("build*"))
    return directory


def make(source: Path, *words: str, timeout: float = 300) -> subprocess.CompletedProcess[str]:
    """Run make as a user does, with an environment that knows nothing of this machine."""
    return subprocess.run(
        ["make", "-s", *words],
        cwd=source,
        env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def built(source: Path, *words: str) -> Path:
    """Build and return the output directory; a compiler that says anything at all is a failure."""
    output = next((word.removeprefix("O=") for word in words if word.startswith("O=")), "build")
    done = make(source, *words)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    return source / output


def bench(output: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the bench program."""
    return subprocess.run([output / "bench", *words], capture_output=True, text=True, timeout=120, check=False)


def digests(output: Path, cases: Iterable[Case]) -> dict[Case, str]:
    """Return the digest of each case; the program must agree with its model and be silent."""
    found = {}
    for case in cases:
        done = bench(output, *case.arguments)
        assert (done.returncode, done.stderr) == (0, ""), case
        (found[case],) = DIGEST.findall(done.stdout)
    return found


def written(output: Path) -> dict[str, int]:
    """Return when each file of an output directory was written, ns."""
    return {str(path.relative_to(output)): path.stat().st_mtime_ns for path in output.rglob("*") if path.is_file()}
