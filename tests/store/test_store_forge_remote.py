# SPDX-License-Identifier: Apache-2.0
"""A forge's remote: git's own http-backend behind a login, with pull requests as a forge keeps them."""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from git_hmopt.errors import RefConflictError, StoreError
from git_hmopt.records.words import Oid, RefName
from git_hmopt.store.forge_remote import ForgeRemote, Login, MissingRefError, mirror_of
from git_hmopt.store.repository import Repository
from tests.store.repositories import Shell, make_repository
from tests.store.servers import bare, http_server, refusing, wsgi_server

TOKEN = "the-token-of-a-test"
HEAD_REF, MAIN = RefName("refs/pulls/3/head"), RefName("refs/heads/main")
WANTED = {"refs/pull/3/head": HEAD_REF, "refs/heads/main": MAIN}


@dataclass(frozen=True)
class Forge:
    """A forge's repository with pull request 3, and a clone of its main branch that is served."""

    there: Shell
    clone: Shell
    head: Oid
    remote: ForgeRemote

    def served(self) -> Repository:
        """Open the clone."""
        return Repository.open(self.clone.cwd)


@pytest.fixture
def forge(tmp_path: Path) -> Iterator[Forge]:
    """Make them."""
    author = make_repository(tmp_path / "author", "-b", "main")
    there = bare(tmp_path / "forge/linux.git", author)
    clone = Shell(tmp_path / "clone")
    Shell(tmp_path).git("clone", "-q", str(there.cwd), str(clone.cwd))
    author.write("lib/sort.c", "int other;\n")
    head = author.commit("sort: other")
    author.git("push", "-q", str(there.cwd), "HEAD:refs/pull/3/head")
    with http_server(tmp_path / "forge", ("bot", TOKEN)) as url:
        yield Forge(there, clone, head, ForgeRemote(f"{url}/linux.git", Login("bot", TOKEN)))


def _has(shell: Shell, oid: Oid) -> bool:
    # Never asks an alternate: it has none.
    return shell.git("cat-file", "-t", oid, check=False) == "commit"


def test_a_pull_request_comes_into_the_mirror_and_not_into_the_clone(forge: Forge) -> None:
    mirror = mirror_of(forge.served())
    found = forge.remote.fetch(mirror, WANTED)
    assert found == {HEAD_REF: forge.head, MAIN: forge.served().resolve("HEAD")}
    assert mirror.read_path(forge.head, "lib/sort.c") == b"int other;\n"
    assert mirror.read_path(found[MAIN], "README") == b"read me\n"
    assert not _has(forge.clone, forge.head)
    assert forge.remote.fetch(mirror, WANTED) == found


def test_only_what_is_new_travels(forge: Forge) -> None:
    served = forge.served()
    mirror = mirror_of(served)
    forge.remote.fetch(mirror, WANTED, known=[served.resolve("HEAD")])
    objects = Shell(mirror.git_dir).git("count-objects", "-v").splitlines()
    # A commit, two trees and a blob; what else a thin pack leans on is put beside it, and is one tree or blob each.
    assert int(dict(line.split(": ") for line in objects)["in-pack"]) <= 8


def test_a_pull_request_that_is_forced_back_moves_back(forge: Forge) -> None:
    mirror = mirror_of(forge.served())
    forge.remote.fetch(mirror, WANTED)
    main = forge.there.git("rev-parse", "main")
    forge.there.git("update-ref", "refs/pull/3/head", main)
    assert forge.remote.fetch(mirror, WANTED)[HEAD_REF] == main
    assert mirror.read_ref(HEAD_REF) == main


def test_a_shallow_clone_is_enough(forge: Forge, tmp_path: Path) -> None:
    shallow = tmp_path / "shallow"
    Shell(tmp_path).git("clone", "-q", "--depth=1", f"file://{forge.there.cwd}", str(shallow))
    served = Repository.open(shallow)
    mirror = mirror_of(served)
    found = forge.remote.fetch(mirror, WANTED, known=[served.resolve("HEAD")])
    assert mirror.read_commit(found[HEAD_REF]).parents == (served.resolve("HEAD"),)


def test_what_is_not_there_is_named(forge: Forge) -> None:
    mirror = mirror_of(forge.served())
    forge.there.git("update-ref", "-d", "refs/pull/3/head")
    with pytest.raises(MissingRefError, match="has no 'refs/pull/3/head'"):
        forge.remote.fetch(mirror, WANTED)
    assert mirror.list_refs("refs") == {}


@pytest.mark.parametrize("login", [None, Login("bot", "another")])
def test_a_wrong_token_is_told_without_it(forge: Forge, login: Login | None) -> None:
    with pytest.raises(StoreError, match="does not take the token") as caught:
        replace(forge.remote, login=login).fetch(mirror_of(forge.served()), WANTED)
    assert "another" not in str(caught.value)


def test_no_repository_and_nobody_there(forge: Forge) -> None:
    mirror = mirror_of(forge.served())
    with pytest.raises(StoreError, match="there is no repository at"):
        replace(forge.remote, url=forge.remote.url.replace("linux", "windows")).fetch(mirror, WANTED)
    with pytest.raises(StoreError, match="could not be spoken to"):
        ForgeRemote("http://127.0.0.1:9/linux.git").fetch(mirror, WANTED)


def test_more_than_the_bound_is_refused_and_nothing_kept(forge: Forge) -> None:
    mirror = mirror_of(forge.served())
    with pytest.raises(StoreError, match="sends more than 100 bytes"):
        replace(forge.remote, most_bytes=100).fetch(mirror, WANTED)
    assert mirror.list_refs("refs") == {} and not list(mirror.git_dir.glob("incoming-*"))


