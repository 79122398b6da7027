# SPDX-License-Identifier: Apache-2.0
"""What measures a commit comes from the commit itself: its configuration and its overlays, not the working tree's."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from git_hmopt.config.overlay import load_overlay
from git_hmopt.errors import ConfigError
from git_hmopt.loop.configuration import CONFIG_FILE, LocalOverlays
from git_hmopt.store.repository import Repository
from tests.loop.project import Project, configuration
from tests.loop.recorded import Recorded, recorded_run
from tests.loop.test_kill import killed

RUN = ("optimize", "--workload", "scan-blocks", "--iterations", "0", "--seed", "7")


def begun(project: Project, *arguments: str) -> Recorded:
    """Run until the base commit stands in its build tree, and return what was recorded; nothing is built."""
    killed(project, "start", "static_analysis_psg", *RUN, *arguments)
    return recorded_run(project)


def notes(run: Recorded) -> list[str]:
    """Return what was said about the set-up, but for what this host lacks."""
    (started,) = run.named("run.started")
    return [note for note in started["notes"] if "base commit" in note or CONFIG_FILE in note]


def digest(project: Project) -> Any:
    """Return the digest of the overlay as it stands in the working tree."""
    return load_overlay(project.root / "bench", name="./bench").digest


def exported(run: Recorded, path: str) -> str:
    """Return a file of the tree that was built at base."""
    (snapshot,) = run.named("repo.snapshotted")
    return run.project.git("show", f"{snapshot['export_tree']}:{path}")


@pytest.mark.parametrize(
    ("old", "new", "command", "what"),
    [
        (
            "adapter: command",
            "adapter: comand",
            ("optimize", "--workload", "scan"),
            "builds.fast.adapter: unknown build adapter 'comand', expected 'com",
        ),
        ("- ./bench", "- benhc", ("trust",), "workloads.scan.overlays[0]: unknown overlay 'benhc', expected "),
    ],
)
def test_a_name_nobody_knows_is_told_with_its_line(
    project: Project, old: str, new: str, command: tuple[str, ...], what: str
) -> None:
    text = (project.root / CONFIG_FILE).read_text().replace(old, new, 1)
    project.write(CONFIG_FILE, text)
    project.commit("a name nobody knows")
    project.hmopt("trust")
    done = project.hmopt(*command)
    line = next(number for number, row in enumerate(text.splitlines(), 1) if new in row)
    assert done.returncode == 129
    assert done.stderr.startswith(f"git hmopt: HEAD:{CONFIG_FILE}:{line}: {what}")


def test_overlays_are_the_base_commits(project: Project) -> None:
    old, harness = digest(project), (project.root / "bench/main.c").read_text()
    project.write("bench/main.c", "this harness does not even compile\n")
    project.commit("break the harness")
    assert project.hmopt("trust", "--base", "HEAD~1").returncode == 0
    run = begun(project, "--base", "HEAD~1")
    assert run.named("repo.snapshotted")[0]["overlays"] == {"./bench": old} != {"./bench": digest(project)}
    assert exported(run, "harness/main.c") == harness.removesuffix("\n")
    assert notes(run) == []


def test_what_lies_changed_in_the_working_tree_measures_nothing(project: Project) -> None:
    old = digest(project)
    project.write("bench/main.c", "not committed\n")
    run = begun(project, "--allow-dirty")
    assert run.named("repo.snapshotted")[0]["overlays"] == {"./bench": old}
    # The record says that the tree was dirty, and so does the screen.
    assert run.named("run.created")[0]["run"]["repository"]["dirty"] is True
    assert "(dirty tree)" in project.hmopt("show").stdout


def test_another_configuration_than_the_working_trees_is_said(project: Project) -> None:
    project.write(CONFIG_FILE, (project.root / CONFIG_FILE).read_text() + "# newer\n")
    project.commit("newer")
    run = begun(project, "--base", "HEAD~1")
    assert notes(run) == [f"HEAD~1:{CONFIG_FILE} was used; the {CONFIG_FILE} of the working tree differs from it"]
    assert f"HEAD~1:{CONFIG_FILE} was used" in project.hmopt("show").stdout


def test_a_base_whose_commands_are_not_the_trusted_ones_says_how_to_trust_them(project: Project) -> None:
    project.write(CONFIG_FILE, (project.root / CONFIG_FILE).read_text() + "# newer\n")
    project.commit("newer")
    assert project.hmopt("trust").returncode == 0
    done = project.hmopt(*RUN, "--base", "HEAD~1")
    assert (done.returncode, done.stderr.endswith(", then run: git hmopt trust --base HEAD~1\n")) == (128, True)


def test_an_overlay_the_base_commit_names_and_has_not_is_refused(project: Project) -> None:
    project.git("rm", "-q", "--cached", "-r", "bench")
    project.write(".git/info/exclude", "bench\n")
    head = project.commit("without the overlay")
    for command in (("trust",), RUN):
        done = project.hmopt(*command)
        assert (done.returncode, done.stderr) == (
            129,
            f"git hmopt: overlay './bench' is not in the base commit {head[:12]}, whose {CONFIG_FILE} names it; "
            "commit it, or start from a commit that has it\n",
        )


def uncommitted(project: Project) -> None:
    """Take configuration and overlay out of the history, and leave them in the working tree."""
    project.git("rm", "-q", "--cached", "-r", "bench", CONFIG_FILE)
    project.write(".git/info/exclude", f"bench\n{CONFIG_FILE}\n")
    project.commit("bare")
    assert project.hmopt("trust").returncode == 0


def test_a_base_without_either_is_measured_as_the_working_tree_says_and_the_run_says_so(project: Project) -> None:
    uncommitted(project)
    run = begun(project)
    assert run.named("repo.snapshotted")[0]["overlays"] == {"./bench": digest(project)}
    assert notes(run) == [
        f"the base commit has no {CONFIG_FILE}: the working tree's was used",
        "overlay './bench' is not in the base commit: the working tree's was used",
    ]


def test_a_run_does_not_go_on_with_another_harness(project: Project) -> None:
    uncommitted(project)
    harness = (project.root / "bench/main.c").read_text()
    name = begun(project).name
    project.write("bench/main.c", f"{harness}/* changed */\n")
    refused = project.hmopt("resume")
    assert (refused.returncode, refused.stderr) == (
        128,
        f"git hmopt: overlay './bench' is not what it was when run {name} began; "
        "put it back as it was, or start another run\n",
    )
    project.write("bench/main.c", harness)
    killed(project, "end", "static_analysis_psg", "resume")


@pytest.mark.slow
def test_an_overlay_of_the_base_commit_is_the_same_after_a_kill(project: Project) -> None:
    begun(project)
    project.write("bench/main.c", "changed since\n")
    done = project.hmopt("resume")
    assert done.returncode == 1, done.stderr


# -- the copies ------------------------------------------------------------------------------------------------------


def places(project: Project, *, strict: bool = True) -> LocalOverlays:
    repository = Repository.open(project.root)
    return LocalOverlays(
        repository, repository.resolve("HEAD"), f"HEAD:{CONFIG_FILE}" if strict else CONFIG_FILE, project.root
    )


def test_a_copy_holds_the_commits_bytes_and_links(project: Project) -> None:
    (project.root / "bench/link.c").symlink_to("main.c")
    (project.root / "bench/deep").mkdir()
    (project.root / "bench/deep/x").write_bytes(b"\0\r\n")
    project.commit("more")
    root = places(project)("./bench")
    assert sorted(str(path.relative_to(root)) for path in root.rglob("*")) == [
        "bench", "bench/deep", "bench/deep/x", "bench/link.c", "bench/main.c", "bench/overlay.yaml",
    ]  # fmt: skip
    assert str((root / "bench/link.c").readlink()) == "main.c"
    assert (root / "bench/deep/x").read_bytes() == b"\0\r\n"
    assert places(project)("./bench") == root
    assert all(re.fullmatch(r"[0-9a-f]{40}", one.name) for one in root.parent.iterdir())


def test_a_file_or_nothing_under_an_overlays_name_is_no_overlay_of_the_commit(project: Project) -> None:
    for name in ("./README", "./none", "./bench/none"):
        with pytest.raises(ConfigError, match=f"overlay '{name}' is not in the base commit"):
            places(project)(name)
        lenient = places(project, strict=False)
        assert lenient(name) == project.root
        assert lenient.notes == [f"overlay '{name}' is not in the base commit: the working tree's was used"]


def test_an_overlay_that_another_requires_is_the_commits_too(project: Project) -> None:
    old = (project.root / "bench/main.c").read_text()
    project.write("second/overlay.yaml", "v: 1\ndescription: one more\nrequires: [./bench]\nfiles: {extra: extra}\n")
    project.write("second/extra", "x\n")
    document = configuration()
    document["workloads"]["scan-blocks"]["overlays"] = ["./second"]
    project.write(CONFIG_FILE, yaml.safe_dump(document, sort_keys=False))
    project.commit("two")
    assert project.hmopt("trust").returncode == 0
    project.write("bench/main.c", "not committed\n")
    run = begun(project, "--allow-dirty")
    assert sorted(run.named("repo.snapshotted")[0]["overlays"]) == ["./bench", "./second"]
    assert exported(run, "harness/main.c") == old.removesuffix("\n")
    assert exported(run, "extra") == "x"
