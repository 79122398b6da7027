# SPDX-License-Identifier: Apache-2.0
"""README's two commands in an empty Debian made by debootstrap: HMOPT_TEST_BARE=DIRECTORY asks for it.

The directory keeps the empty system between runs. It has python3, git and certificates, which is what it takes to have
a checkout at all; everything else is what the commands install.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.install.places import ROOT, readme_commands

ASKED = "HMOPT_TEST_BARE"
MOUNTED = ("proc", "sys", "dev", "dev/pts")
# Where this machine keeps what a download needs: sources, certificates, a registry's address.
COPIED = ("/etc/resolv.conf", "/etc/hosts", "/etc/ssl/certs/ca-certificates.crt", "/etc/pip.conf")
PASSED = re.compile(r"(PIP_|.*_proxy$|.*_PROXY$|SSL_|REQUESTS_CA)")

pytestmark = [
    pytest.mark.skipif(not os.environ.get(ASKED), reason=f"needs minutes and an empty system: {ASKED}=DIRECTORY"),
    pytest.mark.skipif(not shutil.which("debootstrap") or os.geteuid() != 0, reason="needs root and debootstrap"),
]


def _release() -> str:
    lines = Path("/etc/os-release").read_text().splitlines()
    return next(line.partition("=")[2].strip('"') for line in lines if line.startswith("VERSION_CODENAME="))


def _mirror() -> str:
    """Return the mirror that this machine's own packages come from."""
    for path in (Path("/etc/apt/sources.list.d/debian.sources"), Path("/etc/apt/sources.list")):
        found = path.exists() and re.search(r"^(?:URIs:|deb(?: \[[^]]*\])?)\s+(\S+)", path.read_text(), re.MULTILINE)
        if found:
            return str(found[1])
    return "http://deb.debian.org/debian"


@pytest.fixture(scope="module")
def bare() -> Iterator[Path]:
    """Return a Debian with a clone of HEAD in /src, its file systems mounted."""
    root = Path(os.environ[ASKED]).resolve()
    if not (root / "etc/os-release").exists():
        subprocess.run(
            ["debootstrap", "--variant=minbase", "--include=ca-certificates,python3,python3-venv,git",
             _release(), root, _mirror()],
            check=True, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        shutil.rmtree(root / "etc/apt/sources.list.d", ignore_errors=True)
        shutil.copytree("/etc/apt", root / "etc/apt", dirs_exist_ok=True)
    for path in map(Path, COPIED):
        if path.exists():
            (root / path.relative_to("/")).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, root / path.relative_to("/"))
    for name in ("src", "home/new"):
        shutil.rmtree(root / name, ignore_errors=True)
    (root / "home/new").mkdir(parents=True)
    subprocess.run(["git", "clone", "-q", "--no-hardlinks", ROOT, root / "src"], check=True)
    mounted: list[Path] = []
    try:
        for place in MOUNTED:
            subprocess.run(["mount", "--bind", f"/{place}", root / place], check=True)
            mounted.append(root / place)
        yield root
    finally:
        for point in reversed(mounted):
            subprocess.run(["umount", "-l", point], check=False)


def _typed(bare: Path, command: str) -> subprocess.CompletedProcess[str]:
    passed = {name: value for name, value in os.environ.items() if PASSED.match(name)}
    environment = {**passed, "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/home/new", "LANG": "C.UTF-8"}
    return subprocess.run(
        ["chroot", bare, "bash", "-c", f"cd /src && {command}"],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_the_first_command_ends_with_a_verdict(bare: Path) -> None:
    done = _typed(bare, readme_commands()[0])
    print(done.stdout, done.stderr)
    assert done.returncode in (0, 1), done.stderr[-4000:]
    assert "demo: report: " in done.stderr


def test_the_second_command_passes(bare: Path) -> None:
    done = _typed(bare, readme_commands()[1])
    print(done.stdout[-6000:], done.stderr[-2000:])
    assert done.returncode == 0
    assert re.search(r"^\d+ passed", done.stdout.splitlines()[-1])
