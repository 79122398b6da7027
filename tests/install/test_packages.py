# SPDX-License-Identifier: Apache-2.0
"""The wheel and an editable install in fresh environments, on every Python that is here."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.install.places import ROOT, newcomer, typed

VERSIONS = ("3.11", "3.12", "3.13", "3.14")


def interpreters() -> dict[str, str]:
    """Return the Pythons of this machine by version: on the path, or where pyenv keeps them."""
    found = {f"{sys.version_info.major}.{sys.version_info.minor}": sys.executable}
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    for version in VERSIONS:
        kept = sorted(pyenv.glob(f"{version}.*/bin/python{version}"))
        for candidate in (shutil.which(f"python{version}"), *map(str, kept)):
            # pyenv's shims are there for versions that are not.
            works = candidate and subprocess.run([candidate, "-c", "import venv"], capture_output=True, check=False)
            if works and works.returncode == 0:
                found.setdefault(version, str(candidate))
    return found


@dataclass(frozen=True)
class Installed:
    """A virtual environment with the tool, and a directory elsewhere."""

    place: Path
    environment: dict[str, str]
    elsewhere: Path

    def typed(self, command: str) -> subprocess.CompletedProcess[str]:
        """Run a command with the environment's programs on the path, outside the checkout."""
        path = f"{self.place / 'bin'}:{self.environment['PATH']}"
        return typed(command, self.elsewhere, {**self.environment, "PATH": path})

    def ok(self, command: str) -> str:
        """Run a command that must succeed, and return what it printed."""
        done = self.typed(command)
        assert done.returncode == 0, (command, done.stdout[-2000:], done.stderr[-2000:])
        return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel of this checkout."""
    place = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", place, ROOT], check=True
    )
    (made,) = place.glob("*.whl")
    return made


@pytest.fixture(scope="module", params=sorted(interpreters().items()), ids=lambda one: str(one[0]))
def fresh(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installed]:
    """Make a virtual environment of each Python, removed when its tests are done."""
    place = tmp_path_factory.mktemp(f"python{request.param[0]}")
    subprocess.run([request.param[1], "-m", "venv", place / "venv"], check=True)
    (place / "elsewhere").mkdir()
    yield Installed(place / "venv", newcomer(place / "home"), place / "elsewhere")
    shutil.rmtree(place)


def test_the_wheel_holds_all_that_runs_and_nothing_else(wheel: Path, tmp_path: Path) -> None:
    shutil.unpack_archive(wheel, tmp_path, "zip")
    found = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert {
        "git_hmopt/cli/main.py", "git_hmopt/store/schema.sql", "git_hmopt/config/hmopt.schema.json",
        "git_hmopt/demo/tree/.hmopt.yaml", "git_hmopt/demo/tree/lib/crc64.c", "hmopt_adapters/qemu_plugin.c",
        "hmopt_adapters/profiles/linux.yaml", "git_hmopt-0.1.0.data/data/share/man/man1/git-hmopt.1",
        "hmopt_hooks/shell/head.sh",
        "git_hmopt-0.1.0.dist-info/licenses/LICENSES/GPL-2.0-only.txt",
    } <= found  # fmt: skip
    tops = {name.partition("/")[0] for name in found}
    assert tops == {
        "git_hmopt",
        "hmopt_adapters",
        "hmopt_bot",
        "hmopt_hooks",
        "git_hmopt-0.1.0.data",
        "git_hmopt-0.1.0.dist-info",
    }
    assert not [name for name in found if "__pycache__" in name or name.endswith((".pyc", ".o"))]
    shipped = {str(path.relative_to(ROOT)) for path in (ROOT / "git_hmopt").rglob("*.py")}
    assert shipped <= found


def test_the_wheel_works_then_the_checkout_does(fresh: Installed, wheel: Path) -> None:
    """One environment for both: the second install finds the first one's dependencies."""
    fresh.ok(f"pip install -q '{wheel}'")
    fresh.ok("pip check")
    where = "python -c 'import git_hmopt, hmopt_adapters; print(git_hmopt.__file__, hmopt_adapters.__file__)'"
    assert fresh.ok(where).count(str(fresh.place)) == 2
    assert fresh.ok("git hmopt --version") == fresh.ok("git-hmopt --version") == "git-hmopt 0.1.0\n"
    _manual(fresh)
    assert (fresh.place / "share/bash-completion/completions/git-hmopt").is_file()
    assert (fresh.place / "share/zsh/site-functions/_git-hmopt").is_file()
    _used(fresh, "wheel")
    fresh.ok(f"pip install -q -e '{ROOT}'")
    assert fresh.ok(where).split() == [
        str(ROOT / "git_hmopt/__init__.py"), str(ROOT / "adapters/hmopt_adapters/__init__.py")
    ]  # fmt: skip
    _used(fresh, "editable")


def _manual(fresh: Installed) -> None:
    """`git hmopt --help` has man look for the page; it finds it from the path."""
    if shutil.which("man"):
        assert "git-hmopt" in fresh.ok("MANPAGER=cat git hmopt --help | head -5")


def _used(fresh: Installed, name: str) -> None:
    """Optimise something small, which needs every room, and read it in a repository of its own."""
    small = "HMOPT_MEASURE_LAYOUTS=4 HMOPT_MEASURE_BOOTS=3 HMOPT_MEASURE_NULL_PATCHES=1"
    done = fresh.typed(f"{small} git hmopt demo --directory {name} --iterations 1 --seed 3 --json")
    assert done.returncode in (0, 1), done.stderr
    assert len(json.loads(done.stdout)["story"]["iterations"]) == 1
    assert len(fresh.ok(f"cd {name} && git hmopt list").splitlines()) >= 1
    fresh.ok(f"git init -q {name}-c && cd {name}-c && git -c user.name=T -c user.email=t@example.org commit -q "
             "--allow-empty -m none && git hmopt init --profile make")  # fmt: skip
