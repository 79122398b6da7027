# SPDX-License-Identifier: Apache-2.0
"""The file of webhooks: what stands in it wrongly, each with its message and without its secrets; then what is read."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from git_hmopt.errors import ConfigError
from git_hmopt.store.repository import Repository
from hmopt_bot.forges.gitcode import GitCode
from hmopt_bot.forges.gitee import Gitee
from hmopt_bot.forges.github import GitHub
from hmopt_bot.forges.values import RepositoryName
from hmopt_bot.registration import Registered, registered
from tests.store.repositories import Shell

SECRET, TOKEN = "s3cret-of-16-chrs", "t0ken-of-the-bot"
GOOD = {
    "forge": '"github"',
    "repository": '"kernel/linux"',
    "secrets": f'["{SECRET}"]',
    "login": '"hmopt-bot"',
    "token": f'"{TOKEN}"',
}


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """Return a repository that the files lie outside of."""
    root = tmp_path_factory.mktemp("served") / "repository"
    root.mkdir()
    Shell(root).git("init", "-q")
    return Repository.open(root)


@pytest.fixture(scope="module")
def key() -> str:
    """Return an App's private key."""
    made = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return made.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def private(path: Path, text: str, mode: int = 0o600) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


def table(name: str = "github", /, **changes: str | None) -> str:
    """Return a table; None takes a key out."""
    lines = [f"{key} = {value}" for key, value in {**GOOD, **changes}.items() if value is not None]
    return "\n".join([f"[{name}]", *lines, ""])


def refused(path: Path, repository: Repository) -> str:
    with pytest.raises(ConfigError) as caught:
        registered(path, repository)
    told = str(caught.value)
    assert told.startswith(f"hmopt.serve.forges: {path}: ")
    assert SECRET not in told and TOKEN not in told and "hunter" not in told
    assert not {SECRET, TOKEN} & {str(caught.value.__cause__), str(caught.value.__context__)}
    return told.removeprefix(f"hmopt.serve.forges: {path}: ")


