# SPDX-License-Identifier: Apache-2.0
"""Repositories of every kind, revisions, refs, trees and patches, with the real git as the oracle."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from git_hmopt.errors import ConfigError, PatchError, RepositoryError, StoreError
from git_hmopt.records.words import Oid, RefName, RunId
from git_hmopt.store.objects import MissingObjectError, ObjectBatch
from git_hmopt.store.repository import MovedRefsError, RefUpdate, Repository
from tests.store.repositories import RUN, Shell, make_repository

BEST = RefName(f"refs/heads/hmopt/{RUN}/best")


# -- kinds of repository --------------------------------------------------------------------------------------------


def _plain(path: Path) -> Path:
    return make_repository(path).cwd


def _bare(path: Path) -> Path:
    origin = make_repository(path / "origin")
    origin.git("clone", "-q", "--bare", ".", str(path / "bare"))
    return path / "bare"


def _linked(path: Path) -> Path:
    origin = make_repository(path / "origin")
    origin.git("worktree", "add", "-q", str(path / "linked"))
    return path / "linked"


def _shallow(path: Path) -> Path:
    origin = make_repository(path / "origin")
    origin.git("clone", "-q", "--depth=1", origin.cwd.as_uri(), str(path / "shallow"))
    return path / "shallow"


def _sha256(path: Path) -> Path:
    return make_repository(path, "--object-format=sha256").cwd


def _partial(path: Path) -> Path:
    origin = make_repository(path / "origin")
    origin.git("config", "uploadpack.allowFilter", "true")
    origin.git("clone", "-q", "--filter=blob:none", "--no-checkout", origin.cwd.as_uri(), str(path / "partial"))
    return path / "partial"


def _subdirectory(path: Path) -> Path:
    return make_repository(path).cwd / "lib"


KINDS = {
    "plain": _plain,
    "bare": _bare,
    "linked worktree": _linked,
    "shallow": _shallow,
    "sha-256": _sha256,
    "partial": _partial,
    "subdirectory": _subdirectory,
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_repository_reads_and_writes(tmp_path: Path, kind: str) -> None:
    place = KINDS[kind](tmp_path / "repo")
    repository = Repository.open(place)
    git = Shell(place).git
    assert repository.is_bare == (kind == "bare")
    assert repository.is_shallow == (kind == "shallow")
    assert repository.is_partial == (kind == "partial")
    assert repository.object_format == ("sha256" if kind == "sha-256" else "sha1")
    assert repository.common_dir == Path(git("rev-parse", "--path-format=absolute", "--git-common-dir"))
    head = repository.head()
    assert head == git("rev-parse", "HEAD")
    assert repository.resolve("main") == head
    assert repository.tree_of(head) == git("rev-parse", "HEAD^{tree}")
    assert repository.read_path(head, "lib/crc/table.c") == b"int table;\n"
    assert repository.read_path(head, "lib/none.c") is None
    listed = [f"{mode} blob {oid}\t{path}" for mode, oid, path in repository.list_tree(head)]
    assert listed == git("ls-tree", "-r", "--full-tree", "HEAD").splitlines()
    tree = repository.write_tree(repository.tree_of(head), {"lib/crc/table.c": b"int other;\n", "new/file.c": b"x\n"})
    commit = repository.commit(tree, [head], "lib: change\n")
    repository.update_refs([RefUpdate(BEST, commit, None)])
    assert git("show", f"{BEST}:lib/crc/table.c") == "int other;"
    assert git("log", "-1", "--format=%an <%ae> %s", BEST) == "Test <test@example.org> lib: change"
    assert repository.diff(head, tree) == repository.diff(head, commit)
    assert [change.path for change in repository.changed_paths(head, commit)] == ["lib/crc/table.c", "new/file.c"]
    assert repository.apply_patch(repository.tree_of(head), repository.diff(head, tree)) == tree
    Shell(repository.common_dir).git("fsck", "--strict", "--no-dangling")


def test_no_repository(tmp_path: Path) -> None:
    with pytest.raises(RepositoryError, match=r"is not in a git repository; run it inside a checkout"):
        Repository.open(tmp_path)
    with pytest.raises(RepositoryError, match="is not a directory"):
        Repository.open(tmp_path / "none")


def test_inherited_git_dir_is_ignored_but_configuration_kept(
    tmp_path: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = make_repository(tmp_path / "other")
    monkeypatch.setenv("GIT_DIR", str(other.cwd / ".git"))
    monkeypatch.setenv("GIT_INDEX_FILE", "/nonexistent/index")
    monkeypatch.setenv("GIT_WORK_TREE", "/")
    monkeypatch.setenv("GIT_CONFIG_PARAMETERS", "'hmopt.jobs'='7'")
    repository = Repository.open(shell.cwd)
    assert repository.git_dir == shell.cwd / ".git"
    assert repository.config_get("hmopt.jobs", type="int") == "7"
    assert not repository.is_dirty()


def test_foreign_owner_is_one_clear_line(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a directory to somebody else")
    os.chown(shell.cwd, 12345, 12345)
    os.chown(shell.cwd / ".git", 12345, 12345)
    with pytest.raises(RepositoryError, match=r"git refuses '.*plain': .*safe\.directory '.*plain'"):
        Repository.open(shell.cwd)


def test_bare_and_git_directory_have_no_working_tree(tmp_path: Path) -> None:
    bare = Repository.open(_bare(tmp_path / "repo"))
    with pytest.raises(RepositoryError, match=r"is a bare repository; run it in a working tree"):
        bare.require_worktree()
    with pytest.raises(RepositoryError, match="bare"):
        bare.is_dirty()
    inside = Repository.open(tmp_path / "repo/origin/.git")
    with pytest.raises(RepositoryError, match="is inside the git directory"):
        inside.require_worktree()


def test_a_path_that_is_no_utf8_is_refused_by_name(tmp_path: Path) -> None:
    place = Path(os.fsdecode(os.fsencode(tmp_path) + b"/k\xe9rnel"))
    make_repository(place)
    with pytest.raises(RepositoryError, match="not UTF-8") as caught:
        Repository.open(place)
    assert "rename" in (caught.value.next_step or "")
    str(caught.value).encode()  # what is printed can be printed


def test_unborn_branch(tmp_path: Path) -> None:
    empty = Shell(tmp_path)
    empty.git("init", "-q", "empty")
    repository = Repository.open(tmp_path / "empty")
    assert repository.head() is None
    with pytest.raises(RepositoryError, match=r"has no commit yet; commit something first"):
        repository.resolve("HEAD")


def test_dirty_counts_tracked_files_only(shell: Shell, repository: Repository) -> None:
    shell.write("untracked", "x")
    assert not repository.is_dirty()
    shell.write("README", "changed\n")
    assert repository.is_dirty()
    shell.git("add", "README")
    assert repository.is_dirty()


# -- revisions, refs, configuration ---------------------------------------------------------------------------------


@pytest.mark.parametrize("rev", ["--all", "-h", "no such", "HEAD~99", "a\nb", "", "x\0y", "HEAD:README"])
def test_bad_revisions_are_repository_errors(repository: Repository, rev: str) -> None:
    with pytest.raises(RepositoryError):
        repository.resolve(rev)


def test_resolve_peels_tags_and_suggests_the_nearest_name(shell: Shell, repository: Repository) -> None:
    shell.git("tag", "-a", "v6.1", "-m", "release")
    assert repository.resolve("v6.1") == repository.head()
    with pytest.raises(RepositoryError, match=r"'v6.l' is not in this repository; did you mean 'v6.1'\?"):
        repository.resolve("v6.l")


def test_shallow_clone_says_how_to_get_the_rest(tmp_path: Path) -> None:
    repository = Repository.open(_shallow(tmp_path / "repo"))
    with pytest.raises(RepositoryError, match=r"'v6.12' is not in this shallow clone; run: git fetch --unshallow"):
        repository.resolve("v6.12")


@pytest.mark.parametrize("name", ["hmopt", f"hmopt/{RUN}"])
def test_a_users_branch_blocks_the_namespace(shell: Shell, repository: Repository, name: str) -> None:
    assert repository.user_branch_blocking_namespace() is None
    shell.git("branch", name)
    assert repository.user_branch_blocking_namespace() == f"refs/heads/{name}"
    assert repository.user_branch_blocking_namespace(RUN) == f"refs/heads/{name}"
    head = repository.resolve("HEAD")
    with pytest.raises(StoreError, match=rf"'refs/heads/{name}' stands where git needs a directory"):
        repository.update_refs([RefUpdate(BEST, head, None)])


def test_our_own_branches_block_nothing(shell: Shell, repository: Repository) -> None:
    shell.git("update-ref", BEST, "HEAD")
    shell.git("branch", "hmopt-other")
    shell.git("branch", "hmopt/mine")
    assert repository.user_branch_blocking_namespace() is None
    assert repository.user_branch_blocking_namespace(RunId("mine")) == "refs/heads/hmopt/mine"


def test_ref_transaction_is_all_or_nothing(shell: Shell, repository: Repository) -> None:
    head, first = repository.resolve("HEAD"), repository.resolve("HEAD~1")
    other = RefName("refs/hmopt/runs/x")
    repository.update_refs([RefUpdate(BEST, first, None)])
    with pytest.raises(MovedRefsError) as caught:
        repository.update_refs([RefUpdate(other, head, None), RefUpdate(BEST, head, None)])
    assert caught.value.refs == (BEST,)
    assert repository.read_ref(other) is None
    repository.update_refs([RefUpdate(other, head, None), RefUpdate(BEST, head, first)])
    assert repository.list_refs("refs/hmopt/", "refs/heads/hmopt/") == {other: head, BEST: head}
    repository.update_refs([RefUpdate(other, None, head)])
    assert shell.git("for-each-ref", "refs/hmopt") == ""


def test_locked_ref_is_a_conflict_that_names_the_lock(shell: Shell, repository: Repository) -> None:
    lock = shell.cwd / ".git/refs/heads/hmopt" / RUN / "best.lock"
    lock.parent.mkdir(parents=True)
    lock.touch()
    with pytest.raises(MovedRefsError, match=r"best\.lock") as caught:
        repository.update_refs([RefUpdate(BEST, repository.resolve("HEAD"), None)])
    assert caught.value.refs == ()


@pytest.mark.parametrize("ref", ["refs/heads/a b", "heads/x", "refs/x\nupdate refs/heads/main", "refs/a..b"])
def test_bad_ref_names_are_refused(shell: Shell, repository: Repository, ref: str) -> None:
    before = shell.git("for-each-ref")
    with pytest.raises(StoreError):
        repository.update_refs([RefUpdate(RefName(ref), repository.resolve("HEAD"), None)])
    assert shell.git("for-each-ref") == before


def test_a_git_that_hangs_is_an_error_of_the_repository(shell: Shell, repository: Repository) -> None:
    """Not of the program under test: exit code 128, and the run stays open."""
    shell.git("config", "alias.hang", "!sleep 60")
    with pytest.raises(StoreError, match=r"'git .*hang' ran past its limit of 0.5 s and was killed"):
        repository.git.run("hang", wall_s=0.5)


def test_a_full_disk_under_the_refs_says_so(shell: Shell, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake = tmp_path / "bin/git"
    fake.parent.mkdir()
    fake.write_text(
        '#!/bin/sh\ncase "$*" in *update-ref*) echo "fatal: cannot update ref: No space left on device" >&2; exit 128; '
        f';; esac\nexec {shutil.which("git")} "$@"\n'
    )
    fake.chmod(0o755)
    repository = Repository.open(shell.cwd)
    head = repository.resolve("HEAD")
    monkeypatch.setenv("PATH", f"{fake.parent}:{os.environ['PATH']}")
    with pytest.raises(StoreError, match=r"No space left on device; free space there and run it again"):
        repository.update_refs([RefUpdate(BEST, head, None)])


def test_users_hooks_do_not_run(shell: Shell, repository: Repository) -> None:
    hook = shell.cwd / ".git/hooks/reference-transaction"
    hook.write_text("#!/bin/sh\ntouch ran\nexit 1\n")
    hook.chmod(0o755)
    repository.update_refs([RefUpdate(BEST, repository.resolve("HEAD"), None)])
    assert not list(shell.cwd.rglob("ran"))


def test_configuration_is_typed(shell: Shell, repository: Repository) -> None:
    assert repository.config_get("hmopt.jobs") is None
    repository.config_set("hmopt.jobs", "2k", type="int")
    assert repository.config_get("hmopt.jobs", type="int") == "2048"
    assert shell.git("config", "--local", "hmopt.jobs") == "2048"
    shell.git("config", "hmopt.jobs", "many")
    with pytest.raises(ConfigError, match=r"git config hmopt.jobs: .*many"):
        repository.config_get("hmopt.jobs", type="int")
    with pytest.raises(ConfigError, match=r"bad"):
        repository.config_set("hmopt.jobs", "few", type="int")
    repository.config_set("hmopt.jobs", None)
    assert repository.config_get("hmopt.jobs") is None


# -- trees ----------------------------------------------------------------------------------------------------------


def test_write_tree_equals_what_the_index_makes(any_shell: Shell, any_repository: Repository) -> None:
    base = any_repository.tree_of(any_repository.resolve("HEAD"))
    made = any_repository.write_tree(
        base,
        {
            "scripts/run.sh": b"#!/bin/sh\necho\n",
            "lib/crc/table.c": None,
            "lib/sort.c": b"int x;\n",
            "lib.c": b"",
            "lib/a/b/c.h": b"deep\n",
            "lib-x/y": b"sorted between\n",
        },
    )
    any_shell.write("scripts/run.sh", "#!/bin/sh\necho\n")
    any_shell.write("lib/sort.c", "int x;\n")
    any_shell.write("lib.c", "")
    any_shell.write("lib/a/b/c.h", "deep\n")
    any_shell.write("lib-x/y", "sorted between\n")
    any_shell.git("rm", "-q", "lib/crc/table.c")
    any_shell.commit("by hand")
    assert made == any_shell.git("rev-parse", "HEAD^{tree}")
    assert any_shell.git("ls-tree", made, "scripts/run.sh").startswith("100755 ")


def test_an_empty_tree_can_be_made(repository: Repository) -> None:
    empty = repository.write_tree(None, {})
    assert empty == "4b825dc642cb6eb9a060e54bf8d69288fbee4904"
    one = repository.write_tree(None, {"a/b": b"x"})
    assert repository.write_tree(one, {"a/b": None}) == empty


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/etc/passwd",
        "../x",
        "a/../../x",
        "./x",
        "a//b",
        "a/",
        ".git/hooks/pre-commit",
        "sub/.git/config",
        ".GIT/config",
        "git~1/config",
        ".git./x",
        ".git /x",
        ".git::$INDEX_ALLOCATION/x",
        ".g\u200cit/config",
        "a\\..\\..\\x",
        "x\\.git\\config",
        ".gitmodules",
        "a\0b",
        "a\nb",
        "link",
        "link/x",
        "README/x",
        "lib",
        "lib/crc",
    ],
)
def test_a_path_that_leaves_the_tree_or_is_no_file_is_refused(repository: Repository, path: str) -> None:
    tree = repository.tree_of(repository.resolve("HEAD"))
    with pytest.raises(PatchError):
        repository.write_tree(tree, {path: b"x"})
    with pytest.raises(PatchError):
        repository.write_tree(tree, {path: None})


@pytest.mark.parametrize("path", [".gitignore", "lib/git~2.c", "...", "a b/ü.c", ".github/x"])
def test_harmless_paths_are_taken(repository: Repository, path: str) -> None:
    tree = repository.write_tree(repository.tree_of(repository.resolve("HEAD")), {path: b"x"})
    assert repository.read_path(tree, path) == b"x"


def test_deleting_what_is_not_there_and_contradicting_edits_are_refused(repository: Repository) -> None:
    tree = repository.tree_of(repository.resolve("HEAD"))
    with pytest.raises(PatchError, match="which is not in the tree"):
        repository.write_tree(tree, {"lib/none.c": None})
    for order in (("new", "new/x"), ("new/x", "new")):
        with pytest.raises(PatchError, match="directory"):
            repository.write_tree(tree, dict.fromkeys(order, b"x"))


def test_filtered_tree_drops_paths_and_keeps_modes(any_shell: Shell, any_repository: Repository) -> None:
    base = any_repository.tree_of(any_repository.resolve("HEAD"))
    made = any_repository.write_filtered_tree(base, lambda path: not path.startswith("lib/"), {"lib/new.c": b"n"})
    assert any_shell.git("ls-tree", "-r", "--name-only", made).splitlines() == [
        *("Makefile", "README", "lib/new.c", "link", "scripts/run.sh")
    ]
    assert any_shell.git("ls-tree", made, "scripts/run.sh").startswith("100755 ")
    assert any_repository.write_filtered_tree(base, lambda path: True, {}) == base


def test_many_objects_become_a_pack_that_git_accepts(any_shell: Shell, any_repository: Repository) -> None:
    changes: dict[str, bytes | None] = {f"d{n % 7}/f{n}": b"x" * n for n in range(400)}
    tree = any_repository.write_tree(None, changes)
    assert "in-pack: 4" in any_shell.git("count-objects", "-v")
    any_shell.git("fsck", "--strict", "--no-dangling")
    assert any_shell.git("cat-file", "-p", f"{tree}:d0/f399") == "x" * 399
    assert any_repository.read_path(tree, "d0/f399") == b"x" * 399


def test_objects_that_are_missing_or_of_another_kind(any_repository: Repository) -> None:
    head = any_repository.resolve("HEAD")
    absent = Oid("1" * len(head))
    with pytest.raises(MissingObjectError, match=absent):
        any_repository.read_blob(absent)
    with pytest.raises(StoreError, match="is a commit, not a blob"):
        any_repository.read_blob(head)
    with pytest.raises(StoreError, match="not a commit"):
        any_repository.tree_of(any_repository.tree_of(head))
    with pytest.raises(StoreError, match="not a tree"):
        ObjectBatch(any_repository.objects).read_tree(head)


# -- patches --------------------------------------------------------------------------------------------------------


def test_diff_is_the_same_whatever_the_user_configured(shell: Shell, repository: Repository) -> None:
    a, b = repository.resolve("HEAD~1"), repository.resolve("HEAD")
    plain = repository.diff(a, b)
    for key, value in (
        ("diff.noprefix", "true"),
        ("diff.external", "/bin/false"),
        ("diff.algorithm", "patience"),
        ("diff.context", "0"),
        ("diff.mnemonicPrefix", "true"),
        ("color.ui", "always"),
        ("diff.suppressBlankEmpty", "true"),
    ):
        shell.git("config", key, value)
    assert repository.diff(a, b) == plain
    assert plain.startswith(b"diff --git a/README b/README\nnew file mode 100644\n")


def test_patch_id_survives_a_rebase_and_is_git_s_own(shell: Shell, repository: Repository) -> None:
    base = repository.tree_of(repository.resolve("HEAD"))
    text = repository.read_path(base, "lib/sort.c") or b""
    changed = repository.write_tree(base, {"lib/sort.c": text.replace(b"line_30", b"faster_30")})
    moved = repository.write_tree(base, {"lib/sort.c": b"int top;\n" + text})
    moved_changed = repository.apply_patch(moved, repository.diff(base, changed))
    assert moved_changed != changed
    patch_id = repository.patch_id(base, changed)
    assert patch_id is not None
    assert patch_id == repository.patch_id(moved, moved_changed)
    assert shell.git("patch-id", "--stable", stdin=repository.diff(base, changed)).split()[0] == patch_id
    assert repository.patch_id(base, base) is None


_TRAVERSAL = "diff --git a/x b/x\nnew file mode 100644\n--- /dev/null\n+++ b/{path}\n@@ -0,0 +1 @@\n+x\n"


@pytest.mark.parametrize(
    "patch",
    [
        "",
        "not a patch\n",
        "--- a/lib/sort.c\n+++ b/lib/sort.c\n@@ -1 +1 @@\n-no such line\n+x\n",
        "--- a/none.c\n+++ b/none.c\n@@ -1 +1 @@\n-a\n+b\n",
        _TRAVERSAL.format(path="../../x"),
        _TRAVERSAL.format(path=".git/hooks/pre-commit"),
        _TRAVERSAL.format(path="link/x"),
        "diff --git a/evil b/evil\nnew file mode 120000\n--- /dev/null\n+++ b/evil\n@@ -0,0 +1 @@\n+/etc/passwd\n"
        "\\ No newline at end of file\n",
        f"diff --git a/sub b/sub\nnew file mode 160000\n--- /dev/null\n+++ b/sub\n@@ -0,0 +1 @@\n"
        f"+Subproject commit {'1' * 40}\n",
        "diff --git a/link b/link\ndeleted file mode 120000\n--- a/link\n+++ /dev/null\n@@ -1 +0,0 @@\n-lib/sort.c\n"
        "\\ No newline at end of file\n",
        _TRAVERSAL.format(path=".gitmodules").replace("a/x b/x", "a/.gitmodules b/.gitmodules"),
    ],
)
def test_patches_that_do_not_apply_or_leave_the_tree_are_refused(
    shell: Shell, repository: Repository, patch: str
) -> None:
    tree = repository.tree_of(repository.resolve("HEAD"))
    with pytest.raises(PatchError):
        repository.apply_patch(tree, patch.encode())
    assert shell.git("status", "--porcelain") == ""


def test_apply_patch_leaves_index_and_working_tree_alone(shell: Shell, repository: Repository) -> None:
    shell.write("README", "the user is editing\n")
    shell.git("add", "README")
    before = (shell.git("status", "--porcelain"), shell.git("write-tree"))
    tree = repository.tree_of(repository.resolve("HEAD"))
    changed = repository.write_tree(tree, {"README": b"other\n"})
    assert repository.apply_patch(tree, repository.diff(tree, changed)) == changed
    assert (shell.git("status", "--porcelain"), shell.git("write-tree")) == before
