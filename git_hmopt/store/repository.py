# SPDX-License-Identifier: Apache-2.0
"""A git repository of any kind: plain, bare, linked worktree, shallow, SHA-256, partial.

Objects are built in memory and written first; then `update_refs` publishes them all at once, or nothing. Imports
neither pygit2 nor pydantic until an object is touched, and little else: commands that only look start here.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal

from git_hmopt.errors import ConfigError, PatchError, RefConflictError, RepositoryError, StoreError
from git_hmopt.records.words import BRANCHES, Oid, RefName, RunId, is_run_id
from git_hmopt.store.edit import check_path, edit_tree, filter_tree, load_trees, walk
from git_hmopt.store.git import FREE_SPACE, Git, GitOutput
from git_hmopt.store.objects import (
    GITLINK,
    SYMLINK,
    TOOL,
    TREE,
    Commit,
    ObjectBatch,
    ObjectStore,
    Signature,
    TreeEntry,
    commit_of,
    format_commit,
    tree_entries,
    zero_oid,
)

ConfigType = Literal["bool", "int", "path", "expiry-date", "color"]
ConfigScope = Literal["local", "global"]

# Plumbing still listens to these, and a patch must not depend on who made it.
DIFF_SETTINGS = (
    *("-c", "diff.suppressBlankEmpty=false", "-c", "diff.context=3", "-c", "diff.interHunkContext=0"),
    *("-c", "core.quotePath=true", "-c", "core.attributesFile=/dev/null", "-c", "diff.indentHeuristic=true"),
)
DIFF_OPTIONS = (
    *("--no-ext-diff", "--no-textconv", "--no-color", "--no-renames", "--full-index", "--binary", "--unified=3"),
    *("--diff-algorithm=myers", "--src-prefix=a/", "--dst-prefix=b/", "--submodule=short", "--ignore-submodules=none"),
)
_APPLY_SETTINGS = ("-c", "apply.whitespace=nowarn", "-c", "apply.ignoreWhitespace=no", "-c", "core.hooksPath=/dev/null")

_QUESTIONS = (
    *("--git-dir", "--git-common-dir", "--show-object-format", "--is-bare-repository", "--is-shallow-repository"),
    *("--is-inside-work-tree", "--show-toplevel"),
)
_REF = re.compile(r"refs/[^\x00-\x20\x7f~^:?*\[\\]+")


class MovedRefsError(RefConflictError):
    """Refs that no longer stand where the transaction expected them; `refs` is empty when one was only locked."""

    def __init__(self, what: str, refs: tuple[RefName, ...], *, next_step: str | None = None) -> None:
        super().__init__(what, next_step=next_step)
        self.refs = refs


@dataclass(frozen=True)
class RefUpdate:
    """Move `ref` from `old` to `new`; None is "does not exist"."""

    ref: RefName
    new: Oid | None
    old: Oid | None


@dataclass(frozen=True)
class ChangedPath:
    """One path that differs between two trees: `status` is A, D, M or T, modes have six octal digits."""

    status: str
    path: str
    old_mode: str
    new_mode: str


@dataclass(frozen=True)
class Repository:
    """One repository, as `git rev-parse` described it when it was opened."""

    git: Git
    git_dir: Path
    common_dir: Path
    worktree: Path | None
    object_format: str
    is_bare: bool
    is_shallow: bool
    _config: dict[str, str] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def open(cls, path: Path, *, extra: Mapping[str, str] | None = None) -> Repository:
        """Return the repository that `path` is in; RepositoryError says why there is none.

        `extra` are variables for all its git processes, as of a push that is not taken yet (`store.incoming`).
        """
        if not path.is_dir():
            raise RepositoryError(f"'{path}' is not a directory")
        given = tuple((extra or {}).items())
        answer = Git(path, given).run("rev-parse", "--path-format=absolute", *_QUESTIONS, ok=(0, 128))
        lines = answer.text.split("\n")
        if len(lines) > len(_QUESTIONS):
            # A path with a line's end in it, which nothing quotes here: one question a process.
            each = [Git(path, given).run("rev-parse", "--path-format=absolute", one, ok=(0, 128)) for one in _QUESTIONS]
            lines = [one.text for one in each if one.returncode == 0]
        # A bare repository, or a directory inside .git, answers all but the last question, and then complains.
        if answer.returncode != 0 and not (len(lines) == 6 and "work tree" in answer.complaint):
            Git(path, given).run("rev-parse", "--git-dir")
            raise RepositoryError(f"git cannot read the repository at '{path}': {answer.complaint}")
        if len(lines) not in (6, 7) or not lines[0].startswith("/"):
            raise RepositoryError(f"git answered {lines[0]!r} about '{path}'", next_step="git 2.31 or later is needed")
        try:
            lines[1].encode()
        except UnicodeEncodeError as error:  # sqlite and libgit2 know paths in UTF-8 only
            raise RepositoryError(
                f"the path of the repository {lines[1]!r} is not UTF-8",
                next_step="rename that directory, or clone elsewhere",
            ) from error
        worktree = Path(lines[6]) if len(lines) == 7 and lines[5] == "true" else None
        return cls(
            git=Git(worktree or Path(lines[0]), given),
            git_dir=Path(lines[0]),
            common_dir=Path(lines[1]),
            worktree=worktree,
            object_format=lines[2],
            is_bare=lines[3] == "true",
            is_shallow=lines[4] == "true",
        )

    # -- what kind of repository ------------------------------------------------------------------------------------

    @property
    def home(self) -> Path:
        """Return the directory under the common git directory that is ours."""
        return self.common_dir / "hmopt"

    @property
    def is_partial(self) -> bool:
        """Say whether objects may be missing here that git would fetch when asked for."""
        settings = self._settings()
        promisors = (key for key in settings if key.startswith("remote.") and key.endswith(".promisor"))
        return "extensions.partialclone" in settings or any(settings[key] != "false" for key in promisors)

    @cached_property
    def objects(self) -> ObjectStore:
        """Return the way to this repository's objects: in this process where libgit2 can, else by git processes."""
        # libgit2 takes no variables, and with them not what they show.
        if self.object_format != "sha1" or self.git.extra or self.is_partial:
            from git_hmopt.store.objects_git import CommandObjects

            return CommandObjects(self.git, self.object_format)
        from git_hmopt.store.objects_pygit2 import Pygit2Objects

        return Pygit2Objects(self.git, self.common_dir / "objects")

    def require_worktree(self) -> Path:
        """Return the working tree's top; RepositoryError when this is no place with one."""
        if self.worktree is None:
            what = "is a bare repository" if self.is_bare else "is inside the git directory"
            raise RepositoryError(f"'{self.git_dir}' {what}", next_step="run it in a working tree (git worktree add)")
        return self.worktree

    def is_dirty(self) -> bool:
        """Say whether tracked files differ from HEAD; untracked files do not count."""
        self.require_worktree()
        return bool(self.git.run("status", "--porcelain=v1", "--untracked-files=no", "-z").output)

    def user_branch_blocking_namespace(self, run: RunId | None = None) -> RefName | None:
        """Return a ref of the user's that stands where git needs a directory for ours, or None.

        Git keeps no ref `hmopt` beside a ref `hmopt/...`. With `run` the branch `hmopt/<run>` counts, without it
        every branch `hmopt/<name of a run>`.
        """
        for ref in self.list_refs("refs/heads/hmopt", "refs/notes/hmopt", "refs/hmopt"):
            rest = ref.removeprefix(BRANCHES)
            if ref in ("refs/heads/hmopt", "refs/notes/hmopt", "refs/hmopt", "refs/hmopt/runs"):
                return ref
            if rest != ref and (rest == run or (run is None and is_run_id(rest))):
                return ref
        return None

    # -- configuration ----------------------------------------------------------------------------------------------

    def config_get(self, key: str, *, type: ConfigType | None = None) -> str | None:
        """Return a setting as git reads it (`git -c` included), or None; ConfigError when it is not of `type`."""
        kind = (f"--type={type}",) if type else ()
        answer = self.git.run("config", *kind, "--get", key, ok=(0, 1, 128), settings=())
        if answer.returncode == 128:
            raise ConfigError(f"git config {key}: {answer.complaint}", next_step=f"see: git config --show-origin {key}")
        return answer.text if answer.returncode == 0 else None

    def config_set(
        self, key: str, value: str | None, *, type: ConfigType | None = None, scope: ConfigScope = "local"
    ) -> None:
        """Set a setting, or remove it when `value` is None; ConfigError when it is not of `type`."""
        self._config.clear()
        if value is None:
            self.git.run("config", f"--{scope}", "--unset-all", key, ok=(0, 5), settings=())
            return
        kind = (f"--type={type}",) if type else ()
        answer = self.git.run("config", f"--{scope}", *kind, key, value, ok=(0, 1, 2, 128), settings=())
        if answer.returncode != 0:
            raise ConfigError(f"git config {key}: {answer.complaint}")

    def _settings(self) -> dict[str, str]:
        if not self._config:
            listed = self.git.run("config", "--list", "-z", settings=()).output
            for item in listed.decode("utf-8", "surrogateescape").split("\0"):
                key, _, value = item.partition("\n")
                self._config[key] = value
        return self._config

    def identity(self) -> Signature:
        """Return the user's configured name and address for candidate commits, or the tool's own."""
        settings = self._settings()
        return Signature(settings.get("user.name") or TOOL.name, settings.get("user.email") or TOOL.email)

    # -- revisions and refs -----------------------------------------------------------------------------------------

    def resolve(self, rev: str) -> Oid:
        """Return the commit a revision names; RepositoryError says what was wrong and what is near."""
        if not rev or "\0" in rev:
            raise RepositoryError(f"{rev!r} names no commit")
        answer = self.git.run("rev-parse", "--verify", "--end-of-options", f"{rev}^{{commit}}", ok=(0, 128))
        if answer.returncode != 0:
            raise self._unresolved(rev, answer.errors.decode("utf-8", "replace"))
        return Oid(answer.text)

    def _unresolved(self, rev: str, errors: str) -> RepositoryError:
        import difflib

        if "is ambiguous" in errors:
            return RepositoryError(f"'{rev}' is ambiguous", next_step="give more digits")
        if "expected commit type" in errors:
            return RepositoryError(f"'{rev}' is no commit")
        if rev in ("HEAD", "@") and self.head() is None:
            return RepositoryError("the current branch has no commit yet", next_step="commit something first")
        names = self.git.run("for-each-ref", "--format=%(refname:short)").text.split("\n")
        near = difflib.get_close_matches(rev, names, n=1)
        steps = ["run: git fetch --unshallow"] if self.is_shallow else []
        steps += [f"did you mean '{near[0]}'?"] if near else []
        where = "in this shallow clone" if self.is_shallow else "in this repository"
        return RepositoryError(
            f"'{rev}' is not {where}", next_step=" or ".join(steps) or "see: git log --oneline --all"
        )

    def head(self) -> Oid | None:
        """Return the commit HEAD is at, or None while its branch has none."""
        answer = self.git.run("rev-parse", "--verify", "--quiet", "HEAD^{commit}", ok=(0, 1, 128))
        return Oid(answer.text) if answer.returncode == 0 else None

    def list_refs(self, *prefixes: str) -> dict[RefName, Oid]:
        """Return the refs that are or lie below one of `prefixes`, by name, in git's order."""
        if not prefixes:
            return {}
        patterns = [prefix.rstrip("/") for prefix in prefixes]
        listed = self.git.run("for-each-ref", "--format=%(objectname) %(refname)", *patterns).text
        pairs = (line.split(" ", 1) for line in listed.splitlines())
        return {RefName(ref): Oid(oid) for oid, ref in pairs}

    def read_ref(self, ref: RefName) -> Oid | None:
        """Return what a ref points at, or None."""
        return self.list_refs(ref).get(ref)

    def update_refs(self, updates: Sequence[RefUpdate], *, reason: str = "git hmopt") -> None:
        """Move all refs, or none: MovedRefsError when one is not where its `old` says."""
        if not updates:
            return
        zero = zero_oid(self.object_format)
        lines = ["start"]
        for update in updates:
            if not _REF.fullmatch(update.ref):
                raise StoreError(f"{update.ref!r} is no name for a ref")
            # A symbolic ref among ours would otherwise move what it points at.
            lines.append("option no-deref")
            lines.append(f"update {update.ref} {update.new or zero} {update.old or zero}")
        lines += ["prepare", "commit", ""]
        answer = self.git.run(
            *("update-ref", "--stdin", "-m", reason),
            stdin="\n".join(lines).encode(),
            # The reflog names a committer, and `user.useConfigOnly` forbids git to make one up.
            environment={"GIT_COMMITTER_NAME": TOOL.name, "GIT_COMMITTER_EMAIL": TOOL.email},
            ok=(0, 1, 128),
        )
        if answer.returncode != 0:
            raise self._refused(updates, answer)

    def _refused(self, updates: Sequence[RefUpdate], answer: GitOutput) -> StoreError:
        complaint = answer.complaint
        # Whether we lost a race is asked of the refs, not of the sentence.
        now = self.list_refs(*(update.ref for update in updates))
        moved = tuple(update.ref for update in updates if now.get(update.ref) != update.old)
        if moved:
            return MovedRefsError(f"somebody else moved {moved[0]}", moved, next_step="run it again")
        if ".lock" in complaint and "File exists" in complaint:
            return MovedRefsError(
                f"a ref is locked: {complaint}", (), next_step="if no git runs here any more, delete that .lock file"
            )
        blocking = self.user_branch_blocking_namespace()
        if blocking:
            return StoreError(
                f"'{blocking}' stands where git needs a directory for 'hmopt/...'",
                next_step=f"rename it: git update-ref refs/heads/NEW-NAME {blocking} && git update-ref -d {blocking}",
            )
        return StoreError(f"refs cannot be moved: {complaint}", next_step=FREE_SPACE if answer.disk_full else None)

    # -- objects ----------------------------------------------------------------------------------------------------

    def read_commit(self, commit: Oid) -> Commit:
        """Return what a commit says."""
        return commit_of(self.objects.read_many([commit])[0], commit)

    def tree_of(self, commit: Oid) -> Oid:
        """Return a commit's tree."""
        return self.read_commit(commit).tree

    def read_blob(self, oid: Oid) -> bytes:
        """Return a blob's bytes; StoreError when the object is something else."""
        found = self.objects.read_many([oid])[0]
        if found.kind != "blob":
            raise StoreError(f"object {oid} is a {found.kind}, not a blob")
        return found.data

    def list_folder(self, tree_or_commit: Oid, path: str = "") -> list[TreeEntry]:
        """Return what stands in one folder itself, in git's order; nothing where `path` is no folder."""
        folder = self.find_entry(tree_or_commit, path) if path else TreeEntry(TREE, self._as_tree(tree_or_commit), "")
        if folder is None or folder.mode != TREE:
            return []
        return list(tree_entries(self.objects.read_many([folder.oid])[0], folder.oid, self.object_format))

    def find_entry(self, tree_or_commit: Oid, path: str) -> TreeEntry | None:
        """Return the tree entry at `path`, or None."""
        at: TreeEntry | None = TreeEntry(TREE, self._as_tree(tree_or_commit), "")
        for name in path.split("/"):
            if at is None or at.mode != TREE:
                return None
            found = self.objects.read_many([at.oid])[0]
            entries = tree_entries(found, at.oid, self.object_format)
            at = next((entry for entry in entries if entry.name == name), None)
        return at

    def read_path(self, tree_or_commit: Oid, path: str) -> bytes | None:
        """Return the bytes of a file in a tree (a symbolic link's target), or None when there is no such file."""
        entry = self.find_entry(tree_or_commit, path)
        return None if entry is None or entry.mode in (TREE, GITLINK) else self.read_blob(entry.oid)

    def list_tree(self, tree_or_commit: Oid) -> Iterator[tuple[str, Oid, str]]:
        """Yield (mode, oid, path) of every file, link and submodule below a tree, in git's order."""
        root = self._as_tree(tree_or_commit)
        return walk(load_trees(self.objects, root), root)

    def _as_tree(self, tree_or_commit: Oid) -> Oid:
        found = self.objects.read_many([tree_or_commit])[0]
        return commit_of(found, tree_or_commit).tree if found.kind == "commit" else tree_or_commit

    def write_tree(self, base_tree: Oid | None, changes: Mapping[str, bytes | None]) -> Oid:
        """Return `base_tree` with new contents by path (None deletes); PatchError as `edit.edit_tree` says."""
        batch = ObjectBatch(self.objects)
        tree = edit_tree(batch, base_tree, changes)
        batch.flush()
        return tree

    def write_filtered_tree(self, tree: Oid, keep: Callable[[str], bool], changes: Mapping[str, bytes | None]) -> Oid:
        """Return the tree of the paths `keep` wants, with `changes` in it."""
        batch = ObjectBatch(self.objects)
        filtered = edit_tree(batch, filter_tree(batch, self.objects, tree, keep), changes)
        batch.flush()
        return filtered

    def commit(
        self,
        tree: Oid,
        parents: Sequence[Oid],
        message: str,
        *,
        author: Signature | None = None,
        seconds: int | None = None,
    ) -> Oid:
        """Write a commit and return its id; no hook runs and nothing is signed. `seconds` of the epoch, default now."""
        at = int(time.time()) if seconds is None else seconds
        batch = ObjectBatch(self.objects)
        oid = batch.add("commit", format_commit(tree, parents, message, author or self.identity(), at))
        batch.flush()
        return oid

    # -- differences ------------------------------------------------------------------------------------------------

    def diff(self, a: Oid, b: Oid) -> bytes:
        """Return the unified diff between two commits or trees, the same whatever the user configured."""
        return self.git.run(
            "diff-tree", "-r", "-p", *DIFF_OPTIONS, "--end-of-options", a, b, settings=DIFF_SETTINGS
        ).output

    def changed_paths(self, a: Oid, b: Oid) -> list[ChangedPath]:
        """Return the paths that differ between two commits or trees."""
        answer = self.git.run(
            "diff-tree", "-r", "-z", "--raw", "--no-renames", "--no-abbrev", "--end-of-options", a, b
        ).output
        fields = answer.decode("utf-8", "surrogateescape").split("\0")
        changed = []
        for raw, path in zip(fields[0:-1:2], fields[1::2], strict=True):
            old_mode, new_mode, _, _, status = raw.removeprefix(":").split(" ")
            changed.append(ChangedPath(status, path, old_mode, new_mode))
        return changed

    def files_with_words(self, words: Sequence[str], *suffixes: str) -> list[str]:
        """Return the tracked files of the working tree that have one of the words whole, sorted, by their suffixes.

        What is searched are the files as they stand, changed ones included.
        """
        if not words:
            return []
        wanted = [part for word in words for part in ("-e", word)]
        among = [f":(top,glob)**/*{suffix}" for suffix in suffixes]
        answer = self.git.run(
            "grep", "-l", "-z", "-w", "-F", "-I", "--full-name", *wanted, "--", *among,
            ok=(0, 1), environment={"GIT_LITERAL_PATHSPECS": "0"},
        )  # fmt: skip
        return sorted(path for path in answer.output.decode("utf-8", "surrogateescape").split("\0") if path)

    def patch_id(self, a: Oid, b: Oid) -> str | None:
        """Return what `git patch-id --stable` calls the difference, or None when there is none."""
        answer = self.git.run("patch-id", "--stable", stdin=self.diff(a, b)).text
        return answer.split(" ")[0] or None

    def apply_patch(self, tree: Oid, diff: bytes) -> Oid:
        """Return `tree` with a unified diff applied; PatchError when it does not apply or makes a link or submodule."""
        import tempfile

        with tempfile.TemporaryDirectory(prefix="git-hmopt-") as scratch:
            private = {"GIT_INDEX_FILE": str(Path(scratch) / "index")}
            self.git.run("read-tree", "--end-of-options", tree, environment=private)
            answer = self.git.run(
                "apply", "--cached", "-", stdin=diff, environment=private, ok=(0, 1, 128), settings=_APPLY_SETTINGS
            )
            if answer.returncode != 0:
                raise PatchError(f"the patch does not apply: {answer.complaint}")
            applied = Oid(self.git.run("write-tree", environment=private).text)
        for change in self.changed_paths(tree, applied):
            if {change.old_mode, change.new_mode} & {SYMLINK, GITLINK}:
                raise PatchError(f"the patch touches '{change.path}', a symbolic link or submodule")
            check_path(change.path)
        return applied
