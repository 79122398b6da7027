# SPDX-License-Identifier: Apache-2.0
"""Where each value of git's configuration stands: git writes the files, and its own answer is the oracle."""

from __future__ import annotations

from pathlib import Path

import pytest

from git_hmopt.errors import StoreError
from git_hmopt.store.git_config import read_git_config
from tests.store.repositories import Shell


def test_a_file_git_cannot_read_is_one_line(shell: Shell) -> None:
    (shell.cwd / ".git/config").write_text("[hmopt\n")
    with pytest.raises(StoreError, match=r"^git config: bad config line 1 in file .*; repair that file$"):
        read_git_config(shell.cwd)


def test_scopes_files_and_lines(shell: Shell, sealed_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shell.git("config", "--global", "hmopt.jobs", "2")
    shell.git("config", "hmopt.jobs", "3")
    shell.git("config", "hmopt.budget.noGain", "5")
    shell.git("config", "color.ui", "never")
    shell.git("config", "user.signingKey", "secret")
    monkeypatch.setenv("GIT_CONFIG_PARAMETERS", "'hmopt.jobs=4' 'hmopt.sandbox'")
    found = read_git_config(shell.cwd)
    assert [(one.key, one.value, one.scope) for one in found] == [
        ("hmopt.jobs", "2", "global"),
        ("hmopt.jobs", "3", "local"),
        ("hmopt.budget.nogain", "5", "local"),
        ("color.ui", "never", "local"),
        ("hmopt.jobs", "4", "command"),
        ("hmopt.sandbox", None, "command"),
    ]
    assert found[-1].where == "command line"
    for one in found[:4]:
        place, _, line = one.where.removesuffix(f" ({one.scope})").rpartition(":")
        path = Path(place) if one.scope == "global" else shell.cwd / place
        name = one.key.rpartition(".")[2]
        assert path.read_text().splitlines()[int(line) - 1].strip().lower() == f"{name} = {one.value}"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[hmopt]\n\tjobs = 3\n", 2),
        ("[HMOPT] Jobs=3\n", 1),
        ("[other]\njobs = 1\n[hmopt]\n# jobs = 2\njobs = 3\n", 5),
        ("[hmopt]\njobs = 2\n[user]\nname = x\n[hmopt]\njobs = 3\n", 6),
        ('[hmopt "budget"]\njobs = 9\n[hmopt]\njobs = 3 ; why\n', 4),
        ("[include]\npath = more\n", None),
    ],
)
def test_the_line_is_found_however_the_file_is_written(shell: Shell, text: str, line: int | None) -> None:
    base = (shell.cwd / ".git/config").read_text()
    (shell.cwd / ".git/more").write_text("\n\n[hmopt]\njobs = 3\n")
    (shell.cwd / ".git/config").write_text(text + base)
    (found,) = [one for one in read_git_config(shell.cwd) if one.key == "hmopt.jobs"][-1:]
    assert found.value == "3"
    assert (found.origin, found.line) == ((".git/config", line) if line else (".git/more", 4))


def test_it_works_outside_a_repository(tmp_path: Path, shell: Shell) -> None:
    shell.git("config", "--global", "hmopt.color", "x")
    assert [one.key for one in read_git_config(tmp_path)] == ["hmopt.color"]
