# SPDX-License-Identifier: Apache-2.0
"""The guide of README, "your own kernel in five steps", typed as it stands in a kernel checkout."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kernel.conftest import PATCHES, Kernel

pytestmark = [pytest.mark.kernel, pytest.mark.slow]
ROOT = Path(__file__).resolve().parents[2]


def guide() -> list[str]:
    """Return the commands of the guide, in order."""
    text = (ROOT / "README.md").read_text()
    section = text.partition("## Your own kernel in five steps\n")[2].partition("\n## ")[0]
    return re.findall(r"^       (\S.*)$", section, re.MULTILINE)


@pytest.fixture
def untouched(kernel: Kernel) -> Iterator[Kernel]:
    """Return the checkout as somebody finds it who never ran the tool, with patches of their own."""
    (kernel.root / ".hmopt.yaml").unlink(missing_ok=True)
    mine = kernel.root / "my-patches"
    shutil.copytree(PATCHES / "sort", mine)
    yield kernel
    shutil.rmtree(mine)
    kernel.configure()


def test_what_it_installs_the_tests_install(kernel: Kernel) -> None:
    (install,) = [command for command in guide() if command.startswith("apt-get install ")]
    listed = (ROOT / "tests/run").read_text()
    assert [name for name in install.split()[2:] if not re.search(rf"[\s\"]{re.escape(name)}[\s\"]", listed)] == []


def test_the_commands_work_as_they_stand(untouched: Kernel) -> None:
    commands = [command for command in guide() if not command.startswith("apt-get ")]
    assert len(commands) == 5
    for command in commands:
        names = untouched.git(
            "for-each-ref", "--format=%(refname:short)", "--sort=-creatordate", "refs/heads/hmopt/*/best"
        )
        run = names.split("/")[1] if names else "none"
        done = subprocess.run(
            command.replace("<run>", run), shell=True, cwd=untouched.root, stdout=subprocess.PIPE, text=True,
            check=False, env={**os.environ, "HMOPT_PROGRESS": "1", "NO_COLOR": "1"},
        )  # fmt: skip
        print(f"$ {command}\n{done.stdout}")
        # optimize: 1 is an answer, too.
        assert done.returncode in ((0, 1) if " optimize " in command else (0,)), command
        assert done.stdout.strip()
