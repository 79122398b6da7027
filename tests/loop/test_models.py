# SPDX-License-Identifier: Apache-2.0
"""From settings to a gateway: off until a person chooses one, and nothing is contacted by choosing."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from git_hmopt.cli.settings import gathered
from git_hmopt.config.load import load_config
from git_hmopt.config.settings import GatewaySettings
from git_hmopt.demo.model_server import Script, serving
from git_hmopt.errors import ConfigError
from git_hmopt.gateway.errors import GatewayError, PolicyError
from git_hmopt.gateway.message import Message
from git_hmopt.gateway.policy import Exemption, endpoint_of
from git_hmopt.gateway.profile import Role
from git_hmopt.loop.models import chosen, key_for, opened

PROFILE = "name: here\nroles: {general: m}\n"


@pytest.fixture
def profile(tmp_path: Path) -> str:
    """Write a profile without an address and return its path."""
    path = tmp_path / "here.yaml"
    path.write_text(PROFILE, encoding="utf-8")
    return str(path)


def test_no_model_is_asked_until_a_person_chooses(tmp_path: Path) -> None:
    assert chosen(GatewaySettings()) is None
    with pytest.raises(ConfigError, match=r"git config --global hmopt\.gateway\.profile"):
        opened(GatewaySettings(), tmp_path)


def test_an_address_alone_does_not_say_which_models_are_there() -> None:
    with pytest.raises(ConfigError, match="no profile says which models"):
        chosen(GatewaySettings(url="http://10.1.1.1/v1"))


def test_a_profile_alone_does_not_say_where_they_are(profile: str) -> None:
    with pytest.raises(ConfigError, match="the profile here has no address"):
        chosen(GatewaySettings(profile=profile))


def test_the_shipped_profile_is_chosen_and_not_contacted() -> None:
    found = chosen(GatewaySettings(profile="hm-internal"))
    assert found is not None
    assert found.told.startswith("profile hm-internal, http://")
    assert found.told.endswith("(internal)")


def test_a_repository_cannot_choose(profile: str) -> None:
    text = f"version: 1\ngateway: {{profile: {profile}}}\n"
    with pytest.raises(ConfigError, match="unknown key 'gateway'"):
        load_config(text.encode(), origin="x:.hmopt.yaml")


def test_a_gateway_asks_within_the_settings(profile: str, tmp_path: Path) -> None:
    script = Script([{"answer": "hello"}])
    with serving(script) as url:
        settings = GatewaySettings(profile=profile, url=url, tokens=1000)
        gateway = opened(settings, tmp_path, key=lambda *_: "key-of-mine")
        answer = gateway.ask(Role.GENERAL, [Message("user", "hi")], most_out=50)
        with pytest.raises(GatewayError, match="budget of 1000 tokens"):
            gateway.ask(Role.GENERAL, [Message("user", "x" * 2000)], most_out=50)
    assert answer.text == "hello"
    assert len(script.requests) == 1
    assert b"Bearer key-of-mine" in script.requests[0]


def test_a_host_outside_is_allowed_by_name_or_for_one_run(profile: str, tmp_path: Path) -> None:
    # Nobody is asked here: this address is for documentation (RFC 5737), and the sockets of the tests are blocked.
    settings = GatewaySettings(profile=profile, url="http://192.0.2.1/v1", seconds=1)
    with pytest.raises(PolicyError):
        opened(settings, tmp_path).ask(Role.GENERAL, [Message("user", "hi")], most_out=5)
    listed = chosen(settings.model_copy(update={"allow": "192.0.2.9, 192.0.2.1:80"}))
    assert listed is not None
    assert listed.policy.judge(listed.endpoint, "m", listed.profile) is None
    exemption = Exemption("192.0.2.1", "A. Person", "a comparison")
    once = chosen(settings, (exemption,))
    assert once is not None
    assert once.policy.judge(once.endpoint, "m", once.profile) is exemption


def test_the_key_comes_from_the_environment_or_a_helper_and_nobody_is_asked(tmp_path: Path) -> None:
    endpoint = endpoint_of("http://10.1.1.1:8000/v1")
    assert key_for(endpoint, tmp_path, {"HMOPT_GATEWAY_KEY": "abc"}) == "abc"
    assert key_for(endpoint, tmp_path, {}) is None
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    helper = '!f() { test "$1" = get && echo username=git-hmopt && echo password=kept-elsewhere; }; f'
    subprocess.run(["git", "-C", tmp_path, "config", "credential.http://10.1.1.1:8000.helper", helper], check=True)
    assert key_for(endpoint, tmp_path, {}) == "kept-elsewhere"
    assert key_for(endpoint_of("http://10.1.1.2:8000/v1"), tmp_path, {}) is None


def test_settings_are_read_where_a_person_keeps_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    subprocess.run(["git", "-C", tmp_path, "config", "hmopt.gateway.profile", "hm-internal"], check=True)
    monkeypatch.setenv("HMOPT_GATEWAY_TOKENS", "50k")
    monkeypatch.setenv("HMOPT_GATEWAY_KEY", "never-shown")
    settings = gathered(tmp_path, None)
    assert settings.gateway == GatewaySettings(profile="hm-internal", tokens=51_200)
    assert not any("KEY" in note for note in settings.notes)
    assert "never-shown" not in repr(settings)
    assert os.environ["HMOPT_GATEWAY_KEY"] == "never-shown"
