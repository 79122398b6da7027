# SPDX-License-Identifier: Apache-2.0
"""One remote repository: what it has of ours, fetched into scratch refs, and pushes that never force anything.

The scratch refs `refs/hmopt/remotes/<remote>/` say where a remote stood when it was last asked, and are the only refs
that are ever force-fetched. Every refspec is a wildcard: one that names a single ref fails where the remote lacks it.
A push moves a ref only from where the scratch ref says that it stands, and only forward.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from git_hmopt.config.explain import unknown
from git_hmopt.errors import StoreError, UsageError
from git_hmopt.records.words import ARTIFACTS, BRANCHES, CARE, JOURNALS, NOTES, SCRATCH, Oid, RefName
from git_hmopt.store.repository import Repository

Say = Callable[[str], None]

PUSHING = "HMOPT_PUSHING"
"""Tells our pre-push hook that the push is one of ours."""
BATCH = 20
"""Refs a push moves together; with `--atomic` all of them or none."""
DATA = "refs/heads/hmopt-data/"
"""Where our refs go on a server that keeps nothing outside refs/heads/."""

_PLAIN: Mapping[str, str] = {
    JOURNALS: "runs/",
    CARE: "care/",
    ARTIFACTS: "artifacts/",
    NOTES: "notes/",
    BRANCHES: "heads/",
}
"""The namespaces that travel, and the directory of each below a remote's scratch refs and below `DATA`."""

# The user's own settings decide how a remote is reached; these would send or fetch more than was said.
_FETCH = ("--no-tags", "--no-write-fetch-head", "--no-recurse-submodules", "--refmap=", "--prune")
_PUSH = ("--porcelain", "--no-follow-tags", "--recurse-submodules=no")
_STATUS = re.compile(r"(?P<flag>[ +\-*!=])\t(?P<source>[^\t]*):(?P<ref>[^\t:]+)\t(?P<said>.*)")


class Namespace(StrEnum):
    """Where a server keeps our refs: under their own names, or all below refs/heads/."""

    PLAIN = "plain"
    HEADS = "heads"

    def there(self, ref: RefName) -> RefName:
        """Return what a ref of ours is called on the server."""
        if self is Namespace.PLAIN or ref.startswith(BRANCHES):
            return ref
        prefix, directory = _place(ref)
        return RefName(f"{DATA}{directory}{ref.removeprefix(prefix)}")


@dataclass(frozen=True)
class Move:
    """A ref to move on the remote, from where it stands there (None: it is not there)."""

    ref: RefName
    new: Oid
    old: Oid | None


@dataclass(frozen=True)
class Sent:
    """How a push of one batch ended: what moved, and what was refused, with the server's words."""

    moved: tuple[RefName, ...]
    refused: Mapping[RefName, str]


