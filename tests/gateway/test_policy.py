# SPDX-License-Identifier: Apache-2.0
"""Which endpoints and models may be asked."""

from __future__ import annotations

import pytest

from git_hmopt.errors import ConfigError
from git_hmopt.gateway.errors import PolicyError
from git_hmopt.gateway.policy import Exemption, Policy, endpoint_of, is_internal
from git_hmopt.gateway.profile import Profile, Role

PROFILE = Profile(name="test", roles={Role.GENERAL: ("a-model",)})
OUTSIDE = "https://models.example.com/v1"


@pytest.mark.parametrize(
    "url",
    [
        "http://10.0.0.1:8000/v1", "http://172.16.9.9/v1", "http://192.168.1.1/v1", "http://127.0.0.1:1/v1",
        "http://localhost:8080/v1", "http://LOCALHOST./v1", "http://[::1]:9/v1", "http://[fd00::5]/v1",
        "http://[::ffff:10.0.0.1]/v1", "http://169.254.3.4/v1",
    ],
)  # fmt: skip
def test_internal(url: str) -> None:
    assert is_internal(endpoint_of(url))


@pytest.mark.parametrize(
    "url",
    [
        OUTSIDE, "http://8.8.8.8/v1", "http://172.32.0.1/v1", "http://192.0.2.1/v1", "http://[2001:db8::1]/v1",
        "http://[::ffff:8.8.8.8]/v1", "http://localhost.example.com/v1", "http://10.0.0.1.example.com/v1",
        "http://0x0a000001/v1", "http://167772161/v1", "http://0.0.0.0/v1", "http://gateway/v1", "http://printer.local/v1",
    ],
)  # fmt: skip
def test_not_internal(url: str) -> None:
    assert not is_internal(endpoint_of(url))


@pytest.mark.parametrize(
    "url",
    [
        "", "gateway", "ftp://10.0.0.1/v1", "file:///etc/passwd", "http://", "http:///v1", "http://10.0.0.1:99999/v1",
        "http://10.0.0.1:x/v1", "http://[::1/v1", "http://me:secret@10.0.0.1/v1", "http://10.0.0.1/v1?key=1",
        "http://10.0.0.1/v1#a", "http://10.0.0.1/a b", "http://10.0.0.1\n.example.com/", "http://g\u0430teway/v1",
    ],
)  # fmt: skip
def test_no_address(url: str) -> None:
    with pytest.raises(ConfigError) as raised:
        endpoint_of(url)
    assert "secret" not in str(raised.value)
    assert str(raised.value).isprintable()


def test_the_slash_at_the_end_and_the_port_that_goes_without_saying() -> None:
    assert endpoint_of("https://Host.Example/v1/").url == "https://host.example:443/v1"
    assert endpoint_of("http://[fd00::5]/v1").place == "[fd00::5]:80"


def test_an_endpoint_outside_is_refused_with_the_way_to_allow_it() -> None:
    with pytest.raises(PolicyError, match=r"models\.example\.com:443 is not an internal address") as raised:
        Policy().judge(endpoint_of(OUTSIDE), "a-model", PROFILE)
    assert "name models.example.com:443 in: git config --global hmopt.gateway.allow" in str(raised.value)


@pytest.mark.parametrize("listed", ["models.example.com", "models.example.com:443", "MODELS.example.com"])
def test_a_person_may_allow_one(listed: str) -> None:
    assert Policy(frozenset({listed})).judge(endpoint_of(OUTSIDE), "a-model", PROFILE) is None


@pytest.mark.parametrize("listed", ["example.com", "models.example.com:80", "odels.example.com", "", "*"])
def test_what_is_listed_is_that_and_no_more(listed: str) -> None:
    with pytest.raises(PolicyError):
        Policy(frozenset({listed})).judge(endpoint_of(OUTSIDE), "a-model", PROFILE)


def test_an_exemption_is_returned_to_be_recorded() -> None:
    exemption = Exemption("models.example.com", "A. Person <a@example.org>", "a comparison")
    assert Policy(exemptions=(exemption,)).judge(endpoint_of(OUTSIDE), "a-model", PROFILE) is exemption


def test_a_model_that_no_role_has_is_refused_even_here() -> None:
    with pytest.raises(PolicyError, match="'b-model' is not in the profile test"):
        Policy().judge(endpoint_of("http://localhost/v1"), "b-model", PROFILE)
