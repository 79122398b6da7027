# SPDX-License-Identifier: Apache-2.0
"""What a run keeps of the patches it was given: the patches, and of everything beside them the name alone."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from git_hmopt.errors import UsageError
from git_hmopt.loop.proposers import kept

PATCH = """--- a/x.c
+++ b/x.c
@@ -1 +1 @@
-int a;
+int b;
"""


def test_patches_are_copied_and_what_lies_beside_them_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`patches:.` in a checkout would copy the repository into itself."""
    monkeypatch.chdir(tmp_path)
    Path("0001-a.patch").write_text(PATCH)
    Path("vmlinux").write_bytes(bytes(1000))
    Path(".git").mkdir()
    Path(".git/config").write_text("[core]\n")
    os.mkfifo("queue")
    place = tmp_path / ".git" / "hmopt"
    name = kept("patches:.", place).removeprefix("patches:")
    assert (place / name / "0001-a.patch").read_text() == PATCH
    sizes = {path.name: path.stat().st_size for path in (place / name).iterdir() if path.suffix != ".patch"}
    assert sizes == {"vmlinux": 0, ".git": 0, "queue": 0}


@pytest.mark.parametrize("spec", ["playbook", "patches:", "patches:no-such-branch"])
def test_what_is_no_path_is_left_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spec: str) -> None:
    monkeypatch.chdir(tmp_path)
    assert kept(spec, tmp_path / "place") == spec
    assert not (tmp_path / "place").exists()


def test_an_empty_directory_is_refused_by_the_name_that_was_typed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine").mkdir()
    with pytest.raises(UsageError, match=r"^mine holds no"):
        kept("patches:mine", tmp_path / "place")
    assert not (tmp_path / "place").exists()
