# SPDX-License-Identifier: Apache-2.0
"""The manual page: what the parsers say, as man shows it, and where git looks for it."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from git_hmopt.cli.main import ABOUT, COMMANDS, command_of
from git_hmopt.cli.manual import EXAMPLES, manual
from git_hmopt.config.settings import keys, variable
from git_hmopt.errors import ExitCode
from tests.loop.project import Project
from tests.programs import search_path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "git_hmopt/share/man/man1/git-hmopt.1"

needs_man = pytest.mark.skipif(
    shutil.which("man") is None or shutil.which("groff") is None,
    reason="needs man-db and groff: apt-get install man-db",
)


def rendered(*options: str, width: int = 80) -> str:
    """Return the page as man shows it; anything man or groff says fails the test."""
    done = subprocess.run(
        ["man", "--warnings", *options, "-l", str(PAGE)], capture_output=True, text=True, check=False, timeout=60,
        env={"PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C.UTF-8", "MANWIDTH": str(width)},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def section(page: str, title: str) -> str:
    """Return the text below a heading, blanks folded."""
    found = re.search(rf"^{title}\n(.*?)(?=^\S)", page, re.MULTILINE | re.DOTALL)
    assert found, title
    return " ".join(found[1].split())


def test_the_page_is_what_the_parsers_give() -> None:
    assert PAGE.read_text(encoding="ascii") == manual(), (
        "run: python -m git_hmopt.cli.manual >git_hmopt/share/man/man1/git-hmopt.1"
    )


@needs_man
@pytest.mark.parametrize("width", [60, 80, 200])
def test_man_shows_it_without_a_warning(width: int) -> None:
    page = rendered(width=width)
    assert "git-hmopt - make a kernel faster, and prove it" in section(page, "NAME")
    assert section(page, "DESCRIPTION") == " ".join(ABOUT.split())


@needs_man
def test_every_word_of_the_help_is_on_the_page() -> None:
    page = " ".join(rendered(width=2000).split())
    for command in COMMANDS:
        module, parser = command_of(command)
        # -h shows a code span with its backticks, the page in bold.
        texts = [module.__doc__ or "", *(action.help or "" for action in parser._actions if action.dest != "help")]
        for text in texts:
            shown = " ".join((text % {}).replace("`", "").split())
            assert shown[1:] in page, shown
        for action in parser._actions:
            assert all(spelling in page for spelling in action.option_strings)


@needs_man
def test_every_exit_code_and_every_setting_is_on_the_page() -> None:
    page = rendered()
    for code in ExitCode:
        assert re.search(rf"\b{int(code)} [a-z]", section(page, "EXIT STATUS"))
    for key in keys():
        assert key in section(page, "SETTINGS")
        assert variable(key) in section(page, "SETTINGS")


@needs_man
def test_what_roff_would_take_for_its_own_is_shown_as_it_stands() -> None:
    page = rendered(width=200)
    assert "\n       .hmopt.yaml\n" in page
    assert "~/.bashrc" in page
    assert "repository's" in page
    # Nothing of roff is left, and quotes and hyphens can be copied into a shell.
    assert not re.search(r"\\f|\\-|\\\(|[‘’‐−˜ˆ]", page)


def test_the_examples_are_command_lines_that_are_understood() -> None:
    lines = [line for commands in EXAMPLES.values() for line in commands.splitlines()]
    ours = [line.partition("git hmopt ")[2] for line in lines if "git hmopt " in line]
    assert len(ours) >= 5
    for line in ours:
        command, *arguments = shlex.split(line)
        command_of(command)[1].parse_args(arguments)


@needs_man
def test_git_finds_the_page_beside_the_program_it_finds(untouched: Project, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/git-hmopt").symlink_to(Path(sys.executable).with_name("git-hmopt"))
    (tmp_path / "share").symlink_to(ROOT / "git_hmopt/share")
    path = f"{tmp_path}/bin:/usr/local/bin:/usr/bin:/bin"
    done = untouched.hmopt("--help", environment={"PATH": path, "MANPAGER": "cat"})
    assert (done.returncode, done.stderr) == (0, "")
    assert "git-hmopt - make a kernel faster, and prove it" in section(done.stdout, "NAME")


def test_without_man_the_program_explains_itself(untouched: Project, tmp_path: Path) -> None:
    environment = {**untouched.environment, **search_path(tmp_path / "bin", without=("man",))}
    done = subprocess.run(
        [str(Path(sys.executable).with_name("git-hmopt")), "--help"], cwd=untouched.root, env=environment,
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("usage: git hmopt ")
    assert all(f"\n   {name} " in done.stdout for name in COMMANDS)


def test_the_wheel_brings_page_and_completions_to_where_they_are_looked_for(tmp_path: Path) -> None:
    pytest.importorskip("hatchling", reason="needs hatchling, which the test extra installs")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=ROOT, capture_output=True, check=True, timeout=120,
    )  # fmt: skip
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        prefix = f"{'-'.join(wheel.name.split('-')[:2])}.data/data/"
        shared = {name.removeprefix(prefix): archive.read(name) for name in archive.namelist() if prefix in name}
    expected = (
        "share/man/man1/git-hmopt.1",
        "share/bash-completion/completions/git-hmopt",
        "share/zsh/site-functions/_git-hmopt",
    )
    assert shared == {name: (ROOT / "git_hmopt" / name).read_bytes() for name in expected}
