# SPDX-License-Identifier: Apache-2.0
"""Build trees: only what differs is written, build output stays, a kill half-way is repaired."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from git_hmopt.errors import StoreError
from git_hmopt.records.words import Oid
from git_hmopt.store.repository import Repository
from git_hmopt.store.trees import BuildTree, copy_build_tree
from tests.store.repositories import Shell, finish, make_repository, start_python


def _head_tree(repository: Repository) -> Oid:
    return repository.tree_of(repository.resolve("HEAD"))


def _times(root: Path) -> dict[str, int]:
    files = (path for path in root.rglob("*") if not path.is_dir())
    return {str(path.relative_to(root)): path.lstat().st_mtime_ns for path in files}


def _age(root: Path) -> None:
    """Give every file a time of its own in the past, as after a build of yesterday."""
    for number, path in enumerate(sorted(root.rglob("*"))):
        if not path.is_dir():
            os.utime(path, (1_600_000_000 + number, 1_600_000_000 + number), follow_symlinks=False)


def _same_as(repository: Repository, tree: Oid, root: Path) -> bool:
    """Ask git, through an index of its own, whether the directory holds the tree."""
    environment = {**os.environ, "GIT_INDEX_FILE": str(root.parent / "oracle")}
    git = ["git", f"--git-dir={repository.common_dir}", f"--work-tree={root}"]
    subprocess.run([*git, "read-tree", tree], env=environment, check=True)
    subprocess.run([*git, "update-index", "-q", "--refresh"], env=environment, check=False, capture_output=True)
    done = subprocess.run([*git, "diff-index", "--name-only", tree], env=environment, check=True, capture_output=True)
    (root.parent / "oracle").unlink()
    return done.stdout == b""


def test_checkout_touches_only_what_differs(any_shell: Shell, any_repository: Repository) -> None:
    base = _head_tree(any_repository)
    changed = any_repository.write_tree(base, {"lib/sort.c": b"x\n", "lib/new.c": b"n\n", "README": None})
    tree = BuildTree.named("base", any_repository)
    assert tree.tree is None
    tree.checkout(base)
    assert tree.root == any_shell.cwd / ".git/hmopt/trees/base/src"
    assert _same_as(any_repository, base, tree.root)
    (tree.root / "build").mkdir()
    (tree.root / "build/sort.o").write_text("object")
    before = _times(tree.root)
    tree.checkout(changed)
    assert tree.tree == changed
    assert _same_as(any_repository, changed, tree.root)
    after = _times(tree.root)
    assert {path for path in after if after[path] != before.get(path)} == {"lib/sort.c", "lib/new.c"}
    assert before.keys() - after.keys() == {"README"}
    tree.checkout(base)
    assert _same_as(any_repository, base, tree.root)
    assert not (tree.root / "lib/new.c").exists()
    assert (tree.root / "build/sort.o").read_text() == "object"


def test_the_users_repository_sees_nothing_of_it(shell: Shell, repository: Repository) -> None:
    before = (
        shell.git("status", "--porcelain"),
        shell.git("worktree", "list"),
        (shell.cwd / ".git/config").read_text(),
    )
    index = (shell.cwd / ".git/index").read_bytes()
    BuildTree.named("base", repository).checkout(_head_tree(repository))
    assert (shell.cwd / ".git/index").read_bytes() == index
    after = (shell.git("status", "--porcelain"), shell.git("worktree", "list"), (shell.cwd / ".git/config").read_text())
    assert after == before


def test_the_users_settings_do_not_change_the_export(shell: Shell, repository: Repository) -> None:
    shell.git("config", "core.autocrlf", "true")
    shell.git("config", "core.sparseCheckout", "true")
    (shell.cwd / ".git/info").mkdir(exist_ok=True)
    (shell.cwd / ".git/info/sparse-checkout").write_text("/README\n")
    tree = BuildTree.named("base", repository)
    tree.checkout(_head_tree(repository))
    assert (tree.root / "Makefile").read_bytes() == b"all:\n\tcc lib/sort.c\n"
    assert (tree.root / "scripts/run.sh").stat().st_mode & 0o100


def test_a_file_somebody_changed_or_deleted_is_restored(repository: Repository) -> None:
    base = _head_tree(repository)
    tree = BuildTree.named("base", repository)
    tree.checkout(base)
    _age(tree.root)
    tree.checkout(base)
    before = _times(tree.root)
    (tree.root / "lib/sort.c").write_text("edited in place\n")
    (tree.root / "README").unlink()
    tree.checkout(base)
    assert _same_as(repository, base, tree.root)
    after = _times(tree.root)
    assert {path for path in after if after[path] != before.get(path)} == {"lib/sort.c", "README"}


def test_worktrees_share_the_build_trees(tmp_path: Path) -> None:
    origin = make_repository(tmp_path / "origin")
    origin.git("worktree", "add", "-q", str(tmp_path / "linked"))
    linked = Repository.open(tmp_path / "linked")
    tree = BuildTree.named("base", linked)
    tree.checkout(_head_tree(linked))
    assert tree.root == origin.cwd / ".git/hmopt/trees/base/src"
    assert tree.tree == BuildTree.named("base", Repository.open(origin.cwd)).tree


def test_a_tree_that_was_moved_with_its_repository_is_made_anew(tmp_path: Path) -> None:
    shell = make_repository(tmp_path / "here")
    repository = Repository.open(shell.cwd)
    base = _head_tree(repository)
    BuildTree.named("base", repository).checkout(base)
    (repository.home / "trees/base/src/built.o").write_text("an object with the old place in it")
    (tmp_path / "here").rename(tmp_path / "there")
    moved = Repository.open(tmp_path / "there" / shell.cwd.relative_to(tmp_path / "here"))
    tree = BuildTree.named("base", moved)
    assert tree.tree is None
    tree.checkout(base)
    assert _same_as(moved, base, tree.root) and not (tree.root / "built.o").exists()


def test_copy_keeps_times_so_that_nothing_is_built_again(repository: Repository) -> None:
    base = _head_tree(repository)
    changed = repository.write_tree(base, {"lib/sort.c": b"x\n"})
    source, target = BuildTree.named("base", repository), BuildTree.named("candidate", repository)
    source.checkout(base)
    (source.root / "build").mkdir()
    (source.root / "build/sort.o").write_text("object")
    _age(source.root)
    source.checkout(base)
    target.checkout(changed)
    (target.root / "stale.o").write_text("of another candidate")
    copy_build_tree(source, target)
    assert target.tree == base
    assert _times(target.root) == _times(source.root)
    before = _times(target.root)
    target.checkout(changed)
    after = _times(target.root)
    assert {path for path in after if after[path] != before.get(path)} == {"lib/sort.c"}
    assert source.tree == base


def test_a_copy_that_was_killed_is_made_again(repository: Repository) -> None:
    base = _head_tree(repository)
    source, target = BuildTree.named("base", repository), BuildTree.named("candidate", repository)
    source.checkout(base)
    copy_build_tree(source, target)
    # Killed while git looked at the copies.
    (target.root.parent / "src.tree").write_text('{"v":1,"tree":null,"moving":true,"added":[]}')
    (target.root.parent / "src.index.lock").touch()
    copy_build_tree(source, target)
    assert target.tree == base


def test_copy_of_an_incomplete_tree_is_refused(repository: Repository) -> None:
    source, target = BuildTree.named("base", repository), BuildTree.named("candidate", repository)
    with pytest.raises(StoreError, match="is not complete; check it out first"):
        copy_build_tree(source, target)


_CHECKOUT = """
import sys
from pathlib import Path
from git_hmopt.store.repository import Repository
from git_hmopt.store.trees import BuildTree
repository = Repository.open(Path(sys.argv[1]))
tree = BuildTree.named("base", repository)
print("ready", flush=True)
for oid in sys.argv[2:] * 1000:
    tree.checkout(oid)
