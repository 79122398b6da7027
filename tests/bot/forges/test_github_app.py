# SPDX-License-Identifier: Apache-2.0
"""An App's proof of who it is, checked with its public key, and the tokens it gets."""

from __future__ import annotations

import json
from collections.abc import Callable

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from pydantic import SecretStr

from git_hmopt.errors import ConfigError
from hmopt_bot.forges.errors import AnswerError, AuthenticationError
from hmopt_bot.forges.github import GitHub
from hmopt_bot.forges.github_app import App, InstallationToken
from hmopt_bot.forges.message import Response
from hmopt_bot.forges.values import epoch
from tests.bot.forges.deliveries import FORGES, KERNEL, NOW
from tests.bot.forges.fake_github import JSON, FakeGitHub


@pytest.fixture(scope="module")
def key() -> rsa.RSAPrivateKey:
    """Make an App's private key."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> SecretStr:
    """Return a key as GitHub hands it out."""
    made = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    return SecretStr(made.decode())


@pytest.fixture
def app(key: rsa.RSAPrivateKey) -> App:
    """Return the App."""
    return App("12345", pem(key))


def test_the_public_key_confirms_the_proof(app: App, key: rsa.RSAPrivateKey) -> None:
    proof = app.proof(NOW).get_secret_value()
    assert jwt.get_unverified_header(proof)["alg"] == "RS256"
    claims = jwt.decode(
        proof, key.public_key(), algorithms=["RS256"], options={"verify_exp": False, "verify_iat": False}
    )  # fmt: skip
    assert claims == {"iat": int(NOW) - 60, "exp": int(NOW) + 540, "iss": "12345"}
    # GitHub refuses more than ten minutes ahead, by its own clock.
    assert claims["exp"] - NOW <= 600
    other = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    with pytest.raises(jwt.InvalidSignatureError):
        jwt.decode(proof, other.public_key(), algorithms=["RS256"], options={"verify_exp": False, "verify_iat": False})


def broken(text: str) -> Callable[[], SecretStr]:
    """Return what makes a key of a text."""
    return lambda: SecretStr(text)


@pytest.mark.parametrize(
    "make",
    [
        broken(""),
        broken("secret-words"),
        broken("-----BEGIN RSA PRIVATE KEY-----\nsecret\n-----END RSA PRIVATE KEY-----\n"),
        lambda: pem(ec.generate_private_key(ec.SECP256R1())),
    ],
)
def test_what_is_no_key_is_said_and_not_shown(make: Callable[[], SecretStr]) -> None:
    with pytest.raises(ConfigError, match="private key") as refused:
        App("1", make()).proof(NOW)
    assert "secret" not in str(refused.value)
    assert "secret" not in repr(App("1", make()))


def test_a_token_is_asked_for_narrowly(app: App) -> None:
    github = FakeGitHub()
    call = app.token(99, NOW, repositories=["linux"])
    token = call.parse(github(call.request))
    assert github.refused == []
    assert token == InstallationToken(SecretStr("ghs_installation"), epoch("2026-07-11T22:14:10Z"))
    body = json.loads(call.request.body)
    assert body["repositories"] == ["linux"]
    assert body["permissions"]["checks"] == "write"
    assert "administration" not in body["permissions"]
    assert "ghs_installation" not in repr(token)
    assert call.request.headers["authorization"].startswith("bearer ")


def test_the_installation_of_a_repository(app: App) -> None:
    github = FakeGitHub()
    call = app.installation_of(KERNEL, NOW)
    assert call.parse(github(call.request)) == github.example("installation")["id"]
    assert github.refused == []


def test_a_token_is_renewed_five_minutes_early() -> None:
    token = InstallationToken(SecretStr("t"), NOW)
    assert [token.fresh(NOW - before) for before in (3600, 301, 300, 299, 0, -1)] == [True, True, *[False] * 4]


def test_expired_and_strange_answers(app: App) -> None:
    call = app.token(99, NOW)
    with pytest.raises(AuthenticationError, match="new token"):
        call.parse(Response(401, JSON, b'{"message":"Bad credentials"}'))
    for answer in (b"{}", b'{"token":"x"}', b'{"token":"x","expires_at":"soon"}', b"[]", b"<html>", b""):
        with pytest.raises(AnswerError) as refused:
            call.parse(Response(201, JSON, answer))
        assert "soon" not in str(refused.value)


def test_a_forge_with_another_token() -> None:
    github = FORGES["github"]
    assert isinstance(github, GitHub)
    request = github.with_token(SecretStr("ghs_other")).read_pull(KERNEL, 7).request
    assert request.headers["authorization"] == "token ghs_other"
    assert github.read_pull(KERNEL, 7).request.headers["authorization"] == "token ghs_secret-token"
