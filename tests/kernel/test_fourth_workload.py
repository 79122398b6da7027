# SPDX-License-Identifier: Apache-2.0
"""A workload nobody here wrote code for: a function of lib/ drawn at random, added by YAML and overlay alone."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.kernel import fourth
from tests.kernel.conftest import Kernel, tree_root

pytestmark = [pytest.mark.kernel, pytest.mark.slow]
FOLDER = ".hmopt-drawn"
TOP = Path(__file__).parents[2]


def compiled(build: str) -> set[str]:
    """Return the files a build of the base tree compiles."""
    root = tree_root()
    entries = json.loads((root / f"build-{build}/compile_commands.json").read_text())
    files = ((Path(entry["directory"]) / entry["file"]).resolve() for entry in entries)
    return {file.relative_to(root.resolve()).as_posix() for file in files if file.is_relative_to(root.resolve())}


def defined(build: str) -> set[str]:
    """Return the functions a build's kernel really has: a header may define one inline instead."""
    said = subprocess.run(
        ["nm", str(tree_root() / f"build-{build}/vmlinux")], capture_output=True, text=True, check=True
    ).stdout
    # UML's link makes its functions local.
    return {line.split()[2] for line in said.splitlines() if " T " in line or " t " in line}


def mentioned() -> str:
    """Return all code and configuration of the tool."""
    listed = subprocess.run(
        ["git", "ls-files", "git_hmopt", "adapters"], cwd=TOP, capture_output=True, text=True, check=True
    ).stdout.split()
    return "\n".join((TOP / name).read_text(errors="replace") for name in listed)


def test_a_function_drawn_at_random_is_optimised_from_yaml_alone(kernel: Kernel, crc64_run: dict[str, Any]) -> None:
    seed = int(os.environ.get("HMOPT_DRAW_SEED", secrets.randbelow(10**6)))
    both = compiled("uml") & compiled("x86")
    text = mentioned()
    known = {
        one.file for one in fourth.candidates(kernel.root, both, set()) if one.function in text or one.file in text
    }
    real = defined("uml") & defined("x86")
    found = [one for one in fourth.candidates(kernel.root, both, known) if one.function in real]
    drawn = fourth.draw(found, seed)
    print(f"seed {seed} draws {drawn.function}() of {drawn.file} from {len(found)} functions")
    shutil.rmtree(kernel.root / FOLDER, ignore_errors=True)
    try:
        kernel.configure(extra=fourth.write(drawn, kernel.root, FOLDER))
        story = kernel.optimize("lib-drawn", "--iterations", "2")
    finally:
        shutil.rmtree(kernel.root / FOLDER, ignore_errors=True)
        kernel.configure()
    assert story["status"] == "succeeded"
    assert story["hotspots"], "the profile saw nothing"
    spots = {spot["file"] for spot in story["hotspots"]}
    assert drawn.file in spots, f"{drawn.file} is not among the hotspots' files {spots}"
    for one in story["iterations"]:
        if one["evaluation"]:
            print(f"{one['decision']}: {one['evaluation']['verdict']}: {one['evaluation']['reason']}")
            assert one["evaluation"]["reason"]
