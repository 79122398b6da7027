# SPDX-License-Identifier: Apache-2.0
"""Shipped profiles: found by entry point, each a configuration we accept."""

from __future__ import annotations

import importlib
import inspect
import re
from pathlib import Path

import pytest

from git_hmopt.adapters import Kind, load_adapter
from git_hmopt.config import profile
from git_hmopt.config.load import LoadedConfig, adapter_options, load_config
from git_hmopt.config.schema import AdapterSection
from git_hmopt.errors import ConfigError


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Install a package of profiles the way pip does: a `.dist-info` with an entry point on the search path."""
    (tmp_path / "site").mkdir()
    information = tmp_path / "site" / "profile_pack-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: profile-pack\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text(f"[{profile.GROUP}]\npack = profile_pack:root\n")
    (tmp_path / "site" / "profile_pack.py").write_text(
        "from pathlib import Path\ndef root() -> Path:\n    return Path(__file__).parent / 'profiles'\n"
    )
    (tmp_path / "site" / "profiles").mkdir()
    monkeypatch.syspath_prepend(tmp_path / "site")
    importlib.invalidate_caches()
    return tmp_path / "site" / "profiles"


def test_a_third_partys_profile_is_found(installed: Path) -> None:
    (installed / "gadget-board.yaml").write_bytes(b"version: 1\n")
    assert "gadget-board" in profile.profile_names()
    assert profile.profile_bytes("gadget-board") == b"version: 1\n"


def test_an_unknown_profile_names_the_nearest(installed: Path) -> None:
    (installed / "gadget-board.yaml").write_bytes(b"version: 1\n")
    with pytest.raises(ConfigError, match=r"unknown profile 'gadget-bord', expected 'gadget-board'\?"):
        profile.profile_bytes("gadget-bord")
    with pytest.raises(ConfigError, match=r"unknown profile '\.\./gadget-board', expected"):
        profile.profile_bytes("../gadget-board")


def test_every_installed_profile_is_a_configuration_we_accept() -> None:
    assert "linux" in profile.profile_names()
    for name in profile.profile_names():
        loaded = load_config(profile.profile_bytes(name), origin=f"profile {name}")
        assert loaded.config.workloads


SLOT = re.compile(rb"<slot: ([^>]*)>")
# What fits any option of a command adapter: a shell command, a path, a pattern.
FILLER = rb"build/(x)"


def _sections(loaded: LoadedConfig) -> list[tuple[Kind, AdapterSection, tuple[str, ...]]]:
    sections: list[tuple[Kind, AdapterSection, tuple[str, ...]]] = []
    for key, build in loaded.config.builds.items():
        sections.append(("build", build, ("builds", key)))
    for key, test in loaded.config.tests.items():
        sections.append(("test", test, ("tests", key)))
    for key, workload in loaded.config.workloads.items():
        for metric, measure in workload.measure.items():
            sections.append(("workload", measure, ("workloads", key, "measure", metric)))
        for view, profiled in workload.profile.items():
            sections.append(("profiler", profiled, ("workloads", key, "profile", view)))
    return sections


def test_every_section_of_an_installed_profile_fits_its_adapter() -> None:
    for name in profile.profile_names():
        loaded = load_config(SLOT.sub(FILLER, profile.profile_bytes(name)), origin=f"profile {name}")
        sections = _sections(loaded)
        assert len(sections) >= 2
        assert loaded.unfilled() == ()
        for kind, section, path in sections:
            options = load_adapter(kind, section.adapter).Options
            assert isinstance(adapter_options(section, options, where=loaded.at(*path)), options)


def test_every_slot_says_what_belongs_there_and_stops_what_uses_it() -> None:
    data = profile.profile_bytes("hm-verif-kernel")
    loaded = load_config(data, origin="p")
    written = [
        number for number, line in enumerate(data.splitlines(), 1) if SLOT.search(line) and line.strip()[0] != 35
    ]
    assert [where.line for where in loaded.unfilled()] == written
    assert all(len(found.split()) >= 4 for found in SLOT.findall(b"\n".join(data.splitlines()[written[0] - 1 :])))
    for kind, section, path in _sections(loaded):
        with pytest.raises(ConfigError) as caught:
            adapter_options(section, load_adapter(kind, section.adapter).Options, where=loaded.at(*path))
        inner = ".".join((*path, "run"))
        line = loaded.at(*path, "run").line
        assert str(caught.value).startswith(f"p:{line}: {inner}: this slot is not filled in, expected the command that")


def test_every_command_of_the_closed_kernels_profile_has_its_contract() -> None:
    text = profile.profile_bytes("hm-verif-kernel").decode()
    contracts = re.findall(r"((?:^ *#.*\n)+)(?: *run: \"<slot:)", text, re.MULTILINE)
    assert len(contracts) == text.count('run: "<slot:')
    for contract in contracts[:-1]:  # the last one is the profile before it, on the device
        assert "in " in contract
        assert "exit code" in contract
    named = set(re.findall(r"HMOPT_[A-Z]+(?:_[A-Z]+)*", text))
    source = Path(inspect.getfile(load_adapter("build", "command"))).read_text()
    # Every variable that is promised is one that the adapters really set.
    assert named == {name for name in named if f'"{name}"' in source}
    assert len(named) >= 10
