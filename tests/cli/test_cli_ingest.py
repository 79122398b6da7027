# SPDX-License-Identifier: Apache-2.0
"""`git hmopt ingest repo`: a snapshot with its manifest, of this and of another repository, checked by plain git."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.loop.project import Project


def ingested(project: Project, *arguments: str) -> dict[str, Any]:
    """Ingest and return what was answered."""
    done = project.hmopt("ingest", "repo", "--json", *arguments)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    answer = json.loads(done.stdout)
    assert answer["v"] == 1
    snapshot: dict[str, Any] = answer["snapshot"]
    return snapshot


def manifest_of(project: Project, snapshot: dict[str, Any]) -> dict[str, Any]:
    """Return a snapshot's manifest from the artifact store."""
    sha = snapshot["manifest"]
    (path,) = (project.root / ".git/hmopt/artifacts" / sha[:2]).glob(f"{sha}*")
    manifest: dict[str, Any] = json.loads(path.read_bytes())
    return manifest


def other_repository(project: Project, directory: Path) -> Project:
    """Return another repository with a link, an executable, a submodule's place and a name that is no Unicode."""
    other = Project(directory, project.home)
    directory.mkdir()
    other.git("init", "-q")
    other.write("first", "1\n")
    other.commit("first")
    other.write("src/tool", "#!/bin/sh\n")
    (other.root / "src/tool").chmod(0o755)
    (other.root / "link").symlink_to("first")
    (other.root / "caf\udce9").write_text("x")
    other.git("add", "-A")
    other.git("update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},module")
    (other.root / "module").mkdir()
    other.git("commit", "-q", "-m", "second")
    return other


def test_a_snapshot_of_this_repository(project: Project) -> None:
    head = project.git("rev-parse", "HEAD")
    snapshot = ingested(project)
    assert (snapshot["commit"], snapshot["new"], snapshot["dirty"]) == (head, True, False)
    listed = project.git("ls-tree", "-r", "-l", "HEAD").splitlines()
    manifest = manifest_of(project, snapshot)
    assert manifest["tree"] == snapshot["tree"] == project.git("rev-parse", "HEAD^{tree}")
    told = [f"{one['mode']} blob {one['oid']} {one['size']:>7}\t{one['path']}" for one in manifest["entries"]]
    assert told == listed
    assert (snapshot["files"], snapshot["size"]) == (len(listed), sum(int(line.split()[3]) for line in listed))
    # It is kept once, whoever asks again, and nothing of the user's moved.
    again = ingested(project, "--rev", "main")
    assert again == {**snapshot, "new": False}
    assert project.git("status", "--porcelain") == ""
    # It is no run.
    assert project.hmopt("list").stdout.startswith("no runs yet")


def test_what_was_ingested_outlives_its_branch(project: Project) -> None:
    project.git("checkout", "-q", "-b", "topic")
    project.write("README", "topic\n")
    commit = project.commit("topic")
    ingested(project)
    project.git("checkout", "-q", "main")
    project.git("branch", "-D", "topic")
    project.git("reflog", "expire", "--expire=now", "--all")
    project.git("gc", "-q", "--prune=now")
    assert project.git("show", f"{commit}:README") == "topic"


def test_a_snapshot_of_another_repository(project: Project, tmp_path: Path) -> None:
    other = other_repository(project, tmp_path / "other")
    before = other.git("for-each-ref"), sorted(path for path in other.root.rglob("*") if "objects" not in path.parts)
    snapshot = ingested(project, "--path", str(other.root))
    assert (snapshot["files"], snapshot["submodules"], snapshot["uri"]) == (4, 1, "local")
    entries = {one["path"]: one for one in manifest_of(project, snapshot)["entries"]}
    assert entries["src/tool"]["mode"] == "100755"
    assert (entries["link"]["mode"], entries["link"]["size"]) == ("120000", len("first"))
    assert (entries["module"]["mode"], entries["module"]["size"]) == ("160000", None)
    assert "caf\\xe9" in entries
    shutil.rmtree(other.root / ".git/objects")
    project.git("reflog", "expire", "--expire=now", "--all")
    project.git("gc", "-q", "--prune=now")
    assert project.git("fsck", "--no-dangling") == ""
    assert project.git("show", f"{snapshot['tree']}:src/tool") == "#!/bin/sh"
    # Of the other one the files were copied, not the history; and it was not changed.
    assert project.git("cat-file", "-e", snapshot["commit"], check=False) == ""
    assert snapshot["commit"] not in project.git("cat-file", "--batch-all-objects", "--batch-check=%(objectname)")
    assert sorted(path for path in other.root.rglob("*") if "objects" not in path.parts) == before[1]
    assert not (project.root / ".git/shallow").exists()


