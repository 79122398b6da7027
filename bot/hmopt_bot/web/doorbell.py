# SPDX-License-Identifier: Apache-2.0
"""What a webhook's endpoint needs of a forge: to tell a true delivery from a forged one by its raw bytes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from pydantic import SecretStr

from git_hmopt.errors import ConfigError
from hmopt_bot.forges import signature
from hmopt_bot.forges.errors import MalformedError
from hmopt_bot.forges.payload import document
from hmopt_bot.web.private import private_lines

SETTING = "hmopt.serve.secrets"
_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_EVENT = re.compile(r"[A-Za-z0-9 ._-]{1,64}")
_HOOK = re.compile(r"[a-z0-9-]{1,32}")
_SHORTEST = 16


@dataclass(frozen=True)
class Ring:
    """A delivery that was believed."""

    delivery: str
    """Its identity; the same one again is the same delivery."""
    event: str
    subject: str | None
    """What it is about, `owner/name#3`: the jobs of one subject are done in their order."""
    replay: str | None = None
    """What must not be shown twice, of a forge that signs no delivery's identity."""
    replay_s: float = 600.0


class Doorbell(Protocol):
    """A forge's deliveries; it starts nothing and asks nobody."""

    def verify(self, headers: Mapping[str, str], body: bytes, now: float) -> Ring:
        """Return what rang. `headers` have names in lower case; `now` is in seconds since the epoch.

        Raises ForgedError or MalformedError.
        """
        ...


@dataclass(frozen=True)
class HmacDoorbell:
    """Deliveries signed as GitHub signs them: HMAC-SHA256 of the raw body, `X-Hub-Signature-256: sha256=<hex>`."""

    secret: bytes

    def verify(self, headers: Mapping[str, str], body: bytes, now: float) -> Ring:
        """Return what rang; the signature is compared in constant time, before anything is parsed."""
        given = headers.get("x-hub-signature-256")
        signature.body_signed(
            "webhook's", given, body, (SecretStr(self.secret.decode()),), header="X-Hub-Signature-256"
        )
        delivery, event = headers.get("x-github-delivery", ""), headers.get("x-github-event", "")
        if not _ID.fullmatch(delivery) or not _EVENT.fullmatch(event):
            raise MalformedError("X-GitHub-Delivery and X-GitHub-Event say what this is")
        return Ring(delivery, event, _subject(document(body, event)))


def _subject(payload: Mapping[str, Any]) -> str | None:
    repository = payload.get("repository")
    name = repository.get("full_name") if isinstance(repository, dict) else None
    if not isinstance(name, str) or len(name) > 200:
        return None
    for key in ("pull_request", "issue"):
        about = payload.get(key)
        number = about.get("number") if isinstance(about, dict) else None
        if isinstance(number, int) and not isinstance(number, bool) and 0 < number < 1 << 53:
            return f"{name}#{number}"
    return name


def doorbells(path: Path) -> dict[str, Doorbell]:
    """Return the webhooks of a file of secrets, by name; ConfigError when it cannot be used."""
    found: dict[str, Doorbell] = {}
    for number, words in private_lines(path, SETTING):
        where = f"{SETTING}: {path}:{number}"
        if len(words) != 2 or not _HOOK.fullmatch(words[0]):
            raise ConfigError(f"{where}: a line is a name (a-z, 0-9, '-') and a secret")
        name, secret = words
        if len(secret) < _SHORTEST:
            raise ConfigError(
                f"{where}: the secret has fewer than {_SHORTEST} characters",
                next_step="make one: openssl rand -hex 32",
            )
        if name in found:
            raise ConfigError(f"{where}: a second secret for '{name}'")
        found[name] = HmacDoorbell(secret.encode())
    return found