ADDRESS = "is no address: it begins with https:// and a host"
PLAIN = "is http, which shows the token to whoever is on the way: use https"
TABLES = {
    "an unknown key": ({"secret": '"hunter2"'}, "unknown key 'secret', expected 'secrets'? (known: api, app, forge, "),
    "a mistyped key": (
        {"secrets": None, "secrest": '["hunter2hunter2hunter2"]'},
        "unknown key 'secrest', expected 'secr",
    ),
    "no forge": ({"forge": None}, "forge: is missing"),
    "another forge": ({"forge": '"gitlab"'}, "forge: Input should be 'github', 'gitee' or 'gitcode'"),
    "no repository": ({"repository": None}, "repository: is missing"),
    "half a repository": (
        {"repository": '"linux"'},
        "repository: 'linux/' is no repository; name it owner/",
    ),
    "a path": ({"repository": '"../.."'}, "repository: '../..' is no repository"),
    "an escape": ({"repository": '"a/\\u001b[1mb"'}, "repository: 'a/\\x1b[1mb' is no repository"),
    "no secrets": ({"secrets": None}, "secrets: is missing"),
    "an empty list": ({"secrets": "[]"}, "secrets: Tuple should have at least 1 item after validation, not 0"),
    "one secret": ({"secrets": f'"{SECRET}"'}, "secrets: Input should be a valid tuple"),
    "a short secret": (
        {"secrets": f'["{SECRET}", "hunter2"]'},
        "secrets.1: has fewer than 16 characters; make one: openssl rand -hex 32",
    ),
    "a number": ({"secrets": "[1234567890123456]"}, "secrets.0: Input should be a valid string"),
    "no login": ({"login": None}, "login: is missing"),
    "a login with blanks": ({"login": '"a b"'}, "login: is no account's name"),
    "nothing to answer with": (
        {"token": None},
        "token: is missing: nothing could be answered; give a token, or app and key of a GitHub App",
    ),
    "and for Gitee": (
        {"token": None, "forge": '"gitee"'},
        "token: is missing: nothing could be answered; give a token",
    ),
    "an empty token": ({"token": '""'}, "token: is no token: it is one word of ASCII"),
    "a token of two lines": ({"token": '"hunter2\\nX-Other: 1"'}, "token: is no token: it is one word of ASCII"),
    "a number for a token": ({"token": "7"}, "token: Input should be a valid string"),
    "App and token": (
        {"app": '"12345"', "key": '"/k"'},
        "token: stands beside app, whose own tokens are used; take one",
    ),
    "an App without a key": ({"token": None, "app": '"12345"'}, "key: is missing beside app: an App is known by its "),
    "a key without an App": ({"key": '"/key.pem"'}, "app: is missing beside key: an App is known by its number and"),
    "an App by its number": ({"app": "12345"}, "app: Input should be a valid string"),
    "an App's strange number": ({"app": '"12 345"'}, "app: is no App's number or client id"),
    "an App of Gitee": ({"forge": '"gitee"', "app": '"1"', "key": '"/k"'}, "app: gitee has no Apps; give a token"),
    "an App as a person": (
        {"token": None, "app": '"1"', "key": '"/k"'},
        "login: an App's account is its slug and [bot]",
    ),
    "another server's API alone": (
        {"api": '"https://git.example/api/v3"'},
        "remote: is missing: api is not github's own; say where the repository is fetched from",
    ),
    "plain GitHub": ({"plain": "true"}, "plain: github always signs"),
    "plain as text": ({"plain": '"yes"'}, "plain: Input should be a valid boolean"),
    **{
        f"{field} {address}": ({field: f'"{address}"'}, f"{field}: {message}")
        for field in ("api", "remote")
        for address, message in {
            "": ADDRESS,
            "git.example": ADDRESS,
            "ssh://git.example/a": ADDRESS,
            "file:///etc/hunter2": ADDRESS,
            "ext::sh -c hunter2": ADDRESS,
            "--upload-pack=hunter2": ADDRESS,
            "https://": ADDRESS,
            "https:///a": ADDRESS,
            "https://git.example:99999": ADDRESS,
            "https://[::1": ADDRESS,
            "https://git.example/a b": ADDRESS,
            "https://git.example/\\\\n": ADDRESS,
            "http://git.example": PLAIN,
            "http://127.0.0.1.evil.example": PLAIN,
            "http://2130706433": PLAIN,
            "https://bot:hunter2@git.example": "holds a name or a password: the token has a key of its own",
            "https://hunter2@git.example": "holds a name or a password",
            "https://git.example/?access_token=hunter2": "holds a query or a fragment",
            "https://git.example/#hunter2": "holds a query or a fragment",
        }.items()
    },
}


@pytest.mark.parametrize(("changes", "message"), TABLES.values(), ids=TABLES)
def test_a_table_that_is_none(
    tmp_path: Path, repository: Repository, changes: dict[str, str | None], message: str
) -> None:
    path = private(tmp_path / "forges.toml", table(**changes))
    assert refused(path, repository).startswith(f"[github] {message}")


FILES = {
    "no TOML": (f'[github]\nsecrets = ["{SECRET}', "this is no TOML: "),
    "a secret without quotes": (f"[github]\ntoken = {TOKEN}\n", "this is no TOML: Invalid value (at line 2, column 9)"),
    "a name twice": (table() + table(), "this is no TOML: Cannot declare ('github',) twice (at line 7, column 8)"),
    "deep": ("a = " + "[" * 100_000, "this is no TOML: "),
    "keys outside of a table": (f'token = "{TOKEN}"\n', "[token]: this is no table; begin one for each webhook"),
    "tables of one name": (table().replace("[github]", "[[github]]"), "[github]: this is no table"),
    "a name in upper case": (table("GitHub"), "[GitHub]: a webhook's name has 1 to 32 of a-z, 0-9 and '-'"),
    "a name with a slash": (table('"a/b"'), "[a/b]: a webhook's name has"),
    "a long name": (table("x" * 33), f"[{'x' * 33}]: a webhook's name has"),
    "a name that is none": (table('""'), "[]: a webhook's name has"),
    "a name with an escape": (table('"\\u001b[1m"'), "[\\x1b[1m]: a webhook's name has"),
    "the second one": (table() + table("gitee", forge='"gitee"', login=None), "[gitee] login: is missing"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "message"), FILES.values(), ids=FILES)
def test_a_file_that_is_none(tmp_path: Path, repository: Repository, text: str, message: str) -> None:
    assert refused(private(tmp_path / "forges.toml", text), repository).startswith(message)


