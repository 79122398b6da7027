# SPDX-License-Identifier: Apache-2.0
"""Where the project is, what its README says to type, and an environment that knows nothing of this checkout."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_FENCED = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# What an installed Python or a running test would pass on.
_OURS = re.compile(r"(PYTHON|PYTEST|VIRTUAL_ENV|HMOPT_|GIT_|COVERAGE)")


def readme_commands() -> list[str]:
    """Return the commands of README that stand in blocks of their own."""
    return [block.strip() for block in _FENCED.findall((ROOT / "README.md").read_text())]


def newcomer(home: Path, **extra: str) -> dict[str, str]:
    """Return the environment of somebody with an empty home, and no virtual environment on the path."""
    home.mkdir(parents=True, exist_ok=True)
    kept = {name: value for name, value in os.environ.items() if not _OURS.match(name)}
    path = [entry for entry in kept["PATH"].split(os.pathsep) if not (Path(entry).parent / "pyvenv.cfg").exists()]
    return {**kept, "PATH": os.pathsep.join(path), "HOME": str(home), "PIP_DISABLE_PIP_VERSION_CHECK": "1", **extra}


def typed(command: str, cwd: Path, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run what somebody types."""
    return subprocess.run(
        ["bash", "-c", command], cwd=cwd, env=dict(environment), capture_output=True, text=True, check=False
    )