def test_a_sender_that_takes_for_ever_is_left(forge: Forge) -> None:
    with pytest.raises(StoreError, match="took more than"):
        replace(forge.remote, wall_s=-1.0).fetch(mirror_of(forge.served()), WANTED)


def test_the_token_is_never_written(forge: Forge) -> None:
    repository = forge.served()
    forge.remote.fetch(mirror_of(repository), WANTED)
    forge.remote.push(repository, repository.resolve("HEAD"), "hmopt/proposed")
    files = [path for path in repository.common_dir.rglob("*") if path.is_file()]
    assert files and not [path for path in files if TOKEN.encode() in path.read_bytes()]
    assert TOKEN not in repr(forge.remote)


def test_a_redirect_is_not_followed(forge: Forge) -> None:
    asked: list[str] = []

    def elsewhere(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        asked.append(environ.get("HTTP_AUTHORIZATION", ""))
        start_response("302 Found", [("Location", forge.remote.url + "/info/refs?service=git-upload-pack")])
        return [b""]

    with wsgi_server(elsewhere) as url, pytest.raises(StoreError, match="could not be spoken to"):
        replace(forge.remote, url=f"{url}/linux.git").fetch(mirror_of(forge.served()), WANTED)
    assert len(asked) == 1


@pytest.mark.parametrize("cut", [b"", b"PACK", b"0008NAK\nPACK\0\0\0\2\0\0\0\x7f", b"00", b"\xff" * 50])
def test_a_broken_server_is_told(forge: Forge, cut: bytes) -> None:
    listed = f"{forge.head} refs/pull/3/head\0 side-band-64k ofs-delta\n".encode()
    main = f"{forge.head} refs/heads/main\n".encode()

    def line(text: bytes) -> bytes:
        return f"{len(text) + 4:04x}".encode() + text

    def broken(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        if environ["PATH_INFO"].endswith("info/refs"):
            start_response("200 OK", [("Content-Type", "application/x-git-upload-pack-advertisement")])
            return [line(b"# service=git-upload-pack\n") + b"0000" + line(listed) + line(main) + b"0000"]
        start_response("200 OK", [("Content-Type", "application/x-git-upload-pack-result")])
        return [cut]

    mirror = mirror_of(forge.served())
    with wsgi_server(broken) as url, pytest.raises(StoreError):
        ForgeRemote(f"{url}/linux.git").fetch(mirror, WANTED)
    assert mirror.list_refs("refs") == {}


def _object(kind: int, data: bytes) -> bytes:
    size = len(data)
    first, size = (kind << 4) | (size & 15), size >> 4
    head = []
    while size:
        head.append(first | 0x80)
        first, size = size & 0x7F, size >> 7
    return bytes([*head, first]) + zlib.compress(data)


def test_an_object_that_git_fears_is_refused(forge: Forge) -> None:
    """A tree with `.git` in it: checked out, it would be a repository's configuration (CVE-2014-9390)."""
    blob = b"[core]\n"
    blob_id = hashlib.sha1(b"blob %d\0" % len(blob) + blob).digest()
    tree = b"100644 .git\0" + blob_id
    tree_id = hashlib.sha1(b"tree %d\0" % len(tree) + tree).hexdigest()
    commit = f"tree {tree_id}\nauthor A <a@b> 1 +0000\ncommitter A <a@b> 1 +0000\n\nx\n".encode()
    pack = b"PACK" + struct.pack(">II", 2, 3) + _object(3, blob) + _object(2, tree) + _object(1, commit)
    pack += hashlib.sha1(pack).digest()
    forge.there.git("unpack-objects", "-q", stdin=pack)
    forge.there.git("update-ref", "refs/pull/3/head", hashlib.sha1(b"commit %d\0" % len(commit) + commit).hexdigest())
    mirror = mirror_of(forge.served())
    with pytest.raises(StoreError, match="index-pack failed"):
        forge.remote.fetch(mirror, WANTED)
    assert mirror.list_refs("refs") == {}


def test_a_branch_is_pushed_once_and_never_forced(forge: Forge) -> None:
    forge.clone.write("lib/sort.c", "int faster;\n")
    commit = forge.clone.commit("sort: faster")
    repository = forge.served()
    forge.remote.push(repository, commit, "hmopt/proposed")
    assert forge.there.git("rev-parse", "refs/heads/hmopt/proposed") == commit
    assert forge.there.git("show", "hmopt/proposed:lib/sort.c") == "int faster;"
    forge.remote.push(repository, commit, "hmopt/proposed")
    with pytest.raises(RefConflictError, match="'hmopt/proposed' is there and stands elsewhere"):
        forge.remote.push(repository, repository.read_commit(commit).parents[0], "hmopt/proposed")
    assert forge.there.git("rev-parse", "refs/heads/hmopt/proposed") == commit
    forge.there.git("fsck", "--strict")


def test_a_push_that_the_server_refuses_is_told(forge: Forge) -> None:
    refusing(forge.there, "refs/heads/hmopt/*", "no such branches here")
    commit = forge.clone.commit("empty")
    with pytest.raises(StoreError, match="refuses the branch 'hmopt/proposed'"):
        forge.remote.push(forge.served(), commit, "hmopt/proposed")


def test_sha256_is_told(tmp_path: Path) -> None:
    repository = Repository.open(make_repository(tmp_path / "sha256", "--object-format=sha256").cwd)
    with pytest.raises(StoreError, match="SHA-1"):
        ForgeRemote("http://127.0.0.1:9/x.git").fetch(mirror_of(repository), WANTED)
