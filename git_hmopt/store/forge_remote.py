# SPDX-License-Identifier: Apache-2.0
"""A forge's git remote over HTTP, with a token that stands in this process's memory alone.

dulwich speaks the protocol: no process is started that could show the token in its arguments or environment, and
nothing of it is written down. What arrives is a stranger's: it is bounded, indexed by git with `--fsck-objects`, and
no ref moves before git found it whole.
"""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import IO, Any

import urllib3
from dulwich.client import HttpGitClient, HTTPUnauthorized
from dulwich.errors import GitProtocolError, NotGitRepository
from dulwich.objects import ObjectID, ShaFile, object_class
from dulwich.pack import UnpackedObject, pack_objects_to_data
from dulwich.refs import Ref

from git_hmopt.config.document import printable
from git_hmopt.errors import RefConflictError, StoreError
from git_hmopt.records.words import Oid, RefName
from git_hmopt.store.repository import RefUpdate, Repository

_HAVES = 200
"""Commits that are told to the server as known; git itself gives up after 256 in vain."""
_CHUNK = 1 << 20


class MissingRefError(StoreError):
    """A branch or a pull request that the remote has not, or not any more."""


@dataclass(frozen=True)
class Login:
    """Who asks; the password is a token."""

    user: str
    password: str = field(repr=False)


