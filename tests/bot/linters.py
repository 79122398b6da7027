# SPDX-License-Identifier: Apache-2.0
"""Linters that Python packages bring, run as anybody runs them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def program(name: str) -> str:
    """Return the path of a program that a Python package brought."""
    return str(Path(sys.executable).with_name(name))


def linted(*command: str | Path, text: str | None = None) -> str:
    """Return what a linter says that is not content."""
    done = subprocess.run(list(map(str, command)), input=text, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stdout + done.stderr


def shellchecked(script: str, *options: str) -> str:
    """Return what shellcheck says of a step's script, which the runner gives to bash with `-eo pipefail`."""
    return linted(program("shellcheck"), "--shell=bash", *options, "-", text=script)