@dataclass(frozen=True)
class Remote:
    """A remote by its configured name, or a URL or path that has none."""

    repository: Repository
    name: str
    say: Say = lambda text: None

    @classmethod
    def of(cls, repository: Repository, name: str | None, *, say: Say = lambda text: None) -> Remote:
        """Return the remote that is meant: the one named, the branch's own, `origin`, or the only one there is.

        UsageError when there is none, or none of that name.
        """
        known = repository.git.run("remote").text.split()
        if name is not None:
            if name in known or _is_address(name):
                return cls(repository, name, say)
            raise UsageError(unknown(name, known, what="remote"), next_step="see: git remote -v")
        branch = repository.git.run("symbolic-ref", "--quiet", "--short", "HEAD", ok=(0, 1)).text
        own = repository.config_get(f"branch.{branch}.remote") if branch else None
        for candidate in (own, "origin", *(known if len(known) == 1 else ())):
            if candidate in known:
                return cls(repository, str(candidate), say)
        if not known:
            raise UsageError("this repository has no remote", next_step="add one: git remote add origin URL")
        raise UsageError(f"which remote? There are {len(known)}: {', '.join(known)}", next_step="name one")

    # -- what it has ------------------------------------------------------------------------------------------------

    @property
    def _scratch(self) -> str:
        # A URL is no part of a ref's name, and its digest names nobody's host.
        safe = self.name if not _is_address(self.name) else f"url-{hashlib.sha256(self.name.encode()).hexdigest()[:12]}"
        return f"{SCRATCH}{safe}/"

    @property
    def namespace(self) -> Namespace:
        """Return where this remote keeps our refs, as far as is known."""
        key = self._setting()
        return Namespace.HEADS if key and self.repository.config_get(key) == Namespace.HEADS else Namespace.PLAIN

    def remember(self, namespace: Namespace) -> None:
        """Keep what a push found out, where no git reads it."""
        key = self._setting()
        if key:
            self.repository.config_set(key, None if namespace is Namespace.PLAIN else namespace.value)

    def _setting(self) -> str | None:
        return None if _is_address(self.name) else f"hmopt.{self.name}.namespace"

    def fetch(self) -> None:
        """Bring the scratch refs to where the remote stands; the user's own refs are not touched."""
        specs = []
        for prefix, directory in _PLAIN.items():
            specs.append(f"+{prefix}*:{self._scratch}{Namespace.PLAIN}/{directory}*")
        specs.append(f"+{DATA}*:{self._scratch}{Namespace.HEADS}/*")
        self.say(f"fetching from {self.name}")
        self.repository.git.run(
            *("fetch", "--quiet", *_FETCH, "--end-of-options", self.name, *specs),
            settings=("-c", "core.hooksPath=/dev/null", "-c", "gc.auto=0", "-c", "maintenance.auto=false"),
            wall_s=3600,
            asks=True,
        )

    def known(self) -> list[tuple[RefName, Oid]]:
        """Return where our refs stood on the remote when it was last fetched from, by the names they have here.

        A server that was moved to another namespace may have a ref under both names: then it is in the list twice.
        """
        return [(ref, oid) for _, ref, oid in self.seen()]

    def standing(self, namespace: Namespace) -> dict[RefName, Oid]:
        """Return the refs that are where a push would move them, by the names they have here."""
        return {ref: oid for one, ref, oid in self.seen() if one is namespace or ref.startswith(BRANCHES)}

    def seen(self) -> Iterator[tuple[Namespace, RefName, Oid]]:
        """Yield our refs as they stood there, each with the namespace it stands in and the name it has here."""
        back = {directory: prefix for prefix, directory in _PLAIN.items()}
        for scratch, oid in self.repository.list_refs(self._scratch).items():
            one, _, rest = scratch.removeprefix(self._scratch).partition("/")
            directory, _, name = rest.partition("/")
            if one in tuple(Namespace) and f"{directory}/" in back:
                yield Namespace(one), RefName(f"{back[f'{directory}/']}{name}"), oid

    def scratch_refs(self) -> dict[RefName, Oid]:
        """Return the scratch refs themselves."""
        return self.repository.list_refs(self._scratch)

    # -- pushing ----------------------------------------------------------------------------------------------------

    def push(self, moves: Sequence[Move], *, namespace: Namespace, atomic: bool = True) -> Sent | None:
        """Move refs forward, all or none where `atomic`; None when the server does not move several at once.

        StoreError when the remote cannot be reached or answers nothing about the refs.
        """
        names = {namespace.there(move.ref): move.ref for move in moves}
        leases = [f"--force-with-lease={namespace.there(move.ref)}:{move.old or ''}" for move in moves]
        specs = [f"{move.new}:{namespace.there(move.ref)}" for move in moves]
        return self._send(names, leases, specs, atomic=atomic)

    def delete(self, refs: Mapping[RefName, Oid], *, namespace: Namespace, atomic: bool = True) -> Sent | None:
        """Delete refs that still stand where they were seen; None and errors as for `push`."""
        names = {namespace.there(ref): ref for ref in refs}
        leases = [f"--force-with-lease={namespace.there(ref)}:{oid}" for ref, oid in refs.items()]
        return self._send(names, leases, [f":{name}" for name in names], atomic=atomic)

    def _send(
        self, names: Mapping[RefName, RefName], leases: Sequence[str], specs: Sequence[str], *, atomic: bool
    ) -> Sent | None:
        together = ("--atomic",) if atomic and len(names) > 1 else ()
        # The user's hooks are heard: who forbids pushes by one forbids this one, too.
        answer = self.repository.git.run(
            *("push", *_PUSH, *together, *leases, "--end-of-options", self.name, *specs),
            settings=("-c", "push.gpgSign=if-asked"),
            # Ours would offer to push what this pushes.
            environment={PUSHING: "1"},
            ok=range(256),
            wall_s=3600,
            asks=True,
        )
        moved, refused = [], {}
        for line in answer.text.splitlines():
            found = _STATUS.fullmatch(line)
            if found and found["ref"] in names:
                if found["flag"] == "!":
                    refused[names[RefName(found["ref"])]] = found["said"]
                else:
                    moved.append(names[RefName(found["ref"])])
        if len(moved) + len(refused) == len(names):
            return Sent(tuple(moved), refused)
        if together:
            # A server without `--atomic` answers nothing about refs; nor does one that is gone: the next try says it.
            return None
        raise StoreError(
            f"git push to '{self.name}' failed: {answer.complaint}",
            next_step=f"see whether this works: git ls-remote {self.name}",
        )

    def try_ref(self, ref: RefName, commit: Oid) -> bool:
        """Push one new ref as it is called and remove it again; say whether the server took it."""
        options = ("push", "--quiet", *_PUSH, "--end-of-options", self.name)
        for spec in (f"{commit}:{ref}", f":{ref}"):
            done = self.repository.git.run(
                *options, spec, environment={PUSHING: "1"}, ok=range(256), wall_s=600, asks=True
            )
            if done.returncode != 0 and spec[0] != ":":
                return False
        return True


def _place(ref: RefName) -> tuple[str, str]:
    for prefix, directory in _PLAIN.items():
        if ref.startswith(prefix):
            return prefix, directory
    raise ValueError(f"{ref} does not travel")


def _is_address(name: str) -> bool:
    """Say whether a word is no remote's name but where one is: a URL, scp's host:path, or a path."""
    return ("/" in name and (name.startswith(("/", "./", "../", "~")) or "://" in name)) or ":" in name
