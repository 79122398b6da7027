# SPDX-License-Identifier: Apache-2.0
"""Deliveries that are not taken: forged, stale, oversized, truncated, no JSON, not what they say they are."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from git_hmopt.errors import ConfigError
from hmopt_bot.forges import message
from hmopt_bot.forges.errors import (
    DeliveryError,
    ForgedError,
    MalformedError,
    OversizedError,
    StaleError,
    UnsupportedError,
)
from hmopt_bot.forges.events import Delivery
from hmopt_bot.forges.gitcode import GitCode
from hmopt_bot.forges.gitee import Gitee
from hmopt_bot.forges.github import GitHub
from tests.bot.forges.deliveries import (
    FORGES,
    GITEE_PULL,
    GITHUB_PULL,
    NOTES,
    NOW,
    PULLS,
    SECRET,
    Sent,
    changed,
    gitee_signature,
    hexadecimal,
    opened,
    sent,
)

SIGNED = {"github": "X-Hub-Signature-256", "gitee": "X-Gitee-Token", "gitcode": "X-GitCode-Signature-256"}
EVENT = {"github": "X-GitHub-Event", "gitee": "X-Gitee-Event", "gitcode": "X-GitCode-Event"}
forges = pytest.mark.parametrize("forge", sorted(FORGES))
hashed = pytest.mark.parametrize("forge", ["gitcode", "github"])


def verified(delivery: Sent, *, now: float = NOW) -> Delivery:
    """Return what the forge makes of a delivery."""
    return FORGES[delivery.forge].verify(delivery.headers, delivery.body, now)


@forges
def test_a_good_one_is_taken(forge: str) -> None:
    assert verified(opened(forge)).forge == forge


@forges
@pytest.mark.parametrize(
    "wrong",
    [
        None,
        "",
        "sha256=",
        "sha256",
        "sha1=" + "0" * 40,
        "sha256=" + "0" * 64,
        "é" * 64,
        "\ud800",
        "0" * 100_000,
        SECRET,
    ],
)
def test_forged_signatures(forge: str, wrong: str | None) -> None:
    with pytest.raises(ForgedError) as refused:
        verified(opened(forge).having(**{SIGNED[forge]: wrong}))
    assert refused.value.status == 401
    assert SECRET not in str(refused.value)


@hashed
def test_one_byte_of_the_body_or_another_secret_is_forged(forge: str) -> None:
    delivery = opened(forge)
    for body in (delivery.body[:-1], delivery.body + b" ", delivery.body.replace(b"7", b"8", 1)):
        with pytest.raises(ForgedError):
            verified(Sent(forge, delivery.headers, body))
    with pytest.raises(ForgedError):
        verified(delivery.having(**{SIGNED[forge]: hexadecimal(delivery.body, "another")}))


@hashed
def test_the_signature_of_another_hash_or_case_is_forged(forge: str) -> None:
    good = hexadecimal(opened(forge).body)
    for wrong in (good.upper(), good.removeprefix("sha256="), f" {good}", good.replace("sha256", "SHA256")):
        with pytest.raises(ForgedError):
            verified(opened(forge).having(**{SIGNED[forge]: wrong}))


@forges
def test_nothing_is_parsed_before_the_signature_is_good(forge: str) -> None:
    for body in (b"", b"[" * 100_000, b"\xff\xfe", b"{"):
        with pytest.raises(ForgedError):
            verified(Sent(forge, {**opened(forge).headers, SIGNED[forge]: "wrong"}, body))


@forges
def test_header_names_have_no_case(forge: str) -> None:
    delivery = opened(forge)
    for headers in (
        {name.upper(): value for name, value in delivery.headers.items()},
        {name.lower(): value for name, value in delivery.headers.items()},
    ):
        assert FORGES[forge].verify(headers, delivery.body, NOW) == verified(delivery)


@forges
def test_two_values_of_one_header_are_refused(forge: str) -> None:
    delivery = opened(forge)
    with pytest.raises(MalformedError, match="twice"):
        FORGES[forge].verify({**delivery.headers, SIGNED[forge].lower(): "sha256=0"}, delivery.body, NOW)


@forges
@pytest.mark.parametrize("body", [b"", b"{", b"null", b"[]", b'"text"', b"\xff", b"[" * 100_000, b"a=b", b"1" * 5000])
def test_signed_and_no_object(forge: str, body: bytes) -> None:
    with pytest.raises(MalformedError) as refused:
        verified(sent(forge, PULLS[forge][0], body))
    assert refused.value.status == 400
    assert len(str(refused.value)) < 1000


@forges
@given(cut=st.floats(0, 1, exclude_max=True))
def test_truncated_anywhere(forge: str, cut: float) -> None:
    whole = opened(forge).body
    with pytest.raises(MalformedError):
        verified(sent(forge, PULLS[forge][0], whole[: int(cut * len(whole))]))


@forges
def test_missing_event_headers(forge: str) -> None:
    with pytest.raises(MalformedError, match="X-Git"):
        verified(opened(forge).having(**{EVENT[forge]: None}))


@pytest.mark.parametrize("wrong", [None, "", "a b", "../x", "x" * 101, "\x1b[2J"])
@pytest.mark.parametrize(("forge", "header"), [("github", "X-GitHub-Delivery"), ("gitcode", "X-GitCode-Delivery")])
def test_delivery_ids_are_words(forge: str, header: str, wrong: str | None) -> None:
    with pytest.raises(MalformedError):
        verified(opened(forge).having(**{header: wrong}))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("pull_request", ...),
        ("pull_request.number", "seven"),
        ("pull_request.head.sha", "HEAD"),
        ("pull_request.head.sha", "c" * 41),
        ("pull_request.base.repo.full_name", "../../etc"),
        ("pull_request.base.repo.full_name", "kernel/linux/x"),
        ("pull_request.base", None),
        ("repository", None),
        ("repository.full_name", "kernel/.."),
        ("repository.full_name", 7),
        ("number", None),
        ("installation", {"id": "x"}),
    ],
)
def test_signed_and_not_what_its_event_looks_like(path: str, value: Any) -> None:
    with pytest.raises(MalformedError) as refused:
        verified(sent("github", "pull_request", changed(GITHUB_PULL, path, value)))
    assert str(refused.value).isprintable()


def test_an_error_does_not_show_what_the_field_held() -> None:
    secret = changed(GITEE_PULL, "repository.full_name", {"password": SECRET})
    with pytest.raises(MalformedError) as refused:
        verified(sent("gitee", "Merge Request Hook", secret))
    assert SECRET not in str(refused.value)


@forges
def test_oversized(forge: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert message.MAX_DELIVERY == 25 * 1024 * 1024
    body = b'{"x":"' + b"a" * (message.MAX_DELIVERY - 5) + b'"}'
    with pytest.raises(OversizedError) as refused:
        verified(Sent(forge, {}, body))
    assert refused.value.status == 413


def test_a_form_is_told_what_to_set() -> None:
    with pytest.raises(UnsupportedError, match="application/json"):
        verified(opened("github").having(Content_Type="application/x-www-form-urlencoded"))
    with pytest.raises(UnsupportedError):
        verified(opened("github").having(Content_Type=None))
    assert verified(opened("github").having(Content_Type="application/json; charset=utf-8"))


@pytest.mark.parametrize("seconds", [301, 3600, 10**9, -301, -3600])
def test_stale_and_early(seconds: int) -> None:
    with pytest.raises(StaleError, match="behind" if seconds > 0 else "ahead") as refused:
        verified(opened("gitee"), now=NOW + seconds)
    assert refused.value.status == 401


@pytest.mark.parametrize("seconds", [-300, 0, 299, 300])
def test_in_time(seconds: int) -> None:
    assert verified(opened("gitee"), now=NOW + seconds)


@pytest.mark.parametrize("stamp", ["", "soon", "-1", "1e3", "١٢٣", "9" * 17, "1.5", " 1"])
def test_a_time_that_is_none(stamp: str) -> None:
    wrong = opened("gitee").having(X_Gitee_Timestamp=stamp, X_Gitee_Token=gitee_signature(stamp))
    with pytest.raises(MalformedError, match="Timestamp"):
        verified(wrong)


def test_a_time_of_its_own_is_forged() -> None:
    with pytest.raises(ForgedError):
        verified(opened("gitee").having(X_Gitee_Timestamp=str(int(NOW * 1000) + 1)))


@pytest.mark.parametrize("secrets", [(), (SecretStr(""),), (SecretStr("one"), SecretStr(""))])
@pytest.mark.parametrize("kind", [GitHub, Gitee, GitCode])
def test_no_secret_is_no_forge(kind: Any, secrets: tuple[SecretStr, ...]) -> None:
    with pytest.raises(ConfigError, match="secret"):
        kind(secrets)


@forges
def test_the_old_secret_is_good_until_it_is_removed(forge: str) -> None:
    kind: Any = type(FORGES[forge])
    delivery = opened(forge)
    assert kind((SecretStr("new"), SecretStr(SECRET))).verify(delivery.headers, delivery.body, NOW)
    with pytest.raises(ForgedError):
        kind((SecretStr("new"),)).verify(delivery.headers, delivery.body, NOW)


@given(
    forge=st.sampled_from(sorted(FORGES)),
    headers=st.dictionaries(
        st.sampled_from([*SIGNED.values(), *EVENT.values(), "X-Gitee-Timestamp", "X-GitHub-Delivery", "Content-Type"]),
        st.text(max_size=80),
    ),
    body=st.binary(max_size=200),
)
def test_no_stranger_gets_in_and_nothing_else_breaks(forge: str, headers: dict[str, str], body: bytes) -> None:
    with pytest.raises(ForgedError):
        FORGES[forge].verify(headers, body, NOW)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=10,
)
_PATHS = {
    "github": ["action", "number", "pull_request", "pull_request.head", "pull_request.head.repo", "sender",
               "pull_request.labels", "pull_request.user", "pull_request.state", "repository", "installation"],
    "gitee": ["action", "pull_request", "pull_request.number", "repository", "sender", "hook_id"],
    "gitcode": ["object_attributes", "object_attributes.iid", "object_attributes.action", "project", "user"],
}  # fmt: skip


@given(data=st.data(), forge=st.sampled_from(sorted(FORGES)), value=_JSON)
def test_any_value_in_any_field_is_read_or_refused(data: st.DataObject, forge: str, value: object) -> None:
    name, body = PULLS[forge]
    path = data.draw(st.sampled_from(_PATHS[forge]))
    try:
        verified(sent(forge, name, json.dumps(changed(body, path, value)).encode()))
    except DeliveryError as refused:
        assert str(refused).isprintable()


@forges
def test_a_forged_megabyte_is_refused_at_once(forge: str) -> None:
    body = b"[" * 10_000_000
    began = time.process_time()
    with pytest.raises(ForgedError):
        verified(Sent(forge, {**opened(forge).headers, SIGNED[forge]: "wrong"}, body))
    assert time.process_time() - began < 1


@forges
def test_what_is_small_and_slow_to_read_is_oversized(forge: str) -> None:
    name, body = NOTES[forge]
    with pytest.raises(OversizedError, match=r"has 1500\d\d opening brackets; at most 150000 are read"):
        verified(sent(forge, name, {**body, "more": [[]] * 150_000}))
    # As many brackets as two copies of the longest comment have.
    assert verified(sent(forge, name, {**body, "more": "[" * (2 * 65_536)})).forge == forge