def test_a_file_that_is_not_utf_8(tmp_path: Path, repository: Repository) -> None:
    path = private(tmp_path / "forges.toml", "")
    path.write_bytes(b"[github]\nlogin = '\xff'\n")
    assert refused(path, repository) == "the file is not UTF-8"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644])
def test_a_file_that_others_can_read_is_refused(tmp_path: Path, repository: Repository, mode: int) -> None:
    path = private(tmp_path / "forges.toml", table(), mode)
    with pytest.raises(ConfigError, match=r"hmopt\.serve\.forges: others can read '.*'; run: chmod 600"):
        registered(path, repository)


def test_a_file_in_the_repository_is_refused(repository: Repository) -> None:
    assert repository.worktree is not None
    path = private(repository.worktree / "forges.toml", table())
    with pytest.raises(ConfigError, match="lies in the repository that is served; keep it outside"):
        registered(path, repository)


def test_an_app_has_a_key_of_its_own(tmp_path: Path, repository: Repository, key: str) -> None:
    pem = private(tmp_path / "key.pem", key)
    app: dict[str, str | None] = {"token": None, "app": '"Iv1.12345"', "login": '"hmopt[bot]"', "key": f'"{pem}"'}
    path = private(tmp_path / "forges.toml", table(**app))
    found = registered(path, repository)["github"]
    assert found.app is not None and (found.app.id, found.app.key.get_secret_value()) == ("Iv1.12345", key)
    assert isinstance(found.forge, GitHub) and found.forge.token is None
    assert "PRIVATE KEY" not in repr(found)

    where = f"hmopt.serve.forges: {path}: [github] key: "
    pem.chmod(0o644)
    with pytest.raises(ConfigError) as open_to_all:
        registered(path, repository)
    assert str(open_to_all.value) == f"{where}others can read '{pem}'; run: chmod 600 {pem}"
    private(pem, "hunter2")
    with pytest.raises(ConfigError) as broken:
        registered(path, repository)
    assert str(broken.value).startswith(f"{where}the GitHub App's private key is no RSA key in PEM; download a new one")
    assert repository.worktree is not None
    for place, message in (
        ("key.pem", "'key.pem' is no absolute path"),
        (str(tmp_path / "none"), "cannot be read: No such file"),
        (str(repository.worktree / "key.pem"), "lies in the repository that is served"),
    ):
        private(path, table(**{**app, "key": f'"{place}"'}))
        with pytest.raises(ConfigError, match=message):
            registered(path, repository)


def test_what_is_read(tmp_path: Path, repository: Repository) -> None:
    text = (
        table(secrets=f'["{SECRET}", "{SECRET[::-1]}"]')
        + table("gitee", forge='"gitee"', plain="true")
        + table("gitcode", forge='"gitcode"')
        + table("own", api='"http://127.0.0.1:8080/api/v3/"', remote='"http://[::1]:8080/kernel/linux.git"')
    )
    found = registered(private(tmp_path / "forges.toml", text), repository)
    forges = {name: one.forge for name, one in found.items()}
    assert isinstance(forges["github"], GitHub) and forges["github"].api == "https://api.github.com"
    assert [one.get_secret_value() for one in forges["github"].secrets] == [SECRET, SECRET[::-1]]
    assert isinstance(forges["gitee"], Gitee) and forges["gitee"].password
    assert forges["gitee"].api == "https://gitee.com/api/v5"
    assert isinstance(forges["gitcode"], GitCode) and not forges["gitcode"].plain
    assert forges["gitcode"].api == "https://api.gitcode.com/api/v5"
    assert isinstance(forges["own"], GitHub) and forges["own"].api == "http://127.0.0.1:8080/api/v3"
    assert {name: one.remote for name, one in found.items()} == {
        "github": "https://github.com/kernel/linux.git",
        "gitee": "https://gitee.com/kernel/linux.git",
        "gitcode": "https://gitcode.com/kernel/linux.git",
        "own": "http://[::1]:8080/kernel/linux.git",
    }
    assert found["gitee"] == Registered(
        "gitee", forges["gitee"], RepositoryName("kernel", "linux"), "hmopt-bot", "https://gitee.com/kernel/linux.git"
    )
    assert SECRET not in repr(found) and TOKEN not in repr(found)
    assert registered(private(tmp_path / "forges.toml", "# none yet\n"), repository) == {}
