# SPDX-License-Identifier: Apache-2.0
"""`git hmopt doctor`: what is missing decides the exit code; nothing is contacted but the remote that was named."""

from __future__ import annotations

import json
import os
import pty
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from git_hmopt.config.profile import profile_bytes
from tests.loop.project import Project, make_project
from tests.programs import search_path


@pytest.fixture(scope="module")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Return a project that nobody trusted: doctor runs none of its commands."""
    return make_project(tmp_path_factory.mktemp("doctor"), trusted=False)


@pytest.fixture
def project(untouched: Project, tmp_path: Path) -> Project:
    """Return a copy of the project that may be spoilt."""
    shutil.copytree(untouched.root, tmp_path / "project", symlinks=True)
    return Project(tmp_path / "project", untouched.home)


def examined(
    project: Project, *argv: str, cwd: Path | None = None, environment: dict[str, str] | None = None
) -> tuple[int, dict[str, Any]]:
    done = project.hmopt("doctor", "--json", *argv, cwd=cwd, environment=environment)
    assert done.stderr == ""
    answer = json.loads(done.stdout)
    assert (answer["v"], answer["ok"]) == (1, done.returncode == 0)
    return done.returncode, {one["name"]: one for one in answer["findings"]}


def test_a_host_with_what_is_needed(untouched: Project) -> None:
    code, found = examined(untouched)
    assert code == 0
    assert found["git"]["state"] == found["gcc"]["state"] == found["disk space"]["state"] == "found"
    assert found["HEAD:.hmopt.yaml"]["detail"] == "2 workloads"
    assert all(one["lost"] for one in found.values() if one["state"] != "found")
    assert untouched.git("status", "--porcelain") == ""
    assert not (untouched.root / ".git/hmopt").exists()


def test_what_a_configuration_does_not_use_is_not_fatal(project: Project, tmp_path: Path) -> None:
    """Without a configuration the compiler is needed; one of commands says itself what it needs: bash."""
    environment = search_path(tmp_path / "bin", without=("gcc", "bwrap", "perf", "dot"))
    code, found = examined(project, environment=environment)
    assert code == 0
    gcc = {"name": "gcc", "topic": "build", "state": "missing", "detail": "not installed", "fatal": False}
    assert gcc.items() <= found["gcc"].items()
    assert found["gcc"]["remedy"] == "apt-get install gcc"
    assert "unconfined" in found["bwrap"]["lost"]
    assert (found["dot"]["remedy"], found["dot"]["fatal"]) == ("apt-get install graphviz", False)
    none = tmp_path / "none"
    none.mkdir()
    environment["GIT_CEILING_DIRECTORIES"] = str(tmp_path)
    code, found = examined(project, cwd=none, environment=environment)
    assert (code, found["gcc"]["fatal"]) == (1, True)
    assert "is not in a git repository" in found[".hmopt.yaml"]["detail"]


def test_what_an_adapter_needs_is_fatal(project: Project, tmp_path: Path) -> None:
    project.write(".hmopt.yaml", profile_bytes("linux").decode())
    project.commit("configure")
    environment = search_path(tmp_path / "bin", without=("flex", "qemu-system-x86_64"))
    code, found = examined(project, environment=environment)
    assert code == 1
    assert (found["flex"]["topic"], found["flex"]["lost"]) == ("adapters", "no kernel can be built")
    assert found["flex"]["detail"].startswith("for builds.uml, builds.x86")
    # The count is another metric than the objective, and there is another profiler.
    assert (found["qemu-system-x86_64"]["state"], found["qemu-system-x86_64"]["fatal"]) == ("missing", False)
    text = project.hmopt("doctor", environment=environment).stdout
    assert text.splitlines()[-1] == "needed and missing: flex"


def test_no_git_at_all(project: Project, tmp_path: Path) -> None:
    environment = {**project.environment, **search_path(tmp_path / "bin", without=("git",))}
    done = subprocess.run(
        ["git-hmopt", "doctor"], cwd=project.root, env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (1, "")
    assert "\n         next: apt-get install git\n" in done.stdout
    assert done.stdout.splitlines()[-1] == "needed and missing: git"


def test_open_slots_are_listed_with_their_lines(project: Project) -> None:
    text = profile_bytes("hm-verif-kernel").decode()
    project.write(".hmopt.yaml", text)
    code, found = examined(project)
    assert code == 0  # the commit has another configuration, and that one counts
    project.commit("configure")
    code, found = examined(project)
    slots = {name.removeprefix("slot "): one for name, one in found.items() if name.startswith("slot ")}
    assert (code, len(slots)) == (1, text.count('"<slot:'))
    build = slots["builds.kernel.run"]
    line = text.splitlines().index('    run: "<slot: the command that builds the kernel>"') + 1
    assert build["detail"] == f"HEAD:.hmopt.yaml:{line}: open"
    assert build["lost"].endswith("it wants the command that builds the kernel")
    # `benchmark` is the default: what only `device` wants stops nothing.
    assert {name for name, one in slots.items() if not one["fatal"]} == {
        "workloads.device.measure.p99.run",
        "workloads.device.profile.stacks.run",
    }
    _, found = examined(project, environment={"HMOPT_WORKLOAD": "device"})
    assert found["slot workloads.device.measure.p99.run"]["fatal"] is True


BROKEN = {
    "a configuration that cannot be read": ("version: 2\n", {}, ".hmopt.yaml", "is newer than this git-hmopt reads"),
    "an adapter that is not installed": (None, {}, "builds.fast", "unknown build adapter 'bazel', expected"),
    "an option that is wrong": (None, {}, "tests.unit", "tests.unit.format: got text 'xml'"),
    "an overlay that is not there": (None, {}, "overlays of scan", "overlay './bank' has no overlay.yaml"),
    "a bad setting": (None, {"HMOPT_JOBS": "x"}, "settings", "HMOPT_JOBS: got text 'x', expected a whole number"),
    "no such workload": (None, {"HMOPT_WORKLOAD": "x"}, "settings", "HMOPT_WORKLOAD: unknown workload 'x'"),
}


@pytest.mark.parametrize(("text", "environment", "name", "detail"), BROKEN.values(), ids=BROKEN)
def test_what_is_broken_is_a_finding(
    project: Project, text: str | None, environment: dict[str, str], name: str, detail: str
) -> None:
    before = (project.root / ".hmopt.yaml").read_text()
    changes = {
        "builds.fast": ("adapter: command", "adapter: bazel"),
        "tests.unit": ("format: tap", "format: xml"),
        "overlays of scan": ("- ./bench", "- ./bank"),
    }
    old, new = changes.get(name, ("", ""))
    project.write(".hmopt.yaml", text or (before.replace(old, new, 1) if old else before))
    if text or old:
        project.commit("break it")
    code, found = examined(project, environment=environment)
    assert code == 1
    assert detail in found[name]["detail"]
    assert found[name]["fatal"] is True
    assert found["git"]["state"] == "found"


def test_a_setting_nobody_reads_is_told(project: Project) -> None:
    code, found = examined(project, environment={"HMOPT_MEASURE_LAYOUT": "3"})
    assert code == 0
    assert found["settings"]["detail"].endswith("did you mean HMOPT_MEASURE_LAYOUTS?")


# -- remotes ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def helpers(tmp_path: Path) -> Path:
    """Return a directory with a git remote helper that notes each time it is asked, and then fails."""
    place = tmp_path / "helpers"
    place.mkdir()
    (place / "git-remote-noted").write_text(f'#!/bin/sh\necho "$2" >>{tmp_path}/asked\nexit 1\n')
    (place / "git-remote-noted").chmod(0o755)
    return place


def test_only_the_named_remote_is_asked(project: Project, helpers: Path, tmp_path: Path) -> None:
    project.git("remote", "add", "origin", "noted://origin")
    project.git("remote", "add", "other", "noted://other")
    environment = {"PATH": f"{helpers}:{project.environment['PATH']}"}
    assert examined(project, environment=environment)[0] == 0
    assert not (tmp_path / "asked").exists()
    code, found = examined(project, "other", environment=environment)
    assert (code, found["other"]["state"]) == (1, "missing")
    assert found["other"]["remedy"] == "git ls-remote other"
    assert set((tmp_path / "asked").read_text().split()) == {"noted://other"}


def test_a_partial_clone_is_not_completed(project: Project, helpers: Path, tmp_path: Path) -> None:
    """Reading `.hmopt.yaml` from HEAD would fetch it: only the file in the working tree is looked at."""
    project.git("config", "uploadpack.allowFilter", "true")
    clone = tmp_path / "clone"
    project.git("clone", "-q", "--filter=blob:none", "--no-checkout", f"file://{project.root}", str(clone))
    Project(clone, project.home).git("remote", "set-url", "origin", "noted://origin")
    environment = {"PATH": f"{helpers}:{project.environment['PATH']}"}
    code, found = examined(project, cwd=clone, environment=environment)
    assert code == 0
    assert found[".hmopt.yaml"]["detail"].startswith("there is no .hmopt.yaml here")
    assert not (tmp_path / "asked").exists()


def test_a_remote_that_answers(project: Project, tmp_path: Path) -> None:
    remote = tmp_path / "remote.git"
    project.git("init", "-q", "--bare", str(remote))
    project.git("remote", "add", "lab", str(remote))
    project.git("push", "-q", "lab", "main", "main:refs/hmopt/runs/x/y")
    code, found = examined(project, "lab")
    assert (code, found["lab"]["state"]) == (0, "found")
    assert found["lab"]["detail"] == "answers; 3 refs, 1 of them of git hmopt; takes refs/hmopt/"
    before = set(remote.rglob("refs/**/*"))
    hook = remote / "hooks/update"
    hook.write_text("#!/bin/sh\ncase $1 in refs/heads/*) ;; *) exit 1;; esac\n")
    hook.chmod(0o755)
    _, found = examined(project, "lab")
    assert found["lab"]["state"] == "limited"
    assert found["lab"]["detail"].endswith("; takes branches only: runs go to refs/heads/hmopt-data/")
    hook.write_text("#!/bin/sh\nexit 1\n")
    code, found = examined(project, "lab")
    assert (code, found["lab"]["lost"]) == (0, "runs can be fetched, not pushed")
    # Nothing of it is left.
    assert {path for path in remote.rglob("refs/**/*") if path.is_file()} <= before


def test_no_such_remote(project: Project, tmp_path: Path) -> None:
    project.git("remote", "add", "origin", "noted://origin")
    done = project.hmopt("doctor", "orign")
    assert (done.returncode, done.stdout) == (129, "")
    assert done.stderr == (
        "git hmopt: unknown remote 'orign', expected 'origin'? (known: origin); see: git remote -v\n"
    )
    (tmp_path / "none").mkdir()
    done = project.hmopt("doctor", "origin", cwd=tmp_path / "none", environment={"GIT_CEILING_DIRECTORIES": "/tmp"})
    assert done.returncode == 128
    assert "is not in a git repository" in done.stderr


# -- how it looks ----------------------------------------------------------------------------------------------------


def test_lines_are_whole_and_plain_when_piped(project: Project) -> None:
    text = project.hmopt("doctor", environment={"COLUMNS": "40"}).stdout
    assert "\x1b" not in text
    assert all(
        re.match(r"(found|limited|missing) +\S|         (lost|next): |nothing|needed", line)
        for line in text.splitlines()
    )
    assert "\x1b[32mfound" in project.hmopt("doctor", environment={"HMOPT_COLOR": "always"}).stdout


def test_a_narrow_terminal_gets_narrow_lines(untouched: Project) -> None:
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        ["git-hmopt", "doctor"], cwd=untouched.root, stdout=theirs,
        env={**untouched.environment, "COLUMNS": "60", "TERM": "xterm"},
    ) as child:  # fmt: skip
        os.close(theirs)
        said = b""
        while True:
            try:
                part = os.read(ours, 4096)
            except OSError:  # the terminal was closed by its last writer
                break
            said += part
        child.wait()
    text = said.decode()
    assert "\x1b[32mfound" in text
    lines = re.sub(r"\x1b\[[0-9;]*m", "", text).splitlines()
    # A path is not broken: it would not be one any more.
    assert all(len(line) <= 60 or "/" in line.split()[-1] for line in lines)
    assert len(lines) > 15
