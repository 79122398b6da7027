# SPDX-License-Identifier: Apache-2.0
"""`git hmopt init`: what it writes, what it never trusts, and that it is all or nothing."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from tests.loop.project import Project

DECORATION = "log.excludeDecoration"


@pytest.fixture
def bare(project: Project) -> Project:
    """Return the project without a configuration and without trust."""
    (project.root / ".hmopt.yaml").unlink()
    project.commit("without")
    project.git("config", "--unset", "hmopt.trust")
    return project


def settings(project: Project) -> str:
    """Return the repository's configuration file."""
    return (project.root / ".git/config").read_text()


def test_it_writes_trusts_and_says_how_to_undo_it(bare: Project) -> None:
    before = settings(bare)
    done = bare.hmopt("init")
    assert (done.returncode, done.stderr) == (0, "")
    assert (bare.root / ".hmopt.yaml").read_text().startswith("# SPDX")
    assert bare.git("config", "hmopt.trust").startswith("1:")
    assert "next: git hmopt optimize --workload NAME (one of: lib-sort, " in done.stdout
    # What it says is refused for the commands, not for trust.
    assert "never trusted" not in bare.hmopt("optimize", "--workload", "none").stderr
    undo = re.search(r"^undo: (.*)$", done.stdout, re.MULTILINE)
    assert undo
    subprocess.run(["bash", "-ec", undo[1]], cwd=bare.root, env=bare.environment, check=True)
    assert bare.git("status", "--porcelain") == ""
    assert settings(bare).replace("[log]\n", "").replace("[hmopt]\n", "") == before.replace("[hmopt]\n", "")


def test_an_editor_finds_the_schema_where_the_profile_sends_it(bare: Project) -> None:
    assert bare.hmopt("init").returncode == 0
    named = re.search(
        r"^# yaml-language-server: \$schema=(\S+)$", (bare.root / ".hmopt.yaml").read_text(), re.MULTILINE
    )
    assert named
    schema = bare.root / named[1]
    assert schema.read_text() == bare.hmopt("config", "--schema").stdout
    # A clone that somebody else initialised gets it with its trust.
    schema.unlink()
    assert bare.hmopt("trust").returncode == 0
    assert json.loads(schema.read_text())["$schema"].startswith("https://json-schema.org/")


@pytest.mark.parametrize("own", [(), ("refs/mine/*",), ("refs/mine/*", "refs/other/*")])
def test_the_users_own_excluded_decorations_stay(bare: Project, own: tuple[str, ...]) -> None:
    for value in own:
        bare.git("config", "--add", DECORATION, value)
    assert bare.hmopt("init").returncode == 0
    assert bare.git("config", "--get-all", DECORATION).splitlines() == [*own, "refs/hmopt/*"]
    again = bare.hmopt("init", "--force")
    assert again.returncode == 0
    assert DECORATION not in again.stdout
    assert bare.git("config", "--get-all", DECORATION).splitlines() == [*own, "refs/hmopt/*"]


def test_commands_that_the_repository_brought_are_not_trusted_along(project: Project) -> None:
    project.git("config", "--unset", "hmopt.trust")
    done = project.hmopt("init", "--force")
    assert (done.returncode, done.stderr) == (0, "")
    assert project.git("config", "hmopt.trust", check=False) == ""
    assert "trusted" not in done.stdout
    assert "next: commit it, since a run uses the .hmopt.yaml of its base commit; then: git hmopt trust" in done.stdout
    refused = project.hmopt("optimize", "--workload", "scan", "--allow-dirty")
    assert "never trusted" in refused.stderr
    assert project.hmopt("init", "--force").returncode == 0
    project.git("checkout", "--", ".hmopt.yaml")  # the undo it names
    (project.root / ".hmopt.yaml").unlink()
    # The same where the file was only deleted from the working tree.
    assert project.hmopt("init").returncode == 0
    assert project.git("config", "hmopt.trust", check=False) == ""


def test_the_committed_profile_itself_is_trusted(bare: Project) -> None:
    assert bare.hmopt("init").returncode == 0
    bare.commit("with the profile")
    bare.git("config", "--unset", "hmopt.trust")
    assert "trusted its commands" in bare.hmopt("init", "--force").stdout
    assert bare.git("config", "hmopt.trust").startswith("1:")


@pytest.mark.parametrize("options", [(), ("--force",)])
def test_a_link_of_the_repositorys_is_not_written_through(
    bare: Project, tmp_path: Path, options: tuple[str, ...]
) -> None:
    outside = tmp_path / "outside"
    (bare.root / ".hmopt.yaml").symlink_to(outside)
    (bare.root / ".hmopt.yaml.new").symlink_to(outside)
    done = bare.hmopt("init", *options)
    assert done.returncode == (0 if options else 129), done.stderr
    assert not outside.exists()
    assert (bare.root / ".hmopt.yaml").is_symlink() is not bool(options)


def test_a_directory_in_its_place_is_told(bare: Project) -> None:
    (bare.root / ".hmopt.yaml").mkdir()
    for options in ((), ("--force",)):
        done = bare.hmopt("init", *options)
        assert done.stderr == "git hmopt: .hmopt.yaml is a directory; move it away\n"
        assert done.returncode == 129


def test_below_the_top_it_names_the_file_as_seen_from_there(bare: Project) -> None:
    done = bare.hmopt("init", cwd=bare.root / "lib")
    assert "undo: rm ../.hmopt.yaml; " in done.stdout
    assert (bare.root / ".hmopt.yaml").is_file()
    assert not (bare.root / "lib/.hmopt.yaml").exists()


def test_a_ref_where_the_runs_refs_go_is_told_before_anything_is_written(bare: Project) -> None:
    before = settings(bare)
    bare.git("branch", "hmopt")
    done = bare.hmopt("init")
    assert done.stderr == (
        "git hmopt: your ref 'refs/heads/hmopt' stands where the refs of runs go (refs/heads/hmopt/...); "
        "rename or delete it, then run init again\n"
    )
    assert done.returncode == 128
    assert bare.git("status", "--porcelain") == ""
    assert settings(bare) == before