"""


@pytest.mark.parametrize("delay_ms", [0, 3, 7, 13, 29, 61])
def test_kill_half_way_is_repaired(shell: Shell, repository: Repository, delay_ms: int) -> None:
    base = _head_tree(repository)
    many: dict[str, bytes | None] = {f"gen/f{number}.c": b"int x;\n" * 50 for number in range(600)}
    large = repository.write_tree(base, {**many, "lib/sort.c": b"x\n"})
    third = repository.write_tree(base, {"README": None, "last.c": b"l\n"})
    tree = BuildTree.named("base", repository)
    tree.checkout(base)
    (tree.root / "out.o").write_text("object")
    child = start_python(_CHECKOUT, str(shell.cwd), large, base)
    assert child.stdout is not None and child.stdout.readline() == b"ready\n"
    time.sleep(delay_ms / 1000)
    child.send_signal(signal.SIGKILL)
    child.communicate()
    tree.checkout(third)
    assert tree.tree == third
    assert _same_as(repository, third, tree.root)
    left = {str(path.relative_to(tree.root)) for path in tree.root.rglob("*") if not path.is_dir()}
    assert left - {path for _, _, path in repository.list_tree(third)} == {"out.o"}


def test_states_a_kill_can_leave(repository: Repository) -> None:
    """The kill test cannot choose its moment; here the moments are written down."""
    base = _head_tree(repository)
    changed = repository.write_tree(base, {"lib/new.c": b"n\n"})
    tree = BuildTree.named("base", repository)
    state = tree.root.parent / "src.tree"
    # The first export never ended: what is there is a leftover.
    tree.root.mkdir(parents=True)
    (tree.root / "half").write_text("x")
    assert tree.tree is None
    tree.checkout(base)
    assert not (tree.root / "half").exists()
    # A later checkout was killed after it wrote a new file, with git's lock left behind.
    state.write_text(f'{{"v":1,"tree":"{base}","moving":true,"added":["lib/new.c","lib/never.c"]}}')
    (tree.root / "lib/new.c").write_text("n\n")
    (tree.root.parent / "src.index.lock").touch()
    (tree.root / "keep.o").touch()
    assert tree.tree is None
    tree.checkout(base)
    assert tree.tree == base
    assert not (tree.root / "lib/new.c").exists()
    assert (tree.root / "keep.o").exists()
    # The index is gone, or the state is not readable: start afresh.
    for damage in (tree.root.parent / "src.index", state):
        tree.checkout(changed)
        damage.write_text("{") if damage == state else damage.unlink()
        (tree.root / "keep.o").touch()
        tree.checkout(base)
        assert _same_as(repository, base, tree.root)
        assert not (tree.root / "lib/new.c").exists()
        assert not (tree.root / "keep.o").exists()


def test_recovery_follows_no_link_out_of_the_tree(tmp_path: Path, repository: Repository) -> None:
    base = _head_tree(repository)
    tree = BuildTree.named("base", repository)
    tree.checkout(base)
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("x")
    (tree.root / "out").symlink_to(outside)
    state = tree.root.parent / "src.tree"
    state.write_text(f'{{"v":1,"tree":"{base}","moving":true,"added":["out/precious","../../precious"]}}')
    tree.checkout(base)
    assert (outside / "precious").read_text() == "x"


def test_a_tree_that_expired_from_git_is_no_obstacle(shell: Shell, repository: Repository) -> None:
    base = _head_tree(repository)
    lost = repository.write_tree(base, {"lost.c": b"x\n"})
    tree = BuildTree.named("base", repository)
    tree.checkout(lost)
    shell.git("gc", "--quiet", "--prune=now")
    reopened = Repository.open(shell.cwd)
    again = BuildTree.named("base", reopened)
    again.checkout(base)
    assert _same_as(reopened, base, again.root)
    assert not (again.root / "lost.c").exists()


_HOLD = """
import fcntl, sys
with open(sys.argv[1], "w") as lock:
    fcntl.flock(lock, fcntl.LOCK_EX)
    print("held", flush=True)
    sys.stdin.read()
"""


def test_two_processes_on_one_tree(shell: Shell, repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("git_hmopt.store.trees.BUSY_S", 0.2)
    base = _head_tree(repository)
    tree = BuildTree.named("base", repository)
    tree.checkout(base)
    holder = subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(tree.root.parent / "src.lock")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
    with pytest.raises(StoreError, match="another git hmopt is writing the build tree"):
        tree.checkout(base)
    holder.kill()
    holder.communicate()
    tree.checkout(base)
    once = _CHECKOUT.replace("* 1000", "")
    finish([start_python(once, str(shell.cwd), base)])


def test_remove(repository: Repository) -> None:
    tree = BuildTree.named("base", repository)
    tree.remove()
    tree.checkout(_head_tree(repository))
    (tree.root / "x.o").touch()
    tree.remove()
    assert not tree.root.exists()
    assert tree.tree is None
