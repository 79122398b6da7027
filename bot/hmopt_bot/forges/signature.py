# SPDX-License-Identifier: Apache-2.0
"""Webhooks' signatures, over raw bytes and in constant time; several secrets, so that one can be replaced."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Sequence

from pydantic import SecretStr

from git_hmopt.errors import ConfigError
from git_hmopt.records.words import Sha256
from hmopt_bot.forges.errors import ForgedError, OversizedError
from hmopt_bot.forges.message import MAX_DELIVERY


def checked_secrets(forge: str, secrets: Sequence[SecretStr]) -> None:
    """Refuse to trust everybody: with no secret, or an empty one, anyone can sign. Raises ConfigError."""
    if not secrets or not all(secret.get_secret_value() for secret in secrets):
        raise ConfigError(f"{forge}: the webhook has no secret", next_step="set one here and in the forge's settings")


def bounded(forge: str, body: bytes) -> Sha256:
    """Return the body's sha256. Raises OversizedError."""
    if len(body) > MAX_DELIVERY:
        raise OversizedError(f"the {forge} delivery has {len(body)} bytes; at most {MAX_DELIVERY} are read")
    return Sha256(hashlib.sha256(body).hexdigest())


def body_signed(forge: str, given: str | None, body: bytes, secrets: Sequence[SecretStr], *, header: str) -> None:
    """Check `sha256=<hmac of the body in hexadecimal>`, as GitHub and GitCode send it. Raises ForgedError."""
    expected = (b"sha256=" + mac(secret, body).hex().encode() for secret in secrets)
    one_of(forge, given, expected, header=header)


def one_of(forge: str, given: str | None, expected: Iterable[bytes], *, header: str) -> None:
    """Check what a header says against what it may say, all of it, in constant time. Raises ForgedError."""
    if not given:
        raise ForgedError(f"the {forge} delivery is not signed: it has no {header}")
    # Bytes: compare_digest refuses text that is not ASCII. Every one is compared, whichever fits.
    shown = given.encode("utf-8", "replace")
    if not sum(hmac.compare_digest(shown, one) for one in expected):
        raise ForgedError(
            f"the {forge} delivery's {header} is wrong", next_step="the secret here and in the forge's settings differ"
        )


def mac(secret: SecretStr, message: bytes) -> bytes:
    """Return the HMAC-SHA256 of a message."""
    return hmac.new(secret.get_secret_value().encode(), message, hashlib.sha256).digest()
