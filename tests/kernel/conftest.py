# SPDX-License-Identifier: Apache-2.0
"""A real Linux 6.1, its persistent build trees, and runs of the tool in it; made by tests/kernel/run."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

PATCHES = Path(__file__).parent / "patches"
# Less measuring than a person's default, so that the whole of this fits into CI; more patches than the default allows.
QUICK = {
    "layouts: 12, boots: 10": "layouts: 8, boots: 6, null_patches: 1",
    "no_gain: 4": "no_gain: 20",
    "iterations: 6": "iterations: 20",
}


@dataclass(frozen=True)
class Kernel:
    """The checkout, and how the tool is called in it."""

    root: Path

    def git(self, *arguments: str) -> str:
        """Return what plain git prints."""
        done = subprocess.run(["git", *arguments], cwd=self.root, capture_output=True, text=True, check=True)
        return done.stdout

    def hmopt(self, *arguments: str, codes: tuple[int, ...] = (0, 1)) -> subprocess.CompletedProcess[str]:
        """Run `git hmopt`; progress goes to the test's log."""
        done = subprocess.run(
            ["git", "hmopt", *arguments],
            cwd=self.root,
            stdout=subprocess.PIPE,
            text=True,
            check=False,
            env={**os.environ, "HMOPT_PROGRESS": "1", "NO_COLOR": "1"},
        )
        assert done.returncode in codes, f"git hmopt {' '.join(arguments)} ended with {done.returncode}"
        return done

    def configure(self, edit: dict[str, str] | None = None, extra: str = "") -> None:
        """Write the linux profile, with edits, and trust it."""
        self.hmopt("init", "--profile", "linux", "--force", codes=(0,))
        path = self.root / ".hmopt.yaml"
        text = path.read_text()
        for old, new in {**QUICK, **(edit or {})}.items():
            assert old in text, f"the profile no longer says {old!r}"
            text = text.replace(old, new)
        path.write_text(text.replace("\npolicy:", f"{extra}\npolicy:"))
        self.hmopt("trust", codes=(0,))

    def optimize(self, workload: str, *arguments: str) -> dict[str, Any]:
        """Run the loop and return its story; what it printed for people goes to the test's log."""
        done = self.hmopt("optimize", "--workload", workload, "--json", "--seed", "20260101", *arguments)
        story: dict[str, Any] = json.loads(done.stdout)["story"]
        print(self.hmopt("show", story["run"]["name"]).stdout)
        return story


def tree_root() -> Path:
    """Return where the runs keep the built base tree."""
    return Path(os.environ.get("HMOPT_KERNEL_CACHE", "/nonexistent")) / "linux/.git/hmopt/trees/base/src"


@pytest.fixture(scope="session")
def kernel() -> Kernel:
    """Return the kernel checkout; fails, and does not skip, where `tests/kernel/run` said that there is one."""
    cache = os.environ.get("HMOPT_KERNEL_CACHE")
    if not cache:
        pytest.skip("no kernel here: run tests/kernel/run CACHE")
    root = Path(cache) / "linux"
    assert (root / ".git").is_dir(), f"{root} is no checkout; run tests/kernel/run"
    made = Kernel(root)
    made.configure()
    return made


@pytest.fixture(scope="session")
def crc64_run(kernel: Kernel) -> dict[str, Any]:
    """Judge a person's patches to lib/crc64 and around it."""
    return kernel.optimize("lib-crc64", "--proposer", f"patches:{PATCHES / 'crc64'}")


@pytest.fixture(scope="session")
def sort_run(kernel: Kernel) -> dict[str, Any]:
    """Judge a person's patches to lib/sort."""
    return kernel.optimize("lib-sort", "--proposer", f"patches:{PATCHES / 'sort'}")


@pytest.fixture(scope="module")
def sort_tree(kernel: Kernel) -> Path:
    """Return the base tree built with the overlay of lib-sort, whatever runs went before."""
    kernel.optimize("lib-sort", "--iterations", "0")
    return tree_root()


def evaluation_of(story: dict[str, Any], title: str) -> dict[str, Any]:
    """Return the evaluation of the patch whose title holds `title`."""
    found = [one for one in story["iterations"] if one["patch"] and title in one["patch"]["title"]]
    assert len(found) == 1, f"{len(found)} patches are called '{title}'"
    evaluation: dict[str, Any] = found[0]["evaluation"]
    return evaluation


def delta_of(evaluation: dict[str, Any], metric: str) -> dict[str, float]:
    """Return a delta's numbers."""
    found = [one for one in evaluation["deltas"] if one["metric"] == metric]
    assert len(found) == 1, f"{metric} was measured {len(found)} times: {evaluation['reason']}"
    return {name: float(found[0][name]) for name in ("estimate", "low", "high")}
