# SPDX-License-Identifier: Apache-2.0
"""What a host has and lacks: real programs on a search path of the test's making, kernel files in a tree of its own."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest

from git_hmopt.process.host import FATAL_FREE, WANTED_FREE, Finding, State, confinement, disk, programs, quiet, sampling
from git_hmopt.process.packages import packages
from git_hmopt.process.sandbox import sandbox_missing


def by_name(findings: list[Finding]) -> dict[str, Finding]:
    return {one.name: one for one in findings}


@pytest.fixture
def only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Give a search path with nothing on it but what a test links there."""
    place = tmp_path / "bin"
    place.mkdir()
    monkeypatch.setenv("PATH", str(place))
    sandbox_missing.cache_clear()
    yield place
    sandbox_missing.cache_clear()


def link(place: Path, name: str) -> None:
    found = shutil.which(name, path=os.defpath + ":/usr/bin:/bin")
    assert found is not None
    (place / name).symlink_to(found)


def test_nothing_is_installed(only: Path) -> None:
    found = by_name(programs(needed=frozenset({"make"})))
    assert {one.state for one in found.values()} == {State.MISSING}
    assert [name for name, one in found.items() if one.fails] == ["make"]
    assert all(one.lost and one.remedy.startswith("apt-get install ") for one in found.values())
    assert sampling() == []
    (bwrap,) = confinement()
    assert (bwrap.state, bwrap.fails) == (State.MISSING, False)
    assert bwrap.remedy == "apt-get install bubblewrap"


def test_one_program_is_installed(only: Path) -> None:
    link(only, "make")
    found = by_name(programs())
    assert found["make"].state is State.FOUND
    assert found["make"].detail.startswith("GNU Make ")
    assert found["gcc"].state is State.MISSING


def test_a_program_that_does_not_answer_is_found_by_its_path(only: Path) -> None:
    (only / "gcc").write_text("#!/bin/sh\nexit 3\n")
    (only / "gcc").chmod(0o755)
    assert by_name(programs())["gcc"].detail == str(only / "gcc")


def test_perf_that_may_not_sample_is_told_with_what_allows_it(only: Path) -> None:
    (only / "perf").write_text("#!/bin/sh\necho '<not supported>,,cpu-clock:u,0,100.00,,' >&2\n")
    (only / "perf").chmod(0o755)
    clock, counter = sampling()
    assert clock.state is State.LIMITED
    assert clock.remedy == "sysctl -w kernel.perf_event_paranoid=2"
    assert "perf_event_paranoid is " in clock.detail
    assert counter.state is State.LIMITED


def test_a_sandbox_the_kernel_refuses_names_the_switch(only: Path, tmp_path: Path) -> None:
    (only / "bwrap").write_text("#!/bin/sh\necho 'bwrap: setting up uid map: Permission denied' >&2\nexit 1\n")
    (only / "bwrap").chmod(0o755)
    switch = tmp_path / "root/proc/sys/kernel/apparmor_restrict_unprivileged_userns"
    switch.parent.mkdir(parents=True)
    switch.write_text("1\n")
    bwrap, namespaces = confinement(tmp_path / "root")
    assert bwrap.state is State.LIMITED
    assert "setting up uid map: Permission denied" in bwrap.detail
    assert namespaces.remedy == "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"


def kernel_file(root: Path, path: str, text: str) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text)


def test_a_noisy_host(tmp_path: Path) -> None:
    cpu = "sys/devices/system/cpu"
    kernel_file(tmp_path, f"{cpu}/cpu0/cpufreq/scaling_governor", "powersave\n")
    kernel_file(tmp_path, f"{cpu}/intel_pstate/no_turbo", "0\n")
    kernel_file(tmp_path, f"{cpu}/smt/active", "1\n")
    kernel_file(tmp_path, "proc/loadavg", "1.50 1.00 0.50 1/100 1\n")
    found = by_name(quiet(tmp_path, cpus=[0]))
    assert list(found) == ["CPU pinning", "frequency governor", "turbo", "SMT", "load"]
    assert {one.state for one in found.values()} == {State.LIMITED}
    assert found["turbo"].remedy == "echo 1 >/sys/devices/system/cpu/intel_pstate/no_turbo"


def test_a_quiet_host(tmp_path: Path) -> None:
    cpu = "sys/devices/system/cpu"
    for number in range(4):
        kernel_file(tmp_path, f"{cpu}/cpu{number}/cpufreq/scaling_governor", "performance\n")
    kernel_file(tmp_path, f"{cpu}/cpufreq/boost", "0\n")
    kernel_file(tmp_path, "proc/loadavg", "0.20 1.00 0.50 1/100 1\n")
    (pinning,) = quiet(tmp_path, cpus=[0, 1, 2, 3])
    assert (pinning.state, pinning.detail) == (
        State.FOUND,
        "measured programs run on CPU 3 alone, one of 4",
    )


@pytest.mark.parametrize(
    ("free", "state", "fails"),
    [
        (WANTED_FREE, State.FOUND, False),
        (WANTED_FREE - 1, State.LIMITED, False),
        (FATAL_FREE, State.LIMITED, False),
        (FATAL_FREE - 1, State.MISSING, True),
    ],
)
def test_disk(tmp_path: Path, free: int, state: State, fails: bool) -> None:
    finding = disk(tmp_path, free=free)
    assert (finding.state, finding.fails, bool(finding.lost)) == (state, fails, state is not State.FOUND)


def test_packages() -> None:
    found = by_name(packages(["pydantic>=2", "pydantic-core<1", "no-such-package-here>=3", "ruff; extra == 'test'"]))
    assert list(found) == ["python", "no-such-package-here", "pydantic", "pydantic-core"]
    assert (found["pydantic"].state, found["pydantic"].detail) == (State.FOUND, version("pydantic"))
    assert found["pydantic-core"].detail == f"{version('pydantic-core')}, needed is <1"
    assert found["no-such-package-here"].fails
    assert found["no-such-package-here"].remedy.endswith("-m pip install 'no-such-package-here>=3'")


def test_our_own_packages_are_all_there() -> None:
    found = packages()
    assert [one.name for one in found if one.fails] == []
    assert {"pydantic", "pygit2", "apsw", "langgraph", "numpy"} <= set(by_name(found))
    assert "pytest" not in by_name(found)
