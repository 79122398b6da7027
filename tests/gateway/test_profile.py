# SPDX-License-Identifier: Apache-2.0
"""Profiles: the shipped ones, a person's own, and what is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from git_hmopt.errors import ConfigError
from git_hmopt.gateway.policy import endpoint_of, is_internal
from git_hmopt.gateway.profile import Role, load_profile, shipped

GOOD = "name: mine\nroles:\n  general: [a, b]\nmodels:\n  a: {price_in: 0.5, price_out: '1.5', context_tokens: 4096}\n"


def written(folder: Path, text: str) -> str:
    """Write a profile and return its name."""
    path = folder / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_every_shipped_profile_reads_and_is_internal() -> None:
    assert "hm-internal" in shipped()
    for name in shipped():
        profile = load_profile(name)
        assert profile.name == name
        assert profile.url is None or is_internal(endpoint_of(profile.url))
        assert all(profile.of(role) for role in Role)


def test_a_role_without_models_is_served_by_the_general_ones(tmp_path: Path) -> None:
    profile = load_profile(written(tmp_path, GOOD))
    assert profile.of(Role.CODING) == ("a", "b")
    assert profile.of(Role.EMBEDDINGS) == ()
    assert str(profile.models["a"].price_in) == "0.5"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "expected"),
        ("name: mine\nroles: {}\n", "needs a model"),
        ("name: mine\nroles: {general: []}\n", "needs a model"),
        ("name: mine\nroles: {painting: a}\n", "roles"),
        ("name: mine\nroles: {general: 'a b'}\n", "roles.general"),
        ("name: mine\nroles: {general: a}\nkey: sk-1\n", "key"),
        ("name: mine\nroles: {general: a}\nmodels: {a: {price_in: -1}}\n", "price_in"),
        ("name: ../mine\nroles: {general: a}\n", "name"),
        ("name: [", "mine.yaml:1"),
    ],
)
def test_what_is_no_profile_says_where(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError) as raised:
        load_profile(written(tmp_path, text))
    assert "mine.yaml" in str(raised.value)
    assert said in str(raised.value)


def test_a_relative_path_would_be_the_repositorys_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path, GOOD)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="absolute path"):
        load_profile("mine.yaml")


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        load_profile(str(tmp_path / "none.yaml"))


def test_a_file_too_large_to_be_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="larger than"):
        load_profile(written(tmp_path, GOOD + "#" * (1 << 19)))
