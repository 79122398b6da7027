# SPDX-License-Identifier: Apache-2.0
"""The webhooks that are heard: for each, a forge with its secrets, one repository, and who the bot is there.

They stand in a TOML file outside the repository that its owner alone can read, a table for each webhook's name:

    [github]
    forge = "github"               # or gitee, gitcode
    repository = "kernel/linux"
    secrets = ["..."]              # of at least 16 characters each; two while one is replaced by the other
    login = "hmopt-bot"
    token = "..."                  # or, of a GitHub App: app = "12345" and key = "/absolute/private-key.pem"
    api = "https://api.github.com"                     # default: the forge's own
    remote = "https://github.com/kernel/linux.git"     # default: the forge's own address of the repository
    writes_a_minute = 60           # what the bot writes there at most, and writes_an_hour = 400
    plain = false                  # whether the webhook sends the secret itself (Gitee, GitCode), not a signature
"""

from __future__ import annotations

import ipaddress
import re
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from gidgethub import sansio
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, ValidationError
from pydantic_core import PydanticCustomError

from git_hmopt.config.explain import unknown
from git_hmopt.errors import ConfigError
from git_hmopt.store.repository import Repository
from hmopt_bot.forges.errors import said
from hmopt_bot.forges.forge import Forge
from hmopt_bot.forges.gitcode import GitCode
from hmopt_bot.forges.gitee import Gitee
from hmopt_bot.forges.github import GitHub
from hmopt_bot.forges.github_app import App
from hmopt_bot.forges.payload import RepositoryField
from hmopt_bot.forges.values import RepositoryName
from hmopt_bot.private import private_bytes, private_path

SETTING = "hmopt.serve.forges"
_NAME = re.compile(r"[a-z0-9-]{1,32}")
_LOGIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}(\[bot\])?")
_APP = re.compile(r"[A-Za-z0-9._-]{1,100}")
_WORD = re.compile(r"[!-~]{1,4096}")
_SHORTEST = 16
_APIS = {"github": sansio.DOMAIN, "gitee": Gitee.api, "gitcode": GitCode.api}
_REMOTES = {"github": "https://github.com", "gitee": "https://gitee.com", "gitcode": "https://gitcode.com"}


@dataclass(frozen=True)
class Registered:
    """A webhook: the forge behind it, the one repository it may speak of, and who the bot is there."""

    name: str
    """Of the webhook: `POST /webhooks/NAME`."""
    forge: Forge
    """With the webhook's secrets, and the token if one is configured."""
    repository: RepositoryName
    login: str
    """The bot's own account there; a GitHub App's is `slug[bot]`."""
    remote: str
    """The address of the git remote, to fetch from and to push to."""
    app: App | None = None
    """A GitHub App, whose installation tokens are used instead of a fixed token."""
    writes_a_minute: int = 60
    """What the bot writes there at most: GitHub takes 80 such requests a minute, and 500 an hour."""
    writes_an_hour: int = 400
    key: Path | None = None
    """Where the App's private key lies."""


def _matching(pattern: re.Pattern[str], what: str) -> AfterValidator:
    def check(text: str) -> str:
        if not pattern.fullmatch(text):
            raise PydanticCustomError("form", what)
        return text

    return AfterValidator(check)


def _long_enough(secret: SecretStr) -> SecretStr:
    if len(secret.get_secret_value()) < _SHORTEST:
        raise PydanticCustomError("short", "has fewer than 16 characters; make one: openssl rand -hex 32")
    return secret


def _one_word(token: SecretStr) -> SecretStr:
    # It stands in a header: a line break there would begin another one.
    if not _WORD.fullmatch(token.get_secret_value()):
        raise PydanticCustomError("word", "is no token: it is one word of ASCII")
    return token


def _address(text: str) -> str:
    """Check where tokens travel to. An error does not repeat it: there may be one in it."""
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        raise PydanticCustomError("address", "is no address: it begins with https:// and a host") from None
    if parts.scheme not in ("http", "https") or not host or not _WORD.fullmatch(text) or "\\" in text:
        raise PydanticCustomError("address", "is no address: it begins with https:// and a host")
    if parts.scheme == "http" and not _is_loopback(host):
        raise PydanticCustomError("plain", "is http, which shows the token to whoever is on the way: use https")
    if parts.username is not None or parts.password is not None:
        raise PydanticCustomError("userinfo", "holds a name or a password: the token has a key of its own")
    if "?" in text or "#" in text:
        raise PydanticCustomError("query", "holds a query or a fragment")
    return text.rstrip("/")


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


