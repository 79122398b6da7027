# SPDX-License-Identifier: Apache-2.0
"""What bot/README.md tells an operator is what the code has."""

from __future__ import annotations

import configparser
import re
import tomllib
from pathlib import Path

import pytest
import yaml

from git_hmopt.config.schema import Review
from git_hmopt.config.settings import ServeSettings
from git_hmopt.store.repository import Repository
from hmopt_bot.forges.commands import help_text
from hmopt_bot.forges.github_app import PERMISSIONS
from tests.loop.project import make_project

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "bot/README.md").read_text()


def block(language: str) -> str:
    """Return the one block of a language."""
    (found,) = re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    return str(found)


def test_the_commands_are_those_that_are_understood() -> None:
    assert f"\n\n{help_text()}\n\n" in README


def test_the_permissions_are_those_that_are_asked_for() -> None:
    table = "\n".join(f"| {name} | {access} |" for name, access in PERMISSIONS.items())
    assert f"\n| permission | |\n| --- | --- |\n{table}\n\n" in README


def test_the_events_are_those_that_are_read() -> None:
    from hmopt_bot.forges import github_events

    told = re.search(r"Subscribe to the events (.*?)\.", README, re.DOTALL)
    source = Path(github_events.__file__).read_text()
    assert told
    for event in re.findall(r"`(\w+)`", told[1]):
        assert f'"{event}": _' in source


def test_the_settings_are_there() -> None:
    named = set(re.findall(r"hmopt\.serve\.(\w+)", README))
    assert {"listen", "tokens", "forges"} == named
    # The file of forges is what `hmopt_bot.registration` reads, where that is.
    assert named <= {*ServeSettings.model_fields, "forges"}
    assert ServeSettings().listen in README


def test_what_speaks_unasked_is_a_section_of_the_configuration() -> None:
    (text,) = [block for block in re.findall(r"^```yaml\n(.*?)^```$", README, re.M | re.S) if "review:" in block]
    review = Review.model_validate(yaml.safe_load(text)["review"])
    assert review.label and review.paths and review.workloads


def test_the_service_says_when_it_is_ready() -> None:
    unit = configparser.ConfigParser(strict=False)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read_string(block("ini"))
    assert unit["Service"]["Type"] == "notify"
    assert unit["Service"]["ExecStart"].endswith("/git-hmopt serve")
    # bwrap could confine nothing.
    assert "RestrictNamespaces" not in unit["Service"]


def test_the_file_of_forges_is_taken(tmp_path: Path) -> None:
    registration = pytest.importorskip("hmopt_bot.registration", reason="webhooks have no file of forges yet")
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    project = make_project(tmp_path / "served", contents={"a": "b\n"}, trusted=False)
    key, file = tmp_path / "app.pem", tmp_path / "forges.toml"
    made = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    key.write_bytes(made.private_bytes(pem, form, serialization.NoEncryption()))
    text = block("toml")
    assert set(tomllib.loads(text)) == {"github", "gitee"}
    file.write_text(text.replace("/etc/git-hmopt/app.pem", str(key)))
    for path in (key, file):
        path.chmod(0o600)
    found = registration.registered(file, Repository.open(project.root))
    assert [(name, str(one.repository)) for name, one in found.items()] == [
        ("github", "OWNER/linux"),
        ("gitee", "OWNER/linux"),
    ]