def test_an_older_revision(project: Project, tmp_path: Path) -> None:
    other = other_repository(project, tmp_path / "other")
    snapshot = ingested(project, "--path", str(other.root / "src"), "--rev", "HEAD~1")
    assert snapshot["commit"] == other.git("rev-parse", "HEAD~1")
    assert [one["path"] for one in manifest_of(project, snapshot)["entries"]] == ["first"]


def test_changes_that_would_not_be_in_it(project: Project) -> None:
    project.write("README", "changed\n")
    done = project.hmopt("ingest", "repo")
    assert done.stderr == (
        "git hmopt: tracked files of '.' have changes that would not be in the snapshot; "
        "commit or stash them, or take the commit as it is with --allow-dirty\n"
    )
    assert (done.returncode, done.stdout) == (128, "")
    assert ingested(project, "--allow-dirty")["dirty"] is True


@pytest.mark.parametrize(
    ("argv", "code", "stderr"),
    [
        ((), 129, "ingest: the following arguments are required: what; see: git hmopt ingest -h"),
        (
            ("tree",),
            129,
            "ingest: argument what: invalid choice: 'tree' (choose from 'repo', 'artifacts'); see: git hmopt ingest -h",
        ),
        (("repo", "--rev", "v9"), 128, "'v9' is not in this repository; see: git log --oneline --all"),
        (("repo", "--path", "none"), 128, "'none' is not a directory"),
        (("repo", "x"), 129, "ingest: --run and PATH are for 'artifacts'; name the repository with --path"),
        (("artifacts", "x"), 129, "ingest: artifacts need --run RUN; see: git hmopt ingest -h"),
        (
            ("artifacts", "--run", "x"),
            129,
            "ingest: artifacts need a PATH, or - for standard input; see: git hmopt ingest -h",
        ),
        (
            ("artifacts", "x", "--run", "x", "--rev", "y"),
            129,
            "ingest: --path, --rev and --allow-dirty are for 'repo'; see: git hmopt ingest -h",
        ),
        (("artifacts", "--run", "x", "-", "-"), 129, "ingest: standard input can be read once; name it once"),
    ],
)
def test_wrong_command_lines(project: Project, argv: tuple[str, ...], code: int, stderr: str) -> None:
    done = project.hmopt("ingest", *argv)
    # Python 3.12 and later quote choices another way.
    assert done.stderr.replace("from repo, artifacts", "from 'repo', 'artifacts'") == f"git hmopt: {stderr}\n"
    assert (done.returncode, done.stdout) == (code, "")
    assert project.git("for-each-ref", "refs/hmopt") == ""


def test_a_place_that_is_no_repository(project: Project, tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    done = project.hmopt(
        "ingest", "repo", "--path", str(tmp_path / "plain"), environment={"GIT_CEILING_DIRECTORIES": str(tmp_path)}
    )
    assert done.returncode == 128
    assert done.stderr == (
        f"git hmopt: '{tmp_path}/plain' is not in a git repository; run it inside a checkout, or make one: git init\n"
    )


def test_objects_of_another_format(project: Project, tmp_path: Path) -> None:
    other = Project(tmp_path / "sha256", project.home)
    other.root.mkdir()
    other.git("init", "-q", "--object-format=sha256")
    other.write("a", "1\n")
    other.commit("a")
    done = project.hmopt("ingest", "repo", "--path", str(other.root))
    assert (done.returncode, done.stderr) == (
        128,
        f"git hmopt: '{other.root}' has sha256 objects, this repository has sha1 ones; "
        "ingest it in a repository of its own format\n",
    )
    # In its own place it goes as well as any.
    assert ingested(other)["files"] == 1