_Address = Annotated[str, AfterValidator(_address)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)
    forge: Literal["github", "gitee", "gitcode"]
    repository: RepositoryField
    secrets: tuple[Annotated[SecretStr, AfterValidator(_long_enough)], ...] = Field(min_length=1)
    login: Annotated[str, _matching(_LOGIN, "is no account's name")]
    token: Annotated[SecretStr, AfterValidator(_one_word)] | None = None
    app: Annotated[str, _matching(_APP, "is no App's number or client id")] | None = None
    key: str | None = None
    api: _Address | None = None
    remote: _Address | None = None
    plain: bool = Field(default=False, strict=True)
    writes_a_minute: int = Field(default=60, ge=1, le=100_000, strict=True)
    writes_an_hour: int = Field(default=400, ge=1, le=1_000_000, strict=True)


def registered(path: Path, repository: Repository) -> dict[str, Registered]:
    """Return the webhooks of a file, by name. Raises ConfigError, which names file, table and key and no secret."""
    path = private_path(str(path), SETTING, repository)
    origin = f"{SETTING}: {path}"
    try:
        tables = tomllib.loads(private_bytes(path, SETTING).decode())
    except UnicodeDecodeError:
        raise ConfigError(f"{origin}: the file is not UTF-8") from None
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{origin}: this is no TOML: {said(str(error))}") from None
    return {name: _registered(name, value, f"{origin}: [{said(name)}]", repository) for name, value in tables.items()}


def _registered(name: str, value: object, where: str, repository: Repository) -> Registered:
    if not _NAME.fullmatch(name):
        raise ConfigError(f"{where}: a webhook's name has 1 to 32 of a-z, 0-9 and '-'")
    if not isinstance(value, dict):
        raise ConfigError(f"{where}: this is no table", next_step="begin one for each webhook: [NAME]")
    try:
        table = _Table.model_validate(value)
    except ValidationError as error:
        raise ConfigError(f"{where} {_complaint(error)}") from None

    def refuse(key: str, what: str, next_step: str | None = None) -> ConfigError:
        return ConfigError(f"{where} {key}: {what}", next_step=next_step)

    _refuse_mixed(table, refuse)
    api = table.api or _APIS[table.forge]
    if table.remote is None and api != _APIS[table.forge]:
        # The forge's own address would get the token of another server.
        raise refuse(
            "remote", f"is missing: api is not {table.forge}'s own", "say where the repository is fetched from"
        )
    remote = table.remote or f"{_REMOTES[table.forge]}/{table.repository}.git"
    app = _app(table, api, where, repository)
    return Registered(
        name, _forge(table, api), table.repository, table.login, remote, app, table.writes_a_minute,
        table.writes_an_hour, Path(table.key).expanduser() if table.key else None,
    )  # fmt: skip


def _complaint(error: ValidationError) -> str:
    """Return what is wrong with a table, never what stands in it: that may be a secret."""
    found = error.errors(include_url=False, include_input=False, include_context=False)
    # A mistyped key is often also a missing one.
    worst = min(found, key=lambda one: one["type"] == "missing")
    key = ".".join(str(part) for part in worst["loc"])
    if worst["type"] == "extra_forbidden":
        return said(unknown(key, _Table.model_fields, what="key"))
    return said(
        f"{key}: " + ("is missing" if worst["type"] == "missing" else worst["msg"].removeprefix("Value error, "))
    )


def _refuse_mixed(table: _Table, refuse: Callable[..., ConfigError]) -> None:
    """Refuse what is right by itself and wrong together."""
    if table.forge != "github" and (table.app or table.key):
        raise refuse("app" if table.app else "key", f"{table.forge} has no Apps", "give a token")
    if table.forge == "github" and table.plain:
        raise refuse("plain", "github always signs")
    if (table.app is None) != (table.key is None):
        given, missing = ("app", "key") if table.app else ("key", "app")
        raise refuse(missing, f"is missing beside {given}: an App is known by its number and its private key")
    if table.app and table.token:
        raise refuse("token", "stands beside app, whose own tokens are used", "take one of them out")
    if not table.app and not table.token:
        step = "give a token" if table.forge != "github" else "give a token, or app and key of a GitHub App"
        raise refuse("token", "is missing: nothing could be answered", step)
    if table.app and not table.login.endswith("[bot]"):
        raise refuse("login", "an App's account is its slug and [bot]", "such as hmopt[bot]")


def _forge(table: _Table, api: str) -> Forge:
    match table.forge:
        case "github":
            return GitHub(table.secrets, table.token, api)
        case "gitee":
            return Gitee(table.secrets, table.token, api, password=table.plain)
        case "gitcode":
            return GitCode(table.secrets, table.token, api, plain=table.plain)


def _app(table: _Table, api: str, where: str, repository: Repository) -> App | None:
    if table.app is None or table.key is None:
        return None
    at = f"{where} key"
    key = private_bytes(private_path(table.key, at, repository), at).decode("utf-8", "replace")
    app = App(table.app, SecretStr(key), api)
    try:
        app.proof(0)
    except ConfigError as error:
        raise ConfigError(f"{at}: {error.what}", next_step=error.next_step) from None
    return app
