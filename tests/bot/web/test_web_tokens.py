# SPDX-License-Identifier: Apache-2.0
"""Files of tokens and secrets: those that cannot be used, then who is let in."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from git_hmopt.errors import ConfigError, UsageError
from git_hmopt.store.queue import Queue, State
from git_hmopt.store.repository import Repository
from hmopt_bot.private import private_path
from hmopt_bot.web.tokens import SETTING, Caller, Scope, Tokens, new_token
from tests.bot.web.serving import READER, WRITER, bearer, served, tokens_file
from tests.loop.project import Project

DIGEST = hashlib.sha256(b"token").hexdigest()
BAD = {
    "two words": (f"alice {DIGEST}", ":1: a line is a name, a scope and a sha256"),
    "a name that is none": (f"al/ice read {DIGEST}", ":1: a line is a name, a scope and a sha256"),
    "another scope": (f"# people\nalice admin {DIGEST}", ":2: the scope is 'read' or 'write'"),
    "the token itself": ("alice read hunter2hunter2", ":1: the third word is no sha256 .*--new-token NAME"),
    "upper case": (f"alice read {DIGEST.upper()}", ":1: the third word is no sha256"),
    "the same name twice": (f"a read {DIGEST}\na write {DIGEST}", ":2: a second token 'a'"),
    "binary": ("\0\x1b[31m", ":1: a line is"),
}


def write(path: Path, text: str, mode: int = 0o600) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


@pytest.mark.parametrize(("text", "message"), BAD.values(), ids=BAD)
def test_a_line_that_is_none_is_said(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=rf"hmopt\.serve\.tokens: .*tokens{message}"):
        Tokens(write(tmp_path / "tokens", text))


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644, 0o620])
def test_a_file_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    with pytest.raises(ConfigError, match=r"others can read '.*tokens'; run: chmod 600"):
        Tokens(write(tmp_path / "tokens", f"a read {DIGEST}", mode))


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nothing", tmp_path / "file" / "below"):
        (tmp_path / "file").write_text("")
        with pytest.raises(ConfigError, match=r"cannot be read|is no file"):
            Tokens(path)
    os.mkfifo(tmp_path / "pipe", 0o600)
    with pytest.raises(ConfigError, match="is no file"):
        Tokens(tmp_path / "pipe")


@pytest.mark.parametrize("inside", ["tokens", ".git/tokens", "link"])
def test_a_file_in_the_repository_is_refused(project: Project, tmp_path: Path, inside: str) -> None:
    (project.root / "link").symlink_to(project.root / "tokens")
    repository = Repository.open(project.root)
    with pytest.raises(ConfigError, match="lies in the repository that is served; keep it outside"):
        private_path(str(project.root / inside), SETTING, repository)
    (tmp_path / "way in").symlink_to(project.root / "tokens")
    with pytest.raises(ConfigError, match="lies in the repository"):
        private_path(str(tmp_path / "way in"), SETTING, repository)
    with pytest.raises(ConfigError, match="is no absolute path"):
        private_path("tokens", SETTING, repository)
    assert private_path(str(tmp_path / "tokens"), SETTING, repository) == tmp_path / "tokens"


def test_a_new_token_is_printed_once_and_kept_as_a_hash(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    token = new_token(path, "ci", Scope.WRITE)
    assert path.stat().st_mode & 0o777 == 0o600 and token not in path.read_text() and len(token) >= 43
    assert Tokens(path).caller(token) == Caller("ci", Scope.WRITE)
    assert new_token(path, "eve", Scope.READ) != token
    with pytest.raises(UsageError, match="there is a token 'ci' already"):
        new_token(path, "ci", Scope.READ)
    with pytest.raises(UsageError, match="is no name of a token"):
        new_token(path, "a b", Scope.READ)


def test_a_token_that_is_taken_out_is_refused_from_then_on(tmp_path: Path) -> None:
    path = tokens_file(tmp_path)
    tokens = Tokens(path)
    assert tokens.caller(READER) == Caller("read", Scope.READ)
    for wrong in ("", "x", READER + "x", READER[:-1], "x" * 10_000, "\udcff"):
        assert tokens.caller(wrong) is None
    write(path, path.read_text().split("\n")[1] + "\n")
    assert tokens.caller(READER) is None and tokens.caller(WRITER) is not None
    path.unlink()
    with pytest.raises(ConfigError, match="cannot be read"):
        tokens.caller(WRITER)


def test_who_may_do_what(untouched: Project, queue: Queue, tmp_path: Path) -> None:
    path = tokens_file(tmp_path)
    run = {"workload": "scan-blocks"}
    with served(untouched.root, queue, tokens=Tokens(path)) as site, site.client() as client:
        assert client.get("/health").status_code == 200
        assert client.get("/openapi.json").status_code == 200
        for headers in ({}, bearer("wrong"), {"Authorization": READER}, {"Authorization": f"Basic {READER}"}):
            for answer in (client.get("/runs", headers=headers), client.post("/runs", headers=headers, json=run)):
                assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
                assert answer.headers["Content-Type"] == "application/problem+json"
            # Whoever may not read does not learn what there is either.
            assert client.get("/nothing/here", headers=headers).status_code == 401
        assert client.get("/runs", headers=bearer(READER)).status_code == 200
        refused = client.post("/runs", headers=bearer(READER), json=run)
        assert (refused.status_code, refused.json()["detail"]) == (403, "the token 'read' has not the scope 'write'")
        assert queue.counts()[State.WAITING] == 0
        assert client.get("/runs", headers=bearer(WRITER)).status_code == 200
        assert client.post("/runs", headers=bearer(WRITER), json=run).status_code == 202
        # Without its file the server lets nobody in, and tells nobody where it was.
        path.unlink()
        closed = client.get("/runs", headers=bearer(WRITER))
        assert closed.status_code == 503 and str(tmp_path) not in closed.text