@dataclass(frozen=True)
class ForgeRemote:
    """A repository at an http(s) address, which is followed nowhere else. StoreError says what did not work."""

    url: str
    login: Login | None = None
    idle_s: float = 60.0
    wall_s: float = 900.0
    most_bytes: int = 1 << 30
    """Of one fetch: what a pull request brings into a clone that has its base."""

    def fetch(self, into: Repository, wanted: Mapping[str, RefName], known: Sequence[Oid] = ()) -> dict[RefName, Oid]:
        """Move refs of `into` to where those of the remote stand (`wanted`: names there -> names here), all or none.

        `known` are commits that `into` has whole, beside its own refs. Raises MissingRefError for a ref there is not.
        """
        if into.object_format != "sha1":
            raise StoreError("forges speak SHA-1, and this repository does not", next_step="serve a SHA-1 clone")
        found: dict[RefName, Oid] = {}
        with tempfile.TemporaryFile(dir=into.git_dir, prefix="incoming-") as pack:
            with self._told():
                self._client().fetch_pack(
                    b"",
                    partial(self._wants, into, wanted, found),
                    _Known(self._haves(into, known), _shallow(into)),
                    self._writer(pack),
                    ref_prefix=[name.encode() for name in wanted],
                )
            self._index(into, pack)
        self._whole(into, found.values())
        here = into.list_refs(*found)
        into.update_refs([RefUpdate(ref, oid, here.get(ref)) for ref, oid in found.items() if here.get(ref) != oid])
        return found

    def push(self, source: Repository, commit: Oid, branch: str) -> None:
        """Make a branch there that stands at `commit`; one that stands there already is left alone.

        Raises RefConflictError when it is there and stands elsewhere: nothing is ever forced.
        """
        ref = Ref(f"refs/heads/{branch}".encode())
        with self._told():
            answer = self._client().send_pack(
                b"", partial(_moved, ref, commit), lambda have, want, **_: _packed(source, commit, have)
            )
        refused = (answer.ref_status or {}).get(ref)
        if refused:
            raise StoreError(f"{self._shown} refuses the branch '{printable(branch)}': {printable(str(refused))}")

    @property
    def _shown(self) -> str:
        return printable(self.url)

    def _client(self) -> HttpGitClient:
        # A redirect would lead to where nobody said that the token, or we, should go.
        pool = urllib3.PoolManager(
            retries=urllib3.Retry(total=0, redirect=0), cert_reqs="CERT_REQUIRED", headers={"User-Agent": "git/hmopt"}
        )
        user, password = (self.login.user, self.login.password) if self.login else (None, None)
        return HttpGitClient(
            self.url, pool_manager=pool, username=user, password=password, timeout=self.idle_s, quiet=True
        )

    def _wants(
        self,
        into: Repository,
        wanted: Mapping[str, RefName],
        found: dict[RefName, Oid],
        refs: Mapping[Any, Any],
        depth: int | None = None,
    ) -> list[Any]:
        for name, ref in wanted.items():
            oid = refs.get(name.encode())
            if oid is None:
                raise MissingRefError(f"{self._shown} has no '{printable(name)}'")
            found[ref] = Oid(oid.decode())
        distinct = list(dict.fromkeys(found.values()))
        return [
            oid.encode() for oid, one in zip(distinct, into.objects.find_many(distinct), strict=True) if one is None
        ]

    def _haves(self, into: Repository, known: Sequence[Oid]) -> list[Oid]:
        tips = [*dict.fromkeys([*known, *into.list_refs("refs").values()])]
        if not tips:
            return []
        listed = into.git.run("rev-list", f"--max-count={_HAVES}", "--stdin", stdin="\n".join(tips).encode())
        # The tips of whoever made the pull requests are the youngest, and may crowd out what the server surely has.
        return [*dict.fromkeys([*known[: _HAVES // 4], *map(Oid, listed.text.split())])]

    def _writer(self, pack: IO[bytes]) -> Callable[[bytes], int]:
        ends = time.monotonic() + self.wall_s

        def write(data: bytes) -> int:
            if pack.tell() + len(data) > self.most_bytes:
                raise StoreError(f"{self._shown} sends more than {self.most_bytes} bytes", next_step="fetch it by hand")
            if time.monotonic() > ends:
                raise StoreError(f"{self._shown} took more than {self.wall_s:.0f} s to send what was asked for")
            return pack.write(data)

        return write

    def _index(self, into: Repository, pack: IO[bytes]) -> None:
        if not pack.tell():
            return
        pack.seek(0)
        into.git.run(
            "index-pack", "--stdin", "--fix-thin", "--fsck-objects", f"--max-input-size={self.most_bytes}",
            stdin=pack.read(), settings=("-c", "core.hooksPath=/dev/null"),
        )  # fmt: skip

    def _whole(self, into: Repository, tips: Iterable[Oid]) -> None:
        """Have git walk from the new tips to what was here: whoever follows a ref must find all of it."""
        answer = into.git.run(
            "rev-list", "--objects", "--quiet", *tips, "--not", "--all", "--alternate-refs", ok=(0, 128)
        )
        if answer.returncode != 0:
            raise StoreError(f"what {self._shown} sent is not whole: {printable(answer.complaint)}")

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except HTTPUnauthorized as error:
            raise StoreError(
                f"{self._shown} does not take the token", next_step="give the bot one that it takes"
            ) from error
        except NotGitRepository as error:
            raise StoreError(f"there is no repository at {self._shown}, or not for this token") from error
        # dulwich lets what a broken server makes it trip over through as it is.
        except (GitProtocolError, urllib3.exceptions.HTTPError, OSError, ValueError, KeyError, AssertionError) as error:
            what = printable(str(error)) or type(error).__name__
            raise StoreError(f"{self._shown} could not be spoken to: {what}", next_step="try again") from error


def mirror_of(repository: Repository) -> Repository:
    """Return the bare repository beside a served one, made when it is not there, that borrows its objects.

    What strangers push stays in it, until somebody who may asks for more.
    """
    place = repository.home / "mirror.git"
    if not (place / "HEAD").exists():
        place.parent.mkdir(parents=True, exist_ok=True)
        repository.git.run("init", "-q", "--bare", f"--object-format={repository.object_format}", str(place))
    (place / "objects/info").mkdir(exist_ok=True)
    (place / "objects/info/alternates").write_bytes(bytes(repository.common_dir / "objects") + b"\n")
    if repository.is_shallow:
        (place / "shallow").write_bytes((repository.common_dir / "shallow").read_bytes())
    return Repository.open(place)


def whole(mirror: Repository) -> bool:
    """Say whether a mirror still has what its refs need: what it borrowed may be collected where it came from."""
    answer = mirror.git.run("rev-list", "--objects", "--quiet", "--all", "--not", "--alternate-refs", ok=(0, 128))
    return answer.returncode == 0


def renewed(repository: Repository) -> Repository:
    """Return an empty mirror in the place of one that is broken."""
    place = repository.home / "mirror.git"
    with tempfile.TemporaryDirectory(dir=place.parent, prefix="mirror-", ignore_cleanup_errors=True) as away:
        place.rename(Path(away) / "mirror.git")
    return mirror_of(repository)


class _Known:
    """What is told to the server as known; dulwich's own walker would walk a whole history for it."""

    def __init__(self, oids: Sequence[Oid], shallow: Iterable[bytes]) -> None:
        self._left = iter(oids)
        self.shallow = {ObjectID(one) for one in shallow}

    def __next__(self) -> ObjectID | None:
        following = next(self._left, None)
        return None if following is None else ObjectID(following.encode())

    next = __next__

    def ack(self, sha: ObjectID) -> None:
        """Heed no answer: the list is short."""

    def nak(self) -> None:
        """Heed no answer."""


def _shallow(into: Repository) -> frozenset[bytes]:
    try:
        return frozenset((into.git_dir / "shallow").read_bytes().split())
    except FileNotFoundError:
        return frozenset()


def _moved(ref: Ref, commit: Oid, refs: Mapping[Ref, ObjectID]) -> dict[Ref, ObjectID]:
    there = refs.get(ref)
    if there not in (None, commit.encode()):
        name = printable(ref.decode("utf-8", "replace").removeprefix("refs/heads/"))
        raise RefConflictError(f"the branch '{name}' is there and stands elsewhere")
    return {ref: ObjectID(commit.encode())}


def _packed(source: Repository, commit: Oid, have: Any) -> tuple[int, Iterator[UnpackedObject]]:
    """Return what the server lacks: git finds it in no time where dulwich would walk a kernel's history."""
    there = [Oid(one.decode()) for one in have]
    known = [oid for oid, one in zip(there, source.objects.find_many(there), strict=True) if one is not None]
    asked = "\n".join([commit, *(f"^{oid}" for oid in known)]).encode() + b"\n"
    listed = source.git.run("rev-list", "--objects", "--no-object-names", "--stdin", stdin=asked)
    oids = [Oid(line) for line in listed.text.split()]
    return pack_objects_to_data(
        [(_shafile(one.kind, one.data), None) for one in source.objects.read_many(oids)], deltify=False
    )


def _shafile(kind: str, data: bytes) -> ShaFile:
    made = object_class(kind.encode())
    assert made is not None
    return ShaFile.from_raw_string(made.type_num, data)
