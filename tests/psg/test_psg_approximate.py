# SPDX-License-Identifier: Apache-2.0
"""Answers about a real git repository that was never built."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from git_hmopt.psg import approximate
from git_hmopt.psg.approximate import approximate_graph
from git_hmopt.psg.queries import Structure
from git_hmopt.store.repository import Repository


def repository(root: Path, files: Mapping[str, str | bytes]) -> Repository:
    """Make a repository with files in its index."""
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    subprocess.run(["git", "init", "-q", str(root)], check=True)
    subprocess.run(["git", "add", "-A"], cwd=root, check=True)
    return Repository.open(root)


CHAIN = {
    "a.c": "int a(void) { return b(); }\n",
    "sub/b.c": "int b(void) { return c(); }\n",
    "sub/c.c": "static int helper(void) { return 1; }\nint c(void) { return helper(); }\n",
    "b.txt": "b\n",
    "other.c": "int bb(void) { return 0; }\n",
}


def read(
    made: Repository, root: Path, names: Sequence[str], depth: int = 1, files: Sequence[str] = ()
) -> tuple[set[str], int]:
    """Return the files that were read, and how many were left out."""
    with approximate_graph(made, root, iter(names), depth=depth, files=files) as (tables, left_out):
        return {path for (path,) in tables.rows("SELECT path FROM files JOIN pages ON file = files.id")}, left_out


@pytest.mark.parametrize("names", [[], [""], ["nothing"], ["-e"], ["a\nb x"], ["file "], ["\udcff"]])
def test_names_that_nothing_has(tmp_path: Path, names: list[str]) -> None:
    assert read(repository(tmp_path, CHAIN), tmp_path, names) == (set(), 0)


def test_a_repository_without_files(tmp_path: Path) -> None:
    assert read(repository(tmp_path, {}), tmp_path, ["a"]) == (set(), 0)


@pytest.mark.parametrize("name", ["b", "sub/b.c:b", "struct b", "ops.b"])
def test_files_that_have_the_name_as_a_word(tmp_path: Path, name: str) -> None:
    assert read(repository(tmp_path, CHAIN), tmp_path, [name]) == ({"a.c", "sub/b.c"}, 0)


def test_each_step_takes_in_the_files_of_the_neighbours(tmp_path: Path) -> None:
    made = repository(tmp_path, CHAIN)
    assert read(made, tmp_path, ["a"]) == ({"a.c"}, 0)
    assert read(made, tmp_path, ["a"], depth=2) == ({"a.c", "sub/b.c"}, 0)
    assert read(made, tmp_path, ["a"], depth=9) == ({"a.c", "sub/b.c", "sub/c.c"}, 0)


def test_callers_and_callees_by_name(tmp_path: Path) -> None:
    with approximate_graph(repository(tmp_path, CHAIN), tmp_path, ["b", "helper"]) as (tables, _):
        structure = Structure(tables)
        assert (structure.callers("b"), structure.callees("b")) == (["a"], ["c"])
        assert structure.callers("sub/c.c:helper") == ["c"]
        assert all(place.approximate for place in structure.places("b"))


def test_files_as_they_stand_now(tmp_path: Path) -> None:
    made = repository(tmp_path, CHAIN)
    (tmp_path / "other.c").write_text("int bb(void) { return b(); }\n")
    (tmp_path / "a.c").unlink()
    assert read(made, tmp_path, ["b"], files=["gone.c", "sub"]) == ({"other.c", "sub/b.c", "gone.c", "sub"}, 0)


def test_links_are_not_followed_to_what_has_no_end(tmp_path: Path) -> None:
    made = repository(tmp_path, {**CHAIN, "bin.c": b"\0 b"})
    (tmp_path / "endless.c").symlink_to("/dev/zero")
    (tmp_path / "dangling.c").symlink_to("nowhere")
    subprocess.run(["git", "add", "-A"], cwd=tmp_path, check=True)
    found, _ = read(made, tmp_path, ["b"], files=["endless.c", "dangling.c"])
    assert found == {"a.c", "sub/b.c", "endless.c", "dangling.c"}


def test_what_is_left_out_is_counted_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(approximate, "MOST_FILES", 3)
    made = repository(tmp_path, {f"f{number}.c": f"int f{number}(void) {{ return b(); }}\n" for number in range(10)})
    found, left_out = read(made, tmp_path, ["b"], depth=3)
    assert (len(found), left_out) == (3, 7)
