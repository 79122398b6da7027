# SPDX-License-Identifier: Apache-2.0
"""A GitHub App's proof of who it is, and the installation tokens it gets for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import jwt
from gidgethub import sansio
from pydantic import SecretStr, TypeAdapter

from git_hmopt.errors import ConfigError
from hmopt_bot.forges.errors import AnswerError
from hmopt_bot.forges.github_answers import REQUESTER, deciphered, headers
from hmopt_bot.forges.message import Call, Request, Response, as_json
from hmopt_bot.forges.payload import Payload
from hmopt_bot.forges.values import RepositoryName, epoch

# docs.github.com/apps, "Generating a JSON Web Token for a GitHub App": a minute back for drift, ten at most ahead.
_BACKDATED = 60
_VALID = 9 * 60
REFRESH_EARLY = 5 * 60
"""Seconds before its end at which a token is no longer used for what may take a while."""
PERMISSIONS: Mapping[str, str] = {
    "checks": "write", "contents": "write", "issues": "write", "metadata": "read", "pull_requests": "write",
}  # fmt: skip
"""What the bot needs, and asks for when an App was given more."""


class _Token(Payload):
    token: SecretStr
    expires_at: str


class _Installation(Payload):
    id: int


@dataclass(frozen=True)
class InstallationToken:
    """What an App may use in its repositories for about an hour; `expires` is in epoch seconds."""

    token: SecretStr
    expires: float

    def fresh(self, now: float) -> bool:
        """Say whether it may still be used for something that takes a while."""
        return now < self.expires - REFRESH_EARLY


@dataclass(frozen=True)
class App:
    """A GitHub App: its number or client id, and its private key in PEM."""

    id: str
    key: SecretStr
    api: str = sansio.DOMAIN
    requester: str = field(default=REQUESTER, repr=False)

    def proof(self, now: float) -> SecretStr:
        """Return the RS256 JWT that proves the App's identity for nine minutes. Raises ConfigError for a bad key.

        Not gidgethub's own: that one reads the clock itself.
        """
        claims = {"iat": int(now) - _BACKDATED, "exp": int(now) + _VALID, "iss": self.id}
        try:
            return SecretStr(jwt.encode(claims, self.key.get_secret_value(), algorithm="RS256"))
        except (ValueError, TypeError, jwt.InvalidKeyError) as error:
            # The library's own words may hold the key's.
            raise ConfigError(
                "the GitHub App's private key is no RSA key in PEM", next_step="download a new one from the App's page"
            ) from error

    def installation_of(self, repository: RepositoryName, now: float) -> Call[int]:
        """Ask for the number of the App's installation in a repository."""
        variables = {"owner": repository.owner, "repo": repository.name}
        url = sansio.format_url("/repos/{owner}/{repo}/installation", variables, base_url=self.api)
        what = f"looking for the App's installation in {repository}"

        def parse(response: Response) -> int:
            return deciphered(response, _INSTALLATION, what).id

        return Call(Request("GET", url, self._headers(now)), parse)

    def token(
        self,
        installation: int,
        now: float,
        *,
        repositories: Sequence[str] = (),
        permissions: Mapping[str, str] = PERMISSIONS,
    ) -> Call[InstallationToken]:
        """Ask for a token of an installation: for these repositories (names without owner), or for all of them."""
        variables = {"id": str(installation)}
        url = sansio.format_url("/app/installations/{id}/access_tokens", variables, base_url=self.api)
        asked: dict[str, object] = {"permissions": dict(permissions)}
        if repositories:
            asked["repositories"] = list(repositories)
        what = f"getting a token for installation {installation}"

        def parse(response: Response) -> InstallationToken:
            answer = deciphered(response, _TOKEN, what)
            try:
                return InstallationToken(answer.token, epoch(answer.expires_at))
            except ValueError as error:
                told = f"{what}: the token's end is no time"
                raise AnswerError(told, status=response.status) from error

        return Call(Request("POST", url, self._headers(now, body=True), as_json(asked)), parse)

    def _headers(self, now: float, *, body: bool = False) -> dict[str, str]:
        return headers(self.requester, jwt=self.proof(now), body=body)


_TOKEN: TypeAdapter[_Token] = TypeAdapter(_Token)
_INSTALLATION: TypeAdapter[_Installation] = TypeAdapter(_Installation)
