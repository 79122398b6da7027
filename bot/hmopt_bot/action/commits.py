# SPDX-License-Identifier: Apache-2.0
"""Which commits a check is about, brought into a clone that may have but one.

1. `base` names the commit: HEAD is held against it, and against no other.
2. The forge's own merge of a pull request is checked out (its second parent is the pull request's head): HEAD is held
   against the first parent, what the base branch was at the merge. The event's base may be older (it is the one of the
   last push to the pull request), and the base branch's own progress would count as the pull request's.
3. Another commit is checked out, such as the head itself: HEAD is held against where it left the base branch.

Whatever is measured, the configuration is that of the event's base: where a branch begins is its author's choice.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from git_hmopt.errors import RepositoryError, StoreError, UsageError
from git_hmopt.records.words import Oid
from git_hmopt.store.repository import Repository
from hmopt_bot.action.job import PullRequest

_DEPTHS = (64, 1024, 16_384)
"""How far back is looked for where a branch began; a whole kernel's history is a gigabyte."""
_WALL_S = 3600.0
_FETCH = ("fetch", "--quiet", "--no-tags", "--no-recurse-submodules", "--refmap=")


@dataclass(frozen=True)
class Commits:
    """What HEAD is held against, and whose configuration counts."""

    base: Oid
    trusted: Oid


@dataclass(frozen=True)
class Finder:
    """A clone, and the remote that it may fetch from."""

    repository: Repository
    remote: str

    def commits(self, named: str, pull_request: PullRequest | None) -> Commits:
        """Return the commits, which are here from then on.

        UsageError when none is named and there is no pull request; RepositoryError when one cannot be had.
        """
        if pull_request is None:
            if not named:
                raise UsageError("there is no pull request whose base HEAD could be held against",
                                 next_step="name a commit by the input 'base'")  # fmt: skip
            base = self.named(named)
            return Commits(base, base)
        trusted = self.have(pull_request.base)
        return Commits(self.named(named) if named else self._of(pull_request), trusted)

    def named(self, text: str) -> Oid:
        """Return the commit of a name that is known here, or of a branch, tag or commit of the remote."""
        try:
            return self.repository.resolve(text)
        except RepositoryError as error:
            # What git takes for no name would be taken for something else: `a:b` writes a ref.
            git = self.repository.git
            if git.run("check-ref-format", f"refs/heads/{text}", ok=(0, 1)).returncode or text.startswith(("+", "^")):
                raise error
            try:
                self._fetch([text], depth=1)
            except StoreError as refused:
                raise RepositoryError(f"{error.what}, and '{self.remote}' has no such branch, tag or commit: {refused}",
                                      next_step="correct the input 'base'") from error  # fmt: skip
            return self.repository.resolve("FETCH_HEAD")

    def have(self, commit: Oid) -> Oid:
        """Return a commit that is here, fetched where it was not."""
        if not self._has(commit):
            self._fetch([commit], depth=1)
        return commit

    def _of(self, pull_request: PullRequest) -> Oid:
        # Not as git lists them: where history was cut it shows no parents, but the object names them.
        head = self.repository.git.run("cat-file", "commit", "HEAD").text.partition("\n\n")[0]
        parents = [line.removeprefix("parent ") for line in head.split("\n") if line.startswith("parent ")]
        if len(parents) == 2 and parents[1] == pull_request.head:
            return self.have(Oid(parents[0]))
        return self._where_it_began(pull_request.base)

    def _where_it_began(self, base: Oid) -> Oid:
        git, head = self.repository.git, self.repository.resolve("HEAD")
        for _ in self._deeper(base, head):
            found = git.run("merge-base", base, head, ok=(0, 1))
            if found.returncode == 0:
                return Oid(found.text)
        raise RepositoryError(
            f"HEAD {head[:12]} and base {base[:12]} have no commit in common"
            + (f" in the last {_DEPTHS[-1]}" if self.repository.is_shallow else ""),
            next_step="check out with 'fetch-depth: 0', or name a commit by the input 'base'",
        )

    def _deeper(self, base: Oid, head: Oid) -> Iterator[None]:
        yield
        if self.repository.is_shallow:
            for depth in _DEPTHS:
                self._fetch([base, head], depth=depth)
                yield

    def _has(self, commit: Oid) -> bool:
        return self.repository.git.run("cat-file", "-e", f"{commit}^{{commit}}", ok=(0, 1, 128)).returncode == 0

    def _fetch(self, what: Sequence[str], *, depth: int) -> None:
        # Without it a shallow clone would get all of the history; a whole one would become shallow by it.
        cut = (f"--depth={depth}",) if self.repository.is_shallow else ()
        self.repository.git.run(
            *(*_FETCH, *cut, "--end-of-options", self.remote, *what),
            settings=("-c", "core.hooksPath=/dev/null", "-c", "gc.auto=0", "-c", "maintenance.auto=false"),
            wall_s=_WALL_S,
        )
